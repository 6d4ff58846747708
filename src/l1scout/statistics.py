"""Numbers with their uncertainties, and intervals of fractions: the statistics that every part uses."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Interval:
    """A fraction with its confidence interval; all three are NaN where nothing was counted.

    Parameters
    ----------
    value : float
        Best estimate, 0 to 1.
    low, high : float
        Ends of the interval, 68.3 % unless something else was asked for.
    """

    value: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")


def proportion(passed: int, total: int, sigmas: float = 1.0) -> Interval:
    """Return the fraction of `total` that `passed`, with the interval of Clopper and Pearson."""
    from scipy.stats import binomtest, norm

    if not total:
        return Interval()
    level = 2 * float(norm.cdf(sigmas)) - 1
    ends = binomtest(passed, total).proportion_ci(level)
    return Interval(passed / total, float(ends.low), float(ends.high))


def signal_fraction(counted: int, background: int, sigmas: float = 1.0) -> Interval:
    """Return which fraction of what was `counted` is signal.

    Parameters
    ----------
    counted : int
        Signal and background.
    background : int
        Counted where there is as much background, but no signal. The interval is that of Clopper and Pearson
        for the share of the background among both counts.
    """
    if not counted:
        return Interval()
    share = proportion(background, counted + background, sigmas)
    low, high = (1 - min(s / (1 - s), 1.0) if s < 1 else 0.0 for s in (share.high, share.low))
    return Interval(max(1 - background / counted, 0.0), low, high)


def bounded(value: float, error: float) -> Interval:
    """Return the interval of a fraction whose estimate is Gaussian and may by chance be outside 0 to 1.

    Such are differences of counts. The interval is where -2 ln of the likelihood is less than 1 above that at
    the best value between 0 and 1.
    """
    if not (np.isfinite(value) and error > 0):
        return Interval()
    best = min(max(value, 0.0), 1.0)
    half = float(np.hypot(error, value - best))
    return Interval(best, min(max(value - half, 0.0), best), max(min(value + half, 1.0), best))


def efficiency(
    passed: float,
    failed: float,
    *,
    chance: float = 0.0,
    control: float = 0.0,
    scale: float = 0.0,
    sigmas: float = 1.0,
) -> Interval:
    """Return the efficiency of probes, when some of the tags are background.

    All four counts are Poisson distributed. The interval is where -2 ln of the likelihood, minimised over the
    signal and both backgrounds, is less than sigmas^2 above its minimum. No signal can be negative, so the
    efficiency is between 0 and 1.

    Parameters
    ----------
    passed, failed : float
        Tags whose probe was seen, and tags whose probe was not.
    chance : float
        Counted in a control region, with as many as passed by chance.
    control : float
        Background tags counted in a control region.
    scale : float
        Background among `failed` for each one in that region.
    """
    from scipy.optimize import brentq, minimize_scalar

    both = max(passed - chance, 0.0)
    lost = max(failed - scale * control, 0.0)
    if both + lost <= 0:
        return Interval()
    best = both / (both + lost)

    def seen(signal: float) -> float:
        background = _background(signal, passed, chance, 1.0)
        return _deviance(passed, signal + background) + _deviance(chance, background)

    def missed(signal: float) -> float:
        background = _background(signal, failed, control, scale)
        return _deviance(failed, signal + scale * background) + _deviance(control, background)

    def rise(value: float) -> float:
        """-2 ln of the likelihood over its minimum, less what is allowed."""
        most = both + lost + 10 * np.sqrt(passed + failed + chance + scale**2 * control) + 10
        found = minimize_scalar(
            lambda total: seen(value * total) + missed((1 - value) * total),
            bounds=(0, most),
            method="bounded",
            options={"xatol": 1e-6 * most},
        )
        return float(found.fun) - floor - sigmas**2

    floor = seen(both) + missed(lost)
    low = brentq(rise, 0.0, best, xtol=1e-6) if best > 0 and rise(0.0) > 0 else 0.0
    high = brentq(rise, best, 1.0, xtol=1e-6) if best < 1 and rise(1.0) > 0 else 1.0
    return Interval(best, min(float(low), best), max(float(high), best))


def _background(signal: float, counted: float, control: float, scale: float) -> float:
    """Likeliest background in a control region, given the signal and `scale` times it in `counted`."""
    if not scale:
        return control
    a = scale * (scale + 1)
    half = ((scale + 1) * signal - scale * (counted + control)) / (2 * a)
    return float(np.sqrt(half * half + control * signal / a) - half)


def _deviance(counted: float, expected: float) -> float:
    """-2 ln of the Poisson likelihood over that of a perfect description."""
    if counted <= 0:
        return 2 * expected
    if expected <= 0:
        return float("inf")
    return float(2 * (expected - counted + counted * np.log(counted / expected)))


_ONE_SIGMA = (0.158655, 0.841345)


def wrap(phi: ArrayLike) -> NDArray[np.float64]:
    """Angle in [-pi, pi) of any angle in rad."""
    turns = (np.asarray(phi, np.float64) + np.pi) % (2 * np.pi) - np.pi
    return np.where(turns >= np.pi, -np.pi, turns)


@dataclass(frozen=True)
class Measured:
    """A number and its statistical uncertainty (NaN where a publication gives none)."""

    value: float
    error: float = float("nan")

    def as_dict(self) -> dict[str, float | None]:
        """For JSON, which knows no NaN."""
        return {n: x if x == x else None for n, x in (("value", self.value), ("error", self.error))}


def rms(x: NDArray[np.float64]) -> Measured:
    """Root mean square about zero; the uncertainty follows from the fourth moment of the sample."""
    square = x * x
    value = float(np.sqrt(square.mean()))
    return Measured(value, float(square.std() / np.sqrt(x.size) / (2 * value)) if value else 0.0)


def share(mask: NDArray[np.bool_]) -> Measured:
    """Share of True, with Wilson's binomial half-width: not zero where none or all are True."""
    n, p = mask.size, float(mask.mean())
    return Measured(p, float(np.sqrt(p * (1 - p) / n + 0.25 / n**2) / (1 + 1 / n)))


