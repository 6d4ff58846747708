"""Skims of crossings that are named by orbit and BX, such as those of the highest anomaly scores."""

import re
from collections.abc import Collection
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_data import OrbitData
from l1scout.errors import InputError, printable
from l1scout.formats.stream import STREAMS
from l1scout.lhc import BX_PER_ORBIT, crossing
from l1scout.trigger.crossing_blocks import CrossingBlock
from l1scout.trigger.skim import Skim

_NAMED = re.compile(r"(\d{1,12}):(\d{1,4})")


def parse_crossings(text: str) -> NDArray[np.int64]:
    """Read crossings such as ``120044:3342,120051:17``: orbit and BX.

    Returns
    -------
    ndarray of int64
        Rising numbers, see `l1scout.lhc.crossing`.

    Raises
    ------
    InputError
        If a part is not of this form, or a BX is not within 1..3564.
    """
    times = []
    for part in text.split(","):
        named = _NAMED.fullmatch(part.strip())
        if named is None or not 1 <= int(named[2]) <= BX_PER_ORBIT:
            shown = printable(part.strip(), 40)
            msg = f"--crossings: {shown!r} is not ORBIT:BX, with a BX from 1 to {BX_PER_ORBIT}"
            raise InputError(msg)
        times.append(int(crossing(int(named[1]), int(named[2]))))
    return np.unique(np.array(times, np.int64))


class CrossingSkim(Skim):
    """Keeps crossings that are named, and windows around them.

    Parameters
    ----------
    crossings : ndarray of int64
        See `parse_crossings`.
    window : int
        Crossings before and after each that are kept.
    name : str
        Of the flag.
    """

    streams: ClassVar[Collection[str]] = tuple(STREAMS)

    def __init__(self, crossings: NDArray[np.int64], window: int = 0, name: str = "SelBx_Skim") -> None:
        self._crossings = crossings
        self._begin(window, name)

    def _kept_events(self, data: OrbitData) -> OrbitData:
        """Refuse triggered events."""
        msg = f"{data.source}: holds triggered events: crossings are named by orbit and BX in orbits"
        raise InputError(msg)

    def _selected(self, block: CrossingBlock) -> NDArray[np.int64]:
        """Return the named crossings in the orbits of a block."""
        return self._crossings[np.isin(self._crossings // BX_PER_ORBIT, block.seen)]
