"""How commands speak: results on standard output (text or JSON), progress on standard error."""

import json
import math
from collections.abc import Iterable
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def progress() -> Progress:
    """Progress bars on standard error: what, how far, time left."""
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
        err.print(f"warning: {line}", markup=False, soft_wrap=True)


def print_json(result: Any) -> None:
    """Print a result for scripts."""
    print(json_text(result))


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
