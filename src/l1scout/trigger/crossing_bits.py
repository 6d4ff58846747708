"""A bit per crossing, 64 in a word: what an algorithm or a condition decides for many crossings."""

import numpy as np
from numpy.typing import NDArray

from l1scout.jit import kernel

Words = NDArray[np.uint64]
BITS = 64
"""Crossings of a word; crossing k is bit k % 64 of word k // 64."""


def pack_crossings(crossings: NDArray[np.int64], number: int) -> Words:
    """Return words in which the bits of some of `number` crossings are set.

    Raises
    ------
    ValueError
        If a crossing is outside 0 to `number`.
    """
    words = np.zeros(-(-number // BITS), np.uint64)
    if not _set_bits(crossings, number, words):
        msg = f"crossings outside 0..{number - 1}"
        raise ValueError(msg)
    return words


def pack_flags(flags: NDArray[np.bool_]) -> Words:
    """Return words of a flag per crossing: the inverse of `unpack`."""
    packed = np.zeros(-(-len(flags) // BITS) * 8, np.uint8)
    packed[: -(-len(flags) // 8)] = np.packbits(flags, bitorder="little")
    return packed.view(np.uint64)


@kernel
def _set_bits(crossings: NDArray[np.int64], number: int, words: Words) -> bool:
    for k in range(len(crossings)):
        crossing = crossings[k]
        if crossing < 0 or crossing >= number:
            return False
        words[crossing >> 6] |= np.uint64(1) << np.uint64(crossing & 63)
    return True


def unpack(words: Words, number: int) -> NDArray[np.bool_]:
    """Return a flag for each of `number` crossings."""
    return np.unpackbits(words.view(np.uint8), count=number, bitorder="little").view(np.bool_)


def crossings_of(words: Words) -> NDArray[np.int64]:
    """Return the crossings whose bit is set, in order."""
    some = np.flatnonzero(words)
    word, bit = np.nonzero(
        np.unpackbits(words[some].view(np.uint8).reshape(-1, 8), axis=1, bitorder="little")
    )
    return some[word] * BITS + bit


def invert(words: Words, number: int) -> Words:
    """Return the opposite decision for each of `number` crossings."""
    opposite = ~words
    if number % BITS:
        opposite[-1] &= np.uint64((1 << number % BITS) - 1)
    return opposite


def count(words: Words) -> int:
    """Return the number of crossings whose bit is set."""
    return int(np.bitwise_count(words).sum())
