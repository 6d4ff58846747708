"""Figures of where and when muons are: maps, muons in the wrong BX, and cosmic muons."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from l1scout.analysis.common.cosmic_legs import LEGS, Cosmics
from l1scout.analysis.common.maps import ETA_EDGES, PHI_CELLS, Occupancy
from l1scout.analysis.common.muons import FINDERS
from l1scout.analysis.common.wrong_bx import ETA_EDGES_HW, Firing
from l1scout.analysis.figures.canvas import COLOURS, GREY, WORSE_COLOUR, canvas, label, legend, points, titles
from l1scout.formats.streams.muon import ETA_LSB
from l1scout.lhc import BX_PER_ORBIT


def occupancy(state: Occupancy, result: Mapping[str, Any]) -> Figure:
    """Draw maps in eta and phi and in BX and lumisection, muons by BX, and processors."""
    with canvas((15, 11)) as figure:
        (cells, sections), (bx, processors) = figure.subplots(2, 2)
        _cells(figure, cells, state, result)
        _sections(figure, sections, state)
        edges = np.arange(0.5, BX_PER_ORBIT + 1)
        bx.stairs(state.bx[1:], edges, fill=True, color=COLOURS[0])
        for s in result["satellites"]:
            bx.plot(s["bx"], 1.6 * s["muons"], "v", color=WORSE_COLOUR, label=f"satellite, BX {s['bx']}")
        if state.bx.any():
            bx.set_yscale("log")
            bx.set_ylim(bottom=0.7)
        bx.set_xlim(0, BX_PER_ORBIT + 1)
        titles(bx, "BX", "muons")
        legend(bx, ncols=2)
        _processors(processors, state, result)
        label([cells, sections], state.simulated, f"{state.muons:,} muons")
        return figure


def _cells(figure: Figure, ax: Axes, state: Occupancy, result: Mapping[str, Any]) -> None:
    """Draw the map in eta and phi, with a frame around hot and dead cells."""
    shown = np.abs(ETA_EDGES) < 2.7
    edges = ETA_EDGES[shown]
    total = np.ma.masked_equal(state.cells.sum(axis=0)[shown[1:] & shown[:-1]], 0)
    phi = np.linspace(0, 360, PHI_CELLS + 1)
    image = ax.pcolormesh(phi, edges, total, cmap="viridis", rasterized=True)
    figure.colorbar(image, ax=ax, label="muons", pad=0.01)
    step = 360 / PHI_CELLS, float(ETA_EDGES[1] - ETA_EDGES[0])
    for k, cell in enumerate(result["cells"]):
        corner = cell["phi_deg"] - step[0] / 2, cell["eta"] - step[1] / 2
        name = "_" if k else "hot or dead"
        ax.add_patch(Rectangle(corner, *step, fill=False, edgecolor=WORSE_COLOUR, linewidth=1.2, label=name))
    ax.set_ylim(edges[0], edges[-1])
    ax.set_yticks(range(-2, 3))
    ax.set_xticks(range(0, 361, 60))
    titles(ax, r"$\varphi$ [degrees]", r"$\eta$")
    legend(ax)


def _sections(figure: Figure, ax: Axes, state: Occupancy) -> None:
    """Draw the map in BX and lumisection."""
    counts = state.counts.muons
    titles(ax, "BX", "lumisection or slice of time")
    if not counts or not state.rates:
        ax.text(0.5, 0.5, "orbits are not counted: no rates", ha="center", transform=ax.transAxes)
        return
    keys = sorted(counts)
    grid = np.ma.masked_equal(np.stack([counts[k][1:] for k in keys]), 0)
    rows = np.arange(len(keys) + 1)
    image = ax.pcolormesh(
        np.arange(0.5, BX_PER_ORBIT + 1), rows, grid, norm=LogNorm(), cmap="viridis", rasterized=True
    )
    figure.colorbar(image, ax=ax, label="muons", pad=0.01)
    shown = range(0, len(keys), max(len(keys) // 8, 1))
    ax.set_yticks([k + 0.5 for k in shown], [f"{keys[k].number}" for k in shown])
    ax.tick_params(axis="y", which="minor", left=False, right=False)


def _processors(ax: Axes, state: Occupancy, result: Mapping[str, Any]) -> None:
    """Draw the muons of each processor, with a ring around hot and dead ones."""
    n = state.processors
    points(ax, np.arange(n.size), n, np.sqrt(n), "statistical uncertainty", 0, xerr=0.5, markersize=4)
    bad = [r["processor"] for r in result["processors"]]
    if bad:
        ax.plot(bad, n[bad], "o", color=WORSE_COLOUR, markersize=12, markerfacecolor="none",
                label="hot or dead", clip_on=False)  # fmt: skip
    ax.set_xlim(-0.5, n.size - 0.5)
    ax.set_ylim(0, max(float((n + np.sqrt(n)).max()), 1.0) * 1.03)
    legend(ax, ncols=2, rows=2)
    top = ax.get_ylim()[1]
    start = 0
    for k, (name, size) in enumerate(zip(FINDERS, (6, 6, 12, 6, 6), strict=True)):
        ax.text(start + size / 2 - 0.5, 0.865 * top, name, ha="center", va="center", fontsize=12)
        start += size
        if k < len(FINDERS) - 1:
            ax.axvline(start - 0.5, ymax=0.9, color=GREY, linewidth=0.8, linestyle=":")
    titles(ax, "processor (tfMuonIndex // 3)", "muons")


def firing(state: Firing, result: Mapping[str, Any]) -> Figure:
    """Draw early, late and doubled muons by track finder and eta, and pairs beyond chance."""
    rows = result["shares"]
    finders = [r for r in rows if not r["objects_of"].startswith("eta")]
    etas = [r for r in rows if r["objects_of"].startswith("eta")]
    low = [ETA_LSB * a for a in ETA_EDGES_HW[:-1]]
    centres = {f"eta {a:+.2f} to {b:+.2f}": ((a + b) / 2, (b - a) / 2)
               for a, b in zip(low, [ETA_LSB * b for b in ETA_EDGES_HW[1:]], strict=True)}  # fmt: skip
    with canvas((15, 5.5)) as figure:
        by_finder, by_eta, correlation = figure.subplots(1, 3, width_ratios=(3, 4, 4))
        for k, (name, shift) in enumerate((("early", -0.15), ("late", 0.0), ("doubled", 0.15))):
            y, error = _percent(finders, name)
            points(by_finder, np.arange(len(finders)) + shift, y, error, name, k)
            if name != "doubled":
                at = np.array([centres.get(r["objects_of"], (np.nan, 0.0)) for r in etas]).reshape(-1, 2)
                y, error = _percent(etas, name)
                points(by_eta, at[:, 0] + 0.25 * shift, y, error, name, k)
        by_finder.set_xticks(range(len(finders)), [r["objects_of"] for r in finders], rotation=45, ha="right")
        by_finder.tick_params(axis="x", which="minor", bottom=False, top=False)
        titles(by_finder, "", "% of the muons")
        legend(by_finder, ncols=3, loc="upper left")
        titles(by_eta, r"$\eta$", "% of the muons")
        legend(by_eta, ncols=2)
        for k, name in enumerate(FINDERS):
            excess, error = state.beyond_chance(k)
            n = sum(c.objects for c in state.doubles[k])
            if n:
                distance = np.arange(1, state.reach + 1) + 0.1 * (k - 2)
                points(correlation, distance, 100 * excess / n, 100 * error / n, name, k)
        titles(correlation, "distance [BX]", "pairs beyond chance, % of the muons")
        correlation.set_xticks(range(1, state.reach + 1))
        correlation.tick_params(axis="x", which="minor", bottom=False, top=False)
        legend(correlation, ncols=3)
        for ax in (by_finder, by_eta, correlation):
            ax.axhline(0, color=GREY, linewidth=0.8, zorder=0)
        label([by_finder, correlation], state.simulated, f"{result['orbits']:,} orbits")
        return figure


def _percent(rows: list[Any], name: str) -> tuple[Any, Any]:
    """Shares in %, and how far their intervals reach below and above; NaN where there is none."""
    value, low, high = (
        100 * np.array([r.get(n, np.nan) for r in rows], np.float64)
        for n in (name, f"{name}_low", f"{name}_high")
    )
    return value, np.abs(np.stack([value - low, high - value]))


def cosmics(state: Cosmics, result: Mapping[str, Any]) -> Figure:
    """Draw zenith angle, azimuth, delay and efficiency of cosmic muons."""
    with canvas((14, 9)) as figure:
        (zenith, phi), (delay, efficiency) = figure.subplots(2, 2)
        rows = result["cos_zenith"]
        centre = [(r["low"] + r["high"]) / 2 for r in rows]
        points(zenith, centre, [r["pairs"] for r in rows], [r["error"] for r in rows], "", 0, xerr=0.025)
        titles(zenith, "cosine of the zenith angle", "pairs, chance subtracted")
        rows = result["phi"]
        step = 180 / len(rows)
        centre = [r["low_deg"] + step / 2 for r in rows]
        points(phi, centre, [r["pairs"] for r in rows], [r["error"] for r in rows], "", 0, xerr=step / 2)
        phi.set_xticks(range(0, 181, 30))
        titles(phi, r"$\varphi$ of the upper leg [degrees]", "pairs, chance subtracted")
        distance = np.arange(state.counts.apart.shape[1])
        for k, name in enumerate(("upper leg first", "lower leg first (chance)")):
            n = state.counts.apart[k]
            points(delay, distance[1:] + 0.04 * k, n[1:], np.sqrt(n[1:]), name, k)
        delay.set_xticks(distance[1:])
        delay.tick_params(axis="x", which="minor", bottom=False, top=False)
        delay.set_xlim(0.5, distance[-1] + 0.5)
        titles(delay, "BX between the legs", "pairs")
        for ax in (zenith, phi, delay):
            ax.set_ylim(bottom=min(0, ax.get_ylim()[0]), top=max(1, ax.get_ylim()[1]))
        legend(delay)
        _efficiency(efficiency, result)
        label(
            [zenith, phi],
            state.simulated,
            f"{result['live_s']:.3g} s live, {result['searched_bx']} BX an orbit",
        )
        return figure


def _efficiency(ax: Axes, result: Mapping[str, Any]) -> None:
    """Draw the efficiency of both legs against the phi of the probed one, and dead regions."""
    for k, leg in enumerate(LEGS):
        rows = [r for r in result["efficiency"] if r["leg"] == leg and r["efficiency"] == r["efficiency"]]
        value, low, high = (np.array([r[n] for r in rows], np.float64) for n in ("efficiency", "low", "high"))
        at = np.array([(r["low_deg"] + r["high_deg"]) / 2 for r in rows])
        total = result[f"efficiency_{leg}"]
        text = f"{leg} leg, live: " + (f"{total['value']:.3f} ({total['low']:.3f} to {total['high']:.3f})"
                                       if total["value"] == total["value"] else "not measured")  # fmt: skip
        points(ax, at, value, np.maximum([value - low, high - value], 0), text, k)
    ax.axhline(1, color=GREY, linewidth=0.8, zorder=0)
    ax.set_ylim(0, 1.05)
    for k, (start, stop) in enumerate(result["dead_phi_deg"]):
        ax.fill_between([start, stop], 0, 1, color=WORSE_COLOUR, alpha=0.15, linewidth=0,
                        label="_" if k else "dead region, found in all muons")  # fmt: skip
    ax.set_xlim(0, 360)
    ax.set_xticks(range(0, 361, 60))
    titles(ax, r"$\varphi$ of the probed leg [degrees]", "efficiency")
    legend(ax)
    ax.set_yticks(np.linspace(0, 1, 6))
