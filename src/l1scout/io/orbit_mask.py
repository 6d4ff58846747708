"""Leave out orbits that are known to be bad: neither their objects nor their time count in any rate."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import OrbitData
from l1scout.errors import InputError
from l1scout.io.selection import Ranges, read_ranges, within_ranges


def read_mask(path: Path) -> "OrbitMask":
    """Read masked orbits: for each run the ranges of orbits, ``{"317435": [[1000, 1999]]}``.

    Raises
    ------
    InputError
        If the file cannot be read or is not that.
    """
    wanted = 'not a file of masked orbits, which is {"run": [[first orbit, last], ...], ...}'
    return OrbitMask(read_ranges(path, 0, wanted))


class OrbitMask:
    """Leaves out orbits of every stream.

    Parameters
    ----------
    ranges : mapping of int to sequence of (int, int)
        By run, first and last orbit of each stretch to leave out.

    Attributes
    ----------
    left_out : int
        Orbits left out of the main stream.
    """

    def __init__(self, ranges: Mapping[int, Ranges]) -> None:
        self._ranges = ranges
        self.left_out = 0

    def apply(self, data: Iterable[OrbitData]) -> Iterator[OrbitData]:
        """Yield data without the masked orbits.

        Raises
        ------
        InputError
            If data of a run with masked orbits do not tell which orbits were seen, or have several runs in a
            batch.
        """
        for events in data:
            runs = {int(run) for batch in events.streams.values() for run in np.unique(batch.run)}
            ranges = [pair for run in runs for pair in self._ranges.get(run, ())]
            if not ranges:
                yield events
                continue
            if len(runs) > 1 or events.offline is not None:
                msg = f"{events.source}: orbits cannot be masked in triggered data, or several runs at a time"
                raise InputError(msg)
            before = events.main.n_orbits or 0
            streams = {n: _without(b, ranges, events.source) for n, b in events.streams.items()}
            flags = events.selections and _rows_without(events.selections, ranges)
            masked = replace(events, streams=streams, selections=flags)
            self.left_out += before - (masked.main.n_orbits or 0)
            yield masked


def _without(batch: OrbitBatch, ranges: Iterable[tuple[int, int]], source: str) -> OrbitBatch:
    seen = batch.orbits_seen()
    if seen is None:
        msg = f"{source}: does not tell which orbits were seen, so none can be masked"
        raise InputError(msg)
    kept = seen[~within_ranges(seen, ranges)]
    return batch if kept.size == seen.size else batch.of_orbits(kept)


def _rows_without(flags: OrbitBatch, ranges: Iterable[tuple[int, int]]) -> OrbitBatch:
    return flags.take(np.flatnonzero(~within_ranges(flags.orbit, ranges)))
