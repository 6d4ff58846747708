"""Figures of the report, as SVG text. They say "l1scout" and where the muons come from."""

import io
from collections.abc import Sequence
from typing import Any

import hist
import mplhep
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from l1scout.analysis.figures.canvas import COLOURS, RAW_COLOUR, WORSE_COLOUR, heading, literal, style
from l1scout.core.provenance import current
from l1scout.dataset.paper import BARREL
from l1scout.evaluate.error_coverage import NOMINAL, PT_EDGES
from l1scout.evaluate.evaluation import Evaluation
from l1scout.evaluate.metrics import TAIL
from l1scout.evaluate.profiles import MIN_MUONS, Profile
from l1scout.formats.streams.muon import of_finders
from l1scout.model.quantities import VARIABLES
from l1scout.statistics import Measured

_MARKERS = "osD^vP"

SYMBOLS = {"phi": r"$\Delta\varphi$", "eta": r"$\Delta\eta$", "pt": r"$\Delta p_T\,/\,p_T^{offline}$"}
_SHORT = {"phi": r"$\varphi$", "eta": r"$\eta$", "pt": "$p_T$"}
_UNITS = {"phi": " [rad]", "eta": "", "pt": ""}
_WINDOWS = {"phi": (-0.6, 0.6), "eta": (-0.12, 0.12), "pt": (-1.0, 1.5)}
_PT_TICKS = (2, 3, 4, 5, 7, 10, 15, 20, 30, 50, 100, 200, 500)
_QUANTITY_LABELS = {
    "bias": "mean of {}{}",
    "rms": "RMS of {}{}",
    "width": "68 % half-width of {}{}",
    "tail": "% with |{}| > {}",
}


def residual_figure(evaluation: Evaluation) -> str:
    """Residuals in phi, eta and pT of the raw trigger and of every model: the reference paper's Fig. 2."""
    with style():
        figure = Figure(figsize=(14, 4.7), layout="constrained")
        axes = figure.subplots(1, 3)
        for ax, variable in zip(axes, VARIABLES, strict=True):
            low, high = _WINDOWS[variable]
            samples = {"GMT": evaluation.raw[variable]}
            samples |= {f"model {literal(n)}": r[variable] for n, r in evaluation.models.items()}
            for k, (name, values) in enumerate(samples.items()):
                h = hist.Hist(hist.axis.Regular(100, low, high, name=variable), storage=hist.storage.Double())
                h.fill(values)
                outside = 100 * (1 - h.sum() / len(values))
                colour = RAW_COLOUR if k == 0 else COLOURS[(k - 1) % len(COLOURS)]
                kind: dict[str, Any] = {"histtype": "step", "linewidth": 1.8}
                if k == 0:
                    kind = {"histtype": "fill", "alpha": 0.35}
                label = f"{name} ({outside:.1f} % outside)"
                mplhep.histplot(
                    h / len(values) * 100, ax=ax, color=colour, label=label, yerr=False, flow="none", **kind
                )
            for edge in (-TAIL[variable], TAIL[variable]):
                ax.axvline(edge, ymax=0.69, color="#999999", linewidth=0.8, linestyle=":")  # below the legend
            ax.set_xlim(low, high)
            ax.set_ylim(0, ax.get_ylim()[1] * 1.45)
            ax.set_xlabel(f"{SYMBOLS[variable]}{_UNITS[variable]}", loc="right")
            ax.set_ylabel("% of muons in a bin", loc="top")
            ax.legend(loc="upper right", frameon=False)
        label_evaluation(axes, evaluation)
        return svg_text(figure, evaluation.data.simulated)


