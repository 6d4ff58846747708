"""Which L1 muons the network learns from: the reference paper's selection, with a count after every cut."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import OrbitData
from l1scout.dataset.matching import MAX_DR2, match
from l1scout.errors import InputError
from l1scout.formats.streams.muon import BMTF_INDEX, ETA, PHI, PHI_BINS, PT
from l1scout.io.columns import charge_valid
from l1scout.io.parquet import HARDWARE as L1_COLUMNS
from l1scout.io.parquet import STUBS
from l1scout.simulate.offline import to_second_station

RECO_COLUMNS = ("recoPt", "recoEta", "recoPhi", "recoCharge")

MAX_ABS_ETA = 0.85
"""Barrel at the second muon station. Not in the reference paper, which says "barrel" only: it keeps the
sample inside the acceptance that the simulation describes."""
HW_PT = range(6, 91)
"""2.5 <= pT < 45 GeV in hardware units."""


@dataclass(frozen=True)
class MuonSelection:
    """What a pair of an L1 and an offline muon has to pass.

    Parameters
    ----------
    max_abs_eta : float or None
        Of the L1 muon at the second station; None for no cut.
    max_dr2 : float
        Squared distance of a pair at the second station, see `l1scout.dataset.matching`.
    strict : bool
        Leave out ``hwPt = 6``, that is pT = 2.5 GeV exactly, the floor of the trigger's tables. The
        reference paper writes "2.5 < pT", but does not say whether it means to exclude the floor, which
        is about a tenth of the sample; it is kept unless asked.
    """

    max_abs_eta: float | None = MAX_ABS_ETA
    max_dr2: float = MAX_DR2
    strict: bool = False

    @property
    def hw_pt(self) -> range:
        """Accepted values of ``hwPt``."""
        return range(HW_PT.start + self.strict, HW_PT.stop)

    def as_dict(self) -> dict[str, Any]:
        """For a file's metadata."""
        return {**asdict(self), "hw_pt": [self.hw_pt.start, self.hw_pt.stop - 1]}


@dataclass
class CutFlow:
    """Muons left after every cut, summed over chunks.

    Parameters
    ----------
    l1, offline : dict of str to int
        Muons by name of the cut, in the order of the cuts. A cut that does not concern one of the
        two has no entry there.
    """

    l1: dict[str, int] = field(default_factory=dict)
    offline: dict[str, int] = field(default_factory=dict)

    def count(self, cut: str, *, l1: int | None = None, offline: int | None = None) -> None:
        """Add to the numbers of a cut."""
        for side, n in ((self.l1, l1), (self.offline, offline)):
            if n is not None:
                side[cut] = side.get(cut, 0) + int(n)

    def rows(self) -> list[tuple[str, int | None, int | None]]:
        """Cut, L1 muons left, offline muons left: L1 cuts, then offline cuts, then cuts on pairs."""
        both = [name for name in self.l1 if name in self.offline]
        first, rest = both[:1], both[1:]
        alone = [n for n in (*self.l1, *self.offline) if (n in self.l1) != (n in self.offline)]
        return [(name, self.l1.get(name), self.offline.get(name)) for name in (*first, *alone, *rest)]

    def end(self) -> str:
        """Say which cut left nothing, for a flow that ends with none."""
        if len(self.l1) < 2:
            return "nothing was read"
        before: dict[str, int] = {}
        for name, *left in self.rows():
            for side, n in zip(("L1", "offline"), left, strict=True):
                if n == 0:
                    of = f" of {before[side]:,}" if side in before else ""
                    return f"no {side} muon{of} left after: {name}"
                if n is not None:
                    before[side] = n
        return "nothing was read"

    def as_list(self) -> list[dict[str, Any]]:
        """For JSON and a file's metadata."""
        return [{"cut": name, "l1": l1, "offline": offline} for name, l1, offline in self.rows()]


