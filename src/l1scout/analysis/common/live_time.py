"""Count the orbits that were seen, by lumisection: every rate is divided by them."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from l1scout.analysis.common.seen_orbits import SeenOrbits, seen_orbits
from l1scout.core.orbit_batch import OrbitBatch
from l1scout.errors import InputError
from l1scout.lhc import ORBIT_FREQUENCY_HZ, ORBITS_PER_LUMISECTION

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
    by_prescale : dict of float to int
        Orbits that were looked at, empty ones too, by prescale.
    lost : int
        Orbits that board, readout or store are known to have lost.
    first, last : int
        First and last orbit with a muon.
    """

    by_prescale: dict[float, int] = field(default_factory=dict)
    lost: int = 0
    first: int = np.iinfo(np.int64).max
    last: int = -1

    def add(self, orbits: int, prescale: float) -> None:
        """Count orbits that were looked at."""
        self.by_prescale[prescale] = self.by_prescale.get(prescale, 0) + orbits

    def merge(self, other: "Seen") -> None:
        """Add what another part of the data has seen of the section."""
        for prescale, orbits in other.by_prescale.items():
            self.add(orbits, prescale)
        self.lost += other.lost
        self.first, self.last = min(self.first, other.first), max(self.last, other.last)

    @property
    def orbits(self) -> int:
        """Orbits that were looked at."""
        return sum(self.by_prescale.values())

    @property
    def weight(self) -> float:
        """Orbits over prescale: what a count has to be divided by."""
        return sum(orbits / prescale for prescale, orbits in sorted(self.by_prescale.items()))

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


class _Empty(NamedTuple):
    """Orbits without a muon: the first if it is known, their number, those lost, and the prescale."""

    first: int | None
    orbits: int
    lost: int
    prescale: float


