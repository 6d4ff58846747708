"""Packets of simulated objects of any source, as a board with that source would send them."""

from collections.abc import Iterator, Sequence

import numpy as np

from l1scout.errors import InputError
from l1scout.formats.packets import Trailer
from l1scout.formats.stream import streams_of_sources
from l1scout.formats.wire_formats.objects import encode_packet, payloads_of
from l1scout.simulate.activity import Activity
from l1scout.simulate.all_streams import simulate_streams
from l1scout.simulate.stream_simulation import SIMULATIONS

SEED = 1
"""Of simulated boards: all of them send objects of the same collisions."""


def simulated_objects(
    sources: Sequence[int], orbits: int, activity: Activity, seed: int = SEED
) -> Iterator[bytes]:
    """Simulate the packets of some sources: for each source one with the same orbits, and then the next.

    Zero suppression: a crossing has a record if it has an object of the source. The calorimeter's DMA (source
    2) has those of all its streams in one record.

    Raises
    ------
    InputError
        If nothing of a source can be simulated.
    """
    names = {s: [t.name for t in streams_of_sources([s]) if t.name in SIMULATIONS] for s in sources}
    for source, of_source in names.items():
        if not of_source:
            msg = f"source {source}: no simulation of its objects"
            raise InputError(msg)
    wanted = sorted({name for of_source in names.values() for name in of_source})
    sent = 0
    for data in simulate_streams(seed, orbits, wanted, activity=activity):
        first, n = data.main.first_orbit or 0, data.main.n_orbits or 0
        sent += n
        for source in sources:
            payloads = payloads_of(data.streams, source, np.arange(first, first + n))
            yield encode_packet(source, payloads, Trailer(0, 0, sent))
