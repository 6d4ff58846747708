"""Events of the Phase-2 scouting boards ("native64"): a header per crossing, and words of its objects.

Documented (the README and the unpackers of the public Phase-2 scouting clients, and CMSSW's
L1TriggerScouting/Phase2): a header without words and with the error bit is an event that was truncated.
Sources disagree on the run's and the orbit's width; as the newest, we read 5 and 32 bits. Native BX are
0..3563; columns and `OrbitBatch` have 1..3564 as everywhere.

Ours: up to three empty words may follow an event, as the public clients write them at the end of an orbit; an
orbit header, documented for truncated orbits only, may come before the events of any orbit.
"""

from abc import abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.formats.decoded import Decoded, batch_of_records
from l1scout.formats.layout import Field, Layout
from l1scout.formats.stream import Stream
from l1scout.jit import kernel
from l1scout.lhc import BX_PER_ORBIT

EVENT_TAG, ORBIT_TAG = 2, 3
MAX_NULL_WORDS = 3
EVENT_HEADER = Layout(
    "Header of a Phase-2 event (native64)",
    64,
    (
        Field("count", 0, 8, note="words that follow"),
        Field("zero", 8, 4, note="must be 0"),
        Field("bx", 12, 12, note="0..3563"),
        Field("orbitLow", 24, 16),
        Field("orbitHigh", 40, 16),
        Field("run", 56, 5, note="local run number"),
        Field("error", 61, 1, note="with count 0: truncated"),
        Field("tag", 62, 2, note="2 = event, 3 = orbit (bits 0-23 are then its size in 64-bit words)"),
    ),
)


@kernel
def walk(words: Any, at: Any, headers: Any) -> Any:
    """Walk through the events of one orbit from word `at` on, and write where their headers are.

    Returns the number of headers; the word after the last; and why it ended: 0 another orbit begins, 1 the
    words end, 2 there is no event there. Events are in order of BX.
    """
    n, nulls, last, bx = 0, 0, at, np.int64(-1)
    orbit = np.uint64(0)
    while at < words.size:
        word = words[at]
        if word == 0 and n and nulls < MAX_NULL_WORDS:
            nulls, at = nulls + 1, at + 1
            last = at
            continue
        tag = word >> np.uint64(62)
        this = (word >> np.uint64(24)) & np.uint64(0xFFFFFFFF)
        if tag < np.uint64(EVENT_TAG):
            return n, last, 2
        if tag == np.uint64(ORBIT_TAG):
            if n:
                return n, last, 0
            length = np.int64(1)
        else:
            here = np.int64((word >> np.uint64(12)) & np.uint64(0xFFF))
            if (word >> np.uint64(8)) & np.uint64(0xF) or here >= BX_PER_ORBIT:
                return n, last, 2
            if n and this != orbit:
                return n, last, 0
            if here <= bx:
                return n, last, 2
            length, bx = 1 + np.int64(word & np.uint64(0xFF)), here
        if at + length > words.size:
            return n, last, 1
        headers[n] = at
        n, nulls, orbit = n + 1, 0, this
        at += length
        last = at
    return n, last, 1


def orbit_headers() -> NDArray[np.int64]:
    """Return room for the places of the headers of an orbit, for `walk`."""
    return np.empty(BX_PER_ORBIT + 1, np.int64)


def header_orbits(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the orbit numbers of headers."""
    return ((words >> np.uint64(24)) & np.uint64(0xFFFFFFFF)).astype(np.int64)


def event_headers(
    orbit: NDArray[np.int64], bx: NDArray[np.int64], count: NDArray[np.int64], run: int = 0
) -> NDArray[np.uint64]:
    """Write headers of events; BX are 1..3564 here."""
    return EVENT_HEADER.encode(
        {
            "count": count,
            "bx": bx - 1,
            "orbitLow": orbit & 0xFFFF,
            "orbitHigh": orbit >> 16,
            "run": np.int64(run & 0x1F),
            "tag": np.int64(EVENT_TAG),
        }
    )


class EventStream(Stream):
    """Objects in events of 64-bit words: a subclass says what the words of an event are."""

    source_ids = ()

    @abstractmethod
    def unpack(
        self, words: NDArray[np.uint64], first: NDArray[np.int64], count: NDArray[np.int64]
    ) -> tuple[dict[str, NDArray[Any]], NDArray[np.int64]]:
        """Make columns of the objects of events.

        Parameters
        ----------
        words : ndarray of uint64
        first, count : ndarray of int64, shape (events,)
            First word of each event after its header, and how many there are.

        Returns
        -------
        columns : dict of str to ndarray
        counts : ndarray of int64, shape (events,)
            Objects of each event.
        """

    @abstractmethod
    def pack(self, objects: OrbitBatch) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """Make the words of the objects: the inverse of `unpack`; and how many words each crossing has."""

    @abstractmethod
    def fits(self, words: NDArray[np.uint64], first: NDArray[np.int64], count: NDArray[np.int64]) -> bool:
        """Return whether words of events, which do not state their kind, can be of this one; see `unpack`."""

    def decode_events(self, words: NDArray[np.uint64], headers: NDArray[np.int64]) -> Decoded:
        """Decode the objects of events.

        Parameters
        ----------
        words : ndarray of uint64
        headers : ndarray of int64
            Where the headers are; those of orbits are left out.
        """
        head = EVENT_HEADER.decode(words[headers])
        number = header_orbits(words[headers])
        flagged = np.unique(number[head["error"] == 1])
        is_event = head["tag"] == EVENT_TAG
        columns, counts = self.unpack(words, headers[is_event] + 1, head["count"][is_event].astype(np.int64))
        filled = counts > 0
        orbit, bx = number[is_event][filled], head["bx"][is_event][filled] + 1
        return Decoded(batch_of_records(orbit, bx, counts[filled], columns), flagged)

    def decode(
        self, words: NDArray[np.uint32], bounds: NDArray[np.int64], sources: NDArray[np.int64]
    ) -> tuple[Decoded, NDArray[np.int64]]:
        """Decode payloads of native64 events, each of one orbit."""
        del sources
        ends = bounds[:-1].copy()
        found, parts, headers, first = [], [], orbit_headers(), 0
        for k in range(ends.size):
            part = words[bounds[k] : bounds[k + 1]]
            events = part[: part.size & ~1].view(np.uint64)
            n, end, _ = walk(events, 0, headers)
            ends[k] += 2 * end
            parts.append(events[:end])
            found.append(first + headers[:n])
            first += end
        nothing = np.zeros(0, np.uint64)
        return self.decode_events(
            np.concatenate([nothing, *parts]), np.concatenate([np.zeros(0, np.int64), *found])
        ), ends

    def encode(
        self, objects: OrbitBatch, source: int | None = None
    ) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """Write an event for each crossing."""
        del source
        packed, counts = self.pack(objects)
        starts = np.r_[0, np.cumsum(1 + counts)]
        words = np.empty(starts[-1], np.uint64)
        is_header = np.zeros(words.size, np.bool_)
        is_header[starts[:-1]] = True
        words[is_header] = event_headers(objects.orbit, objects.bx, counts)
        words[~is_header] = packed
        return words.view(np.uint32), 2 * starts


def words_of_events(first: NDArray[np.int64], count: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the places of all words of events; see `EventStream.unpack`."""
    return np.repeat(first - np.cumsum(count) + count, count) + np.arange(count.sum())
