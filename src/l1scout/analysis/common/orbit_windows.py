"""Objects of all streams in windows of 64 orbits, whose crossings an analysis compares with each other.

Windows begin at multiples of `WINDOW` orbits, wherever the data were cut into batches or pieces. In one of
5.7 ms the luminosity of each bunch is constant, so that orbits of a window stand for each other. The first
orbit of the next window is known, too: crossings beside the end of the window are looked at there.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from l1scout.analysis.common.seen_orbits import SeenOrbits, seen_orbits
from l1scout.core.orbit_batch import OrbitBatch
from l1scout.errors import InputError
from l1scout.lhc import BX_PER_ORBIT, crossing

WINDOW = 64
"""Orbits of a window: as many as a word has bits."""
_LENGTH = WINDOW * BX_PER_ORBIT
Times = NDArray[np.int64]


class TimedObjects(NamedTuple):
    """Objects in order of time: crossing of each (`lhc.crossing`), and columns."""

    time: Times
    columns: Mapping[str, NDArray[Any]]

    def between(self, first: int, stop: int) -> "TimedObjects":
        """Return the objects of crossings from `first` up to but not `stop`; nothing is copied."""
        a, b = np.searchsorted(self.time, (first, stop))
        return TimedObjects(self.time[a:b], {name: c[a:b] for name, c in self.columns.items()})


@dataclass
class OrbitWindow:
    """Objects of a window by kind, and which of its orbits were seen.

    Parameters
    ----------
    run : int, optional
        None if no object tells it, nor a window beside it.
    number : int
        The window has the orbits from ``number * WINDOW`` on.
    parts : dict of str to list of TimedObjects
    seen : dict of str to int
        Bit k is set if orbit k of the window was looked at for this kind.
    head : OrbitWindow, optional
        First orbit of the window that follows, if there is one.
    follows : bool
        Whether it is the head of a window before it.
    """

    run: int | None
    number: int
    parts: dict[str, list[TimedObjects]]
    seen: dict[str, int]
    head: "OrbitWindow | None" = None
    follows: bool = False

    @property
    def first(self) -> int:
        """First crossing."""
        return self.number * _LENGTH

    def extend(self, later: "OrbitWindow") -> None:
        """Add a later part of the same window."""
        for kind, parts in later.parts.items():
            self.parts[kind] = [*self.parts.get(kind, ()), *parts]
            self.seen[kind] = self.seen.get(kind, 0) | later.seen[kind]
        self.head = later.head or self.head

    def objects(self, kind: str) -> TimedObjects:
        """Return the objects of a kind; none if there are none."""
        parts = self.parts.get(kind, [])
        if not parts:
            return TimedObjects(np.zeros(0, np.int64), {})
        names = parts[0].columns
        columns = {name: np.concatenate([p.columns[name] for p in parts]) for name in names}
        return TimedObjects(np.concatenate([p.time for p in parts]), columns)

    def first_orbit(self) -> "OrbitWindow":
        """Return the first orbit alone."""
        stop = self.first + BX_PER_ORBIT
        parts = {k: [p.between(self.first, stop) for p in v] for k, v in self.parts.items()}
        return OrbitWindow(self.run, self.number, parts, {k: bits & 1 for k, bits in self.seen.items()})


@dataclass(frozen=True)
class SeenObjects:
    """Objects of a kind in a batch, and the orbits in which they were looked for.

    Parameters
    ----------
    run, time : ndarray of int64
        Of each object.
    columns : mapping of str to ndarray
    covered : list of SeenOrbits
    unplaced : int
        Orbits that were seen, too, of which it is not known which they are.
    """

    run: Times
    time: Times
    columns: Mapping[str, NDArray[Any]]
    covered: list[SeenOrbits]
    unplaced: int


def seen_objects(
    batch: OrbitBatch, keep: NDArray[np.bool_], columns: Mapping[str, NDArray[Any]]
) -> SeenObjects:
    """Return the objects of a batch where `keep` is True.

    Raises
    ------
    InputError
        If the batch does not count its orbits, does not know them, or is not in order of time.
    """
    covered, unplaced = seen_orbits(batch)
    time = crossing(batch.orbit, batch.bx)
    if np.any((np.diff(time) < 0) & (np.diff(batch.run) == 0)):
        msg = "rows are not in order of time: sort them by run, orbit and BX"
        raise InputError(msg)
    rows = batch.row[keep]
    return SeenObjects(
        batch.run[rows], time[rows], {n: c[keep] for n, c in columns.items()}, covered, max(unplaced, 0)
    )


@dataclass
class WindowedState(ABC):
    """Base of states that compare orbits of a window: keeps windows until they are complete.

    A subclass counts in `close`. The first and the last window stay open, as data that precede or follow
    may have more of them.
    """

    unplaced: int = field(default=0, kw_only=True)
    """Orbits of which it is not known which they are: nothing is compared there."""
    _open: list[OrbitWindow] = field(default_factory=list, kw_only=True)

    @abstractmethod
    def close(self, window: OrbitWindow, sums: Any) -> None:
        """Add what a complete window has to some sums."""

    @property
    @abstractmethod
    def sums(self) -> Any:
        """Sums of the windows that were closed."""

    def take(self, kinds: Mapping[str, SeenObjects]) -> None:
        """Take in the objects of a batch, by kind."""
        self.unplaced += max((k.unplaced for k in kinds.values()), default=0)
        for window in _windows(kinds):
            self._take(window)

    def follow(self, other: "WindowedState") -> None:
        """Take in the open windows of data that follow; their sums are the subclass's."""
        self.unplaced += other.unplaced
        for window in other._open:
            parts = {kind: list(p) for kind, p in window.parts.items()}
            self._take(replace(window, parts=parts, seen=dict(window.seen)))

    def _take(self, window: OrbitWindow) -> None:
        last = self._open[-1] if self._open else None
        if last is not None and None in (last.run, window.run) and window.number - last.number in (0, 1):
            last.run = window.run = window.run if last.run is None else last.run
        if last is not None and (last.run, last.number) == (window.run, window.number):
            last.extend(window)
            return
        if last is not None and (last.run, last.number + 1) == (window.run, window.number):
            last.head, window.follows = window.first_orbit(), True
        self._open.append(window)
        if len(self._open) > 2:
            self.close(self._open.pop(1), self.sums)

    def close_open(self, sums: Any) -> None:
        """Add the windows that are open to sums, which are a copy of `sums`."""
        for window in self._open:
            self.close(window, sums)


