"""``l1scout store``: segments in, compressed files and their catalogue out."""

from typing import Any

from l1scout.cli.live import Set, SettingsFile, StatusFile, StatusWriter, load, logger, on_signals


def store(settings: SettingsFile = None, over: Set = None, status: StatusFile = None) -> None:
    """Take segments from readouts, acknowledge them when they are safe, compress and catalogue them."""
    from l1scout.store.store import Store

    work = Store(load(settings, over), logger("store"))
    on_signals(work.stop)
    work.run(StatusWriter(status, _line))


def _line(s: dict[str, Any]) -> str:
    packed = f"{s['compressed_in'] / s['compressed_out']:.2f}" if s["compressed_out"] else "-"
    return (
        f"{s['state']}: {s['segments']} segments, {s['bytes_in'] / 1e6:.0f} MB; compressed {s['compressed']} "
        f"(/{packed}), {s['uncompressed']} wait; {s['disk_free'] / 1e9:.0f} GB free"
    )
