"""Payloads of frames: the words in which streams find their records."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Payloads:
    """Payloads of frames, in one row of words.

    Parameters
    ----------
    words : ndarray of uint32
        Little-endian.
    spans : ndarray of int64, shape (2, payloads)
        Word at which each begins, without the source id, and its end.
    sources : ndarray of int64, shape (payloads,)
        Source id of each.
    bases : ndarray of int64, shape (payloads,)
        First orbit of the epoch of each: what is added to the orbits that its records state.
    """

    words: NDArray[np.uint32]
    spans: NDArray[np.int64]
    sources: NDArray[np.int64]
    bases: NDArray[np.int64]

    @classmethod
    def of(
        cls, words: NDArray[np.uint32], bounds: NDArray[np.int64], sources: NDArray[np.int64]
    ) -> "Payloads":
        """Make payloads that follow each other: see `formats.stream.Stream.decode`."""
        spans = np.empty((2, bounds.size - 1), np.int64)
        spans[0], spans[1] = bounds[:-1], bounds[1:]
        return cls(words, spans, sources, np.zeros(sources.size, np.int64))

    @cached_property
    def size(self) -> int:
        """Words of all payloads."""
        return int(self.spans[1].sum() - self.spans[0].sum())

    @property
    def largest(self) -> int:
        """Words of the largest one."""
        return int((self.spans[1] - self.spans[0]).max(initial=0))

    def select(self, which: NDArray[np.bool_]) -> "Payloads":
        """Return some of them."""
        return Payloads(self.words, self.spans[:, which], self.sources[which], self.bases[which])

    def joined(self) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """Return words of these payloads alone, one after the other, and their bounds."""
        first, end = self.spans
        if first.size and np.array_equal(first[1:], end[:-1]):
            return self.words[first[0] : end[-1]], np.r_[first, end[-1]] - first[0]
        parts = [self.words[a:b] for a, b in self.spans.T.tolist()]
        return np.concatenate([self.words[:0], *parts]), np.r_[0, np.cumsum(end - first)]
