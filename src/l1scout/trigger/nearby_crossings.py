"""Crossings at which an algorithm may find an object, numbered one after the other for the emulator.

A menu that looks up to `reach` crossings before and after its own decides in all others as it does where
there is nothing at all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch, final_muons
from l1scout.core.orbit_data import MUON, OrbitData
from l1scout.errors import InputError
from l1scout.lhc import crossing
from l1scout.trigger.emulator import emulate
from l1scout.trigger.menu import Menu
from l1scout.trigger.trigger_inputs import SLOTS, StreamObjects, TriggerInputs

Times = NDArray[np.int64]
"""Crossings from orbit 0, BX 1 on (`l1scout.lhc.crossing`)."""
Objects = Mapping[str, StreamObjects]
"""Objects of streams at absolute crossings."""
_NOWHERE = np.zeros(0, np.int64)


def reach_of(menu: Menu) -> int:
    """Return how many crossings before and after its own a menu looks at."""
    return max((abs(offset) for a in menu.algorithms for offset in a.offsets), default=0)


def objects_in_time(data: OrbitData) -> dict[str, StreamObjects]:
    """Return the objects of the streams that the trigger has, of muons the final ones, in order of time.

    Raises
    ------
    InputError
        If a crossing has more objects than the trigger's links, occurs twice, is not in order of time or has
        BX 0.
    """
    return {name: _of_stream(name, batch) for name, batch in data.streams.items() if name in SLOTS}


def _of_stream(name: str, batch: OrbitBatch) -> StreamObjects:
    batch = final_muons(batch) if name == MUON else batch
    time = crossing(batch.orbit, batch.bx)
    faults = {
        f"more than the {SLOTS[name]} objects of the trigger's links": batch.counts > SLOTS[name],
        "rows more than one, or out of order": np.r_[False, np.diff(time) <= 0][: len(time)],
        "no place in an orbit numbered from 1": batch.bx < 1,
    }
    for fault, found in faults.items():
        if found.any():
            k = int(np.flatnonzero(found)[0])
            msg = f"{name}: orbit {batch.orbit[k]}, BX {batch.bx[k]} has {fault}"
            raise InputError(msg)
    columns = {n: np.ascontiguousarray(c) for n, c in batch.columns.items()}
    return StreamObjects(time, batch.offsets, columns)


def within(objects: Objects, first: int, stop: int) -> dict[str, StreamObjects]:
    """Return the objects of crossings from `first` up to but not `stop`; nothing is copied."""
    found = {}
    for name, stream in objects.items():
        a, b = np.searchsorted(stream.crossing, (first, stop))
        low, high = stream.offsets[a], stream.offsets[b]
        columns = {n: c[low:high] for n, c in stream.columns.items()}
        found[name] = StreamObjects(stream.crossing[a:b], stream.offsets[a : b + 1] - low, columns)
    return found


def followed(before: Objects, after: Objects) -> dict[str, StreamObjects]:
    """Return objects and those that follow them; of columns those that both have."""
    found = {}
    for name in before.keys() & after.keys():
        a, b = before[name], after[name]
        columns = {n: np.concatenate([a.columns[n], b.columns[n]]) for n in a.columns if n in b.columns}
        offsets = np.r_[a.offsets, a.offsets[-1] + b.offsets[1:]]
        found[name] = StreamObjects(np.r_[a.crossing, b.crossing], offsets, columns)
    return found


def near_objects(objects: Objects, reach: int) -> Times:
    """Return the crossings within `reach` of an object, in order."""
    own = [stream.crossing for stream in objects.values()]
    time = own[0] if len(own) == 1 else np.unique(np.concatenate([_NOWHERE, *own]))
    if not reach or not time.size:
        return time
    width = 2 * reach + 1
    new = np.minimum(np.diff(time, prepend=time[0] - width), width)
    ends = np.cumsum(new)
    return np.asarray(np.arange(ends[-1]) - np.repeat(ends - 1, new) + np.repeat(time + reach, new))


@dataclass(frozen=True)
class NearbyDecisions:
    """What a menu decides near objects.

    Parameters
    ----------
    time : ndarray of int64, shape (rows,)
        Crossings within its reach of an object, in order.
    words : mapping of str to ndarray of uint64
        By algorithm a bit per row (`crossing_bits`).
    problems : mapping of str to str
        Algorithms that could not be evaluated, and why.
    """

    time: Times
    words: Mapping[str, NDArray[np.uint64]]
    problems: Mapping[str, str]


def decide(menu: Menu, objects: Objects, reach: int) -> NearbyDecisions:
    """Emulate a menu at the crossings near objects."""
    time = near_objects(objects, reach)
    placed = {
        name: StreamObjects(np.searchsorted(time, s.crossing), s.offsets, s.columns)
        for name, s in objects.items()
    }
    found = emulate(menu, TriggerInputs(len(time), placed))
    return NearbyDecisions(time, found.words, found.problems)


def decide_without_objects(menu: Menu, objects: Objects, reach: int) -> dict[str, bool]:
    """Return what a menu decides where there is nothing; of `objects` only streams and columns count."""
    nothing = {name: stream.only(_NOWHERE) for name, stream in objects.items()}
    found = emulate(menu, TriggerInputs(2 * reach + 1, nothing))
    return {name: bool(bits[reach]) for name, bits in found.bits.items()}


def section_of(batch: OrbitBatch, orbits: Sequence[int] | Times, section_orbits: int, known: bool) -> Times:
    """Return the lumisection, or slice of time, of some orbits, from 1.

    Parameters
    ----------
    batch : OrbitBatch
        Whose rows tell lumisections.
    orbits : ndarray of int64
    section_orbits : int
    known : bool
        Whether the batch's lumisections count; orbits without a row have that of the row before.
    """
    wanted = np.asarray(orbits, np.int64)
    if not known or not len(batch):
        return wanted // section_orbits + 1
    row = np.maximum(np.searchsorted(batch.orbit, wanted, "right") - 1, 0)
    return batch.lumisection[row]
