"""Figures of analyses that take any stream."""

from collections.abc import Mapping
from itertools import groupby
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from l1scout.analysis.figures.canvas import GREY, canvas, label, legend, literal, points, titles

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
