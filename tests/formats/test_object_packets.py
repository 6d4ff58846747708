"""Packets of records of any source: what is written is found again; damage costs an orbit, or is counted."""

import io
import struct

import numpy as np
import pytest
from crc32c import crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from l1scout.formats.marks import SIMULATED
from l1scout.formats.packets import Trailer
from l1scout.formats.stream import STREAMS
from l1scout.formats.wire_format import WIRE_FORMATS, decode_packets, recognise_format
from l1scout.formats.wire_formats.objects import OBJECT_PACKETS, encode_packet, payloads_of
from stream_rows import objects

FORM = WIRE_FORMATS["objects"]


def packets(source, batches, orbits, per_packet=3):
    """Return the packets of some orbits of a source."""
    made, sent = b"", 0
    for first in range(0, orbits.size, per_packet):
        part = orbits[first : first + per_packet]
        sent += part.size
        made += encode_packet(source, payloads_of(batches, source, part), Trailer(0, 0, sent))
    return made


def test_hand_packed():
    """A packet of two orbits, the second one empty, written down byte by byte."""
    tower = 5 | 3 << 9 | 9 << 12 | 70 << 16 | (-41 & 0xFF) << 24
    records = struct.pack("<4I", 1, 3001, 77, tower)
    one = struct.pack("<4I", 77, SIMULATED, 4, 1)
    two = struct.pack("<4I", 78, SIMULATED, 0, 0)
    head = struct.pack("<8sHHII", b"L1SOBJCT", 32, 1, 2, 6 + 5 + 4 + 5 + 8)
    counters = struct.pack("<4Q", 0xDEADBEEFDEADBEEF, SIMULATED << 61, 4, 9)
    first = one + struct.pack("<I", crc32c(records, crc32c(one))) + records
    packet = head + struct.pack("<I", crc32c(head)) + first + two + struct.pack("<I", crc32c(two)) + counters
    orbits = [(77, SIMULATED, np.frombuffer(records, "<u4"), 1), (78, SIMULATED, np.zeros(0, np.uint32), 0)]
    assert encode_packet(32, orbits, Trailer(0, 4, 9)) == packet
    found = FORM.find_orbits(memoryview(packet))
    assert found.orbit.tolist() == [77, 78]
    assert found.blocks_of_orbit.tolist() == [1, 0]
    assert found.simulated is True
    assert FORM.source_of(memoryview(packet)) == 32
    assert FORM.trailer(memoryview(packet)) == Trailer(0, 4, 9)
    towers = FORM.decode(found)["tower"].objects
    assert {n: c.tolist() for n, c in towers.columns.items()} == {
        **{"hwEt": [5], "erBits": [3], "miscBits": [9], "hwPhi": [71], "hwEta": [-41]}
    }
    assert (towers.orbit.tolist(), towers.bx.tolist()) == ([77], [3001])


@pytest.mark.parametrize(
    ("source", "names"),
    [(2, ("jet", "egamma", "tau", "etsum")), (24, ("etsum",)), (13, ("stub",)), (4, ("gt",))],
)
def test_round_trip(source, names):
    """Objects of all streams of a source come back, and orbits without objects are there."""
    rng = np.random.default_rng(source)
    batches = {name: objects(name, rng, first_orbit=100, orbits=10) for name in names}
    if "stub" in batches:
        batches["stub"] = batches["stub"].select(batches["stub"]["sector"] == source - 10)
        batches["stub"]["tag"][:] = (
            STREAMS["stub"].decode(*_payload(batches["stub"], source))[0].objects["tag"]
        )
    made = packets(source, batches, np.arange(98, 113))
    assert recognise_format(io.BytesIO(made)) is OBJECT_PACKETS
    decoded, found = decode_packets(io.BytesIO(made), FORM)
    assert (found.packets, found.orbits, found.corrupt) == (5, 15, 0)
    for name, batch in batches.items():
        got = decoded[name].objects
        assert np.array_equal(got.orbit, batch.orbit)
        for column in got.columns:
            assert np.array_equal(got[column], batch[column]), (name, column)


def _payload(batch, source):
    words, starts = STREAMS["stub"].encode(batch, source)
    return words, np.array([0, starts[-1]]), np.array([source])


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_damage_costs_an_orbit_or_is_counted(data):
    """Whatever byte changes: orbits that are found are as sent, and the others are counted."""
    rng = np.random.default_rng(3)
    batch = objects("tower", rng, rows=20, first_orbit=0, orbits=6)
    sent = packets(32, {"tower": batch}, np.arange(6), per_packet=2)
    at = data.draw(st.integers(0, len(sent) - 1))
    changed = bytearray(sent)
    changed[at] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.sampled_from([0, 0, 7, 60]))
    decoded, found = decode_packets(io.BytesIO(bytes(changed[: len(changed) - cut])), FORM)
    if "tower" in decoded:
        got = decoded["tower"].objects
        key = {(o, b): k for k, (o, b) in enumerate(zip(batch.orbit, batch.bx, strict=True))}
        for row, (orbit, bx) in enumerate(zip(got.orbit, got.bx, strict=True)):
            true = key[orbit, bx]
            span, of = got.offsets[row : row + 2], batch.offsets[true : true + 2]
            assert np.array_equal(got["hwEt"][slice(*span)], batch["hwEt"][slice(*of)])
    in_trailer = any(at in range(end - 32, end) for end in ends(sent))
    assert found.orbits == 6 or found.corrupt + found.corrupt_bytes > 0
    assert found.orbits >= 4 or not cut or found.corrupt_bytes
    if in_trailer and not cut:
        assert found.orbits == 6


def ends(sent):
    """Return where packets end."""
    at = 0
    while at < len(sent):
        at += 4 * struct.unpack_from("<I", sent, at + 16)[0]
        yield at


def test_random_bytes_are_no_packets():
    noise = np.random.default_rng(1).bytes(300_000)
    decoded, found = decode_packets(io.BytesIO(noise), FORM)
    assert found.orbits == 0
    assert found.corrupt_bytes == len(noise)
    assert all(part.objects.n_objects == 0 for part in decoded.values())


def test_a_header_with_an_absurd_size_is_damage():
    """No memory is taken because of a number in a header."""
    head = struct.pack("<8sHHII", b"L1SOBJCT", 2, 1, 1, (1 << 32) - 1)
    _, found = decode_packets(io.BytesIO(head + struct.pack("<I", crc32c(head)) + bytes(100)), FORM)
    assert (found.orbits, found.corrupt_bytes) == (0, 124)
