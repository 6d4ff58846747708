"""DMA packets of the scouting board, Run 2 and Run 3: some orbits of BX blocks, and a trailer.

Run 2: blocks, then the packet's trailer. Run 3: for each orbit a header of 32 bytes, blocks, and an
orbit trailer of 544 bytes with a map of the non-empty BX; then the packet's trailer. Everything is
in rows of 32 bytes.

The packet's trailer is 0xdeadbeefdeadbeef and three u64 counters: automatic realigns, dropped
orbits, orbits. Here they count from the start of the run, so that nothing is lost with a packet.
No public source says what is in the header and in the last two rows of an orbit's trailer; ours
hold `ORBIT_HEADER`, the state of each link and its realigns; reading does not depend on them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from l1scout.formats.block import BLOCK_BYTES, LINKS, ORBIT_MASK, ROWS, BlockFormat
from l1scout.formats.decoded import Decoded, decode_blocks, join_decoded
from l1scout.jit import kernel
from l1scout.lhc import BX_PER_ORBIT, crossing

ROW_BYTES = 32
TRAILER_MARK = 0xDEADBEEFDEADBEEF
TRAILER_BYTES = ROW_BYTES
ORBIT_END = 0xBEEFDEAD
MAP_WORDS = 112
"""14 rows of 8 words: bit b is BX b + 1; the last 20 of the 3584 bits stay 0."""
ORBIT_TRAILER_ROWS = 17
ORBIT_TRAILER_BYTES = ROW_BYTES * ORBIT_TRAILER_ROWS
HEADER_MARK = 0x6C316F72
"""First word of an orbit's header as l1scout writes it ("l1or")."""
ORBIT_HEADER = (
    "mark",
    "orbit",
    "blocks",
    "goodLinks",
    "lostOrbits",
    "droppedOrbits",
    "flags",
    "reserved",
)
"""Words of that header; ``goodLinks`` has bit l set where link l was received without fault."""
REPEATED = 1
"""Bit of ``flags``: the orbit repeats the content of an earlier one (`board.repeat`)."""
ORBITS_PER_PACKET = 20
_MARK = TRAILER_MARK.to_bytes(8, "little")
_ORBIT_END_ROW = ORBIT_END.to_bytes(4, "little") * 8
_PIECE = 1 << 20
_ROOM = 1 << 23


def orbit_room(form: BlockFormat) -> int:
    """Bytes that one orbit takes in a packet at most."""
    return BX_PER_ORBIT * BLOCK_BYTES + (ROW_BYTES + ORBIT_TRAILER_BYTES if form.name == "run3" else 0)


def max_packet_bytes(form: BlockFormat, orbits: int = 64) -> int:
    """Bytes that a packet may have; a longer stretch without a trailer is corrupt."""
    return orbits * orbit_room(form) + TRAILER_BYTES


@dataclass(frozen=True)
class Trailer:
    """Counters of a packet's trailer, since the start of the run."""

    realigns: int
    dropped: int
    orbits: int

    def encode(self) -> bytes:
        """Return the 32 bytes."""
        return np.array([TRAILER_MARK, self.realigns, self.dropped, self.orbits], "<u8").tobytes()

    @classmethod
    def decode(cls, row: bytes | memoryview) -> "Trailer | None":
        """Read the 32 bytes; None if the row has the mark all over and so no counters."""
        counters = [int(c) for c in np.frombuffer(row, "<u8")[1:]]
        return None if counters == [TRAILER_MARK] * 3 else cls(*counters)


