"""Inputs of the Global Trigger from triggered events, which keep the crossings around their own."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import OrbitData, final_only
from l1scout.errors import InputError
from l1scout.trigger.trigger_inputs import SLOTS, StreamObjects, TriggerInputs

REACH, SPAN = 2, 5
"""Crossings before and after an event's own, and all crossings of an event: its rows in the inputs."""


def is_triggered(data: OrbitData) -> bool:
    """Return whether data are triggered events with the crossings around their own."""
    return any("bxInEvent" in batch.columns for batch in data.streams.values())


def inputs_of_events(data: OrbitData) -> tuple[TriggerInputs, NDArray[np.int64]]:
    """Lay out triggered events, each with the two crossings before and after its own.

    Parameters
    ----------
    data : OrbitData
        Rows are events. Of streams with a column ``bxInEvent`` (-2..2) that is the crossing of an object;
        objects of others are in the event's own crossing, and nothing is known of the neighbours.

    Returns
    -------
    inputs : TriggerInputs
    row : ndarray of int64, shape (events,)
        Row of the inputs that is the event's own crossing.

    Raises
    ------
    InputError
        If a crossing has more objects than the trigger's links, or an object is more than 2 BX away.
    """
    streams = {n: _objects(n, b) for n, b in final_only(data).streams.items() if n in SLOTS}
    events = len(data.main)
    return TriggerInputs(SPAN * events, streams), SPAN * np.arange(events) + REACH


def _objects(name: str, batch: OrbitBatch) -> StreamObjects:
    columns: Mapping[str, NDArray[Any]] = batch.columns
    bx = columns["bxInEvent"].astype(np.int64) if "bxInEvent" in columns else np.zeros(batch.n_objects, int)
    if (np.abs(bx) > REACH).any():
        msg = f"{name}: an object is {np.abs(bx).max()} BX from its event, more than {REACH}"
        raise InputError(msg)
    crossing = SPAN * batch.row + REACH + bx
    order = np.argsort(crossing, kind="stable")
    at, counts = np.unique(crossing, return_counts=True)
    if counts.max(initial=0) > SLOTS[name]:
        row = int(at[np.argmax(counts)]) // SPAN
        msg = f"{name}: event {row} has more than the {SLOTS[name]} objects of the trigger's links"
        raise InputError(msg)
    return StreamObjects(at, np.r_[0, np.cumsum(counts)], {n: v[order] for n, v in columns.items()})
