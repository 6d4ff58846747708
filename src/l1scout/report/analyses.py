"""Figures of the analyses: one function a figure, from the state or the result of an analysis."""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import mplhep
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from l1scout.analysis.cosmics import Cosmics
from l1scout.analysis.counts import CrossingCounts
from l1scout.analysis.filling import FoundScheme
from l1scout.analysis.firing import Firing
from l1scout.analysis.luminosity import Luminosity, zero_counting
from l1scout.analysis.masses import LINES, RANGES, Masses
from l1scout.analysis.muons import FINDERS
from l1scout.analysis.occupancy import ETA_EDGES, PHI_CELLS, Occupancy
from l1scout.analysis.vdm import VdmScan, expected_mu, fit_scan
from l1scout.lhc import BX_PER_ORBIT
from l1scout.report.figures import COLOURS, RAW_COLOUR, WORSE_COLOUR, origin, style

SYMBOLS = {"φ": r"$\phi$", "J/ψ": r"J/$\psi$", "ψ(2S)": r"$\psi$(2S)", "Υ": r"$\Upsilon$", "Z": "Z"}


@contextmanager
def _figure(size: tuple[float, float], *shape: int, **rest: Any) -> Iterator[tuple[Figure, Any]]:
    with style():
        figure = Figure(figsize=size, layout="constrained")
        yield figure, figure.subplots(*shape, **rest)


def _label(axes: Sequence[Axes], simulated: bool | None, what: str) -> None:
    text = origin(simulated).replace(" ", r"\ ")
    axes[0].set_title(rf"$\bf{{l1scout}}$ $\it{{{text}}}$", loc="left")
    axes[-1].set_title(what, loc="right")


def png(figure: Figure) -> bytes:
    """Draw a figure."""
    out = io.BytesIO()
    with style():
        figure.savefig(out, format="png", dpi=110)
    return out.getvalue()


def _points(ax: Axes, x: Any, y: Any, error: Any, label: str, k: int, **rest: Any) -> None:
    ax.errorbar(x, y, error, linestyle="none", marker="os^vD"[k % 5], color=COLOURS[k], label=label, **rest)


def luminosity(state: Luminosity, result: Mapping[str, Any]) -> Figure:
    """Muons a crossing of every bunch, both methods against each other, and the sections."""
    rows, sections = result["bunches"], [s for s in result["sections"] if "muons_per_orbit" in s]
    with _figure((14, 9), 2, 2, width_ratios=(2, 1)) as (figure, ((ax, scatter), (ratio, time))):
        bx = np.array([r["bx"] for r in rows])
        for k, method in enumerate(("zero", "rate")):
            _points(ax, bx, [r[f"muons_per_crossing_{method}"] for r in rows],
                    [r[f"muons_per_crossing_{method}_stat"] for r in rows],
                    f"{method} counting", k, markersize=2, linewidth=0.5)  # fmt: skip
        ax.set_xlabel("BX", loc="right")
        ax.set_ylabel("muons per crossing", loc="top")
        ax.set_ylim(0, ax.get_ylim()[1] * 1.15)
        ax.legend(frameon=False, markerscale=3)
        zero, rate = (np.array([r[f"muons_per_crossing_{m}"] for r in rows]) for m in ("zero", "rate"))
        errors = np.array([r["muons_per_crossing_zero_stat"] for r in rows])
        scatter.plot(zero, rate, ".", color=COLOURS[0], markersize=3)
        ends = [np.nanmin(zero), np.nanmax(zero)]
        scatter.plot(ends, ends, color="#999999", linewidth=1)
        scatter.set_xlabel("muons per crossing, zero counting", loc="right")
        scatter.set_ylabel("muons per crossing, rate counting", loc="top")
        background = np.array([r["background_per_crossing"] for r in rows])
        with np.errstate(all="ignore"):
            share = np.where(zero + background > 2 * errors, background / (zero + background), np.nan)
            relative = np.where(zero > 2 * errors, errors / zero, np.nan)
        ratio.plot(bx, 100 * share, ".", color=COLOURS[1], markersize=3, label="background, % of all muons")
        ratio.plot(bx, 100 * relative, ".", color=COLOURS[2], markersize=3, label="statistical error, %")
        ratio.set_xlabel("BX", loc="right")
        ratio.set_ylabel("%", loc="top")
        ratio.legend(frameon=False, markerscale=3)
        unit = "hz_per_ub" if sections and "hz_per_ub" in sections[0] else "muons_per_orbit"
        y, error = ([s[n] for s in sections] for n in (unit, f"{unit}_stat"))
        _points(time, [s["section"] for s in sections], y, error, "", 0, markersize=4)
        time.set_xlabel("lumisection or slice", loc="right")
        time.set_ylabel(
            {"muons_per_orbit": "muons per orbit", "hz_per_ub": r"L [Hz/$\mu$b]"}[unit], loc="top"
        )
        _label([ax, scatter], state.counts.simulated, f"{result['orbits']:,} orbits")
        return figure


