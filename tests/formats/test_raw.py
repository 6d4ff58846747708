"""CMSSW's .raw files: frames against their definition, and what damage costs."""

import io
import struct
from dataclasses import replace

import numpy as np
import pytest
from crc32c import crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from front_end import make_run, through_board
from l1scout.formats.fine_suppression import suppress
from l1scout.formats.raw import (
    FILE_HEADER,
    file_header,
    read_frames,
    read_header,
)
from l1scout.formats.raw_objects import decode_frames
from l1scout.formats.streams.muon import MUONS
from l1scout.formats.wire_formats.run2 import RUN2
from l1scout.formats.wire_formats.run3 import RUN3

RUN = 320040


@pytest.fixture(scope="module")
def packets():
    _, captures, _ = make_run(orbits=23, chunk=5)
    from front_end import Keep

    sink = Keep()
    decoded, _, _ = through_board(captures, sink=sink)
    sink.bytes.seek(0)
    return [bytes(p) for p, _ in RUN3.split(sink.bytes)], decoded


@pytest.fixture(scope="module")
def raw(packets) -> bytes:
    frames = [RUN3.frame(RUN3.find_orbits(p), RUN, 1) for p in packets[0]]
    body = b"".join(f.words.tobytes() for f in frames)
    return file_header(RUN, 1, 23, FILE_HEADER.itemsize + len(body)) + body


def test_frames_follow_their_definition(packets):
    """Written here with struct, field by field; flags mark the orbits as simulated."""
    for packet in packets[0]:
        orbits = RUN3.find_orbits(packet)
        frames = RUN3.frame(orbits, RUN, 7)
        expected = b""
        for (first, end), orbit in zip(orbits.spans, orbits.orbit, strict=True):
            records, _ = suppress(orbits.rows[first:end].reshape(-1, 6, 8), RUN3)
            payload = struct.pack("<I", 7) + records.tobytes()
            head = struct.pack("<HHIIIII", 6, 0x4000, RUN, 1, orbit, len(payload), crc32c(payload))
            expected += head + payload
        assert frames.words.tobytes() == expected
    with pytest.raises(ValueError, match="room for 3"):
        RUN3.frame(orbits, RUN, 7, np.empty(3, np.uint32))
    assert RUN3.frame_room(orbits) >= frames.words.size


def test_header_is_the_documented_one():
    head = file_header(RUN, 3, 5, 4000)
    assert head == b"RAW_0002" + struct.pack("<HHIIIQ", 32, 20, 5, RUN, 3, 4000)
    found = read_header(head)
    assert (found.run, found.lumisection, found.orbits, found.size) == (RUN, 3, 5, 4000)
    assert read_header(head[:31]) is None
    assert read_header(b"RAW_0003" + head[8:]) is None


def test_every_muon_and_orbit_comes_back(raw, packets):
    found = read_header(raw)
    got = decode_frames(list(read_frames(raw, found)), MUONS, found)
    assert got.objects.n_orbits == 23
    assert (found.corrupt, got.corrupt) == (0, 0)
    for name in got.objects.columns:
        np.testing.assert_array_equal(got.objects[name], packets[1].objects[name])
    np.testing.assert_array_equal(got.objects.orbit, packets[1].objects.orbit)
    assert set(got.objects.run) == {RUN}
    assert set(got.objects.lumisection) == {1}


def test_a_packet_over_the_end_of_a_lumisection(packets):
    orbits = RUN3.find_orbits(packets[0][0])
    moved = replace(orbits, orbit=orbits.orbit - orbits.orbit[0] + (1 << 18) - 2)
    data = RUN3.frame(moved, RUN, 1).words.tobytes()
    lumis = [
        f.lumisection
        for f in read_frames(file_header(RUN, 1, 0, 0) + data, read_header(file_header(RUN, 1, 0, 0)))
    ]
    assert lumis == [1, 1] + [2] * (len(lumis) - 2)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_changed_byte_costs_its_orbit_and_no_other(raw, data):
    at = data.draw(st.integers(32, len(raw) - 1))
    bad = bytearray(raw)
    bad[at] ^= data.draw(st.integers(1, 255))
    found = read_header(raw)
    whole = list(read_frames(raw, read_header(raw)))
    kept = [bytes(f.records) for f in read_frames(bytes(bad), found)]
    hit = next(k for k, f in enumerate(whole) if f.start <= at < f.stop)
    head = at - whole[hit].start
    expected = [bytes(f.records) for k, f in enumerate(whole) if k != hit]
    if len(kept) == len(whole):  # flags, lumisection and orbit are in the header, outside the checksum
        assert head in (2, 3, *range(8, 16))
        assert [bytes(f.records) for f in whole] == kept
    else:
        assert kept == expected
        assert found.corrupt == 1
        assert found.corrupt_bytes == whole[hit].stop - whole[hit].start


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_cut_anywhere(raw, data):
    stop = data.draw(st.integers(32, len(raw)))
    found = read_header(raw)
    whole = list(read_frames(raw, read_header(raw)))
    kept = list(read_frames(raw[:stop], found))
    assert [f.orbit for f in kept] == [f.orbit for f in whole if f.stop <= stop]
    assert found.corrupt_bytes == stop - max([32, *(f.stop for f in kept)])


@given(st.binary(max_size=400))
def test_any_bytes(data):
    found = read_header(file_header(RUN, 1, 0, 0))
    n = sum(len(f.records) for f in read_frames(file_header(RUN, 1, 0, 0) + data, found))
    assert n <= len(data)


def test_run2_packets_have_their_orbits_too():
    _, captures, _ = make_run(RUN2, orbits=9)
    from front_end import Keep

    sink = Keep()
    decoded, _, _ = through_board(captures, RUN2, sink)
    packets = [bytes(p) for p, _ in RUN2.split(io.BytesIO(sink.bytes.getvalue()))]
    orbits = np.concatenate([RUN2.find_orbits(p).orbit for p in packets])
    np.testing.assert_array_equal(orbits, np.unique(decoded.objects.orbit))


def test_what_is_saved_of_a_segment_is_of_its_own_source(packets):
    """Frames of two sources one after the other; a damaged one is left out."""
    orbits = RUN3.find_orbits(packets[0][0])
    own, other = (RUN3.frame(orbits, RUN, source).words.tobytes() for source in (1, 2))
    head = file_header(RUN, 1, 0, 0)
    assert RUN3.salvage(head + other + own, 1) == (own, orbits.orbit.tolist())
    assert RUN3.salvage(head + other, 1) == (b"", [])
    damaged = other[:-1] + bytes([other[-1] ^ 1])
    assert RUN3.salvage(head + damaged, 2)[1] == orbits.orbit.tolist()[:-1]
