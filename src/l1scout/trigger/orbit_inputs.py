"""Inputs of the Global Trigger from scouting data: all crossings of some orbits, empty ones too."""

import numpy as np

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import OrbitData, final_only
from l1scout.errors import InputError
from l1scout.lhc import BX_PER_ORBIT
from l1scout.trigger.trigger_inputs import SLOTS, StreamObjects, TriggerInputs

MAX_ORBITS = 400
"""Orbits that are taken at once: with a full menu, a bit per crossing of each condition is 100 MB."""


def inputs_of_orbits(data: OrbitData, first_orbit: int, orbits: int) -> TriggerInputs:
    """Return consecutive orbits as consecutive crossings.

    Crossing ``BX_PER_ORBIT * (orbit - first_orbit) + bx - 1`` is that of `bx`, from 1. So an algorithm that
    looks at the next crossing sees the first of the next orbit from the last of an orbit. Crossings before
    these orbits and after them are taken as empty.

    Parameters
    ----------
    data : OrbitData
        Of its streams those that the trigger has, and of muons the final ones. There are no external signals
        and no CICADA score: conditions on them are reported, as are those on columns that a stream has not.
    first_orbit, orbits : int
        First orbit and number of orbits.

    Raises
    ------
    InputError
        If there are more orbits than `MAX_ORBITS`, or a crossing has more objects than the trigger's links,
        occurs twice, or has BX 0.
    """
    if not 1 <= orbits <= MAX_ORBITS:
        msg = f"{orbits} orbits cannot be taken at once: take 1 to {MAX_ORBITS}"
        raise InputError(msg)
    streams = {
        name: _objects(name, batch, first_orbit, orbits)
        for name, batch in final_only(data).streams.items()
        if name in SLOTS
    }
    return TriggerInputs(orbits * BX_PER_ORBIT, streams)


def _objects(name: str, batch: OrbitBatch, first_orbit: int, orbits: int) -> StreamObjects:
    """Return the objects of some orbits; no column is copied."""
    first, last = np.searchsorted(batch.orbit, (first_orbit, first_orbit + orbits))
    orbit, bx = batch.orbit[first:last], batch.bx[first:last]
    crossing = (orbit - first_orbit) * BX_PER_ORBIT + bx - 1
    counts, slots = batch.counts[first:last], SLOTS[name]
    not_later = np.zeros(len(crossing), np.bool_)
    not_later[1:] = crossing[1:] <= crossing[:-1]
    faults = {
        f"more than the {slots} objects of the trigger's links": counts > slots,
        "rows more than one, or out of order": not_later,
        "no place in an orbit numbered from 1": bx < 1,
    }
    for fault, found in faults.items():
        if found.any():
            k = first + np.flatnonzero(found)[0]
            msg = f"{name}: orbit {batch.orbit[k]}, BX {batch.bx[k]} has {fault}"
            raise InputError(msg)
    start, stop = int(batch.offsets[first]), int(batch.offsets[last])
    columns = {column: np.ascontiguousarray(values[start:stop]) for column, values in batch.columns.items()}
    return StreamObjects(crossing, batch.offsets[first : last + 1] - start, columns)
