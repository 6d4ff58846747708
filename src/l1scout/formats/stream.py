"""Streams: what kinds of object scouting records, one module each in `formats.streams`."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.registry import Registry
from l1scout.formats.decoded import Decoded
from l1scout.formats.layout import Layout


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
        Condition under which a word holds no object, for the documentation.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    source_ids: ClassVar[Sequence[int]]
    layouts: ClassVar[Mapping[str, tuple[Layout, ...]]]
    absent: ClassVar[str]

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

    @abstractmethod
    def encode(
        self, objects: OrbitBatch, source: int | None = None
    ) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """Write the records of a batch, one for each crossing: the inverse of `decode`.

        Parameters
        ----------
        objects : OrbitBatch
            Hardware columns, as `decode` gives them.
        source : int, optional
            Source id whose form of records is wanted; without it, the stream chooses one.

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
        """Return physics values of hardware columns, by default none.

        Objects with ``pt`` and ``mass`` (GeV), ``eta`` and ``phi`` (rad) become Lorentz vectors in
        `l1scout.Data.to_awkward`.
        """
        del columns
        return {}

    def counts(self, objects: OrbitBatch) -> dict[str, int]:
        """Count objects by kind: the stream's own, and kinds that are counted apart from them."""
        return {self.name: objects.n_objects}


STREAMS: Registry[Stream] = Registry("streams", "l1scout.formats.streams", lambda: Stream)
"""Streams by name; other packages add theirs as entry points of the group ``l1scout.streams``."""


def streams_of_sources(sources: Iterable[int]) -> list[Stream]:
    """Return the streams whose objects are in frames with any of these source ids."""
    wanted = set(sources)
    return [stream for stream in STREAMS.values() if not wanted.isdisjoint(stream.source_ids)]


def add_counts(total: dict[str, int], counts: Mapping[str, int]) -> None:
    """Add numbers by name to a total, in place."""
    for name, n in counts.items():
        total[name] = total.get(name, 0) + n
