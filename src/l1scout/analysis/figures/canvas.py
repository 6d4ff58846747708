"""Common parts of the analyses' figures: frame, labels, points, and legends that cover no data."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import matplotlib
import matplotlib.style
import mplhep
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from l1scout.errors import printable

RAW_COLOUR = "#717581"
COLOURS = ("#3f90da", "#ffa90e", "#832db6", "#a96b59", "#2e8b57", "#92dadd")
"""Of the models; after Petroff (2021), legible to the colour-blind. Red is kept for "worse"."""
WORSE_COLOUR = "#d1001c"
GREY = "#999999"
_ROW = 0.07
"""Height of a row of a legend, of that of axes 4 inches high."""


@contextmanager
def style() -> Iterator[None]:
    """CMS-like looks without any trace left in matplotlib's settings."""
    rc = {
        **mplhep.style.CMS,
        "font.size": 13,
        "axes.labelsize": 13,
        "axes.titlesize": 13,
        "xtick.labelsize": 12,
        "ytick.labelsize": 12,
        "legend.fontsize": 12,
        "figure.dpi": 100,
        "lines.linewidth": 1.6,
        "axes.linewidth": 1.1,
        "svg.hashsalt": "l1scout",  # the same figure gives the same text
        "axes.formatter.useoffset": False,
    }
    for side in "xy":
        rc |= {f"{side}tick.major.size": 6, f"{side}tick.minor.size": 3}
    with matplotlib.rc_context():
        matplotlib.rcParams.update(rc)
        yield


@contextmanager
def canvas(size: tuple[float, float]) -> Iterator[Figure]:
    """Return an empty figure of the given size in inches, in l1scout's style."""
    with style():
        yield Figure(figsize=size, layout="constrained")


def literal(text: str) -> str:
    """Return a name for a figure as it is: dollar signs do not begin a formula."""
    return printable(text).replace("$", r"\$")


def label(axes: Sequence[Axes], simulated: bool | None, what: str) -> None:
    """Label the first axes with l1scout and the muons' origin, and the last with a description."""
    axes[0].set_title(heading(simulated), loc="left")
    axes[-1].set_title(what, loc="right")


def titles(ax: Axes, x: str, y: str) -> None:
    """Name both axes, with units, at their ends."""
    ax.set_xlabel(x, loc="right")
    ax.set_ylabel(y, loc="top")


def points(ax: Axes, x: Any, y: Any, error: Any, name: str, k: int, **rest: Any) -> None:
    """Draw points with error bars in the k-th colour and marker."""
    kind: dict[str, Any] = {"linestyle": "none", "marker": "os^vD"[k % 5], "color": COLOURS[k % len(COLOURS)]}
    ax.errorbar(x, y, error, label=name, **(kind | {"markersize": 5} | rest))


def legend(
    ax: Axes,
    *,
    ncols: int = 1,
    loc: Literal["upper left", "upper right"] = "upper right",
    rows: int | None = None,
) -> None:
    """Draw a legend above all data: the axes are made higher by the room that it needs."""
    handles, names = ax.get_legend_handles_labels()
    headroom(ax, rows if rows is not None else -(-len(names) // ncols))
    if names:
        ax.legend(handles, names, frameon=False, ncols=ncols, loc=loc, borderaxespad=0.3, handletextpad=0.5)


def headroom(ax: Axes, rows: float) -> None:
    """Leave room for some rows of text above all data."""
    height = ax.get_position().height * float(ax.figure.bbox.height) / ax.figure.dpi
    room = min((rows * _ROW + 0.03) * 4.0 / max(height, 1.5), 0.6)
    low, high = ax.get_ylim()
    if ax.get_yscale() == "log":
        ax.set_ylim(low, low * (high / low) ** (1 / (1 - room)))
    else:
        ax.set_ylim(low, low + (high - low) / (1 - room))


def pull_axis(ax: Axes, x: str) -> None:
    """Finish the axes of pulls below a fit."""
    ax.axhline(0, color=GREY, linewidth=0.8)
    for height in (-2, 2):
        ax.axhline(height, color=GREY, linewidth=0.6, linestyle=":")
    low, high = ax.get_ylim()
    ends = max(3.5, 1.1 * max(abs(low), abs(high)))
    ax.set_ylim(-ends, ends)
    titles(ax, x, "pull")


def plus_minus(value: float, error: float, unit: str = "") -> str:
    """Return a number with its uncertainty, to two digits of the latter."""
    if not 0 < error < np.inf:
        return f"{value:.4g}{unit}"
    digits = max(1 - int(np.floor(np.log10(error))), 0)
    return rf"{value:.{digits}f} $\pm$ {error:.{digits}f}{unit}"


def significant(value: NDArray[np.float64], error: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the values that are twice their error or more; NaN for others, as denominators."""
    return np.where(value > 2 * error, value, np.nan)


def heading(simulated: bool | None) -> str:
    """Return the title of a figure: l1scout, and where its muons come from."""
    text = origin(simulated).replace(" ", r"\ ")
    return rf"$\bf{{l1scout}}$ $\it{{{text}}}$"


def origin(simulated: bool | None) -> str:
    """Say where muons come from, in a word or two."""
    return {True: "simulation", False: "data", None: "data of unstated origin"}[simulated]
