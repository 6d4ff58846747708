"""Where the board's packets go: a file, a pipe, a TCP connection; at once or through a buffer."""

import queue
import socket
import sys
import threading
from pathlib import Path
from typing import BinaryIO

from l1scout.board.board import Sink
from l1scout.errors import InputError

_CONNECT_S = 10.0


class StreamSink:
    """Writes packets one after the other; it is as fast as the stream."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def ready(self) -> bool:
        """Be ready: a slow stream slows the board down."""
        return True

    def put(self, packet: memoryview) -> None:
        """Write a packet."""
        left = packet
        while left:
            left = left[self._stream.write(left) :]

    def close(self) -> None:
        """Write all there is to the stream, and close it."""
        self._stream.flush()
        if self._stream is not sys.stdout.buffer:
            self._stream.close()


def open_sink(target: str) -> StreamSink:
    """Open a file, ``-`` (standard output) or ``tcp://host:port``.

    Raises
    ------
    InputError
        If that cannot be opened.
    """
    try:
        if target == "-":
            return StreamSink(sys.stdout.buffer)
        if target.startswith("tcp://"):
            host, _, port = target.removeprefix("tcp://").rpartition(":")
            if not host or not port.isdigit() or int(port) > 65535:
                msg = f"{target}: tcp://host:port expected"
                raise InputError(msg)
            connection = socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S)
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
    sink : StreamSink
    packets : int
        Packets to hold at most.
    wait : bool
        Wait for room, which slows the board; if not, the board is told and drops orbits.
    """

    def __init__(self, sink: StreamSink, packets: int, *, wait: bool) -> None:
        self._sink, self._wait = sink, wait
        self._queue: queue.Queue[bytes | None] = queue.Queue(packets)
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while (packet := self._queue.get()) is not None:
            if self._error is None:
                try:
                    self._sink.put(memoryview(packet))
                except OSError as error:
                    self._error = error

    def ready(self) -> bool:
        """Say whether there is room; raises the consumer's error if it is gone (OSError)."""
        if self._error is not None:
            raise self._error
        return self._wait or not self._queue.full()

    def put(self, packet: memoryview) -> None:
        """Take a copy of a packet."""
        self._queue.put(bytes(packet))

    def close(self) -> None:
        """Wait until everything is written; raises the consumer's error if it is gone (OSError)."""
        self._queue.put(None)
        self._thread.join()
        if self._error is not None:
            raise self._error
        self._sink.close()


__all__ = ["BufferedSink", "Sink", "StreamSink", "open_sink"]
