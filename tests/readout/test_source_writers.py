"""Several sources of one board: each packet goes to the writer of its source, with an account of its own."""

import io

import numpy as np
import pytest

from l1scout.formats.packets import Trailer
from l1scout.formats.wire_formats.objects import OBJECT_PACKETS, encode_packet
from l1scout.readout.source_writers import SourceWriters
from l1scout.readout.spool import Spool
from l1scout.readout.writer import Limits, SegmentWriter

SOURCES = (10, 11, 12)


@pytest.fixture
def writers(tmp_path):
    spool = Spool(tmp_path / "spool")

    def make(source):
        return SegmentWriter(spool, 3, source, OBJECT_PACKETS, Limits(orbits=100))

    return SourceWriters(OBJECT_PACKETS, SOURCES, make)


def packet(source, first, orbits, sent):
    empty = np.zeros(0, np.uint32)
    return encode_packet(source, [(first + k, 0, empty, 0) for k in range(orbits)], Trailer(0, 0, sent))


def take(writers, data):
    for item in OBJECT_PACKETS.split(io.BytesIO(data)):
        writers.step(item)


def counts(writers):
    return {s: dict(w.totals.counts) for s, w in zip(SOURCES, writers, strict=True)}


def test_each_source_has_its_own_account(writers):
    """Source 11 misses a packet, which the next one's counters show."""
    take(writers, b"".join(packet(s, 5, 4, 4) for s in SOURCES))
    take(writers, packet(10, 9, 4, 8) + packet(12, 9, 4, 8))
    take(writers, b"".join(packet(s, 13, 4, 12) for s in SOURCES))
    writers.finish()
    found = counts(writers)
    assert [found[s]["orbits"] for s in SOURCES] == [12, 8, 12]
    assert [found[s].get("missed", 0) for s in SOURCES] == [0, 4, 0]
    assert writers.totals.counts["orbits"] == 32
    assert writers.last_orbit == 16
    assert writers.ended


def test_a_packet_that_is_sent_again_is_a_duplicate(writers):
    burst = b"".join(packet(s, 0, 4, 4) for s in SOURCES)
    take(writers, burst + burst)
    writers.finish()
    assert [c["orbits"] for c in counts(writers).values()] == [4, 4, 4]
    assert [c["duplicate"] for c in counts(writers).values()] == [4, 4, 4]


def test_damage_and_unknown_sources_are_counted_once(writers):
    """Bytes that belong to no source are in the account of the first; what was lost with them is corrupt."""
    whole = b"".join(packet(s, 0, 4, 4) for s in SOURCES)
    stranger = packet(99, 4, 1, 1)
    take(writers, whole + b"?" * 50 + stranger + packet(11, 8, 4, 12))
    writers.finish()
    found = counts(writers)
    assert found[10]["corrupt_bytes"] == 50 + len(stranger)
    assert [found[s].get("corrupt_bytes", 0) for s in (11, 12)] == [0, 0]
    assert (found[11]["orbits"], found[11]["corrupt"], found[12]["orbits"]) == (8, 4, 4)


def test_a_packet_cut_short_takes_of_the_next_and_both_are_counted(writers):
    """Whatever is lost: orbits stored and lost of each source are those that its board counted."""
    lost = packet(11, 4, 4, 8)
    whole = b"".join(packet(s, 0, 4, 4) for s in SOURCES)
    rest = b"".join(packet(s, 8, 4, 12) for s in SOURCES)
    take(writers, whole + packet(10, 4, 4, 8) + lost[:-40] + packet(12, 4, 4, 8) + rest)
    writers.finish()
    for source, found in counts(writers).items():
        stored, gone = found["orbits"], found.get("corrupt", 0) + found.get("missed", 0)
        assert (source, stored + gone) == (source, 12)
    assert counts(writers)[10]["orbits"] == 12
