"""Checks of one stream: each compares a lumisection with earlier good ones, and says what is wrong.

A check has a reference of its own: lumisections that it flags are left out of it, others are not. If it flags
`restart_after` of them in a row, conditions have changed for good, and the reference begins anew. Or it
compares with another run, which does not change.
"""

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from l1scout.analysis.common.live_time import Section
from l1scout.formats.streams.anomaly import MAX_THRESHOLDS
from l1scout.lhc import ORBIT_FREQUENCY_HZ
from l1scout.quality.drift import ShiftDetector, beside_trains, count_pull, mean_pull
from l1scout.quality.histogram_definitions import (
    EXCEEDED,
    HistogramAxis,
    HistogramDefinition,
    definitions,
    stream_of,
)
from l1scout.quality.pulls import TOLERANCE, HistogramTest, compare_histograms, dispersion, pulls
from l1scout.quality.quality_flag import QualityFlag
from l1scout.quality.section_reference import SectionReference
from l1scout.quality.stream_histograms import Counts

MIN_SECTIONS = 4
"""Of a reference, before anything is compared with it."""
REFERENCE_SECTIONS = 16
"""Of a rolling reference: six minutes."""
RATE_SECTIONS = 4
"""Of the reference of rates: short, as luminosity decays by 0.04 % per lumisection, which is no step."""
RESTART_AFTER = 32
MEAN_SHARE = 0.2
"""Systematic uncertainty of the mean of ln pT, over that of a bin."""
NOT_COMPARED = frozenset({"bx", "multiplicity", "next_crossing", EXCEEDED})
"""Histograms whose bins are not compared: they change shape with luminosity, or repeat another one."""
OF_SCORES = frozenset({"score", EXCEEDED})
"""Histograms of anomaly scores that are checked where the monitor scores: the others repeat the objects'."""
SPECTRA = ("pt", "pt_recalibrated", "et")
"""Whose mean is followed."""
_NEAR = 4.0
"""Pull, above which neighbours of the worst bin of a spectrum belong to what is reported."""


class SectionCheck(ABC):
    """A check of one histogram of a stream.

    Parameters
    ----------
    stream, histogram, name : str
        The check is called ``stream/name``.
    keep : int, optional
        Lumisections of its reference; all if None.
    tolerance : float
        Relative systematic uncertainty.

    Attributes
    ----------
    is_able : bool
        Whether the newest lumisection had enough entries to be tested: if not, the check takes no share of
        the false alarms.
    """

    view = "physics"
    restart_after = RESTART_AFTER

    def __init__(self, stream: str, histogram: str, name: str, keep: int | None, tolerance: float) -> None:
        self.stream, self.histogram, self.name = stream, histogram, f"{stream}/{name}"
        self._tolerance = tolerance
        self.reference = SectionReference(keep)
        self._flagged, self.is_able, self._is_fixed = 0, True, False

    def compare_with(self, counts: NDArray[np.int64], orbits: int) -> None:
        """Compare with the histogram of another run, from now on."""
        if counts.any():
            self.restart()
            self.reference.add(counts, orbits)
            self.reference.sections, self._is_fixed = MIN_SECTIONS, True

    def look(self, at: Section, counts: Counts, orbits: int, alpha: float) -> QualityFlag | None:
        """Check a lumisection.

        Parameters
        ----------
        at : Section
        counts : dict of str to ndarray
            Its histograms.
        orbits : int
            Seen of it.
        alpha : float
            Probability of a false alarm that is allowed.
        """
        now, flag = counts[self.histogram], None
        if self.reference.sections >= MIN_SECTIONS and self.reference.counts is not None:
            flag = self._test(at, now, orbits, self.reference.counts, alpha)
        if flag is None:
            self._flagged = 0
            self._learn(now, orbits)
            return None
        self._flagged += 1
        if self._flagged >= self.restart_after and not self._is_fixed:
            self._flagged = 0
            self.restart()
            self.reference.add(now, orbits)
        return flag

    def restart(self) -> None:
        """Begin with an empty reference."""
        self.reference.restart()

    @abstractmethod
    def _test(
        self, at: Section, now: NDArray[np.int64], orbits: int, reference: NDArray[np.int64], alpha: float
    ) -> QualityFlag | None:
        """Compare with the reference."""

    def _learn(self, now: NDArray[np.int64], orbits: int) -> None:
        """Add a good lumisection to the reference."""
        if not self._is_fixed:
            self.reference.add(now, orbits)

    def _flag(
        self, at: Section, since: int, what: str, where: str, bx: tuple[int, int] | None, log_p: float
    ) -> QualityFlag:
        first = max(at.number - since, 1)
        link = f"?view={self.view}&stream={self.stream}"
        begins = self._flagged == 0
        return QualityFlag(at.run, at.number, first, self.name, what, where, bx, log_p, begins, link)


