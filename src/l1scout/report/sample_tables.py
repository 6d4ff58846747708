"""Rows of tables that compare a model on several samples, and on parts of one: for pages and Markdown."""

from collections.abc import Mapping, Sequence

from l1scout.evaluate.carried import Carried
from l1scout.evaluate.metrics import KINDS, Scores
from l1scout.evaluate.slices import FLOOR, Slice
from l1scout.model.quantities import VARIABLES
from l1scout.report.result_tables import RATIO_NAMES, number
from l1scout.statistics import Measured

WITHOUT = f"without hwPt {FLOOR}"
SLICE_HEAD = ["", "muons", *(f"{name}, phi / eta / pT" for name in RATIO_NAMES)]


def sample_rows(samples: Sequence[Carried]) -> list[list[str]]:
    """Return a head, and ratios and pull widths: phi / eta / pT in a cell, a column for each sample."""
    lines = [["", *(s.name for s in samples)]]
    lines.append(["muons", *(f"{s.muons:,}" for s in samples)])
    lines.append(
        [f"muons {WITHOUT} / recalibrated", *(f"{s.without_floor:,} / {s.recalibrated:,}" for s in samples)]
    )
    for kind, short in zip(KINDS, RATIO_NAMES, strict=True):
        name = f"{short}, phi / eta / pT"
        lines.append([name, *(_three(getattr(s.ratios, kind)) for s in samples)])
        rest = [_three(getattr(s.ratios_without_floor, kind)) for s in samples]
        lines.append([f"{name}, {WITHOUT}", *rest])
    lines.append(["pull width, phi / eta / pT", *(_three(s.pulls) for s in samples)])
    lines.append([f"pull width, {WITHOUT}", *(_three(s.pulls_without_floor) for s in samples)])
    return lines


def samples_markdown(samples: Sequence[Carried]) -> str:
    """Return `sample_rows` as a table in Markdown."""
    head, *body = sample_rows(samples)
    ruler = "|".join(["---"] * len(head))
    return "\n".join([f"| {' | '.join(head)} |", f"|{ruler}|", *(f"| {' | '.join(r)} |" for r in body)])


def slice_rows(slices: Sequence[Slice], names: Sequence[str]) -> list[list[str]]:
    """Return the ratios of models on some of the muons: a row for each part and model, under `SLICE_HEAD`."""
    return [
        [f"{part.name}, model {name}", f"{part.muons:,}", *slice_cells(part.ratios.get(name))]
        for part in slices
        for name in names
    ]


def slice_cells(ratios: Scores | None) -> list[str]:
    """Return three cells, RMS, core and tail, of nine ratios; "-" where there are too few muons."""
    return [_three(getattr(ratios, kind)) if ratios else "-" for kind in KINDS]


def _three(row: Mapping[str, Measured]) -> str:
    return " / ".join(number(row[v], "±") for v in VARIABLES) if row else "-"
