"""Decoding straight from memory: muons beside numpy, some columns, frames anywhere, memory used again."""

import io

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.formats import frame_table, muon_kernel, raw
from l1scout.formats.decoded import join_decoded
from l1scout.formats.frame_table import FrameTable, split_tables
from l1scout.formats.payloads import Payloads
from l1scout.formats.raw import Frame, RawFile, file_header, read_frames, read_header, split_raw
from l1scout.formats.raw_objects import decode_shared_frames
from l1scout.formats.records import find_records
from l1scout.formats.reused_memory import reused
from l1scout.formats.stream import STREAMS, decode_streams, streams_of_sources
from l1scout.formats.streams.muon import MUONS, RUN3_MUONS, decode_records
from random_streams import FORMS, batch_of
from raw_frames import frame

SEEDS = st.integers(0, 2**32 - 1)


def muon_payloads(random, payloads=30):
    """Records of any words, with headers that make sense mostly, some cut; and where each payload begins."""
    parts, bounds = [np.zeros(0, np.uint32)], [0]
    for k in range(payloads):
        for bx in np.sort(random.integers(0, 3570, 4)):
            n1, n2 = random.integers(0, 9, 2)
            match = 0xFF00FF00 ^ (np.uint32(1) << random.integers(8, 16) if random.random() < 0.1 else 0)
            words = random.integers(0, 2**32, 3 + 3 * (n1 + n2), np.uint32)
            words[0] = np.uint32(match) | np.uint32(n1 << 16 | n2)
            words[1:3] = bx | random.integers(0, 2) << 20, k // 2 | random.integers(0, 2) << 31
            parts.append(words[: random.integers(1, words.size) if random.random() < 0.05 else None])
        bounds.append(sum(p.size for p in parts))
    return np.concatenate(parts), np.array(bounds)


def check_muons(words, bounds):
    got, ends = MUONS.decode(words, bounds, np.ones(bounds.size - 1, np.int64))
    starts, _, stops = find_records(words, RUN3_MUONS, bounds)
    wanted = decode_records(words, starts, RUN3_MUONS)
    assert ends.tolist() == stops.tolist()
    assert got.flagged.tolist() == wanted.flagged.tolist()
    assert list(got.objects.columns) == [*wanted.objects.columns]
    for name in ("orbit", "bx", "offsets"):
        np.testing.assert_array_equal(getattr(got.objects, name), getattr(wanted.objects, name), name)
    for name, column in wanted.objects.columns.items():
        np.testing.assert_array_equal(got.objects[name], column, name)
        assert got.objects[name].dtype == column.dtype, name


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_muons_as_numpy_has_them(seed):
    check_muons(*muon_payloads(np.random.default_rng(seed)))


def test_no_muons():
    check_muons(np.zeros(0, np.uint32), np.zeros(1, np.int64))


def test_the_muon_kernel_stays_inside_its_arrays(monkeypatch):
    kernel = numba.njit(boundscheck=True)(muon_kernel._decode_muons.py_func)
    monkeypatch.setattr(muon_kernel, "_decode_muons", kernel)
    check_muons(*muon_payloads(np.random.default_rng(3), 200))


@pytest.mark.parametrize(("name", "source"), [f for f in FORMS if f[0] != "tkmuon"])
def test_some_columns_are_those_of_all(name, source):
    random = np.random.default_rng(5)
    batch = batch_of(name, 20, random, orbits=2, sector=5)
    words, _ = STREAMS[name].encode(batch, source)
    payloads = Payloads.of(words, np.array([0, words.size]), np.array([source]))
    streams = streams_of_sources([source])
    every = decode_streams(streams, payloads)[name][0].objects
    for wanted in (list(every.columns)[-2:], list(every.columns)[:1], [], ["nothing"]):
        some = decode_streams(streams, payloads, {name: wanted})[name][0].objects
        assert set(some.columns) == set(wanted) - {"nothing"}
        np.testing.assert_array_equal(some.bx, every.bx)
        for column, values in some.columns.items():
            np.testing.assert_array_equal(values, every[column], column)


def jets(orbit, random):
    batch = batch_of("jet", 30, random, orbits=1)
    return OrbitBatch(np.full(30, orbit), batch.bx, batch.offsets, batch.columns)


