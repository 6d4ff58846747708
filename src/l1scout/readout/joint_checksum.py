"""CRC-32C of bytes that were summed in pieces: a segment's header is known only when all else is written."""

from functools import cache

from crc32c import crc32c

_BITS = 32


def joint_checksum(first: int, second: int, size: int) -> int:
    """Return the CRC-32C of bytes that are followed by others.

    Parameters
    ----------
    first : int
        CRC-32C of the bytes before.
    second : int
        CRC-32C of the others by themselves.
    size : int
        Number of the others.
    """
    for power in range(size.bit_length()):
        if size >> power & 1:
            first = _apply(_followed_by_zeros(power), first)
    return first ^ second


@cache
def _followed_by_zeros(power: int) -> tuple[int, ...]:
    """Return what becomes of each bit of a checksum after ``2**power`` zero bytes, but for what 0 becomes."""
    if power == 0:
        return tuple(crc32c(b"\0", 1 << bit) ^ crc32c(b"\0", 0) for bit in range(_BITS))
    half = _followed_by_zeros(power - 1)
    return tuple(_apply(half, bits) for bits in half)


def _apply(matrix: tuple[int, ...], bits: int) -> int:
    out = 0
    for bit in range(_BITS):
        if bits >> bit & 1:
            out ^= matrix[bit]
    return out
