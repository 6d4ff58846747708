"""Phase-2 events in the format native64: words packed by hand, round trips, segments, and damage."""

import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.formats.events64 import EVENT_HEADER
from l1scout.formats.streams.puppi import CHARGED, COLUMNS, NEUTRAL, PUPPI
from l1scout.formats.wire_format import decode_packets, recognise_format
from l1scout.formats.wire_formats.native64 import NATIVE64
from l1scout.readout.spool import Spool
from l1scout.readout.writer import SegmentWriter

ORBIT = 0x92345678
HEADER = 0xB592345678BB8002
"""Event of run 21 with the error bit, orbit 0x92345678, native BX 3000, two candidates."""
CHARGED_WORD, NEUTRAL_WORD = 0x1936D3AAF2CBA329, 0x00AA653061F3C04D
CHARGED_VALUES = {"hwPt": 9001, "hwEta": -1234, "hwPhi": 700, "hwId": 5, "hwZ0": -301, "hwDxy": 77}
NEUTRAL_VALUES = {"hwPt": 77, "hwEta": 1999, "hwPhi": -1000, "hwId": 1, "hwPuppiWeight": 613, "hwEmId": 42}


def pack(*words: int) -> bytes:
    return struct.pack(f"<{len(words)}Q", *words)


def event(orbit: int, native_bx: int, *candidates: int, error: int = 0) -> bytes:
    return pack(2 << 62 | error << 61 | orbit << 24 | native_bx << 12 | len(candidates), *candidates)


def decode(data: bytes):
    decoded, found = decode_packets(io.BytesIO(data), NATIVE64)
    return decoded["puppi"], found


def same(one: OrbitBatch, two: OrbitBatch) -> None:
    for name in ("orbit", "bx", "offsets"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    for name in COLUMNS:
        np.testing.assert_array_equal(one[name], two[name])


@pytest.mark.parametrize(
    ("layout", "word", "values"),
    [
        (CHARGED, CHARGED_WORD, {**CHARGED_VALUES, "hwQuality": 6}),
        (NEUTRAL, NEUTRAL_WORD, NEUTRAL_VALUES),
        (
            EVENT_HEADER,
            HEADER,
            {"count": 2, "zero": 0, "bx": 3000, "orbitLow": 0x5678, "orbitHigh": 0x9234}
            | {"run": 21, "error": 1, "tag": 2},
        ),
    ],
    ids=lambda x: getattr(x, "name", None),
)
def test_words_packed_by_hand(layout, word, values):
    decoded = layout.decode(np.array([word], np.uint64))
    assert {n: int(c[0]) for n, c in decoded.items()} == values
    assert int(layout.encode({n: [v] for n, v in values.items()})[0]) == word


def test_events_packed_by_hand():
    """Native BX 3000 is BX 3001; what a candidate does not have is 0."""
    decoded, found = decode(pack(HEADER, CHARGED_WORD, NEUTRAL_WORD))
    got = decoded.objects
    assert (got.orbit.tolist(), got.bx.tolist(), got.counts.tolist()) == ([ORBIT], [3001], [2])
    assert {n: got[n].tolist() for n in COLUMNS} == {
        "hwPt": [9001, 77],
        "hwEta": [-1234, 1999],
        "hwPhi": [700, -1000],
        "hwId": [5, 1],
        "hwZ0": [-301, 0],
        "hwDxy": [77, 0],
        "hwQuality": [6, 0],
        "hwPuppiWeight": [0, 613],
        "hwEmId": [0, 42],
    }
    assert decoded.flagged.tolist() == [ORBIT]
    assert (found.orbits, found.blocks, found.flagged, found.corrupt) == (1, 1, 1, 0)
    assert found.objects == {"puppi": 2}


def test_scales():
    values = (
        CHARGED["hwPt"].to_physical([0, 2]),
        CHARGED["hwEta"].to_physical([720]),
        NEUTRAL["hwPuppiWeight"].to_physical([256]),
    )
    assert np.isnan(values[0][0])
    assert (values[0][1], values[1][0], values[2][0]) == (0.5, pytest.approx(np.pi), 1.0)


def test_empty_orbits_orbit_headers_and_padding():
    data = event(7, 0) + event(7, 3563, CHARGED_WORD) + pack(0, 0, 0)
    data += pack(3 << 62 | 8 << 24 | 2) + event(8, 5) + event(9, 1, 0, NEUTRAL_WORD)
    decoded, found = decode(data)
    assert decoded.objects.orbit.tolist() == [7, 9]
    assert decoded.objects.bx.tolist() == [3564, 2]
    assert decoded.objects.counts.tolist() == [1, 1]  # hwPt 0 is no candidate
    assert (found.packets, found.orbits, found.blocks, found.corrupt_bytes) == (3, 3, 2, 0)


@st.composite
def batches(draw):
    """Candidates of some crossings of two or three orbits."""
    orbits = draw(st.integers(2, 3))
    when = sorted(draw(st.sets(st.tuples(st.integers(0, orbits - 1), st.integers(1, 3564)), max_size=8)))
    counts = [draw(st.integers(1, 6)) for _ in when]
    n = sum(counts)
    charged = np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)), np.bool_)
    columns = dict.fromkeys(COLUMNS, np.zeros(n, np.int16))
    for layout, own in ((CHARGED, charged), (NEUTRAL, ~charged)):
        for f in layout.fields:
            low = {"hwPt": 1, "hwId": 2 if layout is CHARGED else 0}.get(f.name, f.low)
            high = 1 if f.name == "hwId" and layout is NEUTRAL else f.high
            values = np.array(draw(st.lists(st.integers(low, high), min_size=n, max_size=n)), np.int16)
            columns[f.name] = np.where(own, values, columns[f.name])
    first = draw(st.integers(0, 2**32 - 4))
    orbit, bx = (np.array([w[k] for w in when], np.int64) for k in range(2))
    return first, orbits, OrbitBatch(orbit + first, bx, np.cumsum([0, *counts]), columns)


