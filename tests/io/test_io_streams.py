"""Files of every registered stream and wire format are recognised, described and read."""

import struct

import numpy as np
import pytest
from crc32c import crc32c

from front_end import make_run, stored_bytes
from l1scout.core.orbit_batch import OrbitBatch
from l1scout.errors import InputError
from l1scout.formats.raw import FILE_HEADER, file_header
from l1scout.formats.streams.jet import DMA_SOURCE, JET, JETS, TCP_SOURCE
from l1scout.formats.streams.puppi import COLUMNS
from l1scout.formats.wire_formats.native64 import NATIVE64
from l1scout.io import read_events
from l1scout.io.inspect import describe

PUPPI = OrbitBatch(
    np.array([5, 7]),
    np.array([3564, 20]),
    np.array([0, 2, 3]),
    {n: np.array([1, 2, 3] if n in ("hwPt", "hwId") else [0, 0, 0], np.int16) for n in COLUMNS},
)


def test_a_file_of_native64(tmp_path):
    path = tmp_path / "puppi.dump"
    path.write_bytes(NATIVE64.encode(PUPPI, 5, 8))
    parts = list(read_events(path))
    assert [list(p.streams) for p in parts] == [["puppi"]] * 3
    assert sum(p.streams["puppi"].n_orbits for p in parts) == 3
    hw_pt = np.concatenate([p.streams["puppi"]["hwPt"] for p in parts])
    assert hw_pt.tolist() == [1, 2, 3]
    assert {p.simulated for p in parts} == {None}
    found = describe(path)
    assert (found["form"], found["orbits"], found["streams"]) == ("native64", 3, {"puppi": 3})
    assert (found["orbit"], found["bx"]) == ([5, 7], [20, 3564])
    with pytest.raises(InputError, match=r"puppi\.dump: no muons, but puppi"):
        parts[0].muons  # noqa: B018


def frames(batch: OrbitBatch, source: int, run: int) -> bytes:
    words, starts = JETS.encode(batch, source)
    out = b""
    for k, orbit in enumerate(batch.orbit.tolist()):
        payload = struct.pack("<I", source) + words[starts[k] : starts[k + 1]].tobytes()
        out += struct.pack("<HHIIIII", 6, 0, run, 1, orbit, len(payload), crc32c(payload)) + payload
    return out


@pytest.mark.parametrize("source", [DMA_SOURCE, TCP_SOURCE])
def test_jets_and_muons_of_a_raw_file(tmp_path, source):
    truth, captures, _ = make_run(orbits=4)
    muons = stored_bytes(captures)["RAW"][FILE_HEADER.itemsize :]
    columns = {f.name: np.array([5, 6, 7], np.int16) % (f.high + 1) for f in JET.fields}
    jets = OrbitBatch(np.array([1001, 1003]), np.array([9, 8]), np.array([0, 1, 3]), columns)
    body = muons + frames(jets, source, 320040)
    path = tmp_path / "both.raw"
    path.write_bytes(file_header(320040, 1, 6, FILE_HEADER.itemsize + len(body)) + body)
    parts = list(read_events(path, intermediate=True))
    assert sum(p.muons.n_objects for p in parts) == truth.n_objects
    got = [p.streams["jet"] for p in parts if "jet" in p.streams]
    assert np.concatenate([g.orbit for g in got]).tolist() == [1001, 1003]
    assert np.concatenate([g["hwPt"] for g in got]).tolist() == [5, 6, 7]
    found = describe(path)
    assert found["streams"]["jet"] == 3
    assert found["frames_by_source"] == {"1": 4, str(source): 2}
    assert found["final_muons"] == found["streams"]["muon"]
    assert (found["corrupt"], found["duplicate_orbits"]) == (0, 0)
