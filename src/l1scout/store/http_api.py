"""The store's HTTP API, version 1, as an ASGI application; docs/store-api.md describes it.

Requests are checked here as far as their headers go: token, note, range, digest. `SegmentReceiver` decides
about segments and blocks, so that it is called in threads; what it refuses is a `RefusedError` with an HTTP
status. Decision 16 says why HTTP, and why a token only over TLS.
"""

import asyncio
import base64
import hmac
import re
import tomllib
from collections.abc import AsyncIterator, Callable, Mapping
from http import HTTPStatus
from typing import Any, Protocol

from pydantic import TypeAdapter
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from l1scout.errors import InputError, printable
from l1scout.readout.process_metrics import METRICS, exposition
from l1scout.readout.segment_note import ReadoutPosition, SegmentNote
from l1scout.readout.segments import Segment
from l1scout.readout.status import StoreStatus
from l1scout.store.on_disk import MAX_SETTINGS_BYTES
from l1scout.store.receiver import FULL_S, RefusedError, SegmentReceiver, Upload

_PIECE_BYTES = 1 << 20
"""Bytes that are handed to a thread at a time."""
_RANGE = re.compile(r"bytes ([0-9]{1,15})-([0-9]{1,15})/([0-9]{1,15})\Z")
_DIGEST = re.compile(r"(?:^|,)\s*crc32c=:([A-Za-z0-9+/]{6}==):\s*(?:,|$)")
_POSITION = TypeAdapter(ReadoutPosition)


class ServedStore(Protocol):
    """What the API serves."""

    @property
    def receiver(self) -> SegmentReceiver | None:
        """None while the disk is too full to begin."""

    @property
    def state(self) -> str:
        """One word."""

    @property
    def alarms(self) -> list[str]:
        """What an operator must look at now."""

    @property
    def is_healthy(self) -> bool:
        """Whether segments can be taken."""

    def status(self) -> StoreStatus:
        """Return what the store reports of itself."""


def application(store: ServedStore, token: str, log: Callable[..., None]) -> Any:
    """Return the ASGI application of a store.

    Parameters
    ----------
    store : ServedStore
    token : str
        That clients must show; empty: whoever can connect is accepted.
    log : callable
        ``log(event, **values)``.
    """
    api = _Api(store)
    routes = [
        Route("/healthz", api.health, methods=["GET"]),
        Route("/metrics", api.metrics, methods=["GET"]),
        Route("/v1/segments/{name}", api.head_segment, methods=["HEAD"]),
        Route("/v1/segments/{name}", api.put_segment, methods=["PUT"]),
        Route("/v1/runs/{run}/sources/{source}", api.get_position, methods=["GET"]),
        Route("/v1/runs/{run}/sources/{source}/settings", api.put_settings, methods=["PUT"]),
    ]
    handlers: Mapping[Any, Any] = {RefusedError: _refused, HTTPException: _http_error, Exception: _fault}
    return TokenGuard(Starlette(routes=routes, exception_handlers=handlers), token, log)


class TokenGuard:
    """Lets requests with the token through to an application."""

    def __init__(self, application: Any, token: str, log: Callable[..., None]) -> None:
        self._application, self._log = application, log
        self._expected = f"Bearer {token}".encode() if token else b""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        if scope["path"] != "/healthz":
            given = dict(scope["headers"]).get(b"authorization", b"")
            if self._expected and not hmac.compare_digest(given, self._expected):
                self._log("client rejected", level="warning", peer=scope["client"][0], why="wrong token")
                answer = _error(
                    HTTPStatus.UNAUTHORIZED, "no token or a wrong one; set access.token as the store has it"
                )
                answer.headers["WWW-Authenticate"] = "Bearer"
                await answer(scope, receive, send)
                return
            if client := scope.get("state", {}).get("client"):
                client.accepted = True
        try:
            await self._application(scope, receive, send)
        except ClientDisconnect:
            self._log(
                "client gone in a request", level="warning", peer=scope["client"][0], path=scope["path"]
            )
        except Exception as error:
            self._log("fault in a request", level="error", path=printable(scope["path"]), why=repr(error))


