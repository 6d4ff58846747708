"""The frames of an undamaged ``.raw`` file of muons, many at a time: what the store's archive is made of.

Files that are not so regular, however little, are for `formats.raw.split_raw`.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from crc32c import crc32c
from numpy.typing import NDArray

from l1scout.formats.frame_checksums import checksum_of_frames
from l1scout.formats.marks import ALL_MARKS
from l1scout.formats.raw import (
    FILE_HEADER,
    FRAME_WORDS,
    HEAD_WORDS,
    MARKS_AT,
    MAX_FRAME_BYTES,
    VERSION,
    RawFile,
)
from l1scout.formats.records import HEADER_WORDS, ORBIT_MASK, find_records
from l1scout.formats.reused_memory import arrays_in_one_block
from l1scout.formats.streams.muon import MUONS, MuonWords
from l1scout.io.archive_chunk import Stretch
from l1scout.jit import kernel
from l1scout.lhc import ORBITS_PER_LUMISECTION

_SOURCE = MUONS.source_ids[0]
_NO_MARKS = 0xFFFFFFFF & ~(ALL_MARKS << (16 + MARKS_AT))
_MANY = 1 << 32


class IrregularError(Exception):
    """A file in which something is not as in an undamaged file of muons."""


@kernel
def _walk(words: Any, run: Any, state: Any, starts: Any) -> Any:
    """Find where frames start; their number (-1: irregular), and the word after them.

    The state is the last orbit, the first word of its frame, and how many frames in a row have that.
    """
    at, n = np.int64(0), 0
    before, first, same = state[0], state[1], state[2]
    while at + FRAME_WORDS <= words.size:
        size, orbit = np.int64(words[at + 4]), np.int64(words[at + 3])
        stop = at + HEAD_WORDS + size // 4
        if words[at] != first:  # not for a single frame: that is damage
            first, same = np.int64(words[at]), (np.int64(0) if same > 1 else np.int64(-1))
        right = first & np.uint32(_NO_MARKS) == VERSION and same >= 0
        right &= words[at + 1] == run and words[at + 5] != 0
        right &= words[at + HEAD_WORDS] == _SOURCE and orbit <= ORBIT_MASK and orbit > before
        right &= np.int64(words[at + 2]) == 1 + orbit // ORBITS_PER_LUMISECTION
        right &= size >= 4 and size % 4 == 0 and size <= MAX_FRAME_BYTES
        if not right:
            return -1, at
        if stop > words.size:
            break
        if size == 4:
            right = before < 0 or orbit == before + 1
        else:
            right = size >= 4 * (1 + HEADER_WORDS) and words[at + FRAME_WORDS + 2] & ORBIT_MASK == orbit
        if not right:
            return -1, at
        starts[n] = at
        at, before, n, same = stop, orbit, n + 1, same + 1
        state[0], state[1], state[2] = before, first, same
    return n, at


@kernel
def _take_apart(words: Any, starts: Any, end: Any, heads: Any, records: Any, bounds: Any) -> None:
    """Copy heads and records of frames; where the records of each begin, and their end."""
    to = 0
    for k in range(starts.size):
        at = starts[k]
        stop = starts[k + 1] if k + 1 < starts.size else end
        bounds[k] = to
        heads[k, :] = words[at : at + FRAME_WORDS]
        n = stop - at - FRAME_WORDS
        records[to : to + n] = words[at + FRAME_WORDS : stop]
        to += n
    bounds[starts.size] = to


def regular_stretches(
    stream: Any, header: RawFile, form: MuonWords, chunk: int, crc: int
) -> Iterator[tuple[int, int, Stretch]]:
    """Give the frames of a file, some at a time.

    Parameters
    ----------
    stream : binary file
        After its header.
    header : RawFile
    form : MuonWords
    chunk : int
        Bytes at a time, about.
    crc : int
        CRC-32C of the file's header.

    Yields
    ------
    size, crc : int
        Bytes of the frames, and the CRC-32C of the file up to their end.
    stretch : Stretch

    Raises
    ------
    IrregularError
        If something is damaged or unusual.
    """
    room, held, frames, size = np.empty(chunk + 4, np.uint8), 0, 0, FILE_HEADER.itemsize
    state = np.array([-1, VERSION, _MANY])
    while read := stream.readinto(room.data[held : held + chunk]):
        filled = held + read
        words = room[: filled // 4 * 4].view("<u4")
        bounds = np.empty(words.size // FRAME_WORDS + 2, np.int64)
        n, end = map(int, _walk(words, np.uint32(header.run), state, bounds))
        if n < 0:
            raise IrregularError
        if n:
            bounds[n] = end
            stretch = _stretch(words, bounds[: n + 1], form)
            crc = checksum_of_frames(words, bounds[: n + 1], crc)
            yield 4 * end, crc, stretch
        held, frames, size = filled - 4 * end, frames + n, size + 4 * end
        left = room[4 * end : filled].copy()
        if room.size < held + chunk:
            room = np.empty(2 * (held + chunk), np.uint8)
        room[:held] = left
    if held or header.is_damaged or (header.orbits, header.size) != (frames, size) or state[2] < 2:
        raise IrregularError


def _stretch(words: NDArray[np.uint32], cuts: NDArray[np.int64], form: MuonWords) -> Stretch:
    """Put the records of frames together (IrregularError if a checksum or a record is not right)."""
    view, (starts, end) = words.view(np.uint8).data, (cuts[:-1], cuts[-1])
    sums = [crc32c(view[a + 4 * HEAD_WORDS : b]) for a, b in pairwise((4 * cuts).tolist())]
    heads = np.empty((starts.size, FRAME_WORDS), np.uint32)
    records = arrays_in_one_block([((end - heads.size,), np.uint32)])[0]
    bounds = np.empty(starts.size + 1, np.int64)
    _take_apart(words, starts, end, heads, records, bounds)
    places, counts, ends = find_records(records, form, bounds)
    if sums != heads[:, 5].tolist() or not np.array_equal(ends, bounds[1:]):
        raise IrregularError
    return Stretch(records, places, counts, heads, np.zeros(starts.size, np.int64), b"")
