"""The end of a run is bounded, whatever store and boards do, and nothing is left out of its account."""

import errno
import io
import os
import socket
import threading
from contextlib import contextmanager, suppress

import pytest

from board_truth import stored_orbits
from chain import PATIENCE_S, wait_for
from l1scout.board.repeat import RepeatedPackets
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.readout.board_listener import BoardConnection
from l1scout.readout.readout import Readout
from l1scout.readout.segment_note import read_note
from l1scout.readout.spool import RESERVE, RESERVE_BYTES, Spool
from l1scout.readout.streams_in import Ending
from l1scout.readout.writer import Limits, SegmentWriter
from l1scout.settings import read_settings
from live_packets import feed, packets, repeated, small_packets

RUN = 7
ORBITS = 480


@contextmanager
def silent_store():
    """Listen as a store that never takes a connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def store(monkeypatch):
    monkeypatch.setattr("l1scout.readout.readout._UNKNOWN_S", 0.1)
    with silent_store() as address:
        yield address


def readout_of(tmp_path, store, **settings: object) -> Readout:
    given = {
        "run.number": RUN,
        "readout.listen": "127.0.0.1:0",
        "readout.spool": tmp_path / "spool",
        "readout.spool_bytes": 1,  # full with the first segment
        "readout.segment_orbits": 20,
        "readout.store": store,
        "readout.drain_seconds": 0.5,
    } | {name.replace("__", "."): value for name, value in settings.items()}
    return Readout(read_settings(None, {}, [f"{k}={v}" for k, v in given.items()]), lambda *_, **__: None)


class Running:
    """A readout that listens, in a thread."""

    def __init__(self, readout: Readout) -> None:
        self.readout, self.left, self.statuses = readout, -1, []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        wait_for(lambda: readout.listener)

    def _run(self) -> None:
        self.left = self.readout.listen(self.statuses.append)

    def board(self) -> socket.socket:
        host, _, port = self.readout.listener.address.rpartition(":")
        return socket.create_connection((host, int(port)))

    def wait_full(self) -> None:
        wait_for(lambda: self.readout.writers.totals.waited_s > 0)

    def ends(self) -> None:
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), "readout does not end"


def account_of(readout: Readout) -> int:
    """Return the orbits that the segments in the spool account for; they are whole, and end the run."""
    segments = list(readout.spool.waiting())
    assert [s.index for s in segments] == list(range(len(segments)))
    assert [s.last for s in segments] == [False] * (len(segments) - 1) + [True]
    position = readout.spool.position(RUN, 1)
    assert position.ended
    assert position.board_orbits == sum(s.sent for s in segments)
    return position.board_orbits


def test_store_takes_nothing_and_spool_is_full(tmp_path, store):
    """All that the board has sent is stored in the spool or counted, though the deadline passes."""
    running = Running(readout_of(tmp_path, store))
    with running.board() as board:
        board.sendall(repeated("run3", 0, ORBITS))
    running.wait_full()
    running.readout.stop()
    running.ends()
    assert running.left == len(running.readout.spool) > 0
    assert account_of(running.readout) == ORBITS
    missed = sum(s.missed for s in running.readout.spool.waiting())
    assert missed == running.readout.writers.totals.discarded > 0
    assert any("given up" in alarm for alarm in running.statuses[-1].alarms)


def test_board_that_does_not_stop_sending(tmp_path, store):
    running = Running(readout_of(tmp_path, store))
    ended = threading.Event()

    class Connection:
        def __init__(self, board) -> None:
            self.board = board

        def ready(self) -> bool:
            return True

        def step(self, packet) -> None:
            self.board.sendall(packet)

    def send() -> None:
        source = RepeatedPackets(io.BytesIO(small_packets("run3")), RUN3, 0)
        with running.board() as board, suppress(OSError):
            source.run(Connection(board), pace=0, orbits=0, going=lambda: not ended.is_set())

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    running.wait_full()
    running.readout.stop()
    running.ends()
    ended.set()
    sender.join(PATIENCE_S)
    assert account_of(running.readout) > 0
    late = next(RUN3.split(io.BytesIO(small_packets("run3"))))
    assert not running.readout._take(late)
    assert not list(running.readout.spool.folder.glob("*.part"))
    assert account_of(running.readout) > 0


def test_second_request_ends_at_once(tmp_path, store):
    running = Running(readout_of(tmp_path, store, readout__drain_seconds=1e6))
    with running.board() as board:
        board.sendall(repeated("run3", 0, ORBITS))
    running.wait_full()
    running.readout.stop()
    wait_for(lambda: running.statuses[-1].state == "draining")
    running.readout.stop()
    running.ends()
    assert account_of(running.readout) == ORBITS


def test_file_ends_when_readout_is_to_stop(tmp_path, store):
    """What was not read of it is not lost: it is still in the file."""
    readout = readout_of(tmp_path, store, readout__spool_bytes=0)
    path = tmp_path / "packets.dat"
    path.write_bytes(repeated("run3", 0, 20 * ORBITS))
    real = readout.writers.step
    seen = []

    def step(packet):
        real(packet)
        seen.append(packet)
        readout.stop()

    readout.writers.step = step
    with path.open("rb", buffering=0) as file:
        readout.read(path, file, lambda _: None)
    sent = account_of(readout)
    assert 0 < sent < 20 * ORBITS
    assert sum(s.orbits for s in readout.spool.waiting()) == sent


def test_after_the_deadline_a_connection_gives_only_what_has_arrived():
    one, two = socket.socketpair()
    ending = Ending(lambda: True)
    board = BoardConnection(one, "board", ending)
    two.sendall(b"orbits")
    ending.now = True
    buffer = memoryview(bytearray(100))
    assert (board.readinto(buffer), board.readinto(buffer)) == (6, 0)
    one.close()
    two.close()


class SmallDisk:
    """A disk of which the spool may take some bytes, and the reserve when it is released."""

    def __init__(self, spool: Spool, monkeypatch, room: int) -> None:
        self.room, self._open, self._release = room, spool.open, spool.release_reserve
        monkeypatch.setattr(spool, "open", self.open)
        monkeypatch.setattr(spool, "release_reserve", self.release)
        self.released = False

    def release(self) -> None:
        self.room, self.released = self.room + (0 if self.released else 1 << 16), True
        self._release()

    def open(self, segment):
        if self.room <= 0:
            raise OSError(errno.ENOSPC, "disk full")
        file, disk = self._open(segment), self

        class Limited:
            def write(self, data) -> int:
                there = max(os.fstat(file.fileno()).st_size - file.tell(), 0)
                n = min(len(data), there + max(disk.room, 0))
                if n == 0:
                    raise OSError(errno.ENOSPC, "disk full")
                disk.room -= max(n - there, 0)
                return file.write(memoryview(data)[:n])

            def truncate(self, size) -> int:
                disk.room += os.fstat(file.fileno()).st_size - size
                return file.truncate(size)

            def __getattr__(self, name):
                return getattr(file, name)

        return Limited()


@pytest.mark.parametrize("room", [0, 10, 32, 1000, 4000])
def test_disk_is_full_at_the_end(tmp_path, monkeypatch, room):
    """The last segment's account is written in the room that was kept for it."""
    spool = Spool(tmp_path / "spool")
    disk = SmallDisk(spool, monkeypatch, room)
    writer = SegmentWriter(spool, RUN, 1, RUN3, Limits(orbits=6), lambda: True)
    feed(writer, b"".join(packets()))
    last = writer.finish()
    segments = list(spool.waiting())
    assert last == segments[-1]
    assert sum(s.sent for s in segments) == 24
    assert disk.released
    assert sum(s.missed for s in segments) == writer.totals.discarded > 0
    for segment in segments:
        assert spool.path(segment).stat().st_size == segment.size
        assert read_note(spool.path(segment).with_name(segment.name + ".json"))
    assert not list(spool.folder.glob("*.part"))


