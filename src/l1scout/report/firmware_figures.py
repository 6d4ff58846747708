"""Figures and rows of firmware models."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from l1scout.analysis.figures.canvas import COLOURS, RAW_COLOUR, heading, literal, style
from l1scout.evaluate.metrics import KINDS
from l1scout.firmware.against import WITHIN, Against
from l1scout.model.quantities import VARIABLES
from l1scout.report.figures import svg_text
from l1scout.report.result_tables import KIND_NAMES, VARIABLE_NAMES


@dataclass(frozen=True)
class Point:
    """A model of a sweep: area penalty, area in bit operations and in LUTs that the compiler estimates."""

    beta: float
    ebops: float
    luts: float
    found: Against

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        area = {"beta": self.beta, "ebops": self.ebops, "estimated_luts": self.luts}
        return {**area, **self.found.as_dict()}


def pareto_rows(points: Sequence[Point]) -> list[dict[str, Any]]:
    """Rows of text: area and the nine ratios firmware / float."""
    rows = []
    for p in points:
        row: dict[str, Any] = {"beta": f"{p.beta:g}", "EBOPs": int(p.ebops), "LUT est.": int(p.luts)}
        for kind, variable, number in p.found.ratio:
            row[f"{KIND_NAMES[kind].split()[0]} {VARIABLE_NAMES[variable]}"] = f"{number.value:.3f}"
        rows.append(row)
    return rows


def pareto_figure(points: Sequence[Point], about: str, simulated: bool | None) -> str:
    """Area against the nine ratios firmware / float, as SVG."""
    with style():
        figure = Figure(figsize=(13, 5), layout="constrained")
        panels = figure.subplots(1, 3, sharex=True)
        panels[0].set_title(heading(simulated), loc="left")
        panels[-1].set_title(literal(about), loc="right")
        for ax, kind in zip(panels, KINDS, strict=True):
            ax.axhspan(1 - WITHIN, 1 + WITHIN, color=RAW_COLOUR, alpha=0.15, label="within 1 %")
            ax.axhline(1, color=RAW_COLOUR, linewidth=1)
            for variable, colour, marker in zip(VARIABLES, COLOURS, "osD", strict=False):
                numbers = [getattr(p.found.ratio, kind)[variable] for p in points]
                ax.errorbar(
                    [p.luts for p in points],
                    [n.value for n in numbers],
                    [n.error for n in numbers],
                    color=colour,
                    marker=marker,
                    capsize=2,
                    label=VARIABLE_NAMES[variable],
                )
            ax.set_xscale("log")
            for which in (ax.xaxis.set_major_formatter, ax.xaxis.set_minor_formatter):
                which(FuncFormatter(lambda x, _: f"{x:,g}" if f"{x:e}"[0] in "1235" else ""))
            ax.set_xlabel("LUTs, estimated by the compiler", loc="right")
            ax.set_ylabel(f"{KIND_NAMES[kind].split()[0]}, firmware / float", loc="top")
        panels[0].legend(frameon=False)
        return svg_text(figure, simulated)
