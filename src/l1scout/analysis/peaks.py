"""Peaks in a spectrum: position, width, yield and significance over a smooth background.

A binned Poisson likelihood of a Gaussian over exp(polynomial), the polynomial in the mass. Significance is
the square root of 2 ln of the likelihoods with and without the peak; it is that of one number, the yield, and
true as such only if position and width are given.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from l1scout.errors import InputError
from l1scout.training.metrics import Measured


@dataclass(frozen=True)
class Peak:
    """A fitted peak.

    Parameters
    ----------
    position, width : Measured
        Of the Gaussian, GeV; no error if they were given.
    entries : Measured
        In the peak; below 0 for a dip.
    significance : float
        Of entries above 0; 0 for a dip.
    goodness : float
        Deviance over degrees of freedom.
    valid : bool
        Whether the fit converged.
    """

    position: Measured
    width: Measured
    entries: Measured
    significance: float
    goodness: float
    valid: bool


def fit_peak(
    edges: NDArray[np.float64],
    counts: NDArray[np.int64],
    window: tuple[float, float],
    position: float,
    width: float,
    *,
    fixed: bool = False,
    degree: int = 2,
) -> Peak:
    """Fit a peak in a window.

    Parameters
    ----------
    edges, counts : ndarray, shape (n + 1,), (n,)
        Of the spectrum.
    window : tuple of float
        Bins inside it are fitted.
    position, width : float
        Where to start; what they are, if `fixed`.
    fixed : bool
        Fit only the yield, as for a significance.
    degree : int
        Of the background's polynomial.

    Raises
    ------
    InputError
        If the window has too few bins or entries.
    """
    from iminuit import Minuit

    inside = (edges[:-1] >= window[0] - 1e-9) & (edges[1:] <= window[1] + 1e-9)
    n = counts[inside].astype(np.float64)
    low, high = edges[:-1][inside], edges[1:][inside]
    if n.size < degree + 5 or n.sum() < 20:
        held = f"{n.size} bins with {n.sum():.0f} entries"
        msg = f"{window[0]:g} to {window[1]:g} GeV: {held} are too few for a fit"
        raise InputError(msg)
    x = (low + high - window[0] - window[1]) / (window[1] - window[0])  # -1 to 1
    powers = x[None, :] ** np.arange(degree + 1)[:, None]

    def expected(peak: float, at: float, sigma: float, *terms: float) -> NDArray[np.float64]:
        smooth = np.exp(np.clip(np.asarray(terms) @ powers, -50, 50))
        return np.asarray(np.maximum(smooth + peak * gaussian_share(low, high, at, sigma), 1e-9))

    def deviance(values: NDArray[np.float64]) -> float:
        mu = expected(*values)
        return float(2 * (mu - n + np.where(n > 0, n * np.log(np.maximum(n, 1) / mu), 0.0)).sum())

    names = ["entries", "position", "width", *(f"p{k}" for k in range(degree + 1))]
    start = [0.0, position, width, np.log(max(n.mean(), 0.1)), *([0.0] * degree)]

    def minimum(values: list[float], *still: str) -> "Minuit":
        minuit = Minuit(deviance, np.array(values), name=names)
        minuit.errordef = Minuit.LEAST_SQUARES  # of -2 ln L
        minuit.limits["position"] = window
        minuit.limits["width"] = ((high - low).min() / 4, (window[1] - window[0]) / 2)
        minuit.fixed[list(still)] = True
        return minuit.migrad()

    null = minimum(start, "entries", "position", "width")
    begin = [
        max(float((n - expected(*null.values)).clip(0).sum()), 1.0),
        position,
        width,
        *list(null.values)[3:],
    ]
    fit = minimum(begin, "position", "width")
    if not fixed:
        fit = minimum(list(fit.values))
    fit.hesse()
    found = {k: Measured(float(fit.values[k]), float(fit.errors[k])) for k in names[:3]}
    if fixed:
        found |= {k: Measured(found[k].value) for k in ("position", "width")}
    gain = max(float(null.fval) - float(fit.fval), 0.0) if found["entries"].value > 0 else 0.0
    dof = n.size - degree - 2 - 2 * (not fixed)
    return Peak(
        found["position"],
        found["width"],
        found["entries"],
        float(np.sqrt(gain)),
        float(fit.fval) / max(dof, 1),
        bool(fit.valid and null.valid),
    )


def gaussian_share(
    low: NDArray[np.float64], high: NDArray[np.float64], at: float, sigma: float
) -> NDArray[np.float64]:
    """Part of a Gaussian in each bin."""
    from scipy.special import ndtr

    return np.asarray(ndtr((high - at) / sigma) - ndtr((low - at) / sigma))


@dataclass(frozen=True)
class Spread:
    """Middle and half-width of a distribution: median, half of the middle 68 %."""

    middle: Measured
    half_width: Measured


def spread(values: NDArray[np.float64]) -> Spread:
    """Median and half-width of masses, with uncertainties from 50 resamplings."""
    if values.size < 10:
        return Spread(Measured(float("nan")), Measured(float("nan")))
    random = np.random.default_rng(values.size)
    quantiles = (0.158655, 0.5, 0.841345)
    low, middle, high = np.quantile(values, quantiles)
    again = np.array(
        [np.quantile(values[random.integers(0, values.size, values.size)], quantiles) for _ in range(50)]
    )
    return Spread(
        Measured(float(middle), float(again[:, 1].std())),
        Measured(float(high - low) / 2, float((again[:, 2] - again[:, 0]).std() / 2)),
    )
