"""Figure of the masses of muon pairs: the spectrum, and each detected line with its fit."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from l1scout.analysis.common.lines import Line
from l1scout.analysis.common.mass_lines import CATEGORY, GROUPS, LINES, RANGES
from l1scout.analysis.common.pair_masses import Masses
from l1scout.analysis.figures.canvas import (
    COLOURS,
    GREY,
    RAW_COLOUR,
    canvas,
    headroom,
    label,
    legend,
    literal,
    plus_minus,
    points,
    pull_axis,
    titles,
)
from l1scout.errors import InputError

SYMBOLS = {
    "φ": r"$\phi$", "J/ψ": r"J/$\psi$", "ψ(2S)": r"$\psi$(2S)",
    "Υ": r"$\Upsilon$", "Υ(2S)": r"$\Upsilon$(2S)", "Υ(3S)": r"$\Upsilon$(3S)", "Z": "Z",
}  # fmt: skip
RELATIVE_BIN = 0.025
"""Width of a bin over its mass, without --bins."""
SPAN = (0.2, 120.0)
"""GeV."""
_LOW_END = RANGES["low"][-1]
FINE = np.r_[RANGES["low"], RANGES["high"][RANGES["high"] > _LOW_END + 1e-6]]
"""Edges of the finest bins over the whole range, GeV."""


def mass_edges(
    bins: int | None = None, span: tuple[float, float] | None = None, *, log: bool = True
) -> NDArray[np.float64]:
    """Return edges of bins in GeV, all of them edges of the finest bins (10 MeV, from 20 GeV on 250 MeV).

    Parameters
    ----------
    bins : int, optional
        Number of bins; without it, their width is 2.5 % of the mass if `log`, else a hundredth of the range.
    span : (float, float), optional
        Lowest and highest mass in GeV.
    log : bool
        Bins of equal width in the logarithm of the mass.

    Raises
    ------
    InputError
        If the range is empty or outside 0 to 240 GeV, or the bins are finer than the finest.
    """
    low, high = span or SPAN
    if not 0 <= low < high <= FINE[-1]:
        msg = f"--range {low:g},{high:g}: two masses expected, rising, between 0 and {FINE[-1]:g} GeV"
        raise InputError(msg)
    low = max(low, FINE[1]) if log else low
    if bins is None:
        bins = int(np.ceil(np.log(high / low) / np.log1p(RELATIVE_BIN))) if log else 100
        wanted = np.geomspace(low, high, bins + 1) if log else np.linspace(low, high, bins + 1)
        return np.unique(FINE[np.abs(FINE[:, None] - wanted).argmin(axis=0)])
    wanted = np.geomspace(low, high, bins + 1) if log else np.linspace(low, high, bins + 1)
    edges = np.unique(FINE[np.abs(FINE[:, None] - wanted).argmin(axis=0)])
    if edges.size != bins + 1:
        msg = f"--bins {bins}: finer than the 0.01 GeV (0.25 GeV above {_LOW_END:g} GeV) that are counted"
        raise InputError(msg)
    return edges


def _counts(by: dict[str, NDArray[np.int64]], edges: NDArray[np.float64]) -> NDArray[np.int64]:
    """Entries in bins whose edges are edges of the finest bins."""
    above = RANGES["high"][:-1] > _LOW_END - 1e-6
    fine = np.r_[by["low"], by["high"][above]] if "high" in by else np.r_[by["low"], np.zeros(above.sum())]
    total = np.r_[0, np.cumsum(fine)]
    return np.asarray(np.diff(total[np.searchsorted(FINE, edges - 1e-9)]), np.int64)


def masses(
    state: Masses,
    rows: str = "crossings or events",
    edges: NDArray[np.float64] | None = None,
    *,
    log: bool = True,
) -> Figure:
    """Draw pairs per GeV by mass, opposite and same sign, and detected lines with fit and pulls.

    Parameters
    ----------
    state : Masses
    rows : str
        What the rows of the data are.
    edges : ndarray, optional
        Of the bins of the spectrum, from `mass_edges`.
    log : bool
        Logarithmic axis of the mass.
    """
    edges = mass_edges(log=log) if edges is None else edges
    shown = _fits(state.lines())
    columns = max((len(row) for row in shown), default=1)
    rows_of_fits = len(shown)
    with canvas((max(5 * columns, 14), 6.5 + 5.8 * rows_of_fits)) as figure:
        grid = figure.add_gridspec(
            1 + 2 * rows_of_fits, columns, height_ratios=[6.5] + [4, 1.5] * rows_of_fits
        )
        ax = figure.add_subplot(grid[0, :])
        _spectrum(ax, state, edges, log=log)
        for row, fits in enumerate(shown):
            for column, (name, group) in enumerate(fits.items()):
                above = figure.add_subplot(grid[1 + 2 * row, column])
                below = figure.add_subplot(grid[2 + 2 * row, column], sharex=above)
                _fit(above, below, state, name, group, colour=_colours(state)[name])
        label([ax], state.simulated, f"{state.rows:,} {rows}")
        return figure


def _colours(state: Masses) -> dict[str, str]:
    """Colour of each spectrum: grey for the trigger's own values."""
    others = [n for n in state.counts if n not in ("raw", "offline")]
    colours = {"raw": RAW_COLOUR, "offline": COLOURS[4]}
    return colours | {n: COLOURS[k % 4] for k, n in enumerate(others)}


