"""Serve a process's metrics and health over HTTP, in a thread of its own: ``/metrics`` and ``/healthz``."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from l1scout.access import Access
from l1scout.control.chain_metrics import ALL_METRICS
from l1scout.control.health import fault_of
from l1scout.control.messages import ChainStatus
from l1scout.control.states import State
from l1scout.readout.process_metrics import exposition
from l1scout.readout.status import ProcessStatus
from l1scout.store.http_api import TokenGuard
from l1scout.store.http_server import HttpServer

Report = Callable[[Any], None]


class StatusServer:
    """Keeps the newest status of a process, and answers with it.

    Parameters
    ----------
    process : str
        A key of `ALL_METRICS`.
    report : callable
        Gets every status, too.
    """

    def __init__(self, process: str, report: Report) -> None:
        self._process, self._report = process, report
        self._status: ProcessStatus | ChainStatus | None = None
        exposition(process, ALL_METRICS[process], None)  # refused now, not when asked

    def __call__(self, status: Any) -> None:
        """Take a status."""
        self._status = status
        self._report(status)

    def application(self, access: Access, log: Callable[..., None]) -> Any:
        """Return the ASGI application."""
        routes = [Route("/metrics", self._metrics), Route("/healthz", self._health)]
        return TokenGuard(Starlette(routes=routes), access.token, log)

    async def _metrics(self, _: Request) -> Response:
        text, kind = exposition(self._process, ALL_METRICS[self._process], self._status)
        return Response(text, media_type=kind)

    async def _health(self, _: Request) -> Response:
        state, alarms, fault = health(self._status)
        status = HTTPStatus.SERVICE_UNAVAILABLE if fault else HTTPStatus.OK
        return JSONResponse({"state": state, "alarms": alarms, "fault": fault}, status)


def health(status: ProcessStatus | ChainStatus | None) -> tuple[str, list[str], str]:
    """Return the state of a process, its alarms, and what is wrong with it (empty if nothing is)."""
    if status is None:
        return "starting", [], "no status yet"
    if isinstance(status, ChainStatus):
        return status.state.value, status.alarms, status.error if status.state == State.ERROR else ""
    return status.state, status.alarms, fault_of(status)


@contextmanager
def metrics_served(
    process: str, address: str, access: Access, log: Callable[..., None], report: Report
) -> Iterator[Report]:
    """Serve metrics at an address while a process works; yield what is to get its statuses.

    Parameters
    ----------
    process : str
        A key of `ALL_METRICS`.
    address : str
        ``host:port``; empty: nothing is served.
    access : Access
    log : callable
    report : callable
        Gets every status.

    Raises
    ------
    InputError
        If the address cannot be had, other machines reach it without TLS or without proof of who they are, or
        prometheus-client is not installed.
    """
    if not address:
        yield report
        return
    latest = StatusServer(process, report)
    server = HttpServer(latest.application(access, log), address, access, log).start()
    log("metrics", address=server.address)
    try:
        yield latest
    finally:
        server.stop()
