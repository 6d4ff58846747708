"""Check lumisections as they are complete, with a number of false alarms per day that is set.

There are 86400 s / 23.31 s = 3707 lumisections a day. With T tests, each has the probability
alpha = (false alarms per day) / (3707 T) of a false alarm per lumisection: the expected number of false
alarms, the per-family error rate, is at most what was set, whatever the correlations of the tests. For tests
of bins alpha is the p-value, corrected for the number of bins, at which a lumisection is flagged; for
e-detectors 1 / alpha is the least mean number of lumisections to a false alarm.
"""

import math
from collections.abc import Mapping

from l1scout.analysis.common.live_time import Section
from l1scout.errors import InputError
from l1scout.lhc import LUMISECTION_S
from l1scout.quality.accumulators import RunHistograms
from l1scout.quality.histogram_file import SavedHistograms
from l1scout.quality.pulls import TOLERANCE
from l1scout.quality.quality_checks import SectionCheck, checks_of
from l1scout.quality.quality_flag import QualityFlag
from l1scout.quality.stream_histograms import Counts

SECTIONS_PER_DAY = 86400 / LUMISECTION_S
FALSE_ALARMS_PER_DAY = 1.0


class SectionQuality:
    """Checks lumisections, in order of time; references begin anew with each run.

    Parameters
    ----------
    false_alarms_per_day : float
        Expected number of false alarms on good data that is allowed, above 0.
    tolerance : float
        Relative systematic uncertainty of bins and rates; with 0 only chance is allowed for.
    reference : SavedHistograms, optional
        Of another run, with which shapes are compared instead of with earlier lumisections.

    Raises
    ------
    InputError
        If the number is not above 0.
    """

    def __init__(
        self,
        false_alarms_per_day: float = FALSE_ALARMS_PER_DAY,
        tolerance: float = TOLERANCE,
        reference: SavedHistograms | None = None,
    ) -> None:
        if not 0 < false_alarms_per_day < math.inf:
            msg = f"the number of false alarms per day must be above 0, not {false_alarms_per_day:g}"
            raise InputError(msg)
        self.false_alarms_per_day, self.tolerance = false_alarms_per_day, tolerance
        self._reference = reference
        self._checks: dict[str, list[SectionCheck]] = {}
        self._compared: dict[str, set[str]] = {}
        self._run: int | None = None

    @property
    def tests(self) -> int:
        """Number of tests of histograms that had enough entries in the newest lumisection."""
        return sum(check.is_able for checks in self._checks.values() for check in checks)

    @property
    def alpha(self) -> float:
        """Probability of a false alarm per test and lumisection that is allowed."""
        return min(self.false_alarms_per_day / (SECTIONS_PER_DAY * max(self.tests, 1)), 0.5)

    def check(
        self, at: Section, streams: Mapping[str, Counts], orbits: Mapping[str, int]
    ) -> list[QualityFlag]:
        """Check a lumisection.

        Parameters
        ----------
        at : Section
        streams : mapping of str to dict
            Its histograms by stream.
        orbits : mapping of str to int
            Seen of it, by stream.
        """
        if at.run != self._run:
            self._checks, self._compared, self._run = {}, {}, at.run
        for stream, counts in streams.items():
            known = self._compared.setdefault(stream, set())
            new = {name for name, content in counts.items() if name not in known and content.any()}
            known |= new
            made = checks_of(stream, new, self.tolerance)
            self._checks.setdefault(stream, []).extend(made)
            if self._reference is not None and stream in self._reference.counts:
                for check in made:
                    of = self._reference.counts[stream][check.histogram], self._reference.orbits[stream]
                    check.compare_with(*of)
        alpha = self.alpha
        found = []
        for stream, counts in streams.items():
            for check in self._checks[stream]:
                flag = check.look(at, counts, orbits.get(stream, 0), alpha)
                if flag is not None:
                    found.append(flag)
        return found

    def check_section(self, histograms: RunHistograms, at: Section) -> list[QualityFlag]:
        """Check a lumisection that is complete (KeyError if its histograms are no longer kept)."""
        streams = histograms.section(at)
        orbits = {name: histograms.streams[name].live.sections[at].orbits for name in streams}
        return self.check(at, streams, orbits)
