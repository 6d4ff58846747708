"""What a recalibrated muon trigger gains: at which pT its rate is equal, and which muons it accepts then."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.evaluate.turn_on import EDGES_GEV, THRESHOLDS_GEV, efficiency
from l1scout.formats.streams.muon import ETA_LSB, PHI_BINS, PHI_LSB, PT_LSB
from l1scout.simulate.kinds import HARD

STEP_GEV, STEPS = 0.01, 26_000
"""Bins of the recalibrated pT; the last one holds what is above."""
MIN_QUALITY = 12
"""Of the muons of single-muon triggers."""
_CODES = 512


def with_recalibrated_codes(muons: OrbitBatch, answer: Any) -> OrbitBatch:
    """Return muons whose hardware values are those of a recalibration, rounded to the trigger's scales.

    Parameters
    ----------
    muons : OrbitBatch
        Final muons.
    answer : Recalibrated
        Of these muons. Those that it leaves as they are keep their values.
    """
    changed = {
        "hwPt": np.clip(np.floor(answer.pt / PT_LSB) + 1, 1, _CODES - 1),
        "hwEtaAtVtx": np.clip(np.rint(answer.eta / ETA_LSB), -256, 255),
        "hwPhiAtVtx": np.rint(answer.phi / PHI_LSB) % PHI_BINS,
    }
    columns = {
        name: np.where(answer.recalibrated, np.nan_to_num(values), muons[name]).astype(muons[name].dtype)
        for name, values in changed.items()
    }
    return muons.with_columns(**columns)


@dataclass
class LeadingMuons:
    """Crossings by the pT of their leading good muon, as it is and recalibrated."""

    raw: NDArray[np.int64] = field(default_factory=lambda: np.zeros(_CODES, np.int64))
    recalibrated: NDArray[np.int64] = field(default_factory=lambda: np.zeros(STEPS, np.int64))

    @classmethod
    def of_sample(cls, columns: Mapping[str, NDArray[Any]], answer: Any) -> "LeadingMuons":
        """Count single muons, each in a crossing of its own; simulated ones without the hard component."""
        n = len(columns["hwPt"])
        wanted = columns["simKind"] != HARD if "simKind" in columns else np.ones(n, np.bool_)
        found = cls()
        muons = {name: columns[name] for name in ("hwPt", "hwQual")}
        found.add(OrbitBatch.from_objects(np.arange(n), np.ones(n, np.int64), muons), answer, wanted)
        return found

    def add(self, muons: OrbitBatch, answer: Any, wanted: NDArray[np.bool_]) -> None:
        """Count final muons and what a recalibration makes of them.

        Parameters
        ----------
        muons : OrbitBatch
        answer : Recalibrated
            Of these muons.
        wanted : ndarray of bool, shape (muons,)
            Those that count, such as those of the track finders that the model knows.
        """
        good = wanted & (muons["hwPt"] > 0) & (muons["hwQual"] >= MIN_QUALITY)
        row = muons.row[good]
        if not row.size:
            return
        starts = np.flatnonzero(np.diff(row, prepend=-1))
        code = np.maximum.reduceat(muons["hwPt"][good].astype(np.int64), starts)
        pt = np.maximum.reduceat(np.nan_to_num(answer.pt[good]).astype(np.float64), starts)
        self.raw += np.bincount(np.minimum(code, _CODES - 1), minlength=_CODES)
        step = np.clip(np.floor(pt / STEP_GEV + 1e-3), 0, STEPS - 1).astype(np.int64)
        self.recalibrated += np.bincount(step, minlength=STEPS)

    def merge(self, other: "LeadingMuons") -> None:
        """Add what follows."""
        self.raw += other.raw
        self.recalibrated += other.recalibrated

    def equal_thresholds(self, thresholds_gev: Sequence[float] = THRESHOLDS_GEV) -> list[dict[str, Any]]:
        """Return the recalibrated pT above which there are no more crossings than above each L1 pT.

        A threshold is a multiple of 0.01 GeV: the smallest at which the rate is not above the other.
        """
        above = self.recalibrated[::-1].cumsum()[::-1]
        found = []
        for threshold in thresholds_gev:
            wanted = int(self.raw[round(threshold / PT_LSB) + 1 :].sum())
            step = int(np.argmax(above <= wanted)) if (above <= wanted).any() else STEPS
            same = int(above[round(threshold / STEP_GEV)])
            low, high = (
                int(np.argmax(above <= wanted + sign * np.sqrt(max(wanted, 1)))) * STEP_GEV
                for sign in (1, -1)
            )
            found.append(
                {
                    "threshold_gev": threshold,
                    "crossings": wanted,
                    "recalibrated_crossings_at_same_threshold": same,
                    "recalibrated_threshold_gev": round(step * STEP_GEV, 2),
                    "recalibrated_threshold_low_gev": round(low, 2),
                    "recalibrated_threshold_high_gev": round(high, 2),
                    "recalibrated_crossings": int(above[step]) if step < STEPS else 0,
                }
            )
        return found


def turn_on_at_equal_rate(
    rows: Sequence[Mapping[str, Any]],
    offline_pt: NDArray[Any],
    l1_pt: NDArray[Any],
    recalibrated_pt: NDArray[Any],
) -> list[dict[str, Any]]:
    """Return turn-on curves of muons at thresholds of equal rate, and the gain above the threshold.

    Parameters
    ----------
    rows : sequence of mapping
        `LeadingMuons.equal_thresholds`.
    offline_pt, l1_pt, recalibrated_pt : ndarray, shape (muons,)
        Of matched muons, in GeV.

    Returns
    -------
    list of dict
        The uncertainty of the gain is that of the muons that only one of both accepts.
    """
    muons = np.histogram(offline_pt, EDGES_GEV)[0]
    found = []
    for row in rows:
        passed = {"raw": l1_pt >= row["threshold_gev"],
                  "recalibrated": recalibrated_pt >= row["recalibrated_threshold_gev"]}  # fmt: skip
        curves = {
            name: efficiency(np.histogram(offline_pt[p], EDGES_GEV)[0], muons).as_dict()
            for name, p in passed.items()
        }
        above = offline_pt >= row["threshold_gev"]
        n = int(above.sum())
        only = [
            int((above & a & ~b).sum()) for a, b in (tuple(passed.values()), tuple(passed.values())[::-1])
        ]
        found.append(
            {
                "threshold_gev": row["threshold_gev"],
                "recalibrated_threshold_gev": row["recalibrated_threshold_gev"],
                "offline_pt_edges_gev": list(EDGES_GEV),
                "muons": muons.tolist(),
                "efficiency": curves,
                "muons_above_threshold": n,
                "efficiency_above_threshold": {
                    k: int((above & p).sum()) / n if n else None for k, p in passed.items()
                },
                "gain_above_threshold": (only[1] - only[0]) / n if n else None,
                "gain_above_threshold_stat": float(np.sqrt(only[0] + only[1])) / n if n else None,
            }
        )
    return found
