"""The chain's processes as functions of their settings, with log lines, status files and signals."""

import contextlib
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import structlog

from l1scout.errors import InputError
from l1scout.readout.status import ProcessStatus
from l1scout.settings import Settings

if TYPE_CHECKING:
    from l1scout.readout.readout import Readout

Log = Callable[..., None]
Report = Callable[[Any], None]


def logger(process: str, file: TextIO | None = None) -> Log:
    """Return ``log(event, **values)``: a line on standard error, or in a file, with time and names."""
    structlog.configure(
        processors=[
            structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%S", utc=False),
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "process", "event"]),
        ],
        logger_factory=structlog.PrintLoggerFactory(file or sys.stderr),
    )
    log: Log = structlog.get_logger(process=process).info
    return log


class StatusFile:
    """Writes statuses to a file: every change of state, and others at most 4 times a second.

    Parameters
    ----------
    path : Path, optional
        None writes nothing.
    show : callable
        Gets the statuses that are written.
    """

    def __init__(self, path: Path | None, show: Callable[[Any], None] = lambda _: None) -> None:
        self._path, self._show = path, show
        self._next = 0.0
        self._last_state = ""

    def __call__(self, status: ProcessStatus) -> None:
        """Write a status, if it is time."""
        now = time.monotonic()
        if now < self._next and status.state == self._last_state:
            return
        self._next, self._last_state = now + 0.2, status.state
        if self._path:
            draft = self._path.with_name(self._path.name + ".new")
            with contextlib.suppress(OSError):  # a full disk must not end the run
                draft.write_text(status.model_dump_json())
                draft.replace(self._path)
        self._show(status)


def on_signals(stop: Callable[[], None]) -> None:
    """Call `stop` on Ctrl-C and SIGTERM, each time."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop())


def run_board(settings: Settings, log: Log, report: Report) -> None:
    """Send packets to readout, from ``board.first_orbit`` on, until a signal or the last orbit."""
    from l1scout.simulate.live_board import LiveBoard

    board = LiveBoard(settings, settings.board.first_orbit, log)
    on_signals(board.stop)
    board.run(report)


def run_readout(settings: Settings, log: Log, report: Report) -> None:
    """Take packets from boards until a signal, and send segments to the store."""
    from l1scout.readout.readout import Readout

    readout = Readout(settings, log)
    on_signals(readout.stop)
    check_all_sent(readout, readout.listen(report))


def check_all_sent(readout: "Readout", left: int) -> None:
    """Raise `InputError` if segments are left in the spool."""
    if left:
        msg = f"{left} segments wait in {readout.spool.folder}; `l1scout readout --drain` sends them later"
        raise InputError(msg)


def run_store(settings: Settings, log: Log, report: Report) -> None:
    """Take segments from readouts until a signal, and compress and catalogue them."""
    from l1scout.store.store import Store

    store = Store(settings, log)
    on_signals(store.stop)
    store.run(report)


SERVICES: dict[str, Callable[[Settings, Log, Report], None]] = {
    "board": run_board,
    "readout": run_readout,
    "store": run_store,
}
"""By name, in the order in which data flow."""