@pytest.mark.parametrize("shift", [0, 1])
def test_frames_of_several_files_in_any_order(shift):
    """Frames lie in the memory of two files, at words or beside them: nothing shows of it."""
    random = np.random.default_rng(6)
    batches = {orbit: jets(orbit, random) for orbit in (7, 8, 9, 10)}
    made = {orbit: frame(orbit, 22, STREAMS["jet"].encode(b, 22)[0]) for orbit, b in batches.items()}
    frames = []
    for orbits in ((9, 10), (7, 8)):
        body = b"".join(made[orbit] for orbit in orbits)
        data = bytes(shift) + file_header(380963, 1, 2, 32 + len(body)) + body
        view = memoryview(data)[shift:]
        header = read_header(view)
        frames += read_frames(view, header)
    found = decode_shared_frames(frames, [STREAMS["jet"]], RawFile(380963, 1, 4, 0))["jet"]
    assert (found.corrupt, found.corrupt_bytes) == (0, 0)
    objects = found.objects
    assert objects.simulated
    assert set(objects.run.tolist()) == {380963}
    assert np.unique(objects.orbit).tolist() == [7, 8, 9, 10]
    for name, values in objects.columns.items():
        np.testing.assert_array_equal(values, np.concatenate([batches[o][name] for o in (7, 8, 9, 10)]), name)
    table = FrameTable.of(frames)
    for orbit, batch in batches.items():
        own = table.select(table.orbit == orbit)
        assert decode_shared_frames(own, [STREAMS["jet"]], header)["jet"].objects.n_objects == batch.n_objects


def test_lumisections_of_frames():
    random = np.random.default_rng(6)
    orbits = (262_143, 262_144)
    body = b"".join(frame(o, 22, STREAMS["jet"].encode(jets(o, random), 22)[0]) for o in orbits)
    data = file_header(380963, 1, 2, 32 + len(body)) + body
    header = read_header(data)
    objects = decode_shared_frames(list(read_frames(data, header)), [STREAMS["jet"]], header)["jet"].objects
    np.testing.assert_array_equal(objects.lumisection, 1 + (objects.orbit >= 262_144))


def test_what_is_held_is_not_written_again():
    """Memory of arrays that are gone is used again, that of others never."""
    random = np.random.default_rng(7)
    held = []
    for k in range(6):
        batch = batch_of("tower", 300, random, orbits=1, most=400)
        words, _ = STREAMS["tower"].encode(batch)
        decoded, _ = STREAMS["tower"].decode(words, np.array([0, words.size]), np.array([32]))
        if k % 2:  # one column, and rows of another batch
            held.append((decoded.objects["hwEt"], batch["hwEt"]))
        else:
            held.append((decoded.objects.bx[5:], batch.bx[batch.counts > 0][5:]))
        del decoded
    for got, wanted in held:
        np.testing.assert_array_equal(got, wanted)
    block = reused(1 << 20)
    address, part = block.ctypes.data, block[5:9]
    del block
    some = [reused(1 << 20) for _ in range(20)]
    assert address not in {other.ctypes.data for other in some}
    del part
    some += [reused(1 << 20) for _ in range(20)]
    assert address in {other.ctypes.data for other in some}


def test_parts_of_two_epochs():
    random = np.random.default_rng(8)
    batch = jets(5, random)
    words, _ = STREAMS["jet"].encode(batch, 22)
    n = words.size
    payloads = Payloads(
        np.tile(words, 2), np.array([[0, n], [n, 2 * n]]), np.array([22, 22]), np.array([0, 1 << 31])
    )
    found = decode_streams([STREAMS["jet"]], payloads)["jet"][0]
    assert np.unique(found.objects.orbit).tolist() == [5, (1 << 31) + 5]
    parts = [STREAMS["jet"].decode(words, np.array([0, n]), np.array([22]))[0]] * 2
    np.testing.assert_array_equal(found.objects["hwPt"], join_decoded(parts).objects["hwPt"])


def content(parts):
    """Return orbit, source, marks and records of frames, given one by one or as tables; and other bytes."""
    found = []
    for part in parts:
        if isinstance(part, bytes):  # it is cut where pieces of the file end
            found.append((found.pop() if found and isinstance(found[-1], bytes) else b"") + part)
            continue
        table = FrameTable.of([part]) if isinstance(part, Frame) else part
        payloads = table.payloads
        words = [payloads.words[a:b].tobytes() for a, b in payloads.spans.T]
        columns = table.orbit, table.source, table.marks, table.size
        found += zip(*(column.tolist() for column in columns), words, strict=True)
    return found


@given(SEEDS, st.sampled_from([400, 3000, 1 << 22]), st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_tables_hold_the_frames_of_a_file(seed, piece, damaged):
    """However it is read and wherever it is damaged: what is found is what is found frame by frame."""
    random = np.random.default_rng(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(raw, "PIECE", piece)
        patch.setattr(frame_table, "PIECE", piece)
        first = int(random.integers(0, 2**31 - 20))
        body = b"".join(
            frame(orbit, source, random.integers(0, 3000, 3 * random.integers(0, 20), np.uint32))
            for orbit in range(first, first + 12)
            for source in (1, 22)
        )
        data = bytearray(file_header(380963, 1, 24, 32 + len(body)) + body)
        for _ in range(damaged):
            data[random.integers(32, len(data))] ^= 1 << random.integers(0, 8)
        del data[len(data) - random.integers(0, 30) * (damaged == 3) :]
        accounts = [read_header(data), read_header(data)]
        one, other = (
            content(split(io.BytesIO(data[32:]), account))
            for split, account in zip((split_raw, split_tables), accounts, strict=True)
        )
        assert one == other
        assert accounts[0] == accounts[1]
