"""Every bit of the header of a file and of its frames, which no checksum covers: right, or counted."""

import struct
from itertools import chain

import numpy as np
import pytest
from crc32c import crc32c

from l1scout.formats.raw import file_header, read_frames, read_header, split_raw
from l1scout.formats.raw_objects import decode_frames
from l1scout.formats.streams.muon import MUONS
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.io import read_events
from l1scout.io.inspect import describe
from l1scout.lhc import ORBITS_PER_LUMISECTION
from l1scout.readout.salvage import salvage
from l1scout.readout.segments import Segment

RUN, REAL = 320040, 0x8000


def record(bx: int, orbit: int, pt: int) -> bytes:
    return struct.pack("<6I", 0xFF01FF00, bx, orbit & 0x7FFFFFFF, pt << 10 | 1, 36 << 4, 0)


def frame(orbit: int, records: bytes, source: int = 1) -> bytes:
    payload = struct.pack("<I", source) + records
    lumisection = orbit // ORBITS_PER_LUMISECTION + 1
    head = (6, REAL, RUN, lumisection, orbit & 0x7FFFFFFF, len(payload), crc32c(payload))
    return struct.pack("<HHIIIII", *head) + payload


def make(orbits: range, filled: int) -> tuple[bytes, dict[int, bytes]]:
    """A file, and the records of its orbits; in one of three orbits there is a muon."""
    truth = {o: record(5, o, 3 + k) if k % 3 == filled else b"" for k, o in enumerate(orbits)}
    body = b"".join(frame(o, r) for o, r in truth.items())
    return file_header(
        RUN, orbits[0] // ORBITS_PER_LUMISECTION + 1, len(orbits), 32 + len(body)
    ) + body, truth


FILES = {
    "first muon": make(range(1000, 1007), 0),
    "empty ends": make(range(1000, 1006), 1),
    "two lumisections": make(range((1 << 18) - 3, (1 << 18) + 3), 2),
    "second epoch": make(range((1 << 31) + 70, (1 << 31) + 76), 1),
    "over the end of the epoch": make(range((1 << 31) - 3, (1 << 31) + 3), 0),
    "four orbits": make(range(64, 68), 1),
}


def bits_of_headers(truth: dict[int, bytes]) -> list[int]:
    """Bits of the file's header, of the frames' and of their source ids."""
    starts = np.cumsum([32, *(28 + len(r) for r in truth.values())])[:-1]
    return [*range(32 * 8), *chain.from_iterable(range(8 * s, 8 * s + 224) for s in starts.tolist())]


