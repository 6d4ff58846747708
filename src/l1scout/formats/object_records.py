"""Records of crossings with objects of one or two words: how they are found, read and written.

A record is of one crossing: a header with the number of its objects, the BX word, the orbit word, and then
the objects; or it has a fixed length, and its objects have places of their own. Muons have records of another
kind (`formats.records`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.formats.decoded import batch_of_records
from l1scout.formats.lanes import copy_8, ones
from l1scout.formats.records import ORBIT_MASK
from l1scout.jit import kernel
from l1scout.lhc import BX_PER_ORBIT


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

    @property
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
def _walk(words: Any, bounds: Any, forms: Any, records: Any, ends: Any) -> Any:
    """Walk from record to record while they make sense; their number.

    records (3, n): first word of each, words of its first group of objects, and payload. Places are of 64
    bits without sign, here and below: then numba looks for no negative ones.
    """
    n = 0
    for k in range(ends.size):
        count_mask, most, size = forms[k, 0], forms[k, 1], forms[k, 2]
        bx_at, length, first, group = forms[k, 3], forms[k, 4], forms[k, 5], forms[k, 7]
        head, head_mask = np.uint32(forms[k, 9]), np.uint32(forms[k, 10])
        at, end = np.uint64(bounds[k]), np.uint64(bounds[k + 1])
        while at + first <= end:
            header, bx = words[at], words[at + bx_at]
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
            records[0, n], records[1, n], records[2, n] = at, group, k
            n += 1
            at += length
        ends[k] = np.int64(at)
    return n


@kernel
def _gather(words: Any, records: Any, forms: Any, present: Any, out: Any, rows: Any, starts: Any) -> Any:
    """Copy the objects' words of records, of which each must have any bit of `present`, or all if it is 0.

    `out` is written up to eight words beyond the last. rows (3, n): orbit, BX and payload. Returns the number
    of records with objects, and whether they are in order of time.
    """
    eight, one, nothing, room = np.uint64(8), np.uint64(1), np.uint64(0), np.uint64(words.size)
    every = np.uint32(0xFFFFFFFF) if present == 0 else np.uint32(0)
    n, last, before = 0, nothing, np.int64(-1)
    in_order: Any = True
    starts[0] = 0
    for k in range(records.shape[1]):
        at, payload = records[0, k], records[2, k]
        bx_at, second = forms[payload, 3], forms[payload, 6]
        first, left = at + forms[payload, 5], records[1, k]
        for part in range(2):
            if part == 1:
                first, left = at + second, forms[payload, 8]
            while left != nothing:
                some = left if left < eight else eight
                is_copied = False
                if first + eight <= room:
                    bits = copy_8(words, first, out, last, present) | every
                    bits &= np.uint32((one << some) - one)
                    if bits & (bits + np.uint32(1)) == 0:  # the trigger puts objects first, and then nothing
                        last += np.uint64(ones(bits))
                        is_copied = True
                if not is_copied:
                    for i in range(some):
                        word = words[first + np.uint64(i)]
                        out[last] = word
                        last += np.uint64((word & present) | every != 0)
                first += some
                left -= some
        if np.int64(last) > starts[n]:
            bx, orbit = words[at + bx_at], words[at + bx_at + one] & np.uint32(ORBIT_MASK)
            time = np.int64(orbit) * (BX_PER_ORBIT + 1) + np.int64(bx)
            in_order &= time > before
            before = time
            rows[0, n], rows[1, n], rows[2, n] = orbit, bx, payload
            n += 1
            starts[n] = np.int64(last)
    return n, in_order


@dataclass(frozen=True)
class Collected:
    """Objects' words of records.

    Parameters
    ----------
    words : ndarray of uint32
        Of the objects, one after the other.
    orbit, bx, payload : ndarray of int64, shape (records,)
        Of each record that has an object: `payload` counts those given to `collect`.
    starts : ndarray of int64, shape (records + 1,)
        First word of each of these records, and the end of the last.
    in_order : bool
        Whether the records are in order of time, and of different crossings.
    """

    words: NDArray[np.uint32]
    orbit: NDArray[np.int64]
    bx: NDArray[np.int64]
    payload: NDArray[np.int64]
    starts: NDArray[np.int64]
    in_order: bool

    def batch(self, columns: Mapping[str, NDArray[Any]], object_words: int = 1) -> OrbitBatch:
        """Make a batch of columns, which have a value for each object of `object_words` words."""
        starts = self.starts if object_words == 1 else self.starts // object_words
        if self.in_order:
            return OrbitBatch(self.orbit, self.bx, starts, columns)
        return batch_of_records(self.orbit, self.bx, np.diff(starts), columns)


def collect(
    words: NDArray[np.uint32], bounds: NDArray[np.int64], forms: Sequence[RecordForm], present: int = 0
) -> tuple[Collected, NDArray[np.int64]]:
    """Copy the objects' words of records, in each payload up to the first record that makes no sense.

    Parameters
    ----------
    words, bounds
        See `formats.stream.Stream.decode`.
    forms : sequence of RecordForm, one for each payload
    present : int
        Bits that are all 0 in a word without an object; 0 if every word counts.

    Returns
    -------
    found : Collected
    ends : ndarray of int64, shape (payloads,)
        Word up to which each payload could be read.
    """
    table = np.array([form.row for form in forms], np.uint64).reshape(-1, 11)
    shortest = min((form.fixed_words or form.objects_at[0] for form in forms), default=1)
    records, ends = np.empty((3, words.size // shortest + 1), np.uint64), np.empty(len(forms), np.int64)
    records = records[:, : int(_walk(words, bounds, table, records, ends))]
    rows, starts = np.empty((3, records.shape[1]), np.int64), np.empty(records.shape[1] + 1, np.int64)
    out = np.empty(words.size + 8, np.uint32)
    n, in_order = _gather(words, records, table, np.uint32(present), out, rows, starts)
    n = int(n)
    orbit, bx, payload = rows[:, :n]
    return Collected(out[: starts[n]], orbit, bx, payload, starts[: n + 1], bool(in_order)), ends


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
