"""Crossings near objects, laid out for the trigger: their neighbours may be in other orbits and batches."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch, final_muons
from l1scout.core.orbit_data import OrbitData
from l1scout.errors import InputError
from l1scout.lhc import BX_PER_ORBIT, crossing
from l1scout.trigger.block_inputs import of_batches
from l1scout.trigger.event_inputs import is_triggered
from l1scout.trigger.nearby_crossings import refuse_faults, spread
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
        All streams in these orbits and in those beside them; of muons the final ones.
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
        In order of time; the last one is held until the next one comes. The trigger does not get their
        intermediate muons.
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
        for piece in _pieces(data, rows):
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
            rows_of = {n: np.flatnonzero(b.run == run) for n, b in data.streams.items()}
            one = _restricted(data, rows_of, first=run == runs[0])
        yield from _pieces_of_run(one, run, rows)


def _pieces_of_run(data: OrbitData, run: int, rows: int) -> Iterator[_Piece]:
    """Cut data of one run into whole orbits, about `rows` rows a piece; empty orbits stay with the first."""
    seen, main = _orbits_seen(data), data.main.n_orbits
    if not len(seen):
        yield _Piece(data, run, seen, main)
        return
    counts = np.zeros(len(seen), np.int64)
    for batch in data.streams.values():
        counts += np.bincount(np.searchsorted(seen, batch.orbit), minlength=len(seen))
    part = np.cumsum(counts) // max(rows, 1)
    for k in np.unique(part).tolist():
        orbits, first = seen[part == k], k == part[0]
        streams = {}
        for name, batch in data.streams.items():
            start, stop = np.searchsorted(batch.orbit, [orbits[0], orbits[-1] + 1]).tolist()
            part_of = batch.take(np.arange(start, stop))
            lost = batch.lost_orbits if first else 0
            streams[name] = replace(_standing_for(part_of, batch, orbits, first=first), lost_orbits=lost)
        unplaced = None if main is None else max(main - len(seen), 0) if first else 0
        flags = _flags_of(data.selections, run, orbits)
        yield _Piece(replace(data, streams=streams, selections=flags), run, orbits, unplaced)


def _standing_for(part: OrbitBatch, whole: OrbitBatch, orbits: Times, *, first: bool) -> OrbitBatch:
    """Return a part of a batch with the orbits it stands for, among some that follow each other."""
    own = whole.orbits_seen()
    if own is not None:
        return part.with_orbits(own[(own >= orbits[0]) & (own <= orbits[-1])])
    if whole.n_orbits is None:
        return part
    # where it is not known which orbits were seen, empty ones stay with the first part
    with_rows, of_all = len(np.unique(part.orbit)), len(np.unique(whole.orbit))
    return replace(part, n_orbits=with_rows + (max(whole.n_orbits - of_all, 0) if first else 0))


def _restricted(data: OrbitData, rows: Mapping[str, NDArray[np.int64]], *, first: bool) -> OrbitData:
    """Return some rows of each stream, which stand for the orbits of these; lost ones stay with the first."""
    streams = {}
    for name, batch in data.streams.items():
        part = batch.take(rows[name])
        if batch.n_orbits is not None:
            part = part.with_orbits(np.unique(part.orbit))
        streams[name] = replace(part, lost_orbits=batch.lost_orbits if first else 0)
    return replace(data, streams=streams)


def _flags_of(flags: OrbitBatch | None, run: int, orbits: Times) -> OrbitBatch | None:
    """Return the flags of crossings from the first to the last of some orbits."""
    if flags is None:
        return None
    here = (flags.run == run) & (flags.orbit >= orbits[0]) & (flags.orbit <= orbits[-1])
    return flags.take(np.flatnonzero(here))


def _orbits_seen(data: OrbitData) -> Times:
    """Return the orbits that are known to have been looked at, in order.

    Raises
    ------
    InputError
        If they are not in order of time, or the data do not tell them, as triggered events.
    """
    if is_triggered(data):
        msg = f"{data.source}: holds triggered events, not the crossings of orbits"
        raise InputError(msg)
    for name, batch in data.streams.items():
        if len(batch) and batch.orbit[0] < 0:
            msg = f"{data.source}: does not tell the orbit of its {name}s"
            raise InputError(msg)
        if (np.diff(batch.orbit) < 0).any():
            msg = f"{data.source}: crossings of {name}s are not in order of time"
            raise InputError(msg)
    known = [batch.orbit for batch in data.streams.values()]
    for batch in data.streams.values():
        if batch.n_orbits is not None and batch.n_orbits <= _MOST_ORBITS:
            seen = batch.orbits_seen()
            known += [] if seen is None else [seen]
    return np.unique(np.concatenate(known))


def _block(
    before: _Piece | None, here: _Piece, after: _Piece | None, shifts: Mapping[str, int]
) -> CrossingBlock:
    """Lay out the crossings of a piece with what is known of the orbits beside it."""
    pieces = [here]
    if before is not None and _is_beside(before, here):
        pieces.insert(0, _only(before, int(before.seen[-1])))
    if after is not None and _is_beside(here, after):
        pieces.append(_only(after, int(after.seen[0])))
    around = {name: [final_muons(p.data.streams[name]) for p in pieces] for name in here.data.streams}
    shown = {name: 0 for name in around if name in SLOTS} | {n: s for n, s in shifts.items() if n in around}
    occupied = [crossing(b.orbit, b.bx) - shift for n, shift in shown.items() for b in around[n]]
    times = np.unique(np.concatenate(occupied)) if occupied else np.zeros(0, np.int64)
    decided = spread(times, REACH)
    decided = decided[np.isin(decided // BX_PER_ORBIT, here.seen)]
    time = spread(decided, REACH)
    streams = {n: [_placed(n, b, time) for b in batches] for n, batches in around.items() if n in SLOTS}
    return CrossingBlock(
        data=here.data,
        run=here.run,
        seen=here.seen,
        unplaced=here.unplaced,
        time=time,
        decided=np.isin(time, decided),
        inputs=of_batches(len(time), streams),
        around=around,
        known=np.concatenate([p.seen for p in pieces]),
    )


def _only(piece: _Piece, orbit: int) -> _Piece:
    """Return one orbit of a piece."""
    rows = {n: np.flatnonzero(b.orbit == orbit) for n, b in piece.data.streams.items()}
    return _Piece(_restricted(piece.data, rows, first=False), piece.run, np.array([orbit]), 0)


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


def places_of(batch: OrbitBatch, time: Times) -> tuple[Times, Times]:
    """Return the rows of a batch whose crossings are among some, and the places of these."""
    own = crossing(batch.orbit, batch.bx)
    place = np.searchsorted(time, own)
    rows = np.flatnonzero(np.append(time, -1)[place] == own)
    return rows, place[rows]


def _placed(name: str, batch: OrbitBatch, time: Times) -> tuple[OrbitBatch, Times]:
    """Return the objects of a batch that are in some crossings, with their places among these."""
    repeated = np.zeros(len(batch), np.bool_)
    repeated[1:] = np.diff(crossing(batch.orbit, batch.bx)) == 0
    refuse_faults(name, batch, repeated, "rows more than one")
    rows, places = places_of(batch, time)
    return batch.take(rows), places
