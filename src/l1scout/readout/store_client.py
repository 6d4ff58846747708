"""HTTP client of the store: one persistent connection, HTTPS if there is an authority, every phase bounded.

The API is that of `l1scout.store`: ``PUT`` and ``HEAD`` of segments, ``GET`` of the position in a run.
"""

import contextlib
import http.client
import json
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crc32c import crc32c
from pydantic import TypeAdapter, ValidationError

from l1scout.access import Access, explain_tls
from l1scout.errors import InputError, first_fault, printable
from l1scout.files import is_short_of_resources
from l1scout.readout.segment_note import ReadoutPosition, SegmentNote
from l1scout.wire import IDLE_S, WireError, connect, interrupt

ANSWER_S = 60.0
"""Time for an answer to arrive completely."""
_BLOCK = 1 << 20
_MAX_ANSWER = 1 << 16
_POSITION = TypeAdapter(ReadoutPosition)


@dataclass(frozen=True)
class Answer:
    """What the store answers.

    Parameters
    ----------
    status : int
        Of HTTP.
    headers : mapping of str to str
        With names in lower case.
    body : bytes
    """

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def why(self) -> str:
        """What is wrong, in the store's words."""
        try:
            text = json.loads(self.body)["error"]
        except (ValueError, KeyError, TypeError, RecursionError):
            text = _WITHOUT_BODY.get(self.status, f"HTTP status {self.status}")
        return printable(str(text))

    @property
    def is_of_a_store(self) -> bool:
        """Whether a refusal has the form of the store's, and is not that of another server or a proxy."""
        return self.headers.get("content-type", "").startswith("application/json") and b'"error"' in self.body

    def number(self, header: str, default: int) -> int:
        """Return a header that is a number."""
        text = self.headers.get(header, "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else default


_WITHOUT_BODY = {
    401: "no token or a wrong one; set access.token as the store has it",
    403: "not allowed; a store of l1scout does not answer so: is there a proxy between?",
    503: "busy, or it cannot work at this moment",
    507: "its disk is full",
}
"""What statuses mean whose answers have no body, as those to HEAD."""
_CLOSED = "closed the connection"
_NO_CERTIFICATE = "perhaps it asks for a certificate of ours: set access.certificate and access.key"
_NOT_OURS = "perhaps it does not accept our certificate: its log says why (access.client_authority there)"
"""In TLS 1.3 a listener judges our certificate when we think that we are connected already."""


class ChangedFileError(OSError):
    """The file of a segment is not what its note says, or cannot be read."""


class StoreClient:
    """A connection to a store, made when it is needed.

    Parameters
    ----------
    address : str
        ``host:port``.
    access : Access

    Raises
    ------
    InputError
        If the address may not be used in this way, or the TLS files cannot be used.
    """

    def __init__(self, address: str, access: Access) -> None:
        access.check_client(address)
        self.address, self._context = address, access.client()
        self._token = access.token if self._context else ""
        self._http: http.client.HTTPConnection | None = None
        self._closed = self._answered = False
        self._has_certificate = access.certificate is not None

    @property
    def connected(self) -> bool:
        """Whether there is a connection."""
        return self._http is not None

    def connect(self) -> None:
        """Connect, if there is no connection (WireError)."""
        if self._http is None:
            connection = connect(self.address, self._context)
            connection.settimeout(IDLE_S)
            self._http = _Connected(self.address, connection)
            if self._closed:
                self.interrupt()

    def close(self) -> None:
        """Close the connection."""
        if self._http is not None:
            self._http.close()
        self._http = None

    def interrupt(self) -> None:
        """End what another thread does with the connection, now and for good."""
        self._closed = True
        http_ = self._http
        if http_ is not None and http_.sock is not None:
            interrupt(http_.sock)

    def head(self, name: str) -> Answer:
        """Ask whether a segment is stored, or how much of it is there (WireError)."""
        return self._ask("HEAD", f"/v1/segments/{name}")

    def put(self, note: SegmentNote, path: Path, start: int) -> Answer:
        """Send a segment from a byte on (WireError; ChangedFileError if the file is not that of the note)."""
        segment = note.segment
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(segment.size - start),
            "L1scout-Note": note.encode().decode("ascii"),
            "Repr-Digest": segment.repr_digest,
        }
        if start:
            headers["Content-Range"] = f"bytes {start}-{segment.size - 1}/{segment.size}"
        with _reading(path):
            file = path.open("rb", buffering=0)
        with file:
            blocks = _checked_blocks(file, start, segment.size, segment.crc32c)
            return self._ask("PUT", f"/v1/segments/{segment.name}", headers, blocks)

    def position(self, run: int, source: int) -> ReadoutPosition:
        """Ask with what the readout of a run goes on (WireError)."""
        answer = self._ask("GET", f"/v1/runs/{run}/sources/{source}")
        if answer.status != 200:
            msg = f"{self.address}: {answer.why}"
            raise WireError(msg)
        try:
            return _POSITION.validate_json(answer.body)
        except ValidationError as error:
            msg = f"{self.address}: not a store of this version there ({first_fault(error)})"
            raise WireError(msg) from error

    def put_settings(self, run: int, source: int, text: str) -> None:
        """Give the store the settings of a run to keep (WireError)."""
        body = text.encode()
        headers = {"Content-Type": "application/toml", "Content-Length": str(len(body))}
        answer = self._ask(
            "PUT", f"/v1/runs/{run}/sources/{source}/settings", headers, iter([memoryview(body)])
        )
        if answer.status not in (200, 201, 204):
            msg = f"{self.address}: settings not kept: {answer.why}"
            raise WireError(msg)

    def _ask(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        blocks: Iterator[memoryview] = iter(()),  # noqa: B008
    ) -> Answer:
        self.connect()
        http_ = self._http
        assert http_ is not None
        try:
            http_.putrequest(method, path, skip_accept_encoding=True)
            if self._token:
                http_.putheader("Authorization", f"Bearer {self._token}")
            for name, value in (headers or {}).items():
                http_.putheader(name, value)
            http_.endheaders()
            complete = _send(http_.sock, blocks)
            answer, last = _answer(http_)
        except ChangedFileError:
            self.close()
            raise
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            why = _explain(error, self.address)
            if why.endswith(_CLOSED) and self._context and not self._answered:
                why += "; " + (_NOT_OURS if self._has_certificate else _NO_CERTIFICATE)
            raise WireError(why) from None  # the error's context could have headers in it
        self._answered = True
        if last or not complete:
            self.close()
        return answer


