"""What is on a fibre: words of 32 bits with four K flags each, in orbits of fixed length.

The line runs at 10 Gb/s with 8b10b: 250 million words a second for 240 million of payload, six a
crossing. So an orbit has 22275 words of line time for 21384 of payload, and the 891 to spare are
its CRC word, padding words where the sender's buffer ran empty, and a gap of commas at the end.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from zlib_ng.zlib_ng import crc32  # ten times as fast as Python's own

from l1scout.formats.lanes import multiply_without_carries
from l1scout.formats.pattern import FRAMES_PER_BX
from l1scout.jit import kernel
from l1scout.lhc import BX_PER_ORBIT

COMMA = 0x505050BC
"""Idle word: K28.5 in the low byte."""
COMMA_K = 0b0001
PADDING = 0xF7F7F7F7
"""K23.7 four times: no data in this word."""
PADDING_K = 0b1111
PAYLOAD_WORDS = FRAMES_PER_BX * BX_PER_ORBIT
LINE_WORDS = PAYLOAD_WORDS * 25 // 24
"""Words of line time in an orbit: 250 MHz / 240 MHz of the payload's."""
MAX_SKEW_BX = 16
MAX_SKEW_WORDS = MAX_SKEW_BX * LINE_WORDS // BX_PER_ORBIT
LATENCY_WORDS = MAX_SKEW_WORDS + 4
"""An orbit's first word comes so long after the LHC's orbit signal on a link without skew: with any
skew, the end of the gap before it comes after the signal."""


class CrcTables(NamedTuple):
    """What the CRC of an orbit is computed from, word by word and in any order.

    A CRC is a remainder of polynomials, and linear: it is the sum of what each word adds. A word adds its
    product with a weight, the remainder of x to the power of the bits that follow the word, and words of
    zeros add nothing. Polynomials are written with their highest power in the lowest bit.

    Parameters
    ----------
    weights : ndarray of uint32, shape (21384,)
        By place of the word in the payload.
    steps : ndarray of uint32, shape (256,)
        What a byte that leaves the register adds to it.
    start : uint64
        What the register's first value adds.
    end : uint32
    reflected : bool
        If not, the bits of each byte are in the reverse order, and so are those of the CRC.
    """

    weights: NDArray[np.uint32]
    steps: NDArray[np.uint32]
    start: np.uint64
    end: np.uint32
    reflected: np.bool_


@dataclass(frozen=True)
class Crc:
    """A CRC of 32 bits, by the parameters of the usual catalogues.

    The polynomial on CMS's links is in no public source that we found: it is a parameter here, and
    the default is Ethernet's.

    Parameters
    ----------
    name : str
    polynomial : int
        In normal notation, highest power first.
    start, end : int
        Value before the first byte; what the result is XORed with.
    reflected : bool
        Lowest bit of each byte first.
    """

    name: str = "CRC-32/ISO-HDLC"
    polynomial: int = 0x04C11DB7
    start: int = 0xFFFFFFFF
    end: int = 0xFFFFFFFF
    reflected: bool = True

    def function(self) -> Callable[[Any], int]:
        """Return what computes it from contiguous bytes: a fast library's, or our table-driven one."""
        if self == ISO_HDLC:
            return crc32
        table = _byte_table(self.polynomial, reflected=self.reflected)

        def crc(data: Any) -> int:
            done = _by_table(np.frombuffer(data, np.uint8), table, np.uint32(self.start), self.reflected)
            return int(done) ^ self.end

        return crc

    def tables(self) -> CrcTables:
        """Return what `sparse_crc` computes the CRC of an orbit's payload from."""
        return _tables(self)


@cache
def _tables(crc: Crc) -> CrcTables:
    steps = _byte_table(crc.polynomial, reflected=True)
    weights = np.empty(PAYLOAD_WORDS, np.uint32)
    _weigh(steps, weights)
    start = crc.start if crc.reflected else int(f"{crc.start:032b}"[::-1], 2)
    product = np.uint64(multiply(np.uint32(start), weights[0]))
    return CrcTables(weights, steps, product, np.uint32(crc.end), np.bool_(crc.reflected))


