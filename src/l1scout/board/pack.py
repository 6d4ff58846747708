"""Orbit after orbit from a capture into a packet, without a step of Python for each."""

from typing import Any

import numpy as np

from l1scout.board.suppress import write_blocks
from l1scout.formats.block import BLOCK_WORDS
from l1scout.formats.block_format import STATE_SPANS, complete_orbit
from l1scout.formats.records import LINKS
from l1scout.jit import kernel
from l1scout.link.receive import IDLE as IDLE_LINK
from l1scout.link.receive import receive_orbit

NEXT, READY, HELD, END, ORBITS, DELIVERED, FLAGGED, IDLE, LOST, DROPPED, BLOCKS = range(11)
"""Places in the counters of `pack`: the next orbit of the capture; whether the consumer takes this packet;
orbits and words in the packet; the others are those of `board.board.BoardCounters`."""
_ORBIT, _BLOCKS, _GOOD, _LOST, _DROPPED, _STATES, _REALIGNS = (
    STATE_SPANS[name].start
    for name in ("orbit", "blocks", "good_links", "lost", "dropped", "states", "realigns")
)
_MAP, _MAP_END = STATE_SPANS["bx_map"].start, STATE_SPANS["bx_map"].stop


@kernel
def pack(
    line: Any,
    first_orbit: Any,
    stop: Any,
    full: Any,
    own: Any,
    tables: Any,
    frame: Any,
    state: Any,
    packet: Any,
    count: Any,
) -> None:
    """Receive orbits of a capture and write them to a packet.

    It ends when the packet is full, when there are no more orbits, or when the first orbit of a packet
    is dropped, as the consumer is not ready for it.

    Parameters
    ----------
    line : LinkWords
    first_orbit, stop : int
        Number of the capture's orbit 0; orbit of the capture, counted from 0, before which to stop.
    full : int
        Orbits of a packet.
    own : ReceiverState
    tables : SelectionTables
    frame : tuple of two ndarrays
        See `BlockFormat.orbit_frame`.
    state : ndarray of uint32, shape (134,)
        Words of an `OrbitState`; the marks are set already.
    packet : ndarray of uint32
    count : ndarray of int64, shape (11,)
    """
    head, tail = frame
    found, realigns, bx_map = own.found, own.realigns, state[_MAP:_MAP_END]
    while count[HELD] < full and count[NEXT] < stop:
        orbit = first_orbit + count[NEXT]
        good = receive_orbit(line, first_orbit, count[NEXT], own)
        count[NEXT] += 1
        count[ORBITS] += 1
        if good == 0:
            idle = True
            for link in range(LINKS):
                idle = idle and found[link, 0] == IDLE_LINK
            count[IDLE if idle else LOST] += 1
            continue
        if count[HELD] == 0 and count[READY] == 0:
            count[DROPPED] += 1
            return
        start = count[END]
        at = start + head.size
        blocks = write_blocks(own.crossings, own.busy, good, orbit, tables, bx_map, packet[at:])
        state[_ORBIT], state[_BLOCKS], state[_GOOD] = np.uint32(orbit), np.uint32(blocks), np.uint32(good)
        state[_LOST], state[_DROPPED] = np.uint32(count[LOST]), np.uint32(count[DROPPED])
        for link in range(LINKS):
            state[_STATES + link] = np.uint32(found[link, 0])
            state[_REALIGNS + link] = np.uint32(realigns[link])
        count[END] = complete_orbit(packet, start, at + blocks * BLOCK_WORDS, head, tail, state)
        count[HELD] += 1
        count[DELIVERED] += 1
        count[FLAGGED] += good != (1 << LINKS) - 1
        count[BLOCKS] += blocks
