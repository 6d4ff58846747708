"""Taus: the trigger looks for them in the clusters of which it makes jets and e/gamma objects, too."""

import numpy as np

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.simulate.calo_words import calo_objects
from l1scout.simulate.collisions import SimulatedOrbits
from l1scout.simulate.stream_simulation import SIMULATIONS, StreamSimulation

MAX_ETA = 2.1
SHARE = 0.9
"""Of the cluster's energy."""


class SimulatedTaus(StreamSimulation):
    """Up to twelve taus in a crossing, the hardest first."""

    name = "tau"

    def simulate(self, orbits: SimulatedOrbits) -> OrbitBatch:
        """Return taus."""
        clusters = orbits.clusters
        return calo_objects(orbits, self.name, clusters.select(np.abs(clusters.eta) < MAX_ETA), SHARE)


SIMULATIONS.register("tau")(SimulatedTaus())
