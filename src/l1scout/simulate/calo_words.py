"""Hardware values of the objects that the calorimeter trigger makes of clusters."""

import zlib

import numpy as np

from l1scout.core.orbit_batch import OrbitBatch, occurrence
from l1scout.formats.calo_objects import MAX_OBJECTS, CaloObjectStream
from l1scout.formats.stream import STREAMS
from l1scout.simulate.clusters import Clusters
from l1scout.simulate.collisions import OBJECTS, SimulatedOrbits

_CODES = {"hwIso": (0.3, 0.05, 0.6, 0.05), "hwQual": (0.9, 0.05, 0.03, 0.02), "hwDisplaced": (0.98, 0.02)}
"""Shares of the values of fields that are codes: made up."""


def calo_objects(orbits: SimulatedOrbits, name: str, clusters: Clusters, share: float = 1.0) -> OrbitBatch:
    """Make the objects of a stream of clusters: the twelve hardest of a crossing.

    Parameters
    ----------
    orbits : SimulatedOrbits
    name : str
        Of the stream.
    clusters : Clusters
    share : float
        Part of the clusters' energy that the objects have.
    """
    stream = STREAMS[name]
    assert isinstance(stream, CaloObjectStream)
    clusters = clusters.select(occurrence(clusters.crossing) < MAX_OBJECTS)
    random = np.random.default_rng([orbits.seed, orbits.first, OBJECTS, zlib.crc32(name.encode())])
    n = clusters.et.size
    columns = {}
    values = {"hwPt": share * clusters.et, "hwEta": clusters.eta, "hwPhi": clusters.phi}
    for field in stream.word.fields:
        if field.name in values:
            hardware = field.to_hardware(values[field.name])
        else:
            shares = _CODES[field.name]
            hardware = random.choice(len(shares), n, p=shares)
        columns[field.name] = hardware.astype(np.int16)
    return orbits.batch(clusters.crossing, columns)
