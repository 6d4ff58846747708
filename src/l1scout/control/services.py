"""The chain's processes as functions of their settings, with status files, signals and a watchdog."""

import contextlib
import signal
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from l1scout.control.logs import Log
from l1scout.control.sd_notify import notify
from l1scout.errors import InputError
from l1scout.files import write_small
from l1scout.readout.refused import REFUSED
from l1scout.readout.status import ProcessStatus
from l1scout.settings import Settings

if TYPE_CHECKING:
    from l1scout.readout.readout import Readout

Report = Callable[[Any], None]

_dead_threads: list[str] = []


def watch_threads(log: Log) -> None:
    """Log the error that ends a thread of this process, and name it in every status from then on."""

    def note(ended: threading.ExceptHookArgs) -> None:
        if issubclass(ended.exc_type, SystemExit):
            return
        name = ended.thread.name if ended.thread else "unknown"
        _dead_threads.append(f"{name} ({ended.exc_type.__name__}: {ended.exc_value})")
        trace = "".join(traceback.format_exception(ended.exc_type, ended.exc_value, ended.exc_traceback))
        log("thread died", level="error", thread=name, trace=trace)

    threading.excepthook = note


class StatusFile:
    """Writes statuses to a file: every change of state, and others at most 4 times a second.

    Systemd, if it started this process, hears of them, too: when the process is up, that it is alive (as
    long as none of its threads has died), and when it stops.

    Parameters
    ----------
    path : Path, optional
        None writes nothing.
    show : callable
        Gets the statuses that are written.
    line : callable
        Returns a status in one line, for systemd.
    """

    def __init__(
        self,
        path: Path | None,
        show: Callable[[Any], None] = lambda _: None,
        line: Callable[[Any], str] = lambda status: str(status.state),
    ) -> None:
        self._path, self._show, self._line = path, show, line
        self._next = 0.0
        self._last_state = ""

    def __call__(self, status: ProcessStatus) -> None:
        """Write a status, if it is time."""
        now = time.monotonic()
        if now < self._next and status.state == self._last_state:
            return
        before, self._last_state = self._last_state, status.state
        self._next = now + 0.2
        if _dead_threads:
            status = status.model_copy(update={"dead_threads": [*status.dead_threads, *_dead_threads]})
        if self._path:
            with contextlib.suppress(OSError):  # a full disk must not end the run
                write_small(self._path, status.model_dump_json().encode())
        self._show(status)
        first = {"running": ["READY=1"], "draining": ["STOPPING=1"]}.get(status.state, [])
        alive = [] if status.dead_threads else ["WATCHDOG=1"]
        notify(*(first if before != status.state else []), f"STATUS={self._line(status)}", *alive)


def on_signals(stop: Callable[[], None]) -> None:
    """Call `stop` on Ctrl-C and SIGTERM, each time."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop())


def run_board(settings: Settings, log: Log, report: Report) -> None:
    """Send packets to readout, from ``board.first_orbit`` on, until a signal or the last orbit."""
    import l1scout.trigger.simulate_decisions  # the stream gt  # noqa: F401
    from l1scout.simulate.live_board import LiveBoard

    board = LiveBoard(settings, settings.board.first_orbit, log)
    watch_threads(log)
    on_signals(board.stop)
    with _metrics("board", settings.board.metrics, settings, log, report) as told:
        board.run(told)


def run_readout(settings: Settings, log: Log, report: Report) -> None:
    """Take packets from boards until a signal, and send segments to the store."""
    from l1scout.readout.readout import Readout

    readout = Readout(settings, log)
    watch_threads(log)
    on_signals(readout.stop)
    with _metrics("readout", settings.readout.metrics, settings, log, report) as told:
        left = readout.listen(told)
    check_all_sent(readout, left)


def _metrics(
    process: str, address: str, settings: Settings, log: Log, report: Report
) -> contextlib.AbstractContextManager[Report]:
    """Serve metrics of a process, if an address is set for them."""
    if not address:
        return contextlib.nullcontext(report)
    from l1scout.control.metrics_server import metrics_served

    return metrics_served(process, address, settings.access.access, log, report)


def check_all_sent(readout: "Readout", left: int) -> None:
    """Raise `InputError` if segments are left in the spool, or orbits were given up."""
    folder, found = readout.spool.folder, list[str]()
    if given_up := readout.writers.totals.discarded:
        found.append(f"{given_up} orbits were given up and counted as missed: the spool was full")
    if left:
        why = f" ({readout.sender.why})" if readout.sender.why else ""
        found.append(f"{left} segments wait in {folder}{why}; `l1scout readout --drain` sends them later")
    if refused := readout.spool.n_refused:
        way_out = "`l1scout readout --refused-as-source N` stores them under another source id"
        found.append(f"{refused} segments refused by the store lie in {folder / REFUSED}; {way_out}")
    if found:
        raise InputError(". ".join(found))


def run_store(settings: Settings, log: Log, report: Report) -> None:
    """Take segments from readouts until a signal, and compress and catalogue them."""
    from l1scout.store.store import Store

    store = Store(settings, log)
    watch_threads(log)
    on_signals(store.stop)
    store.run(report)


SERVICES: dict[str, Callable[[Settings, Log, Report], None]] = {
    "board": run_board,
    "readout": run_readout,
    "store": run_store,
}
"""By name, in the order in which data flow."""