@given(batches(), st.integers(0, 31))
@settings(max_examples=40, deadline=None)
def test_packets_and_segments_give_back_every_candidate_and_orbit(case, run):
    first, orbits, batch = case
    data = NATIVE64.encode(batch, first, first + orbits, run)
    decoded, found = decode(data)
    same(decoded.objects, batch)
    assert (found.packets, found.orbits, found.corrupt_bytes) == (orbits, orbits, 0)
    packets = [bytes(packet) for packet, _ in NATIVE64.split(io.BytesIO(data))]
    frames = [NATIVE64.frame(NATIVE64.find_orbits(memoryview(p)), run, 1) for p in packets]
    segment = b"".join(f.words.tobytes() for f in frames)
    assert len(segment) == 8 * (orbits + len(batch) + batch.n_objects)
    assert (
        sum(f.objects["puppi"] for f in frames) == batch.n_objects == NATIVE64.count_objects(segment)["puppi"]
    )
    decoded, found = decode(segment)
    same(decoded.objects, batch)
    assert found.orbits == orbits
    body, numbers = NATIVE64.salvage(segment + b"\1" * 11, 1)
    assert (body, numbers) == (segment, list(range(first, first + orbits)))


@given(batches())
@settings(max_examples=30, deadline=None)
def test_payloads_of_the_stream_give_back_every_candidate(case):
    """A payload has the events of one orbit."""
    first, orbits, batch = case
    words, starts = PUPPI.encode(batch)
    bounds = starts[np.searchsorted(batch.orbit, np.arange(first, first + orbits + 1))]
    decoded, ends = PUPPI.decode(words, bounds, np.zeros(orbits, np.int64))
    assert ends.tolist() == bounds[1:].tolist()
    same(decoded.objects, batch)


SOME = OrbitBatch(
    np.array([5, 5, 7]),
    np.array([1, 3564, 20]),
    np.array([0, 1, 3, 4]),
    {
        n: np.array([1, 2, 3, 1], np.int16) if n in ("hwPt", "hwId") else np.zeros(4, np.int16)
        for n in COLUMNS
    },
)


@pytest.fixture(scope="module")
def stream() -> bytes:
    return NATIVE64.encode(SOME, 5, 9)


def test_a_changed_byte_costs_no_more_than_its_neighbourhood(stream):
    random = np.random.default_rng(3)
    for _ in range(60):
        bad = bytearray(stream)
        at = int(random.integers(len(bad)))
        bad[at] ^= 1 << int(random.integers(8))
        decoded, found = decode(bytes(bad))
        assert found.corrupt_bytes < 8 * 300
        assert decoded.objects.n_objects >= SOME.n_objects - 2


@pytest.mark.parametrize("junk", [1, 7, 8, 1000, (1 << 22) + 3])
def test_bytes_put_in_or_taken_out_are_skipped(stream, junk):
    noise = np.random.default_rng(junk).integers(0, 256, junk, np.uint8).tobytes()
    cut = len(stream) // 16 * 8
    decoded, found = decode(stream[:cut] + noise + stream[cut:])
    same(decoded.objects, SOME)
    assert abs(found.corrupt_bytes - junk) <= 8 * 16
    _, found = decode(stream[: cut - 3] + stream[cut:])
    assert 0 < found.corrupt_bytes <= 8 * 16


