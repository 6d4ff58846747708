"""Objects beside muons: all streams of a file are read and counted."""

import struct

import awkward as ak
import numpy as np
import pytest
from crc32c import crc32c

import l1scout
from front_end import make_run, stored_bytes
from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import OrbitData
from l1scout.errors import InputError
from l1scout.formats.raw import FILE_HEADER, file_header, read_frames, read_header
from l1scout.formats.streams.jet import DMA_SOURCE, JETS, TCP_SOURCE
from l1scout.io import describe, detect, read_events
from l1scout.io.batches import read_batches
from l1scout.io.quality import ReadQuality

RUN = 320040
OF_THE_CALORIMETER = {"jet", "egamma", "tau", "etsum"}
"""Streams of source 2: here without objects, but for jets."""


def jets_of(orbit, rng):
    bx = np.sort(rng.choice(np.arange(1, 3565), 40, replace=False))
    counts = rng.integers(1, 5, bx.size)
    columns = {
        "hwPt": rng.integers(1, 2048, counts.sum()),
        "hwEta": rng.integers(-128, 128, counts.sum()),
        "hwPhi": rng.integers(0, 144, counts.sum()),
        "hwDisplaced": rng.integers(0, 2, counts.sum()),
        "hwQual": rng.integers(0, 4, counts.sum()),
    }
    columns = {name: c.astype(np.int16) for name, c in columns.items()}
    return OrbitBatch(np.full(bx.size, orbit), bx, np.r_[0, np.cumsum(counts)], columns)


def frame(orbit, source, payload):
    body = struct.pack("<I", source) + payload
    head = struct.pack("<HHIIIII", 6, 0, RUN, orbit // 2**18 + 1, orbit, len(body), crc32c(body))
    return head + body


@pytest.fixture
def mixed(tmp_path):
    """A file with a frame of muons and frames of jets from two sources for each orbit; and its jets."""
    raw = stored_bytes(make_run(orbits=8, chunk=8)[1])["RAW"]
    rng, body, jets = np.random.default_rng(1), b"", []
    for found in read_frames(raw, read_header(raw)):
        body += bytes(found.head) + bytes(found.records)
        for source in (TCP_SOURCE, DMA_SOURCE):
            jets.append(jets_of(found.orbit, rng))
            body += frame(found.orbit, source, JETS.encode(jets[-1], source)[0].tobytes())
        body += frame(found.orbit, 99, b"of a source that nobody knows")
    path = tmp_path / "mixed.raw"
    path.write_bytes(file_header(RUN, 1, 32, FILE_HEADER.itemsize + len(body)) + body)
    (tmp_path / "muons.raw").write_bytes(raw)
    return path, jets


@pytest.mark.parametrize("rows", [1, 300, 100_000])
def test_muons_and_jets_of_a_raw_file(mixed, rows):
    path, jets = mixed
    chunks = list(read_events(path, rows=rows))
    assert all(set(c.streams) == {"muon", *OF_THE_CALORIMETER} for c in chunks)
    assert all(len(c.muons) <= rows or c.muons.n_orbits == 1 for c in chunks)
    alone = list(read_events(path.with_name("muons.raw"), rows=rows))
    for name in ("hwPt", "hwPhi"):
        one, two = (np.concatenate([c.muons[name] for c in some]) for some in (chunks, alone))
        np.testing.assert_array_equal(one, two)
    for stream in ("muon", "jet"):
        assert sum(c.streams[stream].n_orbits for c in chunks) == 8
    found = np.concatenate([c.streams["jet"]["hwPt"] for c in chunks])
    assert np.sort(found).tolist() == np.sort(np.concatenate([j["hwPt"] for j in jets])).tolist()
    assert {int(run) for c in chunks for run in c.streams["jet"].run} == {RUN}


def test_inspect_counts_objects_of_each_stream(mixed):
    path, jets = mixed
    found = describe(path)
    counts = {"jet": sum(j.n_objects for j in jets), "muon": found["final_muons"]}
    assert found["streams"] == {**dict.fromkeys(OF_THE_CALORIMETER, 0), **counts}
    assert found["final_muons"] == describe(path.with_name("muons.raw"))["final_muons"] > 0
    assert {c["of"] for c in found["columns"]} == {"L1 muon", *OF_THE_CALORIMETER}
    assert found["frames_by_source"] == {"1": 8, "2": 8, "22": 8, "99": 8}


def test_orbits_that_were_read_before_are_left_out_of_every_stream(mixed):
    path, jets = mixed
    again = path.with_name("again.raw")
    again.write_bytes(path.read_bytes() + b"x")  # not the same file
    batches = list(read_batches([path, again]))
    assert sum(b.muons.n_orbits for b in batches) == 8
    assert sum(b.streams["jet"].n_objects for b in batches) == sum(j.n_objects for j in jets)


def test_jets_without_muons(tmp_path):
    jets = [jets_of(orbit, np.random.default_rng(orbit)) for orbit in (5, 6)]
    body = b"".join(
        frame(orbit, TCP_SOURCE, JETS.encode(j)[0].tobytes()) for orbit, j in zip((5, 6), jets, strict=True)
    )
    path = tmp_path / "jets.raw"
    path.write_bytes(file_header(RUN, 1, 2, FILE_HEADER.itemsize + len(body)) + body)
    assert [set(data.streams) for data in read_events(path)] == [{"jet"}]
    found = describe(path)
    assert (found["orbits"], found["orbits_covered"], found["final_muons"]) == ([5, 6], 2, 0)
    (batch,) = read_batches([path])
    assert batch.streams["jet"].n_orbits == 2
    with pytest.raises(InputError, match=r"jets\.raw: no stream muon, which this analysis needs"):
        l1scout.analyse("livetime", l1scout.open(path))
    crossings = l1scout.open(path).to_awkward()
    assert ak.count(crossings.jet.hwPt) == sum(j.n_objects for j in jets)
    assert "muon" not in crossings.fields


def test_a_reader_of_several_streams_gives_each_object_once():
    """Orbits are compared in formats of one stream; the rows of several differ."""

    def batch(orbit):
        columns = {"hwPt": np.array([orbit], np.int16)}
        return OrbitBatch.from_objects([orbit], [1], columns, n_orbits=1)

    chunks = [OrbitData({"muon": batch(k), "jet": batch(k)}) for k in (1, 2, 3)]
    given = list(ReadQuality().new_only(chunks))
    for stream in ("muon", "jet"):
        assert [d.streams[stream]["hwPt"].tolist() for d in given] == [[1], [2], [3]]


def test_candidates_of_phase_2(tmp_path):
    """Packets of a wire format without muons."""
    word = 0x00AA653061F3C04D
    events = [2 << 62 | orbit << 24 | bx << 12 | 1 for orbit in (7, 8) for bx in (10, 20, 30)]
    path = tmp_path / "native"
    path.write_bytes(b"".join(struct.pack("<2Q", event, word) for event in events))
    assert detect(path).name == "dma-packets"
    chunks = list(read_events(path))
    assert {name for data in chunks for name in data.streams} == {"puppi"}
    assert sum(data.streams["puppi"].n_objects for data in chunks) == 6
    found = describe(path)
    assert (found["form"], found["streams"], found["final_muons"]) == ("native64", {"puppi": 6}, 0)
