"""Muons of the Global Muon Trigger: those of the run, in the barrel with all of the detector's simulation.

Elsewhere muons are drawn as words of the trigger (`simulate.run`). Intermediate copies are among them.
"""

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import MUON
from l1scout.simulate.collisions import SimulatedOrbits, without_truth
from l1scout.simulate.stream_simulation import SIMULATIONS, StreamSimulation


class SimulatedMuons(StreamSimulation):
    """Final and intermediate muons."""

    name = MUON

    def simulate(self, orbits: SimulatedOrbits) -> OrbitBatch:
        """Return muons without the columns of the truth."""
        return without_truth(orbits.complete(orbits.muons))


SIMULATIONS.register(MUON)(SimulatedMuons())
