"""Inputs of the trigger for chosen crossings: made of objects, reduced to some crossings, and looked at."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.trigger.trigger_inputs import SLOTS, TriggerInputs

Rows = NDArray[np.int64]
EMPTY_CROSSINGS = 5
"""Crossings of `without_objects`: the middle one has all neighbours at which an algorithm may look."""


def of_batches(crossings: int, streams: Mapping[str, Sequence[tuple[OrbitBatch, Rows]]]) -> TriggerInputs:
    """Return inputs made of batches.

    Parameters
    ----------
    crossings : int
    streams : mapping of str to sequence of (OrbitBatch, ndarray of int64)
        Batches of each stream, with the crossing, from 0, of each of their rows.
    """
    return TriggerInputs(
        crossings, {name: _filled(name, crossings, parts) for name, parts in streams.items()}
    )


def _filled(
    name: str, crossings: int, parts: Sequence[tuple[OrbitBatch, Rows]]
) -> dict[str, NDArray[np.int16]]:
    """Return columns of shape (crossings, slots)."""
    columns: dict[str, NDArray[np.int16]] = {}
    for batch, places in parts:
        slot = np.arange(batch.n_objects) - np.repeat(batch.offsets[:-1], batch.counts)
        place = np.repeat(places, batch.counts)
        for column, values in batch.columns.items():
            if column not in columns:
                columns[column] = np.zeros((crossings, SLOTS[name]), values.dtype)
            columns[column][place, slot] = values
    return columns


def without_objects(inputs: TriggerInputs) -> TriggerInputs:
    """Return `EMPTY_CROSSINGS` crossings of the same streams without any object."""
    n = EMPTY_CROSSINGS
    streams = {
        name: {c: np.zeros((n, *v.shape[1:]), v.dtype) for c, v in columns.items()}
        for name, columns in inputs.streams.items()
    }
    return TriggerInputs(n, streams)


def only_crossings(inputs: TriggerInputs, chosen: Rows) -> TriggerInputs:
    """Return some crossings, in order, as crossings that follow each other."""
    streams = {s: {n: c[chosen] for n, c in columns.items()} for s, columns in inputs.streams.items()}
    return TriggerInputs(len(chosen), streams)


def objects_at(inputs: TriggerInputs, stream: str, crossing: int) -> list[dict[str, Any]]:
    """Return the columns of each place of a stream's list in a crossing; [] outside the inputs."""
    if stream not in inputs.streams or not 0 <= crossing < inputs.crossings:
        return []
    columns = {name: values[crossing].tolist() for name, values in inputs.streams[stream].items()}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def columns_in_slots(inputs: TriggerInputs, stream: str) -> dict[str, NDArray[Any]]:
    """Return the columns of a stream with all places of all crossings: shape (crossings, slots)."""
    return dict(inputs.streams[stream])
