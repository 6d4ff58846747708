"""Figures of the analyses of rates: one function per figure, from the state or the result of an analysis."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from l1scout.analysis.common.bunch_luminosity import Luminosity, zero_counting
from l1scout.analysis.common.counts import CrossingCounts
from l1scout.analysis.common.schemes import FoundScheme, Scheme
from l1scout.analysis.common.vdm import VdmScan, expected_mu, fit_scan
from l1scout.analysis.figures.canvas import (
    COLOURS,
    GREY,
    RAW_COLOUR,
    WORSE_COLOUR,
    canvas,
    headroom,
    label,
    legend,
    plus_minus,
    points,
    pull_axis,
    significant,
    titles,
)
from l1scout.lhc import BX_PER_ORBIT

TRAIN_GAP = 20
"""Empty BX from which on bunches belong to another group of trains."""
ZOOM_BX = 120
"""BX of the group that is drawn bunch by bunch."""
FEW_POINTS = 40
"""More points than these are averaged before they are drawn."""


def _groups(scheme: Scheme) -> list[NDArray[np.int64]]:
    """Colliding BX, in groups of trains."""
    return np.split(scheme.bx, np.flatnonzero(np.diff(scheme.bx) > TRAIN_GAP) + 1)


def luminosity(state: Luminosity, result: Mapping[str, Any]) -> Figure:
    """Draw the muons per crossing by groups of trains and in one of them, both methods, and the sections."""
    rows, sections = result["bunches"], [s for s in result["sections"] if "muons_per_orbit" in s]
    at = {r["bx"]: k for k, r in enumerate(rows)}
    groups = [np.array([at[b] for b in g.tolist()]) for g in _groups(state.scheme)] if rows else []
    bx = np.array([r["bx"] for r in rows], np.float64)
    mu, stat = (
        {m: np.array([r[f"muons_per_crossing_{m}{end}"] for r in rows], np.float64) for m in ("zero", "rate")}
        for end in ("", "_stat")
    )
    background = np.array([r["background_per_crossing"] for r in rows], np.float64)
    with canvas((14, 12)) as figure:
        axes = figure.subplot_mosaic([["trains", "trains"], ["zoom", "time"], ["ratio", "share"]])
        _trains(axes["trains"], bx, groups, mu, stat)
        if groups:
            _zoom(axes["zoom"], bx, groups[len(groups) // 2], mu, stat)
        centre = np.array([bx[g].mean() for g in groups])
        half = np.array([np.ptp(bx[g]) / 2 + 0.5 for g in groups])
        mean = {m: np.array([mu[m][g].mean() for g in groups]) for m in mu}
        error = {m: np.array([np.hypot.reduce(stat[m][g]) / g.size for g in groups]) for m in mu}
        safe = significant(mean["zero"], error["zero"])
        own = np.sqrt(np.maximum(error["zero"] ** 2 - error["rate"] ** 2, 0)) / safe
        points(axes["ratio"], centre, mean["rate"] / safe, own, "", 0, xerr=half)
        axes["ratio"].axhline(1, color=GREY, linewidth=0.8)
        titles(axes["ratio"], "BX", "rate / zero counting")
        below = np.array([background[g].mean() for g in groups])
        points(axes["share"], centre, 100 * below / (safe + below), None, "background, % of muons", 1)
        relative = stat["zero"] / significant(mu["zero"], stat["zero"])
        single = np.array([np.median(relative[g][known]) if (known := np.isfinite(relative[g])).any()
                           else np.nan for g in groups])  # fmt: skip
        points(axes["share"], centre, 100 * single, None, "stat. uncertainty of a bunch, %", 2)
        titles(axes["share"], "BX", "%")
        axes["share"].set_ylim(bottom=0)
        legend(axes["share"])
        for name in ("ratio", "share", "trains"):
            axes[name].set_xlim(0, BX_PER_ORBIT + 1)
        unit = "hz_per_ub" if sections and "hz_per_ub" in sections[0] else "muons_per_orbit"
        y, e = ([s[n] for s in sections] for n in (unit, f"{unit}_stat"))
        points(axes["time"], [s["section"] for s in sections], y, e, "", 0, markersize=4)
        name = {"muons_per_orbit": "muons per orbit", "hz_per_ub": r"luminosity [Hz/$\mu$b]"}[unit]
        titles(axes["time"], "lumisection or slice of time", name)
        axes["time"].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if len(sections) == 1:
            axes["time"].set_xlim(sections[0]["section"] - 1, sections[0]["section"] + 1)
        label([axes["trains"]], state.counts.simulated, f"{result['orbits']:,} orbits")
        return figure


def _trains(
    ax: Axes,
    bx: NDArray[np.float64],
    groups: list[NDArray[np.int64]],
    mu: Mapping[str, NDArray[np.float64]],
    stat: Mapping[str, NDArray[np.float64]],
) -> None:
    """Draw mean and spread of the bunches of each group of trains."""
    for k, g in enumerate(groups):
        low, high = np.nanquantile(mu["zero"][g], [0.16, 0.84])
        ends = np.array([bx[g[0]] - 0.5, bx[g[-1]] + 0.5])
        name = "middle 68 % of the bunches" if k == 0 else "_"
        ax.fill_between(ends, low, high, color=COLOURS[0], alpha=0.25, linewidth=0, label=name)
    centre = np.array([bx[g].mean() for g in groups])
    half = np.array([np.ptp(bx[g]) / 2 + 0.5 for g in groups])
    for k, method in enumerate(("zero", "rate")):
        mean = [mu[method][g].mean() for g in groups]
        error = [np.hypot.reduce(stat[method][g]) / g.size for g in groups]
        kind: dict[str, Any] = {"xerr": half} if k == 0 else {"markerfacecolor": "white", "markersize": 8}
        points(ax, centre, mean, error, f"mean, {method} counting", k, **kind, zorder=3 - k)
    titles(ax, "BX", "muons per crossing")
    ax.set_ylim(bottom=min(0.0, ax.get_ylim()[0]))
    legend(ax, ncols=3)


def _zoom(
    ax: Axes,
    bx: NDArray[np.float64],
    group: NDArray[np.int64],
    mu: Mapping[str, NDArray[np.float64]],
    stat: Mapping[str, NDArray[np.float64]],
) -> None:
    """Draw every bunch of a group of trains."""
    g = group[bx[group] < bx[group[0]] + ZOOM_BX]
    for k, method in enumerate(("zero", "rate")):
        points(
            ax, bx[g] + 0.3 * k, mu[method][g], stat[method][g], f"{method} counting", k,
            markersize=3, linewidth=0.8,
        )  # fmt: skip
    titles(ax, f"BX (one of the groups of trains, from BX {bx[g[0]]:.0f})", "muons per crossing")
    ax.set_ylim(bottom=min(0.0, ax.get_ylim()[0]))
    legend(ax, ncols=2)


def linearity(result: Mapping[str, Any], simulated: bool | None) -> Figure:
    """Draw measured over reference luminosity against the reference, the fitted line, and pulls."""
    name = "muons_per_colliding_crossing"
    x, y, error = (np.array([p[n] for p in result["points"]]) for n in ("reference", name, f"{name}_stat"))
    what = "a bunch" if "bx" in result["points"][0] else "a section"
    ratio, sigma = y / x, error / x
    if x.size > FEW_POINTS:
        parts = np.array_split(np.argsort(x, kind="stable"), FEW_POINTS // 2)
        ratio = np.array([y[p].sum() / x[p].sum() for p in parts])
        sigma = np.array([np.hypot.reduce(error[p]) / x[p].sum() for p in parts])
        x = np.array([x[p].mean() for p in parts])
        what = f"mean of about {len(parts[0])} {'bunches' if 'bunch' in what else 'sections'}"
    level, slope, centre = result["level"], result["slope"], result["centre"]

    def line(at: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(level["value"] * (1 + slope["value"] * (at - centre)))

    with canvas((9, 7.5)) as figure:
        ax, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        fine = np.linspace(x.min(), x.max(), 100)
        band = np.hypot(level["error"], level["value"] * slope["error"] * (fine - centre))
        steepness = plus_minus(slope["value"], slope["error"])
        text = f"fit: slope {steepness} per unit of the reference, "
        text += rf"$\chi^2$/dof = {result['chi2']:.1f}/{result['dof']} (p = {result['p_value']:.2g})"
        ax.plot(fine, line(fine), color=COLOURS[1], label=text)
        ax.fill_between(fine, line(fine) - band, line(fine) + band, color=COLOURS[1], alpha=0.3, linewidth=0,
                        label="uncertainty of the fit, 68 %")  # fmt: skip
        points(ax, x, ratio, sigma, f"{what}, statistical uncertainty", 0)
        titles(ax, "", "muons per colliding crossing / reference")
        legend(ax, loc="upper left")
        points(below, x, (ratio - line(x)) / sigma, 1.0, "", 0)
        pull_axis(below, "luminosity of the reference (its unit)")
        label([ax], simulated, f"{result['method']} counting, {result['orbits']:,} orbits")
        return figure


def calibrate(state: VdmScan) -> Figure:
    """Draw points, fits and pulls of a van der Meer scan."""
    with canvas((14, 7)) as figure:
        axes, pulls = figure.subplots(2, 2, sharex="col", height_ratios=(3, 1))
        for ax, below, plane in zip(axes, pulls, state.planes, strict=True):
            separation, occupied, crossings = state.points(plane)
            fit = fit_scan(separation, occupied, crossings)
            mu, error = zero_counting(occupied, crossings)
            points(ax, separation, mu, error, "zero counting, statistical uncertainty", 0)
            ends = separation.min(), separation.max()
            fine = np.linspace(ends[0] - 0.03 * np.ptp(ends), ends[1] + 0.03 * np.ptp(ends), 300)
            text = (
                rf"$\Sigma_{plane}$ = {fit.width.value * 1e3:.2f} $\pm$ {fit.width.error * 1e3:.2f} $\mu$m, "
            )
            text += rf"$-2\ln L$/dof = {fit.deviance:.1f}/{fit.dof} (p = {fit.p_value:.2g})"
            ax.plot(fine, expected_mu(fine, fit), color=COLOURS[1], label=text)
            ax.set_yscale("log")
            titles(ax, "", "muons per crossing")
            legend(ax, loc="upper left")
            wanted = expected_mu(separation, fit)
            spread = np.sqrt(np.expm1(wanted) / crossings)  # of -ln(1 - k/N) where the fit is right
            points(below, separation, (mu - wanted) / spread, 1.0, "", 0)
            pull_axis(below, f"separation in {plane} [mm]")
        label(list(axes), state.simulated, "van der Meer scan")
        return figure


def filling(state: CrossingCounts, found: FoundScheme) -> Figure:
    """Draw muons by BX and the distribution of muons per BX, and mark the BX found to collide."""
    counts = state.all_muons[1:]
    edges = np.arange(0.5, BX_PER_ORBIT + 1)
    collide = found.scheme.mask[1:]
    kinds = (("collisions", collide, COLOURS[0]), ("no collisions", ~collide, RAW_COLOUR))
    with canvas((15, 5.5)) as figure:
        ax, how_many = figure.subplots(1, 2, width_ratios=(5, 2))
        top = max(int(counts.max()), 1)
        step = max(-(-top // 60), 1)
        bins = np.arange(-0.5, top + step + 0.5, step)
        for name, chosen, colour in kinds:
            text = f"{name}: {np.count_nonzero(chosen)} BX"
            ax.stairs(np.where(chosen, counts, 0), edges, fill=True, color=colour, label=text)
            how_many.stairs(np.histogram(counts[chosen], bins)[0], bins, color=colour, linewidth=1.8)
        if found.undecided.size:
            ax.plot(found.undecided, counts[found.undecided - 1], "v", color=WORSE_COLOUR, markersize=7,
                    label=f"undecided: {found.undecided.size} BX")  # fmt: skip
        titles(ax, "BX", "muons")
        ax.set_xlim(0, BX_PER_ORBIT + 1)
        ax.set_ylim(bottom=0)
        legend(ax, ncols=3)
        how_many.set_yscale("log")
        how_many.set_ylim(bottom=0.7)
        headroom(how_many, 1)
        titles(how_many, "muons in a BX", "number of BX")
        label(
            [ax, how_many], state.simulated, f"{found.known or 'no known scheme'}, offset {found.offset} BX"
        )
        return figure
