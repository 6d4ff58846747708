"""Tables of how far a network's numbers carry: for the terminal, for Markdown and for the page."""

from collections.abc import Mapping, Sequence
from html import escape

from l1scout.evaluate.carried import Carried
from l1scout.evaluate.metrics import KINDS, Scores
from l1scout.evaluate.slices import FLOOR, Slice
from l1scout.model.quantities import VARIABLES
from l1scout.report.result_tables import KIND_NAMES, VARIABLE_NAMES, number, text_table
from l1scout.statistics import Measured

WITHOUT = f"without hwPt {FLOOR}"


def text(samples: Sequence[Carried]) -> str:
    """Ratios and pull widths for the terminal: a column for each sample, a line for each number."""
    lines = [["", *(s.name for s in samples)], ["muons", *(f"{s.muons:,}" for s in samples)]]
    lines.append([f"  {WITHOUT}", *(f"{s.without_floor:,}" for s in samples)])
    lines.append(["  recalibrated", *(f"{s.recalibrated:,}" for s in samples)])
    for kind in KINDS:
        for v in VARIABLES:
            name = f"{KIND_NAMES[kind].split()[0]} {VARIABLE_NAMES[v]}"
            lines.append([name, *(number(getattr(s.ratios, kind)[v]) for s in samples)])
            rest = (getattr(s.ratios_without_floor, kind)[v] for s in samples)
            lines.append([f"  {WITHOUT}", *map(number, rest)])
    for v in VARIABLES:
        lines.append([f"pull width {VARIABLE_NAMES[v]}", *(number(s.pulls.get(v)) for s in samples)])
        lines.append([f"  {WITHOUT}", *(number(s.pulls_without_floor.get(v)) for s in samples)])
    return text_table(lines)


def rows(samples: Sequence[Carried]) -> list[list[str]]:
    """Ratios and pull widths in short: phi / eta / pT in a cell, a column for each sample."""
    lines = [["", *(s.name for s in samples)]]
    lines.append(["muons", *(f"{s.muons:,}" for s in samples)])
    lines.append(
        [f"muons {WITHOUT} / recalibrated", *(f"{s.without_floor:,} / {s.recalibrated:,}" for s in samples)]
    )
    for kind in KINDS:
        name = f"{KIND_NAMES[kind].split()[0]}, phi / eta / pT"
        lines.append([name, *(_three(getattr(s.ratios, kind)) for s in samples)])
        rest = [_three(getattr(s.ratios_without_floor, kind)) for s in samples]
        lines.append([f"{name}, {WITHOUT}", *rest])
    lines.append(["pull width, phi / eta / pT", *(_three(s.pulls) for s in samples)])
    lines.append([f"pull width, {WITHOUT}", *(_three(s.pulls_without_floor) for s in samples)])
    return lines


def markdown(samples: Sequence[Carried]) -> str:
    """Return `rows` as a table in Markdown."""
    head, *body = rows(samples)
    ruler = "|".join(["---"] * len(head))
    return "\n".join([f"| {' | '.join(head)} |", f"|{ruler}|", *(f"| {' | '.join(r)} |" for r in body)])


def html(samples: Sequence[Carried]) -> str:
    """Return `rows` as a table for the page."""
    head, *body = rows(samples)
    top = "".join(f'<th scope="col">{escape(h)}</th>' for h in head)
    lines = "".join(
        f'<tr><th scope="row">{escape(r[0])}</th>{"".join(f"<td>{escape(c)}</td>" for c in r[1:])}</tr>'
        for r in body
    )
    return (
        f'<div class="scroll"><table class="numbers"><thead><tr>{top}</tr></thead>'
        f"<tbody>{lines}</tbody></table></div>"
    )


def slices_html(slices: Sequence[Slice], names: Sequence[str]) -> str:
    """Ratios of models on some of the muons, for the page: a row for each part and model."""
    top = "".join(
        f'<th scope="col">{h}</th>'
        for h in ("", "muons", *(f"{KIND_NAMES[k].split()[0]}, phi / eta / pT" for k in KINDS))
    )
    lines = []
    for part in slices:
        for name in names:
            cells = slice_cells(part.ratios.get(name))
            label = f"{part.name}, model {name}"
            lines.append(
                f'<tr><th scope="row">{escape(label)}</th><td>{part.muons:,}</td>'
                + "".join(f"<td>{escape(c)}</td>" for c in cells)
                + "</tr>"
            )
    return (
        f'<div class="scroll"><table class="numbers"><thead><tr>{top}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def slices_text(slices: Sequence[Slice], name: str) -> str:
    """Ratios of a model on some of the muons, for the terminal: a line for each number."""
    lines = [["", *(s.name for s in slices)], ["muons", *(f"{s.muons:,}" for s in slices)]]
    for kind in KINDS:
        for v in VARIABLES:
            cells = [number(getattr(s.ratios[name], kind)[v]) if s.ratios else "-" for s in slices]
            lines.append([f"{KIND_NAMES[kind].split()[0]} {VARIABLE_NAMES[v]}", *cells])
    return text_table(lines)


def slice_cells(ratios: Scores | None) -> list[str]:
    """Three cells, RMS, core and tail, of nine ratios; "-" where there are too few muons."""
    return [_three(getattr(ratios, kind)) if ratios else "-" for kind in KINDS]


def _three(row: Mapping[str, Measured]) -> str:
    return " / ".join(number(row[v], "±") for v in VARIABLES) if row else "-"
