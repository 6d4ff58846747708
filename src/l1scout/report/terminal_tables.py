"""Tables of results for the terminal: rows of `l1scout.report.result_tables` as rich tables."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text

from l1scout.dataset.cuts import CutFlow
from l1scout.errors import printable
from l1scout.evaluate.carried import Carried
from l1scout.evaluate.slices import Slice
from l1scout.model.quantities import VARIABLES
from l1scout.report.result_tables import KIND_NAMES, RATIO_NAMES, VARIABLE_NAMES, Row, number
from l1scout.report.sample_tables import WITHOUT

_NAMES = [f"{KIND_NAMES[k]} {VARIABLE_NAMES[v]}" for k in KIND_NAMES for v in VARIABLES]


def plain_table(head: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> Table:
    """Return a table without lines: the first column to the left, the others, numbers, to the right.

    Cells are shown as they are: what looks like rich markup, or a control character, has no effect.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), title_justify="left")
    table.title = _literal(title) if title else None
    for k, name in enumerate(head):
        table.add_column(_literal(name), justify="right" if k else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(_literal, row))
    return table


def _literal(text: str) -> Text:
    return Text(printable(text))


def metrics_table(rows: Sequence[Row]) -> Table:
    """Return a line for each of the nine metrics, so that two models fit 80 columns."""
    head = ["", *("paper" if r.published else r.name for r in rows)]
    lines = [[name, *(_with_error(r.cells[k]) for r in rows)] for k, name in enumerate(_NAMES)]
    return plain_table(head, lines)


def metrics_by_row(rows: Sequence[Row]) -> Table:
    """Return a line for each network, for tables of many networks."""
    lines = [["  published" if r.published else r.name, *map(_with_error, r.cells)] for r in rows]
    return plain_table(["", *(name.replace(" %", "") for name in _NAMES)], lines)


def _with_error(cell: tuple[str, str]) -> str:
    return " ± ".join(filter(None, cell))


def records_table(rows: Sequence[Mapping[str, Any]], title: str = "") -> Table:
    """Return a line for each record, a column for each key; numbers have four digits."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    lines = [[_cell(row.get(key)) for key in keys] for row in rows]
    return plain_table([key.replace("_", " ") for key in keys], lines, title)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float | np.floating) else str(value)


def cut_flow_table(flow: CutFlow) -> Table:
    """Return the muons left after each cut."""
    lines = [[cut, *("" if n is None else f"{n:,}" for n in counts)] for cut, *counts in flow.rows()]
    return plain_table(["muons left after", "L1", "offline"], lines)


def samples_table(samples: Sequence[Carried]) -> Table:
    """Return ratios and pull widths of a model: a column for each sample, a line for each number."""
    counts = {"muons": "muons", f"  {WITHOUT}": "without_floor", "  recalibrated": "recalibrated"}
    lines = [[name, *(f"{getattr(s, field):,}" for s in samples)] for name, field in counts.items()]
    for kind, name in zip(KIND_NAMES, RATIO_NAMES, strict=True):
        for v in VARIABLES:
            rest = [number(getattr(s.ratios_without_floor, kind)[v]) for s in samples]
            lines.append(
                [f"{name} {VARIABLE_NAMES[v]}", *(number(getattr(s.ratios, kind)[v]) for s in samples)]
            )
            lines.append([f"  {WITHOUT}", *rest])
    for v in VARIABLES:
        lines.append([f"pull width {VARIABLE_NAMES[v]}", *(number(s.pulls.get(v)) for s in samples)])
        lines.append([f"  {WITHOUT}", *(number(s.pulls_without_floor.get(v)) for s in samples)])
    if any(s.combined for s in samples):
        gains = [s.combined for s in samples]
        lines.append(["RMS, all combined", *(number(g.ratio if g else None) for g in gains)])
        lines.append(["  p-value", *(f"{g.p_value:.2g}" if g else "-" for g in gains)])
    return plain_table(["", *(s.name for s in samples)], lines)


def slices_table(slices: Sequence[Slice], model: str) -> Table:
    """Return ratios of a model on some of the muons: a column for each part, a line for each number."""
    lines = [["muons", *(f"{s.muons:,}" for s in slices)]]
    for kind, name in zip(KIND_NAMES, RATIO_NAMES, strict=True):
        for v in VARIABLES:
            cells = [number(getattr(s.ratios[model], kind)[v]) if s.ratios else "-" for s in slices]
            lines.append([f"{name} {VARIABLE_NAMES[v]}", *cells])
    return plain_table(["", *(s.name for s in slices)], lines)
