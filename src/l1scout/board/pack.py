"""Orbit after orbit from a capture into a packet, without a step of Python for each."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from l1scout.board.suppress import write_blocks
from l1scout.formats.block import BLOCK_WORDS, MAP_WORDS
from l1scout.formats.block_format import OrbitState
from l1scout.formats.records import LINKS
from l1scout.jit import kernel
from l1scout.link.receive import IDLE as IDLE_LINK
from l1scout.link.receive import receive_orbit

NEXT, READY, HELD, END, ORBITS, DELIVERED, FLAGGED, IDLE, LOST, DROPPED, BLOCKS = range(11)
"""Places in the counters of `pack`: the next orbit of the capture; whether the consumer takes this packet;
orbits and words in the packet; the others are those of `board.board.BoardCounters`."""


class HeldOrbits(NamedTuple):
    """What a board knows of the orbits in a packet, one entry per orbit; see `OrbitState`.

    Parameters
    ----------
    spans : ndarray of int64, shape (n, 2)
        Word of the packet where each orbit begins, and the word after its last block.
    """

    spans: NDArray[np.int64]
    orbit: NDArray[np.int64]
    blocks: NDArray[np.int64]
    good_links: NDArray[np.int64]
    lost: NDArray[np.int64]
    dropped: NDArray[np.int64]
    bx_map: NDArray[np.uint32]
    states: NDArray[np.int64]
    realigns: NDArray[np.int64]
    marks: NDArray[np.int64]

    @classmethod
    def empty(cls, n: int) -> "HeldOrbits":
        """Return room for `n` orbits."""
        shapes = (n, 2), *((n,) for _ in range(5)), (n, MAP_WORDS), (n, LINKS), (n, LINKS), (n,)
        kinds = (np.uint32 if shape[-1] == MAP_WORDS else np.int64 for shape in shapes)
        return cls(*(np.zeros(shape, kind) for shape, kind in zip(shapes, kinds, strict=True)))

    def state(self, n: int) -> OrbitState:
        """Return the state of the first `n` orbits."""
        return OrbitState(**{name: getattr(self, name)[:n] for name in self._fields if name != "spans"})


@kernel
def pack(
    line: Any,
    first_orbit: Any,
    stop: Any,
    marks: Any,
    own: Any,
    tables: Any,
    room: Any,
    held: Any,
    packet: Any,
    count: Any,
) -> None:
    """Receive orbits of a capture and write their blocks.

    It ends when the packet is full, when there are no more orbits, or when the first orbit of a packet
    is dropped, as the consumer is not ready for it.

    Parameters
    ----------
    line : LinkWords
    first_orbit, stop : int
        Number of the capture's orbit 0; orbit of the capture, counted from 0, before which to stop.
    marks : int
        Of these orbits, see `formats.marks`.
    own : ReceiverState
    tables : SelectionTables
    room : tuple of int
        Words of the packet before and after the blocks of an orbit.
    held : HeldOrbits
    packet : ndarray of uint32
    count : ndarray of int64, shape (11,)
    """
    while count[HELD] < held.orbit.size and count[NEXT] < stop:
        orbit = first_orbit + count[NEXT]
        good = receive_orbit(line, first_orbit, count[NEXT], own)
        count[NEXT] += 1
        count[ORBITS] += 1
        if good == 0:
            idle = True
            for link in range(LINKS):
                idle = idle and own.found[link, 0] == IDLE_LINK
            count[IDLE if idle else LOST] += 1
            continue
        if count[HELD] == 0 and count[READY] == 0:
            count[DROPPED] += 1
            return
        n, at = count[HELD], count[END] + room[0]
        blocks = write_blocks(own.crossings, own.busy, good, orbit, tables, held.bx_map[n], packet[at:])
        held.spans[n, 0], held.spans[n, 1] = count[END], at + blocks * BLOCK_WORDS
        held.orbit[n], held.blocks[n], held.good_links[n], held.marks[n] = orbit, blocks, good, marks
        held.lost[n], held.dropped[n] = count[LOST], count[DROPPED]
        for link in range(LINKS):
            held.states[n, link], held.realigns[n, link] = own.found[link, 0], own.realigns[link]
        count[END] = at + blocks * BLOCK_WORDS + room[1]
        count[HELD] += 1
        count[DELIVERED] += 1
        count[FLAGGED] += good != (1 << LINKS) - 1
        count[BLOCKS] += blocks
