"""How l1scout's processes talk over TCP: who may, and in which words.

A message is a length (u32, little-endian) and a JSON object of at most `MAX_MESSAGE` bytes. The
listener speaks first. Both sides prove that they know the token, by an HMAC of the other's nonce:
the token itself never travels, and a sender does not believe a listener that does not know it.
"""

import contextlib
import hmac
import json
import secrets
import socket
import threading
import time
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from l1scout.access import Access, is_loopback, parse_address
from l1scout.errors import InputError, ScoutingError, first_fault

VERSION = 1
MAX_MESSAGE = 8192
HANDSHAKE_S = 5.0
"""Total time that a client has to authenticate before it is disconnected."""
IDLE_S = 30.0
"""A connection on which nothing moves for so long is closed; the sender comes back."""
_PENDING = 16
_MIN_TOKEN = 16
Text = Annotated[str, StringConstraints(pattern="^[ -~]{0,128}$")]
M = TypeVar("M", bound=BaseModel)


class Greeting(BaseModel):
    """The listener's first message."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    l1scout: Literal[1] = Field(description="Version of the protocol.")
    role: Text
    nonce: Text


class Hello(BaseModel):
    """The sender's answer to the greeting."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    l1scout: Literal[1] = Field(description="Version of the protocol.")
    nonce: Text
    proof: Text = Field(description="HMAC of the listener's nonce with the token.")


class Welcome(BaseModel):
    """The listener's answer to the sender: one field is set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    proof: Text | None = Field(None, description="HMAC of the sender's nonce with the token.")
    refused: str | None = Field(None, description="Why the sender is not admitted.", max_length=300)


class WireError(ScoutingError, OSError):
    """The other side is gone, silent, or not one of us; the connection is of no more use."""


class Channel:
    """Messages over a connected socket.

    Every call gives up with `WireError` when nothing has moved for `IDLE_S`, and a message as a whole
    when its own limit is over.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        connection.settimeout(IDLE_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, **message: Any) -> None:
        """Send a message."""
        text = json.dumps(message).encode()
        try:
            self.socket.sendall(len(text).to_bytes(4, "little") + text)
        except OSError as error:
            msg = f"connection lost ({error.strerror or error})"
            raise WireError(msg) from error

    def receive(self, limit_s: float = IDLE_S) -> dict[str, Any]:
        """Wait for a message (WireError if none comes in time, or something else does)."""
        end = time.monotonic() + limit_s
        size = int.from_bytes(self._exactly(4, end), "little")
        if not 2 <= size <= MAX_MESSAGE:
            msg = f"not l1scout's protocol (a message of {size} bytes)"
            raise WireError(msg)
        try:
            message = json.loads(self._exactly(size, end))
        except (ValueError, RecursionError) as error:
            msg = "not l1scout's protocol (no JSON)"
            raise WireError(msg) from error
        if not isinstance(message, dict):
            msg = "not l1scout's protocol (no object)"
            raise WireError(msg)
        return message

    def read(self, model: type[M], limit_s: float = IDLE_S) -> M:
        """Wait for a message of one kind (WireError if none comes in time, or something else does)."""
        try:
            return model.model_validate(self.receive(limit_s))
        except ValidationError as error:
            msg = f"not l1scout's protocol ({first_fault(error)})"
            raise WireError(msg) from error

    def _exactly(self, size: int, end: float) -> bytes:
        got = bytearray()
        while len(got) < size:
            left = end - time.monotonic()
            try:
                self.socket.settimeout(max(left, 0.001))
                piece = self.socket.recv(size - len(got)) if left > 0 else b""
            except OSError as error:
                msg = "no answer in time" if isinstance(error, TimeoutError) else f"connection lost ({error})"
                raise WireError(msg) from error
            if not piece:
                msg = "no answer in time" if left <= 0 else "closed by the other side"
                raise WireError(msg)
            got += piece
        self.socket.settimeout(IDLE_S)
        return bytes(got)

    def close(self) -> None:
        """Close the connection, now."""
        _shut(self.socket)


def connect(address: str, role: str, access: Access, limit_s: float = HANDSHAKE_S) -> Channel:
    """Connect to a listener of a role ("readout", "store") and show who we are.

    Raises
    ------
    WireError
        If it is not there, refuses, or cannot show that it knows the token.
    InputError
        If the address or the TLS files cannot be used.
    """
    host, port = parse_address(address)
    context = access.client()
    try:
        connection = socket.create_connection((host, port), limit_s)
    except OSError as error:
        msg = f"{address}: {(error.strerror or str(error)).lower()}"
        raise WireError(msg) from error
    channel = None
    try:
        if context:
            connection = context.wrap_socket(connection, server_hostname=host)
        channel = Channel(connection)
        greeting = channel.read(Greeting, limit_s)
        if greeting.role != role:
            msg = f"{address}: a {greeting.role} listens there, not a {role}"
            raise WireError(msg)
        nonce = secrets.token_hex(16)
        channel.send(l1scout=VERSION, nonce=nonce, proof=access.proof("sender", greeting.nonce))
        answer = channel.read(Welcome, limit_s)
        if answer.refused is not None:
            msg = f"{address}: refused: {answer.refused}"
            raise WireError(msg)
        if not hmac.compare_digest(answer.proof or "", access.proof(role, nonce)):
            msg = f"{address}: the {role} there does not know the token"
            raise WireError(msg)
    except (OSError, WireError) as error:
        connection.close()
        if isinstance(error, WireError):
            raise
        msg = f"{address}: {error}"
        raise WireError(msg) from error
    return channel


