"""Calorimeter jets: words packed by hand, round trips of both forms of records, and damage."""

import struct

import numpy as np
import pytest
from crc32c import crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.formats.calo_objects import DMA_SOURCE, DMA_WORDS, MAX_OBJECTS
from l1scout.formats.raw import read_frames, read_header
from l1scout.formats.raw_objects import decode_frames
from l1scout.formats.stream import STREAMS, streams_of_sources
from l1scout.formats.streams.jet import JET, JETS, TCP_SOURCE

COLUMNS = ("hwPt", "hwEta", "hwPhi", "hwDisplaced", "hwQual")
ONE, TWO, THREE = 0x2C1E8D55, 0x1C7A0003, 0x380327FF
"""hwPt 1365 eta -47 phi 131 displaced 1 qual 2; 3, 64, 143, 1, 1; 2047, 100, 0, 1, 3."""
VALUES = [(1365, -47, 131, 1, 2), (3, 64, 143, 1, 1), (2047, 100, 0, 1, 3)]


def test_words_packed_by_hand():
    decoded = JET.decode(np.array([ONE, TWO, THREE], np.uint32))
    assert list(zip(*(decoded[n].tolist() for n in COLUMNS), strict=True)) == VALUES
    assert JET.encode(decoded).tolist() == [ONE, TWO, THREE]


def test_scales():
    pt, eta, phi = (JET[n].to_physical(v) for n, v in (("hwPt", [0, 1]), ("hwEta", [-128]), ("hwPhi", [36])))
    assert np.isnan(pt[0])
    assert (pt[1], eta[0]) == (0.5, -128 * 0.0435)
    assert phi[0] == pytest.approx(np.pi / 2)


def decode(words, *sizes, sources):
    bounds = np.cumsum([0, *sizes])
    return JETS.decode(np.array(words, np.uint32), bounds, np.array(sources))


def test_record_over_tcp():
    """The header's upper bytes are in no public source: only its low byte counts."""
    words = [0xABCDEF03, 3001, 0x92345678, ONE, 0x7FF80000 | 0, THREE, 0, 7, 5]
    decoded, ends = decode(words, 9, sources=[TCP_SOURCE])
    jets = decoded.objects
    assert (jets.orbit.tolist(), jets.bx.tolist(), jets.counts.tolist()) == ([0x12345678], [3001], [2])
    assert list(zip(*(jets[n].tolist() for n in COLUMNS), strict=True)) == [VALUES[0], VALUES[2]]
    assert ends.tolist() == [9]  # a record without jets is one, too


def test_record_of_the_dma():
    """Jets are on the first two links, jet2 before jet1; words of the links and of other objects are none."""
    words = [0xFFFFFFFF, 7, 5] + [0xFFFFFFFF] * 56
    words[4:10] = [TWO, 0, 0, 0, 0, 0]
    words[11:17] = [ONE, THREE, 0, 0, 0, 0]
    decoded, ends = decode(words, 59, sources=[DMA_SOURCE])
    jets = decoded.objects
    assert (jets.orbit.tolist(), jets.bx.tolist(), ends.tolist()) == ([5], [7], [59])
    got = list(zip(*(jets[n].tolist() for n in COLUMNS), strict=True))
    assert got == [VALUES[0], VALUES[2], VALUES[1]]


def test_frames_of_both_sources_in_one_file():
    def frame(orbit: int, source: int, words: list[int]) -> bytes:
        payload = struct.pack(f"<{1 + len(words)}I", source, *words)
        return struct.pack("<HHIIIII", 6, 0, 380963, 1, orbit, len(payload), crc32c(payload)) + payload

    dma = [0, 9, 4, *([0] * 8), ONE, *([0] * 47)]
    body = frame(3, TCP_SOURCE, [1, 8, 3, TWO]) + frame(4, DMA_SOURCE, dma)
    data = b"RAW_0002" + struct.pack("<HHIIIQ", 32, 20, 2, 380963, 1, 32 + len(body)) + body
    header = read_header(data)
    decoded = decode_frames(list(read_frames(data, header)), JETS, header)
    jets = decoded.objects
    assert (jets.orbit.tolist(), jets.bx.tolist(), jets["hwPt"].tolist()) == ([3, 4], [8, 9], [3, 1365])
    assert (jets.n_orbits, decoded.corrupt) == (2, 0)


def test_sources_name_their_streams():
    assert [s.name for s in streams_of_sources([TCP_SOURCE])] == ["jet"]
    assert [s.name for s in streams_of_sources([DMA_SOURCE])] == ["egamma", "etsum", "jet", "tau"]
    assert [s.name for s in streams_of_sources([1])] == ["muon"]
    assert streams_of_sources([999]) == []
    assert STREAMS["jet"] is JETS


@st.composite
def batches(draw):
    """Jets (hwPt > 0) of some crossings in order of time."""
    when = sorted(draw(st.sets(st.tuples(st.integers(0, 2**31 - 1), st.integers(1, 3564)), max_size=5)))
    counts = [draw(st.integers(1, MAX_OBJECTS)) for _ in when]
    n = sum(counts)
    columns = {
        f.name: np.array(
            draw(st.lists(st.integers(1 if f.name == "hwPt" else f.low, f.high), min_size=n, max_size=n)),
            np.int16,
        )
        for f in JET.fields
    }
    orbit, bx = (np.array([w[k] for w in when], np.int64) for k in range(2))
    return OrbitBatch(orbit, bx, np.cumsum([0, *counts]), columns)


@given(batches(), st.sampled_from([DMA_SOURCE, TCP_SOURCE]))
@settings(max_examples=60, deadline=None)
def test_encode_then_decode(batch, source):
    words, starts = JETS.encode(batch, source)
    decoded, ends = JETS.decode(words, np.array([0, words.size]), np.array([source]))
    got = decoded.objects
    assert ends.tolist() == [words.size]
    assert got.orbit.tolist() == batch.orbit.tolist()
    assert got.bx.tolist() == batch.bx.tolist()
    assert got.counts.tolist() == batch.counts.tolist()
    for name in COLUMNS:
        np.testing.assert_array_equal(got[name], batch[name])
    assert np.diff(starts).tolist() == [DMA_WORDS if source == DMA_SOURCE else 3 + n for n in batch.counts]
    assert JETS.counts(got) == {"jet": batch.n_objects}


@given(st.lists(st.integers(0, 2**32 - 1), max_size=200), st.data())
@settings(max_examples=200, deadline=None)
def test_any_words_are_read_up_to_the_first_that_make_no_sense(words, data):
    cut = data.draw(st.integers(0, len(words)))
    sources = data.draw(st.tuples(*[st.sampled_from([DMA_SOURCE, TCP_SOURCE])] * 2))
    decoded, ends = decode(words, cut, len(words) - cut, sources=sources)
    assert 0 <= ends[0] <= cut <= ends[1] <= len(words)
    assert decoded.objects.n_objects <= len(words)


def test_too_many_jets_are_not_written():
    jets = {n: np.ones(13, np.int16) for n in COLUMNS}
    with pytest.raises(ValueError, match="has 13 objects, but a record holds 12"):
        JETS.encode(OrbitBatch(np.array([1]), np.array([1]), np.array([0, 13]), jets))
