"""Records of crossings with objects of one or two words: how they are found, read and written.

A record is of one crossing: a header with the number of its objects, the BX word, the orbit word, and then
the objects; or it has a fixed length, and its objects have places of their own. Muons have records of another
kind (`formats.records`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from threading import local
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.formats.lanes import copy_8, ones
from l1scout.formats.records import ORBIT_MASK
from l1scout.jit import kernel
from l1scout.lhc import BX_PER_ORBIT, order_of_time


@dataclass(frozen=True)
class RecordForm:
    """Where the words of a record are.

    Parameters
    ----------
    max_objects : int
        Of a record; more are damage.
    count_mask : int
        Bits of the first word that count the objects; 0 if a record of this form has a fixed length.
    object_words : int
        32-bit words per object.
    bx_at : int
        Place of the BX word; the orbit word follows it.
    objects_at : tuple of int
        Places of the first objects of up to two groups, of equal size; a counted record has one group.
    fixed_words : int
        Length of a record of fixed length.
    head, head_mask : int
        Value of the first word's bits that are not the count, where they are known; others are damage.
    """

    max_objects: int
    count_mask: int = 0
    object_words: int = 1
    bx_at: int = 1
    objects_at: tuple[int, ...] = (3,)
    fixed_words: int = 0
    head: int = 0
    head_mask: int = 0

    @cached_property
    def row(self) -> tuple[int, ...]:
        """Numbers for the kernels."""
        first, second = self.objects_at[0], self.objects_at[-1]
        group = self.max_objects // len(self.objects_at) * self.object_words
        return (
            *(self.count_mask, self.max_objects, self.object_words, self.bx_at, self.fixed_words),
            *(first, second, group, group * (len(self.objects_at) - 1), self.head, self.head_mask),
        )

    @property
    def places(self) -> NDArray[np.int64]:
        """Places of the first words of the objects, as many as there can be."""
        group = self.max_objects // len(self.objects_at)
        return np.concatenate([at + self.object_words * np.arange(group) for at in self.objects_at])


@kernel
def _walk(words: Any, bounds: Any, payload: Any, forms: Any, records: Any, rows: Any, n: Any) -> Any:
    """Walk through a payload from record to record while they make sense, of which `n` are known before.

    records (2, n): first word of each, and words of its first group of objects. rows (3, n): orbit, BX and
    payload. Returns the number of records and the place of the next one. Places have no sign, here and below:
    then numba looks for no negative ones.
    """
    form = forms[payload]
    count_mask, most, size = form[0], form[1], form[2]
    bx_at, length, first, group = form[3], form[4], form[5], form[7]
    head, head_mask = np.uint32(form[9]), np.uint32(form[10])
    at, end = np.uint64(bounds[payload]), np.uint64(bounds[payload + 1])
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
        if bx == 0:  # zeros are damage, not a crossing
            some = np.uint32(0)
            for i in range(at + first, at + length):
                some |= words[i]
            if some == 0:
                break
        records[0, n], records[1, n] = at, group
        rows[0, n], rows[1, n], rows[2, n] = orbit & np.uint32(ORBIT_MASK), bx, payload
        n += 1
        at += length
    return n, np.int64(at)


@kernel
def _gather(
    words: Any, records: Any, payloads: Any, span: Any, forms: Any, present: Any, out: Any, starts: Any
) -> None:
    """Copy the objects' words of records of a span, those with any bit of `present`, or all if it is 0.

    `out` is written up to eight words beyond the last; starts (n + 1): where the words of each record begin.
    """
    eight, one, room = np.uint64(8), np.uint64(1), np.uint64(words.size)
    every = np.uint32(0xFFFFFFFF) if present == 0 else np.uint32(0)
    last, payload = np.uint64(starts[span[0]]), np.int64(-1)
    for k in range(span[0], span[1]):
        if payloads[k] != payload:
            payload = payloads[k]
            first, second, in_second = forms[payload, 5], forms[payload, 6], forms[payload, 8]
        at, in_first = records[0, k], records[1, k]
        if in_first <= eight and in_second <= eight and at + max(first, second) + eight <= room:
            bits = (copy_8(words, at + first, out, last, present) | every) & np.uint32(
                (one << in_first) - one
            )
            gaps = bits & (bits + np.uint32(1))
            end = last + np.uint64(ones(bits))
            if in_second:
                bits = copy_8(words, at + second, out, end, present) | every
                bits &= np.uint32((one << in_second) - one)
                gaps |= bits & (bits + np.uint32(1))
                end += np.uint64(ones(bits))
            if gaps == 0:  # as the trigger has it: first objects, and then nothing
                last = end
                starts[k + 1] = np.int64(last)
                continue
        for part in range(2):
            begin, size = (at + first, in_first) if part == 0 else (at + second, in_second)
            for i in range(begin, begin + size):
                out[last] = words[i]
                last += np.uint64((words[i] & present) | every != 0)
        starts[k + 1] = np.int64(last)


@kernel
def _collect(
    words: Any,
    bounds: Any,
    forms: Any,
    presents: Any,
    records: Any,
    rows: Any,
    out: Any,
    starts: Any,
    ends: Any,
) -> Any:
    """Collect several kinds of object, payload by payload, so that their words stay in the cache.

    Returns the number of records, whether they are in order of time, and how many lack objects of each kind.
    """
    n, empty, before = 0, np.zeros(presents.size, np.int64), np.int64(-1)
    in_order: Any = True
    starts[:, 0] = 0
    for payload in range(ends.size):
        first = n
        n, ends[payload] = _walk(words, bounds, payload, forms[0], records, rows, n)
        for k in range(presents.size):
            _gather(words, records, rows[2], (first, n), forms[k], presents[k], out[k], starts[k])
            for i in range(first, n):
                empty[k] += starts[k, i + 1] == starts[k, i]
        for i in range(first, n):
            time = rows[0, i] * (BX_PER_ORBIT + 1) + rows[1, i]
            in_order = in_order and time > before
            before = time
    return n, in_order, empty


@kernel
def _leave_out_empty(rows: Any, starts: Any, records: Any, out: Any, out_starts: Any) -> None:
    """Copy the rows of records with objects, and where their words begin; there is room for one more."""
    n = np.uint64(0)
    for k in range(records):
        out[0, n], out[1, n], out[2, n] = rows[0, k], rows[1, k], rows[2, k]
        out_starts[n] = starts[k]
        n += np.uint64(starts[k + 1] > starts[k])
    out_starts[n] = starts[records]


@kernel
def _reorder(words: Any, starts: Any, order: Any, out: Any, out_starts: Any) -> None:
    last = 0
    for k in range(order.size):
        out_starts[k] = last
        for i in range(starts[order[k]], starts[order[k] + 1]):
            out[last] = words[i]
            last += 1
    out_starts[order.size] = last


@kernel
def _join_rows(orbit: Any, bx: Any, starts: Any, size: Any, rows: Any, offsets: Any) -> Any:
    """Make rows of crossings from records in order of time, and offsets from words; the number of rows."""
    n = 0
    for k in range(orbit.size):
        if n == 0 or orbit[k] != rows[0, n - 1] or bx[k] != rows[1, n - 1]:
            rows[0, n], rows[1, n], offsets[n] = orbit[k], bx[k], starts[k] // size
            n += 1
    offsets[n] = starts[orbit.size] // size
    return n


@dataclass(frozen=True)
class Collected:
    """Objects' words of records, which are in order of time.

    Parameters
    ----------
    words : ndarray of uint32
        Of the objects, one after the other.
    orbit, bx, payload : ndarray of int64, shape (records,)
        Of each record that has an object: `payload` counts those given to `collect`.
    starts : ndarray of int64, shape (records + 1,)
        First word of each of these records, and the end of the last.
    is_distinct : bool
        Whether all records are of different crossings.
    """

    words: NDArray[np.uint32]
    orbit: NDArray[np.int64]
    bx: NDArray[np.int64]
    payload: NDArray[np.int64]
    starts: NDArray[np.int64]
    is_distinct: bool

    def batch(self, columns: Mapping[str, NDArray[Any]], object_words: int = 1) -> OrbitBatch:
        """Make a batch of columns, which have a value for each object of `object_words` words."""
        if self.is_distinct and object_words == 1:
            return OrbitBatch(self.orbit, self.bx, self.starts, columns)
        n = self.orbit.size
        rows, offsets = np.empty((2, n), np.int64), np.empty(n + 1, np.int64)
        n = int(_join_rows(self.orbit, self.bx, self.starts, object_words, rows, offsets))
        return OrbitBatch(rows[0, :n], rows[1, :n], offsets[: n + 1], columns)

    def in_time(self) -> "Collected":
        """Return the records in order of time; those of a crossing stay as they are."""
        order = np.argsort(order_of_time(self.orbit, self.bx), kind="stable")
        words, starts = np.empty_like(self.words), np.empty_like(self.starts)
        _reorder(self.words, self.starts, order, words, starts)
        orbit, bx, payload = self.orbit[order], self.bx[order], self.payload[order]
        return Collected(words, orbit, bx, payload, starts, is_distinct=False)


_MEMORY = local()
_MAX_KEPT = 1 << 22


def _scratch(size: int, kind: type[np.generic]) -> NDArray[Any]:
    """Return memory that the thread's next call for this type gives again.

    New pages of memory take as much time as the decoding.
    """
    if size > _MAX_KEPT:
        return np.empty(size, kind)
    kept = getattr(_MEMORY, kind.__name__, None)
    if kept is None or kept.size < size:
        kept = np.empty(min(2 * size, _MAX_KEPT), kind)
        setattr(_MEMORY, kind.__name__, kept)
    return np.asarray(kept[:size])


def collect(
    words: NDArray[np.uint32],
    bounds: NDArray[np.int64],
    forms: Sequence[Sequence[RecordForm]],
    present: Sequence[int],
) -> tuple[list[Collected], NDArray[np.int64]]:
    """Copy the words of one or more kinds of object in records.

    Parameters
    ----------
    words, bounds
        See `formats.stream.Stream.decode`.
    forms : sequence of sequences of RecordForm
        For each kind of object, the form of each payload's records. Kinds of object differ in `objects_at`
        and `max_objects` only: they are in the same records.
    present : sequence of int
        For each kind, bits that are all 0 in a word without an object; 0 if every word counts.

    Returns
    -------
    found : list of Collected
        Of each kind, in each payload up to the first record that makes no sense. The words are valid until
        the next call in this thread.
    ends : ndarray of int64, shape (payloads,)
        Word up to which each payload could be read.
    """
    kinds = len(present)
    table = np.array([form.row for some in forms for form in some], np.uint64).reshape(kinds, -1, 11)
    shortest = min((form.fixed_words or form.objects_at[0] for form in forms[0]), default=1)
    most, ends = words.size // shortest + 1, np.empty(bounds.size - 1, np.int64)
    largest = max((form.max_objects * form.object_words for some in forms for form in some), default=0)
    room = min(words.size, most * largest) + 8
    out = _scratch(kinds * room, np.uint32).reshape(kinds, room)
    records, rows = _scratch(2 * most, np.uint64).reshape(2, most), np.empty((3, most), np.int64)
    starts, presents = np.empty((kinds, most + 1), np.int64), np.array(present, np.uint32)
    n, in_order, empty = _collect(words, bounds, table, presents, records, rows, out, starts, ends)
    found = []
    for k, n_empty in enumerate(empty.tolist()):
        of_records, begins = rows[:, :n], starts[k, : n + 1]
        if n_empty:
            kept = n - n_empty
            of_records, begins = np.empty((3, kept + 1), np.int64), np.empty(kept + 2, np.int64)
            _leave_out_empty(rows, starts[k], n, of_records, begins)
            of_records, begins = of_records[:, :kept], begins[: kept + 1]
        orbit, bx, payload = of_records
        found.append(Collected(out[k, : begins[-1]], orbit, bx, payload, begins, bool(in_order)))
    return found if in_order else [one.in_time() for one in found], ends


def write_records(
    objects: OrbitBatch, form: RecordForm, words: Mapping[int, NDArray[Any]]
) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Write a record for each crossing: the inverse of `collect`.

    Parameters
    ----------
    objects : OrbitBatch
        Tells the crossings, and the number of objects in each.
    form : RecordForm
    words : mapping of int to ndarray, each of shape (objects,)
        32-bit words of the objects, by their place in an object.

    Returns
    -------
    words, starts
        See `formats.stream.Stream.encode`.

    Raises
    ------
    ValueError
        If a crossing has more objects than a record can hold.
    """
    counts = objects.counts
    if counts.max(initial=0) > form.max_objects:
        row = int(np.argmax(counts))
        msg = (
            f"BX {objects.bx[row]} of orbit {objects.orbit[row]} has {counts[row]} objects, "
            f"but a record holds {form.max_objects}"
        )
        raise ValueError(msg)
    sizes = form.objects_at[0] + form.object_words * counts if form.count_mask else None
    sizes = np.full(counts.size, form.fixed_words) if sizes is None else sizes
    starts = np.r_[0, np.cumsum(sizes)].astype(np.int64)
    made = np.zeros(starts[-1], np.uint32)
    if form.count_mask:
        made[starts[:-1]] = form.head | counts
    made[starts[:-1] + form.bx_at] = objects.bx
    made[starts[:-1] + form.bx_at + 1] = objects.orbit & ORBIT_MASK
    rank = np.arange(objects.n_objects) - objects.offsets[objects.row]
    at = starts[objects.row] + form.places[rank]
    for place, values in words.items():
        made[at + place] = values
    return made, starts