@dataclass
class Found:
    """What a packet, or several, were found to hold.

    Parameters
    ----------
    packets, orbits, blocks, flagged : int
        That could be read. Run-2 packets do not say which empty orbits they cover: there `orbits`
        are those with a block.
    corrupt, corrupt_bytes : int
        Stretches that could not be read.
    trailer : Trailer, optional
        The last one.
    """

    packets: int = 0
    orbits: int = 0
    blocks: int = 0
    corrupt: int = 0
    corrupt_bytes: int = 0
    trailer: Trailer | None = None
    flagged: int = 0

    def add(self, other: "Found") -> None:
        """Count what was found further on."""
        for name in ("packets", "orbits", "blocks", "corrupt", "corrupt_bytes", "flagged"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.trailer = other.trailer or self.trailer


class Readable(Protocol):
    """What packets are read from: a binary file, a socket's file."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Fill a part of `buffer`; 0 at the end."""


def split_packets(stream: Readable, form: BlockFormat) -> Iterator[tuple[memoryview, int]]:
    """Cut a stream at the packets' trailers; memory stays below that of three of the longest packets.

    Yields
    ------
    packet : memoryview
        With its trailer; valid until the next one. Whether it makes sense is for the reader to see.
    skipped : int
        Bytes left out before it: a stretch that is longer than any packet, or, with an empty
        packet, the rest of the stream, which has no trailer.
    """
    limit = max_packet_bytes(form)
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


@kernel
def _find_orbits(rows: Any, limit: Any, spans: Any) -> Any:
    """Find the first and last block of each orbit of a Run-3 packet, while they make sense.

    rows (n, 8) without the packet's trailer. Returns the number of orbits and the row where it
    ended: n if the whole packet makes sense.
    """
    n, at = 0, 0
    while at < rows.shape[0] and n < spans.shape[0]:
        first = at + 1
        end = first
        while end < rows.shape[0] and not _is_end(rows[end]):
            end += ROWS
        blocks = (end - first) // ROWS
        if end + ORBIT_TRAILER_ROWS > rows.shape[0] or blocks > limit:
            break
        # all blocks of one orbit, and ours is as the header says
        for other in range(first, end, ROWS):
            if (rows[other, 0] ^ rows[first, 0]) & np.uint32(ORBIT_MASK):
                return n, at
        apart = rows[at, 2] != blocks or (blocks and (rows[at, 1] ^ rows[first, 0]) & np.uint32(ORBIT_MASK))
        if apart and rows[at, 0] == np.uint32(HEADER_MARK):
            break
        k = 0
        for w in range(MAP_WORDS):
            bits, bx = rows[end + 1 + w // LINKS, w % LINKS], 32 * w + 1
            while bits != 0 and k <= blocks:
                if bits & np.uint32(1):
                    # the map and the blocks must tell the same BX, in order
                    if k == blocks or np.int64(rows[first + ROWS * k + 1, 0] & np.uint32(0x1FFF)) != bx:
                        return n, at
                    k += 1
                bits >>= np.uint32(1)
                bx += 1
        if k != blocks:
            break
        spans[n, 0], spans[n, 1] = first, end
        n += 1
        at = end + ORBIT_TRAILER_ROWS
    return n, at


@kernel
def _is_end(row: Any) -> Any:
    same = 0
    for word in row:
        same += word == np.uint32(ORBIT_END)
    return same == LINKS


@dataclass(frozen=True)
class PacketOrbits:
    """The orbits of a packet, where they lie.

    Parameters
    ----------
    rows : ndarray of uint32, shape (n, 8)
        The packet without its trailer; a view.
    spans : ndarray of int64, shape (orbits, 2)
        First row of each orbit's blocks, and the row after the last.
    orbit : ndarray of int64, shape (orbits,)
    flagged : ndarray of int64
        Orbits that their headers flag.
    found : Found
    repeated : ndarray of bool, shape (orbits,)
        Orbits whose headers say that they repeat an earlier one; empty where the format has no such header.
    """

    rows: NDArray[np.uint32]
    spans: NDArray[np.int64]
    orbit: NDArray[np.int64]
    flagged: NDArray[np.int64]
    found: Found
    repeated: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))

    @property
    def blocks(self) -> int:
        """Blocks of all orbits."""
        return int((self.spans[:, 1] - self.spans[:, 0]).sum()) // ROWS

    def select(self, keep: NDArray[np.bool_]) -> "PacketOrbits":
        """Keep the orbits where ``keep`` (shape (orbits,)) is True."""
        flagged = np.intersect1d(self.flagged, self.orbit[keep])
        repeated = self.repeated[keep] if self.repeated.size else self.repeated
        return replace(
            self, spans=self.spans[keep], orbit=self.orbit[keep], flagged=flagged, repeated=repeated
        )

    def crossings(self) -> NDArray[np.uint32]:
        """Return the blocks of all orbits, shape (n, 6, 8)."""
        pieces = (self.rows[a:b].reshape(-1, ROWS, LINKS) for a, b in self.spans)
        return np.concatenate([np.zeros((0, ROWS, LINKS), np.uint32), *pieces])


