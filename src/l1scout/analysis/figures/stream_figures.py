"""Figures of analyses that take any stream."""

from collections.abc import Mapping
from itertools import groupby
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from l1scout.analysis.figures.canvas import COLOURS, GREY, canvas, label, legend, literal, points, titles
from l1scout.lhc import BX_PER_ORBIT

MAX_PANELS = 15


def correlations(found: Mapping[str, Any], simulated: bool | None) -> Figure:
    """Draw the ratio of coincidences to chance against the distance, a panel for each pair of kinds."""
    pairs = [list(rows) for _, rows in groupby(found["correlations"], lambda r: (r["first"], r["second"]))]
    shown = pairs[:MAX_PANELS] or [[]]
    columns = min(3, len(shown))
    height = -(-len(shown) // columns)
    with canvas((5.5 * columns + 1, 3.6 * height + 0.8)) as figure:
        panels = figure.subplots(height, columns, squeeze=False).ravel()
        for k, rows in enumerate(shown):
            ax = panels[k]
            known = [row for row in rows if row["ratio"] is not None]
            ratio, error = (
                np.array([r[n] or 0.0 for r in known], np.float64) for n in ("ratio", "ratio_stat")
            )
            points(ax, [row["offset_bx"] for row in known], ratio, error, "", 0)
            ax.axhline(1, color=GREY, linewidth=0.8, zorder=0)
            if rows:
                ax.text(
                    0.03,
                    0.95,
                    literal(f"{rows[0]['first']}, {rows[0]['second']} later"),
                    transform=ax.transAxes,
                    va="top",
                )
            titles(ax, "distance [BX]", "observed / expected")
            legend(ax, rows=2)
        for ax in panels[len(shown) :]:
            ax.remove()
        label([panels[0], panels[columns - 1]], simulated, f"{found['orbits']:,} orbits")
        return figure


def slow(found: Mapping[str, Any], simulated: bool | None) -> Figure:
    """Draw the windows of stubs that are selected by BX, beside those of mixed orbits, and their excess."""
    edges = np.arange(0.5, BX_PER_ORBIT + 1)
    rows = found["by_bx"]
    bx = np.array([row["bx"] for row in rows], np.int64)
    with canvas((14, 5.5)) as figure:
        by_bx, together = figure.subplots(1, 2, width_ratios=(3, 1))
        for k, (name, text) in enumerate((("selected", "selected"), ("expected", "mixed orbits"))):
            values = np.zeros(BX_PER_ORBIT)
            values[bx - 1] = [row[name] for row in rows]
            by_bx.stairs(values, edges, color=COLOURS[k], label=text, linewidth=0.8)
        titles(by_bx, "BX", "windows")
        by_bx.set_xlim(0, BX_PER_ORBIT + 1)
        legend(by_bx, ncols=2)
        expected = found["expected"]
        points(together, [0], [found["compared"]], [np.sqrt(found["compared"])], "selected", 0)
        points(together, [1], [expected["value"]], [expected["error"]], "mixed orbits", 1)
        together.set_xticks([0, 1], ["selected", "mixed orbits"])
        together.set_xlim(-0.5, 1.5)
        together.set_ylim(bottom=0)
        titles(together, "", "windows")
        name = f"{found['condition']}, {found['window_bx']} BX, {found['min_stubs']} stubs"
        label([by_bx, together], simulated, f"{name}, {found['orbits']:,} orbits")
        return figure