def profile_figure(evaluation: Evaluation, profile: Profile) -> str:
    """Bias, resolution and tail against a quantity; red rings where a model is worse than the raw trigger."""
    rows = ("bias", "rms", "width", "tail")
    with style():
        figure = Figure(figsize=(14, 13), layout="constrained")
        grid = figure.subplots(len(rows), 3, sharex=True)
        for row, quantity in enumerate(rows):
            for ax, variable in zip(grid[row], VARIABLES, strict=True):
                _panel(ax, profile, quantity, variable)
                symbol = SYMBOLS[variable]
                if (quantity, variable) == ("bias", "phi") and profile.axis.name != "charge":
                    symbol = rf"$q\,$ {symbol}"
                extra = f"{TAIL[variable]:g}" if quantity == "tail" else _UNITS[variable]
                ax.set_ylabel(_QUANTITY_LABELS[quantity].format(symbol, extra), loc="top")
        for ax in grid[-1]:
            ax.set_xlabel(profile.axis.label, loc="right")
        handles, names = grid[0][0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper center", ncols=len(names), frameon=False)
        label_evaluation(grid[0], evaluation)
        return svg_text(figure, evaluation.data.simulated)


def _panel(ax: Axes, profile: Profile, quantity: str, variable: str) -> None:
    edges = np.asarray(profile.axis.edges)
    centre = np.sqrt(edges[1:] * edges[:-1]) if profile.axis.log else (edges[1:] + edges[:-1]) / 2
    half = np.abs(np.stack([centre - edges[:-1], edges[1:] - centre]))
    samples = {"GMT": profile.raw, **{f"model {literal(n)}": r for n, r in profile.models.items()}}
    factor = 100 if quantity == "tail" else 1
    top = 0.0
    for k, (name, numbers) in enumerate(samples.items()):
        y, error = _series(numbers[variable][quantity])
        style: dict[str, Any] = {"color": RAW_COLOUR, "marker": "o", "markerfacecolor": "white"}
        if k:
            style = {"color": COLOURS[(k - 1) % len(COLOURS)], "marker": _MARKERS[(k - 1) % len(_MARKERS)]}
        ax.errorbar(
            centre, y * factor, error * factor, half, linestyle="none", markersize=5, label=name, **style
        )
        if np.isfinite(y).any():
            top = max(top, float(np.nanmax(y + error)) * factor)
    for name, by in profile.worse.items():
        if quantity in by[variable]:
            y, _ = _series(profile.models[name][variable][quantity])
            bad = by[variable][quantity]
            ax.plot(
                centre[bad],
                y[bad] * factor,
                linestyle="none",
                marker="o",
                markersize=13,
                markerfacecolor="none",
                markeredgecolor=WORSE_COLOUR,
                markeredgewidth=1.8,
            )
    if quantity == "bias":
        ax.axhline(0, color="#999999", linewidth=0.8)
    else:
        ax.set_ylim(0, top * 1.15 or 1)
    filled = np.flatnonzero(profile.muons >= MIN_MUONS)
    if filled.size:
        ax.set_xlim(edges[filled[0]], edges[filled[-1] + 1])
    if profile.axis.log:
        ax.set_xscale("log")
        low, high = ax.get_xlim()
        ticks = [t for t in _PT_TICKS if low <= t <= high]
        ax.set_xticks(ticks, [str(t) for t in ticks])
        ax.minorticks_off()
    if profile.axis.name == "charge":
        ax.set_xticks([-0.75, 0.75], ["negative", "positive"])
        ax.tick_params(axis="x", which="minor", bottom=False, top=False)


def coverage_figure(evaluation: Evaluation) -> str:
    """Share of muons within z predicted uncertainties against that of a Gaussian; pull width against pT."""
    edges = np.asarray(PT_EDGES)
    centre = np.sqrt(edges[1:] * edges[:-1])
    with style():
        figure = Figure(figsize=(14, 9), layout="constrained")
        top, bottom = figure.subplots(2, 3)
        for above, below, variable in zip(top, bottom, VARIABLES, strict=True):
            above.plot([0, 1], [0, 1], color="#999999", label="Gaussian")
            below.axhline(1, color="#999999")
            for k, (name, covered) in enumerate(evaluation.coverage.items()):
                drawn: dict[str, Any] = {"color": COLOURS[k % len(COLOURS)], "linestyle": "none"}
                drawn |= {"marker": _MARKERS[k % len(_MARKERS)], "markersize": 6}
                y, error = _series(covered.observed[variable])
                above.errorbar(NOMINAL, y, error, label=f"model {literal(name)}", **drawn)
                for which, fill in (("recalibrated", drawn["color"]), ("offline", "white")):
                    y, error = _series(covered.by_pt[which][variable])
                    below.errorbar(
                        centre * (1 + 0.015 * k),
                        y,
                        error,
                        markerfacecolor=fill,
                        label=rf"model {literal(name)}, {which} $p_T$",
                        **drawn,
                    )
            above.set_xlim(0, 1.02)
            above.set_ylim(0, 1.02)
            above.set_xlabel("share of a Gaussian", loc="right")
            above.set_ylabel(f"share within, {_SHORT[variable]}", loc="top")
            below.set_ylim(0, 2.2)
            below.set_xscale("log")
            ticks = [t for t in _PT_TICKS if 2 < t <= 100]
            below.set_xticks(ticks, [str(t) for t in ticks])
            below.minorticks_off()
            below.set_xlabel("$p_T$ [GeV]", loc="right")
            below.set_ylabel(f"pull width, {_SHORT[variable]}", loc="top")
        top[0].legend(frameon=False, loc="upper left")
        bottom[0].legend(frameon=False, loc="upper left")
        label_evaluation(top, evaluation)
        return svg_text(figure, evaluation.data.simulated)


def _series(numbers: Sequence[Measured]) -> tuple[Any, Any]:
    return np.array([m.value for m in numbers]), np.array([m.error for m in numbers])


def label_evaluation(axes: Sequence[Axes], evaluation: Evaluation) -> None:
    """Label the first axes with l1scout and the muons' origin, and the last with which muons they are."""
    left, right = axes[0], axes[-1]
    left.set_title(heading(evaluation.data.simulated), loc="left")
    barrel = of_finders(evaluation.data["tfMuonIndex"], BARREL).all()
    right.set_title(
        f"{'barrel, ' if barrel else ''}{evaluation.part}, {len(evaluation.data):,} muons", loc="right"
    )


def svg_text(figure: Figure, simulated: bool | None) -> str:
    """Return a figure as text, the same for the same figure, with the origin of what it shows."""
    text = io.StringIO()
    figure.savefig(
        text, format="svg", metadata={"Date": None, "Description": current(simulated=simulated).as_json()}
    )
    return text.getvalue()
