"""Wire formats of Phase-2 events (`formats.events64`): a packet is the events of an orbit."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.formats.decoded import Decoded
from l1scout.formats.events64 import (
    EVENT_HEADER,
    EVENT_TAG,
    ORBIT_TAG,
    EventStream,
    event_headers,
    header_orbits,
    orbit_headers,
    walk,
)
from l1scout.formats.packets import Found, PacketOrbits, Readable
from l1scout.formats.raw import Frames
from l1scout.formats.wire_format import Choice, WireFormat, count_decoded
from l1scout.jit import kernel
from l1scout.lhc import BX_PER_ORBIT

WORD_BYTES = 8
_PIECE = 1 << 22
_SURE = 16
"""Events in a row that nothing else can be."""
_ERROR = np.uint64(1 << 61)


class EventFormat(WireFormat):
    """A header of 64 bits per BX, and words of 64 bits with its objects.

    Attributes
    ----------
    stream : EventStream
        What the objects are.
    others : tuple of EventStream
        Kinds of objects that are meant if words can be theirs.
    """

    stream: EventStream
    others: tuple[EventStream, ...] = ()
    reports_empty_orbits = True
    orbit_bits = 32
    has_checksums = False
    layouts = (EVENT_HEADER,)

    def recognises(self, stream: Readable) -> bool:
        """Return whether a file begins with events, 16 or all that it has, of such objects."""
        head = bytearray(1 << 16)
        size = stream.readinto(memoryview(head)) or 0
        words = np.frombuffer(head, "<u8", size // WORD_BYTES)
        n, end, why = _chain(words, 0, orbit_headers())
        whole = size < len(head) and why == 1 and end == words.size and size % WORD_BYTES == 0
        if not (n >= _SURE or (n and whole)):
            return False
        events = _events(words)
        return self.stream.fits(*events) and not any(other.fits(*events) for other in self.others)

    def split(self, stream: Readable) -> Iterator[tuple[memoryview, int]]:
        """Cut a stream where another orbit begins; after damage, look for 16 events in a row."""
        held, skipped, last, searching = b"", 0, False, False
        headers, piece = orbit_headers(), bytearray(_PIECE)
        while not last:
            size = stream.readinto(memoryview(piece)) or 0
            held, last, more = held + piece[:size], size == 0, True
            while more:
                if searching:
                    found, sure = _next_events(held, last=last)
                    held, skipped, searching = held[found:], skipped + found, not sure
                if searching:
                    break
                words = np.frombuffer(held, "<u8", len(held) // WORD_BYTES)
                at = 0
                while at < words.size and not searching:
                    n, end, why = walk(words, at, headers)
                    if why == 1 and not last:
                        break  # the orbit may go on
                    if n and (why != 2 or n >= _SURE):  # a few events before damage may be part of it
                        yield memoryview(held)[WORD_BYTES * at : WORD_BYTES * int(end)], skipped
                        at, skipped = int(end), 0
                    searching = why == 2 or n == 0
                held, more = held[WORD_BYTES * at :], searching
        if held or skipped:
            yield memoryview(b""), skipped + len(held)

    def find_orbits(self, packet: memoryview) -> PacketOrbits:
        """Find the orbits of a packet, up to the first word that is none of an event."""
        words = np.frombuffer(packet, "<u8", len(packet) // WORD_BYTES)
        headers, spans, orbit, blocks, flagged = orbit_headers(), [], [], [], []
        at = 0
        while at < words.size:
            n, end, why = walk(words, at, headers)
            if n:
                heads = words[headers[:n]]
                events = heads[heads >> np.uint64(62) == EVENT_TAG]
                spans.append((at, int(end)))
                orbit.append(int(header_orbits(heads[:1])[0]))
                blocks.append(int(np.count_nonzero(events & np.uint64(0xFF))))
                flagged += [orbit[-1]] * bool(np.any(heads & _ERROR))
                at = int(end)
            if why != 0:
                break
        lost = len(packet) - WORD_BYTES * at
        found = Found(bool(len(packet)), len(orbit), sum(blocks), int(lost > 0), lost)
        where = np.array(spans, np.int64).reshape(-1, 2)
        numbers = (np.array(x, np.int64) for x in (orbit, np.unique(flagged)))
        number, bad = numbers
        marks = np.zeros(number.size, np.uint32)
        return PacketOrbits(words[:, None], where, number, bad, found, np.array(blocks, np.int64), marks)

    def _events(self, orbits: PacketOrbits) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """Return the words of orbits and where their headers are."""
        words, headers, places = orbits.rows[:, 0], orbit_headers(), [np.zeros(0, np.int64)]
        for start, _ in orbits.spans:
            n, _, _ = walk(words, start, headers)
            places.append(headers[:n].copy())
        return words, np.concatenate(places)

    def decode(self, orbits: PacketOrbits) -> Mapping[str, Decoded]:
        """Decode the objects of orbits."""
        return {self.stream.name: self.stream.decode_events(*self._events(orbits))}

    def encode(self, objects: OrbitBatch, first: int, stop: int, run: int = 0) -> bytes:
        """Write the packets of orbits `first` to `stop`: an event for every BX, empty or not."""
        orbit, bx = np.divmod(np.arange((stop - first) * BX_PER_ORBIT), BX_PER_ORBIT)
        packed, counts = self.stream.pack(objects)
        count = np.zeros(orbit.size, np.int64)
        count[(objects.orbit - first) * BX_PER_ORBIT + objects.bx - 1] = counts
        starts = np.r_[0, np.cumsum(1 + count)]
        words = np.zeros(starts[-1], np.uint64)
        words[starts[:-1]] = event_headers(orbit + first, bx + 1, count, run)
        free = np.ones(words.size, np.bool_)
        free[starts[:-1]] = False
        words[free] = packed
        return words.tobytes()

    def example_packet(self) -> bytes:
        """Return the events of an orbit without objects, but for the first."""
        columns = {name: np.ones(1, np.int64) for name in self.stream.empty().columns}
        return self.encode(
            OrbitBatch(np.zeros(1, np.int64), np.ones(1, np.int64), np.array([0, 1]), columns), 0, 1
        )

    def frame_room(self, orbits: PacketOrbits) -> int:
        """Return the 32-bit words that orbits can take in a segment at most."""
        lengths = orbits.spans[:, 1] - orbits.spans[:, 0]
        return 2 * (int(lengths.sum()) + lengths.size)

    def frame(
        self, orbits: PacketOrbits, run: int, source: int, out: NDArray[np.uint32] | None = None
    ) -> Frames:
        """Write an orbit header, and the events with objects or with an error, for each orbit."""
        del source
        room = self.frame_room(orbits)
        out = np.empty(room, np.uint32) if out is None else out
        if out.size < room:
            msg = f"frames may need {room} words, but there is room for {out.size}"
            raise ValueError(msg)
        words, headers = self._events(orbits)
        heads = words[headers]
        keep = (heads >> np.uint64(62) == EVENT_TAG) & (heads & (_ERROR | np.uint64(0xFF)) != 0)
        headers, heads = headers[keep], heads[keep]
        count = (heads & np.uint64(0xFF)).astype(np.int64) + 1
        number = np.searchsorted(orbits.spans[:, 1], headers, side="right")
        size = np.bincount(number, count, orbits.orbit.size).astype(np.int64)
        starts = np.r_[0, np.cumsum(1 + size)]
        made = out[: 2 * starts[-1]].view(np.uint64)
        tag = np.uint64(ORBIT_TAG << 62 | (run & 0x1F) << 56)
        made[starts[:-1]] = tag | orbits.orbit.astype(np.uint64) << np.uint64(24) | size.astype(np.uint64)
        free = np.ones(made.size, np.bool_)
        free[starts[:-1]] = False
        within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        made[free] = words[np.repeat(headers, count) + within]
        objects = self.stream.counts(self.stream.decode_events(words, headers).objects)
        return Frames(out[: 2 * starts[-1]], 2 * starts, orbits.orbit, 0, objects)

    def segment_header(self, run: int, lumisection: int, orbits: int, size: int) -> bytes:
        """Return nothing: the files have no header."""
        del run, lumisection, orbits, size
        return b""

    def salvage(self, data: bytes, source: int, choose: Choice | None = None) -> tuple[bytes, list[int]]:
        """Return the orbits up to the first word that is none of an event."""
        del source, choose
        orbits = self.find_orbits(memoryview(data))
        end = int(orbits.spans[-1, 1]) if len(orbits.spans) else 0
        return data[: WORD_BYTES * end], orbits.orbit.tolist()

    def count_objects(self, data: bytes) -> dict[str, int]:
        """Count the objects in a segment's file."""
        return count_decoded(self.decode(self.find_orbits(memoryview(data))))


