"""The domain of a model as a line: every possible hardware input has a place on it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.errors import InputError
from l1scout.model.card import Card

ORDER = ("hwPt", "hwEtaAtVtx", "hwEta", "hwCharge", "hwPhiAtVtx", "hwPhi")
"""Slowest first: most muons have small pT, so that the answers they need lie together."""
_CHUNK = 1 << 17


@dataclass(frozen=True)
class Domain:
    """All hardware inputs of a model, in the order of its card's inputs.

    Parameters
    ----------
    names : tuple of str
    low, high : tuple of int
        Smallest and largest value of each, within int16 and not at its ends.
    stride : tuple of int
        Places on the line from one value of an input to its next.
    """

    names: tuple[str, ...]
    low: tuple[int, ...]
    high: tuple[int, ...]
    stride: tuple[int, ...]

    @classmethod
    def of(cls, card: Card) -> "Domain":
        """Domain of a card.

        Raises
        ------
        InputError
            If it has values that are no hardware values of at most 15 bits.
        """
        names = tuple(q.name for q in card.inputs)
        low, high = zip(*(card.domain[n] for n in names), strict=True)
        if min(low) <= -(1 << 15) or max(high) >= (1 << 15) - 1:
            msg = f"model {card.name}: its domain goes beyond 15-bit hardware values; repair its card"
            raise InputError(msg)
        return cls.between(names, low, high)

    @classmethod
    def between(cls, names: tuple[str, ...], low: tuple[int, ...], high: tuple[int, ...]) -> "Domain":
        """Domain of all values from `low` to `high`, both included."""
        stride, step = [0] * len(names), 1
        for k in sorted(range(len(names)), key=lambda k: -_rank(names[k])):
            stride[k] = step
            step *= high[k] - low[k] + 1
        return cls(names, low, high, tuple(stride))

    def fixed(self, inputs: NDArray[np.bool_]) -> "Domain":
        """Return the part of it where some inputs stay at their lowest value."""
        high = tuple(a if f else b for f, a, b in zip(inputs, self.low, self.high, strict=True))
        return self.between(self.names, self.low, high)

    @property
    def size(self) -> tuple[int, ...]:
        """Number of values of each input."""
        return tuple(b - a + 1 for a, b in zip(self.low, self.high, strict=True))

    @property
    def entries(self) -> int:
        """Number of possible inputs."""
        return int(np.prod([*self.size, 1], dtype=object))

    def hardware(self, start: int, stop: int) -> NDArray[np.int16]:
        """Return the inputs at places `start` to `stop`, shape (inputs, stop - start)."""
        return self.at(np.arange(start, stop))

    def at(self, place: NDArray[np.int64]) -> NDArray[np.int16]:
        """Return the inputs of the given entries, shape (inputs, entries)."""
        rows = zip(self.low, self.size, self.stride, strict=True)
        return np.stack([low + place // stride % size for low, size, stride in rows]).astype(np.int16)

    def holds(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
        """Return which muons are in the domain, shape (muons,)."""
        rows = zip(self.names, self.low, self.high, strict=True)
        inside = [(columns[n] >= low) & (columns[n] <= high) for n, low, high in rows]
        return np.asarray(np.logical_and.reduce(inside))

    def chunks(self, size: int = _CHUNK) -> Iterator[tuple[slice, NDArray[np.int16]]]:
        """All inputs, piece by piece: their places and the inputs."""
        for start in range(0, self.entries, size):
            stop = min(start + size, self.entries)
            yield slice(start, stop), self.hardware(start, stop)

    def sampled(
        self, sample: int | None, seed: int, size: int = _CHUNK
    ) -> Iterator[tuple[slice | NDArray[np.int64], NDArray[np.int16]]]:
        """Yield random inputs of equal probability, chunk by chunk; all inputs if not sampled.

        Parameters
        ----------
        sample : int, optional
            Number of inputs; some may occur twice.
        seed : int
        size : int
            Inputs of a piece.
        """
        if sample is None:
            yield from self.chunks(size)
            return
        rng = np.random.default_rng(seed)
        for start in range(0, sample, size):
            piece = np.sort(rng.integers(0, self.entries, min(size, sample - start)))
            yield piece, self.at(piece)


def _rank(name: str) -> int:
    return ORDER.index(name) if name in ORDER else len(ORDER)
