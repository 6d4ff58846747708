"""``l1scout analyse NAME``: physics and detector quantities of scouting data, or of a simulated run.

Each command, its options and its help come from an analysis (`l1scout.analysis.ANALYSES`).
"""

from rich.markup import escape

from l1scout.analysis import ANALYSES
from l1scout.cli.command_table import CommandEntry


def commands() -> dict[str, CommandEntry]:
    """Return the entries of all analyses, also of other packages', without importing any."""
    return {name: CommandEntry(escape(ANALYSES.describe(name).partition("\n")[0])) for name in ANALYSES}