def _events(words: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64]]:
    """Return words, and of the events with objects at their beginning the first words and their numbers."""
    headers, at, why, places = orbit_headers(), 0, 0, [np.zeros(0, np.int64)]
    while why == 0:
        n, end, why = walk(words, at, headers)
        places.append(headers[:n].copy())
        at = int(end)
    place = np.concatenate(places)
    place = place[words[place] >> np.uint64(62) == EVENT_TAG]
    count = (words[place] & np.uint64(0xFF)).astype(np.int64)
    return words, place[count > 0] + 1, count[count > 0]


@kernel
def _chain(words: Any, at: Any, headers: Any) -> Any:
    """Walk through the events of orbits that follow each other, 16 or all; see `walk` for what it returns."""
    total, why, before = 0, 0, np.int64(-1)
    while why == 0 and total < _SURE:
        n, end, why = walk(words, at, headers)
        if n:
            orbit = np.int64((words[headers[0]] >> np.uint64(24)) & np.uint64(0xFFFFFFFF))
            if orbit <= before:
                return total, at, 2
            before = orbit
        total, at = total + n, end
    return total, at, why


@kernel
def _first_chain(words: Any, last: Any, headers: Any) -> Any:
    """Return the first word where events follow each other, or may when more is read, and whether they do."""
    for at in range(words.size):
        if words[at] >> np.uint64(62) >= EVENT_TAG:
            n, end, why = _chain(words, at, headers)
            if n >= _SURE or (last and n and why == 1 and end == words.size):
                return at, True
            if why == 1 and not last:
                return at, False
    return words.size, False


def _next_events(data: bytes, *, last: bool) -> tuple[int, bool]:
    """Return the first byte where 16 events, or all up to the end, follow each other, and whether they do.

    If they do not, it is the byte from which on more must be read.
    """
    best = len(data) if last else max(len(data) - WORD_BYTES + 1, 0)
    sure, headers = False, orbit_headers()
    for shift in range(WORD_BYTES):
        if len(data) - shift >= WORD_BYTES:
            words = np.frombuffer(data, "<u8", (len(data) - shift) // WORD_BYTES, shift).copy()
            found, follow = _first_chain(words, last, headers)
            if shift + WORD_BYTES * int(found) < best:
                best, sure = shift + WORD_BYTES * int(found), bool(follow)
    return best, sure
