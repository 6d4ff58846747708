"""Book-keeping: how many orbits were seen, in which lumisections. No rate is made without it."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.errors import InputError
from l1scout.lhc import ORBIT_FREQUENCY_HZ, ORBITS_PER_LUMISECTION

SLACK = 0.02
"""Share by which orbits with muons may be more than a batch says: chunks of a file that tells only the sum
have their part by rows, and may end within an orbit."""


MAX_SECTIONS = 10_000
"""65 hours of lumisections, and half a gigabyte of counts."""


class Section(NamedTuple):
    """A lumisection of a run, or another slice of it, numbered from 1."""

    run: int
    number: int


@dataclass
class Seen:
    """What was seen of a section.

    Parameters
    ----------
    orbits : int
        Orbits that were looked at, empty ones too.
    weight : float
        Orbits over prescale: what a count has to be divided by.
    first, last : int
        First and last orbit with a muon.
    lost : int
        Orbits that board, readout or store are known to have lost.
    """

    orbits: int = 0
    weight: float = 0.0
    lost: int = 0
    first: int = np.iinfo(np.int64).max
    last: int = -1

    @property
    def live_fraction(self) -> float:
        """Fraction of the orbits that were seen.

        Of those between the first and the last with a muon, or, if that is more, of those seen and those
        known to be lost; NaN if nothing is known of either.
        """
        span = self.last - self.first + 1 if self.last >= 0 else 0
        all_orbits = max(span, self.orbits + self.lost if span or self.lost else 0)
        return min(self.orbits / all_orbits, 1.0) if all_orbits else float("nan")

    @property
    def seconds(self) -> float:
        """Live time."""
        return self.orbits / ORBIT_FREQUENCY_HZ


@dataclass
class LiveTime:
    """Orbits seen by section.

    Parameters
    ----------
    section_orbits : int
        Orbits of a section. 2^18 is a lumisection; data whose lumisections are known keep them then.

    Attributes
    ----------
    sections : dict of Section to Seen
    unplaced : int
        Empty orbits at the end of a batch that spans two sections: nothing says to which they belong.
        They count for its first one. (Also what a batch has too few, if its number is an estimate.)
    """

    section_orbits: int = ORBITS_PER_LUMISECTION
    sections: dict[Section, Seen] = field(default_factory=dict)
    unplaced: int = 0

    def __post_init__(self) -> None:
        if self.section_orbits < 1:
            msg = f"a section has 1 orbit or more, not {self.section_orbits}"
            raise InputError(msg)

    def add(self, batch: OrbitBatch, prescale: float = 1.0) -> list[tuple[Section, OrbitBatch]]:
        """Count the orbits of a batch, and return its rows by section.

        Parameters
        ----------
        batch : OrbitBatch
            With all its rows: orbits without a row are counted as empty.
        prescale : float
            One in so many crossings was kept, at random; 1 in scouting.

        Raises
        ------
        InputError
            If the batch does not say how many orbits it stands for, has far more of them in its rows
            than it says, does not know their numbers, or is not in order of them; or if there are more
            than `MAX_SECTIONS` sections.
        """
        if batch.n_orbits is None:
            msg = "these data do not say how many orbits were seen: no rate can be made of them"
            raise InputError(msg)
        if prescale < 1:
            msg = f"prescale must be 1 or more, not {prescale}"
            raise InputError(msg)
        if not len(batch):
            return self._add_empty(batch.n_orbits, prescale, batch.lost_orbits)
        if batch.orbit.min() < 0:
            msg = "muons without orbit: no live time can be made of them"
            raise InputError(msg)
        known = self.section_orbits == ORBITS_PER_LUMISECTION and bool(np.all(batch.lumisection > 0))
        number = batch.lumisection if known else batch.orbit // self.section_orbits + 1
        starts = np.flatnonzero(np.r_[True, (np.diff(number) != 0) | (np.diff(batch.run) != 0)])
        spans = list(zip(starts, np.r_[starts[1:], len(batch)], strict=True))
        steps = [np.diff(batch.orbit[a:b]) for a, b in spans]
        if any(np.any(s < 0) for s in steps):
            msg = "rows are not in order of orbits: sort them by run, orbit and BX"
            raise InputError(msg)
        placed = [1 + int(np.count_nonzero(s)) for s in steps]
        if sum(placed) > batch.n_orbits * (1 + SLACK) + 2:
            msg = f"a batch of {batch.n_orbits} orbits has muons in {sum(placed)}"
            raise InputError(msg)
        # empty orbits between two rows of a section belong to it
        whole = [int(batch.orbit[b - 1] - batch.orbit[a]) + 1 for a, b in spans]
        if sum(whole) <= batch.n_orbits:
            placed = whole
        left = batch.n_orbits - sum(placed)
        self.unplaced += abs(left) if len(spans) > 1 else 0
        placed[0 if left > 0 else int(np.argmax(placed))] += left
        lost = batch.lost_orbits
        out = []
        for (a, b), orbits in zip(spans, placed, strict=True):
            section = Section(int(batch.run[a]), int(number[a]))
            seen = self.sections.setdefault(section, Seen())
            if len(self.sections) > MAX_SECTIONS:
                msg = f"more than {MAX_SECTIONS} sections: damaged orbit numbers, or too few orbits a section"
                raise InputError(msg)
            seen.orbits += orbits
            seen.weight += orbits / prescale
            seen.lost, lost = seen.lost + lost, 0
            seen.first = min(seen.first, int(batch.orbit[a]))
            seen.last = max(seen.last, int(batch.orbit[b - 1]))
            out.append((section, _rows(batch, int(a), int(b), orbits)))
        return out

    def _add_empty(self, orbits: int, prescale: float, lost: int) -> list[tuple[Section, OrbitBatch]]:
        """Count a batch without a muon for the latest section."""
        latest = next(reversed(self.sections), Section(0, 1))
        seen = self.sections.setdefault(latest, Seen())
        seen.orbits, seen.weight = seen.orbits + orbits, seen.weight + orbits / prescale
        seen.lost += lost
        self.unplaced += orbits
        return []

    @property
    def orbits(self) -> int:
        """All orbits seen."""
        return sum(s.orbits for s in self.sections.values())

    @property
    def lost(self) -> int:
        """All orbits known to be lost."""
        return sum(s.lost for s in self.sections.values())

    @property
    def weight(self) -> float:
        """All orbits over prescale; InputError if none was seen, so that nothing is divided by 0."""
        total = sum(s.weight for s in self.sections.values())
        if not total:
            msg = "no orbit was seen: no rate can be made"
            raise InputError(msg)
        return total

    @property
    def seconds(self) -> float:
        """All live time."""
        return self.orbits / ORBIT_FREQUENCY_HZ

    def rate(self, count: float) -> float:
        """Frequency in Hz of what was counted (InputError if no orbit was seen)."""
        return count / self.weight * ORBIT_FREQUENCY_HZ

    def table(self) -> list[dict[str, float | int]]:
        """One row per section: run, section, orbits, lost orbits, prescale, live seconds, live fraction."""
        return [
            {
                "run": at.run,
                "section": at.number,
                "orbits": s.orbits,
                "lost_orbits": s.lost,
                "prescale": s.orbits / s.weight if s.weight else float("nan"),
                "live_s": s.seconds,
                "live_fraction": s.live_fraction,
            }
            for at, s in sorted(self.sections.items())
        ]


def _rows(batch: OrbitBatch, start: int, stop: int, orbits: int) -> OrbitBatch:
    """Rows `start` to `stop` of a batch; nothing is copied."""
    if (start, stop) == (0, len(batch)):
        return batch
    low, high = batch.offsets[start], batch.offsets[stop]
    return OrbitBatch(
        batch.orbit[start:stop],
        batch.bx[start:stop],
        batch.offsets[start : stop + 1] - low,
        {n: c[low:high] for n, c in batch.columns.items()},
        batch.run[start:stop],
        batch.lumisection[start:stop],
        orbits,
        batch.simulated,
    )
