"""Refused segments are put aside and have a way out; a spool that was lost goes on where the store is."""

from dataclasses import replace
from functools import cache

import pytest

from l1scout.errors import InputError
from l1scout.files import checksum
from l1scout.formats.raw import read_frames, read_header
from l1scout.formats.wire_formats.run2 import RUN2
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.readout.refused import REFUSED
from l1scout.readout.renumbering import offer_as_source
from l1scout.readout.segment_note import ReadoutPosition
from l1scout.readout.spool import Spool
from l1scout.readout.writer import Limits, SegmentWriter
from live_packets import feed, packets

RUN = 7
_packets = cache(packets)
WHY = "another segment of this run, source and index is stored"


def nothing_stored(run: int, source: int) -> ReadoutPosition:
    return ReadoutPosition()


@pytest.fixture
def spool(tmp_path):
    """A run of four segments."""
    spool = Spool(tmp_path / "spool")
    writer = SegmentWriter(spool, RUN, 1, RUN3, Limits(orbits=6))
    feed(writer, b"".join(_packets()))
    writer.finish()
    return spool


def orbits_in(content: bytes, source: int) -> list[int]:
    frames = list(read_frames(content, read_header(content)))
    assert {f.source for f in frames} == {source}
    return [f.orbit for f in frames]


def test_refused_segment_waits_no_longer_and_is_kept(spool):
    first, second, *others = spool.waiting()
    data, note = spool.path(first).read_bytes(), spool.note(first)
    position = spool.position(RUN, 1)
    spool.refuse(first, WHY)
    assert list(spool.waiting()) == [second, *others]
    assert (spool.refused(), spool.n_refused) == ([first], 1)
    kept = spool.folder / REFUSED / first.name
    assert kept.read_bytes() == data
    assert kept.with_name(kept.name + ".json").read_bytes() == note.encode()
    assert kept.with_name(kept.name + ".why").read_text() == WHY + "\n"
    spool.close()
    again = Spool(spool.folder)
    assert (again.refused(), len(again), again.recovered) == ([first], 3, [])
    assert again.position(RUN, 1) == position


def test_position_stays_when_all_is_refused(spool):
    position = spool.position(RUN, 1)
    for segment in list(spool.waiting()):
        spool.refuse(segment, WHY)
    spool.close()
    again = Spool(spool.folder)
    assert (len(again), again.n_refused) == (0, 4)
    assert again.position(RUN, 1) == position


def test_the_same_identity_is_refused_twice(spool, tmp_path):
    """Of a spool that was lost once more."""
    first = next(spool.waiting())
    spool.refuse(first, WHY)
    other = Spool(tmp_path / "other")
    writer = SegmentWriter(other, RUN, 1, RUN3, Limits(orbits=6))
    feed(writer, b"".join(_packets()[:1]))
    writer.finish()
    (second,) = other.waiting()
    (spool.folder / second.name).write_bytes(other.path(second).read_bytes())
    spool.path(second).with_name(second.name + ".json").write_bytes(other.note(second).encode())
    spool.refuse(second, WHY)
    assert sorted(s.orbits for s in spool.refused()) == [3, 6]


def test_refused_segments_become_those_of_another_source(spool):
    before = list(spool.waiting())
    data = [spool.path(s).read_bytes() for s in before]
    for segment in before[1:3]:
        spool.refuse(segment, WHY)
    asked = []

    def stored(run, source):
        asked.append((run, source))
        return ReadoutPosition(index=5, last_orbit=before[0].last_orbit)

    made = offer_as_source(spool, 9, stored)
    assert set(asked) == {(RUN, 9)}
    assert [(s.source, s.index, s.last) for s in made] == [(9, 5, False), (9, 6, True)]
    for new, old, content in zip(made, before[1:3], data[1:3], strict=True):
        path = spool.path(new)
        assert checksum(path) == (new.size, new.crc32c)
        assert orbits_in(path.read_bytes(), 9) == orbits_in(content, 1)
        same = {n: getattr(old, n) for n in ("source", "index", "size", "crc32c", "last")}
        assert replace(new, **same) == old
    assert spool.position(RUN, 9).index == 7
    assert spool.position(RUN, 9).ended
    assert (spool.refused(), spool.n_refused) == ([], 0)
    assert not list((spool.folder / REFUSED).iterdir())


