"""The compressor, step by step, without processes of its own."""

import os
import signal
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import psutil
import pytest

from chain import PATIENCE_S, wait_for
from l1scout.files import checksum
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.readout.spool import Spool
from l1scout.readout.writer import Limits, SegmentWriter
from l1scout.store import compressor as compressor_module
from l1scout.store.catalogue import Catalogue
from l1scout.store.compress import Method, content
from l1scout.store.compressor import Compressor, process_pool
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
    assert events == ["compression process failed, starting another"]
    while compressor.step() == 0:
        pass
    assert compressor.done == 6
    assert compressor.alarms == []


def started(folder, catalogue, **more):
    """A compressor that is at work, and the events that it logs."""
    events: list[str] = []
    compressor = Compressor(
        folder, catalogue, Method("zstd"), 1, lambda event, **_: events.append(event), **more
    )
    return compressor.start(), events


def test_an_exception_in_the_thread_is_an_alarm_and_not_its_end(folder, catalogue, monkeypatch):
    monkeypatch.setattr(compressor_module, "_RETRY_S", 0.01)
    real, failing = catalogue.uncompressed, True

    def uncompressed():
        if failing:
            msg = "disk I/O error"
            raise sqlite3.OperationalError(msg)
        return real()

    monkeypatch.setattr(catalogue, "uncompressed", uncompressed)
    compressor, events = started(folder, catalogue, pool=ThreadPoolExecutor)
    wait_for(lambda: compressor.failures > 2)
    assert compressor.alive
    (alarm,) = compressor.alarms
    assert "disk I/O error" in alarm
    assert "compressor failed, trying again" in events
    failing = False
    wait_for(lambda: compressor.done == 6)
    wait_for(lambda: compressor.alarms == [])
    assert compressor.finish(PATIENCE_S)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_ends_is_an_alarm(folder, catalogue, monkeypatch):
    def end(_):
        raise SystemExit

    monkeypatch.setattr(Compressor, "step", end)
    compressor, _ = started(folder, catalogue, pool=ThreadPoolExecutor)
    wait_for(lambda: not compressor.alive)
    assert compressor.alarms == ["the compressor has ended: segments stay as they are; restart the store"]


def test_a_segment_that_kills_its_process_is_set_aside(folder, catalogue):
    """The others are compressed all the same."""
    bad = catalogue.segments(RUN)[1].file

    class Deadly(ThreadPoolExecutor):
        def submit(self, do, path, *rest):
            if str(path).endswith(bad):
                raise BrokenProcessPool
            return super().submit(do, path, *rest)

    compressor, events = compressor_of(folder, catalogue, Deadly)
    while compressor.step() == 0:
        pass
    assert compressor.done == 5
    (alarm,) = compressor.alarms
    assert alarm.startswith("1 segments cannot be compressed: ")
    assert "the process that compresses it died" in alarm
    assert events.count("segment stays uncompressed") == 1
    assert (folder / bad).exists()


def test_a_real_worker_that_is_killed_or_hangs(folder, catalogue):
    """Killed: another takes its place. Stopped: it is killed after a limit, and another takes its place."""
    compressor, events = compressor_of(folder, catalogue, process_pool)
    compressor._pool = process_pool(1)
    compressor._pool.submit(os.getpid).result()
    (worker,) = compressor._pool._processes.values()
    os.kill(worker.pid, signal.SIGKILL)
    while compressor.done < 3:
        compressor.step()
    (worker,) = compressor._pool._processes.values()
    os.kill(worker.pid, signal.SIGSTOP)
    compressor._limit_s = 0.01
    while worker.is_alive():
        compressor.step()
    compressor._limit_s = PATIENCE_S
    while compressor.step() == 0:
        pass
    compressor._drop_pool()
    assert events.count("compression process failed, starting another") >= 2
    assert compressor.done + len(compressor._given_up) == 6


def test_an_original_stays_until_its_compressed_file_is_right(folder, catalogue):
    """The catalogue's word alone does not delete data."""
    original = {
        s.segment.key: (folder / s.file, (folder / s.file).read_bytes()) for s in catalogue.segments()
    }
    compressor, _ = compressor_of(folder, catalogue)
    while compressor.step() == 0:
        pass
    for path, data in original.values():
        path.write_bytes(data)
    first, second, *_ = catalogue.segments()
    (folder / first.file).write_bytes(b"x" * first.stored_size)
    (folder / second.file).unlink()
    compressor.tidy()
    left = {key for key, (path, _) in original.items() if path.exists()}
    assert left == {first.segment.key, second.segment.key}


def test_a_store_does_not_wait_for_a_worker_that_hangs(folder, catalogue):
    """Python joins the processes of a pool when it ends: a stopped one would keep the store for ever."""
    compressor, _ = compressor_of(folder, catalogue, process_pool)
    compressor._pool = process_pool(1)
    worker = compressor._pool.submit(os.getpid).result()
    os.kill(worker, signal.SIGSTOP)
    compressor.start()
    assert not compressor.finish(0.01)
    compressor.abandon()
    assert not compressor._thread.is_alive()
    assert not psutil.pid_exists(worker)
    assert len(catalogue.uncompressed()) == 6