class _Connected(http.client.HTTPConnection):
    """Connection over a socket that is connected already, and never again."""

    auto_open = 0

    def __init__(self, address: str, connection: socket.socket) -> None:
        super().__init__(address)
        self.sock = connection


def _send(connection: socket.socket, blocks: Iterator[memoryview]) -> bool:
    """Send a body; stop, and return False, when the answer comes before its end."""
    for block in blocks:
        if _has_answer(connection):
            return False
        try:
            connection.sendall(block)
        except (BrokenPipeError, ConnectionResetError):
            if _has_answer(connection):  # it may say why
                return False
            raise
    return True


def _has_answer(connection: socket.socket) -> bool:
    if isinstance(connection, ssl.SSLSocket) and connection.pending():
        return True
    poll = select.poll()  # select() knows no descriptors above 1023
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))


def _answer(http_: http.client.HTTPConnection) -> tuple[Answer, bool]:
    """Read an answer; say, too, whether it is the last of the connection."""
    timer = threading.Timer(ANSWER_S, interrupt, (http_.sock,))
    timer.daemon = True
    timer.start()
    try:
        with http_.getresponse() as response:
            body = response.read(_MAX_ANSWER)
            last = response.will_close or bool(response.read(1))
            headers = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, headers, body), last
    finally:
        timer.cancel()


