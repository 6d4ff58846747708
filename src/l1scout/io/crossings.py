"""Crossings as rows of files: those with an object of any stream, or all of them."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from l1scout.core.joint_rows import joint_rows
from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import OrbitData
from l1scout.errors import InputError
from l1scout.lhc import BX_PER_ORBIT, lumisection, order_of_time

_ORBITS_AT_A_TIME = 50
"""Of which all crossings are in memory."""


def crossings_to_write(data: OrbitData, *, empty: bool = False) -> Iterator[OrbitBatch]:
    """Yield the crossings of data of one lumisection, without objects.

    Parameters
    ----------
    data : OrbitData
    empty : bool
        Give all 3564 crossings of the orbits that the muons (or the first stream) cover, some orbits at a
        time, rather than those with an object.

    Raises
    ------
    InputError
        If all are wanted, and it is not known which orbits the data cover.
    """
    filled = joint_rows([batch.take(np.flatnonzero(batch.counts)) for batch in data.streams.values()])
    if not empty:
        yield filled
        return
    main = data.main
    orbits = np.unique(filled.orbit)
    seen = main.orbits_seen()
    if seen is not None:
        orbits = seen
    elif main.n_orbits != orbits.size:
        msg = "crossings without objects cannot be written: the input does not state which orbits it covers"
        raise InputError(msg)
    run = int(filled.run[0]) if len(filled) else 0
    for start in range(0, orbits.size, _ORBITS_AT_A_TIME):
        some = np.repeat(orbits[start : start + _ORBITS_AT_A_TIME], BX_PER_ORBIT)
        bx = np.tile(np.arange(1, BX_PER_ORBIT + 1), some.size // BX_PER_ORBIT)
        blocks = np.full(some.size, filled.lumisection[0]) if len(filled) else lumisection(some)
        nothing = np.zeros(some.size + 1, np.int64)
        yield OrbitBatch(some, bx, nothing, {}, np.full(some.size, run), blocks)


def within(batch: OrbitBatch, crossings: OrbitBatch) -> OrbitBatch:
    """Return the rows of a batch in the orbits of some crossings, which are in order of time."""
    if not len(crossings) or not len(batch):
        return batch
    first, stop = np.searchsorted(batch.orbit, [crossings.orbit[0], crossings.orbit[-1] + 1])
    return batch if stop - first == len(batch) else batch.take(np.arange(first, stop))


def flags_of(flags: OrbitBatch | None, crossings: OrbitBatch) -> dict[str, NDArray[np.bool_]]:
    """Return the flags of selections of some crossings; False where there is none."""
    if flags is None:
        return {}
    made = {name: np.zeros(len(crossings), np.bool_) for name in flags.columns}
    time = order_of_time(crossings.orbit, crossings.bx)
    here = order_of_time(flags.orbit, flags.bx)
    place = np.searchsorted(time, here)
    known = np.isin(here, time)
    for name, values in flags.columns.items():
        made[name][place[known]] = values[known]
    return made
