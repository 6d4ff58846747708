"""How commands speak: results on standard output (text or JSON), progress on standard error."""

import json
import math
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TextColumn, TimeRemainingColumn
from rich.table import Table

from l1scout.core.provenance import recorded
from l1scout.errors import printable

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
AcceptDamaged = Annotated[
    bool, typer.Option("--accept-damaged", help="Go on if most of the data are damaged.")
]
Flavour = Annotated[
    str | None,
    typer.Option(
        help="Flavour of nano files whose content is ambiguous: dpg (hwCharge is a bit) or scouting (a sign)."
    ),
]

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


FIRST_LINE_S, SLOWEST_LINES_S = 5.0, 60.0
"""In a log, progress is written after 5 s, then at intervals that double up to a minute."""


class ProgressLines(Progress):
    """Progress as plain lines, for logs: task, progress, time left; also while nothing advances."""

    def __init__(self) -> None:
        super().__init__(console=err, disable=True)
        self._ended = threading.Event()
        self._writer = threading.Thread(target=self._write, daemon=True)
        self._shown: set[int] = set()

    def start(self) -> None:
        """Begin to write."""
        self._writer.start()

    def stop(self) -> None:
        """Stop, with a last line for every finished task that was reported before."""
        self._ended.set()
        self._writer.join()
        for task in self.tasks:
            if task.id in self._shown and task.finished:
                _write_line(f"{task.description}: done after {_duration(task.elapsed or 0)}")

    def _write(self) -> None:
        wait = FIRST_LINE_S
        while not self._ended.wait(wait):
            for task in self.tasks:
                if not task.finished:
                    self._shown.add(task.id)
                    _write_line(progress_line(task))
            wait = min(2 * wait, SLOWEST_LINES_S)


def progress_line(task: Task) -> str:
    """Describe task, progress and remaining time in words."""
    done, elapsed = task.completed, task.elapsed or 0.0
    if not task.total:
        so_far = f"{done:,.0f} " if done else ""
        return f"{task.description}: {so_far}after {_duration(elapsed)}"
    how_far = f"{task.description}: {done:,.0f} of {task.total:,.0f} ({100 * done / task.total:.0f} %)"
    if not done:
        return f"{how_far} after {_duration(elapsed)}"
    return f"{how_far}, about {_duration(elapsed * (task.total - done) / done)} left"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _write_line(text: str) -> None:
    stamp = time.strftime("%H:%M:%S")
    with suppress(OSError):  # a full disk or a closed pipe must not end what takes long
        err.print(f"{stamp} {text}", markup=False, soft_wrap=True)


class Updated(Protocol):
    """An `activity` in progress, whose text can be changed."""

    def update(self, status: Any) -> None:
        """Change the text."""


class _StatusLines(ProgressLines):
    """An activity shown as lines in a log."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._task = self.add_task(text, total=None)

    def __enter__(self) -> "_StatusLines":
        _write_line(self.tasks[0].description)
        self.start()
        return self

    def update(self, status: Any) -> None:  # type: ignore[override]
        """Change the text."""
        super().update(self._task, description=str(status))


def activity(text: str) -> AbstractContextManager[Updated]:
    """Show a step that takes long: with a spinner on a terminal, as lines in a log."""
    return err.status(text) if err.is_terminal else _StatusLines(text)


def progress() -> Progress:
    """Show progress on standard error: bars on a terminal, lines at growing intervals in a log."""
    if not err.is_terminal:
        return ProgressLines()
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=err,
    )


def warn(lines: Iterable[str]) -> None:
    """Print warnings on standard error, one line each."""
    for line in lines:
        err.print(f"warning: {printable(line, 2000)}", markup=False, soft_wrap=True)


def print_table(table: Table) -> None:
    """Print a table; in a file or a pipe its lines are not folded to the width of a terminal."""
    if out.is_terminal:
        out.print(table)
        return
    wide = Console(file=out.file, width=10_000, highlight=False)
    wide.width = max(out.width, wide.measure(table).maximum)
    wide.print(table)


def print_line(text: str) -> None:
    """Print text as it is: brackets are no markup, and a long line is not folded."""
    out.print(text, markup=False, soft_wrap=True)


def print_problem(text: str) -> None:
    """Print on standard error, in red on a terminal, what a check found to be wrong."""
    err.print(printable(text, 2000), style="red", markup=False, soft_wrap=True)


def print_json(result: Any) -> None:
    """Print a result for scripts, with its provenance."""
    print(json_text(recorded(result) if isinstance(result, dict) else result))


def write_json(path: Path, result: Mapping[str, Any]) -> None:
    """Write a result to a JSON file, with its provenance (InputError if it cannot be written)."""
    from l1scout.files import write_text

    write_text(path, json_text(recorded(result)) + "\n")


def json_text(result: Any) -> str:
    """Write a result as JSON: NaN and infinity become null, so that every parser reads it."""
    return json.dumps(_clean(result), indent=1, default=str)


def _clean(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _clean(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(v) for v in value]
    if hasattr(value, "tolist"):
        return _clean(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value
