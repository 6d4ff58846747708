"""The page's HTTP server: it only reads, names nothing but what it has listed, and trusts no client.

Everything comes from this server, and the content security policy allows nothing else. Pages of other sites
cannot read from it: the name of the host and the origin of each request are compared.
"""

import asyncio
import base64
import binascii
import hmac
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import cache
from http import HTTPStatus
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from l1scout import __version__
from l1scout.access import Access, is_loopback, parse_address
from l1scout.errors import InputError, printable
from l1scout.formats.stream import STREAMS
from l1scout.monitor.downloads import MEDIA, WRITERS
from l1scout.monitor.live_histograms import CURRENT, LiveHistograms
from l1scout.monitor.page_clients import MAX_CLIENTS, FrameHub
from l1scout.monitor.page_frames import View, describe_stream, live_frame, saved_frame
from l1scout.quality.histogram_definitions import stream_of
from l1scout.store.http_server import QUIET
from l1scout.wire import listening_socket

TICK_S = 0.5
MAX_QUERY = 512
"""Bytes of a query; longer requests are refused."""
MAX_HEAD = 16 << 10
"""Bytes of a request's head."""
MAX_MESSAGE = 256
"""Bytes of what a page may send over its socket: it has nothing to say."""
_STATIC = {"app.js", "frame.js", "plots.js", "views.js", "style.css", "uplot.js", "uplot.css"}
_TYPES = {".js": "text/javascript", ".css": "text/css"}
_LOCAL = {"localhost", "127.0.0.1", "[::1]"}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class PageServer:
    """Serves the page at an address.

    Parameters
    ----------
    live : LiveHistograms
    address : str
        ``host:port``; port 0 takes a free one.
    access : Access
        With a token, browsers ask for a password: it is the token.
    metrics : callable, optional
        Returns the answer to ``/metrics``, and its type.
    on_tick : callable
        Called with every tick.
    tick_s : float
        Between two frames.

    Attributes
    ----------
    address : str
        With the port that it has.

    Raises
    ------
    InputError
        If the address cannot be had, or other machines reach it without TLS or without proof of who they are.
    """

    def __init__(
        self,
        live: LiveHistograms,
        address: str,
        access: Access,
        *,
        metrics: Callable[[], tuple[bytes, str]] | None = None,
        on_tick: Callable[[], None] = lambda: None,
        tick_s: float = TICK_S,
    ) -> None:
        access.check(address)
        tls = access.server()
        self._live, self._tick_s, self._metrics, self._on_tick = live, tick_s, metrics, on_tick
        self._socket, self.address = listening_socket(address)
        host = parse_address(address)[0]
        self._hosts = _LOCAL | {host} if is_loopback(host) else None
        self._token = access.token
        self.hub = FrameHub(lambda view: live_frame(live, view))
        self._downloads = asyncio.Semaphore(2)
        config = uvicorn.Config(
            self.application(),
            ws="websockets-sansio",
            ws_max_size=MAX_MESSAGE,
            ws_max_queue=4,
            ws_per_message_deflate=False,
            lifespan="on",
            h11_max_incomplete_event_size=MAX_HEAD,
            http="h11",
            limit_concurrency=2 * MAX_CLIENTS,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=2,
            **QUIET,
        )
        try:
            config.load()
        except ImportError as error:
            msg = f"the live page needs the package websockets: install l1scout[monitor] ({error})"
            raise InputError(msg) from error
        config.ssl = tls
        self._server = uvicorn.Server(config)
        self._server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]

    def run(self) -> None:
        """Serve until `stop`; in the thread that calls it."""
        asyncio.run(self._server._serve(sockets=[self._socket]))

    def stop(self) -> None:
        """Close all connections, and let `run` return."""
        self._server.should_exit = True

    def application(self) -> Any:
        """Return the ASGI application."""
        routes = [
            Route("/", self._page),
            Route("/static/{name}", _static),
            Route("/healthz", self._health),
            Route("/metrics", self._metrics_text),
            Route("/api/frame", self._frame),
            Route("/api/definitions", _definitions),
            Route("/api/download", self._download),
            WebSocketRoute("/live", self._socket_of_page),
        ]
        handlers: Any = {InputError: _refused}
        app = Starlette(routes=routes, exception_handlers=handlers, lifespan=self._lifespan)
        return _Guarded(app, self._hosts, self._token)

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(self._ticks())
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async def _ticks(self) -> None:
        while True:
            await asyncio.to_thread(self._live.tick)
            await self.hub.tick()
            self._on_tick()
            await asyncio.sleep(self._tick_s)

    async def _page(self, _: Request) -> Response:
        return Response(_rendered(), media_type="text/html; charset=utf-8")

    async def _health(self, _: Request) -> Response:
        faults = self._live.faults[-10:]
        status = HTTPStatus.SERVICE_UNAVAILABLE if faults else HTTPStatus.OK
        return JSONResponse({"state": "running", "alarms": faults}, status)

    async def _metrics_text(self, _: Request) -> Response:
        if self._metrics is None:
            return JSONResponse({"error": "no metrics"}, HTTPStatus.NOT_FOUND)
        text, kind = self._metrics()
        return Response(text, media_type=kind)

    async def _frame(self, request: Request) -> Response:
        view, name = View.parse(request.query_params), request.query_params.get("run", CURRENT)
        if name == CURRENT:
            made = await asyncio.to_thread(live_frame, self._live, view)
        else:
            made = await asyncio.to_thread(saved_frame, self._live, name, view)
        return Response(made, media_type="application/octet-stream")

    async def _download(self, request: Request) -> Response:
        query = request.query_params
        form, name, stream = query.get("format", "root"), query.get("run", CURRENT), query.get("stream", "")
        if form not in WRITERS or (stream and stream_of(stream) not in STREAMS):
            msg = f"format is one of {', '.join(WRITERS)}; stream a known one"
            raise InputError(msg)
        async with self._downloads:
            run = await asyncio.to_thread(self._live.load, name)
            histogram = query.get("histogram", "")
            record = self._live.provenance.as_json()
            content = await asyncio.to_thread(WRITERS[form], run, stream, histogram, record)
        shown = re.sub(r"[^A-Za-z0-9_-]", "_", "-".join(filter(None, (name, stream, histogram))))[:80]
        disposition = f'attachment; filename="l1scout-{shown}.{form}"'
        return Response(content, media_type=MEDIA[form], headers={"Content-Disposition": disposition})

    async def _socket_of_page(self, socket: WebSocket) -> None:
        try:
            view = View.parse(socket.query_params)
        except InputError:
            await socket.close(1008)
            return
        if self.hub.clients >= MAX_CLIENTS:
            await socket.close(1013)
            return
        await socket.accept()
        sending = asyncio.create_task(self.hub.serve(view, socket.send_bytes))
        listening = asyncio.create_task(_until_closed(socket))
        await asyncio.wait({sending, listening}, return_when=asyncio.FIRST_COMPLETED)
        for task in (sending, listening):
            task.cancel()
            with suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError, OSError):
                await task


