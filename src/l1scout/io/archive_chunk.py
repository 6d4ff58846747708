"""A piece of a stored file as columns, and as bytes again: what the archive does a few MiB at a time.

Most bytes follow from the columns. The rest is a chunk's *side*, in a column of bytes:

- `SIDE`, numbers of u32;
- for each frame (of bare records: for each stretch of records) the bytes before it that are none,
  its number of records, and for .raw files the seven words of its head, less those of the frame
  before (size and checksum: less what they must be); column by column;
- rows at which a record begins although orbit and BX are those of the row before;
- words that the columns do not give back: place and XOR;
- bytes that are no frames and no records.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from crc32c import crc32c
from numpy.typing import NDArray

from l1scout.errors import InputError
from l1scout.formats.block import BlockLayout
from l1scout.formats.raw import Frame
from l1scout.formats.records import find_records
from l1scout.formats.streams.muon import MUONS
from l1scout.io.archive_rows import from_residuals, to_records, to_residuals, to_rows

SIDE = np.dtype(
    [(n, "<u4") for n in ("rows", "frames", "splits", "patches", "verbatim", "checked", "crc32c")]
)
MAX_ROWS = 1 << 21
HEAD_WORDS = 7
ORBIT_AT, _SIZE, _CRC = 3, 4, 5
"""Words of a frame's head."""
Part = Frame | tuple[NDArray[np.uint32], NDArray[np.int64]] | bytes
Columns = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Stretch:
    """Records as they lie in a file, and what lies between them.

    Parameters
    ----------
    words : ndarray of uint32
        All records.
    starts : ndarray of int64, shape (records,)
    records : ndarray of int64, shape (frames,)
        Records of each frame.
    heads : ndarray of uint32, shape (frames, 7), or (frames, 0) for bare records
    before : ndarray of int64, shape (frames,)
        Bytes of `verbatim` before each frame; the rest follows the last.
    verbatim : bytes
    """

    words: NDArray[np.uint32]
    starts: NDArray[np.int64]
    records: NDArray[np.int64]
    heads: NDArray[np.uint32]
    before: NDArray[np.int64]
    verbatim: bytes

    @property
    def bounds(self) -> NDArray[np.int64]:
        """Word at which the records of each frame begin, and the end."""
        ends = np.append(self.starts, self.words.size)
        return np.asarray(ends[np.r_[0, np.cumsum(self.records)]], np.int64)

    @cached_property
    def data(self) -> bytes:
        """All bytes, in order."""
        words, verbatim = self.words.view(np.uint8).data, memoryview(self.verbatim)
        heads = self.heads.reshape(-1).view(np.uint8).data
        size, at, out = 4 * self.heads.shape[1], 0, list[bytes | memoryview]()
        bounds = (4 * self.bounds).tolist()
        for k, before in enumerate(self.before.tolist()):
            if before:
                out.append(verbatim[at : at + before])
                at += before
            out += heads[size * k : size * (k + 1)], words[bounds[k] : bounds[k + 1]]
        out.append(verbatim[at:])
        return b"".join(out)


def views(part: Part) -> tuple[bytes | memoryview, ...]:
    """Bytes of a part of a file."""
    if isinstance(part, Frame):
        return part.head, part.records
    return (part,) if isinstance(part, bytes) else (part[0].view(np.uint8).data,)


