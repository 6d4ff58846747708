"""Crossings near objects, laid out for the trigger: their neighbours may be in other orbits and batches."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import OrbitData, final_only
from l1scout.errors import InputError
from l1scout.lhc import BX_PER_ORBIT, crossing
from l1scout.trigger.trigger_inputs import SLOTS, TriggerInputs

Times = NDArray[np.int64]
REACH = 2
"""Crossings before and after its own at which an algorithm may look."""
ROWS = 30_000
"""Crossings with objects that are laid out at once: 0.2 GB with all streams."""
_MOST_ORBITS = 1 << 24
"""A batch that states more consecutive orbits is of a damaged file."""


@dataclass(frozen=True)
class CrossingBlock:
    """Crossings of some orbits, and of those beside them what the trigger may look at.

    In all crossings of these orbits that are not laid out, and in those within `REACH` of them, there is
    nothing.

    Parameters
    ----------
    data : OrbitData
        Objects of these orbits.
    run : int
    seen : ndarray of int64
        The orbits, in order.
    unplaced : int, optional
        Empty orbits that belong to them without it being known which they are; None if the data do not count
        their orbits.
    time : ndarray of int64, shape (rows,)
        Crossing of each row of `inputs`, from orbit 0, BX 1 on (`l1scout.lhc.crossing`).
    decided : ndarray of bool, shape (rows,)
        Rows that are within `REACH` of an object and of these orbits: the others are laid out only to be
        looked at.
    inputs : TriggerInputs
    around : mapping of str to sequence of OrbitBatch
        All streams in these orbits and in those beside them.
    known : ndarray of int64
        `seen` and the orbits before and after that were seen, too.
    """

    data: OrbitData
    run: int
    seen: Times
    unplaced: int | None
    time: Times
    decided: NDArray[np.bool_]
    inputs: TriggerInputs
    around: Mapping[str, Sequence[OrbitBatch]]
    known: Times

    def is_known(self, offset: int) -> NDArray[np.bool_]:
        """Return for which rows the orbit was seen in which the crossing `offset` later is."""
        return np.isin((self.time + offset) // BX_PER_ORBIT, self.known)

    def reliable(self, offsets: Iterable[int]) -> NDArray[np.bool_]:
        """Return which rows an algorithm with these offsets decides as the trigger did."""
        good = self.decided.copy()
        for offset in offsets:
            good &= self.is_known(offset)
        return good


@dataclass(frozen=True)
class _Piece:
    """Some orbits of one run."""

    data: OrbitData
    run: int
    seen: Times
    unplaced: int | None


def crossing_blocks(
    chunks: Iterable[OrbitData], shifts: Mapping[str, int] | None = None, rows: int = ROWS
) -> Iterator[CrossingBlock]:
    """Lay out all crossings at which an algorithm may find an object.

    Parameters
    ----------
    chunks : iterable of OrbitData
        In order of time; the last one is held until the next one comes. Intermediate muons are left out.
    shifts : mapping of str to int, optional
        Further streams whose crossings are to be laid out, which the trigger does not read, and how many
        crossings later than the objects they are: ``{"gt": 0}``.
    rows : int
        About as many crossings with objects in a block.

    Raises
    ------
    InputError
        If a crossing has more objects than the trigger's links, occurs twice, or has BX 0 or no known orbit.
    """
    before: _Piece | None = None
    here: _Piece | None = None
    for data in chunks:
        for piece in _pieces(final_only(data), rows):
            if here is not None:
                yield _block(before, here, piece, shifts or {})
            before, here = here, piece
    if here is not None:
        yield _block(before, here, None, shifts or {})


def _pieces(data: OrbitData, rows: int) -> Iterator[_Piece]:
    """Cut data into whole orbits of one run."""
    every = [batch for batch in data.streams.values() if len(batch)]
    runs = np.unique(np.concatenate([batch.run for batch in every])) if every else np.zeros(1, np.int64)
    for run in runs.tolist():
        one = data
        if runs.size > 1:
            one = _restricted(data, {n: np.flatnonzero(b.run == run) for n, b in data.streams.items()})
        seen = _orbits_seen(one)
        n_orbits = one.main.n_orbits if runs.size == 1 else len(seen)
        unplaced = None if n_orbits is None else max(n_orbits - len(seen), 0)
        counts = np.zeros(len(seen), np.int64)
        for batch in one.streams.values():
            counts += np.bincount(np.searchsorted(seen, batch.orbit), minlength=len(seen))[: len(seen)]
        part = np.cumsum(counts) // max(rows, 1)
        for k in np.unique(part).tolist():
            orbits = seen[part == k]
            rows_of = {
                n: np.arange(*np.searchsorted(b.orbit, [orbits[0], orbits[-1] + 1]).tolist())
                for n, b in one.streams.items()
            }
            yield _Piece(_restricted(one, rows_of), run, orbits, unplaced)
            unplaced = None if unplaced is None else 0
        if not len(seen):
            yield _Piece(one, run, seen, unplaced)


def _restricted(data: OrbitData, rows: Mapping[str, NDArray[np.int64]]) -> OrbitData:
    return replace(data, streams={n: b.take(rows[n]) for n, b in data.streams.items()}, selections=None)


def _orbits_seen(data: OrbitData) -> Times:
    """Return the orbits that are known to have been looked at, in order.

    Raises
    ------
    InputError
        If they are not in order of time, or the data do not tell them.
    """
    for name, batch in data.streams.items():
        if len(batch) and batch.orbit[0] < 0:
            msg = f"{data.source}: does not tell the orbit of its {name}s"
            raise InputError(msg)
        if (np.diff(batch.orbit) < 0).any():
            msg = f"{data.source}: crossings of {name}s are not in order of time"
            raise InputError(msg)
    rows = np.unique(np.concatenate([batch.orbit for batch in data.streams.values()]))
    main = data.main
    if main.n_orbits is None or main.n_orbits > _MOST_ORBITS:
        return rows
    first = main.first_orbit
    if first is None and rows.size and rows[-1] - rows[0] + 1 == main.n_orbits:
        first = int(rows[0])
    return rows if first is None else np.union1d(rows, np.arange(first, first + main.n_orbits))


def _block(
    before: _Piece | None, here: _Piece, after: _Piece | None, shifts: Mapping[str, int]
) -> CrossingBlock:
    """Lay out the crossings of a piece with what is known of the orbits beside it."""
    pieces = [here]
    if before is not None and _is_beside(before, here):
        pieces.insert(0, _only(before, int(before.seen[-1])))
    if after is not None and _is_beside(here, after):
        pieces.append(_only(after, int(after.seen[0])))
    around = {name: [p.data.streams[name] for p in pieces] for name in here.data.streams}
    shown = {name: 0 for name in around if name in SLOTS} | {n: s for n, s in shifts.items() if n in around}
    occupied = [crossing(b.orbit, b.bx) - shift for n, shift in shown.items() for b in around[n]]
    times = np.unique(np.concatenate(occupied)) if occupied else np.zeros(0, np.int64)
    decided = _spread(times)
    decided = decided[np.isin(decided // BX_PER_ORBIT, here.seen)]
    time = _spread(decided)
    streams = {n: _filled(n, batches, time) for n, batches in around.items() if n in SLOTS}
    return CrossingBlock(
        data=here.data,
        run=here.run,
        seen=here.seen,
        unplaced=here.unplaced,
        time=time,
        decided=np.isin(time, decided),
        inputs=TriggerInputs(len(time), streams),
        around=around,
        known=np.concatenate([p.seen for p in pieces]),
    )


def _only(piece: _Piece, orbit: int) -> _Piece:
    """Return one orbit of a piece."""
    rows = {n: np.flatnonzero(b.orbit == orbit) for n, b in piece.data.streams.items()}
    return _Piece(_restricted(piece.data, rows), piece.run, np.array([orbit]), 0)


def _is_beside(first: _Piece, second: _Piece) -> bool:
    """Return whether the second piece is later in the same run, and of the same columns."""
    if first.run != second.run or not len(first.seen) or not len(second.seen):
        return False
    a, b = first.data.streams, second.data.streams
    return (
        bool(first.seen[-1] < second.seen[0])
        and list(a) == list(b)
        and all(set(a[name].columns) == set(b[name].columns) for name in a)
    )


def _spread(times: Times) -> Times:
    """Return the crossings within `REACH` of some, in order."""
    return np.unique((times[:, None] + np.arange(-REACH, REACH + 1)).ravel())


def places_of(batch: OrbitBatch, time: Times) -> tuple[Times, Times]:
    """Return the rows of a batch whose crossings are among some, and the places of these."""
    own = crossing(batch.orbit, batch.bx)
    place = np.searchsorted(time, own)
    rows = np.flatnonzero(np.append(time, -1)[place] == own)
    return rows, place[rows]


def _filled(name: str, batches: Sequence[OrbitBatch], time: Times) -> dict[str, NDArray[np.int16]]:
    """Return columns of shape (crossings, slots)."""
    columns: dict[str, NDArray[np.int16]] = {}
    for batch in batches:
        _check(name, batch)
        rows, places = places_of(batch, time)
        counts = batch.counts[rows]
        slot = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
        objects = np.repeat(batch.offsets[:-1][rows], counts) + slot
        place = np.repeat(places, counts)
        for column, values in batch.columns.items():
            if column not in columns:
                columns[column] = np.zeros((len(time), SLOTS[name]), values.dtype)
            columns[column][place, slot] = values[objects]
    return columns


def _check(name: str, batch: OrbitBatch) -> None:
    repeated = np.zeros(len(batch), np.bool_)
    repeated[1:] = np.diff(crossing(batch.orbit, batch.bx)) == 0
    faults = {
        f"more than the {SLOTS[name]} objects of the trigger's links": batch.counts > SLOTS[name],
        "rows more than one": repeated,
        "no place in an orbit numbered from 1": batch.bx < 1,
    }
    for fault, found in faults.items():
        if found.any():
            k = int(np.flatnonzero(found)[0])
            msg = f"{name}: orbit {batch.orbit[k]}, BX {batch.bx[k]} has {fault}"
            raise InputError(msg)
