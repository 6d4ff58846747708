"""Numbers of orbits as JSON: consecutive ones as first and number, others as a bitmap."""

import base64
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_ORBITS = 1 << 22
"""From the first to the last: a lumisection has 2^18."""


def encode_orbits(seen: NDArray[np.int64] | None) -> list[Any] | None:
    """Return ``[first, number]`` of consecutive orbits (rising), or ``[first, bitmap]``.

    The bitmap has a bit for each orbit from the first to the last seen, lowest bit first, compressed by zlib,
    in base 64. None where `seen` is None, empty, or has orbits too far from each other.
    """
    if seen is None or not seen.size or seen[-1] - seen[0] >= MOST_ORBITS:
        return None
    first, span = int(seen[0]), int(seen[-1] - seen[0] + 1)
    if span == seen.size:
        return [first, span]
    bits = np.zeros(span, np.bool_)
    bits[seen - first] = True
    packed = zlib.compress(np.packbits(bits, bitorder="little").tobytes(), 9)
    return [first, base64.b64encode(packed).decode("ascii")]


def decode_orbits(stated: Any) -> NDArray[np.int64] | None:
    """Return the orbits that `encode_orbits` wrote (ValueError if it is anything else)."""
    if stated is None:
        return None
    good = isinstance(stated, list) and len(stated) == 2 and type(stated[0]) is int
    if good and 0 <= stated[0] < 1 << 62:
        first, which = stated
        if type(which) is int and 0 < which <= MOST_ORBITS:
            return np.arange(first, first + which)
        if isinstance(which, str):
            return np.asarray(first + np.flatnonzero(_bits(which)), np.int64)
    msg = "its list of orbits is damaged"
    raise ValueError(msg)


def _bits(text: str) -> NDArray[np.uint8]:
    packed = base64.b64decode(text, validate=True)  # ValueError if it is not base 64
    stream = zlib.decompressobj()
    try:
        data = stream.decompress(packed, MOST_ORBITS // 8)
    except zlib.error as error:
        msg = f"its bitmap of orbits is damaged ({error})"
        raise ValueError(msg) from error
    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
    if not stream.eof or not bits.size or not bits[0]:
        msg = "its bitmap of orbits is damaged"
        raise ValueError(msg)
    return bits
