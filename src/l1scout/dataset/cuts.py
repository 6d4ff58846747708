"""Which pairs of L1 and offline muons make a data set, with a count after every cut.

All L1 pT of one or more track finders by default; the reference paper's selection, on which its tables rest,
is a part of it (`l1scout.dataset.paper`).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import OrbitData
from l1scout.dataset.matching import MAX_DR2, match
from l1scout.dataset.paper import BARREL, PAPER_HW_PT
from l1scout.errors import InputError
from l1scout.formats.streams.muon import (
    ETA,
    ETA_VTX,
    PHI,
    PHI_BINS,
    PHI_VTX,
    PT,
    Finder,
    describe_finders,
    of_finders,
)
from l1scout.io.columns import charge_valid
from l1scout.io.parquet import HARDWARE as L1_COLUMNS
from l1scout.io.parquet import STUBS
from l1scout.simulate.offline import to_second_station

RECO_COLUMNS = ("recoPt", "recoEta", "recoPhi", "recoCharge")

MAX_ABS_ETA = 0.85
"""Barrel at the second muon station. Not in the reference paper, which says "barrel" only: it keeps the
sample inside the acceptance that the simulation describes."""
MAX_DR2_AT_VERTEX = 0.0625
"""Largest squared distance at the vertex of a pair whose L1 muon is not of the barrel. A choice: in a real
file of 2024, 60 of 85 such L1 muons have an offline muon within 0.25, and none between 0.25 and 0.5."""
HW_PT = range(1, 512)
"""All hardware values of a muon's pT: 0 to 255 GeV, 511 being the overflow."""


@dataclass(frozen=True)
class MuonSelection:
    """What a pair of an L1 and an offline muon has to pass.

    Parameters
    ----------
    max_abs_eta : float or None
        Of an L1 muon of the barrel, at the second station; None for no cut. Others have none.
    max_dr2 : float
        Squared distance at the second station of a pair whose L1 muon is of the barrel, see
        `l1scout.dataset.matching`.
    max_dr2_at_vertex : float
        Squared distance at the vertex of any other pair: our propagation knows the barrel only.
    finders : tuple of str
        Track finders whose muons are taken: keys of `l1scout.formats.streams.muon.FINDERS`.
    paper : bool
        Take 2.5 <= L1 pT < 45 GeV only, as the reference paper did.
    strict : bool
        Begin above ``hwPt = 6``, that is pT = 2.5 GeV exactly, the floor of the trigger's tables. The
        reference paper writes "2.5 < pT", but does not say whether it means to exclude the floor, which
        is about a tenth of the sample; it is kept unless asked.
    """

    max_abs_eta: float | None = MAX_ABS_ETA
    max_dr2: float = MAX_DR2
    max_dr2_at_vertex: float = MAX_DR2_AT_VERTEX
    finders: tuple[Finder, ...] = BARREL
    paper: bool = False
    strict: bool = False

    @property
    def hw_pt(self) -> range:
        """Accepted values of ``hwPt``."""
        taken = PAPER_HW_PT if self.paper else HW_PT
        return range(PAPER_HW_PT.start + 1 if self.strict else taken.start, taken.stop)

    def as_dict(self) -> dict[str, Any]:
        """For a file's metadata."""
        named = {**asdict(self), "finders": list(self.finders)}
        return {**named, "hw_pt": [self.hw_pt.start, self.hw_pt.stop - 1]}


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

    L1 muons of the barrel are matched at the second station: offline muons of a file without station-2
    coordinates (nano files have none) are propagated there through the simulated detector, with the mean
    energy loss. Other L1 muons are matched at the vertex, to offline muons that those of the barrel left.

    Parameters
    ----------
    events : OrbitData
    selection : MuonSelection
    flow : CutFlow
        Counts are added to it.

    Returns
    -------
    dict of str to ndarray, each of shape (pairs,)
        `L1_COLUMNS`, and `STUBS` where there are any, in hardware units; `RECO_COLUMNS` in GeV and rad;
        ``simKind`` of simulated muons, see `l1scout.simulate.kinds`.

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
    offline = _select_offline(events.offline, selection, flow)
    i, j = _matched(l1, offline, selection)
    where = [f"dR^2 < {selection.max_dr2:g} at station 2"] if "bmtf" in selection.finders else []
    if _at_vertex(selection):
        where.append(f"{selection.max_dr2_at_vertex:g} at the vertex{' outside the barrel' if where else ''}")
    flow.count(f"matched, {', '.join(where)}", l1=i.size, offline=i.size)
    hw_pt = l1["hwPt"][i]
    inside = (hw_pt >= selection.hw_pt.start) & (hw_pt < selection.hw_pt.stop)
    low, high = PT.to_physical([selection.hw_pt.start - selection.strict, selection.hw_pt.stop])
    cut = f"{low:g} {'<' if selection.strict else '<='} L1 pT < {high:g} GeV"
    flow.count(cut, l1=_n(inside), offline=_n(inside))
    i, j = i[inside], j[inside]
    names = (*L1_COLUMNS, *(n for n in STUBS if n in l1.columns))
    reco = (*RECO_COLUMNS, *({"simKind"} & set(offline.columns)))
    return {**{n: l1[n][i] for n in names}, **{n: offline[n][j] for n in reco}}


