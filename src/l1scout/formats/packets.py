"""What packets of all wire formats share: counters, cutting at trailers, and the orbits found in a packet.

A packet of the scouting board's DMA ends with a trailer of 32 bytes: 0xdeadbeefdeadbeef and three u64
counters: automatic realigns, dropped orbits, orbits. Here they count from the start of the run, so that
nothing is lost with a packet. The highest bits of the first counter, which no board reaches, are marks of
l1scout (`formats.marks`).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from l1scout.formats.lanes import differing, lowest
from l1scout.formats.marks import ALL_MARKS, MARK_BITS, REPEATED, stated_origin
from l1scout.formats.stream import add_counts
from l1scout.jit import kernel

ROW_BYTES = 32
"""Packets are in rows of 32 bytes: one word for each link."""
TRAILER_MARK = 0xDEADBEEFDEADBEEF
TRAILER_BYTES = ROW_BYTES
ORBIT_END = 0xBEEFDEAD
"""Word of the row that ends an orbit's blocks in Run 3."""
ORBITS_PER_PACKET = 20
MAX_ORBITS_PER_PACKET = 64
_ROW = struct.Struct("<4Q")
_MARK = TRAILER_MARK.to_bytes(8, "little")
_MARKS_AT = 64 - MARK_BITS
_COUNTER = (1 << _MARKS_AT) - 1
_PIECE = 1 << 19
"""Read at a time: what was just read is looked at while it is in the processor's cache."""
_ROOM = 1 << 21
_TURNS = np.uint32(0xDEADBEEF), np.uint32(ORBIT_END), np.uint32(0xADBEEFDE), np.uint32(0xEFDEADBE)
"""The word of the mark, turned by 0, 2, 1 and 3 bytes."""


@dataclass(frozen=True)
class Trailer:
    """Counters of a packet's trailer, since the start of the run."""

    realigns: int
    dropped: int
    orbits: int

    def encode(self, marks: int = 0) -> bytes:
        """Return the 32 bytes, with marks of the packet's orbits."""
        first = self.realigns & _COUNTER | marks << _MARKS_AT
        return _ROW.pack(TRAILER_MARK, first, self.dropped, self.orbits)

    @classmethod
    def decode(cls, row: bytes | memoryview) -> "Trailer | None":
        """Read the 32 bytes; None if the row has the mark all over and so no counters."""
        _, first, dropped, orbits = _ROW.unpack(row)
        if first == dropped == orbits == TRAILER_MARK:
            return None
        return cls(first & _COUNTER, dropped, orbits)


def trailer_marks(row: bytes | memoryview) -> int:
    """Return the marks in the 32 bytes of a trailer; 0 if it has no counters."""
    first = int(_ROW.unpack(row)[1])
    return 0 if first == TRAILER_MARK else first >> _MARKS_AT & ALL_MARKS


