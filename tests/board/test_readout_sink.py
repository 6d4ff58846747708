"""A board and its readout: what was not sent when the board is stopped is counted, and nothing hangs."""

import contextlib
import io
import socket
import threading
import time
from pathlib import Path

import pytest

from certificates import client_access, listener_access, make_certificate
from chain import PATIENCE_S, wait_for
from front_end import Keep
from l1scout.access import Access
from l1scout.board import sinks
from l1scout.board.repeat import RepeatedPackets
from l1scout.board.sinks import BufferedSink, ReadoutSink
from l1scout.errors import InputError
from l1scout.formats.packets import TRAILER_BYTES, Trailer
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.readout import board_listener
from l1scout.readout.board_listener import BoardListener
from l1scout.readout.status import BoardStatus
from l1scout.readout.streams_in import Ending
from l1scout.settings import read_settings
from l1scout.simulate.live_board import LiveBoard
from live_packets import packets, small_packets


class Reader:
    """A readout that reads what boards send, when it may."""

    def __init__(self, *, may_read: bool = True) -> None:
        self.may_read = threading.Event()
        if may_read:
            self.may_read.set()
        self.received = b""
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = "{}:{}".format(*self._server.getsockname())
        self.board: socket.socket | None = None
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self.board, _ = self._server.accept()
                self.may_read.wait()
                while data := self.board.recv(1 << 16):
                    self.received += data
                self.board.close()

    def close(self) -> None:
        self.may_read.set()
        for one in (self._server, self.board):
            if one:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                one.close()


@pytest.fixture
def reader():
    reader = Reader()
    yield reader
    reader.close()


@pytest.fixture
def frozen():
    reader = Reader(may_read=False)
    yield reader
    reader.close()


@pytest.fixture
def nobody() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return "{}:{}".format(*server.getsockname())


class Running:
    """A live board in a thread."""

    def __init__(self, folder: Path, readout: str, **settings: object) -> None:
        path = folder / "packets.dat"
        path.write_bytes(small_packets())
        given = {"readout.listen": readout, "board.packets": path, "board.pace": 0, "board.buffer": 10}
        given |= {name.replace("__", "."): value for name, value in settings.items()}
        self.log: list[tuple[str, dict]] = []
        self.board = LiveBoard(
            read_settings(None, {}, [f"{k}={v}" for k, v in given.items()]),
            0,
            lambda event, **values: self.log.append((event, values)),
        )
        self.statuses: list[BoardStatus] = []
        self.error = ""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.board.run(self.statuses.append)
        except InputError as error:
            self.error = str(error)

    def wait_full(self) -> None:
        """Wait until the buffer is full: whoever writes into it waits."""
        wait_for(lambda: self.board.status("running").waiting == 10)

    def wait_stuck(self) -> None:
        """Wait until readout's buffers are full, too."""
        sink = self.board._readout

        def stuck() -> bool:
            stands = sink._progress and time.monotonic() - sink._progress > 0.5
            return bool(stands) and self.board.status("running").waiting == 10

        wait_for(stuck)

    def stopped(self, times: int = 1) -> BoardStatus:
        """Stop the board; return its last status."""
        for _ in range(times):
            self.board.stop()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), "the board does not end"
        return self.statuses[-1]


def orbits_in(received: bytes) -> int:
    """Return the orbits of the packets in a stream, by the trailer of the last one."""
    trailer = Trailer.decode(received[-TRAILER_BYTES:])
    assert trailer
    return trailer.orbits


def test_a_board_whose_readout_reads_everything_has_sent_everything(tmp_path, reader):
    running = Running(tmp_path, reader.address, board__orbits=480)
    wait_for(lambda: running.statuses and running.statuses[-1].state == "idle")
    last = running.stopped()
    assert (running.error, last.unsent, last.confirmed, last.alarms, last.delivered) == ("", 0, True, [], 480)
    assert orbits_in(reader.received) == 480


def test_what_could_not_be_sent_is_counted_in_orbits(tmp_path, nobody, monkeypatch):
    """The readout is away when the board is stopped: these were lost without a word once."""
    monkeypatch.setattr(sinks, "PATIENCE_S", 0.1)
    running = Running(tmp_path, nobody)
    running.wait_full()
    last = running.stopped()
    assert last.state == "idle"
    assert last.unsent == last.delivered > 0
    assert running.error == (
        f"{last.unsent} orbits were not sent: readout was not reachable ({nobody}: connection refused)"
    )
    assert last.alarms == [running.error]
    event, values = running.log[-1]
    assert (values["level"], values["unsent_orbits"]) == ("error", last.unsent), event


def test_dropped_orbits_are_not_counted_twice(tmp_path, nobody, monkeypatch):
    monkeypatch.setattr(sinks, "PATIENCE_S", 0.1)
    running = Running(tmp_path, nobody, board__pace=1e9)
    wait_for(lambda: running.board.status("running").dropped > 100)
    last = running.stopped()
    assert last.unsent == last.delivered > 0
    assert last.dropped > 100


@pytest.mark.parametrize("times", [1, 2])
def test_a_readout_that_takes_nothing_does_not_keep_the_board(tmp_path, frozen, monkeypatch, times):
    """At the first request after a while, at the second at once."""
    if times == 1:
        monkeypatch.setattr(sinks, "PATIENCE_S", 0.2)
    running = Running(tmp_path, frozen.address)
    running.wait_stuck()
    last = running.stopped(times)
    assert 0 < last.unsent < last.delivered
    assert "takes nothing any more" in running.error
    frozen.may_read.set()  # what it gets now is what the board did not give up, and a part of a packet
    wait_for(lambda: len(frozen.received) >= bytes_sent(last))
    assert orbits_in(frozen.received[: bytes_sent(last)]) == last.delivered - last.unsent


