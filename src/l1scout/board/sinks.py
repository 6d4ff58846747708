"""Where the board's packets go: a file, a pipe, a TCP connection, readout; at once or through a buffer."""

import queue
import socket
import sys
import threading
import time
from pathlib import Path
from typing import BinaryIO

from l1scout.access import Access, parse_address
from l1scout.errors import InputError
from l1scout.wire import Channel, connect

_CONNECT_S = 10.0
_RETRY_S = 0.2


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

    A packet that was cut is sent again; what had not left the sockets' buffers is lost, and readout
    counts it as missed.

    Parameters
    ----------
    address : str
        ``host:port``.
    access : Access
    patience_s : float
        When closed, keep trying for so long.
    """

    def __init__(self, address: str, access: Access, patience_s: float = 5.0) -> None:
        parse_address(address)
        self._address, self._access, self._patience = address, access, patience_s
        self._channel: Channel | None = None
        self._closing = float("inf")
        self.why = "not connected yet"

    def ready(self) -> bool:
        """Be ready: a slow readout slows the board down."""
        return True

    def step(self, packet: memoryview) -> None:
        """Send a packet, now or as soon as readout is there (OSError if it is not when closing)."""
        while True:
            try:
                self._channel = self._channel or connect(self._address, "readout", self._access)
                self.why = ""
                # a readout whose spool is full may well stand still for long
                self._channel.socket.settimeout(None)
                self._channel.socket.sendall(packet)
            except OSError as error:
                self.why = str(error)
                if self._channel:
                    self._channel.close()
                    self._channel = None
                if time.monotonic() > self._closing:
                    raise
                time.sleep(_RETRY_S)
            else:
                return

    def hurry(self) -> None:
        """Give up what cannot be sent soon."""
        self._closing = time.monotonic() + self._patience

    def finish(self) -> None:
        """Close the connection."""
        if self._channel:
            self._channel.close()


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
        Wait for room, which slows the board; if not, the board is told and drops orbits.
    """

    def __init__(self, sink: StreamSink | ReadoutSink, packets: int, *, wait: bool) -> None:
        self._sink, self._wait = sink, wait
        self._queue: queue.Queue[bytes | None] = queue.Queue(packets)
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

    def ready(self) -> bool:
        """Say whether there is room; raises the consumer's error if it is gone (OSError)."""
        if self._error is not None:
            raise self._error
        return self._wait or not self._queue.full()

    def step(self, packet: memoryview) -> None:
        """Take a copy of a packet."""
        self._queue.put(bytes(packet))

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
            self._sink.hurry()
        if last is not None:
            self._queue.put(last)
        self._queue.put(None)
        self._thread.join()
        if self._error is not None:
            raise self._error
        self._sink.finish()