def test_source_in_use_is_refused(spool):
    before = list(spool.waiting())
    spool.refuse(before[0], WHY)
    in_use = ReadoutPosition(index=3, last_orbit=before[0].first_orbit)
    with pytest.raises(InputError, match=r"source 9 of run 7 has orbits up to 0 already, .* not in use"):
        offer_as_source(spool, 9, lambda *_: in_use)
    with pytest.raises(InputError, match="the store cannot be reached"):
        offer_as_source(spool, 9, lambda *_: None)
    assert spool.n_refused == 1


def test_killed_before_a_refused_segment_is_forgotten(spool, monkeypatch):
    """It is not offered twice."""
    before = list(spool.waiting())
    for segment in before[:2]:
        spool.refuse(segment, WHY)

    def killed(_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("l1scout.readout.renumbering.forget_refused", killed)
        with pytest.raises(KeyboardInterrupt):
            offer_as_source(spool, 9, nothing_stored)
    spool.close()
    again = Spool(spool.folder)
    made = offer_as_source(again, 9, nothing_stored)
    assert [s.index for s in made] == [1]
    ours = [s for s in again.waiting() if s.source == 9]
    assert [s.orbits for s in ours] == [s.orbits for s in before[:2]]


def test_damaged_refused_segment_is_mended(spool):
    first = next(spool.waiting())
    spool.refuse(first, WHY)
    path = spool.folder / REFUSED / first.name
    data = bytearray(path.read_bytes())
    data[-8:] = bytes(8)
    path.write_bytes(data)
    (new,) = offer_as_source(spool, 9, nothing_stored)
    assert (new.orbits, new.corrupt, new.sent) == (5, 1, first.sent)


def test_one_source_after_the_other(spool):
    """Two sources of one run have the same orbits: each needs a source id of its own."""
    writer = SegmentWriter(spool, RUN, 2, RUN3, Limits(orbits=6))
    feed(writer, b"".join(_packets()))
    writer.finish()
    for segment in list(spool.waiting()):
        spool.refuse(segment, WHY)
    assert len(offer_as_source(spool, 9, nothing_stored)) == 4
    assert {s.source for s in spool.refused()} == {2}
    assert len(offer_as_source(spool, 10, nothing_stored)) == 4
    assert spool.n_refused == 0


def test_orbits_that_do_not_state_their_source():
    assert RUN2.with_source(b"records", 9) == b"records"


def test_lost_spool_goes_on_where_the_store_is(tmp_path):
    """What was lost with it is missed, and counted by the board's counters."""
    sent = list(_packets())
    lost = Spool(tmp_path / "lost")
    writer = SegmentWriter(lost, RUN, 1, RUN3, Limits(orbits=6))
    feed(writer, b"".join(sent[:5]))  # 15 orbits: two segments of 6, and one that is open
    stored = list(lost.waiting())
    position = lost.position(RUN, 1)
    assert (position.index, position.last_orbit) == (2, 11)
    writer._open.file.close()
    spool = Spool(tmp_path / "spool")
    spool.adopt(RUN, 1, position, RUN3.name)
    assert spool.position(RUN, 1) == position
    assert spool.position(RUN, 2) == ReadoutPosition()
    writer = SegmentWriter(spool, RUN, 1, RUN3, Limits(orbits=6))
    feed(writer, b"".join(sent[5:]))
    writer.finish()
    every = [*stored, *spool.waiting()]
    assert [s.index for s in every] == [0, 1, 2, 3]
    assert [s.missed for s in every] == [0, 0, 3, 0]
    assert sum(s.sent for s in every) == 24


def test_newer_of_spool_and_store(spool):
    own = spool.position(RUN, 1)
    spool.adopt(RUN, 1, ReadoutPosition(index=2), RUN3.name)
    assert spool.position(RUN, 1) == own
    spool.adopt(RUN, 1, ReadoutPosition(index=9), RUN3.name)
    assert spool.position(RUN, 1).index == 9
