"""Compiled decoding of records with objects: what the tables of `formats.object_records` say, word by word.

Payloads are taken in groups of successive ones of the same orbit: the records of a group are found, brought
in order of time, and their objects' words put together; columns are cut from these while they are in the
processor's cache. Places in `words` have no sign: then numba looks for no negative ones.
"""

from typing import Any

import numpy as np

from l1scout.formats.lanes import SOME, copy_some, cut_signed, cut_unsigned, ones, transpose_8
from l1scout.formats.record_kernels import (
    AT,
    END,
    OBJECTS,
    PAYLOAD,
    ROWS,
    SIZE,
    add_rows,
    put_words,
    read_words,
    sort_records,
    walk,
)
from l1scout.formats.records import ORBIT_MASK
from l1scout.jit import kernel

(
    PRESENT,
    OBJECT_WORDS,
    KEEP_WORDS,
    FIRST_CUT,
    LAST_CUT,
    PART_COLUMN,
    FIRST_COLUMN,
    FIRST_WORD,
    FIRST_START,
    FIRST_MASK,
) = range(10)
"""What a row of the table of kinds holds, see `formats.object_records.ObjectTable`; -1 for a column that is
not wanted."""


@kernel
def gather_words(
    words: Any, ends: Any, records: Any, n: Any, forms: Any, number: Any, present: Any, out: Any
) -> Any:
    """Put together the words of records' objects of one word each; return how many there are.

    `out` is written up to `SOME` words beyond the last.
    """
    every = np.uint32(0xFFFFFFFF) if present == 0 else np.uint32(0)
    one, some, last, payload = np.uint64(1), np.uint64(SOME), np.uint64(0), np.int64(-1)
    for k in range(n):
        if records[PAYLOAD, k] != payload:
            payload = records[PAYLOAD, k]
            form, end = forms[number[payload]], np.uint64(ends[payload])
            first, second, in_second = form[5], form[6], form[8]
        at, left, gaps = np.uint64(records[AT, k]), np.uint64(records[SIZE, k]), np.uint32(1)
        if left <= some and in_second <= some and at + max(first, second) + some <= end:
            bits = (copy_some(words, at + first, out, last, present) | every) & np.uint32((one << left) - one)
            gaps = np.uint32(bits & (bits + np.uint32(1)))
            stop = last + np.uint64(ones(bits))
            if in_second:
                bits = copy_some(words, at + second, out, stop, present) | every
                bits &= np.uint32((one << in_second) - one)
                gaps |= np.uint32(bits & (bits + np.uint32(1)))
                stop += np.uint64(ones(bits))
        if gaps == 0:  # as the trigger has it: first objects, and then nothing
            last = stop
        else:
            last = put_words(words, at + first, left, present, out, last)
            last = put_words(words, at + second, in_second, present, out, last)
        records[END, k] = np.int64(last)
    return np.int64(last)


@kernel
def rows_of_words(object_words: Any) -> Any:
    """Return the rows of words that are written for objects of a number of words: eight at a time."""
    return object_words if object_words == 1 or object_words > 8 else 8


@kernel
def gather_objects(
    words: Any,
    ends: Any,
    records: Any,
    n: Any,
    forms: Any,
    number: Any,
    kind: Any,
    parts: Any,
    out: Any,
    stride: Any,
    columns: Any,
    room: Any,
    before: Any,
) -> Any:
    """Put together the words of records' objects of several words each: word k of object i at k stride + i.

    Columns are written that no bits of the words are: the part of the detector, and whether an object is the
    first of its record with such bits. Returns the number of objects.
    """
    present, part_at, first_at = np.uint32(kind[PRESENT]), kind[PART_COLUMN], kind[FIRST_COLUMN]
    in_word, start = np.uint64(kind[FIRST_WORD]), np.uint32(kind[FIRST_START])
    mask, stride, room = np.uint32(kind[FIRST_MASK]), np.uint64(stride), np.uint64(room)
    one, last, before = np.uint64(1), np.uint64(0), np.uint64(before)
    k, eight, places = 0, np.uint64(8), records[AT]
    is_plain = part_at < 0 and first_at < 0 and kind[KEEP_WORDS] == 0
    every = np.uint32(0xFF) if present == 0 else np.uint32(0)
    while k < n:
        payload = records[PAYLOAD, k]
        form = forms[number[payload]]
        size, seen = form[2], np.uint64(0)
        alone = size <= eight and form[1] == one and form[4] != 0 and is_plain
        if alone and k + 8 <= n:
            for i in range(k, k + 8):
                alone &= records[PAYLOAD, i] == payload
                alone &= np.uint64(places[i]) + form[5] + eight <= np.uint64(ends[payload])
            if alone:
                what = np.uint32(size), present
                found = transpose_8(words, places, np.uint64(k), form[5], out, last, stride, *what)
                if found | every == np.uint32(0xFF):  # all eight have an object
                    for i in range(8):
                        records[END, k + i] = np.int64(last) + i + 1
                    last += eight
                    k += 8
                    continue
        at, left, second = np.uint64(records[AT, k]), np.uint64(records[SIZE, k]), form[8]
        place = at + form[5]
        while left or second:
            if left == 0:
                place, left, second = at + form[6], second, np.uint64(0)
            some, to = np.uint32(0), last
            for w in range(size):
                word = words[place + w]
                some |= word
                out[to] = word
                to += stride
            if part_at >= 0:
                columns[np.uint64(part_at) * room + before + last] = parts[payload]
            if first_at >= 0:
                bit = one << np.uint64((words[place + in_word] >> start) & mask)
                columns[np.uint64(first_at) * room + before + last] = seen & bit == 0
                seen |= bit
            last += np.uint64(present == 0 or some & present != 0)
            place += size
            left -= size
        records[END, k] = np.int64(last)
        k += 1
    return np.int64(last)


