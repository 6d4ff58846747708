"""Frames of ``.raw`` files as a table: where the words of each are in memory, which are not copied."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.formats.payloads import Payloads
from l1scout.formats.raw import FRAME_WORDS, Frame, frame_marks
from l1scout.formats.records import ORBIT_MASK

_HEAD_BYTES = 4 * FRAME_WORDS


class _Memory:
    """Words anywhere in memory, for numpy; `keeps` is what they are part of."""

    def __init__(self, address: int, words: int, keeps: object) -> None:
        self.__array_interface__ = {
            "shape": (words,),
            "typestr": "<u4",
            "data": (address, False),
            "version": 3,
        }
        self.keeps = keeps


@dataclass(frozen=True)
class FrameTable:
    """Frames of one or more sources.

    Parameters
    ----------
    address, size : ndarray of int64, shape (frames,)
        Of the records of each frame, in bytes; a multiple of 4 both, but for bytes that are part of no word.
    orbit, source : ndarray of int64, shape (frames,)
    keeps : tuple
        What has the memory.
    """

    address: NDArray[np.int64]
    size: NDArray[np.int64]
    orbit: NDArray[np.int64]
    source: NDArray[np.int64]
    keeps: tuple[Any, ...]

    @classmethod
    def of(cls, frames: Sequence[Frame]) -> "FrameTable":
        """Make a table of frames; those that do not begin at a word are copied."""
        rows = np.array([frame[:6] for frame in frames], np.int64).reshape(-1, 6)
        start, stop, orbit, source = rows[:, 0], rows[:, 1], rows[:, 4].copy(), rows[:, 5].copy()
        address, keeps, n = np.empty(len(frames), np.int64), list[Any](), 0
        for _, same in groupby(frames, lambda frame: id(frame.records.obj)):
            own = list(same)
            first = np.frombuffer(own[0].head, np.uint8)
            here = slice(n, n + len(own))
            address[here] = start[here] - start[n] + first.ctypes.data + _HEAD_BYTES
            keeps.append(own[0].head)
            n += len(own)
        if np.any(address & 3):
            parts = [bytes(f.head) + bytes(f.records) + bytes(-len(f.records) % 4) for f in frames]
            copied = np.frombuffer(b"".join(parts), np.uint8)
            at = np.cumsum([0, *map(len, parts)])[:-1]
            address, keeps = copied.ctypes.data + at + _HEAD_BYTES, [copied]
        return cls(address, stop - start - _HEAD_BYTES, orbit, source, tuple(keeps))

    @classmethod
    def join(cls, tables: Sequence["FrameTable"]) -> "FrameTable":
        """Put tables one after the other."""
        if len(tables) == 1:
            return tables[0]
        address, size, orbit, source = (
            np.concatenate([getattr(table, name) for table in tables])
            for name in ("address", "size", "orbit", "source")
        )
        return cls(address, size, orbit, source, tuple(table.keeps for table in tables))

    def select(self, which: NDArray[Any]) -> "FrameTable":
        """Return some frames, by a mask or by their numbers."""
        own = self.address[which], self.size[which]
        return FrameTable(*own, self.orbit[which], self.source[which], self.keeps)

    def in_order(self) -> "FrameTable":
        """Return the frames in order of the orbit; those of an orbit stay in theirs."""
        if np.all(self.orbit[1:] >= self.orbit[:-1]):
            return self
        return self.select(np.argsort(self.orbit, kind="stable"))

    @property
    def payloads(self) -> Payloads:
        """The words of the frames, without their heads."""
        low = int(self.address.min(initial=1 << 62)) if self.address.size else 0
        high = int((self.address + self.size).max(initial=low))
        words = (
            np.asarray(_Memory(low, (high - low) // 4, self.keeps)) if high > low else np.zeros(1, np.uint32)
        )
        spans = np.empty((2, self.address.size), np.int64)
        spans[0] = (self.address - low) >> 2
        spans[1] = spans[0] + (self.size >> 2)
        return Payloads(words, spans, self.source, self.orbit & ~ORBIT_MASK)

    @property
    def marks(self) -> NDArray[np.uint32]:
        """Marks (`formats.marks`) in the head of each frame."""
        if not self.address.size:
            return np.zeros(0, np.uint32)
        low = int(self.address.min()) - _HEAD_BYTES
        span = (int(self.address.max()) - low) // 4
        words = np.asarray(_Memory(low, span, self.keeps))
        return frame_marks(words[(self.address - low) // 4 - FRAME_WORDS])
