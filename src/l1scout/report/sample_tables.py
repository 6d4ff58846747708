"""Rows of tables that compare a model on several samples, and on parts of one: for pages and Markdown."""

from collections.abc import Mapping, Sequence

from l1scout.evaluate.carried import Carried, CarriedModel
from l1scout.evaluate.metrics import KINDS, Scores
from l1scout.evaluate.slices import FLOOR, Slice
from l1scout.model.quantities import VARIABLES
from l1scout.report.result_tables import RATIO_NAMES, number
from l1scout.statistics import Measured

WITHOUT = f"without hwPt {FLOOR}"
SLICE_HEAD = ["", "muons", *(f"{name}, phi / eta / pT" for name in RATIO_NAMES)]


def sample_rows(samples: Sequence[Carried]) -> list[list[str]]:
    """Return a head, and two rows per sample, all muons and without hwPt 6; phi / eta / pT share a cell."""
    head = ["", "muons", "recalibrated", *(f"{name}, phi / eta / pT" for name in RATIO_NAMES)]
    lines = [[*head, "pull width, phi / eta / pT"]]
    for s in samples:
        some = "" if s.compared == s.muons else f" of {s.muons:,}"
        counts = [f"{s.compared:,}{some}", f"{s.recalibrated:,}"]
        lines.append([s.name, *counts, *slice_cells(s.ratios), _three(s.pulls)])
        rest = [f"{s.without_floor:,}", "", *slice_cells(s.ratios_without_floor)]
        lines.append([f"{s.name}, {WITHOUT}", *rest, _three(s.pulls_without_floor)])
    return lines


def sample_notes(samples: Sequence[Carried]) -> list[str]:
    """Return sentences: against a network trained on such muons, and all variables of real muons combined."""
    lines = []
    for s in samples:
        if s.to_reference:
            what = "RMS phi / eta / pT over that of a network trained on such muons"
            lines.append(f"{s.name}: {what} {_three(s.to_reference)}")
        if s.combined:
            lines.append(
                f"{s.name}: phi, eta and pT combined (geometric mean of the RMS ratios of all {s.muons}) "
                f"{number(s.combined.ratio, '±')}, p-value {s.combined.p_value:.2g}"
            )
    return lines


def comparison_rows(models: Sequence[CarriedModel]) -> list[list[str]]:
    """Return a head and two rows per sample, all muons and without hwPt 6: RMS ratios of each model."""
    lines = [["RMS model / trigger, phi / eta / pT", *(m.name for m in models)]]
    for group in zip(*(m.samples for m in models), strict=True):
        lines.append([group[0].name, *(_three(s.ratios.rms) for s in group)])
        lines.append([f"{group[0].name}, {WITHOUT}", *(_three(s.ratios_without_floor.rms) for s in group)])
    return lines


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows, the first of which is the head, as a table in Markdown."""
    head, *body = rows
    ruler = "|".join(["---"] * len(head))
    return "\n".join([f"| {' | '.join(head)} |", f"|{ruler}|", *(f"| {' | '.join(r)} |" for r in body)])


def models_markdown(models: Sequence[CarriedModel], detailed: int | None = None) -> str:
    """Return what was measured of models on several samples, in Markdown.

    RMS of all side by side, then everything of the first `detailed` of them, by default of all.
    """
    parts = [markdown_table(comparison_rows(models))]
    for m in models[:detailed]:
        muons = f"{m.training_muons:,} training muons" if m.training_muons else "imported"
        low, high = m.hw_pt
        parts.append(f"Model `{m.name}`, {muons} ({m.trained_on}), for hwPt {low} to {high}:")
        parts.append(markdown_table(sample_rows(m.samples)))
        notes = [f"- {line}" for line in sample_notes(m.samples)]
        parts += ["\n".join(notes)] if notes else []
    return "\n\n".join(parts)


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
