"""Data of several streams, and what comes back of them from a file."""

from dataclasses import replace

import numpy as np

from l1scout.core.orbit_batch import OrbitBatch, concatenate
from l1scout.core.orbit_data import OrbitData, Origin
from l1scout.formats.stream import STREAMS
from l1scout.io import read_events
from stream_rows import objects

RECORDED = [name for name, stream in STREAMS.items() if stream.source_ids]
SUFFIX = {"raw": ".raw", "records": ".dat", "archive": ".parquet", "parquet-dataset": ""}


def every(seed=1, names=RECORDED, **rest):
    """Objects of all streams on both sides of the end of a lumisection; a muon in ten is intermediate."""
    rng = np.random.default_rng(seed)
    streams = {name: objects(name, rng, **rest) for name in names}
    if "muon" in streams:
        columns = streams["muon"].columns
        columns["intermediate"][::10] = 1
        slots = np.concatenate([np.sort(rng.integers(0, 2, n)) for n in streams["muon"].counts])
        columns["second"][:] = slots
    if "stub" in streams:
        streams["stub"] = in_order_of_sectors(streams["stub"])
    return OrbitData(streams, None, Origin("truth", 7, "1.2"))


def in_order_of_sectors(batch):
    """Return stubs as sources give them: by sector, with tags that say which is the first of a chamber."""
    order = np.lexsort([batch["sector"], batch.row])
    columns = {name: values[order] for name, values in batch.columns.items()}
    seen = set()
    for k, row in enumerate(batch.row.tolist()):
        place = row, columns["sector"][k], columns["station"][k], columns["wheel"][k]
        columns["tag"][k] = place not in seen
        seen.add(place)
    return replace(batch, columns=columns)


def path_of(folder, writer):
    return folder / (writer + SUFFIX.get(writer, ".root"))


def read(path, rows=60):
    manifest = path / "_l1scout.json" if path.is_dir() else path
    chunks = list(read_events(manifest, rows=rows, intermediate=True))
    streams = {name: concatenate([c.streams[name] for c in chunks]) for name in chunks[0].streams}
    flags = [c.selections for c in chunks]
    return OrbitData(streams, None, chunks[0].origin, None if None in flags else concatenate(flags))


def same(found: OrbitBatch, expected: OrbitBatch, without=()):
    found = found.take(np.flatnonzero(found.counts), n_orbits=found.n_orbits)
    for name in ("run", "lumisection", "orbit", "bx", "offsets"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
    for name in set(expected.columns) - set(without):
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
    assert found.n_orbits == expected.n_orbits
    assert found.simulated is expected.simulated
