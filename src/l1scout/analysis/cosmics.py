"""Cosmic muons in crossings without collisions: an upper leg, and a lower one a BX or two later.

The trigger takes both legs for muons from the centre, so they are back to back. Pairs in the wrong order,
lower leg first, are all chance, and as many chance pairs are among the others.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.analysis.filling import Scheme
from l1scout.analysis.kernels import neighbours
from l1scout.analysis.livetime import LiveTime
from l1scout.analysis.muons import OfOrigin, final, need, times
from l1scout.formats.muon import BMTF_INDEX, ETA, ETA_VTX, PHI, PHI_VTX
from l1scout.lhc import BX_FREQUENCY_HZ, BX_PER_ORBIT, ORBIT_FREQUENCY_HZ
from l1scout.orbits import OrbitBatch
from l1scout.training.metrics import Measured, wrap

REACH = 2
"""BX within which the lower leg follows."""
GUARD = (3, 8)
"""BX that must be free of collisions after and before an upper leg: early muons, afterglow."""
PHI_BINS = 12
COSINE_BINS = 20
_KEPT = ("time", "phi", "eta", "origin")


@dataclass(frozen=True)
class Cuts:
    """What makes two muons the legs of one: rad, units of eta, hardware units.

    Parameters
    ----------
    dphi, eta_sum : float
        Largest distance of the difference in phi from pi, and of the sum of eta from 0.
    min_hw_pt, min_quality : int
        Smallest hwPt and hwQual of each leg.
    """

    dphi: float = 0.25
    eta_sum: float = 0.25
    min_hw_pt: int = 1
    min_quality: int = 0


@dataclass
class Cosmics(OfOrigin):
    """State: add batches in order of time, then ask for results. Pairs across batches are found.

    Parameters
    ----------
    scheme : Scheme
        `load_scheme("none")` for runs without beam.
    live : LiveTime
    cuts : Cuts
    """

    scheme: Scheme
    live: LiveTime = field(default_factory=LiveTime)
    cuts: Cuts = field(default_factory=Cuts)

    def __post_init__(self) -> None:
        self.quiet = np.zeros(BX_PER_ORBIT + 1, np.bool_)
        self.quiet[self.scheme.empty(*GUARD)] = True
        self.apart = np.zeros((2, REACH + 1), np.int64)
        self.cosine = np.zeros((2, COSINE_BINS), np.int64)
        self.pair_phi = np.zeros((2, PHI_BINS), np.int64)
        self.tags = np.zeros((2, 2, PHI_BINS), np.int64)
        self.chance = np.zeros((2, PHI_BINS), np.int64)
        self.true = 0
        self._forget()

    def _forget(self) -> None:
        self._held: dict[str, NDArray[Any]] = {
            n: np.zeros(0, np.int64 if n in ("time", "origin") else np.float64) for n in _KEPT
        }
        self._done, self._run = 0, -1

    def add(self, batch: OrbitBatch, prescale: float = 1.0) -> None:
        """Take in a batch (InputError if muons lack columns, or the orbits are not counted)."""
        self.live.add(batch, prescale)
        self.origins.add(batch.simulated)
        need(batch, "tfMuonIndex")
        muons = final(batch, self.cuts.min_hw_pt, self.cuts.min_quality)
        barrel = (muons["tfMuonIndex"] >= BMTF_INDEX.start) & (muons["tfMuonIndex"] < BMTF_INDEX.stop)
        muons = muons.select(barrel)
        if not muons.n_objects:
            return
        eta, phi = (ETA, PHI) if {"hwEta", "hwPhi"} <= set(muons.columns) else (ETA_VTX, PHI_VTX)
        need(muons, eta.name, phi.name)
        time = times(muons)
        if int(muons.run[0]) != self._run or (self._held["time"].size and time[0] < self._held["time"][-1]):
            self._forget()
            self._run = int(muons.run[0])
        new: dict[str, NDArray[Any]] = {
            "time": time,
            "phi": phi.to_physical(muons[phi.name]),
            "eta": eta.to_physical(muons[eta.name]),
        }
        new["origin"] = muons.columns.get("origin", np.full(time.size, -1)).astype(np.int64)
        self._held = {n: np.concatenate([self._held[n], new[n]]) for n in _KEPT}
        self._count()

    def _count(self) -> None:
        """Count objects whose crossings on both sides are there; keep the last few for the next batch."""
        held = self._held
        time, phi, eta = held["time"], held["phi"], held["eta"]
        stop = int(np.searchsorted(time, time[-1] - REACH))
        fresh = np.zeros(time.size, np.bool_)
        fresh[self._done : stop] = True
        above = phi > 0
        first, second = neighbours(time, 1, REACH)
        good = (
            self.quiet[time[first] % BX_PER_ORBIT + 1]
            & (np.abs(np.abs(wrap(phi[first] - phi[second])) - np.pi) < self.cuts.dphi)
            & (np.abs(eta[first] + eta[second]) < self.cuts.eta_sum)
            & (above[first] != above[second])
        )
        first, second = first[good], second[good]
        self._count_pairs(first[fresh[first]], second[fresh[first]])
        quiet = self.quiet[time % BX_PER_ORBIT + 1]
        quiet_before = (
            self.quiet[(time - REACH) % BX_PER_ORBIT + 1] & self.quiet[(time - 1) % BX_PER_ORBIT + 1]
        )
        bins = _phi_bin(phi)
        for leg, tag, partner in ((0, quiet & above, first), (1, quiet_before & ~above, second)):
            right = above[first] if leg == 0 else ~above[second]
            matched = np.zeros(time.size, np.bool_)
            matched[partner[right]] = True
            for passes in (0, 1):
                chosen = tag & fresh & (matched == bool(passes))
                self.tags[leg, passes] += np.bincount(bins[chosen], minlength=PHI_BINS)
            by_chance = np.zeros(time.size, np.bool_)
            by_chance[(second if leg == 0 else first)[above[second] if leg == 0 else ~above[first]]] = True
            self.chance[leg] += np.bincount(bins[tag & fresh & by_chance], minlength=PHI_BINS)
        keep = int(np.searchsorted(time, time[-1] - 2 * REACH))
        self._done = stop - keep
        self._held = {n: c[keep:] for n, c in held.items()}

    def _count_pairs(self, first: NDArray[np.int64], second: NDArray[np.int64]) -> None:
        held = self._held
        order = (held["phi"][first] < 0).astype(np.int64)  # 1: lower leg first, which is chance
        upper = np.where(order == 0, first, second)
        apart = held["time"][second] - held["time"][first]
        np.add.at(self.apart, (order, apart), 1)
        cosine = np.sin(held["phi"][upper]) / np.cosh(held["eta"][upper])
        np.add.at(
            self.cosine, (order, np.minimum((cosine * COSINE_BINS).astype(np.int64), COSINE_BINS - 1)), 1
        )
        np.add.at(self.pair_phi, (order, _phi_bin(held["phi"][upper])), 1)
        origin = held["origin"]
        self.true += int(np.count_nonzero((order == 0) & (origin[first] == 1) & (origin[second] == 2)))

    @property
    def pairs(self) -> tuple[int, int]:
        """Pairs in the right order, and in the wrong one."""
        return int(self.apart[0].sum()), int(self.apart[1].sum())

    @property
    def rate(self) -> Measured:
        """Cosmic muons a second with both legs seen (Hz), in the crossings that were searched."""
        right, wrong = self.pairs
        share = self.quiet[1:].mean()
        per_pair = ORBIT_FREQUENCY_HZ / (self.live.weight * share)
        return Measured((right - wrong) * per_pair, float(np.sqrt(max(right + wrong, 1))) * per_pair)

    @property
    def purity(self) -> Measured:
        """Share of the pairs that are not chance."""
        right, wrong = self.pairs
        if not right:
            return Measured(float("nan"))
        ratio = wrong / right
        return Measured(1 - ratio, float(np.sqrt(max(wrong, 1) * (1 + ratio))) / right)

    @property
    def delay(self) -> Measured:
        """Mean BX from the upper to the lower leg."""
        n = (self.apart[0] - self.apart[1]).astype(np.float64)
        total, distance = n.sum(), np.arange(REACH + 1)
        if total <= 0:
            return Measured(float("nan"))
        mean = (n * distance).sum() / total
        variance = (self.apart.sum(axis=0) * (distance - mean) ** 2).sum()
        return Measured(float(mean), float(np.sqrt(variance) / total))

    def efficiency(self, leg: str = "lower") -> Measured:
        """Tag and probe: how often the other leg is seen (``upper`` or ``lower`` says which is probed).

        Tags that are no cosmic muons are flat in phi; cosmic ones have the phi of those with a
        partner: a fit of both to the tags without a partner tells them apart.
        """
        which = 0 if leg == "lower" else 1
        alone, passed = (self.tags[which, k].astype(np.float64) for k in (0, 1))
        chance = self.chance[which].astype(np.float64)
        seen = passed - chance
        if seen.sum() <= 0:
            return Measured(float("nan"))
        design = np.stack([seen / seen.sum(), np.full(PHI_BINS, 1 / PHI_BINS)])
        expected = np.maximum(alone, 1.0)
        inverse = np.eye(2)
        missed = np.zeros(2)
        for _ in range(20):  # Poisson likelihood, by reweighted least squares
            inverse = np.linalg.pinv((design / expected) @ design.T)
            missed = inverse @ ((design / expected) @ alone)
            expected = np.maximum(missed @ design, 0.1)
        lost = missed[0]
        total = seen.sum() + lost
        if total <= 0:
            return Measured(float("nan"))
        value = seen.sum() / total
        variance = (value / total) ** 2 * inverse[0, 0] + (lost / total**2) ** 2 * (
            passed.sum() + chance.sum()
        )
        return Measured(float(value), float(np.sqrt(variance)))

    def result(self) -> dict[str, Any]:
        """Gather what is printed and written."""
        right, wrong = self.pairs
        delay = self.delay
        per_bx = 1e9 / BX_FREQUENCY_HZ
        edges = np.linspace(0, 1, COSINE_BINS + 1)
        found = {
            "orbits": self.live.orbits,
            "live_s": self.live.seconds,
            "searched_bx": int(self.quiet[1:].sum()),
            "pairs": right,
            "pairs_in_wrong_order": wrong,
            "rate_hz": vars(self.rate),
            "purity": vars(self.purity),
            "delay_bx": vars(delay),
            "delay_ns": {"value": delay.value * per_bx, "error": delay.error * per_bx},
            "efficiency_lower": vars(self.efficiency("lower")),
            "efficiency_upper": vars(self.efficiency("upper")),
            "cos_zenith": [
                {"low": edges[k], "high": edges[k + 1]}
                | {"pairs": int(a - b), "error": float(np.sqrt(max(a + b, 1)))}
                for k, (a, b) in enumerate(self.cosine.T.tolist())
            ],
            "phi": [
                {"low_deg": 180 / PHI_BINS * k, "pairs": int(a - b), "error": float(np.sqrt(max(a + b, 1)))}
                for k, (a, b) in enumerate(self.pair_phi.T.tolist())
            ],
        }
        return found | ({"purity_of_truth": self.true / right} if self.true and right else {})


def _phi_bin(phi: NDArray[np.float64]) -> NDArray[np.int64]:
    """Bin of phi in the half of the detector in which it is."""
    return np.clip(np.mod(phi, np.pi) / np.pi * PHI_BINS, 0, PHI_BINS - 1).astype(np.int64)
