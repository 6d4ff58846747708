"""Decide whether a spectrum has a peak at a known line, and set a limit if it has none.

A peak is reported only if a smooth background with a peak describes the spectrum, and without one does not,
whatever the degree of the background's polynomial.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from l1scout.analysis.common.peaks import Peak, fit_peak
from l1scout.errors import InputError
from l1scout.statistics import Measured

DETECTED = 5.0
"""Standard deviations from which on a peak is reported."""
ADEQUATE = 1e-3
"""Smallest p-value of an acceptable fit."""
NEAR = 0.6
"""Largest distance of a peak from its line, in expected widths."""
NARROW = 8
"""Widths that a window must hold for a limit on the yield."""
GOOD = 0.05
"""p-value above which no higher degree is tried."""
DEGREES = (1, 2, 3, 4)
"""Degrees of the background's polynomial."""


@dataclass(frozen=True)
class Line:
    """The result of the search for a line in a spectrum.

    Parameters
    ----------
    reason : str
        Why no peak is reported; empty if one is.
    peak : Peak or None
        The fit; None if there are too few entries for one. Not to be published unless `detected`.
    significance : float
        Standard deviations, the smallest of all backgrounds that describe the spectrum; with position and
        width free (three parameters).
    systematic : float
        Largest difference of the yield between these backgrounds. The yield is that of a Gaussian: of a peak
        with tails, its core.
    limit : float
        Entries of a peak at the line that are excluded with 95 % confidence; NaN if nothing describes the
        spectrum, or the peak is as wide as the background of the window.
    """

    reason: str
    peak: Peak | None = None
    significance: float = float("nan")
    systematic: float = float("nan")
    limit: float = float("nan")

    @property
    def detected(self) -> bool:
        """Whether the peak may be reported."""
        return not self.reason


def find_line(
    edges: NDArray[np.float64],
    counts: NDArray[np.int64],
    window: tuple[float, float],
    line: float,
    width: float,
    *,
    same_sign: NDArray[np.int64] | None = None,
) -> Line:
    """Look for a peak near a line.

    Parameters
    ----------
    edges, counts : ndarray, shape (n + 1,), (n,)
        Spectrum of opposite-sign pairs, in bins of one width.
    window : tuple of float
        GeV that are fitted.
    line, width : float
        Mass, and width that is expected, GeV.
    same_sign : ndarray, shape (n,), optional
        Spectrum of pairs of the same sign: a bump that both have is no resonance.
    """
    edges, counts, same_sign = _rebin(edges, counts, same_sign, width)
    window = _occupied(edges, counts, window)
    fits: list[Peak] = []
    tried: list[Peak] = []
    for degree in DEGREES:
        try:
            tried.append(fit_peak(edges, counts, window, line, width, degree=degree))
        except InputError as error:
            if not tried:
                return Line(str(error).partition(": ")[2])
            break
        p = min(tried[-1].p_value, tried[-1].p_outside)
        if tried[-1].valid and p > ADEQUATE:  # not if it is NaN
            fits.append(tried[-1])
    if not fits:
        return _undescribed(tried)
    peak = next((f for f in fits if f.p_value > GOOD), max(fits, key=lambda f: f.p_value))
    significance = min(_significance(f.gain) for f in fits)

    def yields(position: float, width: float) -> list[Measured]:
        """Fit the entries of a given peak over each of the backgrounds."""
        degrees = [len(f.terms) - 1 for f in fits]
        return [
            fit_peak(edges, counts, window, position, width, fixed=True, degree=d).entries for d in degrees
        ]

    reason = f"significance {significance:.2f}, below {DETECTED:g}"
    systematic = 0.0
    if significance >= DETECTED:
        others = [*(f.entries for f in fits), *yields(peak.position.value, peak.width.value)]
        systematic = max(abs(y.value - peak.entries.value) for y in others)
        reason = _objection(peak, systematic, window, line, width)
    if not reason and same_sign is not None:
        reason = _same_sign_objection(edges, same_sign, peak)
    limit = float("nan")
    if reason and window[1] - window[0] > NARROW * width:  # a wide peak could hide in the background
        limit = max(max(y.value, 0.0) + 1.645 * y.error for y in yields(line, width))
        limit = min(limit, peak.in_window + 1.645 * float(np.sqrt(peak.in_window)))
    return Line(reason, peak, significance, systematic, limit)


