"""Pushes the spool's segments to the store, and deletes what the store has acknowledged."""

import threading
import time
from collections.abc import Callable

from l1scout.access import Access
from l1scout.files import checksum
from l1scout.readout.segment_messages import Answer, Offer
from l1scout.readout.segments import Segment
from l1scout.readout.spool import Spool
from l1scout.wire import Channel, WireError, connect

_RETRY_S = (0.1, 0.2, 0.5, 1.0, 2.0)
_MAX_TRIES = 5
IDLE_CLOSE_S = 10.0
_LOOK_S = 1.0


class Sender:
    """Sends segments, oldest first, and connects again after every cut; in a thread, or step by step.

    Parameters
    ----------
    spool : Spool
    address : str
        ``host:port`` of the store.
    access : Access
    log : callable
        ``log(event, **values)``.
    clock : callable
        Seconds that never go back.

    Attributes
    ----------
    sent, sent_bytes : int
        Segments acknowledged, and their bytes.
    """

    def __init__(
        self,
        spool: Spool,
        address: str,
        access: Access,
        log: Callable[..., None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spool, self._address, self._access, self._log = spool, address, access, log
        self._clock = clock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sender", daemon=True)
        self._channel: Channel | None = None
        self._idle_since = 0.0
        self._failures = self._damaged = 0
        self._reported = ""
        self.sent = self.sent_bytes = 0

    @property
    def connected(self) -> bool:
        """Whether there is a connection to the store."""
        return self._channel is not None

    def start(self) -> "Sender":
        """Begin to send, in a thread."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop sending, whatever waits."""
        self._stop.set()
        self._spool.added.set()
        self._thread.join(5.0)

    def drained(self) -> bool:
        """Say whether nothing waits that the store would have."""
        return not len(self._spool)

    def _run(self) -> None:
        while not self._stop.is_set():
            if self._spool.added.wait(self.step()):
                self._spool.added.clear()
        self._disconnect()

    def step(self) -> float:
        """Send the oldest segment that waits; return in how many seconds to look for the next."""
        segment = self._next()
        if segment is None:
            if self._channel and self._clock() - self._idle_since >= IDLE_CLOSE_S:
                self._disconnect()
            return _LOOK_S
        try:
            if self._channel is None:
                self._channel = connect(self._address, "store", self._access)
                self._log("store connected", address=self._address)
                self._failures, self._damaged, self._reported = 0, 0, ""
            wait_s = self._push(self._channel, segment)
        except OSError as error:
            self._disconnect()
            if str(error) != self._reported:
                self._log("store not reached, trying again", why=str(error))
                self._reported = str(error)
            self._failures += 1
            return _RETRY_S[min(self._failures, len(_RETRY_S)) - 1]
        self._idle_since = self._clock()
        return wait_s

    def _disconnect(self) -> None:
        if self._channel:
            self._channel.close()
        self._channel = None

    def _next(self) -> Segment | None:
        return next(self._spool.waiting(), None)

    def _push(self, channel: Channel, segment: Segment) -> float:
        """Offer a segment and send what the store lacks of it; return the seconds to wait before the next."""
        channel.send(**Offer(offer=self._spool.note(segment)).as_message())
        answer = channel.read(Answer)
        if answer.done:
            return self._acknowledged(segment)
        if answer.refused is not None:
            self._spool.refuse(segment, answer.refused)
            self._log("store refuses segment", segment=segment.name, why=answer.refused)
            return 0.0
        if answer.wait is not None:
            return 1.0
        if answer.send is None or answer.send > segment.size:
            msg = f"the store requested an invalid offset ({answer.send} of {segment.size} bytes)"
            raise WireError(msg)
        path = self._spool.path(segment)
        if checksum(path) != (segment.size, segment.crc32c):
            segment = self._spool.repair(segment)
            self._log("segment changed in the spool, repaired", segment=segment.name, orbits=segment.orbits)
            msg = "segment was repaired"
            raise WireError(msg)
        with path.open("rb") as file:
            channel.socket.sendfile(file, answer.send, segment.size - answer.send or None)
        if channel.read(Answer).done:
            return self._acknowledged(segment)
        self._damaged += 1
        self._log("segment damaged on the way, again", segment=segment.name)
        if self._damaged == _MAX_TRIES:
            self._damaged = 0
            msg = f"segment {segment.name} was damaged on the way {_MAX_TRIES} times"
            raise WireError(msg)
        return 0.0

    def _acknowledged(self, segment: Segment) -> float:
        self._spool.remove(segment)
        self.sent, self.sent_bytes, self._damaged = self.sent + 1, self.sent_bytes + segment.size, 0
        return 0.0
