"""Figures of a study, as SVG text."""

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from l1scout.analysis.figures.canvas import COLOURS, RAW_COLOUR, heading, literal, style
from l1scout.evaluate.metrics import KINDS
from l1scout.evaluate.published import PUBLISHED
from l1scout.model.quantities import VARIABLES
from l1scout.report.figures import SYMBOLS, svg_text
from l1scout.report.result_tables import KIND_NAMES
from l1scout.report.study_tables import MOST
from l1scout.training.study import HANDLES, handles
from l1scout.training.study_summary import Summary


def metric_figure(summary: Summary) -> str:
    """Draw the nine metrics: every network's mean and spread, published value and limit."""
    shown = summary.entries[:MOST]
    with style():
        figure = Figure(figsize=(14, 11), layout="constrained")
        grid = figure.subplots(3, 3, sharex=True)
        x = np.arange(len(shown))
        names = [(kind, variable) for kind in KINDS for variable in VARIABLES]
        for (kind, variable), ax in zip(names, grid.flat, strict=True):
            factor = 1 if kind == "rms" else 100
            numbers = [getattr(e.scores, kind)[variable] for e in shown]
            y, error = (np.array([getattr(m, n) for m in numbers]) * factor for n in ("value", "error"))
            ax.errorbar(x, y, error, fmt="o", color=COLOURS[0], label="ours, spread over folds")
            known = [
                getattr(PUBLISHED[e.recipe.name], kind)[variable].value * factor
                if e.recipe.name in PUBLISHED
                else np.nan
                for e in shown
            ]
            if np.isfinite(known).any():
                ax.plot(x, known, "_", color=RAW_COLOUR, markersize=16, label="published (CMS data)")
            if summary.limit:
                best = getattr(summary.limit.reached, kind)[variable].value * factor
                ax.axhline(best, color=COLOURS[1], linewidth=1.2, label="limit")
            ax.set_ylabel(f"{KIND_NAMES[kind]} of {SYMBOLS[variable]}", loc="top")
            networks = [literal(e.recipe.name) for e in shown]
            ax.set_xticks(x, networks, rotation=90 if max(map(len, networks)) > 3 else 0, fontsize=10)
            ax.tick_params(axis="x", which="minor", bottom=False, top=False)
            ax.set_xlim(-0.7, len(shown) - 0.3)
        grid[0][0].legend(loc="best", frameon=False, fontsize=10)
        grid[0][0].set_title(heading(summary.study.data.simulated), loc="left")
        return svg_text(figure, summary.study.data.simulated)


def parallel_figure(summary: Summary) -> str:
    """Draw parallel coordinates: one line per network through what was varied to its objective."""
    entries = [e for e in summary.entries if e.recipe.targets == "unit"] or list(summary.entries)
    values = np.array([e.objective.value for e in entries])
    with style():
        figure = Figure(figsize=(14, 6), layout="constrained")
        ax = figure.subplots()
        axes = [*HANDLES, "objective"]
        choices = {
            h: list(dict.fromkeys([*HANDLES[h], *(handles(e.recipe)[h] for e in entries)])) for h in HANDLES
        }
        low, high = float(values.min()), float(np.quantile(values, 0.9)) if len(values) > 9 else values.max()
        span = (high - low) or 1.0
        colours = matplotlib.colormaps["viridis"]
        random = np.random.default_rng(0)
        for e in reversed(entries):
            how = handles(e.recipe)
            y = [
                (choices[h].index(how[h]) + 0.5 + random.uniform(-0.12, 0.12)) / len(choices[h])
                for h in HANDLES
            ]
            at = min((e.objective.value - low) / span, 1.0)
            ax.plot(range(len(axes)), [*y, 1 - at], color=colours(at), alpha=0.7, linewidth=1.4)
        for k, h in enumerate(HANDLES):
            ax.axvline(k, color="#999999", linewidth=0.8)
            for i, c in enumerate(choices[h]):
                ax.text(k + 0.02, (i + 0.5) / len(choices[h]), literal(str(c)), fontsize=11, va="center")
        ax.axvline(len(axes) - 1, color="#999999", linewidth=0.8)
        for at in (0.0, 0.5, 1.0):
            ax.text(len(axes) - 0.98, 1 - at, f"{low + at * span:.3f}", fontsize=11, va="center")
        ax.set_xticks(range(len(axes)), axes)
        ax.set_yticks([])
        ax.minorticks_off()
        ax.set_xlim(-0.1, len(axes) - 0.6)
        ax.set_ylim(-0.04, 1.04)
        ax.set_title(heading(summary.study.data.simulated), loc="left")
        ax.set_title("objective: mean of the three RMS ratios to the raw trigger", loc="right")
        return svg_text(figure, summary.study.data.simulated)
