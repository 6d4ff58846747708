"""Inputs of the trigger for chosen crossings: made of batches, reduced to some crossings, and looked at."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.trigger.trigger_inputs import SLOTS, StreamObjects, TriggerInputs

Rows = NDArray[np.int64]
EMPTY_CROSSINGS = 5
"""Crossings of `without_objects`: the middle one has all neighbours at which an algorithm may look."""


def of_batches(crossings: int, streams: Mapping[str, Sequence[tuple[OrbitBatch, Rows]]]) -> TriggerInputs:
    """Return inputs made of batches.

    Parameters
    ----------
    crossings : int
    streams : mapping of str to sequence of (OrbitBatch, ndarray of int64)
        Batches of each stream, with the crossing, from 0, of each of their rows: rising, also from one batch
        to the next.
    """
    return TriggerInputs(crossings, {name: _joined(parts) for name, parts in streams.items()})


def _joined(parts: Sequence[tuple[OrbitBatch, Rows]]) -> StreamObjects:
    counts = np.concatenate([batch.counts for batch, _ in parts])
    columns = {name: np.concatenate([batch[name] for batch, _ in parts]) for name in parts[0][0].columns}
    places = np.concatenate([places for _, places in parts])
    return StreamObjects(places, np.r_[0, np.cumsum(counts)], columns)


def without_objects(inputs: TriggerInputs) -> TriggerInputs:
    """Return `EMPTY_CROSSINGS` crossings of the same streams without any object."""
    none = np.zeros(0, np.int64)
    streams = {
        name: StreamObjects(none, np.zeros(1, np.int64), {c: v[:0] for c, v in objects.columns.items()})
        for name, objects in inputs.streams.items()
    }
    return TriggerInputs(EMPTY_CROSSINGS, streams)


def only_crossings(inputs: TriggerInputs, chosen: Rows) -> TriggerInputs:
    """Return some crossings, in order, as crossings that follow each other."""
    streams = {}
    for name, objects in inputs.streams.items():
        place = np.searchsorted(chosen, objects.crossing)
        rows = np.flatnonzero(np.append(chosen, -1)[place] == objects.crossing)
        starts, counts = objects.offsets[:-1][rows], np.diff(objects.offsets)[rows]
        offsets = np.r_[0, np.cumsum(counts)]
        index = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], counts)
        columns = {n: c[index] for n, c in objects.columns.items()}
        streams[name] = StreamObjects(place[rows], offsets, columns)
    return TriggerInputs(len(chosen), streams)


def objects_at(inputs: TriggerInputs, stream: str, crossing: int) -> list[dict[str, Any]]:
    """Return the columns of each object of a stream in a crossing; [] if there is none."""
    if stream not in inputs.streams:
        return []
    objects = inputs.streams[stream]
    row = int(np.searchsorted(objects.crossing, crossing))
    if row == len(objects.crossing) or objects.crossing[row] != crossing:
        return []
    start, stop = objects.offsets[row : row + 2].tolist()
    columns = {name: values[start:stop].tolist() for name, values in objects.columns.items()}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def columns_in_slots(inputs: TriggerInputs, stream: str) -> dict[str, NDArray[Any]]:
    """Return the columns of a stream with all places of all crossings: shape (crossings, slots)."""
    objects = inputs.streams[stream]
    return {name: objects.in_slots(name, inputs.crossings, SLOTS[stream]) for name in objects.columns}