class _Api:
    """The endpoints."""

    def __init__(self, store: ServedStore) -> None:
        self._store = store

    @property
    def _receiver(self) -> SegmentReceiver:
        receiver = self._store.receiver
        if receiver is None:
            msg = "the store's disk is full, and it waits for space; make some"
            raise RefusedError(HTTPStatus.INSUFFICIENT_STORAGE, msg, retry_s=FULL_S)
        return receiver

    async def health(self, _: Request) -> Response:
        """Say how the store is."""
        healthy = self._store.is_healthy
        status = HTTPStatus.OK if healthy else HTTPStatus.SERVICE_UNAVAILABLE
        return JSONResponse({"state": self._store.state, "alarms": self._store.alarms}, status)

    async def metrics(self, _: Request) -> Response:
        """Return the metrics of the store for Prometheus."""
        status = await asyncio.to_thread(self._store.status)
        try:
            text, kind = exposition("store", METRICS["store"], status)
        except InputError as error:
            return _error(HTTPStatus.NOT_IMPLEMENTED, str(error))
        return Response(text, media_type=kind)

    async def head_segment(self, request: Request) -> Response:
        """Say whether a segment is stored, or how far its upload has got."""
        found = await asyncio.to_thread(self._receiver.progress, request.path_params["name"])
        if isinstance(found, Segment):
            return Response(status_code=HTTPStatus.OK, headers={"Repr-Digest": found.repr_digest})
        return Response(status_code=HTTPStatus.NOT_FOUND, headers={"Upload-Offset": str(found)})

    async def put_segment(self, request: Request) -> Response:
        """Receive a segment, or the rest of one."""
        receiver = self._receiver
        note = _note(request)
        start = _start(request, note.segment)
        upload = await asyncio.to_thread(receiver.begin, note, start)
        status = HTTPStatus.CREATED if isinstance(upload, Upload) else upload
        answer = JSONResponse({"segment": note.segment.name}, status)
        answer.headers["Repr-Digest"] = note.segment.repr_digest
        if not isinstance(upload, Upload):
            return _without_body(request, answer)
        try:
            await _receive(request, upload)
            await asyncio.to_thread(upload.finish)
        finally:
            upload.close()
        return answer

    async def get_position(self, request: Request) -> Response:
        """Say with what a readout goes on in a run."""
        run, source = _run_and_source(request)
        position = await asyncio.to_thread(self._receiver.position, run, source)
        return Response(_POSITION.dump_json(position), media_type="application/json")

    async def put_settings(self, request: Request) -> Response:
        """Keep the settings of a readout beside its segments."""
        run, source = _run_and_source(request)
        receiver = self._receiver
        text = _settings(b"".join([piece async for piece in _body(request, MAX_SETTINGS_BYTES)]))
        await asyncio.to_thread(receiver.keep_settings, run, source, text)
        return JSONResponse({}, HTTPStatus.CREATED)


async def _receive(request: Request, upload: Upload) -> None:
    """Hand the body to an upload, in large pieces; what came of one that is cut is kept."""
    pieces, size = list[bytes](), 0
    try:
        async for piece in request.stream():
            pieces.append(piece)
            size += len(piece)
            if size >= _PIECE_BYTES:
                full, pieces, size = pieces, [], 0
                await asyncio.to_thread(upload.write, full)
    finally:
        await asyncio.to_thread(upload.write, pieces)


async def _body(request: Request, limit: int) -> AsyncIterator[bytes]:
    if _length(request) > limit:
        msg = f"the body is larger than {limit} bytes"
        raise RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, msg)
    async for piece in request.stream():
        yield piece


def _length(request: Request) -> int:
    """Return the length of the body, which must be stated and as it is."""
    headers = request.headers
    if headers.get("content-encoding", "identity").lower() != "identity":
        msg = "Content-Encoding: send the bytes as they are"
        raise RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, msg)
    length = headers.get("content-length", "")
    if "transfer-encoding" in headers or not re.fullmatch("[0-9]{1,15}", length):
        msg = "send the body in one piece, with its Content-Length"
        raise RefusedError(HTTPStatus.LENGTH_REQUIRED, msg)
    return int(length)


