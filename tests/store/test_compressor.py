"""The compressor, step by step, without processes of its own."""

from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import pytest

from l1scout.files import checksum
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.readout.spool import Spool
from l1scout.readout.writer import Limits, SegmentWriter
from l1scout.store.catalogue import Catalogue
from l1scout.store.compress import Method, content
from l1scout.store.compressor import Compressor
from live_packets import feed, packets, stored_spool

RUN = 7


@pytest.fixture
def folder(tmp_path):
    """A store with six segments that are not compressed."""
    spool = Spool(tmp_path / "spool")
    writer = SegmentWriter(spool, RUN, 1, RUN3, Limits(orbits=4))
    feed(writer, b"".join(packets(per=2)))
    writer.finish()
    return stored_spool(spool, tmp_path / "store")


@pytest.fixture
def catalogue(folder):
    catalogue = Catalogue(folder)
    yield catalogue
    catalogue.close()


def compressor_of(folder, catalogue, pool=ThreadPoolExecutor):
    events: list[str] = []
    log = lambda event, **_: events.append(event)  # noqa: E731
    return Compressor(folder, catalogue, Method("zstd"), 1, log, pool), events


def test_each_step_compresses_the_oldest_four(folder, catalogue):
    compressor, _ = compressor_of(folder, catalogue)
    assert compressor.step() == 0
    assert [bool(s.method) for s in catalogue.segments(RUN)] == [True] * 4 + [False] * 2
    assert (compressor.done, compressor.waiting) == (4, 2)
    compressor.step()
    assert compressor.step() > 0  # nothing left
    assert (compressor.done, compressor.waiting) == (6, 0)
    for stored in catalogue.segments(RUN):
        assert checksum(folder / stored.file) == (stored.stored_size, stored.stored_crc32c)
        assert len(content(folder, stored)) == stored.segment.size
        assert not (folder / stored.segment.folder / stored.segment.name).exists()


def test_a_changed_file_is_reported_once_and_kept(folder, catalogue):
    first = folder / catalogue.segments(RUN)[0].file
    first.write_bytes(first.read_bytes()[:-1] + b"!")
    compressor, events = compressor_of(folder, catalogue)
    while compressor.step() == 0:
        pass
    assert (compressor.done, compressor.damaged) == (5, 1)
    assert events == ["stored segment is damaged"]
    assert first.exists()


def test_a_disk_that_cannot_be_written_is_tried_again_later(folder, catalogue, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("l1scout.store.compressor.compress", full)
    compressor, events = compressor_of(folder, catalogue)
    assert compressor.step() > 0
    assert events == ["cannot compress, trying again"] * 4
    monkeypatch.undo()
    while compressor.step() == 0:
        pass
    assert compressor.done == 6


def test_another_pool_takes_the_place_of_a_broken_one(folder, catalogue):
    class Broken(ThreadPoolExecutor):
        def submit(self, *_):
            raise BrokenProcessPool

    pools = iter((Broken, ThreadPoolExecutor))
    compressor, events = compressor_of(folder, catalogue, lambda n: next(pools)(n))
    assert compressor.step() == 0
    assert events == ["compression process died, starting another"]
    compressor.step()
    assert compressor.done == 4