def flipped(data: bytes, bit: int) -> bytes:
    bad = bytearray(data)
    bad[bit // 8] ^= 1 << bit % 8
    return bytes(bad)


@pytest.mark.parametrize("name", FILES)
def test_every_bit_of_every_header(name):
    data, truth = FILES[name]
    for bit in bits_of_headers(truth):
        bad = flipped(data, bit)
        found = read_header(bad)
        assert found is not None, bit
        frames = list(read_frames(bad, found))
        got = {f.orbit: bytes(f.records) for f in frames}
        assert found.run == RUN, bit
        assert len(got) == len(frames), bit
        assert got.items() <= truth.items(), bit
        assert all(f.marks == 4 for f in frames), bit
        lost = len(truth) - len(got)
        assert lost == (found.corrupt if bit >= 8 * 32 else 0), bit
        muons = decode_frames(frames, MUONS, found).objects
        assert set(muons.orbit.tolist()) <= {o for o, r in truth.items() if r}
        np.testing.assert_array_equal(muons.lumisection, muons.orbit // ORBITS_PER_LUMISECTION + 1)


@pytest.mark.parametrize("order", ["by orbit", "by source"])
def test_every_bit_of_a_file_of_two_sources(order):
    pairs = [(o, s) for o in range(1000, 1004) for s in (1, 2)]
    pairs.sort(key=(lambda pair: pair[::-1]) if order == "by source" else None)
    truth = {(o, s): record(5, o, 3) if (o + s) % 3 == 0 else b"" for o, s in pairs}
    body = b"".join(frame(o, r, s) for (o, s), r in truth.items())
    data = file_header(RUN, 1, len(pairs), 32 + len(body)) + body
    for bit in bits_of_headers(truth):
        bad = flipped(data, bit)
        found = read_header(bad)
        frames = list(read_frames(bad, found))
        got = {(f.orbit, f.source): bytes(f.records) for f in frames}
        assert len(got) == len(frames), bit
        assert got.items() <= truth.items(), bit
        assert len(truth) - len(got) == (found.corrupt if bit >= 8 * 32 else 0), bit


@pytest.mark.parametrize("bit", range(3, 32 * 8, 11))
def test_a_damaged_header_of_a_file_costs_nothing(tmp_path, bit):
    """Magic, sizes, type and run; the rest of it is not needed."""
    data, truth = FILES["empty ends"]
    path = tmp_path / "segment.raw"
    path.write_bytes(flipped(data, bit))
    assert [e.muons.orbit.tolist() for e in read_events(path)] == [[o for o, r in truth.items() if r]]
    found = describe(path)
    assert (found["format"], found["runs"], found["orbits_covered"]) == ("CMSSW .raw", [RUN], len(truth))
    needed = bit < 8 * 12 or 8 * 16 <= bit < 8 * 20
    assert found["corrupt"] == 1 if needed else found["corrupt"] <= 1
    segment = Segment(RUN, 1, 0, 1, RUN3.name)
    saved, described = salvage(path.read_bytes(), segment)
    assert saved[32:] == data[32:]
    assert (described.orbits, described.first_orbit, described.last_orbit) == (6, 1000, 1005)


def test_a_header_of_zeros(tmp_path):
    """Frames have all that is needed."""
    data, truth = FILES["empty ends"]
    body = RUN3.salvage(bytes(32) + data[32:], 1)
    assert body == (data[32:], list(truth))
    broken = data[:32] + b"\xff" + data[33:]  # and the first frame
    assert RUN3.salvage(bytes(32) + broken[32:], 1)[1] == list(truth)[1:]


def test_a_file_in_pieces_is_read_as_a_whole(monkeypatch):
    """Frames of which the neighbours are in another piece."""
    import io

    from l1scout.formats import raw

    orbits = range(1000, 1200)
    data, truth = make(orbits, 0)
    monkeypatch.setattr(raw, "PIECE", 997)
    monkeypatch.setattr(raw, "MAX_FRAME_BYTES", 200)
    for bit in range(8 * 32, 8 * len(data), 8 * 77 + 5):
        bad = flipped(data, bit)
        found = read_header(bad)
        parts = list(split_raw(io.BytesIO(bad[32:]), found))
        assert (
            b"".join(p if isinstance(p, bytes) else bytes(p.head) + bytes(p.records) for p in parts)
            == bad[32:]
        )
        got = {p.orbit: bytes(p.records) for p in parts if not isinstance(p, bytes)}
        assert got.items() <= truth.items()
        assert len(truth) - len(got) == found.corrupt <= 1


def test_files_made_by_other_rules_are_read():
    """Lumisections of another origin, orbits out of order, and numbers that the records do not have."""
    cases = {
        "lumisections": [(7, o) for o in (900_000, 900_001, 900_002)],
        "order": [(1, o) for o in (13, 11, 12, 10, 15, 14)],
        "sparse": [(1, o) for o in (5, 900, 90_000, 90_001)],
    }
    for name, orbits in cases.items():
        body = b""
        for lumisection, orbit in orbits:
            payload = struct.pack("<I", 1) + record(5, orbit, 3)
            head = (6, 0, RUN, lumisection, orbit, len(payload), crc32c(payload))
            body += struct.pack("<HHIIIII", *head) + payload
        data = file_header(RUN, 1, len(orbits), 32 + len(body)) + body
        found = read_header(data)
        assert [f.orbit for f in read_frames(data, found)] == [o for _, o in orbits], name
        assert found.corrupt == 0
