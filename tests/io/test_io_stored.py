"""What readout and store leave on disk is read whole, in pieces, compressed, and around damage."""

import bz2
import io
import tracemalloc

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from front_end import BOARD_FORMATS, make_run, stored_bytes, through_board
from l1scout.core.orbit_batch import concatenate, final_muons, muon_counts
from l1scout.errors import InputError
from l1scout.formats.raw import FILE_HEADER, file_header, read_frames, read_header, split_raw
from l1scout.formats.stream import STREAMS
from l1scout.formats.wire_formats.run2 import RUN2
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.io import detect, read_events
from l1scout.io.inspect import describe
from l1scout.io.quality import ReadQuality
from l1scout.io.stored import records_format, split_records
from raw_frames import frame
from stream_rows import objects

ORBITS = 23


@pytest.fixture(scope="module")
def stored():
    """Bytes and decoded muons by format and kind."""
    made = {}
    for form in BOARD_FORMATS.values():
        _, captures, _ = make_run(form, orbits=ORBITS, chunk=5)
        made[form.name] = stored_bytes(captures, form), through_board(captures, form)[0].objects
    return made


def zstd(data: bytes) -> bytes:
    return pa.compress(data, "zstd", asbytes=True)


WAYS = {"plain": bytes, "zstd": zstd, "bz2": bz2.compress}


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("rows", [1, 100, 100_000])
@pytest.mark.parametrize("kind", ["RAW", "RECORDS"])
def test_muons_come_back(stored, tmp_path, kind, rows, how):
    path = tmp_path / "x"
    data, truth = stored["run3"]
    path.write_bytes(WAYS[how](data[kind]))
    assert detect(path).name == kind.lower().replace("_", "-")
    chunks = [e.muons for e in read_events(path, rows=rows, intermediate=True)]
    got = concatenate(chunks)
    for name in got.columns:
        np.testing.assert_array_equal(got[name], truth[name], err_msg=name)
    np.testing.assert_array_equal(got.orbit, truth.orbit)
    np.testing.assert_array_equal(got.bx, truth.bx)
    assert set(got.lumisection) == {1}
    if kind == "RAW":
        assert (got.n_orbits, set(got.run), got.simulated) == (ORBITS, {320040}, True)
        assert all(len(c) <= rows or c.n_orbits == 1 for c in chunks)
    else:
        assert (got.n_orbits, set(got.run), got.simulated) == (None, {0}, None)
        assert all(len(c) <= rows or len(set(c.orbit)) == 1 for c in chunks)


def test_run2_records_have_their_own_format(stored, tmp_path):
    data, truth = stored["run2"]
    path = tmp_path / "x"
    path.write_bytes(data["RECORDS"])
    got = concatenate([e.muons for e in read_events(path, intermediate=True)])
    np.testing.assert_array_equal(got["hwEta"], truth["hwEta"])
    np.testing.assert_array_equal(got["intermediate"], truth["intermediate"])
    found = describe(path)
    final, intermediate = muon_counts(truth)
    assert (found["form"], found["streams"]["muon"], found["corrupt"]) == ("run2", final, 0)
    assert found["intermediate_muons"] == intermediate > 100
    assert found["compression"] is None


def test_packets_are_read_too(samples):
    chunks = [e.muons for e in read_events(samples["DMA_PACKETS"], rows=100)]
    assert sum(c.n_orbits for c in chunks) == 2
    found = describe(samples["DMA_PACKETS"])
    assert sum(c.n_objects for c in chunks) == found["final_muons"]
    assert all(len(c) <= 100 or c.n_orbits == 1 for c in chunks)


def test_inspect_says_what_is_wrong(stored, tmp_path):
    data, truth = stored["run3"]
    raw = bytearray(data["RAW"])
    frames = list(read_frames(bytes(raw), read_header(bytes(raw))))
    for k in (3, 4, 9):
        raw[frames[k].start + 40] ^= 1
    path = tmp_path / "x.raw"
    path.write_bytes(zstd(bytes(raw)))
    found = describe(path)
    truth = final_muons(truth)
    lost = sum(len(truth.orbit[truth.row][truth.orbit[truth.row] == frames[k].orbit]) for k in (3, 4, 9))
    assert found["corrupt"] == 2  # two of them are neighbours
    assert found["corrupt_bytes"] == sum(frames[k].stop - frames[k].start for k in (3, 4, 9))
    assert found["final_muons"] == truth.n_objects - lost
    assert found["orbits_covered"] == ORBITS - 3
    assert (found["runs"], found["compression"], found["era"]) == ([320040], "zstd", None)
    assert found["data"] == "simulated"
    assert found["said"]["orbits"] == ORBITS
    assert found["frames_by_source"] == {"1": ORBITS - 3}


