"""Crossings at which an algorithm may find an object, numbered one after the other for the emulator.

A menu that looks up to `reach` crossings before and after its own decides in all others as it does where
there is nothing at all.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch, final_muons
from l1scout.core.orbit_data import MUON, OrbitData
from l1scout.errors import InputError
from l1scout.lhc import crossing
from l1scout.trigger.menu import Menu
from l1scout.trigger.trigger_inputs import SLOTS, StreamObjects

Times = NDArray[np.int64]
"""Crossings from orbit 0, BX 1 on (`l1scout.lhc.crossing`)."""
Objects = Mapping[str, StreamObjects]
"""Objects of streams at absolute crossings."""
_NOWHERE = np.zeros(0, np.int64)


def reach_of(menu: Menu) -> int:
    """Return how many crossings before and after its own a menu looks at."""
    return max((abs(offset) for a in menu.algorithms for offset in a.offsets), default=0)


def in_common_orbits(data: OrbitData, names: Iterable[str]) -> tuple[OrbitData, int]:
    """Return some streams in the orbits in which all of them were seen, and how many orbits were left out.

    Parameters
    ----------
    data : OrbitData
    names : iterable of str
        Those that the data have not are left out.

    Raises
    ------
    InputError
        If the data have none, or do not tell in which orbits streams were seen that have not as many.
    """
    streams = {name: data.streams[name] for name in names if name in data.streams}
    if not streams:
        msg = f"{data.source or 'these data'}: none of the streams {', '.join(sorted(names))}"
        raise InputError(msg)
    chosen = replace(data, streams=streams)
    seen = [batch.orbits_seen() for batch in streams.values()]
    numbers = {name: batch.n_orbits for name, batch in streams.items()}
    known = [orbits for orbits in seen if orbits is not None]
    if len(known) == len(seen) and all(np.array_equal(orbits, known[0]) for orbits in known):
        return chosen, 0
    if len(known) < len(seen):
        if len(set(numbers.values())) == 1:
            return chosen, 0
        of = ", ".join(f"{n} of {name}" for name, n in numbers.items())
        msg = f"{data.source or 'these data'}: have other numbers of orbits by stream ({of}), and not which"
        raise InputError(msg)
    common = reduce(np.intersect1d, known)
    inside = {name: batch.of_orbits(common) for name, batch in streams.items()}
    return replace(data, streams=inside), reduce(np.union1d, known).size - common.size


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
    is_wrong = np.r_[False, np.diff(time) <= 0][: len(time)]
    refuse_faults(name, batch, is_wrong, "rows more than one, or out of order")
    columns = {n: np.ascontiguousarray(c) for n, c in batch.columns.items()}
    return StreamObjects(time, batch.offsets, columns)


def refuse_faults(name: str, batch: OrbitBatch, is_wrong: NDArray[np.bool_], what: str) -> None:
    """Refuse crossings that the trigger cannot have had, and wrong ones (InputError, which says `what`)."""
    faults = {
        f"more than the {SLOTS[name]} objects of the trigger's links": batch.counts > SLOTS[name],
        what: is_wrong,
        "no place in an orbit numbered from 1": batch.bx < 1,
    }
    for fault, found in faults.items():
        if found.any():
            k = int(np.flatnonzero(found)[0])
            msg = f"{name}: orbit {batch.orbit[k]}, BX {batch.bx[k]} has {fault}"
            raise InputError(msg)


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
    return spread(own[0] if len(own) == 1 else np.unique(np.concatenate([_NOWHERE, *own])), reach)


def spread(time: Times, reach: int) -> Times:
    """Return the crossings within `reach` of some, which rise, in order."""
    if not reach or not time.size:
        return time
    width = 2 * reach + 1
    new = np.minimum(np.diff(time, prepend=time[0] - width), width)
    ends = np.cumsum(new)
    return np.asarray(np.arange(ends[-1]) - np.repeat(ends - 1, new) + np.repeat(time + reach, new))


@dataclass(frozen=True)
class NearbyDecisions:
    """What algorithms decide near objects.

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
