"""Compare a histogram with a reference that has an uncertainty of its own: beta-binomial probabilities.

The method is that of AutoDQM (arXiv:2501.13789). If a bin has R of the n_R entries of a reference, the
number of n new entries that are in it follows a beta-binomial distribution. The probability to find as many
or more is that with a = R + 1 and b = n_R - R, and as many or fewer that with a = R and b = n_R - R + 1:
these are the one-sided values of Fisher's exact test, so that a false alarm is never likelier than stated.
A systematic floor limits what a bin of the reference counts to 1 / tolerance^2 entries.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain, combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaln, gammaln

TOLERANCE = 0.01
"""Systematic uncertainty of a bin's share of the entries, as in AutoDQM."""
CANDIDATES = 4
"""Bins on either side, the farthest off, whose exact probability is computed."""
_POINTS = 128
"""At which a tail is summed."""
_SMALL = -30.0
"""Below this ln p, 1 - (1 - p)^m is m p."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class HistogramTest:
    """The bin, or row of bins, that is farthest from the reference.

    Parameters
    ----------
    log_p : float
        Natural logarithm of the p-value, two-sided and corrected for the number of bins and rows.
    bins : mapping of int to int
        Bin by axis; an axis that is not named is summed over.
    observed, expected : float
    pull : float
        Their difference in standard deviations, approximately; positive if too many were seen.
    """

    log_p: float
    bins: Mapping[int, int]
    observed: float
    expected: float
    pull: float


def log_tail(k: ArrayLike, n: ArrayLike, a: ArrayLike, b: ArrayLike) -> Floats:
    """Return ln P(X >= k) of a beta-binomial X of n trials with parameters a and b.

    All terms of a short tail are summed; a long one, whose neighbours hardly differ, at 128 points. Arguments
    need not be integers, and are broadcast. The relative error of P is below 1 %.
    """
    arrays = np.broadcast_arrays(*(np.asarray(x, np.float64) for x in (k, n, a, b)))
    k, n, a, b = (x.reshape(-1)[:, None] for x in arrays)
    out = np.full(k.shape[0], -np.inf)
    sure, possible = ((k <= 0) | (b <= 0))[:, 0], (k <= n)[:, 0] & ((a > 0)[:, 0])
    out[sure] = 0.0
    at = np.flatnonzero(possible & ~sure)
    if at.size:
        k, n, a, b = k[at], n[at], a[at], b[at]
        total = a + b
        mean = n * a / total
        width = np.sqrt(n * a * b * (total + n) / (total**2 * (total + 1)))
        above = np.maximum(k - mean, 0) / np.maximum(width, 1e-9)
        span = np.maximum(mean - k, 0) + 12 * width / (1 + above / 4) + 16
        span = np.minimum(span, n - k + 1)
        step = np.maximum(span / _POINTS, 1.0)
        x = k - 0.5 + (np.arange(_POINTS) + 0.5) * step
        inside = (x <= n + 1e-9) & (x < k + span)
        x = np.where(inside, x, k)
        terms = gammaln(n + 1) - gammaln(x + 1) - gammaln(n - x + 1) + betaln(x + a, n - x + b) - betaln(a, b)
        terms = np.where(inside, terms + np.log(step), -np.inf)
        most = terms.max(axis=1)
        out[at] = np.minimum(most + np.log(np.exp(terms - most[:, None]).sum(axis=1)), 0.0)
    return out.reshape(arrays[0].shape)


def pulls(counts: ArrayLike, reference: ArrayLike, ratio: float, tolerance: float = TOLERANCE) -> Floats:
    """Return the difference of each bin from the reference, in standard deviations, approximately.

    Square roots of counts have nearly the same uncertainty everywhere; that of the reference and the floor
    are included. Bins that are empty in both have 0.

    Parameters
    ----------
    counts, reference : array_like
    ratio : float
        Entries of all bins over those of the reference.
    tolerance : float
    """
    d, expected = np.asarray(counts, np.float64), np.asarray(reference, np.float64) * ratio
    spread = np.sqrt(1 + ratio + expected * tolerance**2)
    return np.asarray(2 * (np.sqrt(d + 0.375) - np.sqrt(expected + 0.375)) / spread)


def dispersion(counts: ArrayLike, reference: ArrayLike, tolerance: float = TOLERANCE) -> float:
    """Return chi-squared per bin of counts against a reference: 1 if entries are independent.

    Objects of one crossing are not, and so are above. Bins with 5 entries or more expected count; NaN if
    there are fewer than two of them.
    """
    d, r = np.asarray(counts, np.float64).reshape(-1), np.asarray(reference, np.float64).reshape(-1)
    share = d.sum() / r.sum() if r.any() else 0.0
    expected = r * share
    enough = expected >= 5
    if np.count_nonzero(enough) < 2:
        return float("nan")
    d, expected = d[enough], expected[enough]
    variance = expected * (1 + share) + (expected * tolerance) ** 2
    return float(((d - expected) ** 2 / variance).sum() / (d.size - 1))


def log_probabilities(
    counts: ArrayLike, n: float, reference: ArrayLike, n_reference: float, tolerance: float = TOLERANCE
) -> Floats:
    """Return ln of the two-sided p-values of bins: twice the tail on the side where the bin is, at most 1.

    Parameters
    ----------
    counts, reference : array_like
        Entries of bins.
    n, n_reference : float
        Entries of all bins.
    tolerance : float
        Systematic uncertainty of each bin's share.
    """
    d, r = np.asarray(counts, np.float64), np.asarray(reference, np.float64)
    scale = 1 / np.sqrt(1 + (r * tolerance**2) ** 2)
    inside, outside = r * scale, (n_reference - r) * scale
    more = d * n_reference >= r * n
    tail = log_tail(
        np.where(more, d, n - d), n, np.where(more, inside, outside) + 1, np.where(more, outside, inside)
    )
    return np.asarray(np.minimum(np.log(2) + tail, 0.0))


def compare_histograms(
    counts: NDArray[np.int64],
    reference: NDArray[np.int64],
    tolerance: float = TOLERANCE,
    overdispersion: float = 1.0,
) -> HistogramTest | None:
    """Return how probable the most unusual bin of a histogram is, given a reference; None without entries.

    In maps, sums over axes are tested as well, so that a weak row, such as a sector, is seen.

    Parameters
    ----------
    counts, reference : ndarray
        Of the same shape.
    tolerance : float
    overdispersion : float
        Variance of counts over that of independent entries, 1 or more: counts are divided by it.
    """
    n, n_reference = int(counts.sum()), int(reference.sum())
    if not n or not n_reference or counts.size < 2:
        return None
    axes, tested = range(counts.ndim), 0
    candidates: list[tuple[tuple[int, ...], int, float, float, float]] = []
    for kept in chain.from_iterable(combinations(axes, k + 1) for k in axes):
        summed = tuple(axis for axis in axes if axis not in kept)
        d, r = counts.sum(axis=summed).reshape(-1), reference.sum(axis=summed).reshape(-1)
        tested += int(np.count_nonzero(d + r))
        far = pulls(d, r, n / n_reference, tolerance)
        candidates += [(kept, int(k), float(d[k]), float(r[k]), float(far[k])) for k in _extremes(far)]
    observed, before = (np.array([c[i] for c in candidates]) for i in (2, 3))
    by = 1 / overdispersion
    found = log_probabilities(observed * by, n * by, before * by, n_reference * by, tolerance)
    best = int(np.argmin(found))
    kept, at, _, _, pull = candidates[best]
    place = np.unravel_index(at, [counts.shape[axis] for axis in kept])
    return HistogramTest(
        _of_any(float(found[best]), tested),
        dict(zip(kept, (int(k) for k in place), strict=True)),
        float(observed[best]),
        float(before[best]) * n / n_reference,
        pull / overdispersion**0.5,
    )


def _extremes(far: Floats) -> NDArray[np.intp]:
    if far.size <= 2 * CANDIDATES:
        return np.arange(far.size)
    low = np.argpartition(far, CANDIDATES)[:CANDIDATES]
    high = np.argpartition(far, far.size - CANDIDATES)[far.size - CANDIDATES :]
    return np.unique(np.concatenate([low, high]))


def _of_any(log_p: float, tested: int) -> float:
    """Return ln(1 - (1 - p)^m): the probability that any of m bins is as unusual."""
    if log_p < _SMALL:
        return log_p + float(np.log(tested))
    with np.errstate(divide="ignore"):
        return float(np.log(-np.expm1(tested * np.log1p(-np.exp(log_p)))))
