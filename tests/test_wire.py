"""Who is admitted, and what rejected clients cost: real sockets."""

import contextlib
import hmac
import json
import random
import socket
import ssl
import subprocess
import threading
import time

import pytest

from chain import PATIENCE_S, wait_for
from in_child.hooks import lengthen
from l1scout import wire
from l1scout.access import Access, parse_address
from l1scout.errors import InputError
from l1scout.wire import Channel, Listener, WireError, connect

TOKEN = "a token of more than sixteen"


class Log:
    def __init__(self) -> None:
        self.lines: list[tuple[str, dict]] = []

    def __call__(self, event: str, **values: object) -> None:
        self.lines.append((event, values))

    def events(self) -> list[str]:
        return [event for event, _ in self.lines]


def echo(channel: Channel, peer: str) -> None:
    while True:
        channel.send(**channel.receive())


@pytest.fixture(autouse=True)
def _patience(monkeypatch):
    lengthen(wire, PATIENCE_S, monkeypatch.setattr)


@pytest.fixture
def listening(request):
    access, connections = getattr(request, "param", (Access(), 2))
    log = Log()
    listener = Listener("127.0.0.1:0", "store", access, echo, connections=connections, log=log).start()
    yield listener, log
    listener.close()


def talk(address: str, access: Access = Access()) -> None:  # noqa: B008
    channel = connect(address, "store", access)
    channel.send(hello=1)
    assert channel.receive() == {"hello": 1}
    channel.close()


@pytest.mark.parametrize("listening", [(Access(), 2), (Access(TOKEN), 2)], indirect=True)
def test_who_knows_the_token_is_let_in(listening):
    listener, log = listening
    talk(listener.address, listener._access)
    if listener._access.token:
        for wrong in ("", TOKEN[:-1], TOKEN + "x"):
            with pytest.raises(WireError, match="wrong token"):
                talk(listener.address, Access(wrong))
        assert "client rejected" in log.events()
    talk(listener.address, listener._access)


def test_a_listener_that_does_not_know_the_token_is_not_believed():
    log = Log()
    impostor = Listener(
        "127.0.0.1:0", "store", Access("another token of sixteen"), echo, connections=1, log=log
    )
    impostor._question = lambda channel: (
        channel.send(l1scout=1, role="store", nonce="00"),
        channel.read(wire.Hello),
    )[1]
    impostor.start()
    with pytest.raises(WireError, match="does not know the token"):
        talk(impostor.address, Access(TOKEN))
    impostor.close()


def test_the_proof_is_the_documented_one():
    """HMAC-SHA256 of role and nonce with the token: other programs may speak the protocol."""
    proofs = {role: Access(TOKEN).proof(role, "00ff") for role in ("sender", "store", "readout")}
    assert proofs == {
        role: hmac.digest(TOKEN.encode(), f"l1scout {role} 00ff".encode(), "sha256").hex() for role in proofs
    }
    assert len(set(proofs.values())) == 3


def accept(server: socket.socket, role: str, nonce: str) -> tuple[Channel, dict]:
    """Greet a sender as a listener does, without knowing the token; return its connection and its answer."""
    connection, _ = server.accept()
    channel = Channel(connection)
    channel.send(l1scout=1, role=role, nonce=nonce)
    return channel, channel.receive()


def connecting(address: str, role: str = "store") -> tuple[threading.Thread, list[str]]:
    """Connect in a thread; return it, and a list that gets what comes of it."""
    outcome: list[str] = []

    def run() -> None:
        try:
            connect(address, role, Access(TOKEN), PATIENCE_S).close()
            outcome.append("connected")
        except WireError as error:
            outcome.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    return thread, outcome


