"""What events hold, gathered chunk by chunk: counts, ranges and values that cannot be."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import joint_origin, muon_counts
from l1scout.core.orbit_data import OrbitData, final_only
from l1scout.formats.streams.muon import FIELDS, PHI_BINS, TRACK_FINDERS
from l1scout.io.columns import UNKNOWN_ORBIT, charge_valid
from l1scout.io.quality import ReadQuality
from l1scout.io.runs import era
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
    """Gather what events hold; `quality` looks at them for repetition.

    Returns
    -------
    dict
        ``rows``, ``runs``, ``era``, ``data`` (real, simulated, or not stated), ``lumisections``,
        ``orbits``, ``bx``, ``orbits_covered``, ``final_muons``, ``intermediate_muons`` (None if the file does
        not tell them apart), ``offline_muons``, ``by_track_finder``,
        ``hwPt_0``, ``charge_not_valid`` (muons whose charge was not measured, if that is known),
        ``invalid_codes`` and ``columns``; what the file does not tell is None. All but
        ``intermediate_muons`` is of final muons.
    """
    rows = final = 0
    hw_pt_0: int | None = None
    no_charge: int | None = None
    covered: int | None = 0
    offline_muons: int | None = None
    origins: set[bool | None] = set()
    runs: set[int] = set()
    lumisections: set[tuple[int, int]] = set()
    orbits: list[int] = []
    bx = np.zeros(BX_PER_ORBIT + 1, np.int64)
    finders = np.zeros(1 << 15, np.int64)
    invalid: dict[str, int] = {}
    ranges = Ranges()
    has_index = False
    intermediate: int | None = None
    for events in chunks:
        if quality is not None:
            quality.add(events.muons)
        _, early = muon_counts(events.muons)
        if early is not None:
            intermediate = (intermediate or 0) + early
        events = final_only(events)
        l1 = events.muons
        rows, final = rows + len(l1), final + l1.n_objects
        covered = None if covered is None or l1.n_orbits is None else covered + l1.n_orbits
        origins.add(l1.simulated)
        runs |= set(np.unique(l1.run).tolist())
        pairs = np.unique(np.stack([l1.run, l1.lumisection]), axis=1)
        lumisections |= set(zip(*pairs.tolist(), strict=True)) if len(l1) else set()
        known = l1.orbit != UNKNOWN_ORBIT
        if known.any():
            orbits += [int(l1.orbit[known].min()), int(l1.orbit[known].max())]
            bx += np.bincount(l1.bx[known], minlength=bx.size)
        for name, values in l1.columns.items():
            low, high = _VALID.get(name, (-(1 << 15), (1 << 15) - 1))
            wrong = int(np.count_nonzero((values < low) | (values > high)))
            if wrong:
                invalid[name] = invalid.get(name, 0) + wrong
        if "hwPt" in l1.columns:
            hw_pt_0 = (hw_pt_0 or 0) + int(np.count_nonzero(l1["hwPt"] == 0))
        if "hwChargeValid" in l1.columns:
            no_charge = (no_charge or 0) + int(np.count_nonzero(~charge_valid(l1.columns)))
        if "tfMuonIndex" in l1.columns:
            has_index = True
            finders += np.bincount(l1["tfMuonIndex"].clip(0), minlength=finders.size)
        ranges.add("L1 muon", l1.columns.items())
        if events.offline is not None:
            offline_muons = (offline_muons or 0) + events.offline.n_objects
            ranges.add("offline muon", events.offline.columns.items())
    runs.discard(0)
    counts = {name: int(finders[list(r)].sum()) for name, r in TRACK_FINDERS.items()}
    counts["other"] = final - sum(counts.values())
    seen = np.flatnonzero(bx)
    simulated = joint_origin(origins)
    return {
        "rows": rows,
        "data": {True: "simulated", False: "real", None: None}[simulated],
        "era": None if simulated else era(runs),
        "runs": sorted(runs) or None,
        "lumisections": len({pair for pair in lumisections if pair[1]}) or None,
        "orbits": [min(orbits), max(orbits)] if orbits else None,
        "orbits_covered": covered if rows else None,
        "bx": [int(seen[0]), int(seen[-1])] if seen.size else None,
        "final_muons": final,
        "intermediate_muons": intermediate,
        "offline_muons": offline_muons,
        "by_track_finder": counts if has_index else None,
        "hwPt_0": hw_pt_0,
        "charge_not_valid": no_charge,
        "invalid_codes": invalid,
        "columns": ranges.rows(),
    }
