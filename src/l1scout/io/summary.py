"""What events hold, gathered chunk by chunk: counts, ranges and values that cannot be."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch, muon_counts
from l1scout.core.orbit_data import MUON, OrbitData, final_only
from l1scout.core.provenance import joint_origin
from l1scout.formats.streams.muon import FIELDS, PHI_BINS, TRACK_FINDERS
from l1scout.io.columns import UNKNOWN_ORBIT, charge_valid
from l1scout.io.quality import ReadQuality
from l1scout.io.runs import era
from l1scout.io.stream_counts import StreamCounts
from l1scout.lhc import BX_PER_ORBIT

_NO_SCALE = ("hwPtUnconstrained",)
"""0.5 GeV a step in 2018, 1 GeV in 2024."""
_LAST_INDEX = max(r.stop for r in TRACK_FINDERS.values()) - 1
_VALID = {
    "hwPhi": (0, PHI_BINS - 1),
    "hwPhiAtVtx": (0, PHI_BINS - 1),
    "hwPt": (0, FIELDS["hwPt"].high),
    "hwEta": (FIELDS["hwEta"].low, FIELDS["hwEta"].high),
    "hwEtaAtVtx": (FIELDS["hwEtaAtVtx"].low, FIELDS["hwEtaAtVtx"].high),
    "hwCharge": (0, 1),
    "hwQual": (0, 15),
    "hwIso": (0, 3),
    "tfMuonIndex": (0, _LAST_INDEX),
}


def _is_scaled(row: dict[str, Any]) -> bool:
    return row["of"] == "L1 muon" and row["name"] not in _NO_SCALE


class Ranges:
    """Type, lowest and highest value of columns, and how many values are NaN."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], dict[str, Any]] = {}

    def add(self, objects: str, columns: Iterable[tuple[str, NDArray[Any]]]) -> None:
        """Take in columns of some objects."""
        for name, values in columns:
            seen = self._seen.setdefault(
                (objects, name),
                {"of": objects, "name": name, "type": str(values.dtype), "low": None, "high": None, "nan": 0},
            )
            if values.dtype.kind == "f":
                missing = np.isnan(values)
                seen["nan"] += int(missing.sum())
                values = values[~missing]
            if values.size:
                low, high = values.min().item(), values.max().item()
                seen["low"] = low if seen["low"] is None else min(seen["low"], low)
                seen["high"] = high if seen["high"] is None else max(seen["high"], high)

    def rows(self) -> list[dict[str, Any]]:
        """One row a column; hardware columns with their range in physics units too."""
        out = []
        for seen in self._seen.values():
            row = dict(seen)
            f = FIELDS.get(row["name"]) if _is_scaled(row) else None
            if f is not None and f.scale is not None and not f.period and row["low"] is not None:
                low, high = f.to_physical([row["low"], row["high"]]).tolist()
                row["physics"] = f"{low:.4g}..{high:.4g} {f.unit}".strip()
            out.append(row)
        return out


def summarize(chunks: Iterable[OrbitData], quality: ReadQuality | None = None) -> dict[str, Any]:
    """Gather what data hold; `quality` looks at them for repetition.

    Returns
    -------
    dict
        ``rows``, ``runs``, ``era``, ``data`` (real, simulated, or not stated), ``lumisections``,
        ``orbits``, ``bx``, ``orbits_covered``, ``streams`` (objects of each), ``final_muons``,
        ``intermediate_muons`` (None if the file does not tell them apart), ``offline_muons``,
        ``occupancies`` (see `StreamCounts.rows`), ``by_track_finder``, ``hwPt_0``,
        ``charge_not_valid`` (muons whose charge was not measured, if that is known), ``invalid_codes`` and
        ``columns``; what the file does not tell is None. All but ``intermediate_muons`` is of final muons.
    """
    rows, muons, ranges, occupancy = _Rows(), _Muons(), Ranges(), StreamCounts()
    streams: dict[str, int] = {}
    offline_muons: int | None = None
    origins: set[bool | None] = set()
    for every in chunks:
        if quality is not None:
            quality.add(every.main)
        muons.count_intermediate(every)
        data = final_only(every)
        rows.add(data.main)
        occupancy.add(data)
        origins |= data.origins
        for name, batch in data.streams.items():
            streams[name] = streams.get(name, 0) + batch.n_objects
            ranges.add("L1 muon" if name == MUON else name, batch.columns.items())
        if MUON in data.streams:
            muons.add(data.muons)
        if data.offline is not None:
            offline_muons = (offline_muons or 0) + data.offline.n_objects
            ranges.add("offline muon", data.offline.columns.items())
    simulated = joint_origin(origins)
    return {
        "rows": rows.number,
        "data": {True: "simulated", False: "real", None: None}[simulated],
        "era": None if simulated else era(rows.runs),
        **rows.as_dict(),
        "streams": streams,
        "final_muons": muons.final,
        "intermediate_muons": muons.intermediate,
        "offline_muons": offline_muons,
        **muons.as_dict(),
        "occupancies": occupancy.rows(),
        "columns": ranges.rows(),
    }