class BinCheck(SectionCheck):
    """Compare the bins of a histogram with those of its reference, whatever the number of entries."""

    def __init__(self, stream: str, definition: HistogramDefinition, tolerance: float) -> None:
        super().__init__(stream, definition.name, definition.name, REFERENCE_SECTIONS, tolerance)
        self._definition = definition
        self._chi2 = self._freedom = 0.0
        maps = len(definition.axes) > 1
        other = {"occupied_bx": "bunches", "algorithm": "menu"}.get(definition.name, "physics")
        self.view = "maps" if maps else other

    def restart(self) -> None:
        """Begin with an empty reference."""
        super().restart()
        self._chi2 = self._freedom = 0.0

    def _learn(self, now: NDArray[np.int64], orbits: int) -> None:
        if self.reference.counts is not None:
            chi2, freedom = dispersion(now, self.reference.counts, self._tolerance)
            self._chi2, self._freedom = self._chi2 + chi2, self._freedom + freedom
        super()._learn(now, orbits)

    @property
    def overdispersion(self) -> float:
        """Chi-squared per degree of freedom of the run; 1 if it is not three standard deviations above."""
        if not self._freedom:
            return 1.0
        mean = self._chi2 / self._freedom
        return mean if mean > 1 + 3 * np.sqrt(2 / self._freedom) else 1.0

    def _test(
        self, at: Section, now: NDArray[np.int64], orbits: int, reference: NDArray[np.int64], alpha: float
    ) -> QualityFlag | None:
        del orbits
        found = compare_histograms(now, reference, self._tolerance, self.overdispersion)
        self.is_able = found is not None
        if found is None or found.log_p > np.log(alpha):
            return None
        where, bx, observed, expected, others = self._region(found, now, reference)
        what = f"{observed:,} {self._definition.counts}, expected {expected:,.1f}"
        what += f" ({others:,} other bins differ, too)" if others > 1 else ""
        return self._flag(at, 0, what, where, bx, found.log_p)

    def _region(
        self, found: HistogramTest, now: NDArray[np.int64], reference: NDArray[np.int64]
    ) -> tuple[str, tuple[int, int] | None, int, float, int]:
        """Describe the worst bin, with neighbours along its last axis that are off in the same direction.

        Returns
        -------
        str, tuple of int or None, int, float, int
            Region, range of BX, entries, how many were expected, and how many other bins of the row are off.
        """
        axes, parts = self._definition.axes, []
        others = tuple(k for k in range(now.ndim) if k not in found.bins)
        *fixed, last = found.bins
        row = tuple(found.bins[k] for k in fixed)
        d, r = (h.sum(axis=others)[row] for h in (now, reference))
        ratio = now.sum() / reference.sum()
        pull = pulls(d, r, ratio, self._tolerance)
        far = pull * np.sign(found.pull) > _NEAR
        low = high = found.bins[last]
        while low > 0 and far[low - 1]:
            low -= 1
        while high + 1 < far.size and far[high + 1]:
            high += 1
        for k, at in found.bins.items():
            first, end = (low, high) if k == last else (at, at)
            parts.append(_range(axes[k], first, end))
        bx = (low, high) if axes[last].name == "bx" else None
        within = slice(low, high + 1)
        other_bins = int(np.count_nonzero(np.abs(pull) > _NEAR) - np.count_nonzero(far[within]))
        return ", ".join(parts), bx, int(d[within].sum()), float(r[within].sum() * ratio), other_bins