@given(st.binary(max_size=400))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_read_or_counted(data):
    decoded, _ = decode(data)
    read = sum(len(p) for p, _ in NATIVE64.split(io.BytesIO(data)))
    skipped = sum(n for _, n in NATIVE64.split(io.BytesIO(data)))
    assert read + skipped == len(data)
    assert decoded.objects.n_objects <= len(data) // 8
    orbits = NATIVE64.find_orbits(memoryview(data))
    assert 8 * int((orbits.spans[:, 1] - orbits.spans[:, 0]).sum()) + orbits.found.corrupt_bytes == len(data)


def test_the_registry_recognises_it(stream):
    assert recognise_format(io.BytesIO(stream)) is NATIVE64
    assert recognise_format(io.BytesIO(stream[: 8 * 100])) is NATIVE64
    assert recognise_format(io.BytesIO(pack(HEADER, CHARGED_WORD, NEUTRAL_WORD))) is NATIVE64
    for other in (b"", bytes(800), b"text of some kind, " * 100, pack(HEADER, CHARGED_WORD)):
        assert recognise_format(io.BytesIO(other)) is not NATIVE64


def test_readout_writes_its_segments(stream, tmp_path):
    """Readout knows no format by name: orbits, empty ones too, and their files come out as in Run 3."""
    writer = SegmentWriter(Spool(tmp_path, 1 << 30), 1, 5, NATIVE64)
    for packet, skipped in NATIVE64.split(io.BytesIO(stream)):
        writer.step((packet, skipped))
    segment = writer.finish()
    assert (segment.orbits, segment.first_orbit, segment.last_orbit, segment.blocks) == (4, 5, 8, 3)
    assert dict(segment.objects) == {"puppi": 4}
    path = next(tmp_path.glob("*.native64"))
    decoded, found = decode(path.read_bytes())
    same(decoded.objects, SOME)
    assert found.orbits == 4


def test_truncated_events_flag_their_orbit_in_the_account(tmp_path):
    """No candidates and the error bit: the orbit is there, and readout counts it as flagged."""
    data = event(7, 5, CHARGED_WORD) + event(8, 5, error=1) + event(8, 9, NEUTRAL_WORD) + event(9, 1)
    packets = [(bytes(p), skipped) for p, skipped in NATIVE64.split(io.BytesIO(data))]
    found = [NATIVE64.find_orbits(memoryview(p)).flagged.tolist() for p, _ in packets]
    assert [orbits for orbits in found if orbits] == [[8]]
    writer = SegmentWriter(Spool(tmp_path / "spool"), 7, 1, NATIVE64)
    for packet, skipped in packets:
        writer.step((memoryview(packet), skipped))
    segment = writer.finish()
    assert (segment.orbits, segment.flagged, segment.corrupt) == (3, 1, 0)


def test_damage_is_counted_once_and_in_bytes():
    """A word that is none of an event ends what can be read of a packet."""
    good = event(7, 5, CHARGED_WORD) + event(7, 6, NEUTRAL_WORD)
    found = NATIVE64.find_orbits(memoryview(good + pack(1, 2, 3))).found
    assert (found.orbits, found.blocks, found.corrupt, found.corrupt_bytes) == (1, 2, 1, 24)
    found = NATIVE64.find_orbits(memoryview(good)).found
    assert (found.orbits, found.blocks, found.corrupt, found.corrupt_bytes) == (1, 2, 0, 0)
    for wrong in (event(7, 6, NEUTRAL_WORD), event(7, 5), pack(2 << 62 | 7 << 24 | 7 << 12 | 1 << 8)):
        found = NATIVE64.find_orbits(
            memoryview(good + wrong)
        ).found  # a BX once more, an earlier one, spare bits
        assert (found.blocks, found.corrupt, found.corrupt_bytes) == (2, 1, len(wrong))


def test_orbits_that_do_not_rise_are_not_this_format():
    """As a file of other 64-bit words may look by chance: the same orbit begins again and again."""

    def file(orbits):
        return io.BytesIO(b"".join(pack(3 << 62 | n << 24) + event(n, 5, CHARGED_WORD) for n in orbits))

    assert NATIVE64.recognises(file(range(20)))
    assert not NATIVE64.recognises(file([7] * 20))
    assert not NATIVE64.recognises(file(range(20, 0, -1)))
