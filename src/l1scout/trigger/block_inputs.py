"""Inputs of the trigger for chosen crossings: made of batches, without objects, and looked at."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.trigger.trigger_inputs import StreamObjects, TriggerInputs

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
    return TriggerInputs(
        EMPTY_CROSSINGS, {name: objects.only(none) for name, objects in inputs.streams.items()}
    )


def objects_at(inputs: TriggerInputs, stream: str, crossing: int) -> list[dict[str, Any]]:
    """Return the columns of each object of a stream in a crossing; [] if there is none."""
    if stream not in inputs.streams:
        return []
    columns = {name: values.tolist() for name, values in inputs.streams[stream].at(crossing).items()}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