def _spectrum(ax: Axes, state: Masses, edges: NDArray[np.float64], *, log: bool) -> None:
    colours, width, centre = _colours(state), np.diff(edges), (edges[1:] + edges[:-1]) / 2
    for name, by in state.counts.items():
        for sign, line in (("opposite", "-"), ("same", ":")):
            n = _counts(by[sign], edges)
            if not n.sum():
                continue
            kind: dict[str, Any] = {"color": colours[name], "linewidth": 1.4 if sign == "opposite" else 1.0}
            shown = np.where(n > 0, n / width, np.nan)
            ax.stairs(
                shown, edges, baseline=None, linestyle=line, label=f"{literal(name)}, {sign} sign", **kind
            )
            if sign == "opposite":
                ax.errorbar(centre, shown, np.sqrt(n) / width, linestyle="none", alpha=0.6,
                            color=colours[name], elinewidth=0.8)  # fmt: skip
    for name, by_error in state.by_error.items():
        n = _counts({"low": by_error[0]}, edges)
        if n.sum():
            ax.stairs(np.where(n > 0, n / width, np.nan), edges, baseline=None, linestyle="--",
                      color=colours[name], label=f"{literal(name)}, best-measured category")  # fmt: skip
    if log:
        ax.set_xscale("log")
        ticks = [t for t in (0.2, 0.5, 1, 2, 3, 5, 10, 20, 50, 100) if edges[0] <= t <= edges[-1]]
        ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
        ax.tick_params(axis="x", which="minor", labelbottom=False)
    ax.set_yscale("log")
    ax.set_xlim(edges[0], edges[-1])
    densities = [_counts(by["opposite"], edges) / width for by in state.counts.values()]
    lowest = [d[d > 0].min() for d in densities if d.any()]
    if lowest:
        ax.set_ylim(bottom=0.3 * min(lowest))
    titles(ax, r"$\mu\mu$ mass [GeV]", "pairs / GeV")
    headroom(ax, 0.5)
    top = ax.get_ylim()[1]
    for text, mass in LINES.items():
        if edges[0] < mass < edges[-1]:
            ax.axvline(mass, color=GREY, linewidth=0.8, linestyle="--", zorder=0)
            side = "right" if text == "J/ψ" else "left"
            if text not in ("Υ(2S)", "Υ(3S)"):  # their lines are beside that of the 1S
                ax.text(mass, top, f" {SYMBOLS[text]} ", fontsize=12, va="top", ha=side)
    legend(ax, ncols=3)


