"""Which muons of a batch an analysis takes, when they were, and from which track finder."""

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch, final_muons
from l1scout.core.provenance import joint_origin
from l1scout.errors import InputError
from l1scout.formats.streams.muon import TRACK_FINDERS
from l1scout.lhc import crossing

if TYPE_CHECKING:
    from l1scout.analysis import Setup

_USED = {
    *("hwPt", "hwQual", "hwPhi", "hwEta", "hwPhiAtVtx", "hwEtaAtVtx", "hwCharge", "tfMuonIndex"),
    *("hwChargeValid", "intermediate", "bxInEvent", "origin"),
}
"""Columns that an analysis may need: others are not copied."""
FINDERS = tuple(TRACK_FINDERS)
"""EMTF+, OMTF+, BMTF, OMTF-, EMTF-: in the order of tfMuonIndex."""
_FINDER = np.full(128, -1, np.int64)
for _k, _range in enumerate(TRACK_FINDERS.values()):
    _FINDER[list(_range)] = _k


class OfOrigin:
    """Base of analyses that record whether their data are simulated."""

    @cached_property
    def origins(self) -> set[bool | None]:
        """Whether each batch states that it is simulated."""
        return set()

    @property
    def simulated(self) -> bool | None:
        """Whether any data are simulated; None where none are, and some do not say."""
        return joint_origin(self.origins)


def final(batch: OrbitBatch, min_hw_pt: int = 1, min_quality: int = 0, *, in_time: bool = True) -> OrbitBatch:
    """Keep final muons, no intermediate ones.

    Parameters
    ----------
    batch : OrbitBatch
    min_hw_pt : int
        Smallest hwPt.
    min_quality : int
        Smallest hwQual.
    in_time : bool
        Of triggered events, leave out the muons of the crossings before and after.
    """
    need(batch, "hwPt")
    if not batch.columns.keys() <= _USED:
        batch = replace(batch, columns={n: c for n, c in batch.columns.items() if n in _USED})
    batch = final_muons(batch)
    keep = batch["hwPt"] >= min_hw_pt
    if in_time and "bxInEvent" in batch.columns:
        keep &= batch["bxInEvent"] == 0
    if min_quality:
        need(batch, "hwQual")
        keep &= batch["hwQual"] >= min_quality
    return batch if keep.all() else batch.select(keep)


def need(batch: OrbitBatch, *names: str) -> None:
    """Refuse a batch without these columns (InputError)."""
    missing = [n for n in names if n not in batch.columns]
    if missing:
        msg = f"muons have no {', '.join(missing)}, which this analysis needs"
        raise InputError(msg)


def times(batch: OrbitBatch) -> NDArray[np.int64]:
    """Crossing of each muon (see `lhc.crossing`); InputError if the orbits are not known or in order."""
    if len(batch) and batch.orbit.min() < 0:
        msg = "muons without orbit: nothing across crossings can be measured"
        raise InputError(msg)
    time = crossing(batch.orbit, batch.bx)
    if np.any(time[1:] < time[:-1]):
        msg = "rows are not in order of time: sort them by run, orbit and BX"
        raise InputError(msg)
    return time[batch.row]


def finder(batch: OrbitBatch) -> NDArray[np.int64]:
    """Track finder of each muon: index into `FINDERS`, -1 if tfMuonIndex is none of any."""
    need(batch, "tfMuonIndex")
    return np.asarray(_FINDER[batch["tfMuonIndex"].astype(np.int64).clip(-1, _FINDER.size - 1)])


def refuse_muon_cuts(setup: "Setup") -> None:
    """Refuse cuts on muons where other objects are named, which have cuts of their own (InputError)."""
    if setup.min_hw_pt > 1 or setup.min_pt or setup.min_quality:
        msg = "--min-pt, --min-hw-pt and --min-quality are of muons: name cuts in --objects: jet[pt>=30]"
        raise InputError(msg)