def _windows(kinds: Mapping[str, SeenObjects]) -> Iterator[OrbitWindow]:
    """Yield the windows of a batch that have objects, and the first and the last of each run."""
    runs: list[int | None] = list(
        dict.fromkeys(c.run for k in kinds.values() for c in k.covered if c.run is not None)
    )
    for run in runs or [None]:
        covered = {n: [c for c in k.covered if c.run in (run, None)] for n, k in kinds.items()}
        every = [c for parts in covered.values() for c in parts]
        if not every:
            continue
        own = {n: TimedObjects(k.time, k.columns) for n, k in kinds.items()}
        if len(runs) > 1:
            at = {n: np.flatnonzero(k.run == run) for n, k in kinds.items()}
            own = {n: TimedObjects(o.time[at[n]], _rows(o.columns, at[n])) for n, o in own.items()}
        ends = [edge for c in every for edge in (c.first // WINDOW, c.last // WINDOW)]
        found = [_each_once(o.time // _LENGTH) for o in own.values()]
        numbers = np.unique(np.concatenate([np.array([min(ends), max(ends)], np.int64), *found]))
        for number in numbers.tolist():
            first = number * _LENGTH
            parts = {n: [o.between(first, first + _LENGTH)] for n, o in own.items()}
            seen = {n: _mask(c, number) for n, c in covered.items()}
            yield OrbitWindow(run, number, parts, seen)


def _each_once(rising: Times) -> Times:
    """Return the values of an array that never falls, each once."""
    return np.asarray(rising[np.diff(rising, prepend=rising[:1] - 1) != 0])


def _rows(columns: Mapping[str, NDArray[Any]], at: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    return {name: column[at] for name, column in columns.items()}


def _mask(covered: list[SeenOrbits], number: int) -> int:
    """Return which orbits of a window were seen, as bits."""
    orbits = np.arange(number * WINDOW, (number + 1) * WINDOW)
    seen = np.zeros(WINDOW, np.bool_)
    for c in covered:
        k = np.searchsorted(c.starts, orbits, "right") - 1
        seen |= (k >= 0) & (orbits < c.stops[np.maximum(k, 0)])
    return int.from_bytes(np.packbits(seen, bitorder="little").tobytes(), "little")


def orbits_of(bits: int) -> NDArray[np.int64]:
    """Return the numbers of the bits that are set, rising: orbits of a window, from 0."""
    raw = np.frombuffer(bits.to_bytes(WINDOW // 8, "little"), np.uint8)
    return np.flatnonzero(np.unpackbits(raw, bitorder="little"))