def packet_orbits(packet: memoryview, form: BlockFormat) -> PacketOrbits:
    """Find the orbits of a packet.

    A packet of Run 2 is not read at all if it has a wrong length, or one block with an impossible BX
    or out of the order of time: the format has nothing else to tell damage by. (A stretch of whole
    blocks that is missing leaves no trace.) Orbits without a block leave none either. Of a packet of
    Run 3 the orbits before the first one that makes no sense are read: header, blocks and map must
    agree. An empty orbit whose header is not of l1scout is taken to follow the one before it.
    """
    body = packet[:-TRAILER_BYTES]
    found = Found(packets=1, trailer=Trailer.decode(packet[-TRAILER_BYTES:]))
    rows = np.frombuffer(body, "<u4", len(body) // ROW_BYTES * LINKS).reshape(-1, LINKS)
    none, nowhere = np.zeros(0, np.int64), np.zeros((0, 2), np.int64)
    if form.name == "run2":
        bad = PacketOrbits(rows, nowhere, none, none, Found(corrupt=1, corrupt_bytes=len(packet)))
        if len(body) % BLOCK_BYTES:
            return bad
        bx = (rows[form.bx_row :: ROWS, 0] & form.bx_mask).astype(np.int64)
        number = (rows[form.orbit_row :: ROWS, 0] & ORBIT_MASK).astype(np.int64)
        time = crossing(number, bx)
        if np.any((bx < 1) | (bx > BX_PER_ORBIT)) or np.any(time[1:] <= time[:-1]):
            return bad
        orbit, first = np.unique(number, return_index=True)
        spans = ROWS * np.stack([first, np.append(first[1:], number.size)[: first.size]], axis=1)
        flagged, repeated = none, np.zeros(0, np.bool_)
    else:
        room = np.empty((rows.shape[0] // (1 + ORBIT_TRAILER_ROWS) + 1, 2), np.int64)
        n, end = _find_orbits(rows, BX_PER_ORBIT, room)
        spans = room[:n]
        found.corrupt_bytes = len(body) - int(end) * ROW_BYTES
        found.corrupt = int(found.corrupt_bytes > 0)
        heads = rows[spans[:, 0] - 1]
        ours = heads[:, 0] == HEADER_MARK
        orbit = np.where(ours, heads[:, 1] & ORBIT_MASK, -1).astype(np.int64)
        for k in np.flatnonzero(~ours):
            filled = spans[k, 0] < spans[k, 1]
            orbit[k] = rows[spans[k, 0], 0] & ORBIT_MASK if filled else orbit[k - 1] + 1 if k else 0
        flagged = orbit[ours & (heads[:, 3] != (1 << LINKS) - 1)]
        repeated = ours & (heads[:, 6] & REPEATED != 0)
    found.orbits, found.blocks = len(orbit), int((spans[:, 1] - spans[:, 0]).sum()) // ROWS
    return PacketOrbits(rows, spans, orbit, flagged, found, repeated)


def read_packet(packet: memoryview, form: BlockFormat) -> tuple[NDArray[np.uint32], NDArray[np.int64], Found]:
    """Return the blocks of a packet, shape (n, 6, 8), the orbits that its headers flag, and counts.

    See `packet_orbits` for what is read of a damaged one.
    """
    orbits = packet_orbits(packet, form)
    if form.name == "run2":
        blocks = orbits.rows[: ROWS * orbits.found.blocks].reshape(-1, ROWS, LINKS)
    else:
        blocks = orbits.crossings()
    return blocks, orbits.flagged, orbits.found


def read_packets(stream: Readable, form: BlockFormat, found: Found | None = None) -> Iterator[Decoded]:
    """Decode a stream of packets, one after the other, in constant memory.

    Parameters
    ----------
    stream : binary file
    form : BlockFormat
    found : Found, optional
        Is kept up to date with all that was seen.

    Yields
    ------
    Decoded
        Muons of one packet. Its ``flagged`` has, for packets of l1scout, the empty orbits too.
    """
    found = found if found is not None else Found()
    for packet, skipped in split_packets(stream, form):
        if skipped:
            found.add(Found(corrupt=1, corrupt_bytes=skipped))
        if len(packet):
            blocks, flagged, now = read_packet(packet, form)
            part = decode_blocks(blocks, form)
            flagged = np.union1d(part.flagged, flagged)
            now.add(Found(corrupt=part.corrupt, corrupt_bytes=part.corrupt_bytes, flagged=flagged.size))
            found.add(now)
            yield Decoded(part.muons, flagged, now.corrupt, now.corrupt_bytes)


def decode_packets(stream: Readable, form: BlockFormat) -> tuple[Decoded, Found]:
    """Decode all packets of a stream that fits in memory (its muons do; its packets need not)."""
    found = Found()
    empty = decode_blocks(np.zeros((0, ROWS, LINKS), np.uint32), form)
    return join_decoded([empty, *read_packets(stream, form, found)]), found