@dataclass
class LiveTime:
    """Orbits seen by section.

    Parameters
    ----------
    section_orbits : int
        Orbits of a section. 2^18 is a lumisection; data whose lumisections are known keep them then.
    """

    section_orbits: int = ORBITS_PER_LUMISECTION
    _unplaced: int = 0
    _sections: dict[Section, Seen] = field(default_factory=dict)
    _start: Section | None = None
    _latest: Section | None = None
    _end: int = 0
    _leading: list[_Empty] = field(default_factory=list)
    _waiting: list[_Empty] = field(default_factory=list)
    _all: dict[Section, Seen] | None = None
    _regular: bool = True

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
            N if one crossing in N was kept, at random; 1 in scouting.

        Raises
        ------
        InputError
            As `seen_orbits`, or if there are more than `MAX_SECTIONS` sections.
        """
        if not 1 <= prescale < np.inf:
            msg = f"prescale must be 1 or more, not {prescale}"
            raise InputError(msg)
        covered, left = seen_orbits(batch)
        if not len(batch):
            self._add_empty(_Empty(batch.first_orbit, batch.n_orbits or 0, batch.lost_orbits, prescale))
            return []
        known = self.section_orbits == ORBITS_PER_LUMISECTION and bool(np.all(batch.lumisection > 0))
        by_orbit = batch.orbit // self.section_orbits + 1
        number = batch.lumisection if known else by_orbit
        self._regular &= not known or bool(np.array_equal(number, by_orbit))
        first = Section(int(batch.run[0]), int(number[0]))
        self._start = self._start or first
        self._settle(first)
        placed: dict[Section, int] = {}
        for c in covered:
            placed |= self._by_section(c, number, batch.orbit)
            self._end = int(c.stops[-1])
        keys = list(placed)
        if keys:
            placed[keys[0] if left > 0 else max(keys, key=placed.__getitem__)] += left
            self._unplaced += abs(left) if len(keys) > 1 else 0
        for section, orbits in placed.items():
            self._at(section).add(orbits, prescale)
        self._at(keys[0]).lost += batch.lost_orbits
        return self._rows_by_section(batch, number, placed)

    def _by_section(
        self, c: SeenOrbits, number: NDArray[np.int64], orbit: NDArray[np.int64]
    ) -> dict[Section, int]:
        """Return how many orbits of a run were seen in each section."""
        run = c.run or 0
        if self._regular:
            first, last = c.starts // self.section_orbits, (c.stops - 1) // self.section_orbits
            spans = last - first + 1
            if spans.sum() > MAX_SECTIONS + spans.size:
                raise _too_many()
            within = np.arange(spans.sum()) - np.repeat(np.cumsum(spans) - spans, spans)
            numbers = np.unique(np.repeat(first, spans) + within)
            edges = np.stack([numbers, numbers + 1]) * self.section_orbits
            numbers = numbers + 1
        else:  # orbits between two lumisections count for the earlier one
            at, of_run = orbit[c.rows], number[c.rows]
            starts = np.flatnonzero(np.r_[True, np.diff(of_run) != 0])
            numbers, ends = of_run[starts], at[starts]
            edges = np.stack([np.r_[c.first, ends[1:]], np.r_[ends[1:], c.last + 1]])
        seen = np.diff(c.before(edges.reshape(-1)).reshape(2, -1), axis=0)[0]
        placed: dict[Section, int] = {}
        for k, orbits in zip(numbers.tolist(), seen.tolist(), strict=True):
            placed[Section(run, k)] = placed.get(Section(run, k), 0) + orbits
        return placed

    def _rows_by_section(
        self, batch: OrbitBatch, number: NDArray[np.int64], placed: dict[Section, int]
    ) -> list[tuple[Section, OrbitBatch]]:
        starts = np.flatnonzero(np.r_[True, (np.diff(number) != 0) | (np.diff(batch.run) != 0)])
        out = []
        for a, b in zip(starts.tolist(), [*starts[1:].tolist(), len(batch)], strict=True):
            section = Section(int(batch.run[a]), int(number[a]))
            seen = self._at(section)
            seen.first = min(seen.first, int(batch.orbit[a]))
            seen.last = max(seen.last, int(batch.orbit[b - 1]))
            out.append((section, _rows(batch, a, b, placed[section])))
        return out

    def _at(self, section: Section) -> Seen:
        seen = self._sections.setdefault(section, Seen())
        if len(self._sections) > MAX_SECTIONS:
            raise _too_many()
        self._latest, self._all = section, None
        return seen

    def _add_empty(self, empty: _Empty) -> None:
        """Count orbits without a muon for the latest section.

        Those that precede all muons, and those with lower numbers than what came before, which are of another
        run, wait for the muons that follow.
        """
        self._all = None
        if self._latest is None:
            _append(self._leading, empty)
        elif self._waiting or (empty.first is not None and empty.first < self._end):
            _append(self._waiting, empty)
        else:
            self._place(empty, self._latest)

    def _settle(self, section: Section) -> None:
        """Count the orbits that wait for the run of a section that follows them."""
        for empty in self._waiting:
            self._place(empty, section)
        self._waiting = []

    def _place(self, empty: _Empty, section: Section) -> None:
        """Count orbits without a muon, which are beside this section."""
        placed = {section: empty.orbits}
        if empty.first is None:
            self._unplaced += empty.orbits
        elif empty.orbits and self._regular:
            start, none = np.array([empty.first], np.int64), np.zeros(0, np.int64)
            placed = self._by_section(
                SeenOrbits(section.run, start, start + empty.orbits, slice(0, 0)), none, none
            )
        for at, orbits in placed.items():
            self._at(at).add(orbits, empty.prescale)
        self._at(next(iter(placed))).lost += empty.lost
        self._latest = next(reversed(placed))
        if empty.first is not None:
            self._end = empty.first + empty.orbits

    def merge(self, other: "LiveTime") -> None:
        """Add the orbits of data that follow these."""
        for empty in other._leading:
            self._add_empty(empty)
        self._regular &= other._regular
        if other._start is not None:
            self._settle(other._start)
            self._end = other._end
        self._start = self._start or other._start
        self._waiting += other._waiting
        for section, seen in other._sections.items():
            self._at(section).merge(seen)
        self._latest = other._latest or self._latest
        self._unplaced += other._unplaced

    @property
    def unplaced(self) -> int:
        """Empty orbits that may lie in another section than the one for which they are counted.

        Those at the ends of a batch that spans sections and does not state its first orbit, and batches
        without a muon that do not. (Also what a batch has too few, if its number is an estimate.)
        """
        left = (*self._leading, *self._waiting)
        return self._unplaced + sum(empty.orbits for empty in left if empty.first is None)

    @property
    def sections(self) -> dict[Section, Seen]:
        """What was seen of each section; data without any muon are those of run 0."""
        if not (self._leading or self._waiting):
            return self._sections
        if self._all is None:
            every = LiveTime(self.section_orbits, _regular=self._regular)
            for empty in self._leading:
                every._place(empty, self._start or Section(0, 1))
            for section, seen in self._sections.items():
                every._at(section).merge(seen)
            for empty in self._waiting:
                every._place(empty, self._latest or Section(0, 1))
            self._all = every._sections
        return self._all

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
        total = self._weight()
        if not total:
            msg = "no orbit was seen: no rate can be made"
            raise InputError(msg)
        return total

    def _weight(self) -> float:
        total = Seen()
        for seen in self.sections.values():
            total.merge(seen)
        return total.weight

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


def _append(empties: list[_Empty], empty: _Empty) -> None:
    """Append orbits without a muon, to the last ones if they follow these."""
    last = empties[-1] if empties else None
    if last and empty.prescale == last.prescale and not empty.lost:
        follows = last.first is not None and empty.first == last.first + last.orbits
        if follows or last.first is empty.first is None:
            empties[-1] = last._replace(orbits=last.orbits + empty.orbits)
            return
    empties.append(empty)


def _too_many() -> InputError:
    return InputError(
        f"more than {MAX_SECTIONS} sections: damaged orbit numbers, or too few orbits a section"
    )


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