ISO_HDLC = Crc()
CRCS = {
    c.name: c
    for c in (
        ISO_HDLC,
        Crc("CRC-32/BZIP2", 0x04C11DB7, 0xFFFFFFFF, 0xFFFFFFFF, reflected=False),
        Crc("CRC-32/MPEG-2", 0x04C11DB7, 0xFFFFFFFF, 0, reflected=False),
        Crc("CRC-32/ISCSI", 0x1EDC6F41, 0xFFFFFFFF, 0xFFFFFFFF, reflected=True),
    )
}


def _byte_table(polynomial: int, *, reflected: bool) -> NDArray[np.uint32]:
    return np.array([_table_entry(i, polynomial, reflected=reflected) for i in range(256)], np.uint32)


def _table_entry(byte: int, polynomial: int, *, reflected: bool) -> int:
    if reflected:
        polynomial, value = int(f"{polynomial:032b}"[::-1], 2), byte
        for _ in range(8):
            value = value >> 1 ^ (polynomial if value & 1 else 0)
        return value
    value = byte << 24
    for _ in range(8):
        value = (value << 1 ^ (polynomial if value >> 31 else 0)) & 0xFFFFFFFF
    return value


@kernel
def _by_table(data: Any, table: Any, value: Any, reflected: Any) -> Any:
    # numba makes 64 bits of an operation on 32: cut back at once
    for byte in data:
        if reflected:
            value = np.uint32(table[(value ^ byte) & np.uint32(0xFF)] ^ (value >> np.uint32(8)))
        else:
            value = np.uint32(
                table[((value >> np.uint32(24)) ^ byte) & np.uint32(0xFF)] ^ (value << np.uint32(8))
            )
    return value


@kernel
def multiply(a: Any, b: Any) -> Any:
    """Return the product of two polynomials of 32 bits."""
    return multiply_without_carries(a, b)


@kernel
def _shift(value: Any, steps: Any) -> Any:
    """Multiply by x to the power 32, and take the remainder."""
    for _ in range(4):
        value = np.uint32(steps[value & np.uint32(0xFF)] ^ (value >> np.uint32(8)))
    return value


@kernel
def _weigh(steps: Any, weights: Any) -> None:
    value = np.uint32(1 << 31)  # 1
    for k in range(weights.size - 1, -1, -1):
        value = _shift(value, steps)
        weights[k] = value


@kernel
def _reverse_bytes(word: Any) -> Any:
    """Reverse the order of the bits in each byte."""
    for bits, mask in ((4, 0x0F0F0F0F), (2, 0x33333333), (1, 0x55555555)):
        n, m = np.uint32(bits), np.uint32(mask)
        word = np.uint32(((word >> n) & m) | ((word & m) << n))
    return word


@kernel
def sparse_crc(places: Any, words: Any, tables: Any) -> Any:
    """Return the CRC of an orbit's payload of which some words are given, and all others are 0.

    Parameters
    ----------
    places : ndarray of uint32
        Of the words in the payload, 0..21383, each at most once, in any order; there is no check.
    words : ndarray of uint32
    tables : CrcTables
    """
    weights, steps, total = tables.weights, tables.steps, tables.start
    if tables.reflected:
        for k in range(places.size):
            total ^= multiply_without_carries(words[k], weights[places[k]])
    else:
        for k in range(places.size):
            total ^= multiply_without_carries(_reverse_bytes(words[k]), weights[places[k]])
    total <<= np.uint64(1)  # of 63 bits: the highest power comes in the lowest one
    value = np.uint32(_shift(np.uint32(total), steps) ^ np.uint32(total >> np.uint64(32)))
    if not tables.reflected:
        value = _reverse_bytes(value)
        value = np.uint32((value << np.uint32(16)) | (value >> np.uint32(16)))
        m = np.uint32(0x00FF00FF)
        value = np.uint32(((value & m) << np.uint32(8)) | ((value >> np.uint32(8)) & m))
    return np.uint32(value ^ tables.end)