@kernel
def cut_columns(words: Any, stride: Any, n: Any, cuts: Any, out: Any, room: Any, to: Any) -> None:
    """Cut columns from words: word k of object i is at k stride + i.

    Each is written from `to` on, up to `SOME` values beyond the last.
    """
    some = np.uint64(SOME)
    for c in range(cuts.shape[0]):
        start, width = np.uint64(cuts[c, 1]), np.uint64(cuts[c, 2])
        right = np.uint32(np.uint64(32) - width)
        add, target, at = np.uint32(cuts[c, 4]), np.uint64(c * room + to), np.uint64(cuts[c, 0] * stride)
        stop = at + np.uint64(n)
        if start + width > np.uint64(32):  # it begins in one word and ends in the next
            low, high = np.uint32(start), np.uint32(np.uint64(32) - start)
            mask = (np.uint32(1) << np.uint32(width)) - np.uint32(1)
            sign = np.uint32(cuts[c, 3]) << np.uint32(width - np.uint64(1))
            for i in range(np.uint64(n)):
                value = (words[at + i] >> low) | (words[at + np.uint64(stride) + i] << high)
                out[target + i] = ((value & mask) ^ sign) - sign + add
            continue
        left = np.uint32(np.uint64(32) - width - start)
        while at < stop:
            if cuts[c, 3]:
                cut_signed(words, at, left, right, add, out, target)
            else:
                cut_unsigned(words, at, left, right, add, out, target)
            at += some
            target += some


@kernel
def end_of_group(words: Any, spans: Any, bases: Any, number: Any, forms: Any, k: Any, most: Any) -> Any:
    """Return the end of the payloads from `k` on whose first records are of the same orbit.

    A payload without a record belongs to any. Several have up to `most` words together.
    """
    first, orbit, size = k, np.int64(-1), np.int64(0)
    while k < spans.shape[1]:
        size += spans[1, k] - spans[0, k]
        if k > first and size > most:
            break
        at = spans[0, k] + np.int64(forms[number[k], 3]) + 1
        if at < spans[1, k]:
            stated = bases[k] + np.int64(words[at] & np.uint32(ORBIT_MASK))
            if orbit >= 0 and stated != orbit:
                break
            orbit = stated
        k += 1
    return k


@kernel
def decode_payloads(
    words: Any,
    spans: Any,
    bases: Any,
    parts: Any,
    number: Any,
    forms: Any,
    kinds: Any,
    cuts: Any,
    places: Any,
    most: Any,
    records: Any,
    scratch: Any,
    kept: Any,
    out: Any,
    rows: Any,
    counts: Any,
    ends: Any,
) -> None:
    """Decode the kinds of object that are in the same records.

    Parameters
    ----------
    words : row of uint32
    spans : (2, payloads)
        First word of each payload, and its end.
    bases, parts, number : (payloads,)
        What is added to the orbits of each; its part of the detector; the number of its form.
    forms : (kinds, forms, 11)
    kinds, cuts
        Tables of kinds, and of their columns.
    places : (kinds, 2)
        Where the columns of each kind begin in `out`, and the room of each column.
    most : int
        Words of a group's payloads at most, if it is more than one.
    records : (2, 6, records)
    scratch, kept : rows of uint32
        Words of a group's objects; of all objects, if they are wanted.
    out : row of int16
        All columns.
    rows : (kinds, 3, records + 1)
        Orbit, BX and first object of each crossing.
    counts : (kinds, 3)
    ends : (payloads,)
        Word up to which each payload could be read.
    """
    k, n = 0, spans.shape[1]
    is_single = kinds.shape[0] == 1 and kinds[0, OBJECT_WORDS] == 1 and kinds[0, KEEP_WORDS] == 0
    while k < n:
        last = end_of_group(words, spans, bases, number, forms[0], k, most)
        m = 0
        if is_single and last == k + 1 and forms[0, number[k], 8] == 0 and forms[0, number[k], 0]:
            row, columns, before = kinds[0], out[places[0, 0] :], counts[0, OBJECTS]
            what = forms[0, number[k]], np.uint32(row[PRESENT])
            objects, ends[k] = read_words(words, spans[:, k], bases[k], *what, scratch, counts[0], rows[0])
            cut_columns(scratch, scratch.size, objects, cuts, columns, places[0, 1], before)
            counts[0, OBJECTS] += objects
            k = last
            continue
        while k < last:
            m, ends[k] = walk(words, spans[:, k], bases[k], k, forms[0, number[k]], records[0], m)
            k += 1
        found = sort_records(records[0], m, records[1])
        for kind in range(kinds.shape[0]):
            row, some, place = kinds[kind], counts[kind], scratch
            object_words, before = row[OBJECT_WORDS], some[OBJECTS]
            stride = scratch.size // rows_of_words(object_words)
            if row[KEEP_WORDS]:
                place = kept[before:]
                stride = kept.size // object_words
            columns, room = out[places[kind, 0] :], places[kind, 1]
            which = forms[kind], number
            if object_words == 1:
                present = np.uint32(row[PRESENT])
                objects = gather_words(words, ends, found, m, *which, present, place)
            else:
                to = place, stride, columns, room, before
                objects = gather_objects(words, ends, found, m, *which, row, parts, *to)
            add_rows(found, m, some, rows[kind])
            cut_columns(place, stride, objects, cuts[row[FIRST_CUT] : row[LAST_CUT]], columns, room, before)
            some[OBJECTS] += objects
    for kind in range(kinds.shape[0]):
        rows[kind, 2, counts[kind, ROWS]] = counts[kind, OBJECTS]
