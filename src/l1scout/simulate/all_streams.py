"""All streams of simulated orbits, as scouting would have them without any loss: the truth of a chain."""

from collections.abc import Iterator, Sequence
from typing import Any

from l1scout.core.orbit_data import OrbitData, Origin
from l1scout.simulate.collisions import SimulatedOrbits, simulate_orbits
from l1scout.simulate.stream_simulation import SIMULATIONS

DEFAULT_STREAMS = ("muon", "jet", "egamma", "tau", "etsum", "stub")
"""Those of which everything is recorded; towers are many more words."""


def simulate_streams(
    seed: int, orbits: int, streams: Sequence[str] = DEFAULT_STREAMS, **conditions: Any
) -> Iterator[OrbitData]:
    """Simulate objects of some streams, some orbits at a time.

    Parameters
    ----------
    seed, orbits : int
    streams : sequence of str
        Names of `SIMULATIONS`; objects do not depend on which others are wanted.
    conditions
        As `simulate_orbits` takes them.

    Yields
    ------
    OrbitData
        Of consecutive orbits, marked as simulated.

    Raises
    ------
    InputError
        If there is no simulation of a stream.
    """
    for name in streams:
        SIMULATIONS.find(name)
    for made in simulate_orbits(seed, orbits, **conditions):
        yield of_streams(made, streams)


def of_streams(orbits: SimulatedOrbits, streams: Sequence[str]) -> OrbitData:
    """Return the objects of some streams in simulated orbits."""
    source = f"l1scout simulation, seed {orbits.seed}"
    batches = {name: SIMULATIONS[name].simulate(orbits) for name in streams}
    return OrbitData(batches, None, Origin(source, orbits.seed))
