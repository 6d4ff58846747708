"""Who gets in at the boards' port, and what the others cost: real sockets."""

import contextlib
import random
import socket
import ssl
import threading

import pytest

from certificates import Certificate, client_access, listener_access, make_certificates
from chain import PATIENCE_S, wait_for
from l1scout.access import Access, parse_address, parse_networks
from l1scout.errors import InputError
from l1scout.readout import board_listener
from l1scout.readout.board_listener import BoardConnection, BoardListener
from l1scout.readout.streams_in import Ending

PACKET = b"a packet of a board"


class Boards:
    """A listener, what it lets in, and what they send."""

    def __init__(self, access: Access = Access(), networks: str = "", address: str = "127.0.0.1:0") -> None:  # noqa: B008
        self.log: list[tuple[str, dict]] = []
        self.received: list[bytes] = []
        self.listener = BoardListener(
            address,
            access,
            parse_networks(networks),
            self._handle,
            ending=Ending(lambda: False),
            log=lambda event, **values: self.log.append((event, values)),
        ).start()

    def _handle(self, board: BoardConnection) -> None:
        k = len(self.received)
        self.received.append(b"")
        buffer = memoryview(bytearray(4096))
        while n := board.readinto(buffer):
            self.received[k] += buffer[:n]
            if PACKET in self.received[k]:
                board.has_sent_packet()

    def dial(self, data: bytes = b"") -> socket.socket:
        connection = socket.create_connection(parse_address(self.listener.address), PATIENCE_S)
        connection.settimeout(PATIENCE_S)
        connection.sendall(data)
        return connection

    def events(self) -> list[str]:
        return [event for event, _ in self.log]

    def whys(self) -> str:
        return " ".join(str(values.get("why")) for _, values in self.log)


