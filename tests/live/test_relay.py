"""A man in the middle, who knows no token, between token holders and real listeners, over real sockets."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from certificates import Certificate, client_access, make_certificate
from chain import wait_for
from l1scout.access import Access, parse_address
from l1scout.board.sinks import ReadoutSink
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.readout.board_listener import BoardListener
from l1scout.readout.segments import Segment
from l1scout.readout.sender import Sender
from l1scout.readout.spool import Spool
from l1scout.readout.store_client import StoreClient
from l1scout.readout.streams_in import Ending
from l1scout.readout.writer import Limits, SegmentWriter
from l1scout.settings import read_settings
from l1scout.store.store import Store
from l1scout.wire import WireError
from live_packets import feed, packets

TOKEN = "a-token-that-nobody-in-the-middle-knows"


def quiet(*_: object, **__: object) -> None:
    """Log nothing."""


class Middle:
    """Listens where a token holder connects to; passes on what comes, and keeps it."""

    def __init__(self, to: str, own: Certificate | None = None) -> None:
        self._to, self.heard, self.ends = to, [], 0
        self._context = Access("", own.certificate, own.key).server() if own else None
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = "{}:{}".format(*self._server.getsockname())
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                victim, _ = self._server.accept()
                self._serve(victim)
                self.ends += 1

    def _serve(self, victim: socket.socket) -> None:
        with victim, contextlib.suppress(OSError), contextlib.ExitStack() as open_:
            if self._context:  # with a certificate of his own
                victim = open_.enter_context(self._context.wrap_socket(victim, server_side=True))
            real = open_.enter_context(socket.create_connection(parse_address(self._to)))
            back = threading.Thread(target=self._pass, args=(real, victim), daemon=True)
            back.start()
            self._pass(victim, real, keep=True)
            back.join()

    def _pass(self, one: socket.socket, other: socket.socket, *, keep: bool = False) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(1 << 16):
                if keep:
                    self.heard.append(data)
                other.sendall(data)
        with contextlib.suppress(OSError):
            other.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, Certificate]:
    folder = tmp_path_factory.mktemp("certificates")
    return {name: make_certificate(folder, name) for name in ("store", "middle")}


@pytest.fixture
def spool(tmp_path) -> Spool:
    spool = Spool(tmp_path / "spool")
    writer = SegmentWriter(spool, 7, 1, RUN3, Limits(orbits=24))
    feed(writer, b"".join(packets()))
    writer.finish()
    return spool


@contextlib.contextmanager
def store_in(folder: Path, own: Certificate | None = None) -> Iterator[Store]:
    environment = {"L1SCOUT_ACCESS_TOKEN": TOKEN} if own else {}
    over = ["store.listen=127.0.0.1:0", f"store.folder={folder}", "store.reserve_bytes=0"]
    over += [f"access.certificate={own.certificate}", f"access.key={own.key}"] if own else []
    store = Store(read_settings(None, environment, over), quiet)
    store.start()
    yield store
    store.close()


@contextlib.contextmanager
def middle_of(to: str, own: Certificate | None = None) -> Iterator[Middle]:
    middle = Middle(to, own)
    yield middle
    middle.close()


def send_one(sender: Sender) -> None:
    """Let a sender do a step, and end."""
    sender.step()
    sender.stop()


def forged() -> tuple[Segment, dict[str, str]]:
    segment = Segment(666, 1, 0, 1, "run3", size=10, crc32c=1, last=True)
    return segment, {"Content-Length": "10", "Repr-Digest": "crc32c=:AAAAAQ==:"}


def ask(address: str, context: object, token: str = "") -> int:
    """Put a forged segment; return the status."""
    client = StoreClient(address, Access())
    client._context, client._token = context, token
    segment, headers = forged()
    try:
        return client._ask(
            "PUT", f"/v1/segments/{segment.name}", headers, iter([memoryview(bytes(10))])
        ).status
    finally:
        client.close()


def test_who_passes_on_tls_hears_no_secret_and_is_not_let_in_afterwards(made, spool, tmp_path):
    with store_in(tmp_path / "store", made["store"]) as store, middle_of(store.server.address) as middle:
        holder = client_access(made["store"], TOKEN)
        send_one(Sender(spool, middle.address, holder, quiet))
        assert len(spool) == 0  # a segment may go any way: it is the store that has acknowledged it
        heard = b"".join(middle.heard)
        assert heard
        assert not any(word in heard for word in (TOKEN.encode(), b"Authorization", b"Bearer"))
        # what was heard is worth nothing, nor is a connection without the token
        context = client_access(made["store"]).client()
        assert [ask(store.server.address, context, token) for token in ("", TOKEN[:-1])] == [401, 401]
        with socket.create_connection(parse_address(store.server.address)) as again:
            again.sendall(heard)
            again.settimeout(10)
            with contextlib.suppress(OSError):
                while again.recv(1 << 16):
                    pass
        assert store.receiver.segments == 1


def test_who_ends_tls_himself_gets_no_request(made, spool, tmp_path):
    """The holder looks at the certificate before it says anything."""
    with (
        store_in(tmp_path / "store", made["store"]) as store,
        middle_of(store.server.address, made["middle"]) as m,
    ):
        send_one(Sender(spool, m.address, client_access(made["store"], TOKEN), quiet))
        wait_for(lambda: m.ends)
        assert (m.heard, len(spool), store.receiver.segments) == ([], 1, 0)


def test_a_holder_never_speaks_plain_text(made, spool, tmp_path):
    """Nor does it believe a listener without TLS, which only the settings could allow."""
    with store_in(tmp_path / "plain") as store, middle_of(store.server.address) as middle:
        send_one(Sender(spool, middle.address, client_access(made["store"], TOKEN), quiet))
        wait_for(lambda: middle.ends)
        assert TOKEN.encode() not in b"".join(middle.heard)
        assert (len(spool), store.receiver.segments) == (1, 0)


def test_a_store_with_a_token_speaks_tls_only(made, tmp_path):
    with store_in(tmp_path / "store", made["store"]) as store:
        with pytest.raises(WireError):
            ask(store.server.address, None, TOKEN)
        assert store.receiver.segments == 0


def test_a_board_led_to_a_store_stores_nothing_there(tmp_path):
    """Across roles: both are on this machine, where there is no token."""
    with store_in(tmp_path / "store") as store:
        board = ReadoutSink(store.server.address, Access())
        board.end_now()
        for packet in packets():
            with contextlib.suppress(OSError):
                board.step(memoryview(packet))
        with contextlib.suppress(OSError):
            board.finish()
        assert store.receiver.segments == 0


def test_a_readout_led_to_a_boards_port_keeps_its_segments(spool):
    received: list[int] = []

    def handle(board: object) -> None:
        buffer = memoryview(bytearray(1 << 20))
        received.append(board.readinto(buffer))

    listener = BoardListener(
        "127.0.0.1:0", Access(), (), handle, ending=Ending(lambda: False), log=quiet
    ).start()
    sender = Sender(spool, listener.address, Access(), quiet)
    assert sender.step() > 0
    sender.stop()
    assert (len(spool), sender.sent) == (1, 0)
    assert received
    listener.close()
