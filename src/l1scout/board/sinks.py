"""Where the board's packets go: a file, a pipe, a TCP connection, readout; at once or through a buffer."""

import contextlib
import queue
import select
import socket
import ssl
import sys
import threading
import time
from pathlib import Path
from typing import BinaryIO

from l1scout.access import Access, Networks, explain_tls, is_trusted, parse_address
from l1scout.errors import InputError
from l1scout.formats.packets import TRAILER_BYTES, Trailer
from l1scout.wire import IDLE_S, WireError, connect, own_address, peer_is_silent, shut

PATIENCE_S = 5.0
"""Time without progress after which a board that is to end gives up."""
CONFIRM_S = 15.0
"""Time that readout has to read what the last packets left in the sockets' buffers."""
SETTLE_S = 0.05
"""A forwarder of ports without a readout behind it closes a new connection within this time, or later."""
_CONNECT_S = 10.0
_RETRY_S = 0.2
_TICK_S = 0.25


class StreamSink:
    """Writes packets one after the other; it is as fast as the stream."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def ready(self) -> bool:
        """Be ready: a slow stream slows the board down."""
        return True

    def step(self, packet: memoryview) -> None:
        """Write a packet."""
        left = packet
        while left:
            left = left[self._stream.write(left) :]

    def finish(self) -> None:
        """Write all there is to the stream, and close it."""
        self._stream.flush()
        if self._stream is not sys.stdout.buffer:
            self._stream.close()


class ReadoutSink:
    """Sends packets to readout, and comes back to it after every cut.

    Raw TCP to this machine and from trusted networks, TLS to others. A packet that was cut is sent again;
    what had not left the sockets' buffers is lost, and readout counts it as missed.

    Parameters
    ----------
    address : str
        ``host:port``.
    access : Access
    networks : tuple of networks
        From there, TLS is not needed: as readout has it.
    drain_s : float
        Time for everything once it is to end, however slow readout is.

    Attributes
    ----------
    orbits : int
        Orbits of the packets that were sent, by the count in the last one's trailer.
    why : str
        Why readout is not connected; empty if it is.

    Raises
    ------
    InputError
        If the address is none, or the TLS files cannot be used.
    """

    def __init__(self, address: str, access: Access, networks: Networks = (), drain_s: float = 60.0) -> None:
        parse_address(address)
        self._address, self._networks, self._context = address, networks, access.client()
        self._drain = drain_s
        self._socket: socket.socket | None = None
        self._ending, self._end = False, float("inf")
        self._progress = 0.0
        self.orbits = 0
        self.why = "not connected yet"

    def ready(self) -> bool:
        """Be ready: a slow readout slows the board down."""
        return True

    def step(self, packet: memoryview) -> None:
        """Send a packet, now or as soon as readout is there (OSError if it is given up)."""
        self._progress = time.monotonic()
        while True:
            try:
                if self._socket is None:
                    self._socket = self._connect()
                    self._check_open(self._socket, SETTLE_S)
                self.why = ""
                self._send(self._socket, packet)
            except OSError as error:
                self._disconnect(error)
                if self._gives_up():
                    raise WireError(self.why) from error
                time.sleep(_RETRY_S)
            else:
                if trailer := Trailer.decode(packet[-TRAILER_BYTES:]):
                    self.orbits = trailer.orbits
                return

    def _gives_up(self) -> bool:
        """Say whether the board is to end, and readout has taken nothing for too long."""
        now = time.monotonic()
        return self._ending and (now - self._progress > PATIENCE_S or now > self._end)

    def _connect(self) -> socket.socket:
        plain = is_trusted(own_address(self._address), self._networks)  # as readout sees it
        if not (plain or self._context):
            msg = (
                f"{self._address}: is another machine: set access.authority, certificate and key (TLS), "
                "or readout.trusted_networks here and there"
            )
            raise WireError(msg)
        connection = connect(self._address, None if plain else self._context)
        connection.settimeout(_TICK_S)
        return connection

    def _check_open(self, connection: socket.socket, wait_s: float) -> None:
        """Raise `OSError` if readout has closed the connection: a packet would be lost."""
        poll = select.poll()
        poll.register(connection, select.POLLIN)
        if poll.poll(1000 * wait_s):
            with contextlib.suppress(TimeoutError):  # TLS has things of its own to read
                if not connection.recv(1):
                    msg = f"{self._address}: closed the connection"
                    raise WireError(msg)

    def _send(self, connection: socket.socket, packet: memoryview) -> None:
        """Send all of a packet: a readout whose spool is full may well stand still for long."""
        self._check_open(connection, 0.0)
        left = packet
        while left:
            try:
                left = left[connection.send(left) :]
                self._progress = time.monotonic()
            except TimeoutError:
                if self._gives_up() or peer_is_silent(connection, IDLE_S):
                    msg = f"{self._address}: takes nothing any more"
                    raise WireError(msg) from None

    def _disconnect(self, error: OSError) -> None:
        connection, self._socket = self._socket, None
        self.why = (
            str(error) if isinstance(error, WireError) else f"{self._address}: {_reason(error, connection)}"
        )
        if connection:
            shut(connection)

    def end_soon(self) -> None:
        """Give up what cannot be sent soon."""
        if not self._ending:
            self._progress = time.monotonic()
            self._ending, self._end = True, self._progress + self._drain

    def end_now(self) -> None:
        """Give up what is not sent yet."""
        self._ending, self._end = True, 0.0

    def finish(self) -> None:
        """Close the connection when readout has read everything (OSError if that is not certain)."""
        connection, self._socket = self._socket, None
        if connection is None:
            return
        end = min(self._end, time.monotonic() + CONFIRM_S)
        try:
            connection.settimeout(_TICK_S)
            if isinstance(connection, ssl.SSLSocket):
                connection.settimeout(max(end - time.monotonic(), _TICK_S))
                connection = connection.unwrap()
            connection.shutdown(socket.SHUT_WR)
            while not self._is_closed(connection):
                if time.monotonic() > min(end, self._end):
                    msg = "is slow"
                    raise WireError(msg)
        except OSError as error:
            msg = f"{self._address}: {_reason(error, None)}"
            raise WireError(msg) from error
        finally:
            connection.close()

    @staticmethod
    def _is_closed(connection: socket.socket) -> bool:
        """Wait a little for the other side to close (OSError if it does so before it has read everything)."""
        try:
            return not connection.recv(4096)
        except TimeoutError:
            return False


def _reason(error: OSError, connection: socket.socket | None) -> str:
    """Say why a connection ended: a listener with TLS tells only who reads."""
    if isinstance(connection, ssl.SSLSocket):
        try:
            connection.settimeout(_TICK_S)
            connection.recv(1)
        except OSError as said:
            error = said if isinstance(said, ssl.SSLError) else error
    if isinstance(error, ssl.SSLError):
        return explain_tls(error, "").removeprefix(": ")
    return (error.strerror or str(error) or "connection lost").lower()


def open_sink(target: str) -> "StreamSink | ReadoutSink":
    """Open a file, ``-`` (standard output), ``tcp://host:port`` or ``readout://host:port``.

    Raises
    ------
    InputError
        If that cannot be opened.
    """
    try:
        if target == "-":
            return StreamSink(sys.stdout.buffer)
        if target.startswith("readout://"):
            return ReadoutSink(target.removeprefix("readout://"), Access())
        if target.startswith("tcp://"):
            connection = socket.create_connection(parse_address(target), _CONNECT_S)
            connection.settimeout(None)
            stream = connection.makefile("wb", buffering=0)
            connection.close()  # the stream keeps it open
            return StreamSink(stream)  # type: ignore[arg-type]
        return StreamSink(Path(target).open("wb"))
    except OSError as error:
        msg = f"{target}: {(error.strerror or str(error)).lower()}"
        raise InputError(msg) from error


class BufferedSink:
    """Hands packets to another sink in a thread, and holds some: the consumer may be slow for a while.

    Parameters
    ----------
    sink : StreamSink or ReadoutSink
    packets : int
        Packets to hold at most.
    wait : bool
        Wait for room, which slows the board; if not, `ready` is False then, and the board drops orbits.
    """

    def __init__(self, sink: StreamSink | ReadoutSink, packets: int, *, wait: bool) -> None:
        self._sink, self._wait = sink, wait
        self._queue: queue.Queue[bytes | memoryview | None] = queue.Queue(packets)
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while (packet := self._queue.get()) is not None:
            if self._error is None:
                try:
                    self._sink.step(memoryview(packet))
                except OSError as error:
                    self._error = error
                except Exception as error:  # without this thread, `finish` would wait for ever
                    self._error = OSError(f"fault in the program: {error!r}")

    def ready(self) -> bool:
        """Say whether there is room; raises the consumer's error if it is gone (OSError)."""
        if self._error is not None:
            raise self._error
        return self._wait or not self._queue.full()

    def step(self, packet: memoryview) -> None:
        """Take a packet, or a copy of one that may be written to: its memory may be used again."""
        self._queue.put(packet if packet.readonly else bytes(packet))

    @property
    def waiting(self) -> int:
        """Packets held."""
        return self._queue.qsize()

    def finish(self, last: bytes | None = None) -> None:
        """Wait until everything is written; raises the consumer's error if it is gone (OSError).

        Parameters
        ----------
        last : bytes, optional
            A packet to write after all others.
        """
        if isinstance(self._sink, ReadoutSink):
            self._sink.end_soon()
        if last is not None:
            self._queue.put(last)
        self._queue.put(None)
        self._thread.join()
        if self._error is not None:
            raise self._error
        self._sink.finish()
