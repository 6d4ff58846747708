"""Luminosity of every bunch and lumisection from the muons that each crossing has.

Muons of a crossing are Poisson distributed with mean mu. *Rate counting* takes mu from all muons, and
corrects for the eight that the GMT sends at most; *zero counting* takes it from the crossings without one,
mu = -ln(1 - k / N) but for a small correction, and does not care how many muons one collision gives. Both
are divided by the orbits that were seen. What is not of the BX is subtracted
(`l1scout.analysis.common.background`), and L = mu f / sigma_vis, with f the frequency of orbits.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.analysis.common.background import NAMES, Background, fit_background
from l1scout.analysis.common.counting_methods import METHODS
from l1scout.analysis.common.counts import Counts, CrossingCounts
from l1scout.analysis.common.live_time import LiveTime, Section
from l1scout.analysis.common.schemes import Scheme
from l1scout.core.orbit_batch import OrbitBatch
from l1scout.errors import InputError
from l1scout.lhc import BX_PER_ORBIT, ORBIT_FREQUENCY_HZ
from l1scout.statistics import Measured

SLOTS = 8
"""Muons that the GMT sends of a crossing at most."""
_FULL = 0.99
"""Of the slots: above it, rate counting is saturated."""


@dataclass(frozen=True)
class BunchLuminosity:
    """Muons per crossing of one section; arrays have 3564 places, index 0 is BX 1.

    Parameters
    ----------
    mu : ndarray
        In time, background subtracted.
    stat : ndarray
        Statistical uncertainty of each, independent between BX.
    background : ndarray
        What was subtracted.
    common : ndarray, shape (m, 3564)
        Uncertainties of the background, independent of each other, each common to all BX.
    weight : float
        Orbits over prescale.
    """

    mu: NDArray[np.float64]
    stat: NDArray[np.float64]
    background: NDArray[np.float64]
    common: NDArray[np.float64]
    weight: float

    @property
    def syst(self) -> NDArray[np.float64]:
        """Uncertainty of each BX that comes from the background."""
        return np.asarray(np.sqrt((self.common**2).sum(axis=0)))

    def total(self, bx: NDArray[np.int64]) -> tuple[Measured, float]:
        """Sum over some BX (1..3564) with its statistical uncertainty, and that of the background."""
        at = bx - 1
        syst = float(np.sqrt((self.common[:, at].sum(axis=1) ** 2).sum()))
        return Measured(float(self.mu[at].sum()), float(np.sqrt((self.stat[at] ** 2).sum()))), syst


def zero_counting(
    occupied: NDArray[Any], crossings: float | NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean muons per crossing, and uncertainty, from how many crossings have one.

    1/N + 1/(N-1) + ... of k terms takes the place of -ln(1 - k / N), which is too large by
    p / 2N (1 - p) on average: its mean is -ln(1 - p) up to a term of p^N. A BX that is never empty
    gives a lower limit, with infinite uncertainty.
    """
    from scipy.special import digamma

    share = np.asarray(occupied, np.float64) / crossings
    mu = digamma(crossings + 1.0) - digamma(crossings - occupied + 1.0)
    with np.errstate(divide="ignore"):
        error = np.sqrt(np.maximum(share, 1 / crossings) / (1 - share) / crossings)
    return np.asarray(mu), np.asarray(error)