def select_pairs(events: OrbitData, selection: MuonSelection, flow: CutFlow) -> dict[str, NDArray[Any]]:
    """Select, match and join L1 and offline muons.

    Offline muons of a file without station-2 coordinates (nano files have none) are propagated there
    through the simulated detector, with the mean energy loss.

    Parameters
    ----------
    events : OrbitData
    selection : MuonSelection
    flow : CutFlow
        Counts are added to it.

    Returns
    -------
    dict of str to ndarray, each of shape (pairs,)
        `L1_COLUMNS`, and `STUBS` where there are any, in hardware units; `RECO_COLUMNS` in GeV and rad.

    Raises
    ------
    InputError
        If there are no offline muons or a column is missing.
    """
    if events.offline is None:
        msg = f"{events.source}: no offline muons, so there is nothing to match L1 muons to"
        raise InputError(msg)
    _need(events.muons, L1_COLUMNS, events.source, "L1")
    _need(events.offline, (*RECO_COLUMNS, "recoId"), events.source, "offline")
    if len(events.muons) != len(events.offline):
        msg = f"{events.source}: {len(events.muons)} rows of L1 muons, {len(events.offline)} of offline muons"
        raise InputError(msg)
    flow.count("all", l1=events.muons.n_objects, offline=events.offline.n_objects)
    l1 = _select_l1(events.muons, selection, flow)
    offline = _select_offline(events.offline, flow)
    i, j = match(
        ETA.to_physical(l1["hwEta"]),
        PHI.to_physical(l1["hwPhi"]),
        l1.offsets,
        offline["recoEtaSt2"],
        offline["recoPhiSt2"],
        offline.offsets,
        selection.max_dr2,
    )
    flow.count(f"matched, dR^2 < {selection.max_dr2:g} at station 2", l1=i.size, offline=i.size)
    hw_pt = l1["hwPt"][i]
    inside = (hw_pt >= selection.hw_pt.start) & (hw_pt < selection.hw_pt.stop)
    low, high = PT.to_physical([HW_PT.start, HW_PT.stop])
    cut = f"{low:g} {'<' if selection.strict else '<='} L1 pT < {high:g} GeV"
    flow.count(cut, l1=_n(inside), offline=_n(inside))
    i, j = i[inside], j[inside]
    names = (*L1_COLUMNS, *(n for n in STUBS if n in l1.columns))
    return {**{n: l1[n][i] for n in names}, **{n: offline[n][j] for n in RECO_COLUMNS}}


def _need(batch: OrbitBatch, names: Sequence[str], source: str, what: str) -> None:
    missing = [n for n in names if n not in batch.columns]
    if missing:
        msg = f"{source}: {what} muons lack {', '.join(missing)}, which the matching needs"
        raise InputError(msg)


def _n(keep: NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(keep))


def _select_l1(l1: OrbitBatch, selection: MuonSelection, flow: CutFlow) -> OrbitBatch:
    keep = np.ones(l1.n_objects, np.bool_)
    if "bxInEvent" in l1.columns:
        keep &= l1["bxInEvent"] == 0
    flow.count("central crossing (bxInEvent = 0, where given)", l1=_n(keep))
    for name in ("hwPhi", "hwPhiAtVtx"):
        keep &= (l1[name] >= 0) & (l1[name] < PHI_BINS)
    keep &= l1["hwPt"] > 0
    flow.count("a muon, with valid phi codes", l1=_n(keep))
    keep &= charge_valid(l1.columns)
    flow.count("valid charge (hwChargeValid, where given)", l1=_n(keep))
    index = l1["tfMuonIndex"]
    keep &= (index >= BMTF_INDEX.start) & (index < BMTF_INDEX.stop)
    flow.count(f"barrel (tfMuonIndex {BMTF_INDEX.start}-{BMTF_INDEX.stop - 1})", l1=_n(keep))
    if selection.max_abs_eta is not None:
        keep &= np.abs(ETA.to_physical(l1["hwEta"])) <= selection.max_abs_eta
        flow.count(f"|L1 eta at station 2| <= {selection.max_abs_eta:g}", l1=_n(keep))
    return l1.select(keep, drop_empty=False)


def _select_offline(offline: OrbitBatch, flow: CutFlow) -> OrbitBatch:
    keep = offline["recoId"].astype(np.bool_)
    flow.count("identified (recoId)", offline=_n(keep))
    for name in RECO_COLUMNS:
        keep &= np.isfinite(offline[name])
    keep &= (offline["recoPt"] > 0) & (np.abs(offline["recoCharge"]) == 1)
    flow.count("finite offline values", offline=_n(keep))
    offline = _propagated(offline.select(keep, drop_empty=False))
    keep = np.isfinite(offline["recoEtaSt2"]) & np.isfinite(offline["recoPhiSt2"])
    flow.count("reaches station 2", offline=_n(keep))
    return offline.select(keep, drop_empty=False)


def _propagated(offline: OrbitBatch) -> OrbitBatch:
    """Give station-2 coordinates to offline muons of a file that holds none (nano), by our own detector."""
    if {"recoEtaSt2", "recoPhiSt2"} <= set(offline.columns):
        return offline
    eta, phi = to_second_station(*(offline[n].astype(np.float64) for n in RECO_COLUMNS))
    return offline.with_columns(recoEtaSt2=eta, recoPhiSt2=phi)
