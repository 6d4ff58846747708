"""Simulations of streams: what scouting would record of simulated orbits, one module each in `streams`."""

from abc import ABC, abstractmethod
from typing import ClassVar

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.registry import Registry
from l1scout.simulate.collisions import SimulatedOrbits


class StreamSimulation(ABC):
    """Makes the objects of one stream.

    Attributes
    ----------
    name : str
        Name of the stream, and of the module.
    """

    name: ClassVar[str]

    @abstractmethod
    def simulate(self, orbits: SimulatedOrbits) -> OrbitBatch:
        """Return the objects of some orbits, in the columns and order that its records give."""


SIMULATIONS: Registry[StreamSimulation] = Registry(
    "stream simulations", "l1scout.simulate.streams", lambda: StreamSimulation
)
"""By the name of the stream; other packages add theirs as entry points of ``l1scout.stream_simulations``."""
