"""A packet as it arrives, what the next one says, and what is to be stored and counted of it."""

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from l1scout.formats.packets import PacketOrbits, Trailer


@dataclass(frozen=True, slots=True)
class Arrival:
    """A packet as it arrived: orbits (numbers as it states them), counters, and whether some is damaged."""

    orbits: PacketOrbits
    trailer: Trailer | None
    damaged: bool

    def copy(self) -> "Arrival":
        """Return a copy that stays when the packet's memory is used again."""
        return replace(self, orbits=replace(self.orbits, rows=self.orbits.rows.copy()))


@dataclass(frozen=True, slots=True)
class Judged:
    """Orbits to be stored, with absolute numbers, what is to be counted with them, and the position after."""

    orbits: PacketOrbits
    counts: Counter[str]
    last: int
    board_orbits: int
    board_dropped: int
    gap: int
    unaccounted: int


@dataclass(frozen=True, slots=True)
class Ahead:
    """What the packet after the one in question says: counters, later orbits; or that the run ends."""

    trailer: Trailer | None
    number: NDArray[np.int64]
    damaged: bool
    ends: bool
