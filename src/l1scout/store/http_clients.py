"""Connections of HTTP clients, with limits on silent and slow ones, and on the heads of their requests."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

REQUEST_S = 5.0
"""For TLS and a first request that is accepted, and for each head of a request to arrive."""
IDLE_S = 15.0
"""Time without progress after which a body is given up."""
MAX_HEAD_BYTES = 32 << 10
READ_BYTES = 1 << 18
WAITING_BYTES = 1 << 20
"""Of a body, for the application: reading stops until it has taken them."""
_PIPELINED = 8
_SLOWEST_BYTES_S = 4096
"""Mean rate of a body after `IDLE_S`; slower ones are given up."""

_shared = threading.local()
"""The buffer of the thread that serves."""


class Client:
    """A connection, from the moment it is accepted.

    Parameters
    ----------
    connection : socket.socket
    peer : str
        Its address.

    Attributes
    ----------
    accepted : bool
        A request of it was accepted: it may stay between requests.
    protocol : ClientProtocol or None
        None during the handshake of TLS.
    """

    def __init__(self, connection: socket.socket, peer: str) -> None:
        self.socket, self.peer = connection, peer
        self.opened = time.monotonic()
        self.accepted = False
        self.protocol: ClientProtocol | None = None

    def drop(self) -> None:
        """Close the connection now."""
        if self.protocol is not None:
            self.protocol.transport.abort()
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def fault(self, now: float) -> str:
        """Say why the connection is to be closed; empty if it is not."""
        if not self.accepted:
            return "no accepted request in time" if now > self.opened + REQUEST_S else ""
        return self.protocol.fault(now) if self.protocol else ""


class _Body:
    """What has come of a body and was not taken yet, in place of the bytearray of uvicorn's cycle."""

    def __init__(self) -> None:
        self._pieces, self._size = list[bytes](), 0

    def __iadd__(self, piece: bytes) -> "_Body":
        self._pieces.append(piece)
        self._size += len(piece)
        return self

    def __len__(self) -> int:
        return self._size

    def __bytes__(self) -> bytes:
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)


class ClientProtocol(HttpToolsProtocol, asyncio.BufferedProtocol):
    """uvicorn's HTTP/1.1, with limits on heads, slow bodies and pipelined requests.

    What comes is read into a buffer that all connections of a thread use in turn. Bodies are handed over as
    they are parsed: uvicorn would copy them twice more, and stop and start reading at every 64 kB.
    """

    def __init__(
        self, config: uvicorn.Config, state: ServerState, client: Client, ended: Callable[[Client], None]
    ) -> None:
        super().__init__(config, state, {"client": client})
        self._client, self._ended = client, ended
        self._head_bytes = self._body_bytes = 0
        self._head_began: float | None = None
        self._body_began: float | None = None
        self._moved = 0.0

    @property
    def is_idle(self) -> bool:
        """Whether no request is being received or answered."""
        answered = self.cycle is None or self.cycle.response_complete
        return answered and self._head_began is None and self._body_began is None

    def fault(self, now: float) -> str:
        """Say why the connection is to be closed; empty if it is not."""
        if self._head_began is not None and now > self._head_began + REQUEST_S:
            return "head of a request not complete in time"
        if self._body_began is None or self.flow.read_paused:
            self._moved = now  # waiting for us
            return ""
        took = now - self._body_began
        if now > self._moved + IDLE_S or (took > IDLE_S and self._body_bytes < took * _SLOWEST_BYTES_S):
            return "body of a request stalled"
        return ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, after the handshake of TLS."""
        super().connection_made(transport)
        self._client.protocol = self

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        super().connection_lost(exc)
        self._ended(self._client)

    def get_buffer(self, _: int) -> memoryview:
        """Return where to put what comes; it is parsed before anything else is."""
        if not hasattr(_shared, "buffer"):
            _shared.buffer = memoryview(bytearray(READ_BYTES))
        return _shared.buffer  # type: ignore[no-any-return]

    def buffer_updated(self, nbytes: int) -> None:
        """Parse what came."""
        self.data_received(_shared.buffer[:nbytes])

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        self._moved = time.monotonic()
        if self._body_began is None and self._head_began is None:
            self._head_began = self._moved
        super().data_received(data)
        if self._head_began is not None:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse_head()

    def on_message_begin(self) -> None:
        """Begin a request, which tells the application its client."""
        if len(self.pipeline) >= _PIPELINED:
            self.transport.abort()
            msg = "too many requests at once"
            raise ValueError(msg)
        self._head_began = self._moved
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, if it is not too large."""
        if len(name) + len(value) > MAX_HEAD_BYTES:
            msg = "header too large"
            raise ValueError(msg)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin the body of a request."""
        self._head_began, self._head_bytes = None, 0
        self._body_began, self._body_bytes = time.monotonic(), 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._body_bytes += len(body)
        cycle = self.cycle
        if cycle.response_complete:
            return
        if not cycle.body:
            cycle.body = _Body()  # type: ignore[assignment]
        cycle.body += body
        if len(cycle.body) >= WAITING_BYTES:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        """End a request."""
        self._body_began = None
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP, and close the connection."""
        self._answer(b"400 Bad Request", f"{msg.rstrip('.')}; send HTTP/1.1 as docs/store-api.md describes")

    def _refuse_head(self) -> None:
        self._answer(
            b"431 Request Header Fields Too Large", f"the head is larger than {MAX_HEAD_BYTES} bytes"
        )

    def _answer(self, status: bytes, why: str) -> None:
        if not self.transport.is_closing():
            body = f'{{"error": "{why}"}}'.encode("ascii")
            head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close" % len(body)
            self.transport.write(b"HTTP/1.1 " + status + b"\r\n" + head + b"\r\n\r\n" + body)
            self.transport.close()