@dataclass
class Found:
    """What a packet, or several, were found to hold.

    Parameters
    ----------
    packets, orbits, blocks, flagged : int
        That could be read; a block is a crossing. Packets of a format that does not report empty orbits do
        not say which they cover: there `orbits` are those with a block.
    corrupt, corrupt_bytes : int
        Stretches that could not be read.
    maps_from_0 : int
        Packets whose map of the non-empty BX begins with BX 0 rather than 1.
    trailer : Trailer, optional
        The last one.
    objects : dict of str to int
        Objects by kind, see `formats.stream.Stream.counts`; filled when they are decoded.
    """

    packets: int = 0
    orbits: int = 0
    blocks: int = 0
    corrupt: int = 0
    corrupt_bytes: int = 0
    maps_from_0: int = 0
    trailer: Trailer | None = None
    flagged: int = 0
    objects: dict[str, int] = field(default_factory=dict)

    def add(self, other: "Found") -> None:
        """Count what was found further on."""
        for name in ("packets", "orbits", "blocks", "corrupt", "corrupt_bytes", "maps_from_0", "flagged"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.trailer = other.trailer or self.trailer
        add_counts(self.objects, other.objects)


class Readable(Protocol):
    """What packets are read from: a binary file, a socket's file."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Fill a part of `buffer`; 0 at the end."""


@kernel
def _next_turn(words: Any, at: Any, end: Any) -> Any:
    """Return the place of the first word that a mark or the end of an orbit has in it; `end` if none does."""
    mark, orbit_end, left, right = _TURNS
    every, row = np.uint32(0xFFFFFFFF), np.uint64(at)
    while row + np.uint64(8) <= np.uint64(end):
        apart = differing(words, row, mark, every) & differing(words, row, orbit_end, every)
        apart &= differing(words, row, left, every) & differing(words, row, right, every)
        if apart != np.uint32(0xFF):
            return np.int64(row + np.uint64(lowest(~apart)))
        row += np.uint64(8)
    for k in range(np.int64(row), end):
        if words[k] == mark or words[k] == orbit_end or words[k] == left or words[k] == right:
            return k
    return end


@kernel
def _begins_with(data: Any, at: Any, word: Any, size: Any) -> Any:
    for k in range(size):  # noqa: SIM110
        if data[at + k] != np.uint8(word >> np.uint32(8 * (k % 4)) & np.uint32(0xFF)):
            return False
    return True


@kernel
def next_trailer(data: Any, words: Any, start: Any, at: Any, end: Any) -> Any:
    """Find the mark of a trailer, at any byte.

    The mark is one word twice, and so has a whole word in it that is this one, turned by 0 to 3 bytes.

    Parameters
    ----------
    data, words : ndarray of uint8 and uint32
        The same memory.
    start, at, end : int
        Byte with which the packet begins, from which on to search, and after the last one.

    Returns
    -------
    found : bool
        The row that ends an orbit is no mark, although its third byte looks so.
    at : int
        Byte with which the mark begins; if there is none, from which on to search when there is more.
    """
    mark, orbit_end, _, _ = _TURNS
    while True:
        place = 4 * _next_turn(words, (at + 3) // 4, end // 4)
        if place + 4 > end:
            return False, max(at, end - 7)
        at, last = max(at, place - 3), place
        while at <= last:
            if at + 8 > end:
                return False, at
            if not _begins_with(data, at, mark, 8):
                at += 1
                continue
            row = at - 2
            if row < start or at + ROW_BYTES > end or not _begins_with(data, row, orbit_end, ROW_BYTES):
                return True, at
            at = row + ROW_BYTES


def split_at_trailers(stream: Readable, limit: int) -> Iterator[tuple[memoryview, int]]:
    """Cut a stream at the packets' trailers; memory stays below that of three of the longest packets.

    Parameters
    ----------
    stream : Readable
    limit : int
        Bytes of the longest packet; a longer stretch without a trailer is corrupt.

    Yields
    ------
    packet : memoryview
        With its trailer; valid until the next one is asked for: its memory is used again. Whether it makes
        sense is for the reader to see.
    skipped : int
        Bytes left out before it: a stretch that is longer than any packet, or, with an empty
        packet, the rest of the stream, which has no trailer.
    """
    room = np.empty(_ROOM, np.uint8)
    start = seen = end = skipped = 0
    while read := stream.readinto(room.data[end : end + _PIECE]):
        end += read
        words = room.view(np.uint32)
        while True:
            found, seen = next_trailer(room, words, start, seen, end)
            if not found or seen + TRAILER_BYTES > end:
                break
            stop = seen + TRAILER_BYTES
            yield room.data[start:stop], skipped
            start, seen, skipped = stop, stop, 0
        if not found and end - start > limit:
            start, skipped = end - len(_MARK), skipped + end - len(_MARK) - start
        if room.size - end < _PIECE:
            held = room[start:end]
            if 2 * held.size > room.size - _PIECE:
                room = np.empty(2 * room.size, np.uint8)
            room[: held.size] = held
            start, seen, end = 0, seen - start, end - start
    if end > start or skipped:
        yield memoryview(b""), skipped + end - start


@dataclass(frozen=True)
class PacketOrbits:
    """The orbits of a packet, where they lie.

    Parameters
    ----------
    rows : ndarray, shape (n, words)
        The packet, as rows of its format; a view.
    spans : ndarray of int64, shape (orbits, 2)
        First row of each orbit's crossings, and the row after the last.
    orbit : ndarray of int64, shape (orbits,)
        As the packet states them; readout makes them absolute: the epoch times 2**31, plus the orbit.
    flagged : ndarray of int64
        Orbits that their headers flag.
    found : Found
    blocks_of_orbit : ndarray of int64, shape (orbits,)
        Non-empty crossings of each orbit.
    marks : ndarray of uint32, shape (orbits,)
        Bits of `formats.marks` that the board states; 0 where it or the format states nothing.
    numbered : bool
        Whether the packet tells the numbers of its orbits. If not, all are empty and numbered from 0: see
        `following`.
    """

    rows: NDArray[Any]
    spans: NDArray[np.int64]
    orbit: NDArray[np.int64]
    flagged: NDArray[np.int64]
    found: Found
    blocks_of_orbit: NDArray[np.int64]
    marks: NDArray[np.uint32]
    numbered: bool = True

    def following(self, last: int) -> "PacketOrbits":
        """Return the orbits, numbered from `last` + 1 on if the packet does not state their numbers."""
        return self if self.numbered else replace(self, orbit=self.orbit + last + 1, numbered=True)

    @cached_property
    def blocks(self) -> int:
        """Non-empty crossings of all orbits."""
        return int(self.blocks_of_orbit.sum())

    @property
    def repeated(self) -> NDArray[np.bool_]:
        """Orbits whose headers say that they repeat an earlier one."""
        return np.asarray(self.marks & np.uint32(REPEATED) != 0)

    @property
    def simulated(self) -> bool | None:
        """Whether the orbits are simulated, as their board states it; None where it does not."""
        return stated_origin(self.marks)

    def select(self, keep: NDArray[np.bool_]) -> "PacketOrbits":
        """Keep the orbits where ``keep`` (shape (orbits,)) is True."""
        return replace(
            self,
            spans=self.spans[keep],
            orbit=self.orbit[keep],
            flagged=np.intersect1d(self.flagged, self.orbit[keep]),
            blocks_of_orbit=self.blocks_of_orbit[keep],
            marks=self.marks[keep],
        )
