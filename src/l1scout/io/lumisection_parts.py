"""Cut data at the ends of runs and lumisections, with the orbits that belong to each part."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import OrbitData
from l1scout.io.quality import covered_orbits
from l1scout.lhc import ORBITS_PER_LUMISECTION, lumisection

Key = tuple[int, int]


class LumisectionPart(NamedTuple):
    """Data of one lumisection of a run, or a part of them."""

    run: int
    lumisection: int
    data: OrbitData


def lumisection_parts(chunks: Iterable[OrbitData]) -> Iterator[LumisectionPart]:
    """Cut data in order of time into parts of one lumisection each.

    Orbits without objects count for their own lumisection where the data state which orbits they cover
    (`OrbitBatch.first_orbit`), otherwise for that of the crossing before them. Before the first crossing the
    run is not known: orbits there count for its run, and for run 0 if there is no crossing at all.
    """
    last: Key | None = None
    early: list[OrbitData] = []
    for data in chunks:
        keys = _keys(data)
        if not keys and last is None:
            early.append(data)
            continue
        if early:
            yield from _without_crossings(early, keys[0])
            early = []
        for section in _cut(data, keys, last):
            last = section.run, section.lumisection
            yield section
    yield from _without_crossings(early, (0, 1))


def _without_crossings(early: Iterable[OrbitData], key: Key) -> Iterator[LumisectionPart]:
    for data in early:
        yield from _cut(data, [], key)


def _batches(data: OrbitData) -> list[OrbitBatch]:
    return [*data.streams.values(), *([data.selections] if data.selections is not None else [])]


def _keys(data: OrbitData) -> list[Key]:
    """Return the runs and lumisections of the crossings of data, in order of time."""
    found = [np.unique(np.stack([b.run, b.lumisection, b.orbit]), axis=1) for b in _batches(data)]
    every = np.concatenate(found, axis=1)
    return list(dict.fromkeys(zip(*np.unique(every, axis=1)[:2].tolist(), strict=True)))


def _cut(data: OrbitData, keys: list[Key], last: Key | None) -> Iterator[LumisectionPart]:
    follows = all(np.array_equal(b.lumisection, lumisection(b.orbit)) for b in _batches(data))
    orbits = [_range_of(batch) for batch in _batches(data) if len(covered_orbits(batch))]
    if len({run for run, _ in keys}) < 2 and follows and orbits:
        run = keys[0][0] if keys else last[0] if last else 0
        yield from _cut_at_orbits(data, run, min(first for first, _ in orbits), max(end for _, end in orbits))
    elif len(keys) < 2:
        yield LumisectionPart(*(keys[0] if keys else last or (0, 1)), data)
    else:
        yield from _cut_at_keys(data, keys)


def _range_of(batch: OrbitBatch) -> tuple[int, int]:
    """Return the first orbit of a batch, and the one after its last."""
    seen = batch.orbits_seen()
    orbits = batch.orbit if seen is None else seen
    return int(orbits[0]), int(orbits[-1]) + 1


def _cut_at_orbits(data: OrbitData, run: int, first: int, end: int) -> Iterator[LumisectionPart]:
    """Cut data of the orbits from `first` to before `end` at the ends of lumisections."""
    blocks = range(first // ORBITS_PER_LUMISECTION, max(end - 1, first) // ORBITS_PER_LUMISECTION + 1)
    for block in blocks[:-1]:
        stop = (block + 1) * ORBITS_PER_LUMISECTION
        parts = {name: _halves(batch, stop) for name, batch in data.streams.items()}
        flags = data.selections
        before = flags.orbit < stop if flags is not None else np.zeros(0, np.bool_)
        now = replace(data, streams={n: p[0] for n, p in parts.items()}, selections=_rows(flags, before))
        data = replace(data, streams={n: p[1] for n, p in parts.items()}, selections=_rows(flags, ~before))
        yield LumisectionPart(run, block + 1, now)
    yield LumisectionPart(run, blocks[-1] + 1, data)


def _halves(batch: OrbitBatch, stop: int) -> tuple[OrbitBatch, OrbitBatch]:
    """Return what is before an orbit, and the rest; orbits with unknown numbers are in the rest."""
    if batch.first_orbit is not None and batch.n_orbits is not None:
        return batch.cut(stop)
    seen = batch.orbits_seen()
    if seen is not None:
        return replace(batch.of_orbits(seen[seen < stop]), lost_orbits=0), batch.of_orbits(seen[seen >= stop])
    before, after = np.flatnonzero(batch.orbit < stop), np.flatnonzero(batch.orbit >= stop)
    n = None if batch.n_orbits is None else int(np.unique(batch.orbit[before]).size)
    rest = None if batch.n_orbits is None or n is None else batch.n_orbits - n
    now = replace(batch.take(before, n_orbits=n), lost_orbits=0)
    return now, batch.take(after, n_orbits=rest)


def _rows(flags: OrbitBatch | None, kept: NDArray[np.bool_]) -> OrbitBatch | None:
    return None if flags is None else flags.take(np.flatnonzero(kept))


def _cut_at_keys(data: OrbitData, keys: list[Key]) -> Iterator[LumisectionPart]:
    """Cut where the crossings say so; orbits without crossings, and lost ones, count for the last part."""
    left = {name: batch.n_orbits for name, batch in data.streams.items()}
    for key in keys:
        streams = {}
        for name, batch in data.streams.items():
            rows = np.flatnonzero((batch.run == key[0]) & (batch.lumisection == key[1]))
            n, is_last = left[name], key == keys[-1]
            if n is not None:
                n = n if is_last else np.unique(batch.orbit[rows]).size
                left[name] = (left[name] or 0) - n
            lost = batch.lost_orbits if is_last else 0
            streams[name] = replace(batch.take(rows, n_orbits=n), lost_orbits=lost)
        flags = data.selections
        if flags is not None:
            flags = _rows(flags, (flags.run == key[0]) & (flags.lumisection == key[1]))
        yield LumisectionPart(*key, replace(data, streams=streams, selections=flags))
