"""Muons that are not of their BX: late, early, afterglow and a constant rate, from BX without collisions.

Each muon a crossing mu[b] in time adds ``early`` mu[b] to BX b - 1, ``late`` mu[b] to BX b + 1, and
``glow`` mu[b] exp(-(k - 1) / ``length``) to every BX b + k; ``constant`` is the same everywhere. The five
numbers are fitted to the empty BX, by Poisson likelihood.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from iminuit.cost import poisson_chi2
from numpy.typing import NDArray

from l1scout.analysis.common.schemes import Scheme
from l1scout.lhc import BX_PER_ORBIT

NAMES = ("constant", "early", "late", "glow")
_LENGTHS = np.geomspace(1.5, 400, 40)
_ROUNDS = 4


@dataclass(frozen=True)
class Background:
    """The fit. Arrays over BX have 3564 places: index 0 is BX 1.

    Parameters
    ----------
    values : ndarray, shape (4,)
        `NAMES`: muons per crossing, and three shares of the muons in time.
    covariance : ndarray, shape (4, 4)
        At the best length.
    length : float
        BX.
    lengths : tuple of float
        Those at which the likelihood is still within one standard deviation of the best.
    other : ndarray, shape (n, 4)
        Values at each of them.
    """

    values: NDArray[np.float64]
    covariance: NDArray[np.float64]
    length: float
    lengths: tuple[float, ...]
    other: NDArray[np.float64]

    @property
    def errors(self) -> NDArray[np.float64]:
        """Standard deviations of `values`."""
        return np.asarray(np.sqrt(np.diag(self.covariance)))

    def expected(self, mu: NDArray[np.float64]) -> NDArray[np.float64]:
        """Background of each BX, muons per crossing, of the muons in time; shape (3564,)."""
        return np.asarray(self.values @ _basis(mu, self.length))

    def subtract(self, mu: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Take the background from the muons per crossing.

        Returns
        -------
        in_time : ndarray, shape (3564,)
        derivative : ndarray, shape (m, 3564)
            What the background of each BX changes by with each independent standard deviation of the
            fit: their squares add up, and each is common to all BX.
        """
        in_time = _in_time(mu, self.values, self.length)
        basis = _basis(in_time, self.length)
        root = np.linalg.cholesky(self.covariance + 1e-30 * np.eye(len(NAMES)))
        moved = [
            (values @ _basis(in_time, length)) - self.values @ basis
            for values, length in zip(self.other, self.lengths, strict=True)
        ]
        largest = moved[int(np.argmax([np.abs(m).sum() for m in moved]))] if moved else np.zeros(mu.size)
        return in_time, np.vstack([root.T @ basis, largest])


def _in_time(mu: NDArray[np.float64], values: NDArray[np.float64], length: float) -> NDArray[np.float64]:
    in_time = mu
    for _ in range(_ROUNDS):  # the background is small: each round adds a factor of that
        in_time = mu - values @ _basis(in_time, length)
    return in_time


def _basis(mu: NDArray[np.float64], length: float) -> NDArray[np.float64]:
    """Background of each BX for each of `NAMES` at 1, shape (4, 3564)."""
    glow = np.fft.irfft(np.fft.rfft(mu) * _tail_spectrum(mu.size, length), mu.size)
    return np.stack([np.ones(mu.size), np.roll(mu, -1), np.roll(mu, 1), glow])


@lru_cache(maxsize=4 * _LENGTHS.size)
def _tail_spectrum(size: int, length: float) -> NDArray[np.complex128]:
    return np.fft.rfft(np.r_[0.0, np.exp(-np.arange(size - 1) / length)])


def fit_background(
    counts: NDArray[np.float64], weight: float, scheme: Scheme, skip: Iterable[int] = ()
) -> Background | None:
    """Fit the background of muons by BX.

    Parameters
    ----------
    counts : ndarray, shape (3564,)
        Muons by BX (index 0 is BX 1); for the zero method minus ln of the empty part, times `weight`.
    weight : float
        Orbits over prescale.
    scheme : Scheme
    skip : iterable of int
        Empty BX (1..3564) to leave out.

    Returns
    -------
    Background or None
        None if there are fewer than 20 empty BX or no muon in them: nothing is subtracted then.
    """
    empty = np.setdiff1d(np.arange(1, BX_PER_ORBIT + 1), [*scheme.bx, *skip]).astype(np.int64) - 1
    if empty.size < 20 or not counts[empty].sum():
        return None
    mu = counts / weight
    in_time = np.where(scheme.mask[1:], mu, 0.0)
    for _ in range(_ROUNDS):
        bases = np.stack([_basis(in_time, length)[:, empty] for length in _LENGTHS])
        values, covariances, deviances = _fit(counts[empty], weight, bases)
        best = int(np.argmin(deviances))
        in_time = np.where(scheme.mask[1:], _in_time(mu, values[best], _LENGTHS[best]), 0.0)
    near = np.flatnonzero(deviances < deviances[best] + 1).tolist()
    edge = {k for k in (near[0] - 1, near[-1] + 1) if 0 <= k < _LENGTHS.size} | set(near)
    others = sorted(edge - {best})
    lengths = tuple(float(_LENGTHS[k]) for k in others)
    return Background(values[best], covariances[best], float(_LENGTHS[best]), lengths, values[others])


def _fit(
    counts: NDArray[np.float64], weight: float, bases: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Values, covariance and deviance (-2 ln L) of each length's Poisson fit, by reweighted least squares."""
    scale = bases.max(axis=2) * weight
    scale[scale == 0] = 1.0
    design = bases * weight / scale[..., np.newaxis]  # 0 to 1, so that the matrix can be inverted
    mean = max(counts.mean(), 1e-9)
    expected = np.full((len(bases), counts.size), mean)
    values = np.zeros(scale.shape)
    inverse = np.zeros((*scale.shape, len(NAMES)))
    for _ in range(12):
        weighted = design / expected[:, np.newaxis]
        inverse = np.linalg.pinv(weighted @ design.swapaxes(1, 2))
        values = (inverse @ (weighted @ counts)[..., np.newaxis])[..., 0]
        expected = np.maximum((values[:, np.newaxis] @ design)[:, 0], 0.02 * mean)
    deviance = np.array([poisson_chi2(counts, one) for one in expected])
    return values / scale, inverse / (scale[:, :, np.newaxis] * scale[:, np.newaxis]), deviance
