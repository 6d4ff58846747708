"""Packets into segments: nothing lost, nothing twice, every orbit that the board sent in the account."""

import io
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from board_truth import stored_orbits
from front_end import decode_muons
from l1scout.core.orbit_batch import muon_counts
from l1scout.core.provenance import data_label
from l1scout.errors import InputError
from l1scout.files import checksum
from l1scout.formats.marks import MARK_BITS, SIMULATED
from l1scout.formats.packets import TRAILER_BYTES, Trailer
from l1scout.formats.raw import read_frames, read_header
from l1scout.formats.streams.muon import read_records
from l1scout.formats.wire_formats.run2 import RUN2
from l1scout.formats.wire_formats.run3 import ORBIT_HEADER, RUN3
from l1scout.lhc import ORBITS_PER_LUMISECTION
from l1scout.readout.object_counts import sum_counts
from l1scout.readout.segments import Segment
from l1scout.readout.spool import Spool
from l1scout.readout.writer import Limits, SegmentWriter
from live_packets import dropping, feed, packets, repeated

RUN = 7
_packets = cache(packets)


class KilledError(Exception):
    """The readout is killed here."""


def kill(spool: Spool, writer: SegmentWriter) -> None:
    """Leave everything as a process does that is killed."""
    spool.close()
    if writer._open:
        writer._open.file.close()


def orbits_in(spool: Spool) -> list[int]:
    found = []
    for segment in spool.waiting():
        data = spool.path(segment).read_bytes()
        assert checksum(spool.path(segment)) == (segment.size, segment.crc32c)
        raw = read_header(data)
        orbits = [number for number, _ in stored_orbits(data)]
        assert (raw.orbits, raw.size, raw.run) == (segment.orbits, segment.size, RUN)
        assert len(orbits) == segment.orbits
        if orbits:
            assert (orbits[0], orbits[-1]) == (segment.first_orbit, segment.last_orbit)
        found += orbits
    return found


def total(spool: Spool, name: str) -> int:
    return sum(getattr(s, name) for s in spool.waiting())


def test_a_run_is_all_there(tmp_path):
    stream = b"".join(_packets())
    truth, _ = decode_muons(io.BytesIO(stream), RUN3)
    spool = Spool(tmp_path / "spool")
    writer = SegmentWriter(spool, RUN, 1, RUN3, Limits(orbits=10))
    feed(writer, stream)
    last = writer.finish()
    assert orbits_in(spool) == list(range(24))
    segments = list(spool.waiting())
    assert [s.index for s in segments] == [0, 1, 2]
    assert [s.orbits for s in segments] == [10, 10, 4]
    assert [s.last for s in segments] == [False, False, True]
    assert last == segments[-1]
    assert total(spool, "sent") == 24
    final, intermediate = muon_counts(truth.objects)
    objects = sum_counts(*(s.objects for s in segments))
    assert objects == {"muon": final, "intermediate_muon": intermediate}
    files = [spool.path(s).read_bytes() for s in segments]
    data = b"".join(bytes(f.records) for d in files for f in read_frames(d, read_header(d)))
    got = read_records(data, RUN3)
    for name in got.objects.columns:
        np.testing.assert_array_equal(got.objects[name], truth.objects[name])


def test_run2_segments_are_bare_records(tmp_path):
    stream = b"".join(_packets("run2"))
    truth, _ = decode_muons(io.BytesIO(stream), RUN2)
    spool = Spool(tmp_path / "spool")
    writer = SegmentWriter(spool, RUN, 1, RUN2, Limits(orbits=10))
    feed(writer, stream, "run2")
    writer.finish()
    data = b"".join(spool.path(s).read_bytes() for s in spool.waiting())
    got = read_records(data, RUN2)
    assert got.corrupt == 0
    np.testing.assert_array_equal(got.objects["hwPt"], truth.objects["hwPt"])
    np.testing.assert_array_equal(got.objects.orbit, truth.objects.orbit)
    assert total(spool, "sent") == 24


