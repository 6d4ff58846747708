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
from l1scout.formats.muon import is_intermediate, join
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
_LINK_0 = 1 << 24
"""Bit of the header that says that link 0 agrees with itself on the BX."""
_CHAIN = 4


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
            link = words[at + bx_at + (slot & np.uint64(7))]
            out[end + two] = (link & ~bx_mask) | np.uint32(slot >> np.uint64(3))
            intermediate += link & marker == marker
            end += size
            muons &= muons - np.uint32(1)
    return end, bad, records, intermediate


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
    end, bad, _, _ = suppress_words(
        words,
        np.uint64(LINKS * form.bx_row),
        np.uint64(LINKS * form.orbit_row),
        np.uint32(form.bx_mask),
        np.uint64(form.record_words),
        np.uint32(form.intermediate_bits),
        out,
    )
    return out[: int(end)], int(bad)


def record_room(blocks: int) -> int:
    """Words that the records of so many blocks can take at most."""
    return MAX_RECORD_WORDS * blocks


@kernel
def _length(words: Any, at: Any, end: Any, size: Any, bx_mask: Any) -> Any:
    """Words of the record at `at`; 0 if there is none that makes sense before `end`."""
    if at + HEADER_WORDS >= end:
        return 0
    head = words[at]
    n1, n2 = np.int64((head >> np.uint32(16)) & np.uint32(15)), np.int64(head & np.uint32(15))
    bx = np.int64(words[at + 1] & bx_mask)
    length = HEADER_WORDS + size * (n1 + n2)
    if head & np.uint32(_RESERVED) or max(n1, n2) > LINKS or n1 + n2 == 0 or at + length > end:
        return 0
    return length if 1 <= bx <= BX_PER_ORBIT else 0


@kernel
def _is_chain(words: Any, at: Any, size: Any, bx_mask: Any) -> Any:
    """Whether some records follow each other from `at` on, in order of time and all with muons (hwPt > 0)."""
    before = np.int64(-1)
    for _ in range(_CHAIN):
        length = _length(words, at, words.size, size, bx_mask)
        if length == 0 or words[at] & np.uint32(_LINK_0) == 0:
            return False
        orbit, bx = np.int64(words[at + 2] & np.uint32(ORBIT_MASK)), np.int64(words[at + 1] & bx_mask)
        if orbit * (BX_PER_ORBIT + 1) + bx <= before:
            return False
        before = orbit * (BX_PER_ORBIT + 1) + bx
        for k in range(at + HEADER_WORDS, at + length, size):
            if words[k] & np.uint32(PT_BITS) == 0:
                return False
        at += length
    return True


@kernel
def _find_records(
    words: Any, bounds: Any, size: Any, bx_mask: Any, starts: Any, counts: Any, ends: Any
) -> Any:
    """Walk through each stretch from header to header while they make sense; where each record starts."""
    n = 0
    for k in range(counts.size):
        at, first = bounds[k], n
        while True:
            length = _length(words, at, bounds[k + 1], size, bx_mask)
            if length == 0:
                break
            starts[n] = at
            n += 1
            at += length
        counts[k], ends[k] = n - first, at
    return n


def find_records(
    words: NDArray[np.uint32], form: BlockFormat, bounds: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Find the records of one or more stretches of words, each up to the first that makes no sense.

    Parameters
    ----------
    words : ndarray of uint32
    form : BlockFormat
    bounds : ndarray of int64, shape (stretches + 1,), optional
        Where the stretches begin, and the last one's end; all is one stretch if not given.

    Returns
    -------
    starts : ndarray of int64, shape (records,)
    counts, ends : ndarray of int64, shape (stretches,)
        Records of each stretch, and the word after the last of them.
    """
    bounds = np.array([0, words.size]) if bounds is None else bounds
    starts = np.empty(words.size // (HEADER_WORDS + form.record_words) + 1, np.int64)
    counts, ends = np.empty((2, bounds.size - 1), np.int64)
    n = _find_records(words, bounds, form.record_words, np.uint32(form.bx_mask), starts, counts, ends)
    return starts[:n], counts, ends


@kernel
def _next_chain(words: Any, at: Any, size: Any, bx_mask: Any) -> Any:
    while at < words.size and not _is_chain(words, at, size, bx_mask):
        at += 1
    return at


def next_records(words: NDArray[np.uint32], at: int, form: BlockFormat) -> int:
    """Word from `at` on where records begin again, or the end.

    Nothing marks a record: four in a row must make sense, rise in time and have muons. Random bytes
    do so once in 10^20 places.
    """
    return int(_next_chain(words, at, form.record_words, np.uint32(form.bx_mask)))


def records_end(data: bytes | memoryview, form: BlockFormat) -> int:
    """Bytes up to which `data` are whole records that make sense."""
    _, _, ends = find_records(np.frombuffer(data, "<u4", len(data) // 4), form)
    return 4 * int(ends[0])


def read_records(data: bytes | memoryview | NDArray[np.uint32], form: BlockFormat) -> Decoded:
    """Decode zero-suppressed records.

    After the first one that makes no sense, the rest of `data` is counted as corrupt: see
    `next_records` to go on. See `decode_records` for which muons are intermediate.
    """
    raw = np.frombuffer(data, np.uint8)
    words = raw[: raw.size & ~3].view("<u4")
    starts, _, ends = find_records(words, form)
    lost = raw.size - 4 * int(ends[0])
    return decode_records(words, starts, form, corrupt=int(lost > 0), corrupt_bytes=lost)


def decode_records(
    words: NDArray[np.uint32], starts: NDArray[np.int64], form: BlockFormat, **rest: Any
) -> Decoded:
    """Decode the records that `find_records` found; `rest` goes to `Decoded`.

    Records of Run 2 do not state which muons are intermediate: see `formats.muon.is_intermediate`.
    """
    head = words[starts]
    fields = RECORD_HEADER.decode(head)
    n1, counts = fields["n1"], fields["n1"] + fields["n2"]
    rank = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    at = np.repeat(starts + HEADER_WORDS, counts) + form.record_words * rank
    bx, orbit = words[starts + 1] & form.bx_mask, words[starts + 2] & ORBIT_MASK
    flagged = orbit[(head & _ALL_MATCH) != _ALL_MATCH]
    columns: dict[str, NDArray[Any]] = {"second": rank >= np.repeat(n1, counts)}
    extra = words[at + 2] if form.record_words == 3 else None
    muons = words[at], words[at + 1], extra
    if extra is None:
        words_fs = join(muons[0], muons[1])
        columns["intermediate"] = is_intermediate(form.muon.decode(words_fs, ("tfMuonIndex", "hwEtaAtVtx")))
    return decoded(form, np.repeat(orbit, counts), np.repeat(bx, counts), muons, columns, flagged, **rest)
