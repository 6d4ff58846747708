"""What the commands of the live chain share: settings and status."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from l1scout.cli.output import err

if TYPE_CHECKING:
    from l1scout.control.services import StatusFile
    from l1scout.settings import Settings

SettingsFile = Annotated[
    Path | None,
    typer.Option("--settings", help="TOML file; `l1scout settings` prints one with all defaults."),
]
Set = Annotated[
    list[str] | None, typer.Option("--set", help="section.name=value, over file and environment; repeatable.")
]
StatusPath = Annotated[
    Path | None, typer.Option("--status", help="Write the status there, as JSON, 4 times a second.")
]

LOSSES = 3
"""Exit status: the chain works, but orbits were lost, or alarms are up."""


def load(path: Path | None, over: list[str] | None) -> "Settings":
    """Read the settings of a command (InputError)."""
    from l1scout.settings import read_settings

    return read_settings(path, over=over or ())


def status_writer(path: Path | None, line: Callable[[Any], str]) -> "StatusFile":
    """Return what writes statuses to a file and, on a terminal, shows `line` of each."""
    from l1scout.control.services import StatusFile

    if not sys.stderr.isatty():
        return StatusFile(path, line=line)
    shown = err.status("starting")
    shown.start()

    def show(status: Any) -> None:
        shown.update(line(status))
        if status.state == "idle":
            shown.stop()

    return StatusFile(path, show, line)