def linearity(result: Mapping[str, Any], simulated: bool | None) -> Figure:
    """Measured over reference luminosity against the reference, and the straight line through it."""
    points = result["points"]
    x, y, error = (
        np.array([p[n] for p in points])
        for n in ("reference", "muons_per_colliding_crossing", "muons_per_colliding_crossing_stat")
    )
    level, slope = result["level"], result["slope"]
    with _figure((9, 6)) as (figure, ax):
        what = "bunch" if "bx" in points[0] else "section"
        _points(ax, x, y / x, error / x, f"a {what} each, statistical errors", 0, markersize=4)
        ends = np.array([x.min(), x.max()])
        line = level["value"] * (1 + slope["value"] * (ends - result["centre"]))
        told = f"slope {slope['value']:.3g} ± {slope['error']:.2g}"
        told += rf", $\chi^2$ {result['chi2']:.1f} / {result['dof']}"
        ax.plot(ends, line, color=COLOURS[1], label=told)
        ax.set_xlabel("reference", loc="right")
        ax.set_ylabel("muons per colliding crossing / reference", loc="top")
        ax.legend(frameon=False)
        _label([ax], simulated, f"{result['method']} counting, {result['orbits']:,} orbits")
        return figure


def occupancy(state: Occupancy, result: Mapping[str, Any]) -> Figure:
    """Draw maps in eta and phi and in BX and lumisection, muons by BX, and processors."""
    with _figure((15, 10), 2, 2) as (figure, ((cells, sections), (bx, processors))):
        total = state.cells.sum(axis=0)
        phi = np.linspace(0, 360, PHI_CELLS + 1)
        seen = np.ma.masked_equal(total, 0)
        image = cells.pcolormesh(phi, ETA_EDGES, seen, cmap="viridis", rasterized=True)
        figure.colorbar(image, ax=cells, label="muons")
        at = [(c["phi_deg"], c["eta"]) for c in result["cells"]]
        if at:
            cells.plot(*zip(*at, strict=True), "x", color=WORSE_COLOUR, markersize=4, label="hot or dead")
            cells.legend(loc="upper right")
        cells.set_xticks(range(0, 361, 60))
        cells.set_xlabel(r"$\varphi$ [degrees]", loc="right")
        cells.set_ylabel(r"$\eta$", loc="top")
        counts = state.counts.muons
        if counts and state.rates:
            keys = sorted(counts)
            grid = np.stack([counts[k][1:] for k in keys])
            shown = np.ma.masked_equal(grid, 0)
            image = sections.pcolormesh(
                np.arange(0.5, BX_PER_ORBIT + 1),
                np.arange(len(keys) + 1),
                shown,
                norm=LogNorm(),
                rasterized=True,
            )
            figure.colorbar(image, ax=sections, label="muons")
            sections.set_yticks(np.arange(len(keys))[:: max(len(keys) // 8, 1)] + 0.5,
                                [f"{k.number}" for k in keys[:: max(len(keys) // 8, 1)]])  # fmt: skip
        else:
            sections.text(0.5, 0.5, "orbits are not counted: no rates", ha="center")
        sections.set_xlabel("BX", loc="right")
        sections.set_ylabel("lumisection or slice", loc="top")
        mplhep.histplot(
            state.bx[1:], np.arange(0.5, BX_PER_ORBIT + 1), ax=bx, yerr=False, color=COLOURS[0], linewidth=0.7
        )
        for s in result["satellites"]:
            bx.plot(s["bx"], s["muons"], "v", color=WORSE_COLOUR, label=f"satellite, BX {s['bx']}")
        bx.set_yscale("log" if state.bx.any() else "linear")
        bx.set_xlabel("BX", loc="right")
        bx.set_ylabel("muons", loc="top")
        if result["satellites"]:
            bx.set_ylim(top=bx.get_ylim()[1] * 5)
            bx.legend(frameon=False, loc="upper right")
        n = state.processors
        _points(processors, np.arange(n.size), n, np.sqrt(n), "", 0, markersize=4)
        bad = [r["processor"] for r in result["processors"]]
        if bad:
            processors.plot(bad, n[bad], "o", color=WORSE_COLOUR, markersize=12, markerfacecolor="none",
                            label="hot or dead")  # fmt: skip
        for edge in (6, 12, 24, 30):
            processors.axvline(edge - 0.5, color="#999999", linewidth=0.8, linestyle=":")
        processors.set_xlim(-0.5, 35.5)
        top = max(float((n + np.sqrt(n)).max()), 1.0)
        processors.set_ylim(0, top * 1.25)
        for k, name in zip((3, 9, 18, 27, 33), FINDERS, strict=True):
            processors.text(k - 0.5, top * 1.15, name, ha="center", fontsize=11)
        processors.set_xlabel("processor (tfMuonIndex // 3)", loc="right")
        processors.set_ylabel("muons", loc="top")
        if bad:
            processors.legend(frameon=False, loc="lower left")
        _label([cells, sections], state.simulated, f"{state.muons:,} muons")
        return figure


def firing(state: Firing, result: Mapping[str, Any]) -> Figure:
    """Early and late shares, and pairs beyond chance against their distance."""
    rows = result["shares"]
    with _figure((15, 6), 1, 2, width_ratios=(3, 2)) as (figure, (shares, correlation)):
        x = np.arange(len(rows))
        for k, (name, shift) in enumerate((("early", -0.15), ("late", 0.0), ("doubled", 0.15))):
            given = [r for r in rows if name in r]
            y = 100 * np.array([r[name] for r in given])
            stat, syst = (np.array([r.get(f"{name}_{e}", 0.0) for r in given]) for e in ("stat", "syst"))
            _points(shares, x[: len(given)] + shift, y, 100 * np.hypot(stat, syst), name, k, markersize=5)
        shares.axhline(0, color="#999999", linewidth=0.8)
        shares.set_xticks(x, [r["muons_of"] for r in rows], rotation=60, ha="right")
        shares.tick_params(axis="x", which="minor", bottom=False, top=False)
        shares.set_ylabel("% of the muons", loc="top")
        shares.legend(frameon=False, ncols=3)
        for k, name in enumerate(FINDERS):
            excess, error = state.beyond_chance(k)
            n = max(sum(c.objects for c in state.doubles[k]), 1)
            distance = np.arange(1, state.reach + 1) + 0.08 * (k - 2)
            _points(correlation, distance, 100 * excess / n, 100 * error / n, name, k, markersize=5)
        correlation.axhline(0, color="#999999", linewidth=0.8)
        correlation.set_xlabel("distance [BX]", loc="right")
        correlation.set_ylabel("pairs beyond chance, % of the muons", loc="top")
        correlation.legend(frameon=False)
        _label([shares, correlation], state.simulated, f"{result['orbits']:,} orbits")
        return figure


def cosmics(state: Cosmics, result: Mapping[str, Any]) -> Figure:
    """Zenith angle, azimuth and delay of cosmic muons."""
    with _figure((15, 5), 1, 3) as (figure, (zenith, phi, delay)):
        rows = result["cos_zenith"]
        centre = [(r["low"] + r["high"]) / 2 for r in rows]
        _points(zenith, centre, [r["pairs"] for r in rows], [r["error"] for r in rows], "both legs", 0)
        zenith.set_xlabel(r"cos of the zenith angle", loc="right")
        rows = result["phi"]
        centre = [r["low_deg"] + 7.5 for r in rows]
        _points(phi, centre, [r["pairs"] for r in rows], [r["error"] for r in rows], "upper leg", 0)
        phi.set_xlabel(r"$\varphi$ of the upper leg [degrees]", loc="right")
        for k, name in enumerate(("upper leg first", "lower leg first")):
            n = state.apart[k, 1:]
            _points(delay, np.arange(1, n.size + 1) + 0.04 * k, n, np.sqrt(n), name, k)
        delay.set_xticks([1, 2])
        delay.set_xlim(0.5, 2.5)
        delay.set_xlabel("BX between the legs", loc="right")
        delay.legend(frameon=False, loc="center")
        for ax in (zenith, phi, delay):
            ax.set_ylabel("pairs", loc="top")
            ax.set_ylim(bottom=min(0, ax.get_ylim()[0]), top=max(1, ax.get_ylim()[1]))
        _label(
            [zenith, delay], state.simulated, f"{result['live_s']:.3g} s, {result['searched_bx']} BX an orbit"
        )
        return figure


def filling(state: CrossingCounts, found: FoundScheme) -> Figure:
    """Muons by BX, and which of them were found to collide."""
    with _figure((15, 5), 1, 1) as (figure, ax):
        bx, counts = np.arange(1, BX_PER_ORBIT + 1), state.all_muons
        for name, chosen, colour in (
            ("collisions", found.scheme.mask[1:], COLOURS[0]),
            ("none", ~found.scheme.mask[1:], RAW_COLOUR),
        ):
            ax.plot(bx[chosen], counts[1:][chosen], ".", color=colour, markersize=4, label=name)
        ax.plot(found.undecided, counts[found.undecided], "o", color=WORSE_COLOUR, markersize=8,
                markerfacecolor="none", label=f"undecided: {found.undecided.size}")  # fmt: skip
        ax.set_xlabel("BX", loc="right")
        ax.set_ylabel("muons", loc="top")
        ax.set_ylim(bottom=0)
        ax.legend(frameon=True)
        _label([ax], state.simulated, f"{found.known or 'no collisions'}, offset {found.offset}")
        return figure


def masses(state: Masses, rows: str = "crossings or events") -> Figure:
    """Pairs by mass, 0 to 20 and 120 GeV: opposite sign full, same sign dotted, best measured dashed."""
    with _figure((15, 6), 1, 2) as (figure, axes):
        for ax, (name, fine) in zip(axes, RANGES.items(), strict=True):
            edges = fine[::4]
            for k, (muons, by) in enumerate(sorted(state.counts.items(), key=lambda i: i[0] != "raw")):
                colour = RAW_COLOUR if muons == "raw" else COLOURS[k]
                for sign, line in (("opposite", "-"), ("same", ":")):
                    n = by[sign][name].reshape(-1, 4).sum(axis=1)
                    if sign == "opposite" or n.sum():
                        kind: dict[str, Any] = {
                            "color": colour,
                            "linestyle": line,
                            "yerr": False,
                            "flow": "none",
                        }
                        mplhep.histplot(n, edges, ax=ax, label=f"{muons}, {sign} sign", **kind)
                if name == "low" and muons in state.by_error:
                    best = state.by_error[muons][0].reshape(-1, 4).sum(axis=1)
                    kind |= {"linestyle": "--", "color": colour}
                    mplhep.histplot(best, edges, ax=ax, label=f"{muons}, best category", **kind)
            ax.set_yscale("log")
            ax.set_ylim(bottom=0.7, top=ax.get_ylim()[1] * 5)
            for text, mass in LINES.items():
                if edges[-1] / 20 < mass < edges[-1]:
                    ax.axvline(mass, color="#999999", linewidth=0.8, linestyle="--")
                    ax.text(mass, ax.get_ylim()[1] / 1.6, f" {SYMBOLS[text]}", fontsize=12, va="top")
            ax.set_xlim(edges[0], edges[-1])
            ax.set_xlabel("mass [GeV]", loc="right")
            ax.set_ylabel(f"pairs / {edges[1] - edges[0]:g} GeV", loc="top")
        handles = axes[0].get_legend_handles_labels()
        axes[1].legend(*handles, frameon=False, loc="upper right", bbox_to_anchor=(1, 0.93))
        _label(list(axes), state.simulated, f"{state.rows:,} {rows}")
        return figure


def calibrate(state: VdmScan) -> Figure:
    """Points and fits of a van der Meer scan."""
    with _figure((14, 5), 1, 2) as (figure, axes):
        for ax, plane in zip(axes, state.planes, strict=True):
            separation, occupied, crossings = state.points(plane)
            fit = fit_scan(separation, occupied, crossings)
            mu, error = zero_counting(occupied, crossings)
            _points(ax, separation, mu, error, "zero counting", 0)
            fine = np.linspace(separation.min(), separation.max(), 300)
            width = rf"$\Sigma$ = {fit.width.value * 1e3:.2f} $\pm$ {fit.width.error * 1e3:.2f} $\mu$m"
            label = rf"{width}, $-2\ln L$ / dof = {fit.deviance:.1f} / {fit.dof}"
            ax.plot(fine, expected_mu(fine, fit), color=COLOURS[1], label=label)
            ax.set_yscale("log")
            ax.set_ylim(top=ax.get_ylim()[1] * 8)
            ax.set_xlabel(f"separation in {plane} [mm]", loc="right")
            ax.set_ylabel("muons per crossing", loc="top")
            ax.legend(frameon=False, loc="upper left")
        _label(list(axes), state.simulated, "van der Meer scan")
        return figure