FATES = ("good", "good", "good", "lost", "twice", "damaged", "cut")


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_happens_to_packets(tmp_path_factory, data):
    """Packets are lost, come twice, are damaged or cut; the readout is killed between any two."""
    folder = tmp_path_factory.mktemp("spool")
    sent = dropping(_packets(orbits=30), data.draw(st.sets(st.integers(0, 8), max_size=3)))
    n = len(sent)
    fates = data.draw(st.lists(st.sampled_from(FATES), min_size=n - 3, max_size=n - 3)) + ["good"] * 3
    killed = data.draw(st.lists(st.integers(0, 5), min_size=n - 1, max_size=n - 1))
    places = data.draw(st.lists(st.floats(0, 0.9999), min_size=n, max_size=n))
    flips = data.draw(st.lists(st.integers(1, 255), min_size=n, max_size=n))
    spool = Spool(folder)
    writer = SegmentWriter(spool, RUN, 1, RUN3, Limits(orbits=8))
    intact: list[int] = []
    for k, (whole, fate) in enumerate(zip(sent, fates, strict=True)):
        packet = whole
        if fate == "lost":
            continue
        if fate == "damaged":
            at = int(places[k] * len(packet))
            packet = packet[:at] + bytes([packet[at] ^ flips[k]]) + packet[at + 1 :]
        elif fate == "cut":
            packet = packet[: int(places[k] * (len(packet) - TRAILER_BYTES))] + packet[-TRAILER_BYTES:]
        else:
            intact += RUN3.find_orbits(memoryview(packet)).orbit.tolist()
        feed(writer, packet)
        if fate == "twice":
            feed(writer, packet)
        if [*killed, 1][k] == 0:  # and started again
            # a packet that is held back is lost with the process, as what is in its sockets
            held, last = writer._sequence._held, writer._sequence.last
            intact = [n for n in intact if n <= last or held is None or n not in held.orbits.orbit]
            kill(spool, writer)
            spool = Spool(folder)
            writer = SegmentWriter(spool, RUN, 1, RUN3, Limits(orbits=8))
    writer.finish()
    found = orbits_in(spool)
    assert sorted(set(found)) == found
    assert set(intact) <= set(found)
    trailer = Trailer.decode(sent[-1][-TRAILER_BYTES:])
    damaged = "damaged" in fates or "cut" in fates
    if not damaged:
        assert found == intact
        assert total(spool, "corrupt") == 0
    assert total(spool, "sent") == trailer.orbits
    if not damaged:
        assert total(spool, "dropped") == trailer.dropped
    assert total(spool, "orbits") == len(found)


def test_killed_after_the_last_packet(tmp_path):
    sent = _packets()
    spool = Spool(tmp_path / "spool")
    writer = SegmentWriter(spool, RUN, 1, RUN3)
    feed(writer, b"".join(sent[:2] + sent[4:]))
    kill(spool, writer)
    spool = Spool(tmp_path / "spool")
    (recovered,) = spool.recovered
    assert recovered.orbits == 18
    SegmentWriter(spool, RUN, 1, RUN3).finish()
    assert (total(spool, "orbits"), total(spool, "missed")) == (18, 6)


@pytest.mark.parametrize("index", [1, 2, 3, 4])
def test_killed_between_the_two_segments_of_a_packet(tmp_path, monkeypatch, index):
    """What the next segment would have begun with comes again with the file, and is stored."""

    def begin(self, lumi):
        if self.position.index == index:
            raise KilledError
        return begin_segment(self, lumi)

    spool = Spool(tmp_path)
    writer, begin_segment = SegmentWriter(spool, 7, 1, RUN3, Limits(orbits=100)), SegmentWriter._begin
    monkeypatch.setattr(SegmentWriter, "_begin", begin)
    with pytest.raises(KilledError):
        feed(writer, repeated("run3", 0, 480))
    monkeypatch.undo()
    spool.close()
    spool = Spool(tmp_path)
    writer = SegmentWriter(spool, 7, 1, RUN3, Limits(orbits=100))
    writer.read_again()
    feed(writer, repeated("run3", 0, 480))
    writer.finish()
    assert orbits_in(spool) == list(range(480))
    assert total(spool, "corrupt") == 0


def test_a_board_that_begins_again(tmp_path):
    spool = Spool(tmp_path / "spool")
    writer = SegmentWriter(spool, RUN, 1, RUN3)
    feed(writer, repeated("run3", 0, 72))
    feed(writer, repeated("run3", 100, 96))  # 28 orbits later, its counters from 0
    writer.finish()
    assert total(spool, "orbits") == 72 + 96
    assert total(spool, "missed") == 28
    assert total(spool, "corrupt") == 0


@pytest.mark.parametrize("dropped", [0, 5])
def test_a_board_that_begins_again_just_before_the_end(tmp_path, dropped):
    """Only one packet of it came: no later one confirms its counters."""
    spool = Spool(tmp_path / "spool")
    writer = SegmentWriter(spool, RUN, 1, RUN3)
    feed(writer, repeated("run3", 0, 72))
    first = next(RUN3.split(io.BytesIO(repeated("run3", 100, 96))))[0]
    n = Trailer.decode(first[-TRAILER_BYTES:]).orbits
    feed(writer, bytes(first[:-TRAILER_BYTES]) + Trailer(0, dropped, n).encode())
    writer.finish()
    assert total(spool, "orbits") == 72 + n
    assert (total(spool, "missed"), total(spool, "dropped")) == (28 - dropped, dropped)