class Listener:
    """Accepts connections, lets in who may, and hands each to a thread of its own.

    Strangers cost little: at most 16 connections wait to show who they are, the oldest goes when
    another comes; each has `HANDSHAKE_S` in all.

    Parameters
    ----------
    address : str
        ``host:port``; port 0 takes a free one.
    role : str
    access : Access
    handle : callable
        Gets the channel and the peer's address; the connection is closed when it returns.
    connections : int
        Let in at the same time; one more is refused.
    log : callable
        ``log(event, **values)``; at most one line per second for rejected clients.
    handshake : bool
        False lets in whoever connects, on loopback only: for hardware that knows no protocol.

    Raises
    ------
    InputError
        If the address cannot be had, or is not loopback and there is no token of 16 characters.
    """

    def __init__(
        self,
        address: str,
        role: str,
        access: Access,
        handle: Callable[[Channel, str], None],
        *,
        connections: int,
        log: Callable[..., None],
        handshake: bool = True,
    ) -> None:
        host, port = parse_address(address)
        if not handshake and not is_loopback(host):
            msg = f"{address}: without a handshake only senders on this machine can be let in"
            raise InputError(msg)
        self._handshake = handshake
        if not is_loopback(host) and len(access.token) < _MIN_TOKEN:
            msg = f"{address}: other machines can reach it: set a token of at least {_MIN_TOKEN} characters"
            raise InputError(msg)
        self._role, self._access, self._handle, self._log = role, access, handle, log
        self._context, self._connections = access.server(), connections
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._socket = socket.create_server((host, port), family=family, backlog=128)
        except OSError as error:
            msg = f"{address}: cannot listen there ({(error.strerror or str(error)).lower()})"
            raise InputError(msg) from error
        self._lock = threading.Lock()
        self._pending: dict[int, socket.socket] = {}
        self._evicted: dict[int, socket.socket] = {}
        self._greeting = 0
        self._inside: set[Channel | None] = set()
        self._quiet_until, self._unsaid = 0.0, 0
        self._closed = False
        self.address = "{}:{}".format(*self._socket.getsockname()[:2])

    @property
    def connected(self) -> int:
        """Connections that are let in."""
        return len(self._inside)

    def start(self) -> "Listener":
        """Accept, in a thread."""
        threading.Thread(target=self._accept, name=f"{self._role} listener", daemon=True).start()
        return self

    def close(self) -> None:
        """Take no more connections, and close all."""
        self._closed = True
        self._socket.close()
        with self._lock:
            open_ones = [c for c in self._inside if c]
        for channel in open_ones:
            channel.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                connection, peer = self._socket.accept()
            except OSError:
                time.sleep(0.05)  # too many open files, or closed
                continue
            while self._greeting > 4 * _PENDING:
                time.sleep(0.005)  # rejected clients have not left yet
            with self._lock:
                self._greeting += 1
                if len(self._pending) >= _PENDING:
                    oldest = next(iter(self._pending))
                    self._evicted[oldest] = self._pending.pop(oldest)
                    with contextlib.suppress(OSError):  # its own thread, which may be reading, closes it
                        self._evicted[oldest].shutdown(socket.SHUT_RDWR)
                self._pending[id(connection)] = connection
            name = f"{peer[0]}:{peer[1]}"
            threading.Thread(target=self._greet, args=(connection, name), daemon=True).start()

    def _greet(self, connection: socket.socket, peer: str) -> None:
        channel = None
        try:
            channel = self._let_in(connection)
        except OSError as error:
            self._reject(peer, str(error))
        finally:
            with self._lock:
                evicted = self._evicted.pop(id(connection), connection)
                last = self._pending.pop(id(connection), evicted)
                self._greeting -= 1
        try:
            if channel:
                self._log("connected", peer=peer)
                self._handle(channel, peer)
        except OSError as error:
            self._log("connection ended", peer=peer, why=str(error))
        finally:
            with self._lock:
                self._inside.discard(channel)
            _shut(channel.socket if channel else last)
            connection.close()

    def _let_in(self, connection: socket.socket) -> Channel:
        connection.settimeout(HANDSHAKE_S)
        if self._context:
            wrapped = self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
            with self._lock:
                self._pending[id(connection)] = wrapped
            wrapped.do_handshake()
            connection = wrapped
        channel = Channel(connection)
        hello = self._question(channel) if self._handshake else None
        with self._lock:
            full = len(self._inside) >= self._connections
            if not full:
                self._inside.add(channel)
        if full:
            if self._handshake:
                channel.send(refused=f"busy: {self._connections} connected already")
            msg = "one connection too many"
            raise WireError(msg)
        try:
            if hello:
                channel.send(proof=self._access.proof(self._role, hello.nonce))
        except OSError:
            with self._lock:
                self._inside.discard(channel)
            raise
        return channel

    def _question(self, channel: Channel) -> Hello:
        nonce = secrets.token_hex(16)
        channel.send(l1scout=VERSION, role=self._role, nonce=nonce)
        hello = channel.read(Hello, HANDSHAKE_S)
        if not hmac.compare_digest(hello.proof, self._access.proof("sender", nonce)):
            channel.send(refused="wrong token")
            msg = "wrong token"
            raise WireError(msg)
        return hello

    def _reject(self, peer: str, why: str) -> None:
        with self._lock:
            now = time.monotonic()
            self._unsaid += 1
            if now < self._quiet_until or self._closed:
                return
            self._quiet_until, n = now + 1.0, self._unsaid
            self._unsaid = 0
        self._log("client rejected", peer=peer, why=why, connections=n)


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
