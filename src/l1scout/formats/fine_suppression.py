"""Fine zero suppression: the blocks of crossings become records without empty muon slots."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_data import MUON
from l1scout.formats.block import BLOCK_WORDS, BlockLayout
from l1scout.formats.lanes import differing, lowest, ones
from l1scout.formats.packets import PacketOrbits
from l1scout.formats.raw import FRAME_WORDS, Frames, sum_frames
from l1scout.formats.records import ALL_MATCH, HEADER_WORDS, LINKS, MAX_RECORD_WORDS, ORBIT_MASK
from l1scout.formats.streams.muon import INTERMEDIATE, PT_BITS
from l1scout.jit import kernel
from l1scout.lhc import BX_PER_ORBIT


@kernel
def suppress_words(
    words: Any, bx_at: Any, orbit_at: Any, bx_mask: Any, size: Any, marker: Any, out: Any
) -> Any:
    """Turn blocks into records; see `suppress`.

    Returns the words written, and the numbers of bad blocks, of records and of intermediate muons.
    """
    pt, zero, every = np.uint32(PT_BITS), np.uint32(0), np.uint32(0xFFFFFFFF)
    orbit_mask, one, two = np.uint32(ORBIT_MASK), np.uint64(1), np.uint64(2)
    end, bad, records, intermediate = np.uint64(0), 0, 0, 0
    for i in range(words.size // BLOCK_WORDS):
        at = np.uint64(i * BLOCK_WORDS)
        second = differing(words, at + np.uint64(32), zero, pt)
        muons = differing(words, at + np.uint64(16), zero, pt) | (second << np.uint32(8))
        bx, orbit = words[at + bx_at] & bx_mask, words[at + orbit_at] & orbit_mask
        if bx > np.uint32(BX_PER_ORBIT):
            bad += 1
            continue
        if muons == 0:
            continue
        apart = differing(words, at + bx_at, bx, bx_mask) << np.uint32(24)
        # against the masked orbit: a link marked bad disagrees, link 0 too
        apart |= differing(words, at + orbit_at, orbit, every) << np.uint32(8)
        counts = (ones(muons & np.uint32(0xFF)) << np.uint32(16)) | ones(second)
        out[end] = (np.uint32(ALL_MATCH) ^ apart) | counts
        out[end + one] = bx
        out[end + two] = orbit
        records += 1
        end += np.uint64(HEADER_WORDS)
        while muons != 0:
            slot = lowest(muons)
            muon = at + np.uint64(16) + slot + (slot & np.uint64(8))
            out[end] = words[muon]
            out[end + one] = words[muon + np.uint64(8)]
            # in Run 2 the next word takes the place of this one: a branch would cost more
            link = words[at + bx_at + (slot & np.uint64(7))]
            out[end + two] = (link & ~bx_mask) | np.uint32(slot >> np.uint64(3))
            intermediate += link & marker == marker
            end += size
            muons &= muons - np.uint32(1)
    return end, bad, records, intermediate


def suppress(
    blocks: NDArray[np.uint32], layout: BlockLayout, out: NDArray[np.uint32] | None = None
) -> tuple[NDArray[np.uint32], int]:
    """Fine zero suppression: blocks to records.

    Parameters
    ----------
    blocks : ndarray of uint32, shape (n, 6, 8), contiguous
    layout : BlockLayout
    out : ndarray of uint32, optional
        Where to put the records, at least ``record_room(n)`` words: to use the same memory again.

    Returns
    -------
    records : ndarray of uint32
        A part of `out`.
    bad : int
        Blocks left out because their BX (that of link 0) is above 3564.

    Raises
    ------
    ValueError
        If `out` is too small.
    """
    words = np.ascontiguousarray(blocks, np.uint32).reshape(-1)
    room = record_room(words.size // BLOCK_WORDS)
    if out is None:
        out = np.empty(room, np.uint32)
    if out.size < room:
        msg = f"records may need {room} words, but there is room for {out.size}"
        raise ValueError(msg)
    bx_at, orbit_at, bx_mask, size, marker = _constants(layout)
    end, bad, _, _ = suppress_words(words, bx_at, orbit_at, bx_mask, size, marker, out)
    return out[: int(end)], int(bad)


def record_room(blocks: int) -> int:
    """Return the largest number of words that the records of `blocks` blocks can take."""
    return MAX_RECORD_WORDS * blocks


@kernel
def _frame(rows: Any, spans: Any, heads: Any, layout: Any, out: Any, starts: Any) -> Any:
    """Write the records of orbits, each with a frame if there are `heads`, without checksums.

    Returns the numbers of blocks left out for their BX, of muons and of intermediate ones among them.
    """
    bx_at, orbit_at, bx_mask, size, marker = layout
    words, at, bad, muons, intermediate, header = rows.reshape(-1), 0, 0, 0, 0, 0
    if heads.shape[0]:
        header = FRAME_WORDS
    for k in range(spans.shape[0]):
        starts[k] = at
        first, end = LINKS * spans[k, 0], LINKS * spans[k, 1]
        room = out[at + header :]
        used, wrong, records, early = suppress_words(
            words[first:end], bx_at, orbit_at, bx_mask, size, marker, room
        )
        if header:
            for i in range(4):
                out[at + i] = heads[k, i]
            out[at + 4] = 4 * (1 + used)
            out[at + 5] = 0
            out[at + 6] = heads[k, 4]
        at += header + int(used)
        bad += wrong
        muons += (int(used) - HEADER_WORDS * records) // int(size)
        intermediate += early
    starts[spans.shape[0]] = at
    return bad, muons, intermediate


def frame_room(packet: PacketOrbits) -> int:
    """Words that the frames of a packet's orbits can take at most."""
    return record_room(packet.blocks) + FRAME_WORDS * len(packet.orbit)


def frame_orbits(
    packet: PacketOrbits,
    layout: BlockLayout,
    heads: NDArray[np.uint32],
    out: NDArray[np.uint32] | None = None,
) -> Frames:
    """Fine zero suppression of a packet, orbit by orbit.

    Parameters
    ----------
    packet : PacketOrbits
    layout : BlockLayout
    heads : ndarray of uint32, shape (orbits, 5)
        Words 0 to 3 of each orbit's frame in a ``.raw`` file, and the source id (see `frame_heads`); shape
        (0, 5) for bare records.
    out : ndarray of uint32, optional
        Memory to use again, at least ``frame_room(packet)`` words.

    Raises
    ------
    ValueError
        If `out` is too small.
    """
    out = np.empty(frame_room(packet), np.uint32) if out is None else out
    if out.size < frame_room(packet):
        msg = f"frames may need {frame_room(packet)} words, but there is room for {out.size}"
        raise ValueError(msg)
    starts = np.zeros(len(packet.orbit) + 1, np.int64)
    counts = _frame(packet.rows, packet.spans, heads, _constants(layout), out, starts)
    bad, muons, intermediate = (int(n) for n in counts)
    words = out[: starts[-1]]
    if len(heads):
        sum_frames(words, starts)
    objects = {MUON: muons - intermediate, INTERMEDIATE: intermediate}
    return Frames(words, starts, packet.orbit, bad, objects)


def _constants(layout: BlockLayout) -> tuple[Any, ...]:
    """Return what the kernels need of a layout, of the types that they are compiled for."""
    return (
        np.uint64(LINKS * layout.bx_row),
        np.uint64(LINKS * layout.orbit_row),
        np.uint32(layout.bx_mask),
        np.uint64(layout.record_words),
        np.uint32(layout.intermediate_bits),
    )