def _range(axis: HistogramAxis, first: int, last: int) -> str:
    """Describe neighbouring bins of an axis."""
    label = axis.label.partition(" [")[0]
    low, high = axis.edges[first], axis.edges[last + 1]
    names = label.split(", ")
    if len(names) == axis.bins:
        return ", ".join(names[first : last + 1])
    if axis.is_regular and axis.edges[1] - axis.edges[0] == 1:
        return f"{label} {low:.0f}" + (f" to {high - 1:.0f}" if last > first else "")
    return f"{label} {low:.3g} to {high:.3g}"


class DriftCheck(SectionCheck):
    """Follow one number of a histogram by an e-detector (`l1scout.quality.drift`)."""

    view = "history"
    _what = ""

    def __init__(self, stream: str, histogram: str, name: str, keep: int | None, tolerance: float) -> None:
        super().__init__(stream, histogram, name, keep, tolerance)
        self._detector = ShiftDetector(1.0, keep)

    def restart(self) -> None:
        """Begin with an empty reference, and without evidence."""
        super().restart()
        self._detector.restart()

    def compare_with(self, counts: NDArray[np.int64], orbits: int) -> None:
        """Compare with the histogram of another run, from now on."""
        self._detector = ShiftDetector(1.0, None)
        super().compare_with(counts, orbits)

    @abstractmethod
    def _pull(
        self, now: NDArray[np.int64], orbits: int, reference: NDArray[np.int64]
    ) -> tuple[float, float, float] | None:
        """Return the pull, the value and the expected value; None if there are too few entries."""

    def _region(self, reference: NDArray[np.int64]) -> tuple[str, tuple[int, int] | None]:
        del reference
        return "", None

    def _test(
        self, at: Section, now: NDArray[np.int64], orbits: int, reference: NDArray[np.int64], alpha: float
    ) -> QualityFlag | None:
        found = self._pull(now, orbits, reference)
        self.is_able = found is not None
        self._detector.alpha = alpha
        if found is None or not self._detector.update(found[0]):
            return None
        pull, value, expected = found
        what = f"{self._what} is {value:.5g}, expected {expected:.5g} ({pull:+.1f} standard deviations)"
        where, bx = self._region(reference)
        log_p = min(-self._detector.log_evidence, np.log(alpha))
        return self._flag(at, self._detector.since if not self._flagged else 0, what, where, bx, float(log_p))


class RateCheck(DriftCheck):
    """Follow the crossings with an object per orbit; after a step the new rate is the reference."""

    restart_after = 1
    _what = "number of crossings with an object per orbit"
    _unit = 1.0

    def __init__(
        self, stream: str, tolerance: float, histogram: str = "occupied_bx", name: str = "rate"
    ) -> None:
        super().__init__(stream, histogram, name, RATE_SECTIONS, tolerance)

    def _pull(
        self, now: NDArray[np.int64], orbits: int, reference: NDArray[np.int64]
    ) -> tuple[float, float, float] | None:
        seen, before, of = self._counted(now), self._counted(reference), self.reference.orbits
        pull = count_pull(seen, orbits, before, of, self._tolerance)
        if pull is None or not orbits:
            return None
        return pull, self._unit * seen / orbits, self._unit * before / of

    def _counted(self, counts: NDArray[np.int64]) -> int:
        return int(counts.sum())

    def compare_with(self, counts: NDArray[np.int64], orbits: int) -> None:
        """Go on comparing with the lumisections before: runs have different luminosities."""