def test_absurd_counters_at_the_end_are_not_believed(tmp_path):
    sent = list(_packets())
    sent[-1] = sent[-1][:-TRAILER_BYTES] + Trailer(0, 1 << 60, 1 << 62).encode()
    spool = Spool(tmp_path / "spool")
    writer = SegmentWriter(spool, RUN, 1, RUN3)
    feed(writer, b"".join(sent))
    writer.finish()
    assert (total(spool, "sent"), total(spool, "orbits"), total(spool, "dropped")) == (24, 24, 0)


def test_absurd_counters_are_not_believed(tmp_path):
    sent = list(_packets())
    sent[2] = sent[2][:-TRAILER_BYTES] + Trailer(0, 1 << 60, 1 << 62).encode()
    spool = Spool(tmp_path / "spool")
    writer = SegmentWriter(spool, RUN, 1, RUN3)
    feed(writer, b"".join(sent))
    writer.finish()
    assert total(spool, "sent") == 24
    assert total(spool, "orbits") == 24
    assert total(spool, "dropped") == 0


def test_a_wrong_counter_that_could_be_right(tmp_path):
    """A packet is lost, and the next one's trailer does not tell of it: the one after does."""
    sent = list(_packets())
    del sent[1]
    sent[1] = sent[1][:-TRAILER_BYTES] + Trailer(0, 0, 6).encode()
    spool = Spool(tmp_path / "spool")
    writer = SegmentWriter(spool, RUN, 1, RUN3)
    feed(writer, b"".join(sent))
    writer.finish()
    assert (total(spool, "orbits"), total(spool, "missed"), total(spool, "sent")) == (21, 3, 24)


def test_segments_do_not_cross_lumisections(tmp_path):
    spool = Spool(tmp_path / "spool")
    writer = SegmentWriter(spool, RUN, 1, RUN3, Limits(orbits=1 << 30))
    feed(writer, repeated("run3", ORBITS_PER_LUMISECTION - 11, 24))
    writer.finish()
    assert [(s.lumisection, s.orbits) for s in spool.waiting()] == [(1, 11), (2, 13)]
    assert "_ls0002_" in list(spool.waiting())[1].name


def test_time_and_size_close_a_segment(tmp_path):
    now = [0.0]
    spool = Spool(tmp_path / "spool")
    limits = Limits(orbits=1 << 20, bytes=500, seconds=5)
    writer = SegmentWriter(spool, RUN, 1, RUN3, limits, clock=lambda: now[0])
    sent = _packets()
    feed(writer, sent[0])
    writer.tick()
    assert len(spool) == 0
    now[0] = 5.0
    writer.tick()
    assert len(spool) == 1
    for packet in sent[1:4]:
        feed(writer, packet)
    assert len(spool) == 3  # each packet has more than 500 bytes of records
    kill(spool, writer)


def test_no_packets_at_all(tmp_path):
    spool = Spool(tmp_path / "spool")
    SegmentWriter(spool, RUN, 1, RUN3).finish()
    (segment,) = spool.waiting()
    assert (segment.orbits, segment.sent, segment.last) == (0, 0, True)


def test_a_full_spool_waits_and_can_be_left(tmp_path):
    """What cannot be written when the run is to end is counted as missed."""
    spool = Spool(tmp_path / "spool", max_bytes=1)
    asked = []
    writer = SegmentWriter(spool, RUN, 1, RUN3, Limits(orbits=3), lambda: len(asked) > 1 or asked.append(1))
    feed(writer, b"".join(_packets()))
    assert len(spool) == 1
    assert writer.totals.waited_s > 0
    last = writer.finish()
    assert (last.index, last.last, last.orbits, last.missed) == (1, True, 0, 21)
    assert total(spool, "sent") == 24
    assert writer.totals.discarded == 21


def test_a_spool_is_full_when_it_holds_as_much_as_it_may(tmp_path):
    spool = Spool(tmp_path / "spool")
    writer = SegmentWriter(spool, RUN, 1, RUN3)
    feed(writer, b"".join(_packets()))
    size = writer.finish().size
    assert (spool.held, spool.is_full()) == (size, False)  # without a limit
    spool.close()
    for limit, full in ((size - 1, True), (size, True), (size + 1, False)):
        limited = Spool(tmp_path / "spool", max_bytes=limit)
        assert limited.is_full() is full
        limited.close()


def test_one_spool_one_readout(tmp_path):
    keep = Spool(tmp_path / "spool")
    with pytest.raises(InputError, match="another readout"):
        Spool(tmp_path / "spool")
    assert keep.folder.stat().st_mode & 0o77 == 0


def test_acknowledged_segments_go_and_the_place_stays(tmp_path):
    spool = Spool(tmp_path / "spool")
    writer = SegmentWriter(spool, RUN, 1, RUN3, Limits(orbits=6, seconds=0))
    feed(writer, b"".join(_packets()[:5]))
    writer.tick()
    position = writer.position
    for segment in list(spool.waiting()):
        spool.remove(segment)
    assert len(spool) == 0
    assert len(list(spool.folder.glob("*.json"))) == 1
    spool.close()
    again = SegmentWriter(Spool(tmp_path / "spool"), RUN, 1, RUN3)
    assert again.position == position