def _note(request: Request) -> SegmentNote:
    name, text = request.path_params["name"], request.headers.get("l1scout-note")
    if text is None:
        msg = f"{printable(name)}: the header L1scout-Note is missing: it describes the segment"
        raise RefusedError(HTTPStatus.BAD_REQUEST, msg)
    try:
        note = SegmentNote.decode(text.encode("latin-1"))
    except InputError as error:
        raise RefusedError(HTTPStatus.BAD_REQUEST, f"{printable(name)}: {error}") from error
    if note.segment.name != name:
        msg = f"{printable(name)}: the note is that of {note.segment.name}"
        raise RefusedError(HTTPStatus.BAD_REQUEST, msg)
    if why := note.contradiction:
        msg = f"{name}: the note contradicts itself: {why}; send what readout wrote"
        raise RefusedError(HTTPStatus.BAD_REQUEST, msg)
    if parse_digest(request.headers.get("repr-digest", "")) != note.segment.crc32c:
        msg = f"{name}: Repr-Digest is missing or not that of the note: crc32c=:base64 of 4 bytes: expected"
        raise RefusedError(HTTPStatus.BAD_REQUEST, msg)
    return note


def _start(request: Request, segment: Segment) -> int:
    """Return the byte of the segment with which the body begins."""
    length, start = _length(request), 0
    if (text := request.headers.get("content-range")) is not None:
        match = _RANGE.match(text)
        first, last, size = map(int, match.groups()) if match else (0, 0, -1)
        if (size, last) != (segment.size, segment.size - 1) or first > last:
            msg = f"{segment.name}: Content-Range: bytes A-{segment.size - 1}/{segment.size} expected"
            raise RefusedError(HTTPStatus.BAD_REQUEST, msg)
        start = first
    if length != segment.size - start:
        msg = f"{segment.name}: the body has {length} bytes instead of {segment.size - start}, by the note"
        raise RefusedError(HTTPStatus.BAD_REQUEST, msg)
    return start


def _run_and_source(request: Request) -> tuple[int, int]:
    texts = request.path_params["run"], request.path_params["source"]
    if all(re.fullmatch("[0-9]{1,10}", text) for text in texts):
        run, source = map(int, texts)
        if run < 1 << 32 and source < 1 << 16:
            return run, source
    msg = "run and source are numbers of at most 32 and 16 bits, such as /v1/runs/380963/sources/1"
    raise RefusedError(HTTPStatus.NOT_FOUND, msg)


def _settings(body: bytes) -> str:
    try:
        text = body.decode()
        settings = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        msg = f"settings: invalid TOML ({printable(str(error))})"
        raise RefusedError(HTTPStatus.BAD_REQUEST, msg) from error
    access = settings.get("access")
    if isinstance(access, dict) and access.get("token"):
        msg = "settings: leave out access.token, it is a secret"
        raise RefusedError(HTTPStatus.BAD_REQUEST, msg)
    return text


def parse_digest(text: str) -> int | None:
    """Return the CRC32C of a header ``Repr-Digest``; None if it has none."""
    match = _DIGEST.search(text)
    return int.from_bytes(base64.b64decode(match.group(1)), "big") if match else None


def _error(status: int, why: str) -> Response:
    return JSONResponse({"error": why}, status)


def _without_body(request: Request, answer: Response) -> Response:
    """Close the connection after an answer to a client that waits whether it is to send the body."""
    if "expect" in request.headers:
        answer.headers["Connection"] = "close"
    return answer


async def _refused(request: Request, refusal: Any) -> Response:
    answer = _error(refusal.status, str(refusal))
    if refusal.retry_s:
        answer.headers["Retry-After"] = str(refusal.retry_s)
    if refusal.offset is not None:
        answer.headers["Upload-Offset"] = str(refusal.offset)
    if refusal.status in (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.LENGTH_REQUIRED):
        answer.headers["Connection"] = "close"  # and not the rest of what comes
    return _without_body(request, answer)


async def _http_error(_: Request, error: Any) -> Response:
    answer = _error(error.status_code, f"{error.detail}; see docs/store-api.md")
    answer.headers.update(error.headers or {})
    return answer


async def _fault(_: Request, error: Any) -> Response:
    why = f"fault in the store ({type(error).__name__}); see its log"
    return _error(HTTPStatus.INTERNAL_SERVER_ERROR, why)