class ThresholdCheck(RateCheck):
    """Follow the rate of crossings whose anomaly score is above the n-th threshold of the model."""

    view = "anomaly"
    _unit = ORBIT_FREQUENCY_HZ / 1e3

    def __init__(self, stream: str, number: int, tolerance: float) -> None:
        super().__init__(stream, tolerance, EXCEEDED, f"above_threshold_{number}")
        self._number = number
        self._what = f"rate of crossings with a score above threshold {number} [kHz]"

    def _counted(self, counts: NDArray[np.int64]) -> int:
        return int(counts[self._number :].sum())


class MeanCheck(DriftCheck):
    """Follow the mean of the logarithm of pT or ET, which a change of scale moves; all of the run counts."""

    view = "physics"

    def __init__(self, stream: str, definition: HistogramDefinition, tolerance: float) -> None:
        super().__init__(stream, definition.name, f"mean_{definition.name}", None, MEAN_SHARE * tolerance)
        edges = definition.axes[0].edges
        centres = (edges[1:] + edges[:-1]) / 2
        self._values = np.log(np.where(edges[:-1] > 0, centres, np.nan))
        self._what = f"geometric mean of {definition.axes[0].label}"

    def _pull(
        self, now: NDArray[np.int64], orbits: int, reference: NDArray[np.int64]
    ) -> tuple[float, float, float] | None:
        del orbits
        pull = mean_pull(now, reference, self._values, self._tolerance)
        if pull is None:
            return None
        used = np.isfinite(self._values)
        value, expected = (np.exp(np.average(self._values[used], weights=h[used])) for h in (now, reference))
        return pull, float(value), float(expected)


class TimingCheck(DriftCheck):
    """Follow the share of crossings with an object that are 1 BX before, or after, a train."""

    view = "bunches"

    def __init__(self, stream: str, late: bool, tolerance: float) -> None:
        name = "postfiring" if late else "prefiring"
        super().__init__(stream, "occupied_bx", name, REFERENCE_SECTIONS, tolerance)
        self._late = late
        self._what = f"share of crossings 1 BX {'after' if late else 'before'} trains"

    def _pull(
        self, now: NDArray[np.int64], orbits: int, reference: NDArray[np.int64]
    ) -> tuple[float, float, float] | None:
        del orbits
        bx = beside_trains(reference)[self._late]
        beside, n = int(now[bx].sum()), int(now.sum())
        before, n_before = int(reference[bx].sum()), int(reference.sum())
        pull = count_pull(beside, n, before, n_before, self._tolerance)
        return None if pull is None or not n else (pull, beside / n, before / n_before)

    def _region(self, reference: NDArray[np.int64]) -> tuple[str, tuple[int, int] | None]:
        bx = beside_trains(reference)[self._late]
        return f"{bx.size} BX beside trains", (int(bx[0]), int(bx[-1])) if bx.size else None


def checks_of(stream: str, histograms: set[str], tolerance: float = TOLERANCE) -> list[SectionCheck]:
    """Return the checks of these histograms of a stream."""
    of_model = stream_of(stream) != stream
    known = {
        d.name: d
        for d in definitions(stream)
        if d.name in histograms and (not of_model or d.name in OF_SCORES)
    }
    made: list[SectionCheck] = [
        BinCheck(stream, d, tolerance) for n, d in known.items() if n not in NOT_COMPARED
    ]
    made += [MeanCheck(stream, known[name], tolerance) for name in SPECTRA if name in known]
    if "occupied_bx" in known:
        made.append(RateCheck(stream, tolerance))
        made += [TimingCheck(stream, late, tolerance) for late in (False, True)]
    if EXCEEDED in known:
        made += [ThresholdCheck(stream, k, tolerance) for k in range(1, MAX_THRESHOLDS + 1)]
    return made
