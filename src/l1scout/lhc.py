"""Orbit, bunch-crossing and lumisection arithmetic. The only home of 3564.

Bunch crossings (BX) are numbered 1..3564 here, as in Run-2 and Run-3 data. Lumisections are
numbered from 1, orbits from 0; both start again with each run.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

BX_PER_ORBIT = 3564
BX_FREQUENCY_HZ = 40.079e6
"""LHC clock in proton running at flat top."""
ORBIT_FREQUENCY_HZ = BX_FREQUENCY_HZ / BX_PER_ORBIT
ORBITS_PER_LUMISECTION = 1 << 18
LUMISECTION_S = ORBITS_PER_LUMISECTION / ORBIT_FREQUENCY_HZ


def lumisection(orbit: ArrayLike) -> NDArray[np.int64]:
    """Lumisection (from 1) of an orbit (from 0): checked on 200 real events of run 320040."""
    return np.asarray(orbit, np.int64) // ORBITS_PER_LUMISECTION + 1


def crossing(orbit: ArrayLike, bx: ArrayLike) -> NDArray[np.int64]:
    """Crossings since orbit 0, BX 1: the time axis for work across BX and orbits.

    Parameters
    ----------
    orbit : array_like of int
    bx : array_like of int
        1..3564; a value outside lies in a neighbouring orbit (``bx = 0`` is the last BX of the
        orbit before), so ``crossing(orbit, bx + k)`` is always ``k`` crossings later.
    """
    return np.asarray(orbit, np.int64) * BX_PER_ORBIT + (np.asarray(bx, np.int64) - 1)


def orbit_and_bx(crossing: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Orbit and BX (1..3564) of a number of crossings: the inverse of `crossing`."""
    orbit, bx = np.divmod(np.asarray(crossing, np.int64), BX_PER_ORBIT)
    return orbit, bx + 1