def gather(parts: Sequence[Part], form: BlockLayout, *, framed: bool) -> Stretch:
    """Put parts of a file together: GMT frames, or stretches of records; all else is verbatim."""
    while True:
        kept: list[Any] = []
        before: list[int] = []
        verbatim: list[bytes] = []
        waiting = 0
        for part in parts:
            if isinstance(part, bytes) or (isinstance(part, Frame) and not _is_ours(part)):
                verbatim.append(b"".join(views(part)))
                waiting += len(verbatim[-1])
            else:
                kept.append(part)
                before.append(waiting)
                waiting = 0
        records = [p.records if framed else p[0].data for p in kept]
        words = np.frombuffer(records[0] if len(records) == 1 else b"".join(records), "<u4")
        sizes = [len(p.records) // 4 if framed else p[0].size for p in kept]
        bounds = np.r_[0, np.cumsum(sizes, dtype=np.int64)]
        starts, counts, ends = find_records(words, form, bounds)
        bad = ends != bounds[1:]
        if not bad.any():
            break
        foreign = {id(kept[k]) for k in np.flatnonzero(bad)}
        parts = [b"".join(views(p)) if id(p) in foreign else p for p in parts]
    head = b"".join(p.head for p in kept) if framed else b""
    heads = np.frombuffer(head, "<u4").reshape(len(kept), HEAD_WORDS * framed)
    return Stretch(words, starts, counts, heads, np.array(before, np.int64), b"".join(verbatim))


def _is_ours(frame: Frame) -> bool:
    return frame.source in MUONS.source_ids and len(frame.records) % 4 == 0


def to_columns(stretch: Stretch, form: BlockLayout, crc: int, *, plain: bool) -> tuple[Columns, bytes]:
    """Make the columns and the side of a stretch; `crc` is of the file up to its end.

    With `plain` the coordinates at the second station are columns as they are; without, ``dEta`` and
    ``dPhi`` say how far they are from what the vertex coordinates and the GMT's table give.
    """
    words, starts = stretch.words, stretch.starts
    columns, first = to_rows(words, starts, form)
    columns.pop("reserved", None)
    same = _as_before(columns)[first]
    back, _ = to_records(columns, first, form)
    patches = np.flatnonzero(back != words)
    if not plain:
        columns["dEta"], columns["dPhi"] = to_residuals(columns)
        del columns["hwEta"], columns["hwPhi"]
    checked = bool(stretch.heads.size and np.all(stretch.heads[:, _CRC]))
    frames = np.concatenate(
        [stretch.before[None], stretch.records[None], _unexpected(stretch, checked=checked).T]
    )
    splits = first[same]
    counts = len(columns["hwPt"]), len(stretch.records), splits.size, patches.size
    side = np.array((*counts, len(stretch.verbatim), checked, crc), SIDE)
    rest = frames, splits, patches, back[patches] ^ words[patches]
    return columns, side.tobytes() + b"".join(a.astype("<u4").tobytes() for a in rest) + stretch.verbatim


def _as_before(columns: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
    """Rows with orbit and BX of the row before."""
    orbit, bx = columns["orbit"], columns["bx"]
    out = np.zeros(orbit.size, np.bool_)
    out[1:] = (orbit[1:] == orbit[:-1]) & (bx[1:] == bx[:-1])
    return out


def from_columns(
    columns: Mapping[str, NDArray[Any]], side: bytes, form: BlockLayout, *, framed: bool
) -> tuple[Stretch, int]:
    """Make a stretch, and the checksum of the file up to its end, of columns and side: see `to_columns`.

    Raises
    ------
    InputError
        If columns and side do not belong together: a damaged archive, or one with rows changed.
    """
    about = np.frombuffer(side, SIDE, 1)[0]
    rows, frames, splits, patches, verbatim, checked, crc = (int(about[n]) for n in SIDE.names or ())
    width = 2 + HEAD_WORDS * framed
    sizes = np.cumsum([SIDE.itemsize, 4 * frames * width, 4 * splits, 4 * patches, 4 * patches, verbatim])
    if sizes[-1] != len(side) or rows != len(columns["hwPt"]):
        msg = "rows do not belong to their side column: changed or damaged"
        raise InputError(msg)
    table, split, at, xor = (np.frombuffer(side[a:b], "<u4") for a, b in pairwise(sizes[:5]))
    table = table.reshape(width, frames)
    if "dEta" in columns:
        eta, phi = from_residuals(columns, columns["dEta"], columns["dPhi"])
        columns = {**columns, "hwEta": eta, "hwPhi": phi}
    if np.any(split >= rows):
        msg = "record beyond the last row: damaged"
        raise InputError(msg)
    new = ~_as_before(columns)
    new[split] = True
    words, starts = to_records(columns, np.flatnonzero(new), form)
    if np.any(at >= words.size) or int(table[1].sum()) != starts.size or int(table[0].sum()) > verbatim:
        msg = "records, frames and patches do not agree: damaged"
        raise InputError(msg)
    words[at] ^= xor
    stretch = Stretch(
        words,
        starts,
        table[1].astype(np.int64),
        np.zeros((frames, HEAD_WORDS * framed), np.uint32),
        table[0].astype(np.int64),
        side[sizes[4] :],
    )
    return _with_heads(stretch, table[2:].T, checked=bool(checked)), crc


def _checksums(stretch: Stretch) -> NDArray[np.uint32]:
    """Checksum of each frame's payload, as its head should have it."""
    words, bounds = stretch.words.view(np.uint8).data, (4 * stretch.bounds).tolist()
    source = crc32c(MUONS.source_ids[0].to_bytes(4, "little"))
    return np.array([crc32c(words[a:b], source) for a, b in pairwise(bounds)], np.uint32)


def _unexpected(stretch: Stretch, *, checked: bool) -> NDArray[np.uint32]:
    """Words of the heads less those of the frame before; size and, if `checked`, checksum as they must be.

    Frames with a checksum were read because it fits.
    """
    heads = stretch.heads
    if not heads.size:
        return heads
    left = np.diff(heads, axis=0, prepend=np.zeros((1, HEAD_WORDS), np.uint32))
    left[:, _SIZE] = heads[:, _SIZE] - _sizes(stretch)
    left[:, _CRC] = 0 if checked else heads[:, _CRC]
    return np.asarray(left, np.uint32)


def _with_heads(stretch: Stretch, left: NDArray[np.uint32], *, checked: bool) -> Stretch:
    """Give a stretch the heads that left such rests."""
    if not left.size:
        return stretch
    heads = np.cumsum(left, axis=0, dtype=np.uint32)
    stretch = replace(stretch, heads=heads)
    heads[:, _SIZE] = left[:, _SIZE] + _sizes(stretch)
    heads[:, _CRC] = _checksums(stretch) if checked else left[:, _CRC]
    return stretch


def _sizes(stretch: Stretch) -> NDArray[np.uint32]:
    """Size of each frame's payload."""
    return (4 + 4 * np.diff(stretch.bounds)).astype(np.uint32)
