"""Orbit building: what several sources sent of the same orbits is put together by the number of the orbit.

Each source gives its orbits in rising order, at its own pace. An orbit is closed, and passed on with the
fragments that have arrived, when every source has sent a later one; or when it is too far behind the
newest orbits of the others; or when too many bytes are held. What comes of an orbit after that is late:
it is left out and counted, as is what comes twice. So memory is bounded, and every orbit of every source
is accounted for: ``taken = built + late + duplicate`` once all is closed, and ``orbits = built + absent +
prescaled``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

WINDOW = 20_000
"""Orbits that an orbit is waited for behind the others: 1.8 s."""
MAX_BYTES = 1 << 30
Prescale = tuple[int, int]
"""A source has the first `keep` orbits, by number, of every `of`."""


@dataclass(frozen=True)
class Fragments:
    """Orbits of one source.

    Parameters
    ----------
    source : int
    orbit : ndarray of int64, shape (n,)
    content : object
        Whatever holds them; it is passed on as it is.
    place : ndarray of int64, shape (n,)
        Where each is in the content.
    size : ndarray of int64, shape (n,)
        Bytes of each.
    truncated : ndarray of bool, shape (n,)
        Whether not all of it could be read.
    """

    source: int
    orbit: NDArray[np.int64]
    content: Any
    place: NDArray[np.int64]
    size: NDArray[np.int64]
    truncated: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        source: int,
        orbit: NDArray[np.int64],
        content: Any,
        size: int = 0,
        truncated: NDArray[np.bool_] | None = None,
    ) -> "Fragments":
        """Make fragments in the order of their content, which has `size` bytes in all."""
        n = orbit.size
        each = np.full(n, size // max(n, 1) + 1, np.int64)
        truncated = np.zeros(n, np.bool_) if truncated is None else truncated
        return cls(source, orbit, content, np.arange(n), each, truncated)

    def select(self, which: NDArray[Any] | slice) -> "Fragments":
        """Return some of them, by a mask or by their numbers."""
        return Fragments(
            self.source,
            self.orbit[which],
            self.content,
            self.place[which],
            self.size[which],
            self.truncated[which],
        )


@dataclass
class SourceCounts:
    """What became of the orbits of a source.

    Parameters
    ----------
    taken : int
        Given to the builder.
    built : int
        Passed on; of these `truncated` not whole.
    late, duplicate : int
        Left out: their orbit was closed already, or they came twice.
    absent : int
        Orbits of others that this source has not; `prescaled` are those that it was not to have.
    """

    taken: int = 0
    built: int = 0
    truncated: int = 0
    late: int = 0
    duplicate: int = 0
    absent: int = 0
    prescaled: int = 0


@dataclass(frozen=True)
class BuiltOrbits:
    """Orbits that are closed.

    Parameters
    ----------
    orbit : ndarray of int64, shape (n,)
        Numbers, rising, of all that any source has.
    parts : mapping of int to sequence of Fragments
        What each source has of them, in order.
    """

    orbit: NDArray[np.int64]
    parts: Mapping[int, Sequence[Fragments]]

    def of_source(self, source: int) -> NDArray[np.int64]:
        """Return the orbits that a source has, rising."""
        return np.concatenate([np.zeros(0, np.int64), *(part.orbit for part in self.parts[source])])


@dataclass
class _Held:
    """Fragments of a source that are not passed on yet, and the last orbit that it has reached."""

    parts: list[Fragments] = field(default_factory=list)
    last: int = -1
    ended: bool = False

    def has(self, orbit: NDArray[np.int64]) -> NDArray[np.bool_]:
        known = np.zeros(orbit.size, np.bool_)
        for part in self.parts:
            if part.orbit[0] <= orbit[-1] and orbit[0] <= part.orbit[-1]:
                known |= np.isin(orbit, part.orbit)
        return known

    def take_before(self, limit: int) -> list[Fragments]:
        """Take out the fragments of orbits before a limit, in order."""
        out, left = [], []
        for part in self.parts:
            if part.orbit[-1] < limit:
                out.append(part)
            elif part.orbit[0] >= limit:
                left.append(part)
            else:
                cut = int(np.searchsorted(part.orbit, limit))
                out.append(part.select(slice(cut)))
                left.append(part.select(slice(cut, None)))
        self.parts = left
        return _in_order(out)


class OrbitBuilder:
    """Joins sources by orbit; a `core.flow.Stage`.

    Parameters
    ----------
    sources : sequence of int
        Source ids that an orbit is to have.
    prescales : mapping of int to Prescale
        Sources that are not to have every orbit.
    window : int
        Orbits by which an orbit may be behind the number that two sources have reached (or the only one): a
        single wrong number closes nothing.
    max_bytes : int
        Bytes that are held at most, but for what `step` is given.
    at_least : int
        Orbit numbers that are closed together at least, unless too many bytes are held or sources have ended:
        closing takes as long for many as for one.

    Attributes
    ----------
    counts : dict of int to SourceCounts
    orbits : int
        Closed so far; of these `complete` with all sources that they were to have.
    forced : int
        Orbits that were closed although a source might still have sent them.
    held_bytes : int
    """

    def __init__(
        self,
        sources: Sequence[int],
        *,
        prescales: Mapping[int, Prescale] | None = None,
        window: int = WINDOW,
        max_bytes: int = MAX_BYTES,
        at_least: int = 1,
    ) -> None:
        self._held = {source: _Held() for source in sources}
        self._prescales = dict(prescales or {})
        self._window, self._max_bytes, self._at_least = window, max_bytes, at_least
        self._closed = 0
        self.counts = {source: SourceCounts() for source in sources}
        self.orbits = self.complete = self.forced = self.held_bytes = 0

    def step(self, item: Fragments) -> list[BuiltOrbits]:
        """Take orbits of a source; return those that are closed now, in one piece, if any.

        Raises
        ------
        KeyError
            If the source is none of those expected.
        """
        held, counts = self._held[item.source], self.counts[item.source]
        counts.taken += item.orbit.size
        if item.orbit.size:
            held.last = max(held.last, int(item.orbit.max()))
            kept = self._new(item, held, counts)
            if kept.orbit.size:
                held.parts.append(kept)
                self.held_bytes += int(kept.size.sum())
        return self._close()

    def end(self, source: int) -> list[BuiltOrbits]:
        """Take note that nothing more comes of a source: it is not waited for any more."""
        self._held[source].ended = True
        return self._close()

    def finish(self) -> list[BuiltOrbits]:
        """Close all orbits."""
        for held in self._held.values():
            held.ended = True
        return self._close()

    def behind(self) -> int | None:
        """Return the source that is furthest behind, of those that have not ended; None if all have."""
        left = {source: held.last for source, held in self._held.items() if not held.ended}
        return min(left, key=left.__getitem__, default=None)

    def _new(self, item: Fragments, held: _Held, counts: SourceCounts) -> Fragments:
        """Leave out what is late or comes twice; return the rest in order of the orbit."""
        late = item.orbit < self._closed
        if late.any():
            counts.late += int(np.count_nonzero(late))
            item = item.select(~late)
        if np.any(np.diff(item.orbit) <= 0):
            first = np.unique(item.orbit, return_index=True)[1]
            counts.duplicate += item.orbit.size - first.size
            item = item.select(first)
        if item.orbit.size and (twice := held.has(item.orbit)).any():
            counts.duplicate += int(np.count_nonzero(twice))
            item = item.select(~twice)
        return item

    def _close(self) -> list[BuiltOrbits]:
        waited_for = [held.last for held in self._held.values() if not held.ended]
        passed = min(waited_for, default=max(held.last for held in self._held.values()) + 1)
        done = max(passed, self._closed)
        reached = sorted(held.last for held in self._held.values())[-2:][0]
        limit = max(done, reached - self._window)
        if self.held_bytes > self._max_bytes:
            limit = max(limit, self._limit_of_memory())
        elif waited_for and limit - self._closed < self._at_least:
            return []
        if limit <= self._closed:
            return []
        self._closed = limit
        parts = {source: held.take_before(limit) for source, held in self._held.items()}
        every = [part.orbit for of_source in parts.values() for part in of_source]
        if not every:
            return []
        built = BuiltOrbits(np.unique(np.concatenate(every)), parts)
        self._count(built)
        self.forced += int(np.count_nonzero(built.orbit >= done))
        return [built]

    def _limit_of_memory(self) -> int:
        """Return the orbit from which on all that is held fits."""
        parts = [part for held in self._held.values() for part in held.parts]
        orbit, size = (np.concatenate([getattr(p, name) for p in parts]) for name in ("orbit", "size"))
        order = np.argsort(orbit, kind="stable")
        left = self.held_bytes - np.cumsum(size[order])
        return int(orbit[order][np.argmax(left <= self._max_bytes)]) + 1

    def _count(self, built: BuiltOrbits) -> None:
        lacking = np.zeros(built.orbit.size, np.bool_)
        for source, parts in built.parts.items():
            counts, own = self.counts[source], built.of_source(source)
            counts.built += own.size
            counts.truncated += sum(int(np.count_nonzero(part.truncated)) for part in parts)
            self.held_bytes -= sum(int(part.size.sum()) for part in parts)
            if own.size < built.orbit.size:
                absent = ~np.isin(built.orbit, own)
                keep, of = self._prescales.get(source, (1, 1))
                expected = built.orbit % of < keep
                counts.absent += int(np.count_nonzero(absent & expected))
                counts.prescaled += int(np.count_nonzero(absent & ~expected))
                lacking |= absent & expected
        self.orbits += built.orbit.size
        self.complete += int(np.count_nonzero(~lacking))


def _in_order(parts: list[Fragments]) -> list[Fragments]:
    """Return fragments of one source such that all orbits rise; those of contents that mix are cut."""
    parts = sorted(parts, key=lambda part: int(part.orbit[0]))
    if all(a.orbit[-1] < b.orbit[0] for a, b in pairwise(parts)):
        return parts
    where = np.concatenate([np.full(part.orbit.size, k) for k, part in enumerate(parts)])
    index = np.concatenate([np.arange(part.orbit.size) for part in parts])
    order = np.argsort(np.concatenate([part.orbit for part in parts]), kind="stable")
    where, index = where[order], index[order]
    cuts = np.flatnonzero(np.diff(where)) + 1
    return [
        parts[int(part[0])].select(some)
        for part, some in zip(np.split(where, cuts), np.split(index, cuts), strict=True)
    ]