def bytes_sent(last: BoardStatus) -> int:
    """Return the size of the packets that a board has sent completely."""
    sink = Keep()
    source = RepeatedPackets(io.BytesIO(small_packets()), RUN3)
    source.run(sink, pace=0, orbits=last.delivered - last.unsent)
    return len(sink.bytes.getvalue())


def test_a_readout_that_dies_unread_is_told(tmp_path, frozen):
    """All has left the board: what readout has not read, its account must show."""
    running = Running(tmp_path, frozen.address, board__orbits=24, board__buffer=1000)
    wait_for(lambda: frozen.board and running.board._readout.orbits == 24)
    frozen.board.close()  # with bytes unread
    last = running.stopped()
    assert (last.unsent, last.delivered, last.confirmed) == (0, 24, False)
    assert "readout may not have read everything" in running.error


def test_a_packet_that_was_cut_is_sent_again(reader, monkeypatch):
    monkeypatch.setattr(sinks, "_RETRY_S", 0.01)
    sink = ReadoutSink(reader.address, Access())
    one, two = packets()[:2]
    sink.step(memoryview(one))
    wait_for(lambda: len(reader.received) == len(one))
    sink._socket.shutdown(socket.SHUT_WR)  # the board hears of it with this packet
    sink.step(memoryview(two))
    sink.finish()
    assert reader.received == one + two
    assert sink.orbits == orbits_in(two)


def test_a_connection_that_readout_has_closed_costs_no_packet(reader, monkeypatch):
    """Neither an old one, nor a new one to a forwarder with nobody behind it."""
    monkeypatch.setattr(sinks, "_RETRY_S", 0.01)
    monkeypatch.setattr(sinks, "SETTLE_S", PATIENCE_S)
    sent = packets()[:3]
    with socket.create_server(("127.0.0.1", 0)) as forwarder:
        sink = ReadoutSink("{}:{}".format(*forwarder.getsockname()), Access())
        sending = threading.Thread(target=sink.step, args=(memoryview(sent[0]),), daemon=True)
        sending.start()
        forwarder.accept()[0].close()
        wait_for(lambda: sink.why.endswith("closed the connection"))
        sink._address = reader.address
        monkeypatch.setattr(sinks, "SETTLE_S", 0.0)
    sending.join()
    wait_for(lambda: len(reader.received) == len(sent[0]))
    reader.board.shutdown(socket.SHUT_RDWR)
    for packet in sent[1:]:
        sink.step(memoryview(packet))
    sink.finish()
    assert reader.received == b"".join(sent)


@pytest.fixture
def far_readout(tmp_path, monkeypatch):
    """A readout on another machine, as far as anybody can tell."""
    issuer = make_certificate(tmp_path, "issuer")
    own, board = (make_certificate(tmp_path, name, issuer=issuer) for name in ("own", "board"))
    for module in (sinks, board_listener):
        monkeypatch.setattr(module, "is_trusted", lambda host, networks: False)
    monkeypatch.setattr(sinks, "PATIENCE_S", 0.2)
    received: list[bytes] = []

    def handle(connection: board_listener.BoardConnection) -> None:
        buffer = memoryview(bytearray(1 << 16))
        while n := connection.readinto(buffer):
            received.append(bytes(buffer[:n]))

    listener = BoardListener(
        "127.0.0.1:0",
        listener_access(own, clients=issuer),
        (),
        handle,
        ending=Ending(lambda: False),
        log=lambda *_, **__: None,
    ).start()
    yield listener.address, issuer, board, received
    listener.close()


def test_over_tls_a_board_sends_and_knows_that_all_was_read(far_readout):
    address, issuer, board, received = far_readout
    sink = ReadoutSink(address, client_access(issuer, own=board))
    for packet in packets():
        sink.step(memoryview(packet))
    sink.end_soon()
    sink.finish()
    assert b"".join(received) == b"".join(packets())


def test_a_board_that_may_not_send_says_why(far_readout, tmp_path):
    address, issuer, _, received = far_readout
    foreign = make_certificate(tmp_path, "foreign")
    for access, words in (
        (Access(), r"another machine: set access\.authority"),
        (client_access(issuer), r"access\.certificate|closed"),
        (client_access(issuer, own=foreign), "issuer of our certificate|closed"),
        (client_access(foreign), r"not one of access\.authority"),
    ):
        sink = ReadoutSink(address, access)
        sink.end_soon()
        with pytest.raises(OSError, match=words):
            send_all(sink)  # the first packets may be in the sockets' buffers
        assert received == []


def send_all(sink: ReadoutSink) -> None:
    for packet in packets() * 200:
        sink.step(memoryview(packet))
    sink.finish()


def test_a_fault_in_the_sending_thread_does_not_keep_the_board():
    """Its buffer of one packet is full: `finish` would wait for ever."""

    class Faulty:
        def step(self, packet: memoryview) -> None:
            raise ValueError(len(packet))

        def finish(self) -> None:
            pytest.fail("not all was sent")

    sink = BufferedSink(Faulty(), 1, wait=True)
    for _ in range(3):
        sink.step(memoryview(b"packet"))
    with pytest.raises(OSError, match=r"fault in the program: ValueError\(6\)"):
        sink.finish()
