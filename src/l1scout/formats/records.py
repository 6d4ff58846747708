"""Zero-suppressed records of muons: how they are found in a row of words.

A record is what is left of a BX block when its empty muon slots are gone: header, BX word, orbit word, then
the muons: first those of the links' first slots (mu1), by link, then those of the second. Two words a muon
in Run 2 (f, s), three in Run 3 (f, s, extra). Header: bits 24-31 links whose BX agrees with link 0, 16-19
number of mu1, 8-15 links whose orbit agrees and whose data are valid, 0-3 number of mu2.
"""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from l1scout.formats.layout import Field, Layout
from l1scout.jit import kernel
from l1scout.lhc import BX_PER_ORBIT

LINKS = 8
"""Fibres of a board, with two muon slots each in a crossing."""
ORBIT = Layout(
    "Orbit word of a link",
    32,
    (
        Field("orbit", 0, 31),
        Field("linkBad", 31, 1, note="l1scout's own: no valid data from this link in this orbit"),
    ),
    "Public decoders mask bit 31 of Run 3, and see a link that disagrees with the others in Run 2.",
)
ORBIT_MASK = (1 << ORBIT["orbit"].width) - 1
LINK_BAD = 1 << ORBIT["linkBad"].start
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
ALL_MATCH = 0xFF00FF00
"""Header of a record in which all links agree, without its counts."""
_RESERVED = 0x00F000F0
_LINK_0 = 1 << 24
"""Bit of the header that says that link 0 agrees with itself on the BX."""
_CHAIN = 4


class RecordShape(Protocol):
    """What is needed to walk from record to record."""

    @property
    def record_words(self) -> int:
        """Words per muon."""

    @property
    def bx_mask(self) -> int:
        """Bits of the BX word that hold the BX."""

    @property
    def present_bits(self) -> int:
        """Bits of a muon's first word that are all 0 if there is no muon."""


@kernel
def record_length(words: Any, at: Any, end: Any, size: Any, bx_mask: Any) -> Any:
    """Words of the record at `at`; 0 if there is none that makes sense before `end`."""
    if at + HEADER_WORDS >= end:
        return 0
    head = words[at]
    n1, n2 = np.int64((head >> np.uint32(16)) & np.uint32(15)), np.int64(head & np.uint32(15))
    bx = np.int64(words[at + 1] & bx_mask)
    length = HEADER_WORDS + size * (n1 + n2)
    if head & np.uint32(_RESERVED) or max(n1, n2) > LINKS or n1 + n2 == 0 or at + length > end:
        return 0
    return length if bx <= BX_PER_ORBIT else 0


@kernel
def _is_chain(words: Any, at: Any, size: Any, bx_mask: Any, present: Any) -> Any:
    """Whether some records follow each other from `at` on, in order of time and all with muons (hwPt > 0)."""
    before = np.int64(-1)
    for _ in range(_CHAIN):
        length = record_length(words, at, words.size, size, bx_mask)
        if length == 0 or words[at] & np.uint32(_LINK_0) == 0:
            return False
        orbit, bx = np.int64(words[at + 2] & np.uint32(ORBIT_MASK)), np.int64(words[at + 1] & bx_mask)
        if orbit * (BX_PER_ORBIT + 1) + bx <= before:
            return False
        before = orbit * (BX_PER_ORBIT + 1) + bx
        for k in range(at + HEADER_WORDS, at + length, size):
            if words[k] & present == 0:
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
            length = record_length(words, at, bounds[k + 1], size, bx_mask)
            if length == 0:
                break
            starts[n] = at
            n += 1
            at += length
        counts[k], ends[k] = n - first, at
    return n


def find_records(
    words: NDArray[np.uint32], shape: RecordShape, bounds: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Find the records of one or more stretches of words, each up to the first that makes no sense.

    Parameters
    ----------
    words : ndarray of uint32
    shape : RecordShape
        Such as a wire format or an era of the muon stream.
    bounds : ndarray of int64, shape (stretches + 1,), optional
        Where the stretches begin, and the last one's end; all is one stretch if not given.

    Returns
    -------
    starts : ndarray of int64, shape (records,)
    counts, ends : ndarray of int64, shape (stretches,)
        Records of each stretch, and the word after the last of them.
    """
    bounds = np.array([0, words.size]) if bounds is None else bounds
    starts = np.empty(words.size // (HEADER_WORDS + shape.record_words) + 1, np.int64)
    counts, ends = np.empty((2, bounds.size - 1), np.int64)
    n = _find_records(words, bounds, shape.record_words, np.uint32(shape.bx_mask), starts, counts, ends)
    return starts[:n], counts, ends


@kernel
def _next_chain(words: Any, at: Any, size: Any, bx_mask: Any, present: Any) -> Any:
    while at < words.size and not _is_chain(words, at, size, bx_mask, present):
        at += 1
    return at


def next_records(words: NDArray[np.uint32], at: int, shape: RecordShape) -> int:
    """Word from `at` on where records begin again, or the end.

    Nothing marks a record: four in a row must make sense, rise in time and have muons. Random bytes
    do so once in 10^20 places.
    """
    masks = np.uint32(shape.bx_mask), np.uint32(shape.present_bits)
    return int(_next_chain(words, at, shape.record_words, *masks))


def records_end(data: bytes | memoryview, shape: RecordShape) -> int:
    """Bytes up to which `data` are whole records that make sense."""
    _, _, ends = find_records(np.frombuffer(data, "<u4", len(data) // 4), shape)
    return 4 * int(ends[0])
