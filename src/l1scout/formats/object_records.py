"""Records of crossings with objects of one or more words: how they are found, read and written.

A record is of one crossing: a header with the number of its objects, the BX word, the orbit word, and then
the objects; or it has a fixed length, and its objects have places of their own. Muons have records of another
kind (`formats.records`).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.formats import object_kernels
from l1scout.formats.decoded import batch_of_records
from l1scout.formats.lanes import SOME
from l1scout.formats.layout import Layout
from l1scout.formats.payloads import Payloads
from l1scout.formats.record_kernels import IN_ORDER
from l1scout.formats.records import ORBIT_MASK
from l1scout.formats.reused_memory import arrays_in_one_block


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
    def frame(self) -> tuple[int, ...]:
        """What records have in common that differ in the kind of their objects."""
        return self.count_mask, self.bx_at, self.fixed_words, self.head, self.head_mask

    @property
    def places(self) -> NDArray[np.int64]:
        """Places of the first words of the objects, as many as there can be."""
        group = self.max_objects // len(self.objects_at)
        return np.concatenate([at + self.object_words * np.arange(group) for at in self.objects_at])


@dataclass(frozen=True)
class ObjectTable:
    """How the words of objects become columns, of int16.

    Parameters
    ----------
    layouts : tuple of Layout
        Of each word of 32 bits, or of each two of 64.
    present : int
        Bits of which an object has one, in any word; 0 if every object counts.
    unused : tuple of str
        Fields that are no columns.
    added : mapping of str to int
        What a column is more than its field.
    composed : mapping of str to tuple of str
        Columns whose bits are those of several fields, lowest first; the fields are no columns.
    part : tuple of str and int, optional
        Column of the part of the detector: source id minus this number.
    first : tuple of str, int and int, optional
        Column that is 1 for the first object of its record with such bits and 0 for others; lowest of the
        bits, and their number (6 at most). Like `part`, it is for objects of several words.
    keep_words : bool
        Whether the words of the objects are wanted.
    """

    layouts: tuple[Layout, ...] = ()
    present: int = 0
    unused: tuple[str, ...] = ()
    added: Mapping[str, int] = field(default_factory=dict)
    composed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    part: tuple[str, int] | None = None
    first: tuple[str, int, int] | None = None
    keep_words: bool = False

    @cached_property
    def _chosen(self) -> dict[tuple[str, ...] | None, "ChosenColumns"]:
        return {}

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns, in order."""
        parts = {name for names in self.composed.values() for name in names}
        fields = [f.name for word in self.layouts for f in word.fields]
        rest = [column[0] for column in (self.part, self.first) if column]
        hidden = parts.union(self.unused)
        return (*(name for name in fields if name not in hidden), *self.composed, *rest)

    def choose(self, names: Collection[str] | None) -> "ChosenColumns":
        """Return the tables for some columns, or all; names that are none of its columns are ignored."""
        key = None if names is None else tuple(names)
        if key not in self._chosen:
            every = self.columns
            self._chosen[key] = self._tables(every if key is None else [n for n in every if n in key])
        return self._chosen[key]

    def _tables(self, names: Sequence[str]) -> "ChosenColumns":
        wanted = [part for name in names for part in self.composed.get(name, (name,))]
        rows, cut, bit = list[tuple[int, ...]](), list[str](), 0
        for word in self.layouts:
            for f in word.fields:
                if f.name in wanted:
                    if f.low < -(1 << 15) or f.high + self.added.get(f.name, 0) >= 1 << 15:
                        msg = f"{word.name}.{f.name} is too wide for a column of int16"
                        raise ValueError(msg)
                    at, start = divmod(bit + f.start, 32)
                    rows.append((at, start, f.width, f.signed, self.added.get(f.name, 0)))
                    cut.append(f.name)
            bit += word.bits
        others = tuple(None if c is None or c[0] not in wanted else c[0] for c in (self.part, self.first))
        return ChosenColumns(self, tuple(names), (*cut, *others), np.array(rows, np.int64).reshape(-1, 5))


