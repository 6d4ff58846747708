"""Frames of ``.raw`` files as a table: where the words of each are in memory, which are not copied."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, BinaryIO

import numpy as np
from crc32c import crc32c
from numpy.typing import NDArray

from l1scout.formats.frame_checks import (
    FRAME_COLUMNS,
    are_dated,
    checked,
    find_damaged_columns,
    orbit_at,
)
from l1scout.formats.payloads import Payloads
from l1scout.formats.raw import (
    EPOCH_AT,
    FILE_HEADER,
    FRAME_WORDS,
    HEAD_WORDS,
    PIECE,
    VERSION,
    Frame,
    RawFile,
    epochs,
    frame_marks,
    may_go_on,
    split_parts,
)
from l1scout.formats.records import ORBIT_MASK
from l1scout.formats.reused_memory import reused
from l1scout.jit import kernel

_HEAD_BYTES = 4 * FRAME_WORDS


class _MemorySpan:
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

    def select(self, which: NDArray[Any] | slice) -> "FrameTable":
        """Return some frames, by a mask or by their numbers."""
        own = self.address[which], self.size[which]
        return FrameTable(*own, self.orbit[which], self.source[which], self.keeps)

    @property
    def file_bytes(self) -> int:
        """Bytes that the frames take in a file."""
        return int(self.size.sum()) + _HEAD_BYTES * self.size.size

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
            np.asarray(_MemorySpan(low, (high - low) // 4, self.keeps))
            if high > low
            else np.zeros(1, np.uint32)
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
        words = np.asarray(_MemorySpan(low, span, self.keeps))
        return frame_marks(words[(self.address - low) // 4 - FRAME_WORDS])


@kernel
def _walk_frames(words: Any, run: Any, rows: Any) -> Any:
    """Walk from frame to frame of a run while they have whole words and lie there to their end.

    rows (7, n): first word, words of records, lumisection, orbit, source, flags, checksum. Returns the number
    of frames, and the word after the last.
    """
    n, at = 0, np.int64(0)
    while at + FRAME_WORDS <= words.size:
        size = np.int64(words[at + 4])
        stop = at + HEAD_WORDS + size // 4
        is_frame = words[at] & np.uint32(0xFFFF) == np.uint32(VERSION) and words[at + 1] == run
        if not is_frame or size < 4 or size % 4 or stop > words.size:
            break
        rows[0, n], rows[1, n], rows[5, n] = at, size // 4 - 1, words[at] >> np.uint32(16)
        rows[2, n], rows[3, n], rows[4, n] = words[at + 2], words[at + 3], words[at + 6]
        rows[6, n] = words[at + 5]
        n += 1
        at = stop
    return n, at


def whole_frames(
    data: NDArray[np.uint8], run: int, before: dict[int, int], *, last: bool
) -> tuple[FrameTable, int] | None:
    """Return all frames of a stretch of a file that has no damage, and where they end; None if it has any.

    Parameters
    ----------
    data : ndarray of uint8
        From the beginning of a frame on.
    run : int
    before : dict of int to int
        Last orbit of each source before these frames; is brought up to date if there is no damage.
    last : bool
        Whether the file ends with these bytes: otherwise a last frame may be cut.
    """
    words = data[: data.size & ~3].view("<u4")
    rows = np.empty((7, words.size // FRAME_WORDS), np.int64)
    n, end = (int(k) for k in _walk_frames(words, np.uint32(run), rows))
    start, size, lumisection, orbit, source, flags, checksum = rows[:, :n]
    view, end = data.data, 4 * end
    if n == 0 or (end < data.size and (last or not may_go_on(view, end, run))):
        return None
    bounds = zip(
        (4 * (start + HEAD_WORDS)).tolist(), (4 * (start + FRAME_WORDS + size)).tolist(), strict=True
    )
    sums = zip(checksum.tolist(), bounds, strict=True)
    if not all(crc in (0, crc32c(view[a:b])) for crc, (a, b) in sums):
        return None
    orbit &= ORBIT_MASK
    dated = are_dated(lumisection, orbit)
    columns = np.zeros(n, FRAME_COLUMNS)
    numbers = orbit | epochs(lumisection, orbit) << EPOCH_AT
    for name, values in (("start", 4 * start), ("source", source), ("orbit", numbers), ("flags", flags)):
        columns[name] = values
    columns["bytes"], columns["is_dated"] = 4 * size, dated
    for one in set(source.tolist()):
        at = orbit_at(one) // 4
        filled = (source == one) & (size > at)
        columns["is_filled"] |= filled
        columns["stated"][filled] = words[start[filled] + FRAME_WORDS + at] & ORBIT_MASK
    after = before.copy()
    if find_damaged_columns(columns, [], after).any():
        return None
    before.update(after)
    address = words.ctypes.data + 4 * (start + FRAME_WORDS)
    return FrameTable(address, 4 * size, numbers, source.copy(), (data,)), end


def split_tables(stream: BinaryIO, found: RawFile) -> Iterator[FrameTable | Frame | bytes]:
    """Cut what follows a file's header as `formats.raw.split_raw` does, with undamaged frames as tables."""
    frames, held, done, lost, last, before = 0, b"", 0, False, False, dict[int, int]()
    while not last:
        data = _read_on(stream, held)
        last = data.size < len(held) + PIECE
        whole = whole_frames(data, found.run, before, last=last) if data.size else None
        if whole is not None:
            table, at = whole
            yield table
            frames, lost = frames + table.orbit.size, False
        else:
            parts, at = split_parts(memoryview(data.tobytes()), 0, found.run, last=last, base=done)
            for part in checked(parts, before):
                if isinstance(part, Frame):
                    yield part
                    frames += 1
                else:
                    found.count_lost(len(part), more=lost)
                    yield bytes(part)
                lost = not isinstance(part, Frame)
        held, done = data[at:].tobytes(), done + at
    found.end(FILE_HEADER.itemsize + done, frames, lost=lost)


def _read_on(stream: BinaryIO, held: bytes) -> NDArray[np.uint8]:
    """Return bytes and a piece of a stream that follows them; less of it only at its end."""
    size, full = len(held), len(held) + PIECE
    data = reused(full)
    data[:size] = np.frombuffer(held, np.uint8)
    into = getattr(stream, "readinto", None)
    while size < full:
        if into is not None:
            n = into(data.data[size:full]) or 0
        else:
            piece = stream.read(full - size)
            n = len(piece)
            data[size : size + n] = np.frombuffer(piece, np.uint8)
        if not n:
            break
        size += n
    return data[:size]
