"""What the wire formats of Run 2 and Run 3 share: orbits of BX blocks from eight links, and a trailer."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import accumulate, islice
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_data import MUON
from l1scout.errors import InputError
from l1scout.formats.block import BLOCK_BYTES, BLOCK_WORDS, MAP_WORDS, ROWS, BlockLayout, decode_blocks
from l1scout.formats.decoded import Decoded
from l1scout.formats.fine_suppression import frame_room
from l1scout.formats.packets import (
    MAX_ORBITS_PER_PACKET,
    TRAILER_BYTES,
    Found,
    PacketOrbits,
    Readable,
    Trailer,
    split_at_trailers,
    trailer_marks,
)
from l1scout.formats.records import LINKS, ORBIT_MASK
from l1scout.formats.wire_format import WIRE_FORMATS, WireFormat
from l1scout.jit import kernel
from l1scout.lhc import BX_PER_ORBIT

_LENGTHS = {
    **dict.fromkeys(("orbit", "blocks", "good_links", "lost", "dropped", "marks"), 1),
    "bx_map": MAP_WORDS,
    "states": LINKS,
    "realigns": LINKS,
}
STATE_SPANS = {
    name: slice(end - length, end)
    for (name, length), end in zip(_LENGTHS.items(), accumulate(_LENGTHS.values()), strict=True)
}
"""Where the fields of an `OrbitState` are among its words."""
STATE_WORDS = sum(_LENGTHS.values())


@dataclass(frozen=True)
class OrbitState:
    """What a board knows of an orbit that it writes.

    Parameters
    ----------
    orbit, blocks : int
    good_links : int
        Bit l is set where link l was received without fault.
    lost, dropped : int
        Orbits lost or dropped since the start.
    bx_map : ndarray of uint32, shape (112,)
        Non-empty BX; bit b is BX b + 1.
    states, realigns : ndarray, shape (8,)
        State of each link, and how often it was aligned anew.
    marks : int
        See `formats.marks`.
    """

    orbit: int
    blocks: int
    good_links: int
    lost: int
    dropped: int
    bx_map: NDArray[np.uint32]
    states: NDArray[Any]
    realigns: NDArray[Any]
    marks: int = 0

    def words(self) -> NDArray[np.uint32]:
        """Return all fields, as `complete_orbit` takes them."""
        words = np.zeros(STATE_WORDS, np.uint32)
        for name, span in STATE_SPANS.items():
            words[span] = np.asarray(getattr(self, name)) & 0xFFFFFFFF
        return words


@kernel
def complete_orbit(packet: Any, start: Any, stop: Any, head: Any, tail: Any, state: Any) -> Any:
    """Write what comes before and after the blocks of an orbit; the word after the orbit.

    Parameters
    ----------
    packet : ndarray of uint32
    start, stop : int
        Word where the orbit begins, and the word after its last block.
    head, tail : ndarray of int64
        A constant for each word, or -1 - n for word n of the state; see `BlockFormat.orbit_frame`.
    state : ndarray of uint32, shape (134,)
    """
    for k in range(head.size):
        packet[start + k] = np.uint32(head[k]) if head[k] >= 0 else state[-1 - head[k]]
    for k in range(tail.size):
        packet[stop + k] = np.uint32(tail[k]) if tail[k] >= 0 else state[-1 - tail[k]]
    return stop + tail.size


@dataclass(frozen=True)
class BlockFormat(BlockLayout, WireFormat):
    """A wire format whose packets are BX blocks of eight links, which `board.board.Board` can write.

    Parameters
    ----------
    verilog : int
        Parameter ``RUN3`` of the board in Verilog.
    """

    verilog: int = 0

    streams = (MUON,)
    orbit_head: ClassVar[tuple[str | int, ...]] = ()
    orbit_tail: ClassVar[tuple[str | int, ...]] = ()
    """Words before and after the blocks of an orbit: constants, and fields of `OrbitState`."""

    def orbit_frame(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the words before and after the blocks of an orbit, as `complete_orbit` takes them."""
        places = {name: -1 - np.arange(span.start, span.stop) for name, span in STATE_SPANS.items()}
        both = (
            [places[part] if isinstance(part, str) else np.array([part]) for part in parts]
            for parts in (self.orbit_head, self.orbit_tail)
        )
        head, tail = (np.concatenate([np.zeros(0, np.int64), *parts]) for parts in both)
        return head, tail

    @property
    @abstractmethod
    def orbit_room(self) -> int:
        """Bytes that one orbit takes in a packet at most."""

    def max_packet_bytes(self) -> int:
        """Return the bytes that a packet may have; a longer stretch without a trailer is corrupt."""
        return MAX_ORBITS_PER_PACKET * self.orbit_room + TRAILER_BYTES

    def split(self, stream: Readable) -> Iterator[tuple[memoryview, int]]:
        """Cut a stream at the packets' trailers."""
        return split_at_trailers(stream, self.max_packet_bytes())

    def trailer(self, packet: memoryview) -> Trailer | None:
        """Return the counters of a packet's trailer."""
        return Trailer.decode(packet[-TRAILER_BYTES:]) if packet else None

    def find_orbits(self, packet: memoryview) -> PacketOrbits:
        """Find the orbits of a packet."""
        body = packet[:-TRAILER_BYTES]
        found = Found(packets=int(len(packet) > 0), trailer=self.trailer(packet))
        rows = np.frombuffer(body, "<u4", len(body) // (4 * LINKS) * LINKS).reshape(-1, LINKS)
        marks = trailer_marks(packet[-TRAILER_BYTES:]) if packet else 0
        return self._find(rows, len(body), found, marks)

    @abstractmethod
    def _find(self, rows: NDArray[np.uint32], size: int, found: Found, marks: int) -> PacketOrbits:
        """Find the orbits in rows of a packet without its trailer (`size` bytes), which has `marks`."""

    def _orbits(
        self,
        rows: NDArray[np.uint32],
        spans: NDArray[np.int64],
        orbit: NDArray[np.int64],
        found: Found,
        flagged: NDArray[np.int64] | None = None,
        marks: NDArray[np.uint32] | None = None,
    ) -> PacketOrbits:
        """Put together what was found."""
        blocks = (spans[:, 1] - spans[:, 0]) // ROWS
        flagged = np.zeros(0, np.int64) if flagged is None else flagged
        marks = np.zeros(orbit.size, np.uint32) if marks is None else marks
        found.orbits, found.blocks = orbit.size, int(blocks.sum())
        return PacketOrbits(rows, spans, orbit, flagged, found, blocks, marks)

    def example_packet(self) -> bytes:
        """Return a packet of one orbit with one muon."""
        packet = np.zeros((self.orbit_room + TRAILER_BYTES) // 4, np.uint32)
        block = packet[len(self.orbit_head) : len(self.orbit_head) + BLOCK_WORDS].reshape(ROWS, LINKS)
        block[self.bx_row], block[2, 0] = 1, self.present_bits
        bx_map = np.zeros(MAP_WORDS, np.uint32)
        bx_map[0] = 1
        links = np.zeros(LINKS, np.uint32)
        state = OrbitState(0, 1, (1 << LINKS) - 1, 0, 0, bx_map, links, links)
        end = self.write_orbit(packet, 0, len(self.orbit_head) + BLOCK_WORDS, state)
        return packet[:end].tobytes() + Trailer(0, 0, 1).encode()

    def blocks(self, orbits: PacketOrbits) -> NDArray[np.uint32]:
        """Return the blocks of all orbits, shape (n, 6, 8)."""
        spans, rows = orbits.spans, orbits.rows
        if len(spans) and np.array_equal(spans[1:, 0], spans[:-1, 1]):  # one after the other
            return rows[spans[0, 0] : spans[-1, 1]].reshape(-1, ROWS, LINKS)
        pieces = (rows[a:b].reshape(-1, ROWS, LINKS) for a, b in spans)
        return np.concatenate([np.zeros((0, ROWS, LINKS), np.uint32), *pieces])

    def decode(self, orbits: PacketOrbits) -> Mapping[str, Decoded]:
        """Decode the muons of orbits."""
        part = decode_blocks(self.blocks(orbits), self)
        return {MUON: replace(part, objects=replace(part.objects, simulated=orbits.simulated))}

    def frame_room(self, orbits: PacketOrbits) -> int:
        """Return the words that orbits can take in a segment at most."""
        return frame_room(orbits)

    def write_orbit(self, packet: NDArray[np.uint32], start: int, stop: int, state: OrbitState) -> int:
        """Complete an orbit in a packet: what comes before and after its blocks.

        Parameters
        ----------
        packet : ndarray of uint32
        start : int
            Word where the orbit begins: its blocks begin after the words of ``orbit_head``.
        stop : int
            Word after the last block.
        state : OrbitState

        Returns
        -------
        int
            Word after the orbit.
        """
        return int(complete_orbit(packet, start, stop, *self.orbit_frame(), state.words()))

    def renumber(self, rows: NDArray[np.uint32], spans: NDArray[np.int64], by: int, marks: int = 0) -> None:
        """Add to the orbit numbers of all blocks, in place; `marks` are for formats with orbit headers."""
        del marks
        _renumber(rows, spans, self.orbit_row, np.uint32(by & ORBIT_MASK))


@kernel
def _renumber(rows: Any, spans: Any, orbit_row: Any, by: Any) -> None:
    mask = np.uint32(ORBIT_MASK)
    for k in range(spans.shape[0]):
        for row in range(spans[k, 0] + orbit_row, spans[k, 1], ROWS):
            for link in range(LINKS):
                word = rows[row, link]
                rows[row, link] = ((word + by) & mask) | (word & ~mask)


def first_packet(form: BlockFormat, stream: Readable) -> PacketOrbits | None:
    """Return the orbits of the first packet of a file; None if it does not begin with one."""
    for packet, skipped in islice(form.split(stream), 1):
        if not skipped and len(packet) >= TRAILER_BYTES:
            return form.find_orbits(packet)
    return None


BLOCKS_ROOM = BX_PER_ORBIT * BLOCK_BYTES
"""Bytes of the blocks of a full orbit."""


def board_formats() -> dict[str, BlockFormat]:
    """Return the wire formats that our board can write, by name."""
    return {name: form for name, form in WIRE_FORMATS.items() if isinstance(form, BlockFormat)}


def board_format(name: str) -> BlockFormat:
    """Return a wire format that our board can write, by a name that a user gave.

    Raises
    ------
    InputError
        If there is no such format, or the board cannot write it.
    """
    form = WIRE_FORMATS.find(name)
    if not isinstance(form, BlockFormat):
        possible = ", ".join(board_formats())
        msg = f"{name}: the board reads GMT links and cannot write {form.title}: choose one of {possible}"
        raise InputError(msg)
    return form
