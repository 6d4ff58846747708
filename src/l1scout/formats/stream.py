"""Streams: what kinds of object scouting records, one module each in `formats.streams`."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from l1scout.core.joint_rows import joint_rows, on_rows
from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.registry import Registry
from l1scout.formats.decoded import Decoded, join_epochs
from l1scout.formats.layout import Field, Layout
from l1scout.formats.nano_table import NanoTable
from l1scout.formats.payloads import Payloads


class Stream(ABC):
    """Objects of one kind: how they are written, and how they become columns.

    An orbit's objects lie in the payload of a frame in a ``.raw`` file (`formats.raw`), behind the source id
    that says which stream it is. Payloads are little-endian 32-bit words.

    Attributes
    ----------
    name : str
        Name of the stream in `core.orbit_data.OrbitData.streams`, and of its module.
    title : str
        Short description for people.
    source_ids : sequence of int
        Source ids of its frames; several streams may share one.
    layouts : mapping of str to tuple of Layout
        Words of an object, and of what else its records hold, by era such as "Run 3".
    absent : str
        Condition under which a word holds no object, for the documentation; empty if every word holds one.
    records : mapping of str to numpy type
        Records, or their parts, that are not made of bit fields, by title: for the documentation.
    nano : NanoTable, optional
        Table of its objects in L1 scouting nano files; without it there is none.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    source_ids: ClassVar[Sequence[int]]
    layouts: ClassVar[Mapping[str, tuple[Layout, ...]]]
    absent: ClassVar[str]
    records: ClassVar[Mapping[str, np.dtype[Any]]] = {}
    nano: ClassVar[NanoTable | None] = None

    @abstractmethod
    def decode(
        self, words: NDArray[np.uint32], bounds: NDArray[np.int64], sources: NDArray[np.int64]
    ) -> tuple[Decoded, NDArray[np.int64]]:
        """Decode the payloads of frames, each up to the first record that makes no sense.

        Parameters
        ----------
        words : ndarray of uint32
            Payloads without source id, one after the other.
        bounds : ndarray of int64, shape (payloads + 1,)
            Word at which each begins, and the end of the last.
        sources : ndarray of int64, shape (payloads,)
            Source id of each: it may tell the form of the records, or a part of the detector.

        Returns
        -------
        decoded : Decoded
        ends : ndarray of int64, shape (payloads,)
            Word up to which each payload could be read.
        """

    def decode_with(
        self,
        streams: "Sequence[Stream]",
        payloads: Payloads,
        columns: Mapping[str, Collection[str]],
    ) -> "dict[str, tuple[Decoded, NDArray[np.int64]]]":
        """Decode payloads for this stream, and for those of `streams` that are faster decoded with it.

        See `decode_streams`. By default, streams are decoded one after the other, by `decode`.
        """
        del streams
        ends, parts = payloads.spans[1].copy(), dict[int, Decoded]()
        for base in set(payloads.bases.tolist()) or {0}:
            own = payloads.bases == base
            some = payloads.select(own)
            parts[base], stops = self.decode(*some.joined(), some.sources)
            sizes = some.spans[1] - some.spans[0]
            ends[own] = some.spans[1] - (np.cumsum(sizes) - stops)
        found = join_epochs(parts)
        if (wanted := columns.get(self.name)) is not None:
            chosen = {n: c for n, c in found.objects.columns.items() if n in wanted}
            found = replace(found, objects=replace(found.objects, columns=chosen))
        return {self.name: (found, ends)}

    @abstractmethod
    def encode(
        self, objects: OrbitBatch, source: int | None = None
    ) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """Write the records of a batch: the inverse of `decode`.

        Each crossing gets a record, even one without objects, so that the records of streams that share a
        source id can be combined (`encode_source`). `decode` gives no crossing for a record without objects.

        Parameters
        ----------
        objects : OrbitBatch
            Hardware columns, as `decode` gives them.
        source : int, optional
            Source id whose form of records is wanted; without it, the stream chooses one. Where a source
            stands for a part of the detector, only the objects of that part are written, and only crossings
            with any get a record.

        Returns
        -------
        words : ndarray of uint32
        starts : ndarray of int64, shape (rows + 1,)
            Word at which the record of each crossing begins, and their end.

        Raises
        ------
        ValueError
            If a value does not fit its field, or a crossing has more objects than a record can hold.
        """

    def physics(self, columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return physics values of hardware columns, by default of those whose field has a scale.

        ``hwPt`` gives ``pt``, ``hwEta`` gives ``eta``, and so on: float32, NaN where a value is absent.
        Objects with ``pt`` and ``mass`` (GeV), ``eta`` and ``phi`` (rad) become Lorentz vectors in
        `l1scout.Data.to_awkward`.
        """
        return {
            name[2].lower() + name[3:]: field.to_physical(columns[name]).astype(np.float32)
            for name, field in self.fields.items()
            if name in columns and name.startswith("hw") and field.scale is not None
        }

    @property
    def fields(self) -> dict[str, Field]:
        """Fields of all layouts by name: where a column comes from, its range and its scale."""
        return {field.name: field for era in self.layouts.values() for word in era for field in word.fields}

    def empty(self) -> OrbitBatch:
        """Return a batch without objects, with the columns that `decode` gives and their types."""
        nothing = np.zeros(0, np.uint32), np.zeros(1, np.int64), np.zeros(0, np.int64)
        return self.decode(*nothing)[0].objects

    def sources(self, objects: OrbitBatch) -> Sequence[int]:
        """Return the source ids with which `encode` writes all of a batch, by default the first one."""
        del objects
        return self.source_ids[:1]

    def orbit_word(self, source: int) -> int:
        """Return which word of a source's record holds the orbit number, by which frames are checked."""
        del source
        return 2

    def counts(self, objects: OrbitBatch) -> dict[str, int]:
        """Count objects by kind: the stream's own, and kinds that are counted apart from them."""
        return {self.name: objects.n_objects}


STREAMS: Registry[Stream] = Registry("streams", "l1scout.formats.streams", lambda: Stream)
"""Streams by name; other packages add theirs as entry points of the group ``l1scout.streams``."""


def streams_of_sources(sources: Iterable[int]) -> list[Stream]:
    """Return the streams whose objects are in frames with any of these source ids."""
    wanted = set(sources)
    return [stream for stream in STREAMS.values() if not wanted.isdisjoint(stream.source_ids)]


def decode_streams(
    streams: Sequence[Stream], payloads: Payloads, columns: Mapping[str, Collection[str]] | None = None
) -> dict[str, tuple[Decoded, NDArray[np.int64]]]:
    """Decode the objects of several streams in payloads, which are of source ids that all of them have.

    It gives what `Stream.decode` gives for each, by name, and is faster where they are in the same records.

    Parameters
    ----------
    streams : sequence of Stream
    payloads : Payloads
    columns : mapping of str to collection of str, optional
        Columns that are wanted, by stream; all of a stream that is not named. Fewer are faster. Names that a
        stream does not have are ignored.
    """
    found: dict[str, tuple[Decoded, NDArray[np.int64]]] = {}
    for stream in streams:
        if stream.name not in found:
            left = [other for other in streams if other.name not in found]
            found |= stream.decode_with(left, payloads, columns or {})
    return found


def encode_source(
    batches: Mapping[str, OrbitBatch], source: int
) -> tuple[NDArray[np.uint32], OrbitBatch, NDArray[np.int64]]:
    """Write the records of one source id, with the objects of all its streams.

    Streams that share a source id have their objects in different words of the same record.

    Parameters
    ----------
    batches : mapping of str to OrbitBatch
        Objects by stream. Streams of other sources are ignored; missing ones have no objects.
    source : int

    Returns
    -------
    words : ndarray of uint32
    crossings : OrbitBatch
        The crossings that have a record, in order of time, without objects.
    starts : ndarray of int64, shape (crossings + 1,)
        Word at which the record of each crossing begins, and their end.

    Raises
    ------
    ValueError
        As `Stream.encode`; or if no given stream has this source.
    """
    own = [(s, batches[s.name]) for s in streams_of_sources([source]) if s.name in batches]
    if not own:
        msg = f"source id {source} belongs to none of the streams {', '.join(batches) or '(none given)'}"
        raise ValueError(msg)
    crossings = joint_rows([batch for _, batch in own])
    words, starts = np.zeros(0, np.uint32), np.zeros(1, np.int64)
    for n, (stream, batch) in enumerate(own):
        part, starts = stream.encode(on_rows(batch, crossings), source)
        words = words | part if n else part
    return words, crossings, starts


def add_counts(total: dict[str, int], counts: Mapping[str, int]) -> None:
    """Add numbers by name to a total, in place."""
    for name, n in counts.items():
        total[name] = total.get(name, 0) + n