def test_a_senders_proof_is_none_of_a_listener():
    """An impostor shows one sender what another one has proved."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = "{}:{}".format(*server.getsockname())
        first, outcome = connecting(address)
        one, hello = accept(server, "store", "00")
        second, _ = connecting(address)
        two, reflected = accept(server, "store", hello["nonce"])
        one.send(proof=reflected["proof"])
        first.join()
        one.close()
        two.close()
        second.join()
    assert outcome == [f"{address}: the store there does not know the token"]


def test_a_store_cannot_be_taken_for_a_readout(monkeypatch):
    """A man in the middle passes on what a board says to a store with the same token."""
    monkeypatch.setattr(wire, "HANDSHAKE_S", PATIENCE_S)
    log = Log()
    store = Listener("127.0.0.1:0", "store", Access(TOKEN), echo, connections=1, log=log).start()
    with socket.create_server(("127.0.0.1", 0)) as server, dial(store) as onward:
        address = "{}:{}".format(*server.getsockname())
        board, outcome = connecting(address, "readout")
        to_store = Channel(onward)
        nonce = to_store.receive()["nonce"]
        to_board, hello = accept(server, "readout", nonce)
        to_store.send(**hello)
        to_board.send(**to_store.receive())
        board.join()
        to_board.close()
    store.close()
    assert outcome == [f"{address}: the readout there does not know the token"]


def test_open_to_other_machines_only_with_a_token():
    for bad in (Access(), Access("short")):
        with pytest.raises(InputError, match="set a token of at least 16"):
            Listener("0.0.0.0:0", "store", bad, echo, connections=1, log=Log())
    with pytest.raises(InputError, match="without a handshake"):
        Listener("0.0.0.0:0", "readout", Access(TOKEN), echo, connections=1, log=Log(), handshake=False)
    Listener("0.0.0.0:0", "store", Access(TOKEN), echo, connections=1, log=Log()).close()


@pytest.mark.parametrize("address", ["nowhere", ":1", "h:x", "h:70000", "h:"])
def test_addresses_that_are_none(address):
    with pytest.raises(InputError, match="host:port expected"):
        parse_address(address)


def test_a_port_that_is_taken():
    one = Listener("127.0.0.1:0", "store", Access(), echo, connections=1, log=Log())
    with pytest.raises(InputError, match="cannot listen there"):
        Listener(one.address, "store", Access(), echo, connections=1, log=Log())
    one.close()


def test_one_connection_too_many(listening):
    listener, _ = listening
    inside = [connect(listener.address, "store", Access()) for _ in range(2)]
    with pytest.raises(WireError, match="busy"):
        connect(listener.address, "store", Access())
    inside[0].close()

    def let_in():
        with contextlib.suppress(WireError):
            inside[0] = connect(listener.address, "store", Access())
            return True

    wait_for(let_in)
    for channel in inside:
        channel.close()


def dial(listener: Listener) -> socket.socket:
    host, port = parse_address(listener.address)
    return socket.create_connection((host, port), PATIENCE_S)


CLIENTS = {
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "4 GB": b"\xff\xff\xff\xff",
    "nothing": b"",
    "no json": b"\x05\x00\x00\x00abcde",
    "a list": b"\x02\x00\x00\x00[]",
    "deep": (b"[" * 8000).rjust(8000) and (8000).to_bytes(4, "little") + b"[" * 8000,
    "no proof": len(b'{"nonce":"a"}').to_bytes(4, "little") + b'{"nonce":"a"}',
    "odd proof": len(json.dumps({"nonce": 5, "proof": [1]})).to_bytes(4, "little")
    + json.dumps({"nonce": 5, "proof": [1]}).encode(),
    "tls": bytes.fromhex("16030100a50100"),
}


@pytest.mark.parametrize("name", CLIENTS)
def test_rejected_clients_cost_a_line(listening, name, monkeypatch):
    monkeypatch.setattr(wire, "HANDSHAKE_S", 0.2)
    listener, log = listening
    with dial(listener) as client:
        client.sendall(CLIENTS[name])
        client.settimeout(PATIENCE_S)
        with contextlib.suppress(ConnectionError):
            while client.recv(4096):
                pass  # until it is closed
    wait_for(log.events)
    assert log.events() == ["client rejected"]
    monkeypatch.setattr(wire, "HANDSHAKE_S", PATIENCE_S)
    talk(listener.address)


def test_random_bytes(listening):
    listener, _ = listening
    random.seed(1)
    for n in (1, 3, 4, 5, 100, 10_000):
        with dial(listener) as client, contextlib.suppress(OSError):
            client.sendall(random.randbytes(n))
    talk(listener.address)


def test_hundreds_of_clients_that_say_nothing(listening):
    """Who may, gets in all the same; the lines in the log are few, one a second."""
    listener, log = listening
    before, began = threading.active_count(), time.monotonic()
    with contextlib.ExitStack() as held:
        for _ in range(400):
            with contextlib.suppress(OSError):
                held.enter_context(dial(listener))
        talk(listener.address)
        assert len(listener._pending) <= 16
        assert threading.active_count() < before + 80
    assert log.events().count("client rejected") <= 1 + time.monotonic() - began


def test_one_byte_a_second_is_sent_away_in_time(listening, monkeypatch):
    monkeypatch.setattr(wire, "HANDSHAKE_S", 0.3)
    listener, log = listening
    with dial(listener) as client:

        def sent_away():  # however long he goes on
            with contextlib.suppress(OSError):
                client.sendall(b"\x01")
            return "client rejected" in log.events()

        wait_for(sent_away)


def test_tls(tmp_path):
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=l1scout",
            ),
            *("-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    server = Access(TOKEN, tmp_path / "cert.pem", tmp_path / "key.pem")
    log = Log()
    listener = Listener("127.0.0.1:0", "store", server, echo, connections=2, log=log).start()
    talk(listener.address, Access(TOKEN, authority=tmp_path / "cert.pem"))
    with pytest.raises(WireError):  # plain: both sides wait for the other
        connect(listener.address, "store", Access(TOKEN), limit_s=0.2)
    with dial(listener) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
    plain_context = ssl.create_default_context()
    with pytest.raises(ssl.SSLError), dial(listener) as raw:
        plain_context.wrap_socket(raw, server_hostname="127.0.0.1")
    talk(listener.address, Access(TOKEN, authority=tmp_path / "cert.pem"))
    listener.close()
    with pytest.raises(InputError, match="TLS"):
        Access(TOKEN, tmp_path / "none.pem").server()
    with pytest.raises(InputError, match="TLS"):
        Access(TOKEN, authority=tmp_path / "none.pem").client()
