"""Stubs of the barrel track finder: of the muons of the run, of particles that made no muon, and single ones.

A muon's stubs are those that its word in the muon stream was made of, in the crossing in which the muon is
seen. Particles that left stubs, but no muon, are those that the simulation had to draw for the muons that it
found; they lie in crossings with interactions. Slow particles, if any are planted, leave theirs in several
crossings. Cosmic muons and noise of a processor have no stubs here.
Codes of quality are 6 (both superlayers) and 3 (one); ``hwEta`` has the bit of the bin of theta, and so has
``hwQEta`` if both superlayers saw it.
"""

import math

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.formats.streams.stub import SECTORS
from l1scout.lhc import BX_PER_ORBIT
from l1scout.simulate.barrel_muons import NO_PARTICLE
from l1scout.simulate.collisions import STUBS, SimulatedOrbits
from l1scout.simulate.run import BEAM
from l1scout.simulate.slow_particles import NO_STUB
from l1scout.simulate.stream_simulation import SIMULATIONS, StreamSimulation
from l1scout.simulate.stubs import CORRELATED, STUB_PHI_LSB

QUALITY_BOTH, QUALITY_ONE = 6, 3
_COLUMNS = ("valid", "hwPhi", "hwPhiB", "hwQual", "hwEta", "hwQEta", "station", "wheel", "sector")
_SECTOR_COUNTS = 2 * math.pi / SECTORS / STUB_PHI_LSB


class SimulatedStubs(StreamSimulation):
    """Stubs by crossing, then by sector."""

    name = "stub"

    def simulate(self, orbits: SimulatedOrbits) -> OrbitBatch:
        """Return stubs."""
        random = orbits.random(STUBS)
        crossing, particle = _particles(orbits, random)
        parts = [_of_particles(orbits, crossing, particle), _single(orbits, random), _slow(orbits)]
        time = np.concatenate([part[0] for part in parts])
        every = zip(_COLUMNS, *(part[1] for part in parts), strict=True)
        columns = {name: np.concatenate(values).astype(np.int16) for name, *values in every}
        span = (orbits.stop - orbits.first) * BX_PER_ORBIT
        order = np.lexsort((columns["sector"], time))
        order = order[(time[order] >= 0) & (time[order] < span)]
        columns = {name: column[order] for name, column in columns.items()}
        chamber = (time[order] * 16 + columns["sector"]) * 32 + columns["station"] * 8 + columns["wheel"]
        columns["tag"] = np.zeros(order.size, np.int16)
        columns["tag"][np.unique(chamber, return_index=True)[1]] = 1
        return orbits.batch(time[order], columns)


def _particles(
    orbits: SimulatedOrbits, random: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the crossing of each particle with stubs, and which it is."""
    muons = orbits.final_muons
    seen = (muons["particle"] != NO_PARTICLE) & (muons["origin"] == BEAM)
    lost = np.flatnonzero(~orbits.particles[1])
    filled, interactions = orbits.collisions
    if not filled.size:
        lost = lost[:0]
    share = np.cumsum(interactions)
    at = np.searchsorted(share, random.random(lost.size) * share[-1], "right") if lost.size else lost
    return np.r_[orbits.muon_crossing[seen], filled[at]], np.r_[muons["particle"][seen], lost]


def _of_particles(
    orbits: SimulatedOrbits, crossing: NDArray[np.int64], particle: NDArray[np.int64]
) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    stubs = orbits.particles[0]
    row, station = np.nonzero(stubs.quality[particle] > 0)
    own = particle[row]
    phi, theta = stubs.phi[own, station], stubs.theta[own, station]
    sector = np.rint(phi / _SECTOR_COUNTS).astype(np.int64)
    local = phi - np.rint(sector * _SECTOR_COUNTS).astype(np.int64)
    both = stubs.quality[own, station] == CORRELATED
    eta = np.where(theta >= 0, 1 << np.maximum(theta, 0), 0)
    quality = np.where(both, QUALITY_BOTH, QUALITY_ONE)
    values = [np.ones_like(phi), local, stubs.bend[own, station], quality, eta, np.where(both, eta, 0)]
    return crossing[row], [*values, station + 1, stubs.wheel[own, station], sector % SECTORS]


def _single(
    orbits: SimulatedOrbits, random: np.random.Generator
) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    """Draw stubs without a muon: of one superlayer, anywhere, in crossings with interactions."""
    filled, interactions = orbits.collisions
    time = np.repeat(filled, random.poisson(orbits.activity.single_stubs * interactions))
    n, half = time.size, int(_SECTOR_COUNTS / 2)
    zero = np.zeros(n, np.int64)
    values = [zero + 1, random.integers(-half, half + 1, n), random.integers(-512, 512, n)]
    values += [zero + QUALITY_ONE, zero, zero, random.integers(1, 5, n), random.integers(-2, 3, n)]
    return time, [*values, random.integers(0, SECTORS, n)]


def _slow(orbits: SimulatedOrbits) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    """Return the stubs of the slow particles that are planted: of both superlayers, pointing outwards."""
    made = orbits.slow_particles
    row, station = np.nonzero(made.late != NO_STUB)
    sector = np.rint(made.phi[row] / (2 * math.pi / SECTORS)).astype(np.int64)
    local = np.rint((made.phi[row] - sector * 2 * math.pi / SECTORS) / STUB_PHI_LSB).astype(np.int64)
    zero = np.zeros(row.size, np.int64)
    values = [zero + 1, local, zero, zero + QUALITY_BOTH, zero, zero, station + 1]
    late = made.late[row, station]
    return made.crossing[row] + late, [*values, made.wheel[row, station], sector % SECTORS]


SIMULATIONS.register("stub")(SimulatedStubs())
