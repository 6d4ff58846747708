"""Save what can still be read of a segment's file that is incomplete or damaged."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from crc32c import crc32c
from numpy.typing import NDArray

from l1scout.core.provenance import data_label
from l1scout.formats.records import ORBIT_MASK
from l1scout.formats.wire_format import WIRE_FORMATS
from l1scout.jit import kernel
from l1scout.readout.orbit_numbers import longest_chain
from l1scout.readout.segments import Segment

_POLYNOMIAL = 0x82F63B78
_TOP = 1 << 31


def salvage(data: bytes, segment: Segment, *, checked: bool = False) -> tuple[bytes, Segment]:
    """Make a complete file of the part of a segment's file that can be read.

    Parameters
    ----------
    data : bytes
    segment : Segment
        Names the run, source, lumisection and wire format of the file.
    checked : bool
        The segment describes the file as it was: put a single flipped bit right, and else keep only what a
        checksum in the file proves to be right, of orbits that it had, in their order.

    Returns
    -------
    data : bytes
    segment : Segment
        With size, checksum, orbits and objects of these data, and simulated or real if they state that.
    """
    wire_format = WIRE_FORMATS[segment.wire_format]
    if checked and wire_format.has_checksums:
        mended = with_bit_put_right(data, segment.size, segment.crc32c)
        if mended is not None and len(wire_format.salvage(mended, segment.source)[1]) == segment.orbits:
            return mended, segment
    run, lumisection = segment.run, segment.lumisection
    choose = partial(_possible, segment) if checked else None
    body, orbits = b"", list[int]()
    if wire_format.has_checksums or not checked:
        header = wire_format.segment_header(run, lumisection, 0, 0)  # what is there may be the damage
        body, orbits = wire_format.salvage(header + data[len(header) :], segment.source, choose)
    size = len(wire_format.segment_header(run, lumisection, len(orbits), 0)) + len(body)
    data = wire_format.segment_header(run, lumisection, len(orbits), size) + body
    simulated = wire_format.simulated(data)
    first, last = (orbits[0] & ORBIT_MASK, orbits[-1] & ORBIT_MASK) if orbits else (0, 0)
    return data, replace(
        segment,
        data=segment.data if simulated is None else data_label(simulated),
        size=size,
        crc32c=crc32c(data),
        first_orbit=first,
        last_orbit=last,
        orbits=len(orbits),
        objects=wire_format.count_objects(data),
    )


def _possible(
    segment: Segment, lumisection: NDArray[np.int64], orbit: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Return which orbits may be those of a segment: of its lumisection, first to last, rising."""
    number = orbit & ORBIT_MASK
    inside = (number >= segment.first_orbit) & (number <= segment.last_orbit) & (segment.orbits > 0)
    inside &= lumisection == segment.lumisection
    return longest_chain(np.where(inside, number, -1), segment.first_orbit)


def with_bit_put_right(data: bytes, size: int, crc: int) -> bytes | None:
    """Return data of which one bit was flipped as they were; None if something else happened to them.

    More damage is taken for one bit with a chance of 8 `size` / 2**32: what comes back must be checked.

    Parameters
    ----------
    data : bytes
    size, crc : int
        Bytes, and CRC32C, of the data as they were.
    """
    if len(data) != size or not size:
        return None
    n = bits_to_end(crc32c(data) ^ crc, 8 * size)
    if n < 0:
        return None
    bit = 8 * size - 1 - n
    mended = bytearray(data)
    mended[bit // 8] ^= 1 << bit % 8
    return bytes(mended) if crc32c(mended) == crc else None


@kernel
def bits_to_end(difference: Any, bits: Any) -> Any:
    """Return how many bits follow the only flipped one, which made a difference in the checksum; -1: none.

    The difference is what a CRC register becomes that holds one bit and is shifted for each that follows: it
    is shifted back.
    """
    for n in range(bits):
        if difference & _TOP:
            difference = ((difference ^ _POLYNOMIAL) << 1) | 1
        else:
            difference <<= 1
        if difference == 1:
            return n
    return -1