def half_width(x: NDArray[np.float64]) -> Measured:
    """Half the width of the central 68 % interval: the resolution without its tails.

    The uncertainty is that of the order statistics at its two ends.
    """
    step = np.array([np.sqrt(q * (1 - q) / x.size) for q in _ONE_SIGMA])
    q = np.array(_ONE_SIGMA)
    low, high = np.quantile(x, q)
    ends = np.quantile(x, np.clip(q + step, 0, 1)) - np.quantile(x, np.clip(q - step, 0, 1))
    return Measured(float(high - low) / 2, float(np.hypot(*(ends / 2))) / 2)


def mean(x: NDArray[np.float64]) -> Measured:
    """Mean and its uncertainty."""
    return Measured(float(x.mean()), float(x.std() / np.sqrt(x.size)))


def paired_ratio(a: NDArray[Any], b: NDArray[Any]) -> Measured:
    """Ratio of the means of two columns of the same muons, with their correlation in the uncertainty."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    mean_a, mean_b = float(a.mean()), float(b.mean())
    if not mean_b:
        return Measured(float("nan"))
    ratio = mean_a / mean_b
    return Measured(ratio, float(np.std(a - ratio * b) / np.sqrt(a.size) / abs(mean_b)))


def rms_ratio(a: NDArray[np.float64], b: NDArray[np.float64]) -> Measured:
    """Ratio of the RMS about zero of two residuals of the same muons."""
    square = paired_ratio(a * a, b * b)
    value = float(np.sqrt(square.value))
    return Measured(value, square.error / (2 * value) if value else square.error)


def same_distribution(few: NDArray[Any], many: NDArray[Any], draws: int = 10_000) -> float:
    """Return the p-value that a small sample is drawn from the distribution of a large one.

    The statistic is the largest distance of the cumulative distributions (Kolmogorov and Smirnov). Its
    distribution comes from samples drawn from the large one, so it holds for any size of the small sample and
    for discrete values; the large sample counts as exact.

    Parameters
    ----------
    few, many : ndarray
        Values of the two samples. At most some thousand different values (hardware values, say).
    draws : int
        Samples drawn, always the same ones; the p-value is no less than 1 / (draws + 1).

    Raises
    ------
    ValueError
        If a sample is empty.
    """
    if not (few.size and many.size):
        msg = "an empty sample has no distribution"
        raise ValueError(msg)
    values, at = np.unique(np.concatenate([few, many]), return_inverse=True)
    counts = np.bincount(at[few.size :], minlength=values.size)
    expected = np.cumsum(counts) / many.size
    seen = np.cumsum(np.bincount(at[: few.size], minlength=values.size)) / few.size
    distance = np.abs(seen - expected).max() - 1e-9  # sums differ in their last bits
    drawn = np.random.default_rng(0).multinomial(few.size, counts / many.size, draws)
    farther = np.abs(np.cumsum(drawn, 1) / few.size - expected).max(1) >= distance
    return float((1 + np.count_nonzero(farther)) / (draws + 1))
