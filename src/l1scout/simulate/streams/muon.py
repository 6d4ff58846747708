"""Muons of the Global Muon Trigger: those of the run, in the barrel with all of the detector's simulation.

Elsewhere muons are drawn as words of the trigger (`simulate.run`). Intermediate copies are among them.
"""

from dataclasses import replace

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import MUON
from l1scout.simulate.collisions import SimulatedOrbits
from l1scout.simulate.run import TRUTH
from l1scout.simulate.stream_simulation import SIMULATIONS, StreamSimulation


class SimulatedMuons(StreamSimulation):
    """Final and intermediate muons."""

    name = MUON

    def simulate(self, orbits: SimulatedOrbits) -> OrbitBatch:
        """Return muons without the columns of the truth."""
        muons = orbits.complete(orbits.muons)
        columns = {n: c for n, c in muons.columns.items() if n not in (*TRUTH, "particle")}
        return replace(muons, columns=columns)


SIMULATIONS.register(MUON)(SimulatedMuons())
