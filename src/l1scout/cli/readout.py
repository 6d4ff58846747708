"""``l1scout readout``: packets in, segments of records out."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from l1scout.cli.live import Set, SettingsFile, StatusFile, StatusWriter, load, logger, on_signals
from l1scout.errors import InputError


def readout(
    source: Annotated[
        str | None,
        typer.Argument(help="File of DMA packets or link capture, or - ; without it, boards connect by TCP."),
    ] = None,
    settings: SettingsFile = None,
    over: Set = None,
    status: StatusFile = None,
    drain: Annotated[bool, typer.Option("--drain", help="Only send what waits in the spool.")] = False,
) -> None:
    """Suppress zeros finely, write segments to the spool and send them to the store.

    Stops cleanly on Ctrl-C: the run ends, what waits is sent. Killed, it goes on where it was when
    started again.
    """
    from l1scout.readout.readout import Readout

    work = Readout(load(settings, over), logger("readout"))
    on_signals(work.stop)
    writer = StatusWriter(status, _line)
    if drain:
        left = work.drain(writer)
    elif source is None:
        left = work.listen(writer)
    elif source == "-":
        with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as file:
            left = work.read(None, file, writer)
    else:
        try:
            with Path(source).open("rb", buffering=0) as file:
                left = work.read(Path(source), file, writer)
        except OSError as error:
            msg = f"{source}: {(error.strerror or 'cannot be read').lower()}"
            raise InputError(msg) from error
    if left:
        msg = f"{left} segments wait in {work.spool.folder}; `l1scout readout --drain` sends them later"
        raise InputError(msg)


def _line(s: dict[str, Any]) -> str:
    return (
        f"{s['state']}: {s['orbits']:,} orbits, {s['final_muons']:,} final muons, "
        f"{s['real_time_factor']:.2f} x LHC; "
        f"spool {s['spool_bytes'] / 1e6:.0f} MB in {s['spool_segments']}, sent {s['sent']}; "
        f"missed {s['missed']}, corrupt {s['corrupt']}, dropped {s['dropped']}"
    )
