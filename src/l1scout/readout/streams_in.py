"""Where readout's bytes come from: a board's connection or a pipe; both end when readout is to stop."""

import select
import socket
from collections.abc import Callable
from typing import Any

from l1scout.formats.packets import Readable
from l1scout.wire import IDLE_S

TICK_S = 0.25
_LEFT_BYTES = 1 << 26
"""Read at most, of what had arrived when readout stopped to listen."""


class Ending:
    """Whether streams are to end.

    Attributes
    ----------
    soon : callable
        Whether to end when nothing comes for a moment.
    now : bool
        End after what has arrived already.
    """

    def __init__(self, soon: Callable[[], bool]) -> None:
        self.soon, self.now = soon, False


class BoardStream:
    """A board's connection as a stream; it ends when the board closes it, is silent, or readout stops.

    Attributes
    ----------
    at_end : bool
        The board has closed it, and all was read.
    """

    def __init__(self, connection: socket.socket, ending: Ending) -> None:
        self.socket, self._ending = connection, ending
        self.at_end = False
        self._left = _LEFT_BYTES
        connection.settimeout(TICK_S)

    def readinto(self, buffer: memoryview, /) -> int:
        """Wait for bytes."""
        silent = 0.0
        while silent < IDLE_S:
            try:
                if self._ending.now:
                    return self._what_is_there(buffer)
                n = self.socket.recv_into(buffer)
                self.at_end = n == 0
                return n
            except TimeoutError:
                if self._ending.soon():
                    return 0
                silent += TICK_S
            except OSError:
                return 0  # reset: what was received counts
        return 0

    def _what_is_there(self, buffer: memoryview) -> int:
        self.socket.settimeout(0)
        n = self.socket.recv_into(buffer[: max(self._left, 0)]) if self._left > 0 else 0
        self._left -= n
        return n


class PipeStream:
    """A file or pipe as a stream that ends when readout stops: a file at once, a pipe as a connection does.

    Parameters
    ----------
    stream : Readable
        With a file descriptor.
    ending : Ending
    """

    def __init__(self, stream: Any, ending: Ending) -> None:
        self._stream, self._ending = stream, ending
        self._is_file = stream.seekable()

    def readinto(self, buffer: memoryview, /) -> int:
        """Wait for bytes."""
        while True:
            if self._is_file and self._ending.soon():
                return 0
            ready, _, _ = select.select([self._stream], [], [], 0 if self._ending.now else TICK_S)
            if ready:
                return int(self._stream.readinto(buffer) or 0)
            if self._ending.soon():
                return 0


def stoppable(stream: Readable, ending: Ending) -> Readable:
    """Return a stream that ends when readout stops; one that is in memory ends by itself."""
    try:
        stream.fileno()  # type: ignore[attr-defined]
    except (AttributeError, OSError):
        return stream
    return PipeStream(stream, ending)
