"""Segments in the spool survive damage: of a file or of its note, every orbit is kept or counted."""

import random
from functools import cache

import pytest
from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st

from l1scout.files import checksum
from l1scout.formats.raw import read_frames, read_header
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.lhc import ORBITS_PER_LUMISECTION
from l1scout.readout.salvage import with_bit_put_right
from l1scout.readout.spool import Spool
from l1scout.readout.writer import Limits, SegmentWriter
from live_packets import dropping, feed, packets

RUN = 7
_packets = cache(packets)


def account_after(spool: Spool) -> int:
    """Do what the sender does, and end the run if its end is gone; return the orbits accounted for."""
    if not spool.position(RUN, 1).ended:
        SegmentWriter(spool, RUN, 1, RUN3, Limits(orbits=6)).finish()
    for segment in list(spool.waiting()):
        if checksum(spool.path(segment)) != (segment.size, segment.crc32c):
            spool.repair(segment)
    segments = list(spool.waiting())
    assert [s.index for s in segments] == list(range(len(segments)))
    for segment in segments:
        assert checksum(spool.path(segment)) == (segment.size, segment.crc32c)
    return sum(s.sent + s.dropped for s in segments)


@pytest.fixture
def spool(tmp_path):
    """Four segments; of the third, three orbits were missed, of the second three were dropped."""
    spool = Spool(tmp_path / "spool")
    sent = dropping(list(_packets()), {2})
    del sent[3]
    writer = SegmentWriter(spool, RUN, 1, RUN3, Limits(orbits=6))
    feed(writer, b"".join(sent))
    writer.finish()
    segments = list(spool.waiting())
    assert [(s.orbits, s.missed, s.dropped) for s in segments] == [
        (6, 0, 0),
        (3, 0, 3),
        (3, 3, 0),
        (6, 0, 0),
    ]
    spool.close()
    return spool


