"""Muons by BX and lumisection: what luminosity, occupancy and the filling scheme are made of."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from l1scout.analysis.common.live_time import LiveTime, Section
from l1scout.analysis.common.muons import OfOrigin, final
from l1scout.core.orbit_batch import OrbitBatch
from l1scout.lhc import BX_PER_ORBIT

Counts = dict[Section, NDArray[np.int64]]


@dataclass
class CrossingCounts(OfOrigin):
    """Counts by section and BX. Arrays have 3565 places: index 0 is unused, so that BX is the index.

    Parameters
    ----------
    live : LiveTime
        Its orbits are counted here, too.
    min_hw_pt, min_quality : int
        Smallest hwPt and hwQual of a muon.

    Attributes
    ----------
    muons : dict of Section to ndarray of int64, shape (3565,)
    occupied : dict of Section to ndarray of int64, shape (3565,)
        Crossings with a muon.
    """

    live: LiveTime = field(default_factory=LiveTime)
    min_hw_pt: int = 1
    min_quality: int = 0
    muons: Counts = field(default_factory=dict)
    occupied: Counts = field(default_factory=dict)

    def add(self, batch: OrbitBatch, prescale: float = 1.0) -> None:
        """Take in a batch (InputError if it does not say how many orbits it stands for)."""
        self.origins |= batch.origins
        for section, rows in self.live.add(batch, prescale):
            part = final(rows, self.min_hw_pt, self.min_quality)
            counts = part.counts
            self._at(self.muons, section)[:] += _by_bx(part.bx[part.row])
            self._at(self.occupied, section)[:] += _by_bx(part.bx[counts > 0])

    def merge(self, other: "CrossingCounts") -> None:
        """Add data that follow these."""
        self.live.merge(other.live)
        self.origins |= other.origins
        for mine, theirs in ((self.muons, other.muons), (self.occupied, other.occupied)):
            for section, counts in theirs.items():
                self._at(mine, section)[:] += counts

    @staticmethod
    def _at(where: Counts, section: Section) -> NDArray[np.int64]:
        return where.setdefault(section, np.zeros(BX_PER_ORBIT + 1, np.int64))

    @property
    def all_muons(self) -> NDArray[np.int64]:
        """Muons by BX in all sections."""
        return sum(self.muons.values(), np.zeros(BX_PER_ORBIT + 1, np.int64))


def _by_bx(bx: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.bincount(bx, minlength=BX_PER_ORBIT + 1)