def _checked_blocks(file: Any, start: int, size: int, crc: int) -> Iterator[memoryview]:
    """Read a file from a byte on; the last block comes only if the whole file has the checksum."""
    buffer = memoryview(bytearray(_BLOCK))
    so_far = at = 0
    while at < size:
        # what the store has already is part of the checksum
        with _reading(file.name):
            n = file.readinto(buffer[: min(_BLOCK, size - at, start - at if at < start else size)])
        if not n:
            break
        so_far, at = crc32c(buffer[:n], so_far), at + n
        if at == size and so_far != crc:
            break
        if at > start:
            yield buffer[:n]
    if at < size or so_far != crc:
        msg = f"{file.name}: is not the segment of its note"
        raise ChangedFileError(msg)


@contextlib.contextmanager
def _reading(path: object) -> Iterator[None]:
    """Separate errors of a file from those of the connection and of the machine."""
    try:
        yield
    except OSError as error:
        if is_short_of_resources(error):
            raise
        msg = f"{path}: cannot be read ({(error.strerror or str(error)).lower()})"
        raise ChangedFileError(msg) from error


def _explain(error: Exception, address: str) -> str:
    if isinstance(error, TimeoutError):
        return f"{address}: no answer in time"
    if isinstance(error, ssl.SSLError):
        return explain_tls(error, address)
    if isinstance(error, http.client.RemoteDisconnected | ConnectionResetError | BrokenPipeError):
        return f"{address}: {_CLOSED}"
    if isinstance(error, OSError):
        return f"{address}: connection lost ({(error.strerror or str(error)).lower()})"
    return f"{address}: not a store there ({type(error).__name__})"


def stored_position(
    addresses: Sequence[str],
    access: Access,
    run: int,
    source: int,
    log: Callable[..., None],
    patience_s: float = 5.0,
) -> ReadoutPosition | None:
    """Ask the stores where the readout of a run goes on; None if none of them answers in time.

    Of several answers, the one that is furthest on.
    """
    known = _of_each(addresses, access, lambda client: client.position(run, source), patience_s)
    positions = [answer for answer in known.values() if isinstance(answer, ReadoutPosition)]
    for address, answer in known.items():
        if isinstance(answer, str):
            log("store does not say where to go on", level="warning", address=address, why=answer)
    return max(positions, key=lambda position: position.index, default=None)


def put_settings(
    addresses: Sequence[str],
    access: Access,
    run: int,
    source: int,
    text: str,
    log: Callable[..., None],
    patience_s: float = 5.0,
) -> bool:
    """Give the settings of a run to every store that can be reached in time; say whether one took them."""

    def put(client: StoreClient) -> bool:
        client.put_settings(run, source, text)
        return True

    known = _of_each(addresses, access, put, patience_s)
    for address, answer in known.items():
        if isinstance(answer, str):
            log("settings not kept by the store", level="warning", address=address, why=answer)
    return True in known.values()


def _of_each(
    addresses: Sequence[str], access: Access, ask: Callable[[StoreClient], Any], patience_s: float
) -> dict[str, Any]:
    """Ask all stores at the same time until the time is over; return each one's answer, or why not."""
    end, known = time.monotonic() + patience_s, dict.fromkeys(addresses, "no answer in time")
    clients = [StoreClient(address, access) for address in addresses]

    def work(client: StoreClient) -> None:
        while time.monotonic() < end and isinstance(known[client.address], str):
            try:
                known[client.address] = ask(client)
            except (OSError, InputError) as error:
                known[client.address] = str(error)
                time.sleep(min(0.2, max(end - time.monotonic(), 0)))
        client.close()

    threads = [threading.Thread(target=work, args=(client,), daemon=True) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(end - time.monotonic(), 0) + 0.05)
    for client in clients:
        with contextlib.suppress(OSError):
            client.interrupt()
    return dict(known)