@pytest.fixture
def boards():
    boards = Boards()
    yield boards
    boards.listener.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, Certificate]:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def until_closed(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while connection.recv(4096):
            pass


def test_what_a_board_sends_arrives_and_its_end_is_confirmed(boards):
    with boards.dial(PACKET) as board:
        board.sendall(PACKET)
        board.shutdown(socket.SHUT_WR)
        assert board.recv(1) == b""  # all was read
    assert boards.received == [2 * PACKET]
    wait_for(lambda: not boards.listener.connected)
    with boards.dial(PACKET):
        wait_for(lambda: len(boards.received) == 2)


def test_other_machines_only_by_trusted_networks_or_with_certificates(made):
    for bad in (Access(), listener_access(made["own"]), listener_access(made["own"], "a-token-of-sixteen")):
        with pytest.raises(InputError, match=r"set readout\.trusted_networks"):
            Boards(bad, address="0.0.0.0:0")
    Boards(networks="192.0.2.0/24", address="0.0.0.0:0").listener.close()
    Boards(listener_access(made["own"], clients=made["issuer"]), address="0.0.0.0:0").listener.close()


def test_a_port_that_is_taken(boards):
    with pytest.raises(InputError, match="cannot listen there"):
        Boards(address=boards.listener.address)


@pytest.fixture
def far_boards(made, monkeypatch):
    """A listener to which this machine's connections look like those of another one."""
    monkeypatch.setattr(board_listener, "is_trusted", lambda host, networks: False)
    boards = Boards(listener_access(made["own"], clients=made["issuer"]))
    yield boards
    boards.listener.close()


def test_boards_of_other_machines_show_a_certificate(far_boards, made):
    context = client_access(made["issuer"], own=made["board"]).client()
    with context.wrap_socket(far_boards.dial(), server_hostname="127.0.0.1") as board:
        board.sendall(PACKET)
        with board.unwrap() as plain:
            assert plain.recv(1) == b""
    assert far_boards.received == [PACKET]


@pytest.mark.parametrize("own", [None, "foreign"])
def test_boards_without_the_right_certificate_stay_outside(far_boards, made, own):
    context = client_access(made["issuer"], own=made[own] if own else None).client()
    with (
        contextlib.suppress(OSError),
        context.wrap_socket(far_boards.dial(), server_hostname="127.0.0.1") as board,
    ):
        board.sendall(PACKET)
        until_closed(board)
    wait_for(lambda: far_boards.listener.rejected)
    assert far_boards.received == []


def test_plain_boards_of_other_machines_stay_outside(far_boards):
    with far_boards.dial(PACKET) as board:
        until_closed(board)
    wait_for(lambda: far_boards.listener.rejected)
    assert far_boards.received == []
    assert "TLS" in far_boards.whys()


def test_without_tls_other_machines_stay_outside(monkeypatch):
    monkeypatch.setattr(board_listener, "is_trusted", lambda host, networks: False)
    boards = Boards()
    with boards.dial() as board:
        until_closed(board)
    wait_for(lambda: "trusted_networks" in boards.whys())
    boards.listener.close()


def test_tls_to_a_trusting_listener_is_not_taken_for_data(boards, made):
    context = client_access(made["issuer"]).client()
    with pytest.raises(OSError), boards.dial() as raw:  # noqa: PT011
        context.wrap_socket(raw, server_hostname="127.0.0.1")
    wait_for(lambda: "speaks TLS" in boards.whys())
    assert boards.received == []


def test_hundreds_of_silent_connections_cost_little_and_keep_nobody_out(boards):
    threads = threading.active_count()
    with contextlib.ExitStack() as held:
        for _ in range(400):
            held.enter_context(boards.dial())
        held.enter_context(boards.dial(PACKET))
        wait_for(lambda: boards.received == [PACKET])
        assert len(boards.listener._waiting) <= 128
        assert threading.active_count() <= threads + 1
        assert boards.listener.rejected >= 400 - 128
    assert any("rejected" in line for line in boards.listener.alarms)


def test_a_flood_does_not_lock_a_board_out(boards):
    over = threading.Event()

    def flood() -> None:
        while not over.is_set():
            with contextlib.suppress(OSError):
                boards.dial().close()

    flooding = [threading.Thread(target=flood) for _ in range(3)]
    for thread in flooding:
        thread.start()
    wait_for(lambda: boards.listener.rejected > 100)
    with boards.dial(PACKET) as board:
        wait_for(lambda: boards.received == [PACKET])
        before = boards.listener.rejected
        wait_for(lambda: boards.listener.rejected > before + 100)
        board.sendall(PACKET)
        wait_for(lambda: boards.received == [2 * PACKET])
    over.set()
    for thread in flooding:
        thread.join()


def test_who_sends_nothing_goes_in_time(boards, monkeypatch):
    monkeypatch.setattr(board_listener, "IDLE_S", 0.1)
    with boards.dial() as silent:
        until_closed(silent)
    wait_for(lambda: "sent nothing" in boards.whys())
    assert boards.received == []


def test_a_second_board_waits_unread_until_it_is_sure_that_it_is_one(boards, monkeypatch):
    monkeypatch.setattr(board_listener, "TAKEOVER_S", PATIENCE_S)
    with boards.dial(PACKET) as first:
        wait_for(lambda: boards.received == [PACKET])
        with boards.dial(PACKET) as second:
            wait_for(lambda: boards.listener._held)
            assert boards.listener.rejected == 0
            monkeypatch.setattr(board_listener, "SURE_S", 0.01)

            def rejected() -> bool:
                first.sendall(PACKET)
                return boards.listener.rejected == 1

            wait_for(rejected)
            until_closed(second)
    assert len(boards.received) == 1
    assert "another board is connected" in boards.whys()


def test_a_board_that_was_started_again_gets_in_when_the_old_one_is_read(boards, monkeypatch):
    """Nothing of it is lost, though it came before the end of the other one was seen."""
    monkeypatch.setattr(board_listener, "TAKEOVER_S", PATIENCE_S)
    first = boards.dial(PACKET)
    wait_for(lambda: boards.received == [PACKET])
    with boards.dial(PACKET):
        wait_for(lambda: boards.listener._held)
        first.close()
        wait_for(lambda: boards.received == [PACKET, PACKET])
    assert boards.listener.rejected == 0


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 5000, PACKET])
def test_a_silent_board_and_who_is_none_give_way(boards, monkeypatch, data):
    """Such as a connection that is open at this end only."""
    monkeypatch.setattr(board_listener, "TAKEOVER_S", 0.1)
    with boards.dial(data) as other:
        wait_for(lambda: boards.received == [data])
        with boards.dial(PACKET):
            wait_for(lambda: boards.received == [data, PACKET])
            until_closed(other)
    assert "board gives way to another one" in boards.events()


def test_random_bytes(boards, monkeypatch):
    monkeypatch.setattr(board_listener, "TAKEOVER_S", 0.05)
    random.seed(1)
    for n in (1, 3, 4, 5, 100, 10_000):
        with boards.dial() as client, contextlib.suppress(OSError):
            client.sendall(random.randbytes(n))
    with boards.dial(PACKET):
        wait_for(lambda: PACKET in boards.received)


def test_closing_ends_all(boards):
    with boards.dial(PACKET) as board, boards.dial() as silent:
        wait_for(lambda: boards.received == [PACKET])
        boards.listener.close()
        until_closed(board)
        until_closed(silent)
    wait_for(lambda: not boards.listener.connected)


def test_a_certificate_of_the_wrong_kind_is_told_to_the_log(far_boards, made):
    context = ssl.create_default_context()  # trusts others
    with pytest.raises(ssl.SSLError), far_boards.dial() as raw:
        context.wrap_socket(raw, server_hostname="127.0.0.1")
    wait_for(lambda: far_boards.listener.rejected)
