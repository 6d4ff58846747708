"""``l1scout inspect``: what a file is and what it holds."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from l1scout.cli.output import Flavour, Json, print_json, print_table
from l1scout.errors import printable

_SHOWN = 60
"""Rows of a table that people see; --json has them all."""


def inspect(
    file: Annotated[
        Path,
        typer.Argument(
            help="ROOT, Parquet, .raw, records, packets, CSV, pattern or look-up table file, or the "
            "folder of a Parquet data set."
        ),
    ],
    flavour: Flavour = None,
    json: Json = False,
) -> None:
    """Describe what a file is and holds: format, era, runs, orbits seen, streams, occupancies, columns.

    See docs/inspect.md for what each fact means.
    """
    from l1scout.io.inspect import describe

    found = describe(file, flavour=flavour)
    if json:
        print_json(found)
        return
    facts = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    tables = {name: value for name, value in found.items() if _is_table(value)}
    for name, value in found.items():
        if name not in tables:
            facts.add_row(name.replace("_", " "), _text(value))
    print_table(facts)
    for name, rows in tables.items():
        print_table(_table(name, rows))


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def _text(value: Any) -> str:
    """Text of a fact: what is missing or empty says so."""
    if value is None:
        return "not stated"
    if isinstance(value, dict):
        return ", ".join(f"{k} {_text(v)}" for k, v in value.items()) or "none"
    if isinstance(value, list):
        if len(value) == 2 and all(isinstance(v, int) for v in value):
            return f"{value[0]}..{value[1]}"
        return ", ".join(map(_text, value)) or "none"
    return f"{value:.6g}" if isinstance(value, float) else escape(printable(str(value)))


def _table(name: str, rows: list[dict[str, Any]]) -> Table:
    keys = list(dict.fromkeys(key for row in rows for key in row))
    left = len(rows) - _SHOWN
    table = Table(title=name, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for key in keys:
        number = all(isinstance(row.get(key, 0), int | float | None) for row in rows)
        table.add_column(key, justify="right" if number else "left", overflow="fold")
    for row in rows[:_SHOWN]:
        table.add_row(*("" if row.get(key) is None else _text(row[key]) for key in keys))
    if left > 0:
        table.caption = f"and {left} more: --json lists them all"
        table.caption_justify = "left"
    return table
