"""What the columns of an archive's chunk do not say: its *side*, bytes in a column of their own.

- `SIDE`, numbers of u32;
- for each frame (of bare records: for each stretch of records) the bytes before it that are none,
  its number of records, and for .raw files the seven words of its head, less those of the frame
  before (size and checksum: less what they must be); column by column;
- rows at which a record begins although orbit and BX are those of the row before;
- words that the columns do not give back: place and XOR;
- bytes that are no frames and no records.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.errors import InputError
from l1scout.formats.raw import FRAME_WORDS

SIDE = np.dtype(
    [(n, "<u4") for n in ("rows", "frames", "splits", "patches", "verbatim", "checked", "crc32c")]
)


def as_before(columns: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
    """Rows with orbit and BX of the row before."""
    orbit, bx = columns["orbit"], columns["bx"]
    out = np.zeros(orbit.size, np.bool_)
    out[1:] = (orbit[1:] == orbit[:-1]) & (bx[1:] == bx[:-1])
    return out


@dataclass(frozen=True)
class Side:
    """What the side of a chunk says, taken apart.

    Parameters
    ----------
    frames : ndarray of uint32, shape (2 or 9, frames)
        Bytes before each frame, its records and, for .raw files, the words of its head less those of the
        frame before.
    splits : ndarray of uint32
        Rows at which a record begins although orbit and BX are those of the row before.
    at, xor : ndarray of uint32
        Words that the columns do not give back: place and XOR.
    verbatim : bytes
    checked : bool
        Whether the frames have checksums.
    crc : int
        Of the file up to the end of the chunk.
    """

    frames: NDArray[np.uint32]
    splits: NDArray[np.uint32]
    at: NDArray[np.uint32]
    xor: NDArray[np.uint32]
    verbatim: bytes
    checked: bool
    crc: int

    @classmethod
    def parse(cls, side: bytes, rows: int, *, framed: bool) -> "Side":
        """Take the side of a chunk of `rows` rows apart (InputError if it is not that)."""
        numbers = np.frombuffer(side, SIDE, 1)[0]
        said, frames, splits, patches, verbatim, checked, crc = (int(numbers[n]) for n in SIDE.names or ())
        width = 2 + FRAME_WORDS * framed
        lengths = [SIDE.itemsize, 4 * frames * width, 4 * splits, 4 * patches, 4 * patches, verbatim]
        sizes = np.cumsum(lengths)
        if sizes[-1] != len(side) or said != rows:
            msg = "rows do not belong to their side column: changed or damaged"
            raise InputError(msg)
        table, split, at, xor = (np.frombuffer(side[a:b], "<u4") for a, b in pairwise(sizes[:5]))
        if np.any(split >= rows):
            msg = "record beyond the last row: damaged"
            raise InputError(msg)
        return cls(table.reshape(width, frames), split, at, xor, side[sizes[4] :], bool(checked), crc)

    @property
    def records(self) -> NDArray[np.int64]:
        """Records of each frame."""
        return np.asarray(self.frames[1], np.int64)

    def head_word(self, number: int) -> NDArray[np.uint32]:
        """Return a word of the head of each frame: not size and checksum, which follow from the records."""
        return np.asarray(np.cumsum(self.frames[2 + number], dtype=np.uint32))

    def first_rows(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
        """Return the first row of each record."""
        new: NDArray[np.bool_] = ~as_before(columns)
        new[self.splits] = True
        first = np.asarray(np.flatnonzero(new))
        if int(self.frames[1].sum()) != first.size or int(self.frames[0].sum()) > len(self.verbatim):
            msg = "records, frames and patches do not agree: damaged"
            raise InputError(msg)
        return first