@pytest.mark.parametrize("form", BOARD_FORMATS.values(), ids=list(BOARD_FORMATS))
@given(st.data())
@settings(max_examples=40, deadline=None)
def test_records_go_on_after_damage(stored, form, data):
    """Every byte comes, in order; and what is lost is near the damage."""
    good = stored[form.name][0]["RECORDS"]
    at = data.draw(st.integers(0, len(good) // 4 - 50)) * 4
    bad = (
        good[:at] + data.draw(st.binary(min_size=4, max_size=40)) + good[at + data.draw(st.integers(0, 40)) :]
    )
    if len(bad) % 4 == len(good) % 4:
        parts = list(split_records(io.BytesIO(bad), form))
        assert b"".join(p if isinstance(p, bytes) else p[0].tobytes() for p in parts) == bad
        assert sum(len(p) for p in parts if isinstance(p, bytes)) < 3000


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_frames_of_a_stream_are_those_of_memory(stored, data):
    raw = bytearray(stored["run3"][0]["RAW"])
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(32, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 50))] = data.draw(st.binary(max_size=50))
    raw = bytes(raw)
    one, two = read_header(raw), read_header(raw)
    parts = list(split_raw(io.BytesIO(raw[32:]), one))
    frames = list(read_frames(raw, two))
    assert [(f.start - 32, f.stop - 32) for f in frames] == [
        (f.start, f.stop) for f in parts if not isinstance(f, bytes)
    ]
    assert (one.corrupt, one.corrupt_bytes) == (two.corrupt, two.corrupt_bytes)
    lengths = [len(p) if isinstance(p, bytes) else p.stop - p.start for p in parts]
    assert sum(lengths) == len(raw) - 32


def test_nothing_else_is_taken_for_records(samples):
    rng = np.random.default_rng(1)
    others = [p.read_bytes()[:65536] for k, p in samples.items() if k != "RECORDS"]
    others += [rng.bytes(n) for n in range(1, 2000)]
    others += [bytes(5000), b"\1" * 5000, np.arange(3000, dtype="<u4").tobytes(), b"a\n" * 2000]
    assert {records_format(o, whole=True) for o in others} == {None}
    good = samples["RECORDS"].read_bytes()
    assert records_format(good, whole=True) is RUN3
    assert records_format(good[:20], whole=True) is None
    assert records_format(b"\0" + good, whole=True) is None
    damaged = good[:20_000] + bytes(100) + good[20_100:]
    assert records_format(damaged, whole=True) is RUN3
    assert RUN2 is not records_format(good[:65536], whole=False)


def test_other_things_compressed_and_bombs(tmp_path, stored):
    path = tmp_path / "x"
    for pack in (zstd, bz2.compress):
        path.write_bytes(pack(b"text\n" * 1000))
        with pytest.raises(InputError, match="decompress it first"):
            detect(path)
    bomb = stored["run3"][0]["RAW"] + bytes(300 << 20)
    path.write_bytes(zstd(bomb))
    assert path.stat().st_size < 200_000
    tracemalloc.start()
    with pytest.raises(InputError, match="grows more than 1000 times"):
        for _ in read_events(path):
            pass
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()
    path.write_bytes(zstd(stored["run3"][0]["RAW"])[:-20_000])
    with pytest.raises(InputError, match="cannot be decompressed"):
        describe(path)


def test_compressed_in_several_streams(tmp_path, stored):
    """As bzip2 makes of a file in parts, and `cat` of two."""
    data = stored["run3"][0]["RAW"]
    for pack in (zstd, bz2.compress):
        path = tmp_path / "x"
        path.write_bytes(pack(data[:10_000]) + pack(data[10_000:]))
        assert describe(path)["orbits_covered"] == ORBITS


@pytest.mark.parametrize("wrong", [7, 270_000])
def test_records_of_another_orbit_than_their_frame_are_left_out(tmp_path, wrong):
    """They are counted as corrupt; their orbit is not one that was seen."""
    stream, rng = STREAMS["jet"], np.random.default_rng(3)
    jets = objects("jet", rng, 40, orbits=4)
    orbits = np.unique(jets.orbit).tolist()
    words = [stream.encode(jets.take(np.flatnonzero(jets.orbit == orbit)), 22)[0] for orbit in orbits]
    foreign = stream.encode(objects("jet", rng, 3, first_orbit=wrong, orbits=1), 22)[0]
    words[-1] = np.concatenate([words[-1], foreign])
    frames = b"".join(frame(orbit, 22, w) for orbit, w in zip(orbits, words, strict=True))
    path = tmp_path / "x.raw"
    path.write_bytes(file_header(380963, 1, len(orbits), FILE_HEADER.itemsize + len(frames)) + frames)
    quality = ReadQuality()
    found = concatenate([data.streams["jet"] for data in read_events(path, quality=quality)])
    np.testing.assert_array_equal(found.orbit, jets.orbit)
    np.testing.assert_array_equal(found["hwPt"], jets["hwPt"])
    assert found.n_orbits == len(orbits)
    assert quality.damaged_parts == 3
