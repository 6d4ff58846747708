"""``l1scout store``: segments in, compressed files and their catalogue out."""

from contextlib import closing, nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from l1scout.cli.live import Set, SettingsFile, StatusPath, load, status_writer
from l1scout.cli.output import print_line, print_problem

if TYPE_CHECKING:
    from l1scout.control.logs import Log
    from l1scout.readout.status import StoreStatus
    from l1scout.settings import Settings


def store(
    settings: SettingsFile = None,
    over: Set = None,
    status: StatusPath = None,
    rebuild: Annotated[
        bool,
        typer.Option("--rebuild", help="Make the catalogue again from the files, and end."),
    ] = False,
    verify: Annotated[bool, typer.Option("--verify", help="With --rebuild: read all data, too.")] = False,
) -> None:
    """Receive segments from readouts, acknowledge them once on disk, compress and catalogue them."""
    from l1scout.control.logs import logger
    from l1scout.control.services import run_store

    chosen, log = load(settings, over), logger("store")
    if rebuild:
        raise typer.Exit(_rebuild(chosen, log, verify=verify))
    run_store(chosen, log, status_writer(status, _line))


def _rebuild(settings: "Settings", log: "Log", *, verify: bool) -> int:
    """Make the catalogue again; return the exit status, 1 if something is not as it was stored."""
    from l1scout.store.rebuild import rebuild
    from l1scout.store.store_folder import StoreFolder

    folder = settings.store.folder
    with closing(StoreFolder(folder)) if folder.is_dir() else nullcontext():  # no store may use it
        found = rebuild(folder, log, verify=verify)
    (print_line if found.harmless else print_problem)(str(found))
    return int(not found.harmless)


def _line(s: "StoreStatus") -> str:
    ratio = f"{s.compressed_in / s.compressed_out:.2f}" if s.compressed_out else "-"
    return (
        f"{s.state}: {s.segments} segments, {s.bytes_in / 1e6:.0f} MB; compressed {s.compressed} "
        f"(/{ratio}), {s.uncompressed} wait; {s.disk_free / 1e9:.0f} GB free"
    )