def flip(path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 4
    path.write_bytes(data)


def overwrite(path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at : at + 8] = b"\x55" * 8
    path.write_bytes(data)


NOTE = {
    "flipped": lambda p: flip(p, 80),
    "cut": lambda p: p.write_bytes(p.read_bytes()[:100]),
    "empty": lambda p: p.write_bytes(b""),
    "gone": lambda p: p.unlink(),
    "too large": lambda p: p.write_bytes(bytes(1 << 20)),
}
FILE = {
    "header flipped": lambda p: flip(p, 3),
    "header's run flipped": lambda p: flip(p, 16),
    "frame flipped": lambda p: flip(p, 60),
    "frame overwritten": lambda p: overwrite(p, 60),
    "cut": lambda p: p.write_bytes(p.read_bytes()[:500]),
    "longer": lambda p: p.write_bytes(p.read_bytes() + bytes(100)),
    "empty": lambda p: p.write_bytes(b""),
}


@pytest.mark.parametrize("k", range(4))
@pytest.mark.parametrize("how", NOTE)
def test_damaged_note(spool, k, how):
    """The segment goes on to the store, with the losses that its note would have told of."""
    before = list(spool.waiting())
    files = [spool.path(s).read_bytes() for s in before]
    NOTE[how](spool.path(before[k]).with_name(before[k].name + ".json"))
    again = Spool(spool.folder)
    assert [s.orbits for s in again.recovered] == [before[k].orbits]
    assert account_after(again) == 24
    after = list(again.waiting())
    assert [again.path(s).read_bytes() for s in after[:4]] == files
    for name in ("orbits", "missed", "dropped", "first_orbit", "last_orbit", "objects", "data"):
        assert [getattr(s, name) for s in after[:4]] == [getattr(s, name) for s in before], name
    assert again.bad == (how != "gone")


@pytest.mark.parametrize("k", range(4))
@pytest.mark.parametrize("how", FILE)
def test_damaged_file(spool, k, how):
    """A damaged header costs no orbit."""
    before = list(spool.waiting())
    FILE[how](spool.path(before[k]))
    again = Spool(spool.folder)
    assert account_after(again) == 24
    lost = sum(s.corrupt for s in again.waiting())
    assert lost == 0 if "flipped" in how or how == "longer" else lost > 0
    assert again.bad == 1


@pytest.mark.parametrize("k", [1, 2, 3])
def test_lost_file(spool, k):
    """A segment that is gone before an older one was acknowledged was not acknowledged itself."""
    before = list(spool.waiting())
    spool.path(before[k]).unlink()
    again = Spool(spool.folder)
    assert account_after(again) == 24
    assert [s.corrupt for s in again.waiting()] == [s.orbits if s.index == k else 0 for s in before]


def test_note_and_file_of_one_segment_are_damaged(spool):
    before = list(spool.waiting())
    path = spool.path(before[1])
    flip(path, 60)
    path.with_name(path.name + ".json").write_bytes(b"{")
    again = Spool(spool.folder)
    assert account_after(again) == 24
    assert sum(s.corrupt for s in again.waiting()) == 1
    assert sorted(p.name for p in spool.folder.glob("*.bad")) == [f"{path.name}.bad", f"{path.name}.json.bad"]


def test_notes_of_two_segments_in_a_row_are_damaged(spool):
    before = list(spool.waiting())
    for segment in before[1:3]:
        spool.path(segment).with_name(segment.name + ".json").unlink()
    again = Spool(spool.folder)
    assert account_after(again) == 24
    assert [s.orbits for s in again.waiting()] == [s.orbits for s in before]


def test_acknowledged_segment_leaves_its_note_until_the_next(spool):
    """It tells what the board had sent before the oldest segment that waits."""
    again = Spool(spool.folder)
    first, second, *_ = again.waiting()
    again.remove(first)
    again.close()
    spool.path(second).with_name(second.name + ".json").unlink()
    third = Spool(spool.folder)
    assert [s.dropped for s in third.waiting()] == [3, 0, 0]
    third.remove(second)
    assert len(list(spool.folder.glob("*.json"))) == 3


def test_repair_killed_before_it_is_complete(spool, monkeypatch):
    before = list(spool.waiting())
    overwrite(spool.path(before[0]), 60)

    def killed(*_):
        raise KeyboardInterrupt

    for step in ("set_aside", "add"):
        again = Spool(spool.folder)
        with monkeypatch.context() as patch:
            patch.setattr(again, step, killed)
            with pytest.raises(KeyboardInterrupt):
                again.repair(before[0])
        again.close()
    again = Spool(spool.folder)
    assert account_after(again) == 24
    assert sum(s.corrupt for s in again.waiting()) == 1


def frames_of(content: bytes) -> list[bytes]:
    """Return an orbit's frame each."""
    found = read_header(content)
    return [bytes(content[f.start : f.stop]) for f in read_frames(content, found)]


@pytest.mark.parametrize("bits", [1, 2])
def test_bits_flipped_anywhere(tmp_path_factory, spool, bits):
    """Of one file or note, wherever it is: one costs no orbit; of two, what they cost is counted."""
    chance = random.Random(bits)
    truth = {f for s in spool.waiting() for f in frames_of(spool.path(s).read_bytes())}
    names = [p.name for p in sorted(spool.folder.glob("run*"))]
    for _ in range(100):
        folder = tmp_path_factory.mktemp("spool")
        for path in spool.folder.glob("run*"):
            (folder / path.name).write_bytes(path.read_bytes())
        hit = folder / chance.choice(names)
        data = bytearray(hit.read_bytes())
        places = chance.sample(range(8 * len(data)), bits)
        for at in places:
            data[at // 8] ^= 1 << at % 8
        hit.write_bytes(data)
        again = Spool(folder)
        assert account_after(again) == 24, (hit.name, places)
        kept = [f for s in again.waiting() for f in frames_of(again.path(s).read_bytes())]
        assert len(kept) == sum(s.orbits for s in again.waiting())
        if bits == 1:
            assert set(kept) == truth, (hit.name, places)
        again.close()


def test_bit_in_an_orbit_number_is_put_right(spool):
    """No checksum of the file covers it: the one of its note does."""
    segment = next(spool.waiting())
    data = spool.path(segment).read_bytes()
    first = next(read_frames(data, read_header(data)))
    flip(spool.path(segment), first.start + 12)
    again = Spool(spool.folder)
    assert again.repair(segment) == segment
    assert again.path(segment).read_bytes() == data


@pytest.mark.parametrize("places", [(0, 1, 2), (3, 4, 5), (1, 3, 4)])
@pytest.mark.parametrize("change", [1 << 30, 1 << 17, (1 << 20) + 3])
def test_orbits_that_the_segment_did_not_have_are_left_out(spool, places, change):
    """However many heads are damaged: before the first orbit, after the last, or in another order."""
    segment = next(spool.waiting())
    path = spool.path(segment)
    data = path.read_bytes()
    frames = [f.start for f in read_frames(data, read_header(data))]
    orbits = [int.from_bytes(data[at + 12 : at + 16], "little") for at in frames]
    hurt = bytearray(data)
    for place in places:
        orbit, at = orbits[place] ^ change, frames[place]
        for number in (1 + orbit // ORBITS_PER_LUMISECTION, orbit):
            hurt[at + 8 : at + 12], at = number.to_bytes(4, "little"), at + 4
    path.write_bytes(hurt)
    mended = spool.repair(segment)
    assert (mended.orbits, mended.corrupt) == (3, 3)
    kept = path.read_bytes()
    assert [f.orbit for f in read_frames(kept, read_header(kept))] == [
        orbit for k, orbit in enumerate(orbits) if k not in places
    ]


@given(st.binary(min_size=1, max_size=2000), st.data())
def test_single_flipped_bit_is_found(data, chosen):
    size, crc = len(data), crc32c(data)
    bit = chosen.draw(st.integers(0, 8 * size - 1))
    hurt = bytearray(data)
    hurt[bit // 8] ^= 1 << bit % 8
    assert with_bit_put_right(bytes(hurt), size, crc) == data
    hurt[bit // 8] ^= 1 << (bit + 1) % 8  # two bits are not taken for one in so few bytes
    assert with_bit_put_right(bytes(hurt), size, crc) is None
    assert with_bit_put_right(bytes(hurt) + b"0", size, crc) is None


def test_what_the_board_had_sent_before_is_not_missed_where_it_is_not_known(tmp_path):
    """The note of the last acknowledged segment is lost with readout: only the segment after it is there."""
    folder, sent = tmp_path / "spool", packets(orbits=240)
    spool = Spool(folder)
    writer = SegmentWriter(spool, RUN, 1, RUN3, Limits(orbits=60))
    feed(writer, b"".join(sent[:70]))
    acknowledged = sum(s.orbits for s in list(spool.waiting()))
    for segment in list(spool.waiting()):
        spool.remove(segment)
    writer._open.file.close()
    spool.close()
    for note in folder.glob("*.json"):
        note.write_bytes(b"{")
    again = Spool(folder)
    writer = SegmentWriter(again, RUN, 1, RUN3, Limits(orbits=60))
    feed(writer, b"".join(sent[72:]))
    writer.finish()
    segments = list(again.waiting())
    assert segments[0].first_orbit == acknowledged
    assert sum(s.orbits for s in segments) == 240 - acknowledged - 6
    assert sum(s.missed for s in segments) == 6
