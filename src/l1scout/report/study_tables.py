"""Tables of a study: rows of the nine metrics, for the terminal and for the page."""

from collections.abc import Mapping

from l1scout.evaluate.metrics import KINDS, Scores
from l1scout.evaluate.published import PUBLISHED
from l1scout.model.quantities import VARIABLES
from l1scout.report.result_tables import Row
from l1scout.training.study_summary import Summary

MOST = 30
"""Networks that the page and the terminal show of a long search: the best."""


def study_rows(summary: Summary) -> list[Row]:
    """Return the nine metrics of raw trigger, networks and limit, each followed by its published row."""
    ours = {"GMT": summary.raw, **{e.recipe.name: e.scores for e in summary.entries[:MOST]}}
    rows = []
    for name, scores in ours.items():
        rows.append(_row(name, scores))
        if name in PUBLISHED:
            rows.append(_row(name, PUBLISHED[name], published=True))
    if summary.limit:
        rows.append(_row("limit", summary.limit.reached))
    return rows


def study_rows_without_floor(summary: Summary) -> list[Row]:
    """Return the nine metrics of raw trigger and networks without the muons of hwPt 6."""
    ours = {e.recipe.name: e.without_floor for e in summary.entries[:MOST]}
    return [_row(name, scores) for name, scores in {"GMT": summary.raw_without_floor, **ours}.items()]


def limit_rows(summary: Summary) -> list[Row]:
    """Return nine ratios ours / limit of each network; none if the study has no limit."""
    if not summary.limit:
        return []
    best = {(kind, v): m.value for kind, v, m in summary.limit.reached}

    def cells(scores: Scores) -> list[tuple[str, str]]:
        limits = [(m.value, best[kind, v]) for kind, v, m in scores]
        return [(f"{own / limit:.3f}" if limit else "-", "") for own, limit in limits]

    return [Row(e.recipe.name, False, cells(e.scores)) for e in summary.entries[:MOST]]


def seed_rows(summary: Summary) -> list[Row]:
    """Return the spread of nine metrics over seeds of each network; none if there was one seed."""
    if summary.study.plan.seeds < 2:
        return []

    def cells(spread: Mapping[str, Mapping[str, float]]) -> list[tuple[str, str]]:
        return [(_number(kind, spread[kind][v]), "") for kind in KINDS for v in VARIABLES]

    return [Row(e.recipe.name, False, cells(e.by_seed)) for e in summary.entries[:MOST]]


def _row(name: str, scores: Scores, *, published: bool = False) -> Row:
    """Return metrics with the spread in units of the last digit, 0.1213(8); shares in percent."""
    cells = []
    for kind, _, m in scores:
        text = _number(kind, m.value)
        if m.error == m.error:
            text += f"({round(m.error * 1e4)})"  # both have four decimals, the shares before times 100
        elif kind == "rms":
            text = f"{m.value:.3f}"
        cells.append((text, ""))
    return Row(name, published, cells)


def _number(kind: str, value: float) -> str:
    return f"{value:.4f}" if kind == "rms" else f"{100 * value:.2f}"
