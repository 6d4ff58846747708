"""Orbits are counted once, whatever the files; repeated and damaged data are noticed and said."""

import io
import json
import struct

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from front_end import BOARD_FORMATS, Keep, make_run, stored_bytes, through_board
from l1scout.board.repeat import RepeatedPackets
from l1scout.core.orbit_batch import OrbitBatch
from l1scout.errors import InputError
from l1scout.formats.packets import TRAILER_BYTES, Trailer
from l1scout.formats.raw import FILE_HEADER, file_header, read_frames, read_header
from l1scout.formats.wire_formats.run2 import RUN2
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.io import archive, read_events
from l1scout.io.batches import read_batches
from l1scout.io.inspect import describe
from l1scout.io.quality import ReadQuality
from l1scout.io.seen import ContentSeen, EventsSeen, OrbitsSeen, Repetition, whole_orbits

ORBITS = 12


def captures(seed: int = 1, orbits: int = ORBITS):
    return make_run(orbits=orbits, chunk=4, seed=seed)[1]


def packets_of(made, form=RUN3) -> bytes:
    sink = Keep()
    through_board(made, form, sink)
    return sink.bytes.getvalue()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The same run as packets, .raw, records and archives, and another run with the same orbit numbers."""
    folder = tmp_path_factory.mktemp("runs")
    made = {"a": captures(1), "b": captures(2)}
    for name, capture in made.items():
        stored = stored_bytes(capture)
        (folder / f"{name}.packets").write_bytes(packets_of(capture))
        (folder / f"{name}.raw").write_bytes(stored["RAW"])
        (folder / f"{name}.records").write_bytes(stored["RECORDS"])
        archive.to_parquet(folder / f"{name}.raw", folder / f"{name}.raw.parquet")
        archive.to_parquet(folder / f"{name}.records", folder / f"{name}.records.parquet")
    run2 = make_run(RUN2, orbits=ORBITS, chunk=4)[1]
    (folder / "a.run2").write_bytes(packets_of(run2, RUN2))
    return folder


def read(*paths, **options):
    """Orbits, muons and account of a reading."""
    quality = ReadQuality()
    orbits = muons = 0
    for events in read_batches(paths, quality=quality, **options):
        orbits += events.muons.n_orbits or 0
        muons += events.muons.n_objects
    return orbits, muons, quality


def twice(data: bytes) -> bytes:
    """A .raw file in which each orbit is there twice."""
    frames = [data[f.start : f.stop] for f in read_frames(data, read_header(data))]
    body = b"".join(frame * 2 for frame in frames)
    return file_header(320040, 1, 2 * len(frames), FILE_HEADER.itemsize + len(body)) + body


FORMS = ("packets", "raw", "records", "raw.parquet", "records.parquet", "run2")


@pytest.mark.parametrize("form", FORMS)
def test_the_same_run_twice(files, tmp_path, form):
    path, longer = files / f"a.{form}", tmp_path / "longer"
    once = read(path)
    assert read(path, path)[:2] == once[:2]
    copy = tmp_path / "copy"
    copy.write_bytes(path.read_bytes())
    orbits, muons, quality = read(path, copy)
    assert (orbits, muons) == once[:2]
    assert quality.duplicate_files == [str(copy)]
    assert "same bytes as an earlier one" in quality.warnings()[0]
    if form in ("packets", "records", "run2"):  # a file that is not the same, but has the same orbits
        longer.write_bytes(path.read_bytes() * 2)
        assert read(longer)[:2] == once[:2]
        orbits, muons, quality = read(path, longer)
        assert (orbits, muons) == once[:2]
        assert quality.duplicate_orbits == 2 * ORBITS
        assert not quality.duplicate_files
        assert quality.overlapping_orbits == 0


@pytest.mark.parametrize("order", [("raw", "raw.parquet"), ("raw.parquet", "raw")])
def test_a_raw_file_and_its_archive_hold_the_same_orbits(files, order):
    once = read(files / "a.raw")
    orbits, muons, quality = read(*(files / f"a.{form}" for form in order))
    assert (orbits, muons) == once[:2]
    assert quality.duplicate_orbits == ORBITS


def test_orbits_twice_in_a_raw_file(files, tmp_path):
    """Each of them twice: their muons used to be merged and counted as twice the luminosity."""
    path = tmp_path / "twice.raw"
    path.write_bytes(twice((files / "a.raw").read_bytes()))
    once = read(files / "a.raw")
    orbits, muons, quality = read(path)
    assert (orbits, muons) == once[:2]
    assert quality.duplicate_orbits == ORBITS
    assert "12 orbits and 0 events left out" in quality.warnings()[0]
    (events,) = read_events(path)
    assert (events.muons.n_orbits, events.muons.n_objects) == once[:2]
    found = describe(path)
    assert (found["orbits_covered"], found["duplicate_orbits"], found["final_muons"]) == (12, 12, once[1])
    archive.to_parquet(path, tmp_path / "twice.parquet")
    assert read(tmp_path / "twice.parquet")[:2] == once[:2]
    archive.to_raw(tmp_path / "twice.parquet", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == path.read_bytes()


def test_records_of_each_orbit_twice(files, tmp_path):
    """Bare records, orbit by orbit and each twice: by their number and content."""
    data = (files / "a.raw").read_bytes()
    frames = [bytes(f.records) for f in read_frames(data, read_header(data))]
    path = tmp_path / "twice.records"
    path.write_bytes(b"".join(records * 2 for records in frames))
    once = read(files / "a.records")
    _, muons, quality = read(path)
    assert muons == once[1]
    assert quality.duplicate_orbits == ORBITS


@pytest.mark.parametrize("rows", [1, 10, 100_000])
def test_an_orbit_is_whole_whatever_the_chunks(files, rows):
    quality = ReadQuality()
    got = [e.muons for e in read_events(files / "a.records", rows=rows, quality=quality)]
    assert sum(b.n_objects for b in got) == read(files / "a.records")[1]
    assert quality.duplicate_orbits == quality.overlapping_orbits == 0


def test_runs_with_the_same_orbit_numbers(files):
    """Two files that do not state their run: other muons are another run, and that is said."""
    one, two = read(files / "a.packets"), read(files / "b.packets")
    orbits, muons, quality = read(files / "a.packets", files / "b.packets")
    assert (orbits, muons) == (24, one[1] + two[1])
    assert (quality.duplicate_orbits, quality.overlapping_orbits) == (0, ORBITS)
    assert "used as data of another run" in quality.warnings()[0]


def test_overlapping_files(files, tmp_path):
    """The second file begins before the first one ends."""
    data = (files / "a.raw").read_bytes()
    frames = [data[f.start : f.stop] for f in read_frames(data, read_header(data))]
    for name, part in (("1", frames[:8]), ("2", frames[5:])):
        body = b"".join(part)
        head = file_header(320040, 1, len(part), FILE_HEADER.itemsize + len(body))
        (tmp_path / name).write_bytes(head + body)
    orbits, muons, quality = read(tmp_path / "1", tmp_path / "2")
    assert (orbits, muons) == read(files / "a.raw")[:2]
    assert quality.duplicate_orbits == 3


@pytest.mark.parametrize("kind", ["SCOUTING_NANO", "ORBIT_COLLECTION", "L1NTUPLE", "DPG_NANO"])
def test_root_files(samples, tmp_path, kind):
    """Given under two names, and with a byte more, so that the files differ."""
    other = tmp_path / "other.root"
    other.write_bytes(samples[kind].read_bytes())
    once, (_, _, same) = read(samples[kind]), read(samples[kind], other)
    assert same.duplicate_files == [str(other)]
    quality = ReadQuality()
    total = 0
    for _ in range(2):
        total += sum(e.muons.n_objects for e in read_events(samples[kind], quality=quality))
    assert total == once[1]
    assert quality.duplicate_orbits + quality.duplicate_events > 1


def test_repeated_data_are_noticed(tmp_path):
    """A board in a loop: marked by its headers in packets and .raw files, found by content without them."""
    once = io.BytesIO(packets_of(captures(orbits=20)))
    source, sink = RepeatedPackets(once, RUN3, 5000), Keep()
    source.run(sink, pace=0, orbits=60)
    path = tmp_path / "loop.packets"
    path.write_bytes(sink.bytes.getvalue())
    orbits, _, quality = read(path)
    assert (orbits, quality.repeated_orbits, quality.independent) == (60, 40, False)
    assert "40 of 60 orbits repeat the content of earlier ones" in quality.warnings()[0]
    quality.check()
    assert quality.marked_orbits == 40
    assert describe(path)["repeated_orbits"] == 40
    sink.bytes.seek(0)
    parts = [RUN3.find_orbits(bytes(p)) for p, _ in RUN3.split(sink.bytes)]
    body = b"".join(RUN3.frame(p, 1, 1).words.tobytes() for p in parts)
    raw = file_header(1, 1, 60, FILE_HEADER.itemsize + len(body)) + body
    (tmp_path / "loop.raw").write_bytes(raw)
    archive.to_parquet(tmp_path / "loop.raw", tmp_path / "loop.parquet")
    for name in ("loop.raw", "loop.parquet"):
        _, _, quality = read(tmp_path / name)
        assert (quality.marked_orbits, quality.independent) == (40, False)
    frames = list(read_frames(raw, read_header(raw)))
    damaged = bytearray(raw)
    for k in (3, 30):  # damage is passed over to the next frame, marked or not
        damaged[frames[k].start + 60] ^= 1
    (tmp_path / "bad.raw").write_bytes(damaged)
    assert read(tmp_path / "bad.raw")[0] == 58


@pytest.mark.parametrize("marked", [True, False])
def test_repeated_packets_of_run_2_are_found_by_mark_or_content(tmp_path, marked):
    """Marks are in the trailers; packets of other programs have none."""
    once = io.BytesIO(packets_of(make_run(RUN2, orbits=20, chunk=4)[1], RUN2))
    source, sink = RepeatedPackets(once, RUN2, 5000), Keep()
    source.run(sink, pace=0, orbits=60)
    data = sink.bytes.getvalue()
    if not marked:
        parts = [bytes(p) for p, _ in RUN2.split(io.BytesIO(data))]
        data = b"".join(p[:-TRAILER_BYTES] + Trailer.decode(p[-TRAILER_BYTES:]).encode() for p in parts)
    (tmp_path / "loop").write_bytes(data)
    _, _, quality = read(tmp_path / "loop")
    found = quality.marked_orbits, quality.repeated_orbits, quality.independent
    assert found == (40 * marked, 40, False)


def test_records_have_no_mark_and_are_found_by_their_content(tmp_path):
    once = io.BytesIO(packets_of(make_run(RUN2, orbits=20, chunk=4)[1], RUN2))
    source, sink = RepeatedPackets(once, RUN2, 5000), Keep()
    source.run(sink, pace=0, orbits=60)
    (tmp_path / "loop").write_bytes(sink.bytes.getvalue())
    _, _, quality = read(tmp_path / "loop")  # packets have one, in their trailers
    assert (quality.marked_orbits, quality.repeated_orbits, quality.independent) == (40, 40, False)
    sink.bytes.seek(0)
    parts = [RUN2.find_orbits(bytes(packet)) for packet, _ in RUN2.split(sink.bytes)]
    (tmp_path / "records").write_bytes(b"".join(RUN2.frame(p, 1, 1).words.tobytes() for p in parts))
    _, _, quality = read(tmp_path / "records")
    assert (quality.marked_orbits, quality.repeated_orbits, quality.independent) == (0, 40, False)


@pytest.mark.parametrize("form", BOARD_FORMATS)
def test_other_runs_do_not_repeat(form, tmp_path):
    made = make_run(BOARD_FORMATS[form], orbits=40, chunk=10)[1]
    (tmp_path / "x").write_bytes(packets_of(made, BOARD_FORMATS[form]))
    _, _, quality = read(tmp_path / "x")
    assert (quality.repeated_orbits, quality.independent, quality.warnings()) == (0, True, [])


def test_flagged_orbits_are_left_out_and_said(tmp_path):
    """Packets of which most orbits lack a link are no data to measure with."""
    data = bytearray(packets_of(captures(orbits=40)))
    mark = struct.pack("<I", 0x6C316F72)
    at = -1
    for k in range(30):
        at = data.find(mark, at + 1)
        data[at + 12] = 0x7F  # goodLinks without link 7
        if k == 2:
            (tmp_path / "few").write_bytes(bytes(data))
    (tmp_path / "many").write_bytes(bytes(data))
    orbits, _, quality = read(tmp_path / "few")
    assert (orbits, quality.flagged_orbits) == (37, 3)
    assert quality.damaged_fraction == pytest.approx(3 / 40)
    assert "7.5 % of the data are damaged: 3 orbits with a missing" in quality.warnings()[0]
    quality.check()
    orbits, _, quality = read(tmp_path / "many")
    assert (orbits, quality.flagged_orbits) == (10, 30)
    with pytest.raises(InputError, match="75 % of the data are damaged"):
        quality.check()
    quality.check(allow_damaged=True)
    assert json.loads(json.dumps(quality.as_dict()))["flagged_orbits"] == 30


def test_a_raw_file_cut_between_two_orbits(files, tmp_path):
    data = (files / "a.raw").read_bytes()
    frames = list(read_frames(data, read_header(data)))
    (tmp_path / "cut.raw").write_bytes(data[: frames[5].stop])
    found = describe(tmp_path / "cut.raw")
    assert (found["corrupt"], found["corrupt_bytes"]) == (1, 0)
    assert (found["missing_orbits"], found["missing_bytes"]) == (6, len(data) - frames[5].stop)
    orbits, _, quality = read(tmp_path / "cut.raw")
    assert (orbits, quality.missing_orbits) == (6, 6)
    assert "6 orbits that the headers of the files announce are missing" in quality.warnings()[0]
    archive.to_parquet(tmp_path / "cut.raw", tmp_path / "cut.parquet")
    assert read(tmp_path / "cut.parquet")[2].missing_orbits == 6
    unfinished = file_header(320040, 1, 0, 0) + data[FILE_HEADER.itemsize : frames[5].stop]
    (tmp_path / "open.raw").write_bytes(unfinished)
    assert describe(tmp_path / "open.raw")["missing_orbits"] == 0


def test_cases(shared_cases):
    """Its orbits have all the same content, which is said; none of them counts twice."""
    once = read(shared_cases / "03_orbits.raw")
    assert once[:2] == (20, 480)
    twice = read(shared_cases / "03_orbits_twice.raw")
    assert twice[:2] == (20, 480)
    assert twice[2].duplicate_orbits == 20
    assert read(shared_cases / "03_orbits.raw", shared_cases / "03_orbits_twice.raw")[:2] == (20, 480)
    found = describe(shared_cases / "12_cut_at_a_frame.raw")
    assert (found["orbits_covered"], found["missing_orbits"], found["corrupt"]) == (10, 10, 1)


def test_a_skippable_frame_of_zstd(files, tmp_path):
    """As pzstd and the seekable format write them: at the beginning, between frames, at the end."""
    data = (files / "a.raw").read_bytes()
    skip = struct.pack("<II", 0x184D2A5E, 5) + b"12345"
    one, two = (pa.compress(part, "zstd", asbytes=True) for part in (data[:5000], data[5000:]))
    for packed in (skip + one + two, one + skip + two, one + two + skip):
        (tmp_path / "x").write_bytes(packed)
        found = describe(tmp_path / "x")
        assert (found["compression"], found["orbits_covered"]) == ("zstd", ORBITS)


def batch(orbit, bx, run=0, n_orbits=None, pt=20) -> OrbitBatch:
    n = len(orbit)
    return OrbitBatch(
        np.array(orbit),
        np.array(bx),
        np.arange(n + 1),
        {"hwPt": np.full(n, pt, np.int16) + np.arange(n, dtype=np.int16)},
        run=np.full(n, run),
        n_orbits=n_orbits,
    )


def test_orbits_of_any_number_are_remembered():
    seen = OrbitsSeen()
    assert seen.new(1, np.array([5, 5, 1 << 30, 4])).tolist() == [True, False, True, True]
    assert seen.new(1, np.array([1 << 30, 6])).tolist() == [False, True]
    assert seen.new(2, np.array([5])).tolist() == [True]


def test_empty_orbits_follow_their_neighbours():
    seen = ContentSeen()
    orbits, sums = np.arange(4), np.array([7, 0, 8, 0], np.uint64)
    assert seen.new(orbits, sums).all()
    assert seen.new(orbits, np.array([9, 0, 10, 0], np.uint64)).all()
    assert seen.overlapping == 2
    assert not seen.new(orbits, np.array([9, 0, 10, 0], np.uint64)).any()


def test_events_are_compared_by_run_and_crossing():
    seen = EventsSeen()
    assert seen.new(batch([1, 1, 2], [5, 6, 5], run=9)).all()
    assert seen.new(batch([1, 1, 3], [5, 7, 5], run=9)).tolist() == [False, True, True]
    assert seen.new(batch([1], [5], run=8)).all()
    assert seen.new(batch([-1, -1], [1, 1])).all()


def test_a_loop_longer_than_the_memory(monkeypatch):
    """The sample shrinks, and still every pass meets itself."""
    monkeypatch.setattr("l1scout.io.seen._MAX_SAMPLE", 50)
    rng = np.random.default_rng(1)
    orbits = [np.sort(rng.choice(3564, 30, replace=False) + 1) for _ in range(300)]
    found = Repetition()
    for k, bx in enumerate(orbits):
        found.add(batch([k] * 30, bx))
    assert found.repeated == 0
    for k, bx in enumerate(orbits):
        found.add(batch([300 + k] * 30, bx))
    assert 100 < found.repeated < 900


def test_orbits_are_put_together():
    parts = [
        batch([1, 2], [5, 5], n_orbits=2),
        batch([2, 3], [6, 1], n_orbits=1),
        batch([3], [2], n_orbits=0),
    ]
    got = [(b.orbit.tolist(), b.n_orbits) for b in whole_orbits(parts)]
    assert got == [([1, 2, 2], 2), ([3, 3], 1)]


def test_flat_parquet_of_scouting_data(tmp_path):
    """Without a word on runs: by content, orbit by orbit."""
    orbit = np.repeat([1, 2, 3], 4)
    rng = np.random.default_rng(3)
    columns = {"orbit": orbit, "bx": np.tile([1, 2, 3, 4], 3), "hwPt": rng.integers(1, 511, 12),
               "hwCharge": rng.integers(0, 2, 12), "hwEtaAtVtx": rng.integers(-200, 200, 12)}  # fmt: skip
    pq.write_table(pa.table({n: np.r_[c, c] for n, c in columns.items()}), tmp_path / "twice.parquet")
    _, muons, quality = read(tmp_path / "twice.parquet")
    assert (muons, quality.duplicate_orbits) == (12, 3)
