"""TCP connections of boards, readout and store, with or without TLS, and none without a limit of time."""

import contextlib
import socket
import ssl
import struct

from l1scout.access import explain_tls, parse_address
from l1scout.errors import InputError, ScoutingError

CONNECT_S = 5.0
"""Total time to connect, and again for the TLS handshake."""
IDLE_S = 30.0
"""Time without progress after which a connection is closed; the client comes back."""
_KEEP_ALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
_UNACKNOWLEDGED, _LAST_ACK_MS = 24, 56
_TCP_INFO_BYTES = 104


class WireError(ScoutingError, OSError):
    """The other side is away, silent or not the right one; the connection is of no more use."""


def connect(address: str, context: ssl.SSLContext | None, limit_s: float | None = None) -> socket.socket:
    """Connect to a listener, over TLS if there is a context.

    Parameters
    ----------
    address : str
        ``host:port``; with TLS, the host must be in the listener's certificate.
    context : SSLContext, optional
    limit_s : float, optional
        To connect, and again for the TLS handshake; by default `CONNECT_S`.

    Raises
    ------
    WireError
        If nobody listens there, or its certificate is not the right one: one line with what to do.
    InputError
        If the address is none.
    """
    host, port = parse_address(address)
    limit_s = CONNECT_S if limit_s is None else limit_s
    try:
        connection = socket.create_connection((host, port), limit_s)
    except OSError as error:
        msg = f"{address}: {(error.strerror or str(error)).lower()}"
        raise WireError(msg) from error
    keep_alive(connection)
    if context is None:
        return connection
    try:
        connection.settimeout(limit_s)
        return context.wrap_socket(connection, server_hostname=host)
    except OSError as error:
        connection.close()
        raise WireError(explain_tls(error, address)) from error


def listening_socket(address: str) -> tuple[socket.socket, str]:
    """Listen at an address; return the socket, which does not block, and the address with the port it has.

    Raises
    ------
    InputError
        If it is not an address, or cannot be had.
    """
    host, port = parse_address(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        msg = f"{address}: cannot listen there ({(error.strerror or str(error)).lower()})"
        raise InputError(msg) from error
    listener.setblocking(False)
    return listener, "{}:{}".format(*listener.getsockname()[:2])


def own_address(address: str) -> str:
    """Return the numerical address that this machine has towards ``host:port`` (OSError); nothing is sent."""
    family, *_, peer = socket.getaddrinfo(*parse_address(address), type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(peer)
        return str(probe.getsockname()[0])


def keep_alive(connection: socket.socket) -> None:
    """Let the system notice that the other machine is gone, and send what is written at once."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEP_ALIVE.items():
            if hasattr(socket, name):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def peer_is_silent(connection: socket.socket, limit_s: float) -> bool:
    """Return whether the other machine has left what was sent unacknowledged for this time.

    One that is only slow to read acknowledges all the same. Where the system does not know, False.
    """
    if not hasattr(socket, "TCP_INFO"):
        return False
    try:
        known = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
        (unacknowledged,) = struct.unpack_from("=I", known, _UNACKNOWLEDGED)
        (last_ms,) = struct.unpack_from("=I", known, _LAST_ACK_MS)
    except (OSError, struct.error):
        return False
    return bool(unacknowledged) and last_ms > 1000 * limit_s


def interrupt(connection: socket.socket) -> None:
    """End what another thread does with a connection: it gets an error, and closes it."""
    with contextlib.suppress(OSError):  # `shutdown` of SSLSocket would change what the other thread is using
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


def shut(connection: socket.socket) -> None:
    """Close a connection at once, whatever was not sent."""
    interrupt(connection)
    with contextlib.suppress(OSError):
        connection.close()
