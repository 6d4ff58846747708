"""Hot and dead regions: cells that should count the same, or as a reference did, and do not.

Exact tests on counts: given the sum of two counts, one of them is binomial. What is flagged is taken out and
the rest tested again, so that one hot cell does not make its neighbours look dead.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ALPHA = 1e-3
"""Probability that anything at all is flagged in a map without faults."""


@dataclass(frozen=True)
class Region:
    """A cell that counts too much or too little.

    Parameters
    ----------
    cell : int
    count : int
    expected : float
    ratio, error : float
        Count over expected, and its statistical uncertainty.
    p_value : float
        Times the number of cells that were tested.
    """

    cell: int
    count: int
    expected: float
    ratio: float
    error: float
    p_value: float


def find_regions(
    counts: NDArray[np.int64],
    group: NDArray[np.int64],
    reference: NDArray[np.int64] | None = None,
    tolerance: float = 0.0,
) -> list[Region]:
    """Find cells that differ from the rest of their group.

    Parameters
    ----------
    counts : ndarray of int64, shape (cells,)
    group : ndarray of int64, shape (cells,)
        Cells of one group should count the same, or in proportion to the reference: 0 and up; cells
        of -1 are not tested.
    reference : ndarray of int64, shape (cells,), optional
        Counts of other data, whose statistical uncertainty is taken into account. Without it, all
        cells of a group should count the same (symmetry).
    tolerance : float
        Relative difference that is nothing to report: what acceptance and calibration explain.

    Returns
    -------
    list of Region
        In order of cells.
    """
    tested = int(np.count_nonzero(group >= 0))
    found: list[Region] = []
    for g in range(int(group.max(initial=-1)) + 1):
        cells = np.flatnonzero(group == g)
        while cells.size > 2 and counts[cells].sum():
            regions = _test(counts[cells], None if reference is None else reference[cells], tolerance, tested)
            worst = min(range(cells.size), key=lambda k: (regions[k].p_value, -abs(regions[k].ratio - 1)))
            if regions[worst].p_value >= ALPHA:
                break
            found.append(Region(int(cells[worst]), *list(vars(regions[worst]).values())[1:]))
            cells = np.delete(cells, worst)
    return sorted(found, key=lambda r: r.cell)


def _test(
    n: NDArray[np.int64], reference: NDArray[np.int64] | None, tolerance: float, tested: int
) -> list[Region]:
    from scipy.stats import binom

    others = n.sum() - n
    if reference is None:
        scale, against = np.full(n.size, 1 / (n.size - 1)), others  # expected = scale x against
    else:
        scale, against = others / np.maximum(reference.sum() - reference, 1), reference
    expected = scale * against
    share = [s / (1 + s) for s in (scale * (1 - tolerance), scale * (1 + tolerance))]
    low = binom.cdf(n, n + against, share[0])
    high = binom.sf(n - 1, n + against, share[1])
    p = np.minimum(2 * np.minimum(low, high) * tested, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = n / expected
        error = np.sqrt(np.maximum(n, 1) + ratio**2 * scale * expected) / expected
    rows = zip(*(x.tolist() for x in (n, expected, ratio, error, p)), strict=True)
    return [Region(k, *row) for k, row in enumerate(rows)]


def pulls(counts: NDArray[np.int64], group: NDArray[np.int64]) -> NDArray[np.float64]:
    """Difference of each cell from the mean of its group's others, in standard deviations (NaN: untested)."""
    out = np.full(counts.size, np.nan)
    for g in range(int(group.max(initial=-1)) + 1):
        cells = np.flatnonzero(group == g)
        if cells.size > 1 and counts[cells].sum():
            mean = (counts[cells].sum() - counts[cells]) / (cells.size - 1)
            out[cells] = (counts[cells] - mean) / np.sqrt(mean * (1 + 1 / (cells.size - 1)))
    return out
