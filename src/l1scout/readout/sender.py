"""Pushes the spool's segments to the store, and deletes what the store has acknowledged."""

import threading
from collections.abc import Callable

from l1scout.files import checksum
from l1scout.readout.segments import Segment
from l1scout.readout.spool import Spool
from l1scout.wire import Access, Channel, WireError, connect

_RETRY_S = (0.1, 0.2, 0.5, 1.0, 2.0)
_TRIES = 5
IDLE_CLOSE_S = 10.0


class Sender:
    """A thread that sends, oldest segment first, and comes back after every cut.

    Parameters
    ----------
    spool : Spool
    address : str
        ``host:port`` of the store.
    access : Access
    log : callable
        ``log(event, **values)``.

    Attributes
    ----------
    connected : bool
    sent, sent_bytes : int
        Segments acknowledged, and their bytes.
    refused : set
        Keys of segments that the store will not have, because it has others under their names: they
        stay in the spool.
    """

    def __init__(self, spool: Spool, address: str, access: Access, log: Callable[..., None]) -> None:
        self._spool, self._address, self._access, self._log = spool, address, access, log
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sender", daemon=True)
        self.connected = False
        self.sent = self.sent_bytes = 0
        self.refused: set[tuple[int, int, int]] = set()

    def start(self) -> "Sender":
        """Begin to send."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop sending, whatever waits."""
        self._stop.set()
        self._spool.added.set()
        self._thread.join(5.0)

    def drained(self) -> bool:
        """Say whether nothing waits that the store would have."""
        return len(self._spool) <= len(self.refused)

    def _run(self) -> None:
        failures, said = 0, ""
        while not self._stop.is_set():
            if not self._next():
                self._wait(1.0)
                continue
            try:
                channel = connect(self._address, "store", self._access)
                self.connected = True
                self._log("store connected", address=self._address)
                try:
                    failures, said = 0, ""
                    self._serve(channel)
                finally:
                    self.connected = False
                    channel.close()
            except OSError as error:
                if str(error) != said:
                    self._log("store not reached, trying again", why=str(error))
                    said = str(error)
                self._stop.wait(_RETRY_S[min(failures, len(_RETRY_S) - 1)])
                failures += 1

    def _next(self) -> Segment | None:
        return next((s for s in self._spool.waiting() if s.key not in self.refused), None)

    def _wait(self, seconds: float) -> bool:
        self._spool.added.clear()
        if self._next():
            return True
        return self._spool.added.wait(seconds) and not self._stop.is_set()

    def _serve(self, channel: Channel) -> None:
        while not self._stop.is_set():
            waiting = [s for s in self._spool.waiting() if s.key not in self.refused]
            for segment in waiting:
                if self._stop.is_set():
                    return
                self._push(channel, segment)
            if not waiting and not self._wait(IDLE_CLOSE_S):
                return

    def _push(self, channel: Channel, segment: Segment) -> None:
        tries = 0
        while not self._stop.is_set():
            channel.send(offer=segment.to_dict())
            answer = channel.receive()
            if answer.get("done") is True:
                self._spool.remove(segment)
                self.sent, self.sent_bytes = self.sent + 1, self.sent_bytes + segment.size
                return
            if "refused" in answer:
                self.refused.add(segment.key)
                self._log("store refuses segment", segment=segment.name, why=str(answer["refused"])[:200])
                return
            if "wait" in answer:
                self._stop.wait(1.0)
                continue
            offset = answer.get("send")
            if not isinstance(offset, int) or not 0 <= offset <= segment.size:
                msg = "the store asks for what there is not"
                raise WireError(msg)
            path = self._spool.path(segment)
            if checksum(path) != (segment.size, segment.crc32c):
                segment = self._spool.repair(segment)
                self._log(
                    "segment changed in the spool, repaired", segment=segment.name, orbits=segment.orbits
                )
                msg = "segment was repaired"
                raise WireError(msg)
            with path.open("rb") as file:
                channel.socket.sendfile(file, offset, segment.size - offset or None)
            if channel.receive().get("done") is True:
                self._spool.remove(segment)
                self.sent, self.sent_bytes = self.sent + 1, self.sent_bytes + segment.size
                return
            tries += 1
            self._log("segment damaged on the way, again", segment=segment.name)
            if tries == _TRIES:
                msg = f"segment {segment.name} was damaged on the way {tries} times"
                raise WireError(msg)