class _Rows:
    """Runs, lumisections, orbits and BX of rows."""

    def __init__(self) -> None:
        self.number = 0
        self.runs: set[int] = set()
        self._covered: int | None = 0
        self._lumisections: set[tuple[int, int]] = set()
        self._orbits: list[int] = []
        self._bx = np.zeros(BX_PER_ORBIT + 1, np.int64)

    def add(self, batch: OrbitBatch) -> None:
        self.number += len(batch)
        covered = self._covered
        self._covered = None if covered is None or batch.n_orbits is None else covered + batch.n_orbits
        self.runs |= set(np.unique(batch.run).tolist()) - {0}
        pairs = np.unique(np.stack([batch.run, batch.lumisection]), axis=1)
        self._lumisections |= set(zip(*pairs.tolist(), strict=True)) if len(batch) else set()
        known = batch.orbit != UNKNOWN_ORBIT
        if known.any():
            self._orbits += [int(batch.orbit[known].min()), int(batch.orbit[known].max())]
            self._bx += np.bincount(batch.bx[known], minlength=self._bx.size)

    def as_dict(self) -> dict[str, Any]:
        seen = np.flatnonzero(self._bx)
        return {
            "runs": sorted(self.runs) or None,
            "lumisections": len({pair for pair in self._lumisections if pair[1]}) or None,
            "orbits": [min(self._orbits), max(self._orbits)] if self._orbits else None,
            "orbits_covered": self._covered if self.number else None,
            "bx": [int(seen[0]), int(seen[-1])] if seen.size else None,
        }


class _Muons:
    """Numbers and values of L1 muons."""

    def __init__(self) -> None:
        self.final = 0
        self.intermediate: int | None = None
        self._hw_pt_0: int | None = None
        self._no_charge: int | None = None
        self._finders: NDArray[np.int64] | None = None
        self._invalid: dict[str, int] = {}

    def count_intermediate(self, data: OrbitData) -> None:
        _, intermediate = muon_counts(data.muons) if MUON in data.streams else (0, None)
        if intermediate is not None:
            self.intermediate = (self.intermediate or 0) + intermediate

    def add(self, l1: OrbitBatch) -> None:
        self.final += l1.n_objects
        for name, values in l1.columns.items():
            low, high = _VALID.get(name, (-(1 << 15), (1 << 15) - 1))
            wrong = int(np.count_nonzero((values < low) | (values > high)))
            if wrong:
                self._invalid[name] = self._invalid.get(name, 0) + wrong
        if "hwPt" in l1.columns:
            self._hw_pt_0 = (self._hw_pt_0 or 0) + int(np.count_nonzero(l1["hwPt"] == 0))
        if "hwChargeValid" in l1.columns:
            self._no_charge = (self._no_charge or 0) + int(np.count_nonzero(~charge_valid(l1.columns)))
        if "tfMuonIndex" in l1.columns:
            counts = np.bincount(l1["tfMuonIndex"].clip(0), minlength=1 << 15)
            self._finders = counts if self._finders is None else self._finders + counts

    def as_dict(self) -> dict[str, Any]:
        by_finder = None
        if self._finders is not None:
            by_finder = {name: int(self._finders[list(r)].sum()) for name, r in TRACK_FINDERS.items()}
            by_finder["other"] = self.final - sum(by_finder.values())
        return {
            "by_track_finder": by_finder,
            "hwPt_0": self._hw_pt_0,
            "charge_not_valid": self._no_charge,
            "invalid_codes": self._invalid,
        }
