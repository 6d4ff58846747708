"""Pushes the spool's segments to the store, and deletes what the store has acknowledged."""

import threading
import time
from collections.abc import Callable

from l1scout.access import Access, parse_addresses
from l1scout.errors import printable
from l1scout.files import is_short_of_resources
from l1scout.readout.segments import Segment
from l1scout.readout.spool import Spool
from l1scout.readout.store_client import Answer, ChangedFileError, StoreClient

_RETRY_S = (0.1, 0.2, 0.5, 1.0, 2.0)
_MAX_TRIES = 5
IDLE_CLOSE_S = 10.0
RETURN_S = 60.0
"""While another store is used, the first one is tried again so often."""
_LOOK_S = 1.0
_ALARM_S = 5.0
_DENIED_S = 5.0
_LONGEST_WAIT_S = 10.0


class Sender:
    """Sends segments, oldest first, and connects again after every cut; in a thread, or step by step.

    Parameters
    ----------
    spool : Spool
    stores : str
        ``host:port`` of the store; after a comma, others that are used while the ones before fail.
    access : Access
    log : callable
        ``log(event, level=..., **values)``.
    failover_s : float
        Time of failure after which the next store is used.
    clock : callable
        Seconds that never go back.

    Attributes
    ----------
    sent, sent_bytes : int
        Segments acknowledged, and their bytes.
    refused : int
        Segments that the store will not have as they are: they are in the spool's folder of those.

    Raises
    ------
    InputError
        If a store may not be reached in this way, or the TLS files cannot be used.
    """

    def __init__(
        self,
        spool: Spool,
        stores: str,
        access: Access,
        log: Callable[..., None],
        *,
        failover_s: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spool, self._log, self._failover, self._clock = spool, log, failover_s, clock
        self._clients = [StoreClient(address, access) for address in parse_addresses(stores)]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sender", daemon=True)
        self._at = self._before_trial = 0
        self._try_first_at = self._not_before = self._idle_since = 0.0
        self._failing_since: float | None = None  # the store that is used
        self._nothing_since: float | None = None  # all of them
        self._may_be_begun = True
        """Whether the store may have a part of the next segment."""
        self._failures = self._tries = 0
        self._why = self._logged = self._denied = self._fault = ""
        self.sent = self.sent_bytes = self.refused = 0

    @property
    def connected(self) -> bool:
        """Whether there is a connection to a store."""
        return self._client.connected

    @property
    def why(self) -> str:
        """Why the last segment did not get through; empty if it did."""
        return self._why

    @property
    def alarms(self) -> list[str]:
        """What an operator must look at now, one line each."""
        lines, since = [], self._nothing_since
        if self._fault:
            lines.append(f"sender: fault in the program: {self._fault}")
        if self._denied:
            lines.append(self._denied)
        elif since is not None and self._clock() - since >= _ALARM_S:
            waited = self._clock() - since
            lines.append(
                f"nothing reaches the store for {waited:.0f} s, {len(self._spool)} wait: {self._why}"
            )
        if self._at and since is None:
            lines.append(f"segments go to {self._client.address}: {self._clients[0].address} has failed")
        return lines

    def start(self) -> "Sender":
        """Begin to send, in a thread."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop sending, whatever waits: a segment that is being sent is cut."""
        self._stop.set()
        for client in self._clients:
            client.interrupt()
        self._spool.added.set()
        if self._thread.ident is None:
            self._client.close()
        else:
            self._thread.join(5.0)

    def drained(self) -> bool:
        """Say whether nothing waits."""
        return len(self._spool) == 0

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                wait_s = self.step()
                self._fault = ""
            except Exception as error:  # a dead thread would fill the spool without a word
                self._fault, wait_s = printable(repr(error)), _RETRY_S[-1]
                self._log("fault in the sender, trying again", level="error", why=self._fault)
            if self._spool.added.wait(wait_s):
                self._spool.added.clear()
        self._client.close()

    @property
    def _client(self) -> StoreClient:
        return self._clients[self._at]

    def step(self) -> float:
        """Send the oldest segment that waits; return in how many seconds to look for the next."""
        now = self._clock()
        if now < self._not_before:
            return self._not_before - now
        segment = next(self._spool.waiting(), None)
        if segment is None:
            if self._client.connected and now - self._idle_since >= IDLE_CLOSE_S:
                self._client.close()
            return _LOOK_S
        if self._at and now >= self._try_first_at:
            self._before_trial = self._at
            self._turn_to(0)
        try:
            wait_s = self._push(segment)
        except ChangedFileError:
            wait_s = self._repair(segment)
        except OSError as error:
            wait_s = self._failed(str(error))
        self._idle_since = self._clock()
        self._not_before = self._idle_since + wait_s
        return wait_s

    def _push(self, segment: Segment) -> float:
        """Send a segment, or what the store lacks of it; return the seconds to wait before the next step."""
        client, start = self._client, 0
        if not client.connected:
            client.connect()
            self._log("store connected", address=client.address)
        if self._may_be_begun:
            there = client.head(segment.name)
            if there.status not in (200, 404):
                return self._react(segment, there)
            # the store has it if it is the same: a byte shows that at once
            start = segment.size if there.status == 200 else there.number("upload-offset", 0)
        self._may_be_begun = True
        note, path = self._spool.note(segment), self._spool.path(segment)
        for _ in range(_MAX_TRIES):
            answer = client.put(note, path, max(min(start, segment.size - 1), 0))
            if answer.status != 416:
                return self._react(segment, answer)
            start = answer.number("upload-offset", 0)
        return self._react(segment, answer)

    def _react(self, segment: Segment, answer: Answer) -> float:
        """Do what an answer asks for; return the seconds to wait before the next step."""
        status = answer.status
        if status in (200, 201) and answer.headers.get("repr-digest") == segment.repr_digest:
            return self._acknowledged(segment)
        if status in (409, 413) and answer.is_of_a_store:
            return self._refuse(segment, answer.why)
        if status in (400, 422) and answer.is_of_a_store:
            self._tries += 1
            self._log("segment not accepted, again", level="warning", segment=segment.name, why=answer.why)
            return 0.0 if self._tries < _MAX_TRIES else self._refuse(segment, answer.why)
        why = f"{self._client.address}: {answer.why}"
        if status in (401, 403):
            self._denied = why
            return self._failed(why, _DENIED_S)
        if status in (503, 507):
            wait_s = answer.number("retry-after", 1)
            return self._failed(why, min(max(wait_s, _RETRY_S[0]), _LONGEST_WAIT_S))
        return self._failed(f"{self._client.address}: not the answer of a store (HTTP status {status})")

    def _acknowledged(self, segment: Segment) -> float:
        self._spool.remove(segment)
        self.sent, self.sent_bytes = self.sent + 1, self.sent_bytes + segment.size
        self._goes_on()
        return 0.0

    def _refuse(self, segment: Segment, why: str) -> float:
        """Put a segment away that the store will not have: it must not keep others back."""
        self._spool.refuse(segment, why)
        self.refused += 1
        self._log("segment refused by the store", level="error", segment=segment.name, why=why)
        self._goes_on()
        return 0.0

    def _repair(self, segment: Segment) -> float:
        """Make what can be read of a segment whose file has changed in the spool a segment again."""
        self._may_be_begun = True
        self._tries += 1
        try:
            mended = self._spool.repair(segment)
        except OSError as error:
            why = f"its file in the spool cannot be read ({error.strerror or error})"
            return self._failed(why) if is_short_of_resources(error) else self._refuse(segment, why)
        if self._tries >= _MAX_TRIES:
            return self._refuse(segment, "its file in the spool changes again and again")
        lost = segment.orbits - mended.orbits
        self._log(
            "segment changed in the spool, repaired", level="error", segment=segment.name, lost_orbits=lost
        )
        return 0.0

    def _goes_on(self) -> None:
        """Note that the store has dealt with a segment."""
        self._may_be_begun = False
        self._failing_since = self._nothing_since = None
        self._failures = self._tries = 0
        self._why = self._logged = self._denied = ""
        if self._before_trial:
            self._log("first store is back", address=self._client.address)
            self._before_trial = 0

    def _failed(self, why: str, wait_s: float | None = None) -> float:
        """Note that a segment did not get through; return in how many seconds to try again."""
        now = self._clock()
        self._may_be_begun, self._why = True, why
        if why != self._logged:
            self._logged = why
            self._log("store not reached, trying again", level="warning", why=why)
        if self._before_trial:  # the first store has not come back: not one second is lost
            self._turn_to(self._before_trial)
            return 0.0
        self._failures += 1
        if self._failing_since is None:
            self._failing_since = now
        if self._nothing_since is None:
            self._nothing_since = now
        if len(self._clients) > 1 and now - self._failing_since >= self._failover:
            self._turn_to((self._at + 1) % len(self._clients))
            self._failing_since = now
            self._log("going on with another store", level="error", address=self._client.address, why=why)
            return 0.0
        return wait_s if wait_s is not None else _RETRY_S[min(self._failures, len(_RETRY_S)) - 1]

    def _turn_to(self, store: int) -> None:
        self._client.close()
        self._at, self._may_be_begun, self._denied = store, True, ""
        if store:
            self._before_trial, self._try_first_at = 0, self._clock() + RETURN_S
