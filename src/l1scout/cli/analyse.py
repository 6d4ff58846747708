"""``l1scout analyse NAME``: physics and detector quantities of scouting data, or of a simulated run.

Each command, its options and its help come from an analysis (`l1scout.analysis.ANALYSES`).
"""

from typing import Any

import typer
from rich.markup import escape
from typer.core import TyperCommand, TyperGroup

from l1scout.analysis import ANALYSES
from l1scout.cli.job import make_command


class _Deferred(TyperCommand):
    """An analysis that is imported when its command runs."""

    def load(self) -> Any:
        """Import the analysis, and return its command."""
        return make_command(self.name or "")

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Parse the arguments with the command itself."""
        return self.load().make_context(*arguments, **options)


class _Analyses(TyperGroup):
    """A command for each of `ANALYSES`."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name in ANALYSES:
            summary = ANALYSES.describe(name).partition("\n")[0]
            self.add_command(_Deferred(name, help=escape(summary)))


analyse = typer.Typer(
    cls=_Analyses,
    help="Physics and detector quantities, from packets, files or a simulated run. "
    "Each command prints a table; with --out it writes figure, tables (CSV) and result (JSON), too.",
    no_args_is_help=True,
    add_completion=False,
)


@analyse.callback()
def _group() -> None: ...
