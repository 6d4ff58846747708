"""Pre- and post-firing: muons seen one BX early or late, by track finder and eta.

*Edges*: beside the ends of trains, see `bunch_edges`.
*Doubles*: a muon that is seen in time and one BX off makes a pair of adjacent BX beyond chance
(`correlation`); this sees all bunches, but not muons that only moved. The pair is sought in
the upper and in the lower half of the detector apart: the legs of cosmic muons are no such pairs.
"""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.analysis.common.bunch_edges import BunchEdges, Fired
from l1scout.analysis.common.correlation import Correlation
from l1scout.analysis.common.live_time import LiveTime
from l1scout.analysis.common.muons import FINDERS, OfOrigin, final, finder, need, times
from l1scout.analysis.common.schemes import Scheme
from l1scout.analysis.common.seen_orbits import seen_orbits
from l1scout.core.orbit_batch import OrbitBatch
from l1scout.formats.streams.muon import ETA_LSB, PHI_BINS
from l1scout.lhc import BX_PER_ORBIT
from l1scout.statistics import Measured, bounded

ETA_EDGES_HW = (-230, -192, -152, -115, -77, -38, 0, 38, 77, 115, 152, 192, 231)
"""Bins of hwEta: about 0.4 wide, with edges where one track finder takes over from another."""
HALVES = 2
"""Of phi: 0 to 180 degrees, and the rest."""


@dataclass
class Firing(OfOrigin):
    """State: add batches, then ask for results.

    Parameters
    ----------
    scheme : Scheme
    live : LiveTime
    min_hw_pt, min_quality, reach : int
        `reach` is the largest distance in BX of the correlation.
    """

    scheme: Scheme
    live: LiveTime = field(default_factory=LiveTime)
    min_hw_pt: int = 1
    min_quality: int = 0
    reach: int = 5

    def __post_init__(self) -> None:
        self.by_finder = np.zeros((len(FINDERS), BX_PER_ORBIT + 1), np.int64)
        self.by_eta = np.zeros((len(ETA_EDGES_HW) - 1, BX_PER_ORBIT + 1), np.int64)
        self.doubles = [[Correlation(self.reach) for _ in range(HALVES)] for _ in FINDERS]
        self.bunches = BunchEdges(self.scheme)

    def add(self, batch: OrbitBatch, prescale: float = 1.0) -> None:
        """Take in a batch (InputError if muons lack columns, or the orbits are not counted)."""
        self.live.add(batch, prescale)
        self.origins |= batch.origins
        muons = final(batch, self.min_hw_pt, self.min_quality)
        name = "hwEta" if "hwEta" in muons.columns else "hwEtaAtVtx"
        need(muons, name)
        bx, which = muons.bx[muons.row], finder(muons)
        _fill(self.by_finder, which, bx)
        _fill(self.by_eta, np.searchsorted(ETA_EDGES_HW, muons[name], side="right") - 1, bx)
        time = times(muons)
        need(muons, "hwPhi" if "hwPhi" in muons.columns else "hwPhiAtVtx")
        phi = muons["hwPhi"] if "hwPhi" in muons.columns else muons["hwPhiAtVtx"]
        half = phi.astype(np.int64) * HALVES // PHI_BINS
        covered, left = seen_orbits(batch)
        run = muons.run[muons.row]
        for c in covered:
            of_run = run == c.run
            for k, parts in enumerate(self.doubles):
                for h, correlation in enumerate(parts):
                    own = time[of_run & (which == k) & (half == h)]
                    correlation.add(own, own, c, left)
            left = 0

    def merge(self, other: "Firing") -> None:
        """Add data that follow these."""
        self.live.merge(other.live)
        self.origins |= other.origins
        self.by_finder += other.by_finder
        self.by_eta += other.by_eta
        for mine, theirs in zip(self.doubles, other.doubles, strict=True):
            for one, two in zip(mine, theirs, strict=True):
                one.merge(two)

    def edges(self, counts: NDArray[np.int64]) -> tuple[Fired, Fired]:
        """Measure early and late muons in counts by BX, shape (3565,); NaN if there are too few."""
        return self.bunches.measure(counts)

    def doubled(self, k: int) -> Measured:
        """Share of the muons of a track finder that are seen in the next BX, too."""
        excess, error = self.beyond_chance(k)
        muons = sum(c.objects for c in self.doubles[k]) - excess[0]
        if muons <= 0:
            return Measured(float("nan"))
        return Measured(float(excess[0] / muons), float(error[0] / muons))

    def beyond_chance(self, k: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Pairs of muons of a track finder, in one half in phi, 1..reach BX apart: excess, uncertainty."""
        later = slice(self.reach + 1, None)
        excess = sum((c.excess[later] for c in self.doubles[k]), np.zeros(self.reach))
        return excess, np.sqrt(sum((c.error[later] ** 2 for c in self.doubles[k]), np.zeros(self.reach)))

    def result(self) -> dict[str, Any]:
        """Gather what is printed and written."""
        rows = []
        parts: list[tuple[str, NDArray[np.int64], Measured | None]] = [
            (name, self.by_finder[k], self.doubled(k)) for k, name in enumerate(FINDERS)
        ]
        parts.append(("all", self.by_finder.sum(axis=0), None))
        for (low, high), counts in zip(pairwise(ETA_EDGES_HW), self.by_eta, strict=True):
            parts.append((f"eta {low * ETA_LSB:+.2f} to {high * ETA_LSB:+.2f}", counts, None))
        for name, counts, double in parts:
            row: dict[str, Any] = {"objects": int(counts.sum())}
            if not row["objects"]:
                continue
            for what, fired in zip(("early", "late"), self.edges(counts), strict=True):
                row |= shares_of(what, fired.share, fired.syst)
                row |= {f"{what}_sigma": fired.significance}
            if double:
                row |= shares_of("doubled", double)
            rows.append({"objects_of": name} | row)
        return {
            "orbits": self.live.orbits,
            "live_s": self.live.seconds,
            "first_bunches": int(self.bunches.first.size),
            "last_bunches": int(self.bunches.last.size),
            "shares": rows,
            "beyond_chance": [
                {"finder": name, "distance_bx": d + 1, "pairs": float(x), "error": float(e)}
                for k, name in enumerate(FINDERS)
                for d, (x, e) in enumerate(zip(*self.beyond_chance(k), strict=True))
            ],
        }


def shares_of(name: str, share: Measured, syst: float | None = None) -> dict[str, float]:
    """Return a share, which is never below 0, with its interval and the parts of its uncertainty."""
    found = bounded(share.value, float(np.hypot(share.error, syst or 0.0)))
    row = {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
    return row | {f"{name}_stat": share.error} | ({} if syst is None else {f"{name}_syst": syst})


def _fill(counts: NDArray[np.int64], kind: NDArray[np.int64], bx: NDArray[np.int64]) -> None:
    good = (kind >= 0) & (kind < counts.shape[0])
    at = kind[good] * counts.shape[1] + bx[good]
    counts += np.bincount(at, minlength=counts.size).reshape(counts.shape)