async def _until_closed(socket: WebSocket) -> None:
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


class _Guarded:
    """Refuses requests of other sites, for other hosts, without the token, or too long; adds headers."""

    def __init__(self, application: Any, hosts: set[str] | None, token: str) -> None:
        self._application, self._hosts, self._token = application, hosts, token

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        if scope["type"] == "lifespan":
            await self._application(scope, receive, send)
            return
        fault = self._fault(scope)
        if scope["type"] == "websocket":
            if fault:
                await receive()
                await send({"type": "websocket.close", "code": 1008})
                return
            await self._application(scope, receive, send)
            return

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                own = [(k.lower().encode(), v.encode()) for k, v in HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *own]}
            await send(message)

        if fault:
            status, why = fault
            answer = JSONResponse({"error": why}, status)
            if status == HTTPStatus.UNAUTHORIZED:
                answer.headers["WWW-Authenticate"] = 'Basic realm="l1scout"'
            await answer(scope, receive, send_with_headers)
            return
        await self._application(scope, receive, send_with_headers)

    def _fault(self, scope: Any) -> tuple[HTTPStatus, str] | None:
        headers = {k: v.decode("latin-1") for k, v in scope["headers"]}
        if len(scope["query_string"]) > MAX_QUERY:
            return HTTPStatus.REQUEST_URI_TOO_LONG, "the query is too long"
        host = headers.get(b"host", "")
        if self._hosts is not None and _name(host) not in self._hosts:
            return HTTPStatus.MISDIRECTED_REQUEST, "not the name of this server"
        origin = headers.get(b"origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return HTTPStatus.FORBIDDEN, "pages of other sites may not read from here"
        if self._token and scope["path"] != "/healthz" and not self._knows_token(headers):
            return HTTPStatus.UNAUTHORIZED, "the password is access.token of the settings"
        return None

    def _knows_token(self, headers: dict[bytes, str]) -> bool:
        kind, _, given = headers.get(b"authorization", "").partition(" ")
        if kind.lower() == "basic":
            try:
                given = base64.b64decode(given, validate=True).decode("latin-1").partition(":")[2]
            except (binascii.Error, ValueError):
                return False
        return hmac.compare_digest(given.encode(), self._token.encode())


def _name(host: str) -> str:
    """Return a ``Host`` header without its port."""
    return re.sub(r":\d{1,5}\Z", "", host)


@cache
def _rendered() -> str:
    environment = Environment(
        loader=PackageLoader("l1scout.monitor"), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("page.html").render(version=__version__)


@cache
def _content(name: str) -> bytes:
    return files("l1scout.monitor").joinpath("static", name).read_bytes()


async def _static(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _STATIC:
        return JSONResponse({"error": "no such file"}, HTTPStatus.NOT_FOUND)
    return Response(_content(name), media_type=_TYPES[Path(name).suffix])


async def _definitions(request: Request) -> Response:
    stream = request.query_params.get("stream", "")
    if stream_of(stream) not in STREAMS:
        msg = "no stream of this name"
        raise InputError(msg)
    return JSONResponse(describe_stream(stream))


async def _refused(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": printable(str(error), 300)}, HTTPStatus.BAD_REQUEST)