def test_open_segment_alone_fills_the_disk(tmp_path, monkeypatch):
    """It is closed early, and the run goes on in the next one when it has been sent."""
    spool, room = Spool(tmp_path / "spool"), 1 << 16
    disk = SmallDisk(spool, monkeypatch, 4000)
    add, take = spool.add, spool.take_reserve
    stored = []

    def add_with_reserve(segment, position) -> None:
        if disk.room <= 0:
            raise OSError(errno.ENOSPC, "disk full")
        add(segment, position)

    def take_from_room() -> None:
        if disk.released and disk.room < room:
            raise OSError(errno.ENOSPC, "disk full")
        disk.room, disk.released = disk.room - room * disk.released, False
        take()

    def send_while_waiting() -> bool:
        """Be the store: take what waits, which makes room."""
        for segment in spool.waiting():
            stored.append((segment, spool.path(segment).read_bytes()))
            disk.room += segment.size
            spool.remove(segment)
        waits.append(len(stored))
        return len(waits) > 100 and waits[-100] == len(stored)  # for ever

    waits = []
    monkeypatch.setattr(spool, "add", add_with_reserve)
    monkeypatch.setattr(spool, "take_reserve", take_from_room)
    monkeypatch.setattr("l1scout.readout.writer._WAIT_S", 0)
    writer = SegmentWriter(spool, RUN, 1, RUN3, Limits(orbits=1000), send_while_waiting)
    feed(writer, b"".join(packets()))
    writer.finish()
    send_while_waiting()
    orbits = [number for _, data in stored for number, _ in stored_orbits(data)]
    assert orbits == list(range(24))
    assert len(stored) > 2
    assert writer.totals.discarded == 0
    assert (spool.folder / RESERVE).stat().st_size == RESERVE_BYTES


def test_reserve_is_taken_whole_or_not_at_all(tmp_path, monkeypatch):
    spool = Spool(tmp_path / "spool")
    spool.release_reserve()

    def full(path, mode="rb", **_: object):
        path.write_bytes(b"part")
        raise OSError(errno.ENOSPC, "disk full")

    with monkeypatch.context() as patched:
        patched.setattr("l1scout.readout.spool.open_own", full)
        with pytest.raises(OSError, match="disk full"):
            spool.take_reserve()
    assert not (spool.folder / RESERVE).exists()
    spool.take_reserve()
    assert (spool.folder / RESERVE).stat().st_size == RESERVE_BYTES
