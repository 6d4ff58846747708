"""Log lines of the chain's processes: levels, a limit per event, to a rotating file or for the journal.

A line is in logfmt: ``timestamp=... level=... process=... event=... name=value ...``. Under systemd's
journal it has no time, which the journal adds, and begins with the priority that ``journalctl -p`` knows.
"""

import atexit
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, MutableMapping
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

import structlog

Log = Callable[..., None]

LINES, SECONDS = 10, 10.0
"""Largest number of lines per event, and the seconds in which they count; further lines are counted only."""
MAX_LOG_BYTES, KEPT_LOGS = 10_000_000, 5
_NAMES = ["level", "process", "event"]
_FOR_FILES = structlog.processors.LogfmtRenderer(key_order=["timestamp", *_NAMES])
_FOR_JOURNAL = structlog.processors.LogfmtRenderer(key_order=_NAMES)
_PRIORITIES = {"error": "<3>", "warning": "<4>", "info": "<6>"}


def logger(process: str, path: Path | None = None, *, own_stderr: bool = False) -> Log:
    """Return ``log(event, level="info", **values)``, which writes a line.

    Parameters
    ----------
    process : str
        Name of the process.
    path : Path, optional
        File to append to, of at most `MAX_LOG_BYTES`, with `KEPT_LOGS` older ones beside it; without it,
        standard error.
    own_stderr : bool
        Send everything else that the process writes on standard output and error to the file, too:
        tracebacks, and what libraries print.
    """
    journal = path is None and _is_journal()
    stamp = structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%S", utc=False)
    processors = [structlog.stdlib.add_log_level, *([_for_journal] if journal else [stamp, _FOR_FILES])]
    target = logging.Logger(process)
    target.addHandler(_LogFile(path, own_stderr) if path else _Stream(sys.stderr))
    lines = structlog.wrap_logger(
        target, processors, wrapper_class=structlog.stdlib.BoundLogger, process=process
    )
    limit = EventLimit(lambda event, n: lines.warning(event, suppressed=f"{n} more suppressed"))

    atexit.register(limit.flush)

    def log(event: str, /, level: str = "info", **values: Any) -> None:
        if limit.allows(event):
            getattr(lines, level)(event, **values)

    return log


class EventLimit:
    """Lets `LINES` lines of an event through in `SECONDS`, and says then how many more there were.

    Parameters
    ----------
    report : callable
        ``report(event, n)``: called when the time is over, if n > 0 lines were held back.
    """

    def __init__(self, report: Callable[[str, int], None]) -> None:
        self._report = report
        self._guard = threading.Lock()
        self._counts: dict[str, int] = {}
        self._ends: dict[str, float] = {}

    def allows(self, event: str) -> bool:
        """Count a line of an event; say whether it is to be written."""
        now = time.monotonic()
        with self._guard:
            if now >= self._ends.get(event, 0.0):
                held = self._counts.get(event, 0) - LINES
                self._counts[event], self._ends[event] = 0, now + SECONDS
            else:
                held = 0
            self._counts[event] += 1
            n = self._counts[event]
            if n == LINES + 1:  # nobody may log this event again: a timer reports
                timer = threading.Timer(self._ends[event] - now, self._expire, (event,))
                timer.daemon = True
                timer.start()
        if held > 0:
            self._report(event, held)
        return n <= LINES

    def flush(self) -> None:
        """Say now how many lines were held back of each event."""
        with self._guard:
            held = {event: n - LINES for event, n in self._counts.items() if n > LINES}
            self._counts.update(dict.fromkeys(held, LINES))
        for event, n in held.items():
            self._report(event, n)

    def _expire(self, event: str) -> None:
        with self._guard:
            if time.monotonic() < self._ends[event]:  # a line of this event began new seconds, and reported
                return
            held, self._counts[event] = self._counts[event] - LINES, 0
        if held > 0:
            self._report(event, held)


class _Stream(logging.StreamHandler[Any]):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Go on: a log that cannot be written must not end the run."""


class _LogFile(RotatingFileHandler):
    """A log file, and what follows it when it is full; standard output and error go with it if asked."""

    def __init__(self, path: Path, own_stderr: bool) -> None:
        self._own_stderr = own_stderr
        super().__init__(path, maxBytes=MAX_LOG_BYTES, backupCount=KEPT_LOGS, encoding="utf-8")

    def _open(self) -> TextIOWrapper:
        stream = super()._open()
        if self._own_stderr:
            for descriptor in (1, 2):
                os.dup2(stream.fileno(), descriptor)
        return stream

    def __del__(self) -> None:
        if self.stream:
            self.stream.close()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Go on: a full disk must not end the run."""


def _is_journal() -> bool:
    """Say whether standard error is systemd's journal."""
    try:
        status = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _for_journal(logger: Any, method: str, values: MutableMapping[str, Any]) -> str:
    return _PRIORITIES.get(method, "<6>") + _FOR_JOURNAL(logger, method, values)
