"""Files with objects and the trigger's decisions about them, made with a menu on all crossings of orbits."""

import struct

import numpy as np
from crc32c import crc32c

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import OrbitData
from l1scout.formats.raw import FILE_HEADER, file_header
from l1scout.formats.stream import STREAMS, encode_source
from l1scout.formats.streams.gt import ALGORITHM_COLUMNS
from l1scout.lhc import orbit_and_bx
from l1scout.trigger.emulator import emulate
from l1scout.trigger.orbit_inputs import inputs_of_orbits
from stream_rows import RUN, objects

SOURCES = {"muon": 1, "jet": 2, "egamma": 2, "tau": 2, "etsum": 2, "gt": 4}


def random_objects(seed=1, first=100, orbits=6, rows=1500, streams=("muon", "jet")):
    """Muons and jets in some crossings, in the range of the menus' thresholds."""
    rng, made = np.random.default_rng(seed), {}
    for name in streams:
        batch = objects(name, rng, rows, first_orbit=first, orbits=orbits)
        n = batch.n_objects
        wanted = {"hwPt": rng.integers(1, 90 if name == "muon" else 300, n)}
        if name == "muon":
            valid = rng.integers(0, 2, n)
            wanted |= {"hwEtaAtVtx": rng.integers(-225, 226, n), "hwChargeValid": valid}
            wanted["hwCharge"] = batch["hwCharge"] * valid  # files have no sign where it is not valid
        made[name] = batch.with_columns(**{c: v.astype(batch[c].dtype) for c, v in wanted.items()})
    return OrbitData(made)


def decide(menu, data, first, orbits, boards=1, late=0):
    """The trigger's records of all crossings: algorithms are on some boards."""
    decisions = emulate(menu, inputs_of_orbits(data, first, orbits))
    made = np.zeros((orbits * 3564, boards, 512), np.bool_)
    for algorithm in menu.algorithms:
        if algorithm.name in decisions.bits:
            made[:, algorithm.index % boards, algorithm.index] = decisions.bits[algorithm.name]
    time = np.flatnonzero(made.any(axis=(1, 2)))
    words = np.packbits(made[time], axis=2, bitorder="little").view(np.uint32).reshape(-1, 16)
    columns = {name: words[:, k].copy() for k, name in enumerate(ALGORITHM_COLUMNS)}
    for name, empty in STREAMS["gt"].empty().columns.items():
        columns.setdefault(name, np.full(len(words), 7, empty.dtype))
    orbit, bx = orbit_and_bx(time + late + 3564 * first)
    offsets = boards * np.arange(len(time) + 1)
    return OrbitBatch(orbit, bx, offsets, columns, np.full(len(time), RUN), n_orbits=orbits, simulated=True)


def write_raw(path, data, orbits):
    """A .raw file with a frame of each source for each of some orbits, in order."""
    body = b""
    for orbit in orbits:
        of_orbit = {n: b.take(np.flatnonzero(b.orbit == orbit)) for n, b in data.streams.items()}
        for source in sorted({SOURCES[name] for name in of_orbit}):
            words = encode_source(of_orbit, source)[0]
            payload = struct.pack("<I", source) + words.tobytes()
            lumisection = orbit // 2**18 + 1
            body += struct.pack("<HHIIIII", 6, 0, RUN, lumisection, orbit, len(payload), crc32c(payload))
            body += payload
    path.write_bytes(file_header(RUN, 1, len(orbits), FILE_HEADER.itemsize + len(body)) + body)
    return path
