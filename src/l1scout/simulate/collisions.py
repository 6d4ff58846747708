"""Simulated orbits: when bunches collide, with how much pile-up, and which muons come of it.

All streams are made of the same collisions, so that their objects belong together: a crossing's pile-up, its
muons and what balances them are the same for all. Each part has random numbers of its own: the objects of a
stream do not depend on which others are wanted.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout import lhc
from l1scout.core.orbit_batch import OrbitBatch
from l1scout.formats.block import BlockLayout
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.simulate.activity import ACTIVITIES, Activity
from l1scout.simulate.barrel_muons import BarrelMuons
from l1scout.simulate.clusters import Clusters, TowerHits, draw_clusters, draw_towers
from l1scout.simulate.run import TRUTH, Running, simulate_run
from l1scout.simulate.slow_particles import SlowParticles, draw_slow
from l1scout.simulate.stubs import Stubs

_PILE_UP, CLUSTERS, SOFT, STUBS, OBJECTS, SLOW = range(6)


@dataclass(frozen=True)
class SimulatedOrbits:
    """Some consecutive orbits.

    Parameters
    ----------
    first, stop : int
    seed : int
        With the first orbit it fixes all but the muons.
    running : Running
    activity : Activity
    muons : OrbitBatch
        As `run.simulate_run` gives them, with the columns of `run.TRUTH` and ``particle``.
    particles : tuple
        As `BarrelMuons.take` gives them.
    """

    first: int
    stop: int
    seed: int
    running: Running
    activity: Activity
    muons: OrbitBatch
    particles: tuple[Stubs, NDArray[np.bool_]]

    def random(self, part: int) -> np.random.Generator:
        """Return the random numbers of one part of the simulation."""
        return np.random.default_rng([self.seed, self.first, part])

    @cached_property
    def final_muons(self) -> OrbitBatch:
        """Muons without the intermediate copies."""
        return self.muons.select(self.muons["intermediate"] == 0)

    @cached_property
    def muon_crossing(self) -> NDArray[np.int64]:
        """Crossing of each final muon as it is seen, counted from 0 at the first orbit."""
        muons = self.final_muons
        return lhc.crossing(muons.orbit[muons.row] - self.first, muons.bx[muons.row])

    @cached_property
    def collisions(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Crossings with interactions, counted from 0 at the first orbit and rising, and their number.

        A crossing has the interaction of each of its muons, and a Poisson number of others.
        """
        mean = self.running.luminosity() / max(self.running.nominal, 1e-12) * self.activity.pile_up
        step = self.running.step(np.arange(self.first, self.stop))
        n = self.random(_PILE_UP).poisson(mean[np.newaxis] * step[:, np.newaxis]).reshape(-1)
        np.add.at(n, self.parents[0], 1)
        crossing = np.flatnonzero(n)
        return crossing, n[crossing]

    @cached_property
    def parents(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Crossing to which each muon of a collision belongs, and its place among the final muons."""
        shift = self.final_muons["bx_shift"].astype(np.int64)
        crossing = self.muon_crossing - shift
        inside = (crossing >= 0) & (crossing < (self.stop - self.first) * lhc.BX_PER_ORBIT)
        place = np.flatnonzero(inside & (self.final_muons["origin"] == 0))
        return crossing[place], place

    @cached_property
    def clusters(self) -> Clusters:
        """What the calorimeters find, in order of time and then of energy."""
        crossing, place = self.parents
        columns = {name: column[place] for name, column in self.final_muons.columns.items()}
        return draw_clusters(self.random(CLUSTERS), self.collisions, self.activity, crossing, columns)

    @cached_property
    def slow_particles(self) -> SlowParticles:
        """Slow heavy particles that are planted, none by default: the truth."""
        mean = self.activity.slow * (self.stop - self.first)
        return draw_slow(self.random(SLOW), self.collisions[0], mean, self.activity.slow_beta)

    @cached_property
    def tower_hits(self) -> TowerHits:
        """Energies in the calorimeters' towers: those of clusters and soft ones."""
        return draw_towers(self.random(SOFT), self.collisions, self.activity, self.clusters)

    def batch(self, crossing: NDArray[np.int64], columns: Mapping[str, NDArray[Any]]) -> OrbitBatch:
        """Make a batch of objects in order of time; those outside these orbits are left out."""
        inside = (crossing >= 0) & (crossing < (self.stop - self.first) * lhc.BX_PER_ORBIT)
        if not inside.all():
            crossing, columns = crossing[inside], {n: c[inside] for n, c in columns.items()}
        orbit, bx = lhc.orbit_and_bx(crossing)
        return self.complete(OrbitBatch.from_objects(orbit + self.first, bx, columns))

    def complete(self, batch: OrbitBatch) -> OrbitBatch:
        """State what a batch stands for: these orbits, and that it is simulated."""
        return replace(
            batch,
            lumisection=lhc.lumisection(batch.orbit),
            n_orbits=self.stop - self.first,
            first_orbit=self.first,
            simulated=True,
        )


def without_truth(muons: OrbitBatch) -> OrbitBatch:
    """Return muons without the columns that no link carries."""
    return replace(muons, columns={n: c for n, c in muons.columns.items() if n not in (*TRUTH, "particle")})


def running_like(activity: Activity) -> Running:
    """Return the conditions of muons that belong to an activity."""
    return Running(scheme=activity.scheme, occupancy=activity.occupancy)


def simulate_orbits(
    seed: int,
    orbits: int,
    *,
    activity: Activity | None = None,
    running: Running | None = None,
    form: BlockLayout = RUN3,
    first: int = 0,
    chunk: int = 4,
) -> Iterator[SimulatedOrbits]:
    """Simulate orbits `first` to `first + orbits`, some at a time.

    Parameters
    ----------
    seed : int
        Same seed and chunk, same objects, bit for bit.
    orbits, first, chunk : int
    activity : Activity, optional
        That of 2018 if not given.
    running : Running, optional
        Conditions of the muons; those that belong to the activity if not given.
    form : BlockLayout
        Run 2 or Run 3: which fields muons have.
    """
    activity = activity or ACTIVITIES["2018"]
    running = running or running_like(activity)
    draw = BarrelMuons()
    pieces = simulate_run(
        seed, orbits, running=running, form=form, first=first, chunk=chunk, origin=True, draw=draw
    )
    for piece in pieces:
        yield SimulatedOrbits(piece.first, piece.stop, seed, running, activity, piece.muons, draw.take())
