"""``l1scout store``: segments in, compressed files and their catalogue out."""

from typing import TYPE_CHECKING

from l1scout.cli.live import Set, SettingsFile, StatusPath, load, status_writer

if TYPE_CHECKING:
    from l1scout.readout.status import StoreStatus


def store(settings: SettingsFile = None, over: Set = None, status: StatusPath = None) -> None:
    """Receive segments from readouts, acknowledge them once on disk, compress and catalogue them."""
    from l1scout.control.logs import logger
    from l1scout.control.services import run_store

    run_store(load(settings, over), logger("store"), status_writer(status, _line))


def _line(s: "StoreStatus") -> str:
    ratio = f"{s.compressed_in / s.compressed_out:.2f}" if s.compressed_out else "-"
    return (
        f"{s.state}: {s.segments} segments, {s.bytes_in / 1e6:.0f} MB; compressed {s.compressed} "
        f"(/{ratio}), {s.uncompressed} wait; {s.disk_free / 1e9:.0f} GB free"
    )
