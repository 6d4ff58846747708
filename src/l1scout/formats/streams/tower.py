"""Towers of the calorimeter trigger (layer 1), Run 3: source id 32.

A record is the number of towers (the whole word), BX, orbit, and a word per tower, in no particular order.
The column ``hwPhi`` is the word's phi + 1, as CMSSW has it: 1..72. Eta is not linear: ``hwEta`` is the ring
of towers, -41..41 without 0 and 29 (`eta_centres`); from ring 30 on, in the forward calorimeter, towers are
wider in phi, too, and use some of the 72 values. Every word is a tower, those with hwEt 0 too.

After CMSSW's unpacker (EventFilter/L1ScoutingRawToDigi) and its scouting conversions. CMS recorded towers in
2 of 9 orbits in 2026.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.formats.layout import Field, Layout
from l1scout.formats.nano_table import NanoTable, Quantity
from l1scout.formats.object_records import ObjectTable, RecordForm, write_records
from l1scout.formats.object_stream import ObjectStream
from l1scout.formats.stream import STREAMS

SOURCE = 32
PHI_BINS = 72
MAX_RING, NO_RING = 41, 29
MAX_TOWERS = 2 * (MAX_RING - 1) * PHI_BINS
"""In a crossing; more are damage."""
TOWER = Layout(
    "Calorimeter tower, Run 3",
    32,
    (
        Field("hwEt", 0, 9, scale=0.5, unit="GeV", note="511 = saturated"),
        Field("erBits", 9, 3, note="ratio of the energies in the two calorimeters"),
        Field("miscBits", 12, 4, note="12 zero flag, 13 flag of the ratio, 14 HCAL feature, 15 ECAL feature"),
        Field("hwPhi", 16, 8, period=PHI_BINS, note="the column is this + 1: phi = (2 hwPhi - 1) pi / 72"),
        Field("hwEta", 24, 8, signed=True, note="ring, -41..41 without 0 and +-29"),
    ),
    "After CMSSW's unpacker.",
)
RECORD = np.dtype([*((name, "<u4") for name in ("count", "bx", "orbit")), ("towers", "<u4", (1,))])
_FORM = RecordForm(MAX_TOWERS, count_mask=0xFFFFFFFF)
_CENTRAL = 0.0435 + 0.087 * np.arange(20)
_ENDCAP = (1.785, 1.880, 1.9865, 2.1075, 2.247, 2.411, 2.575, 2.825)
_FORWARD = (2.996, 3.2265, 3.4015, 3.5765, 3.7515, 3.926, 4.102, 4.277, 4.4505, 4.627, 4.8025, 5.04)
_ETA = np.r_[np.nan, _CENTRAL, _ENDCAP, np.nan, _FORWARD]
"""Centres of rings 0 to 41, as CMSSW's scouting conversions have them."""


def eta_centres(ring: NDArray[Any]) -> NDArray[np.float64]:
    """Return the eta of the middle of rings of towers (``hwEta``); NaN where there is no such ring."""
    ring = np.asarray(ring, np.int64)
    known = np.abs(ring) <= MAX_RING
    return np.where(known, np.sign(ring) * _ETA[np.where(known, np.abs(ring), 0)], np.nan)


def phi_centres(hw_phi: NDArray[Any]) -> NDArray[np.float64]:
    """Return the phi (rad) of the middle of towers (column ``hwPhi``, 1..72)."""
    phi = (2 * np.asarray(hw_phi, np.float64) - 1) * math.pi / PHI_BINS
    return np.where(phi >= math.pi, phi - 2 * math.pi, phi)


def _ring(eta: NDArray[Any]) -> NDArray[np.int64]:
    """Return the ring whose middle is next to an eta; 0 for NaN."""
    rings = np.delete(np.arange(1, MAX_RING + 1), NO_RING - 1)
    edges = (_ETA[rings][1:] + _ETA[rings][:-1]) / 2
    return np.where(np.isnan(eta), 0, np.sign(eta) * rings[np.searchsorted(edges, np.abs(eta))]).astype(
        np.int64
    )


def _phi_bin(phi: NDArray[Any]) -> NDArray[np.int64]:
    """Return the column ``hwPhi`` of towers from the phi (rad) of their middle."""
    return np.rint((np.asarray(phi, np.float64) * PHI_BINS / math.pi - 1) / 2).astype(np.int64) % PHI_BINS + 1


class TowerStream(ObjectStream):
    """Towers of the calorimeter trigger."""

    name = "tower"
    title = "towers of the calorimeter trigger"
    source_ids = (SOURCE,)
    layouts = {"Run 3": (TOWER,)}  # noqa: RUF012
    absent = ""
    forms = {SOURCE: _FORM}  # noqa: RUF012
    table = ObjectTable((TOWER,), added={"hwPhi": 1})
    nano = NanoTable(
        "L1CaloTower",
        {
            "pt": Quantity.of(TOWER["hwEt"]),
            "eta": Quantity("hwEta", eta_centres, _ring),
            "phi": Quantity("hwPhi", phi_centres, _phi_bin),
        },
        ("erBits", "miscBits"),
        mantissa=10,
    )
    records = {"Record of a crossing's towers: as many as count says": RECORD}  # noqa: RUF012

    def encode(
        self, objects: OrbitBatch, source: int | None = None
    ) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """Write the towers of crossings."""
        del source
        columns = {f.name: objects[f.name] for f in TOWER.fields}
        return write_records(objects, _FORM, {0: TOWER.encode(columns | {"hwPhi": columns["hwPhi"] - 1})})

    def physics(self, columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return pt and mass (GeV; mass is 0), eta and phi (rad) of the towers' centres."""
        found: dict[str, NDArray[Any]] = {}
        if "hwEt" in columns:
            found["pt"] = TOWER["hwEt"].to_physical(columns["hwEt"])
            found["mass"] = np.zeros(found["pt"].size)
        if "hwEta" in columns:
            found["eta"] = eta_centres(columns["hwEta"])
        if "hwPhi" in columns:
            found["phi"] = phi_centres(columns["hwPhi"])
        return {name: values.astype(np.float32) for name, values in found.items()}


TOWERS: TowerStream = STREAMS.register("tower")(TowerStream())
