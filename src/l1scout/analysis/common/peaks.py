"""Peaks in a spectrum: position, width, yield and significance over a smooth background.

A binned Poisson likelihood of a Gaussian over exp(polynomial), the polynomial in the mass. Significance is
the square root of 2 ln of the likelihoods with and without the peak; it is that of one number, the yield, and
true as such only if position and width are given.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from l1scout.errors import InputError
from l1scout.statistics import Measured

FEWEST = 5
"""Expected entries of a bin of a test of the goodness."""


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
    gain : float
        Deviance without the peak less that with it.
    p_value : float
        Probability of a worse description, in bins merged to five expected entries or more.
    p_outside : float
        The same of the bins further than 2.5 widths from the peak: is the background described.
    in_window : float
        Entries of the spectrum in the window.
    at_limit : str
        Which of position, width and entries ended at the limit of what was allowed; empty if none did.
    window : tuple of float
        GeV.
    terms : tuple of float
        Polynomial whose exponential is the background, in a bin of `bin_width` GeV.
    bin_width : float
    """

    position: Measured
    width: Measured
    entries: Measured
    significance: float
    goodness: float
    valid: bool
    gain: float = 0.0
    p_value: float = float("nan")
    p_outside: float = float("nan")
    in_window: float = 0.0
    at_limit: str = ""
    window: tuple[float, float] = (0.0, 0.0)
    terms: tuple[float, ...] = ()
    bin_width: float = 1.0

    def background(self, edges: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the fitted background in each bin of these edges (GeV)."""
        powers = _powers(edges[:-1], edges[1:], self.window, len(self.terms) - 1)
        return _background(np.asarray(self.terms), powers) * np.diff(edges) / self.bin_width

    def expected(self, edges: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return fitted peak and background in each bin of these edges (GeV)."""
        peak = gaussian_share(edges[:-1], edges[1:], self.position.value, self.width.value)
        return self.background(edges) + self.entries.value * peak


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
    """Fit a peak in a window. Whether it may be reported is what `l1scout.analysis.common.lines` decides.

    Parameters
    ----------
    edges, counts : ndarray, shape (n + 1,), (n,)
        Of the spectrum, in bins of one width.
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
    from iminuit.cost import poisson_chi2

    inside = (edges[:-1] >= window[0] - 1e-9) & (edges[1:] <= window[1] + 1e-9)
    n = counts[inside].astype(np.float64)
    low, high = edges[:-1][inside], edges[1:][inside]
    if n.size < degree + 5 or n.sum() < 20:
        held = f"{n.size} bins with {n.sum():.0f} entries"
        msg = f"{window[0]:g} to {window[1]:g} GeV: {held} are too few for a fit"
        raise InputError(msg)
    powers = _powers(low, high, window, degree)

    def expected(peak: float, at: float, sigma: float, *terms: float) -> NDArray[np.float64]:
        smooth = _background(np.asarray(terms), powers)
        return np.asarray(np.maximum(smooth + peak * gaussian_share(low, high, at, sigma), 1e-9))

    def deviance(values: NDArray[np.float64]) -> float:
        return float(poisson_chi2(n, expected(*values)))

    names = ["entries", "position", "width", *(f"p{k}" for k in range(degree + 1))]
    start = [0.0, position, width, np.log(max(n.mean(), 0.1)), *([0.0] * degree)]
    total = float(n.sum())
    limits = {
        "entries": (-total, total) if fixed else (0.0, total),
        "position": window,
        "width": ((high - low).min() / 4, (window[1] - window[0]) / 2),
    }

    def minimum(values: list[float], *still: str) -> "Minuit":
        minuit = Minuit(deviance, np.array(values), name=names)
        minuit.errordef = Minuit.LEAST_SQUARES  # of -2 ln L
        for name, allowed in limits.items():
            minuit.limits[name] = allowed
        minuit.fixed[list(still)] = True
        return minuit.migrad()

    null = minimum(start, "entries", "position", "width")
    excess = float((n - expected(*null.values)).clip(0).sum())
    fit = minimum(
        [min(max(excess, 1.0), 0.9 * total), position, width, *list(null.values)[3:]], "position", "width"
    )
    if not fixed:
        fit = minimum(list(fit.values))
    fit.hesse()
    found = {k: Measured(float(fit.values[k]), float(fit.errors[k])) for k in names[:3]}
    if fixed:
        found |= {k: Measured(found[k].value) for k in ("position", "width")}
    free = ["entries"] if fixed else names[:3]
    ends = {k: (found[k].value - low, high - found[k].value) for k in free for low, high in [limits[k]]}
    at_limit = next((k for k, both in ends.items() if min(both) < 1e-3 * sum(both)), "")
    gain = max(float(null.fval) - float(fit.fval), 0.0) if found["entries"].value > 0 else 0.0
    parameters = degree + 2 + 2 * (not fixed)
    mu = expected(*fit.values)
    away = np.abs((low + high) / 2 - found["position"].value) > 2.5 * found["width"].value
    return Peak(
        found["position"],
        found["width"],
        found["entries"],
        float(np.sqrt(gain)),
        float(fit.fval) / max(n.size - parameters, 1),
        bool(fit.valid and null.valid),
        gain,
        _p_value(n, mu, parameters),
        _p_value(n[away], mu[away], degree + 1),
        total,
        at_limit,
        window,
        tuple(float(v) for v in list(fit.values)[3:]),
        float((high - low).mean()),
    )


def _powers(
    low: NDArray[np.float64], high: NDArray[np.float64], window: tuple[float, float], degree: int
) -> NDArray[np.float64]:
    """Powers of the mass in the middle of each bin, which goes from -1 to 1 in the window."""
    x = (low + high - window[0] - window[1]) / (window[1] - window[0])
    return np.asarray(x[None, :] ** np.arange(degree + 1)[:, None])


def _background(terms: NDArray[np.float64], powers: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.exp(np.clip(terms @ powers, -50, 50)))


def _p_value(n: NDArray[np.float64], mu: NDArray[np.float64], parameters: int) -> float:
    """Return the probability of a larger deviance, in merged bins (`FEWEST`); NaN if too few remain."""
    from iminuit.cost import poisson_chi2
    from scipy.stats import chi2

    bins = np.minimum(np.floor(np.cumsum(mu) / FEWEST), np.floor(mu.sum() / FEWEST) - 1).astype(np.int64)
    _, bins = np.unique(bins, return_inverse=True)
    counted, wanted = (np.bincount(bins, x).astype(np.float64) for x in (n, mu))
    dof = counted.size - parameters
    return float(chi2.sf(poisson_chi2(counted, wanted), dof)) if dof > 0 else float("nan")


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
