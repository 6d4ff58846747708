"""Figures of analyses that take any stream."""

from collections.abc import Mapping
from itertools import groupby
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from l1scout.analysis.common.stream_maps import StreamOccupancy
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


def firing(found: Mapping[str, Any], simulated: bool | None) -> Figure:
    """Draw the shares of objects that are seen early and late, by part."""
    rows = found["shares"]
    with canvas((10, 5.5)) as figure:
        ax = figure.subplots()
        for k, (name, shift) in enumerate((("early", -0.1), ("late", 0.1))):
            value, low, high = (
                100 * np.array([r[key] for r in rows], np.float64)
                for key in (name, f"{name}_low", f"{name}_high")
            )
            points(ax, np.arange(len(rows)) + shift, value, np.abs([value - low, high - value]), name, k)
        ax.set_xticks(range(len(rows)), [row["objects_of"] for row in rows], rotation=45, ha="right")
        ax.tick_params(axis="x", which="minor", bottom=False, top=False)
        ax.axhline(0, color=GREY, linewidth=0.8, zorder=0)
        titles(ax, "", "% of the objects")
        legend(ax, ncols=2)
        label([ax], simulated, f"{literal(found['kind'])}, {found['orbits']:,} orbits")
        return figure


def occupancy(state: StreamOccupancy, found: Mapping[str, Any]) -> Figure:
    """Draw objects by BX, how many there are in a crossing, and a map of each part of the detector."""
    maps = [] if state.axes is None else list(state.axes.groups)
    panels: list[Any] = [["bx", "bx"], ["number", "map 0"]]
    panels += [[f"map {k}", f"map {k + 1}" if k + 1 < len(maps) else "."] for k in range(1, len(maps), 2)]
    with canvas((14, 4.2 * len(panels))) as figure:
        axes = figure.subplot_mosaic(panels)
        edges = np.arange(0.5, BX_PER_ORBIT + 1)
        axes["bx"].stairs(state.objects[1:], edges, fill=True, color=COLOURS[0])
        axes["bx"].set_xlim(0, BX_PER_ORBIT + 1)
        titles(axes["bx"], "BX", "objects")
        counts = state.multiplicity
        most = int(np.flatnonzero(counts).max(initial=1))
        axes["number"].stairs(counts[: most + 1], np.arange(most + 2) - 0.5, fill=True, color=COLOURS[1])
        titles(axes["number"], "objects in a crossing", "crossings")
        if state.axes is None:
            axes["map 0"].axis("off")
        for k, name in enumerate(maps):
            _map(figure, axes[f"map {k}"], state, k, name)
        label([axes["bx"]], state.simulated, f"{found['objects']:,} objects, {literal(found['kind'])}")
        return figure


def _map(figure: Figure, ax: Axes, state: StreamOccupancy, k: int, name: str) -> None:
    axes = state.axes
    assert axes is not None
    eta, phi = axes.edges
    cells = np.ma.masked_equal(state.cells.reshape(axes.shape)[k], 0)
    image = ax.pcolormesh(phi, eta, cells, cmap="viridis", rasterized=True)
    text = "objects" if len(axes.groups) == 1 else f"objects, {name}"
    figure.colorbar(image, ax=ax, label=text, pad=0.01)
    titles(ax, axes.phi_name.replace("_deg", " [degrees]"), axes.eta_name)