def rate_counting(muons: NDArray[Any], crossings: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean muons per crossing, and uncertainty, from all muons: as if the GMT sent more than eight.

    A BX that is nearly always full gives a lower limit, with infinite uncertainty.
    """
    mean = np.asarray(muons, np.float64) / crossings
    full = mean > _FULL * SLOTS
    mean = np.minimum(mean, _FULL * SLOTS)
    mu = mean.copy()
    for _ in range(20):  # Newton's method; the slope is the chance of less than eight
        sent, slope = _sent(mu)
        mu = mu + (mean - sent) / slope
    error = np.sqrt(np.maximum(mean, 1 / crossings) / crossings) / _sent(mu)[1]
    return mu, np.where(full, np.inf, error)


def _sent(mu: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean of min(n, 8) for a Poisson n, and its derivative."""
    term, below, mean = np.exp(-mu), np.zeros_like(mu), np.zeros_like(mu)
    for n in range(SLOTS):
        below, mean = below + term, mean + n * term
        term = term * mu / (n + 1)
    return mean + SLOTS * (1 - below), below


@dataclass
class Luminosity:
    """State: add batches, then ask for results.

    Parameters
    ----------
    scheme : Scheme
    live : LiveTime
    min_hw_pt, min_quality : int
        Smallest hwPt and hwQual of the muons that count.
    """

    scheme: Scheme
    live: LiveTime = field(default_factory=LiveTime)
    min_hw_pt: int = 1
    min_quality: int = 0

    def __post_init__(self) -> None:
        self.counts = CrossingCounts(self.live, self.min_hw_pt, self.min_quality)

    def add(self, batch: OrbitBatch, prescale: float = 1.0) -> None:
        """Take in a batch (InputError if it does not say how many orbits it stands for)."""
        self.counts.add(batch, prescale)

    def merge(self, other: "Luminosity") -> None:
        """Add data that follow these."""
        self.counts.merge(other.counts)

    def section(self, at: Section, method: str = "zero", fitted: Background | None = None) -> BunchLuminosity:
        """Measure a section, with the background of `background`."""
        return self._subtract(*self._counted(at, method), self.live.sections[at].weight, fitted)

    def whole(self, method: str = "zero", fitted: Background | None = None) -> BunchLuminosity:
        """Measure all sections together: their mean.

        Their crossings are not counted as one: -ln(1 - k / N) of a mean is less than the mean of it, by
        2 % at 0.5 muons per crossing if the luminosity falls to a half.
        """
        counts = self._counts(method)
        mu, stat = self._count(method)(sum(counts.values(), np.zeros(BX_PER_ORBIT + 1))[1:], self.live.weight)
        if len(counts) > 1:
            mu = np.zeros_like(mu)
            for at in counts:
                here, error = self._counted(at, method)
                mu += here * self.live.sections[at].weight
                stat[np.isinf(error)] = np.inf
            mu /= self.live.weight
        return self._subtract(mu, stat, self.live.weight, fitted)

    def background(self, method: str = "zero") -> Background | None:
        """Fit the background in all sections together; None if no BX is empty."""
        whole = self.whole(method)
        return fit_background(whole.mu * whole.weight, whole.weight, self.scheme)

    def _counts(self, method: str) -> Counts:
        if method not in METHODS:
            msg = f"method {method}: not one of {', '.join(METHODS)}"
            raise InputError(msg)
        return self.counts.muons if method == "rate" else self.counts.occupied

    @staticmethod
    def _count(method: str) -> Callable[..., tuple[NDArray[np.float64], NDArray[np.float64]]]:
        return rate_counting if method == "rate" else zero_counting

    def _counted(self, at: Section, method: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return self._count(method)(self._counts(method)[at][1:], self.live.sections[at].weight)

    @staticmethod
    def _subtract(
        mu: NDArray[np.float64], stat: NDArray[np.float64], weight: float, fitted: Background | None
    ) -> BunchLuminosity:
        if fitted is None:
            return BunchLuminosity(mu, stat, np.zeros_like(mu), np.zeros((1, mu.size)), weight)
        in_time, common = fitted.subtract(mu)
        return BunchLuminosity(in_time, stat, mu - in_time, common, weight)

    def result(self, sigma_vis: Measured | None = None, method: str = "zero") -> dict[str, Any]:
        """Gather what is printed and written.

        Parameters
        ----------
        sigma_vis : Measured, optional
            Visible cross section of the counted muons, in microbarn. Without it: muons per crossing only.
        method : str
            ``zero`` or ``rate``: which of both makes the luminosity.

        Returns
        -------
        dict
            ``sections``, ``bunches`` (rows of tables), ``background``, ``total``: muons per orbit (all
            colliding BX together), per colliding crossing (their mean), in ``bunches`` per crossing of
            the BX; with `sigma_vis`, Hz/ub and 1/ub; each with ``stat`` and ``syst``.
        """
        fitted = {m: self.background(m) for m in METHODS}
        whole = {m: self.whole(m, fitted[m]) for m in METHODS}
        bx = self.scheme.bx
        bunches = []
        for b in bx.tolist():
            row: dict[str, Any] = {"bx": b}
            for m in METHODS:
                name = f"muons_per_crossing_{m}"
                row |= {name: whole[m].mu[b - 1], f"{name}_stat": whole[m].stat[b - 1]}
            syst = float(whole[method].syst[b - 1])
            row |= {"background_per_crossing": whole[method].background[b - 1]}
            row |= {"background_per_crossing_syst": syst}
            measured = Measured(float(whole[method].mu[b - 1]), float(whole[method].stat[b - 1]))
            row |= _calibrated(measured, syst, sigma_vis)
            bunches.append(row)
        sections = []
        for at, seen in sorted(self.live.sections.items()):
            row = {"run": at.run, "section": at.number, "orbits": seen.orbits, "live_s": seen.seconds}
            row |= {"live_fraction": seen.live_fraction}
            if at in self.counts.muons:
                row |= _sums(self.section(at, method, fitted[method]), bx, sigma_vis, seen.seconds)
            sections.append(row)
        best = fitted[method]
        return {
            "method": method,
            "orbits": self.live.orbits,
            "live_s": self.live.seconds,
            "total": _sums(whole[method], bx, sigma_vis, self.live.seconds),
            "rate_over_zero": _ratio(whole, bx),
            "background": _about(best) if best else None,
            "sections": sections,
            "bunches": bunches,
        }


def _sums(
    measured: BunchLuminosity, bx: NDArray[np.int64], sigma_vis: Measured | None, seconds: float
) -> dict[str, float]:
    total, syst = measured.total(bx)
    row = {"muons_per_orbit": total.value, "muons_per_orbit_stat": total.error, "muons_per_orbit_syst": syst}
    if bx.size:
        row |= {n.replace("orbit", "colliding_crossing"): v / bx.size for n, v in row.items()}
    row |= _calibrated(total, syst, sigma_vis)
    if sigma_vis:
        row["integrated_per_ub"] = row["hz_per_ub"] * seconds
    return row


def _calibrated(mu: Measured, syst: float, sigma_vis: Measured | None) -> dict[str, float]:
    if sigma_vis is None:
        return {}
    value = mu.value * ORBIT_FREQUENCY_HZ / sigma_vis.value
    relative = sigma_vis.error / sigma_vis.value
    return {
        "hz_per_ub": value,
        "hz_per_ub_stat": mu.error * ORBIT_FREQUENCY_HZ / sigma_vis.value,
        "hz_per_ub_syst": float(np.hypot(syst * ORBIT_FREQUENCY_HZ / sigma_vis.value, value * relative)),
    }


def _ratio(whole: Mapping[str, BunchLuminosity], bx: NDArray[np.int64]) -> dict[str, float]:
    """Rate over zero counting: 1 if muons are Poisson; the error is of the muons that only one counts."""
    rate, zero = (whole[m].total(bx)[0] for m in METHODS)
    error = np.sqrt(max(zero.error**2 - rate.error**2, 0.0) + 1e-300)
    return {"value": rate.value / zero.value, "error": float(error / zero.value)} if zero.value else {}


_BACKGROUND = {
    "constant": "constant_muons_per_crossing",
    "early": "early_fraction",
    "late": "late_fraction",
    "glow": "glow_fraction_in_next_bx",
}
"""Names of the fitted background with what each is per."""


def _about(fitted: Background) -> dict[str, Any]:
    told: dict[str, Any] = {
        _BACKGROUND[name]: {"value": v, "error": e}
        for name, v, e in zip(NAMES, fitted.values.tolist(), fitted.errors.tolist(), strict=True)
    }
    return told | {"glow_length_bx": fitted.length}
