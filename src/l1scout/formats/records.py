"""Zero-suppressed records: what is left of a BX block when its empty muon slots are gone.

Header, BX word, orbit word, then the muons: first those of the links' first slots (mu1), by link,
then those of the second. Two words a muon in Run 2 (f, s), three in Run 3 (f, s, extra). Header:
bits 24-31 links whose BX agrees with link 0, 16-19 number of mu1, 8-15 links whose orbit agrees and
whose data are valid, 0-3 number of mu2.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.formats.block import BLOCK_WORDS, LINKS, ORBIT_MASK, PT_BITS, BlockFormat
from l1scout.formats.decoded import Decoded, decoded
from l1scout.formats.lanes import differing, lowest, ones
from l1scout.formats.layout import Field, Layout
from l1scout.jit import kernel
from l1scout.lhc import BX_PER_ORBIT

RECORD_HEADER = Layout(
    "Header of a zero-suppressed record",
    32,
    (
        Field("n2", 0, 4, note="muons from second slots, 0..8"),
        Field("orbitMatch", 8, 8, note="bit l: orbit of link l agrees with link 0 and its data are valid"),
        Field("n1", 16, 4, note="muons from first slots, 0..8"),
        Field("bxMatch", 24, 8, note="bit l: BX of link l agrees with link 0"),
    ),
)
HEADER_WORDS = 3
MAX_RECORD_WORDS = HEADER_WORDS + 3 * 2 * LINKS
_ALL_MATCH = 0xFF00FF00
_RESERVED = 0x00F000F0


@kernel
def suppress_words(words: Any, bx_at: Any, orbit_at: Any, bx_mask: Any, size: Any, out: Any) -> Any:
    """Turn blocks into records; see `suppress`. Returns the words written, the bad blocks, the records."""
    pt, zero, every = np.uint32(PT_BITS), np.uint32(0), np.uint32(0xFFFFFFFF)
    orbit_mask, one, two = np.uint32(ORBIT_MASK), np.uint64(1), np.uint64(2)
    end, bad, records = np.uint64(0), 0, 0
    for i in range(words.size // BLOCK_WORDS):
        at = np.uint64(i * BLOCK_WORDS)
        second = differing(words, at + np.uint64(32), zero, pt)
        muons = differing(words, at + np.uint64(16), zero, pt) | (second << np.uint32(8))
        bx, orbit = words[at + bx_at] & bx_mask, words[at + orbit_at] & orbit_mask
        if bx - np.uint32(1) >= np.uint32(BX_PER_ORBIT):
            bad += 1
            continue
        if muons == 0:
            continue
        apart = differing(words, at + bx_at, bx, bx_mask) << np.uint32(24)
        # against the masked orbit: a link marked bad disagrees, link 0 too
        apart |= differing(words, at + orbit_at, orbit, every) << np.uint32(8)
        counts = (ones(muons & np.uint32(0xFF)) << np.uint32(16)) | ones(second)
        out[end] = (np.uint32(_ALL_MATCH) ^ apart) | counts
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
            extra = words[at + bx_at + (slot & np.uint64(7))] & ~bx_mask
            out[end + two] = extra | np.uint32(slot >> np.uint64(3))
            end += size
            muons &= muons - np.uint32(1)
    return end, bad, records


def suppress(
    blocks: NDArray[np.uint32], form: BlockFormat, out: NDArray[np.uint32] | None = None
) -> tuple[NDArray[np.uint32], int]:
    """Fine zero suppression: blocks to records.

    Parameters
    ----------
    blocks : ndarray of uint32, shape (n, 6, 8), contiguous
    form : BlockFormat
    out : ndarray of uint32, optional
        Where to put the records, at least ``record_room(n)`` words: to use the same memory again.

    Returns
    -------
    records : ndarray of uint32
        A part of `out`.
    bad : int
        Blocks left out because their BX (that of link 0) is not 1..3564.

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
    end, bad, _ = suppress_words(
        words,
        np.uint64(LINKS * form.bx_row),
        np.uint64(LINKS * form.orbit_row),
        np.uint32(form.bx_mask),
        np.uint64(form.record_words),
        out,
    )
    return out[: int(end)], int(bad)


def record_room(blocks: int) -> int:
    """Words that the records of so many blocks can take at most."""
    return MAX_RECORD_WORDS * blocks


@kernel
def _find_records(words: Any, size: Any, bx_mask: Any, starts: Any) -> Any:
    """Walk from header to header while they make sense; where each record starts, and their end."""
    n, at = 0, 0
    while at + HEADER_WORDS < words.size:
        head = words[at]
        muons = np.int64((head >> np.uint32(16)) & np.uint32(15)), np.int64(head & np.uint32(15))
        bx = np.int64(words[at + 1] & bx_mask)
        stop = at + HEADER_WORDS + size * (muons[0] + muons[1])
        if head & np.uint32(_RESERVED) or max(muons) > LINKS or sum(muons) == 0 or stop > words.size:
            break
        if bx < 1 or bx > BX_PER_ORBIT:
            break
        starts[n] = at
        n += 1
        at = stop
    return n, at


def records_end(data: bytes | memoryview, form: BlockFormat) -> int:
    """Bytes up to which `data` are whole records that make sense."""
    words = np.frombuffer(data, "<u4", len(data) // 4)
    starts = np.empty(words.size // (HEADER_WORDS + form.record_words) + 1, np.int64)
    return 4 * int(_find_records(words, form.record_words, np.uint32(form.bx_mask), starts)[1])


def read_records(data: bytes | memoryview | NDArray[np.uint32], form: BlockFormat) -> Decoded:
    """Decode zero-suppressed records.

    Records have no marker to find the next one by: after the first one that makes no sense, the rest
    of `data` is counted as corrupt. Data of Run 2 do not say which muons are intermediate: there is
    no such column.
    """
    raw = np.frombuffer(data, np.uint8)
    words = raw[: raw.size & ~3].view("<u4")
    starts = np.empty(words.size // (HEADER_WORDS + form.record_words) + 1, np.int64)
    n, end = _find_records(words, form.record_words, np.uint32(form.bx_mask), starts)
    starts = starts[:n]
    head = words[starts]
    fields = RECORD_HEADER.decode(head)
    n1, counts = fields["n1"], fields["n1"] + fields["n2"]
    rank = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    at = np.repeat(starts + HEADER_WORDS, counts) + form.record_words * rank
    bx, orbit = words[starts + 1] & form.bx_mask, words[starts + 2] & ORBIT_MASK
    flagged = orbit[(head & _ALL_MATCH) != _ALL_MATCH]
    columns: dict[str, NDArray[Any]] = {"second": rank >= np.repeat(n1, counts)}
    extra = words[at + 2] if form.record_words == 3 else None
    lost = raw.size - 4 * int(end)
    return decoded(
        form,
        np.repeat(orbit, counts),
        np.repeat(bx, counts),
        (words[at], words[at + 1], extra),
        columns,
        flagged,
        corrupt=int(lost > 0),
        corrupt_bytes=lost,
    )