@dataclass(frozen=True)
class ChosenColumns:
    """Some columns of a table: `names`, what is to be written for them, and the cuts for the kernels.

    The last two of `written` are not cut from words, and may be None.
    """

    table: ObjectTable
    names: tuple[str, ...]
    written: tuple[str | None, ...]
    cuts: NDArray[np.int64]

    def kind(self, object_words: int, first_cut: int) -> tuple[int, ...]:
        """Return a row of the table of kinds."""
        table, n, places = self.table, len(self.cuts), list[int]()
        for name in self.written[-2:]:
            places.append(-1 if name is None else n)
            n += name is not None
        word, bit = divmod(table.first[1], 32) if table.first else (0, 0)
        mask = (1 << table.first[2]) - 1 if table.first else 0
        ends = first_cut, first_cut + len(self.cuts)
        return (table.present, object_words, table.keep_words, *ends, *places, word, bit, mask)

    @cached_property
    def composed(self) -> list[tuple[str, list[tuple[str, int]]]]:
        """Columns that are made of several, and these with the bit at which each begins."""
        width = {f.name: f.width for word in self.table.layouts for f in word.fields}
        made = []
        for name, parts in self.table.composed.items():
            shifts = np.cumsum([0, *(width[part] for part in parts)]).tolist()
            made += [(name, list(zip(parts, shifts, strict=False)))] if name in self.names else []
        return made

    def made(self, values: NDArray[np.int16], room: int, at: int, n: int) -> dict[str, NDArray[np.int16]]:
        """Return the columns, of `n` objects, that were written from `at` on."""
        written = {}
        for name in self.written:
            if name is not None:
                written[name] = values[at : at + n]
                at += room
        for name, parts in self.composed:
            value = written[parts[0][0]]
            for part, shift in parts[1:]:
                value = value | (written[part] << shift)
            written[name] = value
        return {name: written[name] for name in self.names}


