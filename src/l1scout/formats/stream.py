"""Streams: what kinds of object scouting records, one module each in `formats.streams`."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

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
        Of the stream in `core.orbit_data.OrbitData.streams`, and of its module.
    title : str
        A few words for people.
    source_ids : range
        Source ids of its frames.
    layouts : mapping of str to tuple of Layout
        Words of an object by era, such as "Run 3".
    absent : str
        When a word holds no object.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    source_ids: ClassVar[range]
    layouts: ClassVar[Mapping[str, tuple[Layout, ...]]]
    absent: ClassVar[str]

    @abstractmethod
    def decode(
        self, words: NDArray[np.uint32], bounds: NDArray[np.int64]
    ) -> tuple[Decoded, NDArray[np.int64]]:
        """Decode the payloads of frames, each up to the first record that makes no sense.

        Parameters
        ----------
        words : ndarray of uint32
            Payloads without source id, one after the other.
        bounds : ndarray of int64, shape (payloads + 1,)
            Word at which each begins, and the end of the last.

        Returns
        -------
        decoded : Decoded
        ends : ndarray of int64, shape (payloads,)
            Word up to which each payload could be read.
        """

    @abstractmethod
    def encode(self, objects: OrbitBatch) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """Write the records of a batch, one for each crossing: the inverse of `decode`.

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

    def counts(self, objects: OrbitBatch) -> dict[str, int]:
        """Count objects by kind: the stream's own, and kinds that are counted apart from them."""
        return {self.name: objects.n_objects}


STREAMS: Registry[Stream] = Registry("streams", "l1scout.formats.streams")
"""Streams by name; other packages add theirs as entry points of the group ``l1scout.streams``."""


def stream_of_source(source: int) -> Stream | None:
    """Return the stream whose frames have this source id; None if it is unknown."""
    return next((stream for stream in STREAMS.values() if source in stream.source_ids), None)


def add_counts(total: dict[str, int], counts: Mapping[str, int]) -> None:
    """Add numbers by name to a total, in place."""
    for name, n in counts.items():
        total[name] = total.get(name, 0) + n
