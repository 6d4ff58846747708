"""Fit lines of known shape over a smooth background to a spectrum of muon pairs.

An extended binned Poisson likelihood: the yield of each line and the terms of the background are free, and
what is fitted adds up to what was counted. Lines have the shapes of templates
(`l1scout.analysis.common.templates`); one factor of all positions and one of all widths are 1, or free.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

from l1scout.analysis.common.mass_backgrounds import MassBackground
from l1scout.analysis.common.templates import Template
from l1scout.errors import InputError
from l1scout.statistics import Measured

FEWEST = 5
"""Expected entries of a bin of a test of the goodness."""
Limits = tuple[tuple[float, float], tuple[float, float]]
"""Lowest and highest factor of positions, and of widths."""
LIMITS: Limits = ((0.75, 1.3), (0.4, 2.5))
"""What these factors may be."""


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

    def limits(self, most: Sequence[float]) -> Limits:
        """Return limits of both factors: that far from 1, or as far as they are in this fit."""
        (a, b), (scales, stretches) = (self.scale.value, self.stretch.value), LIMITS
        return (
            (max(min(1 - most[0], a), scales[0]), min(max(1 + most[0], a), scales[1])),
            (max(min(1 - most[1], b), stretches[0]), min(max(1 + most[1], b), stretches[1])),
        )

    def position(self, k: int) -> Measured:
        """Return the median of the k-th line, GeV."""
        at = self.templates[k].position
        return Measured(at * self.scale.value, at * self.scale.error)

    def width(self, k: int) -> Measured:
        """Return half of the middle 68 % of the k-th line, GeV."""
        wide = self.templates[k].width
        return Measured(wide * self.stretch.value, wide * self.stretch.error)


class _Likelihood:
    """Bins, shapes and constraints of a fit: what is expected, and its derivatives.

    Values are the yields, both factors, and the terms of the background.
    """

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
        self._at: tuple[bytes, tuple[NDArray[np.float64], ...]] = (b"", ())

    def model(self, values: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        """Return what is expected in each bin, the shares of the lines in it, and the background."""
        if self._at[0] != values.tobytes():  # residuals and their derivatives are asked for one after another
            n = len(self.templates)
            scale, stretch = values[n : n + 2]
            plain = scale == stretch == 1
            shares = (
                self.fixed
                if plain
                else np.stack([t.share(self.edges, scale, stretch) for t in self.templates])
            )
            smooth = self.background.values(values[n + 2 :], self.basis)
            self._at = values.tobytes(), (np.maximum(values[:n] @ shares + smooth, 1e-6), shares, smooth)
        return self._at[1]

    def slopes(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the derivatives of the entries by the values, shape (values, bins)."""
        n = len(self.templates)
        _, shares, smooth = self.model(values)
        moved = np.zeros((2, self.counts.size))
        for entries, template in zip(values[:n], self.templates, strict=True):
            moved += entries * template.slopes(self.edges, *values[n : n + 2])
        return np.asarray(np.concatenate([shares, moved, self.background.slopes(smooth, self.basis)]))

    def residuals(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return numbers whose squares add up to -2 ln L: one for each bin, two of the constraints."""
        mu, n = self.model(values)[0], self.counts
        deviance = 2 * (mu - n + xlogy(n, n / mu))
        factors = values[len(self.templates) : len(self.templates) + 2]
        roots = np.sign(mu - n) * np.sqrt(np.maximum(deviance, 0))
        return np.concatenate([roots, (factors - 1) / self.priors])

    def jacobian(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the derivatives of the residuals, shape (residuals, values)."""
        mu, n = self.model(values)[0], self.counts
        root = self.residuals(values)[: n.size]
        at_zero = np.abs(root) < 1e-4  # where it is 0, its derivative is 1 / sqrt(mu)
        by_mu = np.where(at_zero, 1 / np.sqrt(mu), (1 - n / mu) / np.where(at_zero, 1, root))
        number = len(self.templates)
        constraints = np.zeros((values.size, 2))
        constraints[number : number + 2] = np.diag(1 / self.priors)
        return np.asarray(np.c_[self.slopes(values) * by_mu, constraints].T)

    def errors(self, values: NDArray[np.float64], free: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return the standard deviations of the values (of Fisher's information), 0 where they are fixed."""
        number, found = len(self.templates), np.zeros(values.size)
        slopes = self.slopes(values)[free] / np.sqrt(self.model(values)[0])
        information = slopes @ slopes.T
        added = np.zeros(values.size)
        added[number : number + 2] = 1 / self.priors**2
        size = np.sqrt(np.maximum(np.diag(information) + added[free], 1e-300))
        scaled = (information + np.diag(added[free])) / np.outer(size, size)
        found[free] = np.sqrt(np.maximum(np.diag(np.linalg.pinv(scaled, hermitian=True)), 0)) / size
        return found


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
    limits: Limits = LIMITS,
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
    limits : Limits
        Of these factors.

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
    values = np.r_[start, shape, smooth]
    may_change = np.ones(values.size, np.bool_)
    may_change[list(absent)] = False
    may_change[number : number + 2] = free
    values, deviance, valid = _minimised(likelihood, values, may_change, limits)
    errors = likelihood.errors(values, may_change)
    mu = likelihood.model(values)[0]
    measured = [Measured(float(v), float(e)) for v, e in zip(values, errors, strict=True)]
    return LineFit(
        tuple(templates),
        tuple(measured[:number]),
        measured[number],
        measured[number + 1],
        background,
        values[number + 2 :],
        window,
        (window[1] - window[0]) / n.size,
        deviance,
        deviance / (n.size - free_terms),
        _p_value(n, mu, free_terms),
        valid and bool(np.isfinite(errors).all()),
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
    likelihood: _Likelihood,
    start: NDArray[np.float64],
    free: NDArray[np.bool_],
    limits: Limits,
) -> tuple[NDArray[np.float64], float, bool]:
    """Return the values of the largest likelihood, -2 ln of it, and whether the search converged."""
    from scipy.optimize import least_squares

    number, values = len(likelihood.templates), start.copy()
    low, high = np.full(start.size, -np.inf), np.full(start.size, np.inf)
    (low[number], high[number]), (low[number + 1], high[number + 1]) = limits
    if likelihood.background.family == "Bernstein":
        low[number + 2 :] = 0

    def whole(part: NDArray[np.float64]) -> NDArray[np.float64]:
        values[free] = part
        return values

    found = least_squares(
        lambda v: likelihood.residuals(whole(v)),
        start[free],
        lambda v: likelihood.jacobian(whole(v))[:, free],
        bounds=(low[free], high[free]),
        x_scale="jac",
        ftol=1e-6,
        xtol=1e-9,
        gtol=1e-9,
        max_nfev=200,
    )
    return whole(found.x), 2 * float(found.cost), bool(found.success)


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