def _objection(peak: Peak, systematic: float, window: tuple[float, float], line: float, width: float) -> str:
    """Return why a significant peak is not reported; empty if it is."""
    error = float(np.hypot(peak.entries.error, systematic))
    numbers = [m for v in (peak.entries, peak.position, peak.width) for m in (v.value, v.error)]
    if peak.at_limit:
        return f"the fitted {peak.at_limit} is at its limit"
    if not np.isfinite(numbers).all():
        return "the fit gives no uncertainty"
    if not 0 < peak.entries.value < peak.in_window:
        return f"{peak.entries.value:.0f} entries fitted of {peak.in_window:.0f}"
    if not window[0] + peak.width.value < peak.position.value < window[1] - peak.width.value:
        return f"the fitted peak is not inside {window[0]:g} to {window[1]:g} GeV"
    if abs(peak.position.value - line) > NEAR * width:
        return f"the fitted peak is at {peak.position.value:.3g} GeV, not at {line:g}"
    if not 0.6 * width < peak.width.value < 2.5 * width:
        return f"the fitted width is {peak.width.value:.2g} GeV, that of a resonance about {width:.2g}"
    if peak.entries.value < 1.5 * error:
        return f"{peak.entries.value:.0f} entries, uncertain by {error:.0f}"
    return ""


def _same_sign_objection(edges: NDArray[np.float64], same_sign: NDArray[np.int64], peak: Peak) -> str:
    at = (peak.window, peak.position.value, peak.width.value)
    try:
        other = fit_peak(edges, same_sign, *at, fixed=True, degree=len(peak.terms) - 1)
    except InputError:
        return ""
    error = float(np.hypot(peak.entries.error, other.entries.error))
    if other.valid and peak.entries.value - other.entries.value < 3 * error:
        return f"pairs of the same sign have it as well ({other.entries.value:.0f} entries)"
    return ""


def _significance(gain: float) -> float:
    """Return the standard deviations of a fall of the deviance by yield, position and width together."""
    from scipy.special import log_ndtr, logsumexp, ndtri_exp

    root = np.sqrt(max(gain, 1e-12))  # the survival function of chi^2, without underflow
    log_p = logsumexp([np.log(2) + log_ndtr(-root), 0.5 * np.log(2 / np.pi) + np.log(root) - gain / 2])
    return max(-float(ndtri_exp(min(log_p, -1e-300))), 0.0)


def _undescribed(tried: Sequence[Peak]) -> Line:
    if not any(f.valid for f in tried):
        return Line("the fit does not converge", tried[0])
    best = max(np.nan_to_num([min(f.p_value, f.p_outside) for f in tried]))
    return Line(f"a smooth background with a peak does not describe the spectrum (p = {best:.1g})", tried[0])


def _rebin(
    edges: NDArray[np.float64],
    counts: NDArray[np.int64],
    same_sign: NDArray[np.int64] | None,
    width: float,
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64] | None]:
    """Merge bins to about a quarter of the width."""
    step = float(edges[1] - edges[0])
    wanted = max(int(width / 4 / step), 1)
    n = next(k for k in range(wanted, 0, -1) if not counts.size % k)
    same = None if same_sign is None else same_sign.reshape(-1, n).sum(axis=1)
    return edges[::n], counts.reshape(-1, n).sum(axis=1), same


def _occupied(
    edges: NDArray[np.float64], counts: NDArray[np.int64], window: tuple[float, float]
) -> tuple[float, float]:
    """Leave out the ends of a window at which the spectrum was cut off, with the bins in which it was."""
    inside = np.flatnonzero((edges[:-1] >= window[0] - 1e-9) & (edges[1:] <= window[1] + 1e-9))
    n = counts[inside]
    usual = float(np.median(n[n > 0])) if n.any() else 0.0
    filled = np.flatnonzero(n > 0.2 * usual) if usual >= 5 else np.zeros(0, np.int64)
    if not filled.size:
        return window
    first, last = filled[0], filled[-1]
    low = window[0] if first == 0 else float(edges[inside[first] + 1])
    high = window[1] if last == n.size - 1 else float(edges[inside[last]])
    return low, high
