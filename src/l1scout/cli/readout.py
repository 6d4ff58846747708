"""``l1scout readout``: packets in, segments of records out."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from l1scout.cli.live import Set, SettingsFile, StatusPath, load, status_writer
from l1scout.errors import InputError

if TYPE_CHECKING:
    from l1scout.readout.status import ReadoutStatus


def readout(
    source: Annotated[
        str | None,
        typer.Argument(help="File of DMA packets or link capture, or - ; without it, boards connect by TCP."),
    ] = None,
    settings: SettingsFile = None,
    over: Set = None,
    status: StatusPath = None,
    drain: Annotated[bool, typer.Option("--drain", help="Only send what waits in the spool.")] = False,
    refused_as_source: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=(1 << 16) - 1,
            metavar="N",
            help="Only send the segments that the store has refused, as those of an unused source N.",
        ),
    ] = None,
) -> None:
    """Apply fine zero suppression, spool segments and forward them to the store.

    Stops cleanly on Ctrl-C: the run ends, what waits is sent. Killed, it goes on where it was when
    started again.
    """
    from l1scout.control.logs import logger
    from l1scout.control.services import check_all_sent, on_signals, run_readout
    from l1scout.readout.readout import Readout

    chosen, log, report = load(settings, over), logger("readout"), status_writer(status, _line)
    if source is None and not drain and refused_as_source is None:
        run_readout(chosen, log, report)
        return
    work = Readout(chosen, log)
    on_signals(work.stop)
    if refused_as_source is not None:
        left = work.offer_refused(refused_as_source, report)
    elif drain:
        left = work.drain(report)
    elif source == "-":
        with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as file:
            left = work.read(None, file, report)
    else:
        path = Path(source or "")
        try:
            with path.open("rb", buffering=0) as file:
                left = work.read(path, file, report)
        except OSError as error:
            msg = f"{source}: {(error.strerror or 'cannot be read').lower()}"
            raise InputError(msg) from error
    check_all_sent(work, left)


def _line(s: "ReadoutStatus") -> str:
    from l1scout.readout.object_counts import objects_line

    return (
        f"{s.state}: {s.orbits:,} orbits, {objects_line(s.objects) or 'no objects yet'} ({s.data} data), "
        f"{s.real_time_factor:.2f} x LHC; "
        f"spool {s.spool_bytes / 1e6:.0f} MB in {s.spool_segments}, sent {s.sent}; "
        f"missed {s.missed}, corrupt {s.corrupt}, dropped {s.dropped}"
    )
