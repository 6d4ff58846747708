"""CRC-32C of frames of a ``.raw`` file with their heads, from the checksums of their payloads: no byte twice.

A checksum is a polynomial over the field of two elements, with x^0 in its highest bit; what follows it
multiplies it by a power of x.
"""

from functools import cache
from typing import Any

import numpy as np
from crc32c import crc32c
from numpy.typing import NDArray

from l1scout.formats.lanes import multiply_without_carries
from l1scout.formats.raw import HEAD_WORDS
from l1scout.jit import kernel

_ONE = 1 << 31
_POWERS = 1 << 12
_CHECKSUM = 5
"""Word of a frame's head."""


@kernel
def _advance(crc: Any, tables: Any) -> Any:
    """Return a checksum, in which the next four bytes are included, after them."""
    x = np.uint32(crc)
    out = tables[3, x & np.uint32(255)] ^ tables[2, x >> np.uint32(8) & np.uint32(255)]
    return out ^ tables[1, x >> np.uint32(16) & np.uint32(255)] ^ tables[0, x >> np.uint32(24)]


@kernel
def _times(a: Any, b: Any, tables: Any) -> Any:
    """Return the product of two polynomials, modulo that of the checksum."""
    product = multiply_without_carries(np.uint32(a), np.uint32(b)) << np.uint64(1)
    low = np.uint32(product & np.uint64(0xFFFFFFFF))
    return np.uint32(product >> np.uint64(32)) ^ _advance(low, tables)


@kernel
def _join(words: Any, bounds: Any, crc: Any, tables: Any, powers: Any) -> Any:
    """Go on with a checksum over frames, each from word `bounds[k]` to `bounds[k + 1]`."""
    every = np.uint32(0xFFFFFFFF)
    for k in range(bounds.size - 1):
        at = bounds[k]
        crc ^= every
        for i in range(HEAD_WORDS):
            crc = _advance(crc ^ words[at + i], tables)
        crc ^= every
        left = bounds[k + 1] - at - HEAD_WORDS
        while left >= _POWERS:
            crc = _times(crc, powers[_POWERS], tables)
            left -= _POWERS
        crc = _times(crc, powers[left], tables) ^ words[at + _CHECKSUM]
    return crc


@kernel
def _fill_powers(tables: Any, powers: Any) -> None:
    """Write x^(32 n) for each n."""
    powers[0] = np.uint32(_ONE)
    for n in range(1, powers.size):
        powers[n] = _advance(powers[n - 1], tables)


@cache
def _tables() -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Return what becomes of each byte after 1 to 4 bytes, and powers of x^32."""
    tables = np.empty((4, 256), np.uint32)
    nothing = crc32c(b"\0", 0xFFFFFFFF)
    tables[0] = [crc32c(b"\0", 0xFFFFFFFF ^ byte) ^ nothing for byte in range(256)]
    for k in range(1, 4):
        tables[k] = tables[k - 1] >> np.uint32(8) ^ tables[0, tables[k - 1] & 255]
    powers = np.empty(_POWERS + 1, np.uint32)
    _fill_powers(tables, powers)
    return tables, powers


def checksum_of_frames(words: NDArray[np.uint32], bounds: NDArray[np.int64], crc: int = 0) -> int:
    """Return the CRC-32C of frames, from the checksums of their payloads, which their heads must hold.

    Parameters
    ----------
    words : ndarray of uint32
    bounds : ndarray of int64, shape (frames + 1,)
        Word with which each frame begins, and the end of the last one: one follows the other.
    crc : int
        Of what is before them.
    """
    return int(_join(words, bounds, np.uint32(crc), *_tables()))
