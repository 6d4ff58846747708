"""Detect lasting shifts over lumisections: e-detectors (Shin, Ramdas and Rinaldo, NEJSDS 2023).

A detector gets one pull per lumisection: how far a mean, a share or a rate is from its reference, in standard
deviations. For each of some sizes of shift d it multiplies e = exp(d z - d^2 / 2), whose expectation is at
most 1 while nothing is wrong, in the manner of Shiryaev and Roberts: M = (1 + M) e. The mean of M over the
sizes has an expectation of at most the number of lumisections; so the mean time to a false alarm, which is
raised at M = 1 / alpha, is at least 1 / alpha lumisections.

The bound is far from what happens: M is well above a threshold when it crosses it, and a rolling reference
follows a shift, so that evidence for it cannot grow. `MEAN_TIMES` has the thresholds at which the mean time
is 1 / alpha, for Gaussian pulls.
"""

from collections import deque
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

SIZES = np.array([-2.0, -1.0, -0.5, 0.5, 1.0, 2.0])
"""Of shifts that are looked for, in standard deviations of one lumisection."""
MEAN_TIMES: Mapping[int | None, tuple[float, ...]] = {
    None: (1.65, 2.62, 3.62, 4.62, 5.62, 6.62, 7.62, 8.62, 9.62, 10.62, 11.62),
    16: (1.65, 2.69, 3.80, 5.06, 6.32, 7.66, 8.94, 10.18, 11.38, 12.62, 13.70),
    4: (1.65, 2.96, 4.63, 6.38, 8.04, 9.63, 11.29),
}
"""ln of the mean number of lumisections to a false alarm at thresholds of ln M = 1, 2, 3..., by the number of
lumisections of a rolling reference (None: all before). Simulated by ``validation/drift_thresholds.py``, to
3 % (8 % at the last). That of a fixed reference exceeds the threshold by ln 1.85 everywhere."""
MAX_PULL = 8.0
"""Larger pulls count as this."""
_RECENT = 4
"""Lumisections whose mean pull tells whether a shift is over."""
MIN_EXPECTED = 100
"""Entries of a rate or share, below which a pull is not nearly Gaussian and none is given."""


class ShiftDetector:
    """Sums evidence for a shift, lumisection by lumisection.

    Parameters
    ----------
    alpha : float
        One over the mean number of lumisections to a false alarm.
    window : int, optional
        Lumisections of the rolling reference with which pulls are made, a key of `MEAN_TIMES`; all if None.

    Attributes
    ----------
    shifted : bool
        Whether a shift was found and is not over. It is when the mean of the last four pulls is within 1.
    log_evidence : float
        ln M; an alarm is raised at `threshold`.
    since : int
        How many lumisections ago, before the newest, the shift probably began.
    """

    def __init__(self, alpha: float, window: int | None = None) -> None:
        self.alpha, self._mean_times = alpha, np.array(MEAN_TIMES[window])
        self.restart()

    @property
    def threshold(self) -> float:
        """Return the ln M at which an alarm is raised; beyond the table M is in proportion to 1 / alpha."""
        time, known = -np.log(self.alpha), self._mean_times
        beyond = max(time - known[-1], 0.0)
        return float(np.interp(time, known, 1.0 + np.arange(known.size)) + beyond)

    def restart(self) -> None:
        """Forget all evidence."""
        self.shifted, self.log_evidence = False, -np.inf
        self._log_m = np.full(SIZES.size, -np.inf)
        self._sum, self._steps = np.zeros(SIZES.size), np.zeros(SIZES.size, np.int64)
        self._recent: deque[float] = deque(maxlen=_RECENT)

    def update(self, pull: float) -> bool:
        """Take in the pull of a lumisection; return `shifted`."""
        z = min(max(pull, -MAX_PULL), MAX_PULL)
        self._recent.append(z)
        if self.shifted:
            if len(self._recent) == _RECENT and abs(sum(self._recent)) < _RECENT:
                self.restart()
            else:
                self._steps += 1
            return self.shifted
        gain = SIZES * z - SIZES**2 / 2
        self._log_m = np.logaddexp(0.0, self._log_m) + gain
        self.log_evidence = float(np.logaddexp.reduce(self._log_m) - np.log(SIZES.size))
        new = self._sum + gain
        self._steps = np.where(new > 0, self._steps + 1, 0)
        self._sum = np.maximum(new, 0.0)
        if self.log_evidence >= self.threshold:
            self.shifted = True
            self._recent.clear()
        return self.shifted

    @property
    def since(self) -> int:
        """Return the number of lumisections before the newest one that are probably shifted, too."""
        return int(max(self._steps[np.argmax(self._sum)] - 1, 0))


def count_pull(
    observed: float, of: float, reference: float, of_reference: float, tolerance: float = 0.0
) -> float | None:
    """Return the pull of a count whose expectation is proportional to `of`; None if that is below 100.

    Parameters
    ----------
    observed, reference : float
        Counts.
    of, of_reference : float
        What they are proportional to: orbits, or all entries.
    tolerance : float
        Relative systematic uncertainty.
    """
    if of_reference <= 0 or reference * of < MIN_EXPECTED * of_reference:
        return None
    scale = of / of_reference
    expected = reference * scale
    spread = np.sqrt((1 + scale) * (1 + expected * tolerance**2))
    return float(2 * (np.sqrt(observed + 0.375) - np.sqrt(expected + 0.375)) / spread)


def mean_pull(
    counts: ArrayLike, reference: ArrayLike, values: NDArray[np.float64], tolerance: float = 0.0
) -> float | None:
    """Return the pull of the mean of a histogram; None if it has fewer than 100 entries.

    Parameters
    ----------
    counts, reference : array_like
    values : ndarray of float64
        What is averaged, by bin; bins with NaN are left out.
    tolerance : float
        Systematic uncertainty of the mean.
    """
    used = np.isfinite(values)
    d, r = (np.asarray(x, np.float64)[used] for x in (counts, reference))
    x = values[used]
    n, n_reference = d.sum(), r.sum()
    if n < MIN_EXPECTED or n_reference < MIN_EXPECTED:
        return None
    mean = r @ x / n_reference
    variance = r @ (x - mean) ** 2 / n_reference
    error = np.sqrt(variance * (1 / n + 1 / n_reference) + tolerance**2 * (1 + n / n_reference))
    return float((d @ x / n - mean) / error) if error > 0 else None


def beside_trains(occupied: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the BX just before the first and just after the last BX of each train.

    BX collide that have more than a quarter of a typical number of entries (the median of those above a
    tenth of the largest).

    Parameters
    ----------
    occupied : array_like
        Entries by BX, from 0.
    """
    counts = np.asarray(occupied, np.float64)
    high = counts > counts.max() / 10 if counts.any() else np.zeros(counts.size, bool)
    if not high.any():
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    filled = counts > np.median(counts[high]) / 4
    before = np.flatnonzero(filled[1:] & ~filled[:-1])
    after = np.flatnonzero(filled[:-1] & ~filled[1:]) + 1
    return before, after
