"""What decoding gives for one stream: its objects, flagged orbits, and what could not be read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch, concatenate
from l1scout.lhc import order_of_time


@dataclass(frozen=True)
class Decoded:
    """Objects of one stream in some packets, payloads or records.

    Parameters
    ----------
    objects : OrbitBatch
        Columns of the stream's layout.
    flagged : ndarray of int64
        Orbits, rising, in which a link was missing or disagreed with link 0.
    corrupt : int
        Crossings, or stretches of records, that could not be used.
    corrupt_bytes : int
    """

    objects: OrbitBatch
    flagged: NDArray[np.int64]
    corrupt: int = 0
    corrupt_bytes: int = 0

    def of_orbits(self, orbits: NDArray[np.int64]) -> "Decoded":
        """Leave out crossings of orbits that are none of these, and count them as corrupt, without bytes."""
        orbit, seen = self.objects.orbit, np.unique(orbits)
        consecutive = seen.size and seen[-1] - seen[0] + 1 == seen.size
        if not orbit.size or (consecutive and seen[0] <= orbit[0] <= orbit[-1] <= seen[-1]):
            return self
        own = np.isin(orbit, seen)
        if own.all():
            return self
        kept = self.objects.take(np.flatnonzero(own), n_orbits=self.objects.n_orbits)
        return replace(self, objects=kept, corrupt=self.corrupt + int(np.count_nonzero(~own)))


def join_decoded(parts: Sequence[Decoded]) -> Decoded:
    """Put parts (one or more, of one stream) one after the other."""
    return Decoded(
        concatenate([p.objects for p in parts]),
        np.unique(np.concatenate([p.flagged for p in parts])),
        sum(p.corrupt for p in parts),
        sum(p.corrupt_bytes for p in parts),
    )


def join_epochs(parts: Mapping[int, Decoded]) -> Decoded:
    """Put parts of one stream together, given by the first orbit of the epoch of each."""
    moved = [
        replace(
            part,
            objects=replace(part.objects, orbit=part.objects.orbit + first),
            flagged=part.flagged + first,
        )
        if first
        else part
        for first, part in sorted(parts.items())
    ]
    return moved[0] if len(moved) == 1 else join_decoded(moved)


def in_order_of_time(
    orbit: NDArray[Any], bx: NDArray[Any], columns: Mapping[str, NDArray[Any]]
) -> OrbitBatch:
    """Make a batch of objects with their orbit and BX (0..3564), sorted if damaged data are out of order."""
    orbit, bx = orbit.astype(np.int64), bx.astype(np.int64)
    time = order_of_time(orbit, bx)
    if np.any(time[1:] < time[:-1]):
        order = np.argsort(time, kind="stable")
        orbit, bx, columns = orbit[order], bx[order], {n: c[order] for n, c in columns.items()}
    return OrbitBatch.from_objects(orbit, bx, columns)


def batch_of_records(
    orbit: NDArray[Any], bx: NDArray[Any], counts: NDArray[np.int64], columns: Mapping[str, NDArray[Any]]
) -> OrbitBatch:
    """Make a batch of records with their orbit and BX (0..3564), each with one or more objects.

    Records of several sources, or of damaged data, are sorted; those of one crossing become one row.

    Parameters
    ----------
    orbit, bx, counts : ndarray, shape (records,)
    columns : mapping of str to ndarray, each of shape (objects,)
    """
    orbit, bx = orbit.astype(np.int64), bx.astype(np.int64)
    time, starts = order_of_time(orbit, bx), np.r_[0, np.cumsum(counts)]
    if np.all(time[1:] > time[:-1]):
        return OrbitBatch(orbit, bx, starts, columns)
    order = np.argsort(time, kind="stable")
    counts, time = counts[order], time[order]
    ends = np.cumsum(counts)
    index = np.arange(ends[-1]) + np.repeat(starts[:-1][order] - ends + counts, counts)
    first = np.flatnonzero(np.r_[True, time[1:] > time[:-1]])
    rows = order[first]
    offsets = np.r_[(ends - counts)[first], ends[-1]]
    return OrbitBatch(orbit[rows], bx[rows], offsets, {n: c[index] for n, c in columns.items()})
