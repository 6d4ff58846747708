"""Fit lines of known shape over a smooth background to a spectrum of muon pairs.

An extended binned Poisson likelihood: the yield of each line and the terms of the background are free, and
what is fitted adds up to what was counted. Lines have the shapes of templates
(`l1scout.analysis.common.templates`); one factor of all positions and one of all widths are 1, or free.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from l1scout.analysis.common.mass_backgrounds import MassBackground
from l1scout.analysis.common.templates import Template
from l1scout.errors import InputError
from l1scout.statistics import Measured

if TYPE_CHECKING:
    from iminuit import Minuit

FEWEST = 5
"""Expected entries of a bin of a test of the goodness."""
SCALES, STRETCHES = (0.75, 1.3), (0.4, 2.5)
"""What factors of positions and widths may be."""
_STEP = 1e-4
"""Of the factors, for derivatives."""


@dataclass(frozen=True)
class LineFit:
    """Lines and a background, fitted to a spectrum.

    Parameters
    ----------
    templates : tuple of Template
    entries : tuple of Measured
        Yield of each template, in the whole range of the mass; below 0 for a dip.
    scale, stretch : Measured
        Factors of positions and widths; no error if they were not free.
    background : MassBackground
    terms : ndarray
        Of the background.
    window : tuple of float
        GeV.
    bin_width : float
        GeV.
    deviance : float
        -2 ln of the likelihood, 0 if every bin is described exactly.
    goodness : float
        Deviance over degrees of freedom.
    p_value : float
        Probability of a worse description, in bins merged to five expected entries or more.
    valid : bool
        Whether the fit converged.
    counted : float
        Entries of the spectrum in the window.
    """

    templates: tuple[Template, ...]
    entries: tuple[Measured, ...]
    scale: Measured
    stretch: Measured
    background: MassBackground
    terms: NDArray[np.float64]
    window: tuple[float, float]
    bin_width: float
    deviance: float
    goodness: float
    p_value: float
    valid: bool
    counted: float

    @property
    def penalised(self) -> float:
        """Deviance plus one for each parameter of the background: so backgrounds can be compared.

        Dauncey, Kenzie, Wardle, Davies: JINST 10 (2015) P04015.
        """
        return self.deviance + self.background.parameters

    def smooth(self, edges: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the fitted background in each bin of these edges (GeV)."""
        values = self.background.values(self.terms, self.background.basis(edges, self.window))
        return np.asarray(values * np.diff(edges) / self.bin_width)

    def line(self, k: int, edges: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the fitted k-th line in each bin of these edges (GeV)."""
        share = self.templates[k].share(edges, self.scale.value, self.stretch.value)
        return np.asarray(self.entries[k].value * share)

    def expected(self, edges: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return fitted lines and background in each bin of these edges (GeV)."""
        lines = [self.line(k, edges) for k in range(len(self.templates))]
        return np.asarray(self.smooth(edges) + np.sum(lines, axis=0))

    def position(self, k: int) -> Measured:
        """Return the median of the k-th line, GeV."""
        at = self.templates[k].position
        return Measured(at * self.scale.value, at * self.scale.error)

    def width(self, k: int) -> Measured:
        """Return half of the middle 68 % of the k-th line, GeV."""
        wide = self.templates[k].width
        return Measured(wide * self.stretch.value, wide * self.stretch.error)


class _Likelihood:
    """-2 ln L of yields, both factors and terms, with its derivatives."""

    def __init__(
        self,
        edges: NDArray[np.float64],
        counts: NDArray[np.float64],
        templates: Sequence[Template],
        background: MassBackground,
        priors: tuple[float, float],
    ) -> None:
        self.edges, self.counts, self.templates = edges, counts, templates
        self.background = background
        self.basis = background.basis(edges, (float(edges[0]), float(edges[-1])))
        self.fixed = np.stack([t.share(edges) for t in templates])
        self.priors = np.asarray(priors, np.float64)

    def shares(self, scale: float, stretch: float) -> NDArray[np.float64]:
        if scale == stretch == 1:
            return self.fixed
        return np.stack([t.share(self.edges, scale, stretch) for t in self.templates])

    def model(self, values: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        n = len(self.templates)
        shares = self.shares(values[n], values[n + 1])
        smooth = self.background.values(values[n + 2 :], self.basis)
        return np.maximum(values[:n] @ shares + smooth, 1e-6), shares, smooth

    def __call__(self, values: NDArray[np.float64]) -> float:
        from iminuit.cost import poisson_chi2

        values = np.asarray(values)
        constraint = (((self._factors(values) - 1) / self.priors) ** 2).sum()
        return float(poisson_chi2(self.counts, self.model(values)[0]) + constraint)

    def _factors(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        n = len(self.templates)
        return values[n : n + 2]

    def gradient(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        values = np.asarray(values)
        mu, shares, smooth = self.model(values)
        n, slope = len(self.templates), 2 * (1 - self.counts / mu)
        scale, stretch = values[n : n + 2]
        factors = [
            (scale + _STEP, stretch, scale - _STEP, stretch),
            (scale, stretch + _STEP, scale, stretch - _STEP),
        ]
        by_factor = [values[:n] @ (self.shares(*f[:2]) - self.shares(*f[2:])) / (2 * _STEP) for f in factors]
        slopes = self.background.slopes(smooth, self.basis)
        pull = 2 * (self._factors(values) - 1) / self.priors**2
        return np.asarray(np.r_[shares @ slope, np.stack(by_factor) @ slope + pull, slopes @ slope])


def fit_lines(
    edges: NDArray[np.float64],
    counts: NDArray[Any],
    templates: Sequence[Template],
    background: MassBackground,
    *,
    absent: Sequence[int] = (),
    shape: tuple[float, float] = (1.0, 1.0),
    free: bool = False,
    priors: tuple[float, float] = (np.inf, np.inf),
) -> LineFit:
    """Fit lines and a background to a whole spectrum.

    Parameters
    ----------
    edges, counts : ndarray, shape (n + 1,), (n,)
        Of the spectrum in the window, in bins of one width.
    templates : sequence of Template
    background : MassBackground
    absent : sequence of int
        Templates whose yield is 0.
    shape : (float, float)
        Factors of positions and widths, or where they start.
    free : bool
        Fit these factors, too.
    priors : (float, float)
        Gaussian constraints of these factors to 1: standard deviations.

    Raises
    ------
    InputError
        If there are too few bins or entries.
    """
    n, number = np.asarray(counts, np.float64), len(templates)
    window = (float(edges[0]), float(edges[-1]))
    free_terms = number - len(absent) + background.parameters + 2 * free
    if n.size < free_terms + 3 or n.sum() < 20:
        msg = f"{window[0]:g} to {window[1]:g} GeV: {n.size} bins with {n.sum():.0f} entries are too few"
        raise InputError(msg)
    likelihood = _Likelihood(edges, n, templates, background, priors)
    present = [k for k in range(number) if k not in absent]
    start, smooth = _start(likelihood, present)
    minuit = _minimised(likelihood, np.r_[start, shape, smooth], absent, free=free)
    values, errors = np.asarray(minuit.values), np.asarray(minuit.errors)
    mu = likelihood.model(values)[0]
    factors = [Measured(float(values[k]), float(errors[k]) if free else 0.0) for k in (number, number + 1)]
    return LineFit(
        tuple(templates),
        tuple(Measured(float(values[k]), float(errors[k]) if k in present else 0.0) for k in range(number)),
        factors[0],
        factors[1],
        background,
        values[number + 2 :],
        window,
        (window[1] - window[0]) / n.size,
        float(minuit.fval),
        float(minuit.fval) / (n.size - free_terms),
        _p_value(n, mu, free_terms),
        bool(minuit.valid),
        float(n.sum()),
    )


def _start(
    likelihood: _Likelihood, present: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return yields and terms to start from: the lines over a Bernstein polynomial, by least squares."""
    from scipy.optimize import nnls

    weight = 1 / np.sqrt(likelihood.counts + 1)
    plain = MassBackground("Bernstein", 5).basis(
        likelihood.edges, (likelihood.edges[0], likelihood.edges[-1])
    )
    shapes = np.concatenate([likelihood.fixed[list(present)], plain])
    found = nnls((shapes * weight).T, likelihood.counts * weight)[0]
    entries = np.zeros(len(likelihood.templates))
    entries[list(present)] = found[: len(present)]
    below = likelihood.counts - entries @ likelihood.fixed
    return entries, likelihood.background.start(np.maximum(below, 0), likelihood.basis)


def _minimised(
    likelihood: _Likelihood, start: NDArray[np.float64], absent: Sequence[int], *, free: bool
) -> "Minuit":
    from iminuit import Minuit

    number = len(likelihood.templates)
    minuit = Minuit(likelihood, start, grad=likelihood.gradient)
    minuit.errordef = Minuit.LEAST_SQUARES  # of -2 ln L
    total = float(likelihood.counts.sum())
    for k in range(number):
        minuit.errors[k] = np.sqrt(total)
        minuit.fixed[k] = k in absent
    if likelihood.background.family == "Bernstein":
        for k in range(number + 2, start.size):
            minuit.limits[k] = (0, None)
    minuit.limits[number], minuit.limits[number + 1] = SCALES, STRETCHES
    minuit.errors[number], minuit.errors[number + 1] = 0.01, 0.05
    minuit.fixed[number] = minuit.fixed[number + 1] = True
    minuit.migrad()
    if free:
        minuit.fixed[number] = minuit.fixed[number + 1] = False
        minuit.migrad()
    if not minuit.valid:
        minuit.simplex().migrad()
    minuit.hesse()
    return minuit


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
