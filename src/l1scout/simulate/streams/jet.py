"""Jets: clusters of hadrons, and those of photons and electrons from the energy of the softest jet on."""

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.simulate.calo_words import calo_objects
from l1scout.simulate.clusters import HADRONIC, HADRONIC_GEV
from l1scout.simulate.collisions import SimulatedOrbits
from l1scout.simulate.stream_simulation import SIMULATIONS, StreamSimulation


class SimulatedJets(StreamSimulation):
    """Up to twelve jets in a crossing, the hardest first."""

    name = "jet"

    def simulate(self, orbits: SimulatedOrbits) -> OrbitBatch:
        """Return jets."""
        clusters = orbits.clusters
        chosen = clusters.select((clusters.kind == HADRONIC) | (clusters.et > HADRONIC_GEV))
        return calo_objects(orbits, self.name, chosen)


SIMULATIONS.register("jet")(SimulatedJets())
