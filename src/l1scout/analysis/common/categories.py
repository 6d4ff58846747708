"""A peak in several spectra at once: pairs in categories of their predicted mass resolution.

Well measured pairs make a narrow peak, badly measured ones a wide one: fitted together they say more than
their sum. There is one yield for all, shared as a signal is, and a smooth background, exp(polynomial), of its
own for each.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from l1scout.analysis.common.peaks import gaussian_share
from l1scout.errors import InputError
from l1scout.statistics import Measured

_DEGREE = 2
"""Of the background's polynomial."""


@dataclass(frozen=True)
class Shape:
    """What a signal looks like in a category: share of all its pairs, position and width in GeV."""

    share: float
    position: float
    width: float


@dataclass(frozen=True)
class Together:
    """Yield in all categories, its significance, and the deviance over degrees of freedom."""

    entries: Measured
    significance: float
    goodness: float


def fit_categories(
    edges: NDArray[np.float64],
    counts: NDArray[np.int64],
    window: tuple[float, float],
    shapes: Sequence[Shape],
) -> Together:
    """Fit the yield of a signal of known shape in several spectra; with one, as `peaks.fit_peak` if fixed.

    Parameters
    ----------
    edges, counts : ndarray, shape (n + 1,), (categories, n)
    window : tuple of float
        Bins inside it are fitted, GeV.
    shapes : sequence of Shape
        One a category.

    Raises
    ------
    InputError
        If a category has fewer than 20 entries in the window, or the fit does not converge.
    """
    from iminuit import Minuit
    from iminuit.cost import poisson_chi2

    inside = (edges[:-1] >= window[0] - 1e-9) & (edges[1:] <= window[1] + 1e-9)
    n = counts[:, inside].astype(np.float64)
    if n.sum(axis=1).min() < 20:
        msg = f"{window[0]:g} to {window[1]:g} GeV: a category has too few entries for a fit"
        raise InputError(msg)
    low, high = edges[:-1][inside], edges[1:][inside]
    x = (low + high - window[0] - window[1]) / (window[1] - window[0])  # -1 to 1
    powers = x[None, :] ** np.arange(_DEGREE + 1)[:, None]
    signal = np.stack([s.share * gaussian_share(low, high, s.position, s.width) for s in shapes])

    def deviance(values: NDArray[np.float64]) -> float:
        terms = values[1:].reshape(len(shapes), -1)
        mu = np.maximum(np.exp(np.clip(terms @ powers, -50, 50)) + values[0] * signal, 1e-9)
        return float(poisson_chi2(n.ravel(), mu.ravel()))

    start = np.zeros((len(shapes), _DEGREE + 1))
    start[:, 0] = np.log(np.maximum(n.mean(axis=1), 0.1))
    minuit = Minuit(deviance, np.r_[0.0, start.ravel()])
    minuit.errordef = Minuit.LEAST_SQUARES  # of -2 ln L
    minuit.fixed["x0"] = True
    null = float(minuit.migrad().fval)
    minuit.fixed["x0"] = False
    minuit.errors["x0"] = float(np.sqrt(n.sum()))
    minuit.migrad()
    minuit.hesse()
    if not minuit.valid:
        msg = f"{window[0]:g} to {window[1]:g} GeV: the fit in categories does not converge"
        raise InputError(msg)
    entries = Measured(float(minuit.values["x0"]), float(minuit.errors["x0"]))
    gain = max(null - float(minuit.fval), 0.0) if entries.value > 0 else 0.0
    return Together(entries, float(np.sqrt(gain)), float(minuit.fval) / (n.size - 1 - start.size))