@pytest.mark.parametrize(("wire_format", "data"), [("run3", b""), ("native64", None)])
def test_a_segment_whose_description_cannot_be_read_is_kept_aside(tmp_path, wire_format, data):
    """Whatever its wire format: the next segment would take its name."""
    folder = tmp_path / "spool"
    Spool(folder).close()
    name = Segment(RUN, 1, 0, 1, wire_format).name
    (folder / name).write_bytes(b"orbits")
    if data is not None:
        (folder / f"{name}.json").write_bytes(data)
    spool = Spool(folder)
    assert (len(spool), spool.held) == (0, 0)
    assert (folder / f"{name}.bad").read_bytes() == b"orbits"
    assert not (folder / name).exists()


def test_damage_in_the_spool_costs_its_orbit(tmp_path):
    spool = Spool(tmp_path / "spool")
    writer = SegmentWriter(spool, RUN, 1, RUN3)
    feed(writer, b"".join(_packets()))
    segment = writer.finish()
    path = spool.path(segment)
    data = bytearray(path.read_bytes())
    frames = list(read_frames(bytes(data), read_header(data)))
    data[frames[5].stop - 1] ^= 7
    path.write_bytes(data)
    mended = spool.repair(segment)
    assert (mended.orbits, mended.corrupt) == (23, 1)
    assert orbits_in(spool) == [f.orbit for k, f in enumerate(frames) if k != 5]
    assert mended.sent == segment.sent
    assert path.with_name(path.name + ".bad").exists()


GOOD = Segment(1, 1, 0, 1, "run3", size=5)
FIELDS = tuple(GOOD.to_dict())


@given(
    st.dictionaries(st.text() | st.sampled_from(FIELDS), st.none() | st.integers() | st.text() | st.floats())
)
def test_descriptions_of_untrusted_peers(said):
    with pytest.raises(InputError, match="segment: "):
        Segment.from_dict(said)


@pytest.mark.parametrize(
    "change",
    [
        {"run": -1},
        {"run": 1.5},
        {"run": True},
        {"wire_format": "../x"},
        {"size": 1 << 50},
        {"index": "0"},
        {"last": 1},
        {"more": 1},
        {"source": 70000},
    ],
)
def test_descriptions_that_cannot_be(change):
    assert Segment.from_dict(GOOD.to_dict()) == GOOD
    with pytest.raises(InputError, match="segment"):
        Segment.from_dict(GOOD.to_dict() | change)
    assert replace(GOOD, run=999).key == (999, 1, 0)


def test_segment_sent_before_its_name_lasts_does_not_stay_counted(tmp_path, monkeypatch):
    """The sender sees a segment as soon as it has its name, and may be done before `add` is."""
    spool = Spool(tmp_path / "spool")
    sent = []

    def sync_and_send(folder):
        for segment in spool.waiting():
            sent.append(segment)
            spool.remove(segment)

    monkeypatch.setattr("l1scout.readout.spool.sync_folder", sync_and_send)
    writer = SegmentWriter(spool, RUN, 1, RUN3, Limits(orbits=10))
    feed(writer, b"".join(_packets()))
    writer.finish()
    assert sent
    assert (len(spool), spool.held) == (0, 0)
    spool.close()


@pytest.mark.parametrize("bit", range(MARK_BITS))
@pytest.mark.parametrize("orbits_per_packet", [1, 2, 4])
def test_a_mark_of_one_orbit_is_flipped(bit, orbits_per_packet, tmp_path):
    """What is stored is read back: no orbit is left out for what its header states."""
    sent = packets(orbits=12, per=orbits_per_packet)
    for orbit in range(12):
        stream = [bytearray(packet) for packet in sent]
        packet, k = stream[orbit // orbits_per_packet], orbit % orbits_per_packet
        row = int(RUN3.find_orbits(memoryview(packet)).spans[k, 0]) - 1
        packet[4 * (8 * row + ORBIT_HEADER.index("flags"))] ^= 1 << bit
        spool = Spool(tmp_path / f"spool{orbit}")
        writer = SegmentWriter(spool, RUN, 1, RUN3, Limits(orbits=5))
        feed(writer, b"".join(stream))
        writer.finish()
        assert orbits_in(spool) == list(range(12))
        for segment in spool.waiting():
            raw = read_header(data := spool.path(segment).read_bytes())
            frames = list(read_frames(data, raw))
            assert not raw.corrupt
            assert {frame.marks for frame in frames} <= {SIMULATED, SIMULATED ^ 1 << bit}
            assert segment.data == data_label(RUN3.simulated(data))
        spool.close()
