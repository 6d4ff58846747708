"""What the commands of the live chain share: settings, log lines, status, signals."""

import json
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TextIO

import structlog
import typer

from l1scout.cli.output import err
from l1scout.settings import Settings, read_settings

SettingsFile = Annotated[
    Path | None,
    typer.Option("--settings", help="TOML file; `l1scout settings` prints one with all defaults."),
]
Set = Annotated[
    list[str] | None, typer.Option("--set", help="section.name=value, over file and environment; repeatable.")
]
StatusFile = Annotated[
    Path | None, typer.Option("--status", help="Write the status there, as JSON, 4 times a second.")
]


def load(path: Path | None, over: list[str] | None) -> Settings:
    """Read the settings of a command (InputError)."""
    return read_settings(path, over=over or ())


def logger(process: str, file: TextIO | None = None) -> Callable[..., None]:
    """Return ``log(event, **values)``: a line on standard error, or a file, with time and names."""
    structlog.configure(
        processors=[
            structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%S", utc=False),
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "process", "event"]),
        ],
        logger_factory=structlog.PrintLoggerFactory(file or sys.stderr),
    )
    log: Callable[..., None] = structlog.get_logger(process=process).info
    return log


class StatusWriter:
    """Writes a status file, and a line on the terminal.

    Parameters
    ----------
    path : Path, optional
    line : callable
        Makes the line of a status.
    """

    def __init__(self, path: Path | None, line: Callable[[dict[str, Any]], str]) -> None:
        self._path, self._line = path, line
        self._next = 0.0
        self._last_state = ""
        self._shown = err.status("starting") if sys.stderr.isatty() else None
        if self._shown:
            self._shown.start()

    def __call__(self, status: dict[str, Any]) -> None:
        """Take a status; all but changes of state are written 4 times a second at most."""
        now = time.monotonic()
        if now < self._next and status["state"] == self._last_state:
            return
        self._next, self._last_state = now + 0.2, status["state"]
        if self._path:
            draft = self._path.with_name(self._path.name + ".new")
            try:
                draft.write_text(json.dumps(status | {"time": time.time()}))
                draft.replace(self._path)
            except OSError:
                pass  # a full disk must not end the run
        if self._shown:
            self._shown.update(self._line(status))
            if status["state"] == "idle":
                self._shown.stop()


def on_signals(stop: Callable[[], None]) -> None:
    """Call `stop` on Ctrl-C and SIGTERM, each time."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop())
