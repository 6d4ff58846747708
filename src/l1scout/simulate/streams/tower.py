"""Towers of the calorimeters: soft ones, whose number grows with pile-up, and those of clusters.

``erBits`` are drawn at random; of ``miscBits`` only the features of the two calorimeters, at random, too.
"""

import numpy as np

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.simulate.collisions import OBJECTS, SimulatedOrbits
from l1scout.simulate.stream_simulation import SIMULATIONS, StreamSimulation

_FEATURES = np.array([0, 4, 8, 12], np.int16)


class SimulatedTowers(StreamSimulation):
    """All towers with energy."""

    name = "tower"

    def simulate(self, orbits: SimulatedOrbits) -> OrbitBatch:
        """Return towers, in order of ring and phi."""
        hits, random = orbits.tower_hits, orbits.random(OBJECTS)
        n = hits.et.size
        columns = {
            "hwEt": hits.et.astype(np.int16),
            "erBits": random.integers(0, 8, n, dtype=np.int16),
            "miscBits": _FEATURES[random.integers(0, 4, n)],
            "hwPhi": hits.phi.astype(np.int16),
            "hwEta": hits.ring.astype(np.int16),
        }
        return orbits.batch(hits.crossing, columns)


SIMULATIONS.register("tower")(SimulatedTowers())
