"""The state of the analysis of a menu: emulated decisions of a run, whose pieces merge exactly."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.analysis.common.live_time import LiveTime, Section
from l1scout.analysis.common.menu_counts import Counts, MenuCounts
from l1scout.analysis.common.seen_orbits import SeenOrbits, seen_orbits
from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import MUON, OrbitData
from l1scout.core.provenance import joint_origin
from l1scout.errors import InputError
from l1scout.lhc import BX_PER_ORBIT, ORBITS_PER_LUMISECTION
from l1scout.trigger.crossing_bits import count, pack_flags
from l1scout.trigger.decider import Decider
from l1scout.trigger.nearby_crossings import (
    NearbyDecisions,
    Objects,
    followed,
    in_common_orbits,
    objects_in_time,
    section_of,
    within,
)
from l1scout.trigger.trigger_inputs import SLOTS

RAW, RECALIBRATED = "raw", "recalibrated"


@dataclass(frozen=True)
class _Edge:
    """An end of a piece of a run, of which the neighbour is not known yet.

    Parameters
    ----------
    time : int
        Crossing at which the piece begins, or that follows its last.
    section : Section
    objects : mapping of str to mapping of str to StreamObjects
        By kind of muons (`RAW`, `RECALIBRATED`) the objects near that crossing.
    """

    time: int
    section: Section
    objects: Mapping[str, Objects]


@dataclass
class MenuRates:
    """Decisions of a menu, with the muons as they are and, if they are given, with recalibrated ones.

    Parameters
    ----------
    decider : Decider
    live : LiveTime
    probabilities : ndarray of float64, shape (algorithms,)
        See `MenuCounts`.
    """

    decider: Decider
    live: LiveTime
    probabilities: NDArray[np.float64]
    origins: set[bool | None] = field(default_factory=set)
    problems: dict[str, str] = field(default_factory=dict)
    left_out: int = 0
    """Orbits in which not all streams were seen."""
    not_used: set[str] = field(default_factory=set)
    """Streams of data that were skipped, as no algorithm looks at any of theirs."""
    fires_without_objects: dict[str, bool] = field(default_factory=dict)
    _left: _Edge | None = None
    _right: _Edge | None = None

    def __post_init__(self) -> None:
        self.names, self.reach = self.decider.names, self.decider.reach
        self.counts: dict[str, MenuCounts] = {}
        self.both = np.zeros(len(self.names), np.int64)
        """Crossings in which an algorithm fires with the muons as they are and with recalibrated ones."""

    def _no_counts(self) -> MenuCounts:
        return MenuCounts(self.names, self.probabilities, self.decider.n_menu)

    @property
    def simulated(self) -> bool | None:
        """Whether the data are simulated."""
        return joint_origin(self.origins)

    def add(self, data: OrbitData, prescale: float = 1.0, *, recalibrated: OrbitBatch | None = None) -> None:
        """Take in data that follow those before.

        Parameters
        ----------
        data : OrbitData
        prescale : float
            One crossing in N was kept.
        recalibrated : OrbitBatch, optional
            The final muons with recalibrated values in their hardware columns.
        """
        names = self.decider.streams or SLOTS.keys()
        if data.streams and names.isdisjoint(data.streams):
            self.not_used |= data.streams.keys()
            return
        data, left_out = in_common_orbits(data, names)
        main = data.main
        self.left_out += left_out
        self.origins |= data.origins
        self.live.add(main, prescale)
        objects = {RAW: objects_in_time(data)}
        if recalibrated is not None:
            seen = main.orbits_seen() if left_out else None
            chosen = slice(None) if seen is None else np.isin(recalibrated.orbit, seen)
            changed = objects_in_time(
                OrbitData.of_muons(recalibrated.take(np.arange(len(recalibrated))[chosen]))
            )
            objects[RECALIBRATED] = {**objects[RAW], MUON: changed[MUON]}
        if not any(stream.crossing.size for stream in objects[RAW].values()):
            return
        empty = self.decider.without_objects(objects[RAW])
        self.fires_without_objects = {**empty, **self.fires_without_objects}
        for covered in seen_orbits(main)[0]:
            self._add_span(main, covered, objects)

    def _add_span(self, main: OrbitBatch, covered: SeenOrbits, objects: Mapping[str, Objects]) -> None:
        """Count what is decided in some orbits of one run, and keep their ends for the neighbours."""
        first, stop = covered.first * BX_PER_ORBIT, (covered.last + 1) * BX_PER_ORBIT
        run = covered.run or 0
        inside = {kind: within(streams, first, stop) for kind, streams in objects.items()}
        size = self.live.section_orbits
        known = size == ORBITS_PER_LUMISECTION and bool(len(main)) and bool(np.all(main.lumisection > 0))
        own = main.take(np.arange(len(main))[covered.rows]) if known else main

        def sections(found: NearbyDecisions) -> list[tuple[Section, slice]]:
            number = section_of(own, found.time // BX_PER_ORBIT, size, known)
            starts = np.flatnonzero(np.diff(number, prepend=-1))
            ends = [*starts[1:].tolist(), len(number)]
            return [
                (Section(run, int(number[a])), slice(a, b))
                for a, b in zip(starts.tolist(), ends, strict=True)
            ]

        def rows(found: NearbyDecisions) -> NDArray[np.bool_]:
            orbit = found.time // BX_PER_ORBIT
            k = np.searchsorted(covered.starts, orbit, "right") - 1
            seen = (k >= 0) & (orbit < covered.stops[np.maximum(k, 0)])
            return seen & (found.time >= first + self.reach) & (found.time < stop - self.reach)

        self._count(inside, rows, sections)
        ends = section_of(own, [covered.first, covered.last], size, known)
        span = 2 * self.reach
        edges = (
            _Edge(
                time,
                Section(run, int(number)),
                {k: within(o, time - span, time + span) for k, o in inside.items()},
            )
            for time, number in zip((first, stop), ends, strict=True)
        )
        self._follow(*edges)

    def _count(self, objects: Mapping[str, Objects], rows: Any, sections: Any) -> None:
        words = []
        for kind, streams in objects.items():
            found = self.decider.decide(streams)
            self.problems |= found.problems
            counts = self.counts.setdefault(kind, self._no_counts())
            chosen = rows(found)
            counts.add(found, chosen, sections(found))
            words.append({name: w & pack_flags(chosen) for name, w in found.words.items()})
        if len(words) == 2:
            for k, name in enumerate(self.names):
                if name in words[0] and name in words[1]:
                    self.both[k] += count(words[0][name] & words[1][name])

    def _follow(self, left: _Edge | None, right: _Edge | None) -> None:
        """Take in the ends of a piece that follows."""
        if left is None:
            return
        if self._right is None:
            self._left = left
        elif (self._right.section.run, self._right.time) == (left.section.run, left.time):
            self._resolve(self._right, left)
        else:
            self._resolve(self._right, None)
            self._resolve(None, left)
        self._right = right

    def _resolve(self, before: _Edge | None, after: _Edge | None) -> None:
        """Count the crossings at a border whose neighbours are known now; None is where nothing was seen."""
        edge = before or after
        if edge is None or not self.reach:
            return
        objects = edge.objects
        if before and after:
            objects = {
                kind: followed(before.objects[kind], after.objects[kind])
                for kind in before.objects
                if kind in after.objects
            }
        low = edge.time - self.reach * (before is not None)
        high = edge.time + self.reach * (after is not None)

        def rows(found: NearbyDecisions) -> NDArray[np.bool_]:
            return np.asarray((found.time >= low) & (found.time < high))

        def sections(found: NearbyDecisions) -> Sequence[tuple[Section, slice]]:
            middle = int(np.searchsorted(found.time, edge.time))
            parts = ((before, slice(0, middle)), (after, slice(middle, len(found.time))))
            return [(e.section, part) for e, part in parts if e]

        self._count(objects, rows, sections)

    def skipped(self) -> list[str]:
        """Return a note on data that were skipped, if there were any.

        Raises
        ------
        InputError
            If all were.
        """
        if not self.not_used:
            return []
        found, wanted = ", ".join(sorted(self.not_used)), ", ".join(sorted(self.decider.streams or SLOTS))
        if not self.live.orbits:
            msg = f"the data have none of the streams {wanted}, at which the algorithms look, but {found}"
            raise InputError(msg)
        return [f"data of {found} without {wanted} were skipped: no algorithm looks at them"]

    def merge(self, other: "MenuRates") -> None:
        """Add what follows."""
        self.origins |= other.origins
        self.problems |= other.problems
        self.left_out += other.left_out
        self.not_used |= other.not_used
        self.fires_without_objects = {**other.fires_without_objects, **self.fires_without_objects}
        self.live.merge(other.live)
        self.both += other.both
        for kind, counts in other.counts.items():
            self.counts.setdefault(kind, self._no_counts()).merge(counts)
        self._follow(other._left, other._right)

    def all_counts(self) -> "tuple[dict[str, MenuCounts], Counts]":
        """Return the counts of all crossings by kind of muons, and of those in which both kinds fire."""
        whole = MenuRates(self.decider, self.live, self.probabilities)
        whole.both += self.both
        for kind in self.counts or (RAW,):
            whole.counts[kind] = self._no_counts()
            if kind in self.counts:
                whole.counts[kind].merge(self.counts[kind])
        whole._resolve(None, self._left)
        whole._resolve(self._right, None)
        orbits = {section: seen.orbits for section, seen in self.live.sections.items()}
        fires = self.fires_without_objects
        found = {kind: c.with_empty(fires, orbits) for kind, c in whole.counts.items()}
        if RECALIBRATED in found:
            empty = self.live.orbits * BX_PER_ORBIT - int(whole.counts[RAW].rows_bx.sum())
            whole.both += empty * np.array([fires.get(name, False) for name in self.names])
        return found, whole.both
