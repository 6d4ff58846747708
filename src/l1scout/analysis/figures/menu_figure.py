"""The figure of a menu: rates, overlaps, time, and turn-on curves or BX."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from l1scout.analysis.figures.canvas import (
    COLOURS,
    RAW_COLOUR,
    canvas,
    label,
    legend,
    literal,
    points,
    titles,
)
from l1scout.lhc import BX_PER_ORBIT

SHOWN = 20
"""Algorithms of the highest rate that are drawn."""


def menu(found: Mapping[str, Any], simulated: bool | None) -> Figure:
    """Draw the result of the analysis of a menu."""
    rows = sorted(found["algorithms"], key=lambda row: -row["crossings"])[:SHOWN]
    with canvas((16, 13)) as figure:
        axes = figure.subplot_mosaic([["rates", "overlap"], ["time", "last"]])
        _rates(axes["rates"], rows)
        _overlap(axes["overlap"], rows, found["overlap"])
        sections = found["sections"]
        points(axes["time"], [s["section"] for s in sections], [s["rate_hz"] / 1e3 for s in sections],
               [s["rate_stat_hz"] / 1e3 for s in sections], "any algorithm", 0)  # fmt: skip
        titles(axes["time"], "lumisection or slice of time", "rate [kHz]")
        axes["time"].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes["time"].set_ylim(bottom=0)
        legend(axes["time"])
        if found["turn_on"]:
            _turn_on(axes["last"], found["turn_on"])
        else:
            _bx(axes["last"], found["by_bx"]["any"])
        label(
            [axes["rates"], axes["overlap"]],
            simulated,
            f"{literal(found['menu'])}, {found['orbits']:,} orbits",
        )
        return figure


def _rates(ax: Axes, rows: list[dict[str, Any]]) -> None:
    place = np.arange(len(rows))
    rate = np.array([row["rate_hz"] for row in rows], np.float64) / 1e3
    ends = (
        np.array([[row["rate_low_hz"], row["rate_high_hz"]] for row in rows], np.float64).reshape(-1, 2).T
        / 1e3
    )
    errors = np.abs(ends - rate)
    ax.barh(place, rate, xerr=errors, height=0.38, color=RAW_COLOUR, label="before prescales")
    for name, text, colour in (
        ("recalibrated_rate_hz", "recalibrated muons", COLOURS[0]),
        ("prescaled_rate_hz", "after prescales", COLOURS[1]),
    ):
        if rows and name in rows[0]:
            ax.barh(place + 0.38, [row[name] / 1e3 for row in rows], height=0.38, color=colour, label=text)
            break
    ax.set_yticks(place, [literal(row["algorithm"])[:34] for row in rows], fontsize=8)
    ax.invert_yaxis()
    ax.set_xscale("symlog", linthresh=max(float(rate.max(initial=0)) / 1e3, 1e-3))
    titles(ax, "rate [kHz]", "")
    ax.legend(frameon=False, loc="lower right")


def _overlap(ax: Axes, rows: list[dict[str, Any]], found: Mapping[str, Any]) -> None:
    place = {name: k for k, name in enumerate(found["algorithms"])}
    kept = [place[row["algorithm"]] for row in rows]
    counts = np.array(found["crossings"], np.float64).reshape(len(place), len(place))[np.ix_(kept, kept)]
    own = np.maximum(np.diag(counts), 1)[:, None]
    image = ax.imshow(100 * counts / own, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    ax.set_xticks(np.arange(len(rows)), [str(row["index"]) for row in rows], fontsize=8)
    ax.set_yticks(np.arange(len(rows)), [str(row["index"]) for row in rows], fontsize=8)
    ax.minorticks_off()
    ax.figure.colorbar(image, ax=ax, label="share of the row's crossings, %")
    titles(ax, "index of the other algorithm", "index")


def _bx(ax: Axes, fired: Mapping[str, list[int]]) -> None:
    ax.vlines(fired["bx"], 0, fired["crossings"], color=COLOURS[0], linewidth=0.6)
    titles(ax, "BX", "crossings in which any algorithm fires")
    ax.set_xlim(0, BX_PER_ORBIT + 1)
    ax.set_ylim(bottom=0)


def _turn_on(ax: Axes, curves: list[dict[str, Any]]) -> None:
    for k, curve in enumerate(curves):
        edges = np.array(curve["offline_pt_edges_gev"])
        centre = np.sqrt(edges[1:] * edges[:-1])
        for name, filled in (("raw", False), ("recalibrated", True)):
            e = {
                n: np.array([np.nan if x is None else x for x in v])
                for n, v in curve["efficiency"][name].items()
            }
            threshold = curve["threshold_gev" if name == "raw" else "recalibrated_threshold_gev"]
            text = f"{'L1 pT' if name == 'raw' else 'recalibrated'}, {threshold:g} GeV"
            style: dict[str, Any] = {} if filled else {"markerfacecolor": "white", "linestyle": ":"}
            points(
                ax,
                centre,
                e["value"],
                np.abs([e["low"] - e["value"], e["high"] - e["value"]]),
                text,
                k,
                **style,
            )
    ax.set_xscale("log")
    titles(ax, "offline pT [GeV]", "efficiency (simulated or matched muons)")
    legend(ax, loc="upper left", ncols=2)
