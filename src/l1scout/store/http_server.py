"""Serve HTTP(S) to few good clients among many silent, slow or hostile ones; in a thread of its own.

uvicorn has no limits for what comes before a request is complete. Here a connection that has not made an
accepted request is closed after `http_clients.REQUEST_S`, and gives way, oldest first, when there are too
many; heads of requests have a limited size; a body on which nothing moves is given up after
`http_clients.IDLE_S`.
"""

import asyncio
import logging
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import uvicorn

from l1scout.access import Access, explain_tls
from l1scout.store import http_clients
from l1scout.store.http_clients import Client, ClientProtocol
from l1scout.wire import listening_socket

KEEP_ALIVE_S = 120
"""Between the requests of a client."""
STOP_S = 5.0
"""Time for requests to end when the server stops."""
QUIET: dict[str, Any] = {
    "log_config": None,
    "access_log": False,
    "proxy_headers": False,
    "server_header": False,
    "date_header": False,
}
"""Options of uvicorn for servers that log by themselves and say nothing of what they run on."""
MAX_WAITING = 128
"""Connections without an accepted request."""
MAX_OPEN = 256
_LOOK_S = 0.25
_RETRY_S = 0.02


class HttpServer:
    """An ASGI application on an address.

    Parameters
    ----------
    application : ASGI application
        Finds its `Client` in ``scope["state"]["client"]``, to mark it as accepted.
    address : str
        ``host:port``; port 0 takes a free one.
    access : Access
    log : callable
        ``log(event, **values)``.

    Attributes
    ----------
    address : str
        With the port that it has.
    error : BaseException or None
        What ended the thread.

    Raises
    ------
    InputError
        If the address cannot be had, or other machines reach it without TLS or without proof of who they are.
    """

    def __init__(self, application: Any, address: str, access: Access, log: Callable[..., None]) -> None:
        access.check(address)
        self._tls = access.server()
        self._log = log
        self._socket, self.address = listening_socket(address)
        self._clients: dict[int, Client] = {}
        self._config = uvicorn.Config(
            application,
            http=ClientProtocol,
            ws="none",
            lifespan="off",
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=int(STOP_S),
            **QUIET,
        )
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL + 1)
        self._server = _Server(self._config, self)
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)

    @property
    def connections(self) -> int:
        """Open connections."""
        return len(self._clients)

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def start(self) -> "HttpServer":
        """Accept connections, in a thread."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Accept no more connections, let requests end for `STOP_S`, then close all."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(STOP_S + 5.0)
        self._socket.close()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self.error = error

    async def _serve(self) -> None:
        self._accepting = asyncio.create_task(self._accept())
        chores = [self._accepting, asyncio.create_task(self._watch())]
        for chore in chores:
            chore.add_done_callback(self._chore_ended)
        await self._server.serve()
        for client in list(self._clients.values()):
            client.drop()
        for chore in chores:
            chore.cancel()
        for ended in await asyncio.gather(*chores, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended

    def _chore_ended(self, _: "asyncio.Task[None]") -> None:
        self._server.should_exit = True

    def close(self) -> None:
        """Accept no more connections (called by uvicorn)."""
        self._accepting.cancel()

    async def wait_closed(self) -> None:
        """Return at once (called by uvicorn)."""

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        beginning: set[asyncio.Task[None]] = set()
        try:
            while True:
                try:
                    connection, peer = await loop.sock_accept(self._socket)
                except OSError:  # too many open files
                    self._make_room(MAX_OPEN)
                    await asyncio.sleep(_RETRY_S)
                    continue
                self._make_room(0)
                client = Client(connection, peer[0])
                self._clients[id(client)] = client
                task = loop.create_task(self._begin(client, loop))
                beginning.add(task)
                task.add_done_callback(beginning.discard)
                await asyncio.sleep(0)  # a flood of connections does not keep others waiting
        finally:
            self._socket.close()

    async def _begin(self, client: Client, loop: asyncio.AbstractEventLoop) -> None:
        def protocol() -> ClientProtocol:
            return ClientProtocol(self._config, self._server.server_state, client, self._forget)

        limits = (
            {"ssl_handshake_timeout": http_clients.REQUEST_S, "ssl_shutdown_timeout": 1.0}
            if self._tls
            else {}
        )
        try:
            await loop.connect_accepted_socket(protocol, client.socket, ssl=self._tls, **limits)
        except OSError as error:  # ssl.SSLError is one
            if id(client) in self._clients:
                why = explain_tls(error, "", listens=True).removeprefix(": ")
                self._log("client rejected", level="warning", peer=client.peer, why=why)
            self._forget(client)
            client.socket.close()

    def _forget(self, client: Client) -> None:
        self._clients.pop(id(client), None)

    def _make_room(self, more: int) -> None:
        """Close a connection if there are too many: the oldest without a request, of the peer with most."""
        waiting = [c for c in self._clients.values() if not c.accepted]
        victim = None
        if waiting and len(waiting) + more >= MAX_WAITING:
            ((most, _),) = Counter(c.peer for c in waiting).most_common(1)
            victim = next(c for c in waiting if c.peer == most)
        elif len(self._clients) + more >= MAX_OPEN:
            victim = next((c for c in self._clients.values() if not c.protocol or c.protocol.is_idle), None)
        if victim:
            self._drop(victim, "too many connections")

    def _drop(self, client: Client, why: str) -> None:
        self._forget(client)
        client.drop()
        self._log("client rejected", level="warning", peer=client.peer, why=why)

    async def _watch(self) -> None:
        while True:
            now = time.monotonic()
            for client in list(self._clients.values()):
                if why := client.fault(now):
                    self._drop(client, why)
            await asyncio.sleep(_LOOK_S)


class _Server(uvicorn.Server):
    """uvicorn's server, which leaves accepting connections to `HttpServer`."""

    def __init__(self, config: uvicorn.Config, listener: HttpServer) -> None:
        super().__init__(config)
        self.servers: list[Any] = [listener]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin."""
        del sockets
        self.started = True
