"""Compare a histogram with a reference that has an uncertainty of its own: beta-binomial probabilities.

The method is that of AutoDQM (arXiv:2501.13789). If a bin has R of the n_R entries of a reference, the
number of n new entries that are in it follows a beta-binomial distribution. The probability to find as many
or more is that with a = R + 1 and b = n_R - R, and as many or fewer that with a = R and b = n_R - R + 1:
these are the one-sided values of Fisher's exact test, so that a false alarm is never likelier than stated.
A systematic floor limits what a bin of the reference counts to 1 / tolerance^2 entries.

The p-value of a histogram is that of its most unusual bin, p, corrected for the number of bins. Counts are
integers, so that a bin with few entries can have few p-values: the probability that it has p or less is that
of the next one that it can have, and 0 if it has none. Their sum over the bins, given the entries of each bin
in both histograms together, is the corrected value (Westfall and Wolfinger, Am. Stat. 51 (1997) 3): bins that
cannot be unusual take no share of the false alarms (Tarone, Biometrics 46 (1990) 515).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaln, gammaln, xlogy

TOLERANCE = 0.01
"""Systematic uncertainty of a bin's share of the entries, as in AutoDQM."""
CANDIDATES = 4
"""Bins on either side, the farthest off, whose exact probability is computed."""
_POINTS = 128
"""At which a tail is summed."""
_SMALL = -30.0
"""Below this ln p, 1 - (1 - p)^m is m p."""
_LIKELY = -1.0
"""ln of the p-value with all bins counted, above which it does not matter that bins can have few p-values."""
_LARGE, _MAJOR = 3000, 0.1
"""Entries that are expected in a bin, and their share, from which on its p-values count as continuous."""

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

    It is the signed root of the deviance of two Poisson counts, which is close to Gaussian in the tails of
    small counts, too. Bins that are empty in both have 0.

    Parameters
    ----------
    counts, reference : array_like
    ratio : float
        Entries of all bins over those of the reference.
    tolerance : float
    """
    d, r = np.asarray(counts, np.float64), np.asarray(reference, np.float64)
    scale = _floor(r, ratio, tolerance)
    r = r * scale
    ratio_of_bin = ratio / scale
    mean = (d + r) / (1 + ratio_of_bin)
    deviance = xlogy(d, d) - xlogy(d, ratio_of_bin * mean) + xlogy(r, r) - xlogy(r, mean)
    return np.asarray(np.sign(d - ratio_of_bin * r) * np.sqrt(np.maximum(2 * deviance, 0.0)))


def _floor(reference: Floats, ratio: float, tolerance: float) -> Floats:
    """Return by how much bins of the reference count less, as both histograms have a systematic scatter."""
    return np.asarray(1 / (1 + reference * tolerance**2 * (1 + ratio)))


def dispersion(counts: ArrayLike, reference: ArrayLike, tolerance: float = TOLERANCE) -> tuple[float, float]:
    """Return chi-squared of counts against a reference, and its degrees of freedom.

    Their ratio is 1 if entries are independent; objects of one crossing are not, and so are above. Bins with
    5 entries or more expected count; without two of them, both are 0.
    """
    d, r = np.asarray(counts, np.float64).reshape(-1), np.asarray(reference, np.float64).reshape(-1)
    both = d + r
    share = d.sum() / both.sum() if both.any() else 0.0
    expected = both * share
    enough = expected >= 5
    if np.count_nonzero(enough) < 2:
        return 0.0, 0.0
    freedom = float(np.sum(1 - both[enough] / both.sum()))
    d, expected = d[enough], expected[enough]
    variance = (expected + (expected * tolerance) ** 2) * (1 - share)
    return float(((d - expected) ** 2 / variance).sum()), freedom


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
    scale = _floor(r, n / n_reference, tolerance)
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
    kinds: list[tuple[tuple[int, ...], int, float, float, float]] = []
    together: list[Floats] = []
    for kept, distinct in _projections(counts + reference):
        summed = tuple(axis for axis in range(counts.ndim) if axis not in kept)
        d, r = (h.sum(axis=summed).reshape(-1)[distinct] for h in (counts, reference))
        far = pulls(d, r, n / n_reference, tolerance)
        together.append(d + r)
        kinds += [(kept, int(distinct[k]), float(d[k]), float(r[k]), float(far[k])) for k in _extremes(far)]
    observed, before = (np.array([c[i] for c in kinds]) for i in (2, 3))
    by = 1 / overdispersion
    found = log_probabilities(observed * by, n * by, before * by, n_reference * by, tolerance)
    best = int(np.argmin(found))
    kept, at, _, _, pull = kinds[best]
    place = np.unravel_index(at, [counts.shape[axis] for axis in kept])
    sizes = np.concatenate(together)
    log_p = _of_any(float(found[best]), sizes.size)
    if log_p < _LIKELY and overdispersion == 1.0:
        log_p = min(log_p, _of_discrete(float(found[best]), sizes, n + n_reference, n / (n + n_reference)))
    return HistogramTest(
        log_p,
        dict(zip(kept, (int(k) for k in place), strict=True)),
        float(observed[best]),
        float(before[best]) * n / n_reference,
        pull / overdispersion**0.5,
    )


def _projections(total: NDArray[np.int64]) -> Iterator[tuple[tuple[int, ...], NDArray[np.intp]]]:
    """Yield axes that are kept, and places of the bins (of the others' sums) that are to be tested.

    Those are not empty, and not the same as a bin of fewer sums: a ring that lies in one track finder is
    tested once. Of two bins, which have the same p-value, one is tested.
    """
    axes = range(total.ndim)
    for kept in chain.from_iterable(combinations(axes, k + 1) for k in axes):
        summed = tuple(axis for axis in axes if axis not in kept)
        distinct = total.sum(axis=summed) > 0
        one_of_two = np.count_nonzero(distinct) == 2
        for axis in summed:
            finer = total.sum(axis=tuple(other for other in summed if other != axis)) > 0
            distinct &= np.count_nonzero(finer, axis=sorted((*kept, axis)).index(axis)) > 1
        at = np.flatnonzero(distinct)
        yield kept, at[:1] if one_of_two else at


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


def _of_discrete(log_p: float, sizes: Floats, entries: int, share: float) -> float:
    """Return ln of the probability that the p-value of any bin is as small, as counts are integers.

    Parameters
    ----------
    log_p : float
        ln of a two-sided p-value.
    sizes : ndarray of float64
        Entries of each bin in both histograms.
    entries : int
        Of all bins.
    share : float
        Of the entries of both histograms, those in the newer one: given its size, a bin has a binomial number
        of new entries, very nearly.
    """
    from scipy.stats import binom

    p = np.exp(log_p)
    is_small = sizes < min(_LARGE / share, _MAJOR * entries)
    small, number = np.unique(sizes[is_small], return_counts=True)
    tail = p / 2 * (1 + 1e-3)  # tails are not exact
    above = binom.sf(binom.isf(tail, small, share), small, share)
    below = binom.cdf(binom.ppf(tail, small, share) - 1, small, share)
    each = np.minimum(above, p / 2) + np.minimum(below, p / 2)
    total = float(number @ each) + p * np.count_nonzero(~is_small)
    return float(np.log(max(total, p))) if p > 0 else log_p
