"""Segments in the spool survive a kill at any step and a power cut after it."""

from functools import cache
from itertools import pairwise

import pytest

from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.readout.spool import Spool
from l1scout.readout.writer import Limits, SegmentWriter
from live_packets import feed, packets
from power_cut import Disk, Killed

RUN = 7
_packets = cache(packets)


def new_writer(spool):
    return SegmentWriter(spool, RUN, 1, RUN3, Limits(orbits=6))


def write_all(spool, first=0):
    writer = new_writer(spool)
    feed(writer, b"".join(_packets()[first:]))
    writer.finish()
    return writer


def leave(spool, writer):
    """Leave everything as a process does that is killed."""
    spool.close()
    if writer._open:
        writer._open.file.close()


def test_a_complete_segment_survives_a_power_cut(tmp_path, monkeypatch):
    folder = tmp_path / "spool"
    folder.mkdir()
    disk = Disk(folder, monkeypatch)
    spool = Spool(folder)
    writer = write_all(spool)
    segments = list(spool.waiting())
    assert [s.orbits for s in segments] == [6, 6, 6, 6]
    after = Spool(disk.restore(tmp_path / "after"))
    assert list(after.waiting()) == segments
    assert [after.path(s).read_bytes() for s in segments] == [spool.path(s).read_bytes() for s in segments]
    assert after.position(RUN, 1) == writer.position
    assert after.recovered == []


def test_no_segment_is_ever_without_its_description(tmp_path, monkeypatch):
    """Else a readout that is started again would not know what the segment accounts for."""
    folder = tmp_path / "spool"
    folder.mkdir()
    disk = Disk(folder, monkeypatch)
    bare, named = [], set()

    def look():
        for path in folder.glob("*.raw"):
            named.add(path.name)
            if not path.with_name(path.name + ".json").exists():
                bare.append(path.name)

    disk.seen = look
    write_all(Spool(folder))
    look()
    assert (len(named), bare) == (4, [])


def test_killed_at_any_step(tmp_path_factory):
    """Whatever readout was about to do, the run's account is complete afterwards, and no orbit is twice."""
    kill_at, killed = 0, True
    while killed:
        kill_at += 1
        folder = tmp_path_factory.mktemp("spool")
        spool = Spool(folder)
        writer, taken = new_writer(spool), 0
        with pytest.MonkeyPatch.context() as patch:
            Disk(folder, patch, kill_at)
            try:
                for packet in _packets()[:5]:
                    feed(writer, packet)
                    taken += 1
                killed = False
            except Killed:
                pass
        leave(spool, writer)
        again = Spool(folder)
        write_all(again, taken)  # the packet that was not taken as a whole comes again
        segments = list(again.waiting())
        assert sum(s.orbits for s in segments) == sum(s.sent for s in segments) == 24, kill_at
        assert [s.index for s in segments] == list(range(len(segments)))
        ends = [(s.first_orbit, s.last_orbit) for s in segments if s.orbits]
        assert all(one[1] < two[0] for one, two in pairwise(ends))
        assert list(folder.glob("*.bad")) == []
        again.close()
    assert kill_at > 10  # two segments, each with five steps
