"""Inputs of the Global Trigger from scouting data: all crossings of some orbits, empty ones too."""

import numpy as np

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import OrbitData, final_only
from l1scout.errors import InputError
from l1scout.lhc import BX_PER_ORBIT
from l1scout.trigger.trigger_inputs import SLOTS, TriggerInputs

MAX_ORBITS = 400
"""Orbits that are laid out at once: 1 GB with all streams."""


def inputs_of_orbits(data: OrbitData, first_orbit: int, orbits: int) -> TriggerInputs:
    """Lay out consecutive orbits crossing by crossing.

    Row ``BX_PER_ORBIT * (orbit - first_orbit) + bx - 1`` is the crossing `bx`, from 1. So an algorithm that
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
        msg = f"{orbits} orbits cannot be laid out at once: take 1 to {MAX_ORBITS}"
        raise InputError(msg)
    streams = {
        name: _dense(name, batch, first_orbit, orbits)
        for name, batch in final_only(data).streams.items()
        if name in SLOTS
    }
    return TriggerInputs(orbits * BX_PER_ORBIT, streams)


def _dense(name: str, batch: OrbitBatch, first_orbit: int, orbits: int) -> dict[str, np.ndarray]:
    """Return columns of shape (crossings, slots)."""
    inside = np.flatnonzero((batch.orbit >= first_orbit) & (batch.orbit < first_orbit + orbits))
    place = (batch.orbit[inside] - first_orbit) * BX_PER_ORBIT + batch.bx[inside] - 1
    counts, slots = batch.counts[inside], SLOTS[name]
    repeated = np.zeros(len(inside), np.bool_)
    repeated[1:] = place[1:] == place[:-1]
    faults = {
        f"more than the {slots} objects of the trigger's links": counts > slots,
        "rows more than one": repeated,
        "no place in an orbit numbered from 1": batch.bx[inside] < 1,
    }
    for fault, found in faults.items():
        if found.any():
            k = inside[np.flatnonzero(found)[0]]
            msg = f"{name}: orbit {batch.orbit[k]}, BX {batch.bx[k]} has {fault}"
            raise InputError(msg)
    first = batch.offsets[:-1][inside]
    slot = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    objects = np.repeat(first, counts) + slot
    columns = {}
    for column, values in batch.columns.items():
        columns[column] = np.zeros((orbits * BX_PER_ORBIT, slots), values.dtype)
        columns[column][np.repeat(place, counts), slot] = values[objects]
    return columns