@dataclass(frozen=True)
class DecodingPlan:
    """What is to be decoded in records: kinds of object that are in the same ones.

    Parameters
    ----------
    kinds : sequence of ChosenColumns
    forms : sequence of sequences of RecordForm
        For each kind of object, the forms that its records have. Kinds of object differ in `objects_at` and
        `max_objects` only.
    """

    kinds: Sequence[ChosenColumns]
    forms: Sequence[Sequence[RecordForm]]

    @cached_property
    def object_words(self) -> list[int]:
        """Words of an object, by kind."""
        return [of_kind[0].object_words for of_kind in self.forms]

    @cached_property
    def shortest(self) -> int:
        """Words of a record at least."""
        return min(form.fixed_words or form.objects_at[0] for form in self.forms[0])

    @cached_property
    def most(self) -> list[int]:
        """Objects in a record at most, by kind."""
        return [max(form.max_objects for form in of_kind) for of_kind in self.forms]

    @cached_property
    def tables(self) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64]]:
        """Tables of forms, kinds and cuts for the kernels."""
        forms = np.array([[form.row for form in of_kind] for of_kind in self.forms], np.uint64)
        ends = np.cumsum([0, *(len(kind.cuts) for kind in self.kinds)]).tolist()
        rows = [k.kind(size, at) for k, size, at in zip(self.kinds, self.object_words, ends, strict=False)]
        return forms, np.array(rows, np.int64), np.concatenate([kind.cuts for kind in self.kinds])

    def places(self, words: int, records: int) -> list[tuple[int, int]]:
        """Return where the columns of each kind begin and the room of one; and where the last ones end.

        There is room for as many objects as the words and records can have, and for what kernels write
        beyond.
        """
        places, at = list[tuple[int, int]](), 0
        for kind, size, most in zip(self.kinds, self.object_words, self.most, strict=True):
            room = min(words // size, records * most) + 2 * SOME
            places.append((at, room))
            at += room * (len(kind.cuts) + sum(name is not None for name in kind.written[-2:]))
        return [*places, (at, 0)]


@dataclass(frozen=True)
class FoundObjects:
    """Objects in records: where they were, their columns and, if they were wanted, their words.

    Parameters
    ----------
    orbit, bx : ndarray of int64, shape (crossings,)
    offsets : ndarray of int64, shape (crossings + 1,)
    columns : mapping of str to ndarray of int16, shape (objects,)
    words : ndarray of uint32, shape (words of an object, objects)
        Without any values if they were not wanted.
    in_order : bool
        Whether the crossings are in order of time, each once.
    """

    orbit: NDArray[np.int64]
    bx: NDArray[np.int64]
    offsets: NDArray[np.int64]
    columns: Mapping[str, NDArray[Any]]
    words: NDArray[np.uint32]
    in_order: bool

    def batch(self, columns: Mapping[str, NDArray[Any]] | None = None) -> OrbitBatch:
        """Make a batch, with other columns if they are given."""
        columns = self.columns if columns is None else columns
        if self.in_order:
            rows = {"orbit": self.orbit, "bx": self.bx, "offsets": self.offsets}
            return OrbitBatch.of_decoder(rows, columns)
        return batch_of_records(self.orbit, self.bx, np.diff(self.offsets), columns)


_GROUP_WORDS = 1 << 18
"""Words of payloads whose records are brought in order together, at most, but for a single larger one."""


def decode_objects(
    payloads: Payloads, plan: DecodingPlan, number: NDArray[np.int64]
) -> tuple[list[FoundObjects], NDArray[np.int64]]:
    """Decode one or more kinds of object in records.

    Parameters
    ----------
    payloads : Payloads
        Fastest where successive ones of an orbit are beside each other.
    plan : DecodingPlan
    number : ndarray of int64, shape (payloads,)
        Which of the plan's forms the records of each payload have.

    Returns
    -------
    found : list of FoundObjects
        Of each kind, in each payload up to the first record that makes no sense.
    ends : ndarray of int64, shape (payloads,)
        Word up to which each payload could be read.
    """
    total, kinds, sizes = payloads.size, plan.kinds, plan.object_words
    most, (forms, table, cuts) = total // plan.shortest + 1, plan.tables
    places = plan.places(total, most)
    padding, part = 2 * SOME * max(sizes), kinds[0].table.part
    out, rows, kept = arrays_in_one_block(
        [
            ((places[-1][0],), np.int16),
            ((len(kinds), 3, most + 1), np.int64),
            ((total + padding if kinds[0].table.keep_words else 0,), np.uint32),
        ]
    )
    group = min(total, max(_GROUP_WORDS, payloads.largest))
    held = max((group // size + 2 * SOME) * object_kernels.rows_of_words(size) for size in sizes)
    scratch, records = arrays_in_one_block(
        [((held,), np.uint32), ((2, 6, group // plan.shortest + 1), np.int64)]
    )
    counts = np.zeros((len(kinds), 3), np.int64)
    counts[:, IN_ORDER] = 1
    ends, parts = np.empty(number.size, np.int64), payloads.sources - (part[1] if part else 0)
    object_kernels.decode_payloads(
        *(payloads.words, payloads.spans, payloads.bases, parts, number, forms, table, cuts),
        *(np.array(places, np.int64), group, records, scratch, kept, out, rows, counts, ends),
    )
    found = []
    for k, (kind, (n, objects, in_order)) in enumerate(zip(kinds, counts.tolist(), strict=True)):
        columns = kind.made(out, places[k][1], places[k][0], objects)
        words = kept[: kept.size // sizes[k] * sizes[k]].reshape(sizes[k], -1)[:, :objects]
        orbit, bx, offsets = rows[k, 0, :n], rows[k, 1, :n], rows[k, 2, : n + 1]
        found.append(FoundObjects(orbit, bx, offsets, columns, words, bool(in_order)))
    return found, ends


def write_records(
    objects: OrbitBatch, form: RecordForm, words: Mapping[int, NDArray[Any]]
) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Write a record for each crossing: the inverse of `decode_objects`.

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
