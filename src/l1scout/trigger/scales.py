"""Objects of the Global Trigger: where their values are, and hardware integers of limits in physics units.

Scales are those of all menus from 2016 on: an Et of h x 0.5 GeV (muons (h - 1) x 0.5 GeV), calorimeter bins
[h, h + 1) x 0.0435 in eta, muon bins (h - 0.5, h + 0.5) x 0.010875, and 144 or 576 bins in phi.
"""

import math
import re
from dataclasses import dataclass

from l1scout.formats.calo_objects import PHI_BINS as CALO_PHI_BINS
from l1scout.formats.streams.muon import ETA_LSB, PHI_BINS
from l1scout.trigger.menu_error import UnsupportedError

CALO_ETA_LSB = 0.0435
CALO_ETA_END, MUON_ETA_END = 5.0, 2.45
"""Ends of the scales of eta, which are no edges of bins."""
GEV_LSB = 0.5
_TOLERANCE = 0.02
"""In bins: a limit of a menu is the edge of a bin, written with few or many digits."""


@dataclass(frozen=True)
class ObjectKind:
    """A kind of object: in which stream and columns its values are.

    Parameters
    ----------
    name : str
    stream : str
    slots : int
        Places in a crossing.
    value : str
        Column of what is compared with the threshold.
    eta, phi : str
        Columns; empty if it has none.
    count : bool
        Whether the threshold is a number, not an energy.
    """

    name: str
    stream: str
    slots: int
    value: str
    eta: str = ""
    phi: str = ""
    count: bool = False

    @property
    def muon(self) -> bool:
        """Whether it has the muon trigger's scales."""
        return self.stream == "muon"

    @property
    def phi_bins(self) -> int:
        """Values of phi in a full turn."""
        return PHI_BINS if self.muon else CALO_PHI_BINS

    @property
    def eta_codes(self) -> int:
        """Values of eta below 0; those from 0 on are as many."""
        return 256 if self.muon else 128

    def step(self, *, eta: bool) -> float:
        """Return the width of a bin of eta, or of phi in rad."""
        if eta:
            return ETA_LSB if self.muon else CALO_ETA_LSB
        return 2 * math.pi / self.phi_bins

    def threshold_to_hardware(self, threshold: float) -> int:
        """Return the hardware value of a threshold in GeV, or of a count.

        Raises
        ------
        UnsupportedError
            If it is not the lower edge of a bin.
        """
        steps = threshold if self.count else threshold / GEV_LSB
        if not math.isfinite(steps) or abs(steps - round(steps)) > _TOLERANCE or not 0 <= steps < 1 << 16:
            msg = f"threshold {threshold:g} of {self.name} is not the edge of a bin"
            raise UnsupportedError(msg)
        return round(steps) + (1 if self.muon else 0)

    def threshold_to_physics(self, threshold: int) -> float:
        """Return a threshold in GeV, or a count."""
        if self.count:
            return threshold
        return GEV_LSB * (threshold - 1 if self.muon else threshold)

    def eta_to_hardware(self, low: float, high: float) -> tuple[int, int]:
        """Return the first and last bin of a window in eta."""
        step, end, shift = (ETA_LSB, MUON_ETA_END, 0.5) if self.muon else (CALO_ETA_LSB, CALO_ETA_END, 0.0)
        first = end_bin(low / step + shift, at_end=abs(low) >= end - 1e-3)
        last = end_bin(high / step + shift, at_end=abs(high) >= end - 1e-3, upper=True)
        return first, last

    def eta_to_physics(self, low: int, high: int) -> tuple[float, float]:
        """Return the edges of a window in eta."""
        if self.muon:
            return (low - 0.5) * ETA_LSB, (high + 0.5) * ETA_LSB
        return low * CALO_ETA_LSB, (high + 1) * CALO_ETA_LSB

    def phi_to_hardware(self, low: float, high: float) -> tuple[int, int]:
        """Return the first and last bin of a window in phi (rad); the first is larger if 0 is inside."""
        step = 2 * math.pi / self.phi_bins
        first, last = end_bin(low / step), end_bin(high / step, upper=True)
        return first % self.phi_bins, last % self.phi_bins

    def phi_to_physics(self, low: int, high: int) -> tuple[float, float]:
        """Return the edges of a window in phi, in rad."""
        step = 2 * math.pi / self.phi_bins
        return low * step, (high + 1) * step


def end_bin(edge: float, *, at_end: bool = False, upper: bool = False) -> int:
    """Return the bin that an edge begins, or with `upper` ends; edges are in units of a bin.

    Raises
    ------
    UnsupportedError
        If it is not the edge of a bin, and `at_end` does not say that it is the end of the scale.
    """
    if not math.isfinite(edge) or abs(edge) > 1 << 16:
        msg = f"limit {edge:g} bins is outside every scale"
        raise UnsupportedError(msg)
    nearest = round(edge)
    if abs(edge - nearest) <= _TOLERANCE:
        return nearest - upper
    if not at_end:
        msg = f"limit at {edge:.3f} bins is not the edge of a bin"
        raise UnsupportedError(msg)
    return math.ceil(edge) - 1 if upper else math.floor(edge)


def _sum(name: str, value: str, phi: str = "", *, count: bool = False) -> ObjectKind:
    return ObjectKind(name, "etsum", 1, value, phi=phi, count=count)


_KINDS = (
    ObjectKind("MU", "muon", 8, "hwPt", "hwEtaAtVtx", "hwPhiAtVtx"),
    ObjectKind("EG", "egamma", 12, "hwPt", "hwEta", "hwPhi"),
    ObjectKind("TAU", "tau", 12, "hwPt", "hwEta", "hwPhi"),
    ObjectKind("JET", "jet", 12, "hwPt", "hwEta", "hwPhi"),
    _sum("ETT", "hwTotalEt"),
    _sum("ETTEM", "hwTotalEtEm"),
    _sum("HTT", "hwTotalHt"),
    _sum("ETM", "hwMissEt", "hwMissEtPhi"),
    _sum("HTM", "hwMissHt", "hwMissHtPhi"),
    _sum("ETMHF", "hwMissEtHF", "hwMissEtHFPhi"),
    _sum("HTMHF", "hwMissHtHF", "hwMissHtHFPhi"),
    _sum("ASYMET", "hwAsymEt", count=True),
    _sum("ASYMHT", "hwAsymHt", count=True),
    _sum("ASYMETHF", "hwAsymEtHF", count=True),
    _sum("ASYMHTHF", "hwAsymHtHF", count=True),
    _sum("MBT0HFP", "minBiasHFP0", count=True),
    _sum("MBT0HFM", "minBiasHFM0", count=True),
    _sum("MBT1HFP", "minBiasHFP1", count=True),
    _sum("MBT1HFM", "minBiasHFM1", count=True),
    _sum("TOWERCOUNT", "towerCount", count=True),
)
KINDS = {kind.name: kind for kind in _KINDS}
"""Objects with a threshold, by their name in expressions."""

THRESHOLD_NAME = re.compile(
    rf"({'|'.join(KINDS)})(\.ge\.|\.eq\.)?(\d{{1,5}}(?:p\d{{1,4}})?)([+-]\d+)?", re.ASCII
)
"""Name of an object with a threshold: kind, comparison, threshold with ``p`` for the point, BX offset."""
SHOWER_SLOTS = {"MUS0": 0, "MUS1": 2, "MUS2": 3, "MUSOOT0": 4, "MUSOOT1": 6}
"""Place among the eight muons whose word carries the bit of each muon shower signal."""