def _at_vertex(selection: MuonSelection) -> bool:
    """Return whether muons of other track finders than the barrel's are taken: these match at the vertex."""
    return tuple(selection.finders) != BARREL


def _matched(
    l1: OrbitBatch, offline: OrbitBatch, selection: MuonSelection
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Match L1 muons of the barrel at the second station, then the others at the vertex: indices of pairs."""
    eta, phi = offline["recoEtaSt2"], offline["recoPhiSt2"]
    barrel = of_finders(l1["tfMuonIndex"], BARREL)
    nowhere = np.where(barrel, 0.0, np.nan)
    i, j = match(
        ETA.to_physical(l1["hwEta"]) + nowhere,
        PHI.to_physical(l1["hwPhi"]),
        l1.offsets,
        eta,
        phi,
        offline.offsets,
        selection.max_dr2,
    )
    if barrel.all():
        return i, j
    free = offline["recoEta"].astype(np.float64)
    free[j] = np.nan
    i2, j2 = match(
        ETA_VTX.to_physical(l1["hwEtaAtVtx"]) + np.where(barrel, np.nan, 0.0),
        PHI_VTX.to_physical(l1["hwPhiAtVtx"]),
        l1.offsets,
        free,
        offline["recoPhi"],
        offline.offsets,
        selection.max_dr2_at_vertex,
    )
    order = np.argsort(np.r_[i, i2])
    return np.r_[i, i2][order], np.r_[j, j2][order]


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
    keep &= of_finders(l1["tfMuonIndex"], selection.finders)
    flow.count(describe_finders(selection.finders), l1=_n(keep))
    if selection.max_abs_eta is not None and "bmtf" in selection.finders:
        central = np.abs(ETA.to_physical(l1["hwEta"])) <= selection.max_abs_eta
        keep &= central | ~of_finders(l1["tfMuonIndex"], BARREL)
        of_barrel = " of barrel muons" if _at_vertex(selection) else ""
        flow.count(f"|L1 eta at station 2|{of_barrel} <= {selection.max_abs_eta:g}", l1=_n(keep))
    return l1.select(keep, drop_empty=False)


def _select_offline(offline: OrbitBatch, selection: MuonSelection, flow: CutFlow) -> OrbitBatch:
    keep = offline["recoId"].astype(np.bool_)
    flow.count("identified (recoId)", offline=_n(keep))
    for name in RECO_COLUMNS:
        keep &= np.isfinite(offline[name])
    keep &= (offline["recoPt"] > 0) & (np.abs(offline["recoCharge"]) == 1)
    flow.count("finite offline values", offline=_n(keep))
    offline = _propagated(offline.select(keep, drop_empty=False))
    if _at_vertex(selection):
        return offline
    keep = np.isfinite(offline["recoEtaSt2"]) & np.isfinite(offline["recoPhiSt2"])
    flow.count("reaches station 2", offline=_n(keep))
    return offline.select(keep, drop_empty=False)


def _propagated(offline: OrbitBatch) -> OrbitBatch:
    """Give station-2 coordinates to offline muons of a file that holds none (nano), by our own detector."""
    if {"recoEtaSt2", "recoPhiSt2"} <= set(offline.columns):
        return offline
    eta, phi = to_second_station(*(offline[n].astype(np.float64) for n in RECO_COLUMNS))
    return offline.with_columns(recoEtaSt2=eta, recoPhiSt2=phi)
