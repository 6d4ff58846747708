"""Compiled search for records with objects in payloads: crossing by crossing, while they make sense.

Places in `words` have no sign: then numba looks for no negative ones.
"""

from typing import Any

import numpy as np

from l1scout.formats.lanes import SOME, copy_some, ones
from l1scout.formats.records import ORBIT_MASK
from l1scout.jit import kernel
from l1scout.lhc import BX_PER_ORBIT

AT, SIZE, ORBIT, BX, PAYLOAD, END = range(6)
"""Rows of the table of records: first word, words of the first group of objects, whose they are, and the
number of objects up to the end of each."""
ROWS, OBJECTS, IN_ORDER = range(3)
"""What is counted of each kind of object."""


@kernel
def are_zeros(words: Any, first: Any, end: Any) -> Any:
    """Return whether words are all 0."""
    some = np.uint32(0)
    for i in range(first, end):
        some |= words[i]
    return some == 0


@kernel
def walk(words: Any, span: Any, orbit_base: Any, payload: Any, form: Any, records: Any, n: Any) -> Any:
    """Walk through a payload from record to record while they make sense, of which `n` are known before.

    Returns the number of records and the place of the next one.
    """
    count_mask, most, size = form[0], form[1], form[2]
    bx_at, length, first, group = form[3], form[4], form[5], form[7]
    head, head_mask = np.uint32(form[9]), np.uint32(form[10])
    at, end = np.uint64(span[0]), np.uint64(span[1])
    while at + first <= end:
        header, bx, orbit = words[at], words[at + bx_at], words[at + bx_at + np.uint64(1)]
        if count_mask:
            count = np.uint64(header) & count_mask
            if count > most:
                break
            group = size * count
            length = first + group
        if bx > np.uint32(BX_PER_ORBIT) or header & head_mask != head or at + length > end:
            break
        if bx == 0 and are_zeros(words, at + first, at + length):  # zeros are damage, not a crossing
            break
        records[AT, n], records[SIZE, n] = at, group
        records[ORBIT, n] = orbit_base + np.int64(orbit & np.uint32(ORBIT_MASK))
        records[BX, n], records[PAYLOAD, n] = bx, payload
        n += 1
        at += length
    return n, np.int64(at)


@kernel
def put_words(words: Any, place: Any, size: Any, present: Any, out: Any, last: Any) -> Any:
    """Copy the words of objects that are present to `out` from `last` on; return where they end."""
    every = np.uint32(0xFFFFFFFF) if present == 0 else np.uint32(0)
    for i in range(place, place + size):
        out[last] = words[i]
        last += np.uint64((words[i] & present) | every != 0)
    return last


@kernel
def read_words(
    words: Any, span: Any, orbit_base: Any, form: Any, present: Any, out: Any, counts: Any, rows: Any
) -> Any:
    """Walk through a payload of counted objects of one word, and put their words and rows together.

    It is the same as `walk`, `gather_words` and `add_rows`, in one go: most of the data are read by it. `out`
    is written up to `SOME` words beyond the last. Returns the number of objects, and the place of the first
    record that makes no sense.
    """
    count_mask, most, bx_at, first = form[0], form[1], form[3], form[5]
    head, head_mask = np.uint32(form[9]), np.uint32(form[10])
    every, one, some = np.uint32(0xFFFFFFFF) if present == 0 else np.uint32(0), np.uint64(1), np.uint64(SOME)
    at, end, last, n = np.uint64(span[0]), np.uint64(span[1]), np.uint64(0), np.uint64(counts[ROWS])
    before, in_order, orbit_before, bx_before = counts[OBJECTS], counts[IN_ORDER], np.int64(-1), np.int64(-1)
    if n:
        orbit_before, bx_before = rows[0, n - one], rows[1, n - one]
    while at + first <= end:
        header, bx = words[at], np.int64(words[at + bx_at])
        orbit = orbit_base + np.int64(words[at + bx_at + one] & np.uint32(ORBIT_MASK))
        count, place, begin = np.uint64(header) & count_mask, at + first, last
        if bx > BX_PER_ORBIT or header & head_mask != head or count > most or place + count > end:
            break
        if bx == 0 and are_zeros(words, place, place + count):
            break
        at = place + count
        while count:
            now, gaps = min(count, some), one
            if place + some <= end:
                bits = (copy_some(words, place, out, last, present) | every) & np.uint32((one << now) - one)
                gaps = np.uint64(bits & (bits + np.uint32(1)))
            if gaps == 0:  # as the trigger has it: first objects, and then nothing
                last += np.uint64(ones(bits))
            else:
                last = put_words(words, place, now, present, out, last)
            place += now
            count -= now
        rows[0, n], rows[1, n], rows[2, n] = orbit, bx, before + np.int64(begin)
        if last > begin:
            same = orbit == orbit_before
            n += np.uint64(not (same and bx == bx_before))
            in_order &= orbit > orbit_before or (same and bx >= bx_before)
            orbit_before, bx_before = orbit, bx
    counts[ROWS], counts[IN_ORDER] = n, in_order
    return np.int64(last), np.int64(at)


@kernel
def sort_records(records: Any, n: Any, other: Any) -> Any:
    """Return records in order of BX, stably, if they are of one orbit: as they are, or copied to `other`."""
    rises: Any = True
    for i in range(1, n):
        if records[ORBIT, i] != records[ORBIT, 0]:
            return records
        rises = rises and records[BX, i] >= records[BX, i - 1]
    if rises:
        return records
    place = np.zeros(BX_PER_ORBIT + 2, np.int64)
    for i in range(n):
        place[records[BX, i] + 1] += 1
    for i in range(1, place.size):
        place[i] += place[i - 1]
    for i in range(n):
        to = place[records[BX, i]]
        place[records[BX, i]] += 1
        for row in range(records.shape[0]):
            other[row, to] = records[row, i]
    return other


@kernel
def add_rows(records: Any, n: Any, counts: Any, rows: Any) -> None:
    """Make a row of each crossing whose records have objects."""
    at, begin, before, in_order = counts[ROWS], np.int64(0), counts[OBJECTS], counts[IN_ORDER]
    orbit_before, bx_before = np.int64(-1), np.int64(-1)
    if at:
        orbit_before, bx_before = rows[0, at - 1], rows[1, at - 1]
    for k in range(n):
        orbit, bx, end = records[ORBIT, k], records[BX, k], records[END, k]
        rows[0, at], rows[1, at], rows[2, at] = orbit, bx, before + begin
        if end > begin:
            same = orbit == orbit_before
            at += not (same and bx == bx_before)
            in_order &= orbit > orbit_before or (same and bx >= bx_before)
            orbit_before, bx_before = orbit, bx
        begin = end
    counts[ROWS], counts[IN_ORDER] = at, in_order
