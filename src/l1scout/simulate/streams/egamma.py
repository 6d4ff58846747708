"""Electrons and photons: clusters of the electromagnetic calorimeter; two in three are isolated."""

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.simulate.calo_words import calo_objects
from l1scout.simulate.clusters import ELECTROMAGNETIC
from l1scout.simulate.collisions import SimulatedOrbits
from l1scout.simulate.stream_simulation import SIMULATIONS, StreamSimulation


class SimulatedElectrons(StreamSimulation):
    """Up to twelve e/gamma objects in a crossing, the hardest first."""

    name = "egamma"

    def simulate(self, orbits: SimulatedOrbits) -> OrbitBatch:
        """Return e/gamma objects."""
        clusters = orbits.clusters
        return calo_objects(orbits, self.name, clusters.select(clusters.kind == ELECTROMAGNETIC))


SIMULATIONS.register("egamma")(SimulatedElectrons())
