"""Random objects of every stream: over the full ranges of the fields, or as the detector can give them."""

import numpy as np

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.formats.stream import STREAMS
from l1scout.lhc import lumisection

RUN = 390000


def crossings(rng, rows, first_orbit=262_000, orbits=300):
    """Return orbit and BX of rows in order of time, on both sides of the end of lumisection 1."""
    time = np.sort(rng.choice(orbits * 3564, rows, replace=False))
    return first_orbit + time // 3564, time % 3564 + 1


def objects(name, rng, rows=50, *, sensible=True, first_orbit=262_000, orbits=300):
    """Return a batch of a stream with an object or more in each row.

    `sensible` keeps to values that physics branches can hold: codes of angles that occur.
    """
    stream, (orbit, bx) = STREAMS[name], crossings(rng, rows, first_orbit, orbits)
    counts = np.ones(rows, np.int64) if name == "etsum" else rng.integers(1, 5, rows)
    n = int(counts.sum())
    columns = {}
    for column, empty in stream.empty().columns.items():
        info, field = np.iinfo(empty.dtype), stream.fields.get(column)
        low, high = (field.low, field.high) if field else (info.min if info.min == 0 else 0, info.max)
        if column in ("hwPt", "hwEt") or (name == "etsum" and column == "hwTotalEt"):
            low = 1
        if field is not None and field.period and sensible:
            high = min(high, field.period - 1)
        columns[column] = rng.integers(low, high, n, endpoint=True).astype(empty.dtype)
    _repair(name, columns, rng, n)
    return OrbitBatch(
        orbit.astype(np.int64),
        bx.astype(np.int64),
        np.r_[0, np.cumsum(counts)],
        columns,
        run=np.full(rows, RUN, np.int64),
        lumisection=lumisection(orbit),
        n_orbits=orbits,
        simulated=True,
        first_orbit=first_orbit,
    )


def _repair(name, columns, rng, n):
    """Give values to columns that are no fields, and to those that must agree."""
    if name == "muon":
        columns["intermediate"][:] = 0
        columns["second"][:] = rng.integers(0, 2, n)
        columns["hwChargeValid"][:] = 1
    elif name == "tower":
        rings = np.delete(np.arange(1, 42), 28)
        columns["hwEta"][:] = rng.choice(np.r_[-rings, rings], n)
        columns["hwPhi"][:] = rng.integers(1, 73, n)
    elif name == "puppi":  # a field that only the other kind of candidate has is 0
        charged = columns["hwId"] >= 2
        for column in ("hwZ0", "hwDxy", "hwQuality"):
            columns[column][~charged] = 0
        for column in ("hwPuppiWeight", "hwEmId"):
            columns[column][charged] = 0
    elif name == "tkmuon":
        columns["valid"][:] = 1
    elif name == "stub":
        columns["sector"][:], columns["station"][:] = rng.integers(0, 12, n), rng.integers(1, 5, n)
        columns["tag"][:] = rng.integers(0, 2, n)
    elif name == "etsum":
        columns["centrality"][:] = rng.integers(0, 256, n)
        for missing in ("hwMissEt", "hwMissHt", "hwMissEtHF", "hwMissHtHF"):
            columns[missing + "Phi"][columns[missing] == 0] = 0
    elif name == "gt":
        columns["orbitUgt"] %= 1 << 48
