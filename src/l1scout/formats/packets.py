"""What packets of all wire formats share: counters, cutting at trailers, and the orbits found in a packet.

A packet of the scouting board's DMA ends with a trailer of 32 bytes: 0xdeadbeefdeadbeef and three u64
counters: automatic realigns, dropped orbits, orbits. Here they count from the start of the run, so that
nothing is lost with a packet. The highest bits of the first counter, which no board reaches, are marks of
l1scout (`formats.marks`).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from l1scout.formats.marks import ALL_MARKS, MARK_BITS, REPEATED, stated_origin
from l1scout.formats.stream import add_counts

ROW_BYTES = 32
"""Packets are in rows of 32 bytes: one word for each link."""
TRAILER_MARK = 0xDEADBEEFDEADBEEF
TRAILER_BYTES = ROW_BYTES
ORBIT_END = 0xBEEFDEAD
"""Word of the row that ends an orbit's blocks in Run 3."""
ORBITS_PER_PACKET = 20
MAX_ORBITS_PER_PACKET = 64
_MARK = TRAILER_MARK.to_bytes(8, "little")
_ORBIT_END_ROW = ORBIT_END.to_bytes(4, "little") * 8
_MARKS_AT = 64 - MARK_BITS
_COUNTER = (1 << _MARKS_AT) - 1
_PIECE = 1 << 20
_ROOM = 1 << 23


@dataclass(frozen=True)
class Trailer:
    """Counters of a packet's trailer, since the start of the run."""

    realigns: int
    dropped: int
    orbits: int

    def encode(self, marks: int = 0) -> bytes:
        """Return the 32 bytes, with marks of the packet's orbits."""
        first = self.realigns & _COUNTER | marks << _MARKS_AT
        return struct.pack("<4Q", TRAILER_MARK, first, self.dropped, self.orbits)

    @classmethod
    def decode(cls, row: bytes | memoryview) -> "Trailer | None":
        """Read the 32 bytes; None if the row has the mark all over and so no counters."""
        counters = [int(c) for c in np.frombuffer(row, "<u8")[1:]]
        if counters == [TRAILER_MARK] * 3:
            return None
        return cls(counters[0] & _COUNTER, *counters[1:])


def trailer_marks(row: bytes | memoryview) -> int:
    """Return the marks in the 32 bytes of a trailer; 0 if it has no counters."""
    first = int(np.frombuffer(row, "<u8", 1, 8)[0])
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
        With its trailer; valid until the next one. Whether it makes sense is for the reader to see.
    skipped : int
        Bytes left out before it: a stretch that is longer than any packet, or, with an empty
        packet, the rest of the stream, which has no trailer.
    """
    room = bytearray(_ROOM)
    start = seen = end = skipped = 0
    while read := stream.readinto(memoryview(room)[end:]):
        end += read
        while (at := room.find(_MARK, seen, end)) >= 0 and at + TRAILER_BYTES <= end:
            if at >= start + 2 and room[at - 2 : at + 30] == _ORBIT_END_ROW:
                seen = at + 30  # the mark of the other trailer, seen two bytes late
                continue
            stop = at + TRAILER_BYTES
            yield memoryview(room)[start:stop], skipped
            start, seen, skipped = stop, stop, 0
        seen = max(end - len(_MARK) + 1, start) if at < 0 else at
        if at < 0 and end - start > limit:
            start, skipped = end - len(_MARK), skipped + end - len(_MARK) - start
        if len(room) - end < _PIECE:
            # never move bytes that somebody may still look at
            fresh = bytearray(max(_ROOM, 2 * (end - start)))
            fresh[: end - start] = memoryview(room)[start:end]
            room, start, seen, end = fresh, 0, seen - start, end - start
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

    @property
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