def _fits(lines: dict[tuple[str, str], Line]) -> list[dict[str, dict[str, Line]]]:
    """Return the fits to draw: a row for each group that has a peak in any spectrum, by name of the spectrum.

    So raw and recalibrated values are beside each other, with or without a peak.
    """
    shown: list[dict[str, dict[str, Line]]] = []
    for group in GROUPS:
        names = dict.fromkeys(name for name, line in lines if line in group and CATEGORY not in name)
        by = {n: {line: lines[n, line] for line in group if (n, line) in lines} for n in names}
        if any(one.detected for found in by.values() for one in found.values()):
            shown.append({n: found for n, found in by.items() if any(one.fit for one in found.values())})
    return shown


def _fit(ax: Axes, below: Axes, state: Masses, name: str, group: dict[str, Line], *, colour: str) -> None:
    """Draw the fit of neighbouring lines: data, background, lines and pulls."""
    fitted = {line: one for line, one in group.items() if one.fit}
    fit = next(iter(fitted.values())).fit
    assert fit is not None
    axis = "high" if fit.window[1] > _LOW_END + 1e-6 else "low"
    n = max(round(fit.bin_width / float(RANGES[axis][1] - RANGES[axis][0])), 1)
    edges = RANGES[axis][::n]
    counts = state.counts[name]["opposite"][axis].reshape(-1, n).sum(axis=1)
    inside = (edges[:-1] > fit.window[0] - 1e-6) & (edges[1:] < fit.window[1] + 1e-6)
    at, counted = edges[np.r_[inside, False] | np.r_[False, inside]], counts[inside]
    centre, expected = (at[1:] + at[:-1]) / 2, fit.expected(at)
    points(ax, centre, counted, np.sqrt(counted), "data", 0, color="black", markersize=3, linewidth=0.9)
    smooth = np.linspace(at[0], at[-1], 401)
    scale = fit.bin_width / float(smooth[1] - smooth[0])
    middle, base = (smooth[1:] + smooth[:-1]) / 2, scale * fit.smooth(smooth)
    ax.plot(middle, scale * fit.expected(smooth), color=colour, label="fit")
    ax.plot(middle, base, color=colour, linestyle="--", label=fit.background.name)
    for k, (line, one) in enumerate(fitted.items()):
        height = scale * fit.line(one.index, smooth)
        names = ", ".join(SYMBOLS[n] for n in (line, *one.others))
        if height.max() > 0:
            ax.fill_between(middle, base, base + height, alpha=0.35, color=COLOURS[(k + 1) % len(COLOURS)],
                            linewidth=0, label=names)  # fmt: skip
    gev = f"{1e3 * fit.bin_width:.0f} MeV" if fit.bin_width < 0.1 else f"{fit.bin_width:g} GeV"
    titles(ax, "", f"pairs / {gev}")
    ax.set_ylim(bottom=0)
    ax.tick_params(axis="x", labelbottom=False)
    words = [rf"$\bf{{{_bold(name)}}}$, p = {fit.p_value:.2g}", *map(_words, fitted, fitted.values())]
    ax.set_title("\n".join(words), loc="left", fontsize=10)
    legend(ax)
    points(below, centre, (counted - expected) / np.sqrt(np.maximum(expected, 1)), 1.0, "", 0, color="black",
           markersize=3, linewidth=0.9)  # fmt: skip
    pull_axis(below, "mass [GeV]")


def _bold(name: str) -> str:
    return "".join(c if c.isalnum() or c in ".-" else r"\ " for c in name)


def _words(line: str, found: Line) -> str:
    """Say what was found of a line: yield, position and width, or status and limit."""
    fit, error = found.fit, float(np.hypot(found.entries.error, found.systematic))
    assert fit is not None
    if not found.detected:
        return f"{SYMBOLS[line]}: {found.status}, below {found.limit:.0f} pairs (95 % CL)"
    entries = plus_minus(found.entries.value, error)
    at, width = (plus_minus(m.value, m.error) for m in (fit.position(found.index), fit.width(found.index)))
    return rf"{SYMBOLS[line]}: {entries} pairs" + "\n" + rf"     m = {at} GeV, $\sigma$ = {width} GeV"
