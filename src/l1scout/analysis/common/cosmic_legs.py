"""Cosmic muons in crossings without collisions: an upper leg, and a lower one a BX or two later.

The trigger takes both legs for muons from the centre, so they are back to back. Pairs in the wrong order,
lower leg first, are all chance, and as many chance pairs are among the others.

The efficiency of a leg is measured in bins of phi. Where the barrel sees nothing (dead processors) is found
in the muons of all crossings, and the efficiency is given with and without these regions.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.analysis.common.kernels import neighbours
from l1scout.analysis.common.leg_counts import COSINE_BINS, PHI_BINS, REACH, Held, LegCounts, nothing_held
from l1scout.analysis.common.live_time import LiveTime
from l1scout.analysis.common.muons import OfOrigin, final, need, times
from l1scout.analysis.common.schemes import Scheme
from l1scout.core.orbit_batch import OrbitBatch
from l1scout.formats.streams.muon import BMTF_INDEX, ETA, ETA_VTX, PHI, PHI_VTX
from l1scout.lhc import BX_FREQUENCY_HZ, BX_PER_ORBIT, ORBIT_FREQUENCY_HZ
from l1scout.statistics import Interval, Measured, efficiency, signal_fraction, wrap

GUARD = (3, 8)
"""BX that must be free of collisions after and before an upper leg: early muons, afterglow."""
LEGS = ("lower", "upper")
DEAD = 0.25
"""A region is dead if it counts less than this part of those that see as many muons by symmetry."""
ALPHA = 1e-3
"""Probability that any live region is called dead."""
CONTROL_BINS = 2
"""Bins nearest to the horizon on each side: cosmic muons are rare there, so their tags are background."""
_APART = 10 * REACH
"""Crossings between muons that have nothing to do with each other, at least."""


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

    Muons are counted when all others within `REACH` crossings are known; those at the beginning and at the
    end are held for a merge, and counted in what is asked for as if nothing came before or after.

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
        self.barrel_phi = np.zeros(2 * PHI_BINS, np.int64)
        self._complete = LegCounts()
        self._held = nothing_held()
        self._first: tuple[int, int] | None = None  # run, and crossing of the first muon
        self._run, self._shift = -1, 0  # of the last muons; what was added to their crossing
        self._counts: LegCounts | None = None

    def add(self, batch: OrbitBatch, prescale: float = 1.0) -> None:
        """Take in a batch (InputError if muons lack columns, or the orbits are not counted)."""
        self.live.add(batch, prescale)
        self.origins |= batch.origins
        need(batch, "tfMuonIndex")
        muons = final(batch, self.cuts.min_hw_pt, self.cuts.min_quality)
        barrel = (muons["tfMuonIndex"] >= BMTF_INDEX.start) & (muons["tfMuonIndex"] < BMTF_INDEX.stop)
        muons = muons.select(barrel)
        if not muons.n_objects:
            return
        eta, phi = (ETA, PHI) if {"hwEta", "hwPhi"} <= set(muons.columns) else (ETA_VTX, PHI_VTX)
        need(muons, eta.name, phi.name)
        angle = phi.to_physical(muons[phi.name])
        around = np.mod(angle, 2 * np.pi) / np.pi * PHI_BINS
        self.barrel_phi += np.bincount(
            np.minimum(around.astype(np.int64), 2 * PHI_BINS - 1), minlength=2 * PHI_BINS
        )
        time = times(muons)
        origin = muons.columns.get("origin", np.full(time.size, -1)).astype(np.int64)
        new = Held(time, angle, eta.to_physical(muons[eta.name]), origin, np.zeros(time.size, np.bool_))
        run = int(muons.run[0])
        self._follow(new, (run, int(time[0])))
        self._run = run
        self._count()

    def merge(self, other: "Cosmics") -> None:
        """Add data that follow these; pairs across the border are found."""
        self.live.merge(other.live)
        self.origins |= other.origins
        self.barrel_phi += other.barrel_phi
        self._complete = self._complete + other._complete
        if other._first is not None:
            self._follow(other._held, other._first)
            self._run, self._shift = other._run, self._shift + other._shift
            self._count()

    def _follow(self, new: Held, first: tuple[int, int]) -> None:
        """Append muons to those held; those of another run, or earlier ones, are moved away from them."""
        if self._first is None:
            self._first, self._shift = first, 0
        else:
            run, time = first
            last = int(self._held.time[-1])
            if run != self._run or time + self._shift < last:
                self._shift = -(-(last + _APART - time) // BX_PER_ORBIT) * BX_PER_ORBIT
        self._held = self._held.followed_by(new, self._shift)

    def _count(self) -> None:
        """Count the muons whose neighbours on both sides are known."""
        assert self._first is not None
        self._counts = None
        time, first = self._held.time, self._first[1]
        ready = ~self._held.done & (time > first + REACH) & (time < time[-1] - REACH)
        self._complete = self._complete + self._counted(ready)
        at_ends = (time <= first + 2 * REACH) | (time >= time[-1] - 2 * REACH)
        self._held = self._held._replace(done=self._held.done | ready).select(at_ends)

    @property
    def counts(self) -> LegCounts:
        """Pairs and tags, those of muons that are held too."""
        if self._counts is None:
            self._counts = self._complete + self._counted(~self._held.done)
        return self._counts

    def _counted(self, ready: NDArray[np.bool_]) -> LegCounts:
        """Count some of the held muons as tags, and the pairs whose first muon they are."""
        counts = LegCounts()
        time, phi, eta, origin, _ = self._held
        above = phi > 0
        first, second = neighbours(time, 1, REACH)
        good = (
            self.quiet[time[first] % BX_PER_ORBIT + 1]
            & (np.abs(np.abs(wrap(phi[first] - phi[second])) - np.pi) < self.cuts.dphi)
            & (np.abs(eta[first] + eta[second]) < self.cuts.eta_sum)
            & (above[first] != above[second])
        )
        first, second = first[good], second[good]
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
                chosen = tag & ready & (matched == bool(passes))
                counts.tags[leg, passes] += np.bincount(bins[chosen], minlength=PHI_BINS)
            by_chance = np.zeros(time.size, np.bool_)
            by_chance[(second if leg == 0 else first)[above[second] if leg == 0 else ~above[first]]] = True
            counts.chance[leg] += np.bincount(bins[tag & ready & by_chance], minlength=PHI_BINS)
        first, second = first[ready[first]], second[ready[first]]
        order = (phi[first] < 0).astype(np.int64)  # 1: lower leg first, which is chance
        upper = np.where(order == 0, first, second)
        np.add.at(counts.apart, (order, time[second] - time[first]), 1)
        cosine = np.sin(phi[upper]) / np.cosh(eta[upper])
        at = np.minimum((cosine * COSINE_BINS).astype(np.int64), COSINE_BINS - 1)
        np.add.at(counts.cosine, (order, at), 1)
        np.add.at(counts.pair_phi, (order, bins[upper]), 1)
        counts.true = int(np.count_nonzero((order == 0) & (origin[first] == 1) & (origin[second] == 2)))
        return counts

    @property
    def pairs(self) -> tuple[int, int]:
        """Pairs in the right order, and in the wrong one."""
        return int(self.counts.apart[0].sum()), int(self.counts.apart[1].sum())

    @property
    def rate(self) -> Measured:
        """Cosmic muons a second with both legs seen (Hz), in the crossings that were searched."""
        right, wrong = self.pairs
        share = self.quiet[1:].mean()
        per_pair = ORBIT_FREQUENCY_HZ / (self.live.weight * share)
        return Measured((right - wrong) * per_pair, float(np.sqrt(max(right + wrong, 1))) * per_pair)

    @property
    def purity(self) -> Interval:
        """Fraction of the pairs that are not chance."""
        return signal_fraction(*self.pairs)

    @property
    def delay(self) -> Measured:
        """Mean BX from the upper to the lower leg."""
        n = (self.counts.apart[0] - self.counts.apart[1]).astype(np.float64)
        total, distance = n.sum(), np.arange(REACH + 1)
        if total <= 0:
            return Measured(float("nan"))
        mean = (n * distance).sum() / total
        variance = (self.counts.apart.sum(axis=0) * (distance - mean) ** 2).sum()
        return Measured(float(mean), float(np.sqrt(variance) / total))

    def dead(self) -> NDArray[np.bool_]:
        """Return in which bins of phi (48 from 0 to 360 degrees) the barrel sees nothing.

        The bins that are reached by turning a bin half round, or by mirroring it left to right, see as many
        muons of collisions, and as many cosmic ones. A bin is dead if its count is less than `DEAD` of the
        second largest of the four; too few muons leave it live.
        """
        from scipy.stats import poisson

        at = np.arange(2 * PHI_BINS)
        mirrored = (PHI_BINS - 1 - at) % at.size
        same = np.stack([at, (at + PHI_BINS) % at.size, mirrored, (mirrored + PHI_BINS) % at.size])
        expected = DEAD * np.sort(self.barrel_phi[same], axis=0)[-2]
        dead = np.zeros(at.size, np.bool_)
        for beside in (0, 1):  # a bin alone, and two neighbours together, which need half the muons
            counted, wanted = (
                n + beside * np.roll(n, -1) for n in (self.barrel_phi.astype(np.float64), expected)
            )
            low = poisson.cdf(counted, wanted) < ALPHA / (2 * at.size)
            dead |= low | (np.roll(low, 1) if beside else False)
        return np.asarray(dead & (self.barrel_phi <= expected))

    def status(self, leg: str = "lower") -> NDArray[np.str_]:
        """Classify each bin in phi of the tags for the efficiency of a leg.

        ``no tags`` if the tag's side is dead, ``dead`` if the probed one is, ``edge`` beside one of these,
        ``control`` for the bins whose tags show the background, and ``live``.
        """
        from scipy.stats import binomtest

        halves = self.dead().reshape(2, PHI_BINS)
        tag, probe = halves if leg == "lower" else halves[::-1]
        either = tag | probe
        wide = np.r_[either[-1], either, either[0]]  # a tag at 0 degrees has its neighbour at 180
        status = np.where(wide[:-2] | wide[2:], "edge   ", "live   ").astype("<U7")
        status[probe], status[tag] = "dead", "no tags"
        status = np.char.strip(status)
        usable = np.flatnonzero(status == "live")
        sides = usable[:CONTROL_BINS], usable[usable.size // 2 :][-CONTROL_BINS:]
        left, right = (int(self.counts.tags[LEGS.index(leg), 0, side].sum()) for side in sides)
        # of two sides that differ, one has cosmic muons whose other leg was lost
        same = left + right == 0 or binomtest(left, left + right).pvalue > 0.01
        for side, count, other in zip(sides, (left, right), (right, left), strict=True):
            if same or count < other:
                status[side] = "control"
        return status

    def efficiency(self, leg: str = "lower", *, dead: bool = False, sigmas: float = 1.0) -> Interval:
        """Return, by tag and probe, the efficiency of a leg.

        Tags that are no cosmic muons are taken as flat in phi; their number is that of the tags without a
        partner near the horizon.

        Parameters
        ----------
        leg : {"lower", "upper"}
            Which leg is probed.
        dead : bool
            Count regions in which the probed leg cannot be seen, and their edges; without: live ones only.
        sigmas : float
            Of the interval.
        """
        status = self.status(leg)
        used = np.isin(status, ("live", "dead", "edge") if dead else ("live",))
        return self._efficiency(leg, status, used, sigmas)

    def _efficiency(
        self, leg: str, status: NDArray[np.str_], used: NDArray[np.bool_], sigmas: float = 1.0
    ) -> Interval:
        which = LEGS.index(leg)
        (failed, passed), chance = self.counts.tags[which], self.counts.chance[which]
        control, live = status == "control", status == "live"
        if not control.any() or not used.any():
            return Interval()
        background = float(failed[control].sum())
        near, all_live = (max(int((passed - chance)[k].sum()), 0) for k in (control, live))
        if all_live:  # some of the tags in the control bins are cosmic muons whose other leg was not seen
            ratio, scale = near / all_live, int(live.sum()) / int(control.sum())
            lost = (int(failed[live].sum()) - scale * background) / max(1 - scale * ratio, 0.5)
            background -= min(ratio * max(lost, 0.0), background)
        return efficiency(
            int(passed[used].sum()),
            int(failed[used].sum()),
            chance=int(chance[used].sum()),
            control=background,
            scale=int(used.sum()) / int(control.sum()),
            sigmas=sigmas,
        )

    def efficiency_rows(self, leg: str) -> list[dict[str, Any]]:
        """Return the efficiency of a leg by phi: tags, those with a partner, and the interval."""
        status, which = self.status(leg), LEGS.index(leg)
        step = 180 / PHI_BINS
        rows = []
        for k, state in enumerate(status.tolist()):
            failed, passed = self.counts.tags[which, :, k].tolist()
            found = Interval()
            if state in ("live", "dead", "edge"):
                found = self._efficiency(leg, status, np.arange(PHI_BINS) == k)
            phi = step * k + (180 if leg == "lower" else 0)
            row = {"leg": leg, "low_deg": phi, "high_deg": phi + step, "status": state}
            row |= {
                "tags": passed + failed,
                "with_partner": passed,
                "by_chance": int(self.counts.chance[which, k]),
            }
            rows.append(row | {"efficiency": found.value, "low": found.low, "high": found.high})
        return rows

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
            "dead_phi_deg": _ranges(self.dead()),
            **{f"efficiency_{leg}": vars(self.efficiency(leg)) for leg in LEGS},
            **{f"efficiency_{leg}_with_dead": vars(self.efficiency(leg, dead=True)) for leg in LEGS},
            "efficiency": [row for leg in LEGS for row in self.efficiency_rows(leg)],
            "cos_zenith": [
                {"low": edges[k], "high": edges[k + 1]}
                | {"pairs": int(a - b), "error": float(np.sqrt(max(a + b, 1)))}
                for k, (a, b) in enumerate(self.counts.cosine.T.tolist())
            ],
            "phi": [
                {"low_deg": 180 / PHI_BINS * k, "pairs": int(a - b), "error": float(np.sqrt(max(a + b, 1)))}
                for k, (a, b) in enumerate(self.counts.pair_phi.T.tolist())
            ],
        }
        return found | ({"purity_of_truth": self.counts.true / right} if self.counts.true and right else {})


def _ranges(bins: NDArray[np.bool_]) -> list[list[float]]:
    """First and last degree of each range of bins of phi (0 to 360 degrees)."""
    ends = np.diff(np.r_[False, bins, False].astype(np.int64))
    step = 360 / bins.size
    return [
        [a * step, b * step]
        for a, b in zip(np.flatnonzero(ends > 0).tolist(), np.flatnonzero(ends < 0).tolist(), strict=True)
    ]


def _phi_bin(phi: NDArray[np.float64]) -> NDArray[np.int64]:
    """Bin of phi in the half of the detector in which it is."""
    return np.clip(np.mod(phi, np.pi) / np.pi * PHI_BINS, 0, PHI_BINS - 1).astype(np.int64)
