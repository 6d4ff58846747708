"""The 64-bit muon of the Global Muon Trigger (GMT), as it was in 2017/18 and as it is in Run 3.

Two 32-bit words a muon: f (the low half) and s. Layouts and scales were checked against real
2018 and 2024 data; ``hwPt = 0`` means that there is no muon.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.formats.layout import Field, Layout

PHI_BINS = 576
"""Values of hardware phi in a full turn."""
PHI_LSB = 2 * math.pi / PHI_BINS
"""rad"""
ETA_LSB = 0.0870 / 8
PT_LSB = 0.5
"""GeV"""

BMTF_INDEX = range(36, 72)
"""tfMuonIndex of muons from the barrel track finder."""
TRACK_FINDERS = {
    "EMTF+": range(18),
    "OMTF+": range(18, 36),
    "BMTF": BMTF_INDEX,
    "OMTF-": range(72, 90),
    "EMTF-": range(90, 108),
}

_PHI: dict[str, Any] = {"scale": PHI_LSB, "unit": "rad", "period": PHI_BINS}
_ETA: dict[str, Any] = {"signed": True, "scale": ETA_LSB}
_PT: dict[str, Any] = {
    "scale": PT_LSB,
    "offset": -PT_LSB,
    "unit": "GeV",
    "floor": True,
    "zero_is_absent": True,
}

PT = Field("hwPt", 10, 9, **_PT, note="0 = no muon; 511 = overflow")
PHI_VTX = Field("hwPhiAtVtx", 0, 10, **_PHI)
ETA_VTX = Field("hwEtaAtVtx", 23, 9, **_ETA, note="-256 stays -256 (CMSSW reads +256)")
PHI = Field("hwPhi", 43, 10, **_PHI, note="at the second muon station")
ETA = Field("hwEta", 53, 9, **_ETA, note="at the second muon station")
_COMMON = (
    PHI_VTX,
    PT,
    Field("hwQual", 19, 4, note="4, 8, 12 common in 2018"),
    ETA_VTX,
    Field("hwIso", 32, 2),
    Field("hwCharge", 34, 1, note="1 = negative"),
    Field("hwChargeValid", 35, 1),
    Field("tfMuonIndex", 36, 7, note="EMTF+ 0-17, OMTF+ 18-35, BMTF 36-71, OMTF- 72-89, EMTF- 90-107"),
    PHI,
)

MUON_2018 = Layout(
    "GMT muon, 2017/18",
    64,
    (*_COMMON, ETA, Field("reserved", 62, 2)),
    "Checked on real muons of 2018.",
)
PT_UNCONSTRAINED = Field(
    "hwPtUnconstrained",
    53,
    8,
    **_PT | {"scale": 1.0, "offset": -1.0},
    note="0 = none; 1 GeV per step (uGT scales of 2024, scouting code), 0.5 in the L1 unpacker",
)
MUON_RUN3 = Layout(
    "GMT muon, Run 3",
    64,
    (
        *_COMMON,
        PT_UNCONSTRAINED,
        Field("shower", 61, 1, note="muon shower, sent in this bit of some of the eight muons"),
        Field("hwDXY", 62, 2, note="transverse impact parameter, 4 bins"),
    ),
    "The second-station eta travels in the scouting record's third word.",
)
MUON_RUN3_EXTRA = Layout(
    "Scouting record of a Run-3 muon, third word",
    32,
    (
        Field("second", 0, 1, note="0 = first muon of its link (mu1), 1 = second (mu2)"),
        replace(ETA, name="hwEta1", start=13, note="hwEta, if this is mu1"),
        replace(ETA, name="hwEta2", start=22, note="hwEta, if this is mu2"),
        Field("intermediate", 31, 1),
    ),
)

FIELDS = {f.name: f for f in (*MUON_2018.fields, *MUON_RUN3.fields)}
"""Every column of a muon by name: the place to find its scale."""


def join(f: NDArray[np.uint32], s: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """Make 64-bit muons of their two words."""
    return np.asarray(f, np.uint64) | (np.asarray(s, np.uint64) << np.uint64(32))


def split(muons: NDArray[np.uint64]) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Return the words f and s of 64-bit muons."""
    return muons.astype(np.uint32), (muons >> np.uint64(32)).astype(np.uint32)


def is_intermediate(columns: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
    """Return which muons are intermediate, from their values: where the format does not state it.

    Intermediate muons have tfMuonIndex 0 and hwEtaAtVtx 0. Final muons of index 0 come from the EMTF, far
    from eta 0.
    """
    return np.asarray((columns["tfMuonIndex"] == 0) & (columns["hwEtaAtVtx"] == 0))


def physical(columns: dict[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
    """Physics values of the hardware columns that have any, under the names of the nano files.

    ``hwPt`` gives ``pt`` (GeV), ``hwEtaAtVtx`` gives ``etaAtVtx``, and so on; phi in [-pi, pi).
    """
    names = [n for n in columns if n in FIELDS and FIELDS[n].scale is not None]
    return {n[2].lower() + n[3:]: FIELDS[n].to_physical(columns[n]).astype(np.float32) for n in names}
