"""Pre- and post-firing: muons seen one BX early or late, by track finder and eta.

*Edges*: before the first bunch of a train and after its last there are no collisions: what is seen there is
early or late, after the level of the four BX further out, extrapolated, is taken away. It is divided by the
muons that are in time in that bunch, from which early and late ones of its neighbours were taken.
*Doubles*: a muon that is seen in time and one BX off makes a pair of adjacent BX beyond chance
(`correlation`); this sees all bunches, but not muons that only moved. The pair is sought in
the upper and in the lower half of the detector apart: the legs of cosmic muons are no such pairs.
"""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.analysis.common.correlation import Correlation
from l1scout.analysis.common.live_time import LiveTime
from l1scout.analysis.common.muons import FINDERS, OfOrigin, final, finder, need, times
from l1scout.analysis.common.schemes import Scheme
from l1scout.analysis.common.seen_orbits import seen_orbits
from l1scout.core.orbit_batch import OrbitBatch
from l1scout.errors import InputError
from l1scout.formats.streams.muon import ETA_LSB, PHI_BINS
from l1scout.lhc import BX_PER_ORBIT
from l1scout.statistics import Measured, bounded

ETA_EDGES_HW = (-230, -192, -152, -115, -77, -38, 0, 38, 77, 115, 152, 192, 231)
"""Bins of hwEta: about 0.4 wide, with edges where one track finder takes over from another."""
SIDE, FAR = (2, 3), (4, 5)
"""BX from the bunch: a straight line through the means of both is the background of the BX beside it."""
STRETCH = 0.75
"""From the middle of `SIDE` to the BX beside the bunch, in distances between `SIDE` and `FAR`."""
FEWEST = 50
"""Muons in the first or last bunches of trains: with less, nothing is said."""
HALVES = 2
"""Of phi: 0 to 180 degrees, and the rest."""
_ROUNDS = 30


@dataclass(frozen=True)
class Fired:
    """Share of the muons seen in a wrong BX.

    Parameters
    ----------
    share : Measured
        Of all muons of those bunches: early, in time and late. A difference of counts, so by chance below 0.
    syst : float
        Of the background: an exponential through both pairs of BX instead of a line.
    seen : int
        Muons in the BX beside.
    background : float
        Expected there without firing.
    """

    share: Measured
    syst: float
    seen: int
    background: float

    @property
    def significance(self) -> float:
        """Standard deviations from 0."""
        return self.share.value / float(np.hypot(self.share.error, self.syst))


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
        self.first, self.last = _edges(self.scheme, -1), _edges(self.scheme, 1)
        if not self.first.size or not self.last.size:
            msg = f"filling scheme {self.scheme.name}: no train with five empty BX beside it"
            raise InputError(msg)

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
        n = counts[1:].astype(np.float64)
        if min(n[self.first - 1].sum(), n[self.last - 1].sum()) < FEWEST:
            unknown = Fired(Measured(float("nan")), float("nan"), 0, float("nan"))
            return unknown, unknown
        in_time, early, late = n, 0.0, 0.0
        for _ in range(_ROUNDS):
            in_time = n - early * np.roll(in_time, -1) - late * np.roll(in_time, 1)
            e, t = (
                _beside(n, bx, side)[0] / max(in_time[bx - 1].sum(), 1.0)
                for bx, side in ((self.first, -1), (self.last, 1))
            )
            if abs(e - early) + abs(t - late) < 1e-9:
                break
            early, late = e, t
        total = 1 + early + late
        fired = []
        for bx, side, ratio in ((self.first, -1, early), (self.last, 1, late)):
            muons = max(in_time[bx - 1].sum(), 1.0)
            _, variance, seen, background, other = _beside(n, bx, side)
            error = np.sqrt(variance / muons**2 + ratio**2 / muons) / total
            fired.append(
                Fired(Measured(ratio / total, float(error)), other / muons / total, seen, background)
            )
        return fired[0], fired[1]

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
            row: dict[str, Any] = {"muons": int(counts.sum())}
            if not row["muons"]:
                continue
            for what, fired in zip(("early", "late"), self.edges(counts), strict=True):
                row |= _share(what, fired.share, fired.syst)
                row |= {f"{what}_sigma": fired.significance}
            if double:
                row |= _share("doubled", double)
            rows.append({"muons_of": name} | row)
        return {
            "orbits": self.live.orbits,
            "live_s": self.live.seconds,
            "first_bunches": int(self.first.size),
            "last_bunches": int(self.last.size),
            "shares": rows,
            "beyond_chance": [
                {"finder": name, "distance_bx": d + 1, "pairs": float(x), "error": float(e)}
                for k, name in enumerate(FINDERS)
                for d, (x, e) in enumerate(zip(*self.beyond_chance(k), strict=True))
            ],
        }


def _share(name: str, share: Measured, syst: float | None = None) -> dict[str, float]:
    """Return a share, which is never below 0, with its interval and the parts of its uncertainty."""
    found = bounded(share.value, float(np.hypot(share.error, syst or 0.0)))
    row = {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
    return row | {f"{name}_stat": share.error} | ({} if syst is None else {f"{name}_syst": syst})


def _edges(scheme: Scheme, side: int) -> NDArray[np.int64]:
    """Bunches at the end of a train with as many empty BX beside them as are looked at."""
    bx = scheme.first if side < 0 else scheme.last
    mask = scheme.mask[1:]
    free = np.ones(bx.size, np.bool_)
    for k in range(1, max(FAR) + 1):
        free &= ~mask[(bx - 1 + side * k) % mask.size]
    return bx[free]


def _beside(
    n: NDArray[np.float64], bx: NDArray[np.int64], side: int
) -> tuple[float, float, int, float, float]:
    """Excess beside bunches, its variance, all muons there, background, and how far that may be wrong."""

    def at(distance: int) -> float:
        return float(n[(bx - 1 + side * distance) % n.size].sum())

    near, far = (sum(at(k) for k in ks) / len(ks) for ks in (SIDE, FAR))
    background = near + STRETCH * (near - far)
    curved = near * (near / far) ** STRETCH if far else near
    variance = max(at(1), 1.0) + ((1 + STRETCH) ** 2 * near + STRETCH**2 * far) / len(SIDE)
    return at(1) - background, variance, int(at(1)), background, abs(curved - background)


def _fill(counts: NDArray[np.int64], kind: NDArray[np.int64], bx: NDArray[np.int64]) -> None:
    good = (kind >= 0) & (kind < counts.shape[0])
    at = kind[good] * counts.shape[1] + bx[good]
    counts += np.bincount(at, minlength=counts.size).reshape(counts.shape)
