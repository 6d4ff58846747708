"""Files and pipes as streams that end when readout is to stop."""

import select
from collections.abc import Callable
from typing import Any

from l1scout.formats.packets import Readable

TICK_S = 0.25


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
