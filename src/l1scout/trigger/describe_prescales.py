"""Prescales and masks of the algorithms of a menu, for JSON and in lines of text."""

from collections.abc import Mapping
from typing import Any

from l1scout.trigger.menu import Menu
from l1scout.trigger.prescales import UNIT, Masks, PrescaleTable


def run_settings(
    menu: Menu, table: PrescaleTable | None, column: str | None, masks: Masks | None
) -> dict[str, dict[str, Any]]:
    """Return prescales and masks of each algorithm by its name, as far as they are given.

    Parameters
    ----------
    menu : Menu
    table : PrescaleTable, optional
    column : str, optional
        Its only column that is wanted; without it, the one in use, or all if the table does not say which.
    masks : Masks, optional

    Raises
    ------
    InputError
        If the table is of another menu or lacks the column.
    """
    found: dict[str, dict[str, Any]] = {a.name: {} for a in menu.algorithms}
    if table:
        wanted = column or table.active
        for column_name in (wanted,) if wanted else table.columns:
            for name, factor in table.of_menu(menu, column_name).items():
                found[name].setdefault("prescales", {})[column_name] = factor / UNIT
    if masks:
        for algorithm in menu.algorithms:
            found[algorithm.name]["in_decision"] = masks.finor.get(algorithm.index, True)
            found[algorithm.name]["veto"] = masks.veto.get(algorithm.index, False)
    return found


def run_settings_lines(settings: Mapping[str, Any]) -> list[str]:
    """Describe prescales and masks of an algorithm in lines of text."""
    lines = []
    if "prescales" in settings:
        shown = (
            f"{column}: {value:g}" if value else f"{column}: off"
            for column, value in settings["prescales"].items()
        )
        lines.append(f"  prescale {', '.join(shown)}")
    if not settings.get("in_decision", True):
        lines.append("  masked: it does not count for the decision")
    if settings.get("veto"):
        lines.append("  vetoes the decision")
    return lines
