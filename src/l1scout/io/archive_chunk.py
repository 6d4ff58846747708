"""A piece of a stored file as columns, and as bytes again: what the archive does a few MiB at a time.

Most bytes follow from the columns. The rest is in the chunk's side: see `l1scout.io.archive_side`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from crc32c import crc32c
from numpy.typing import NDArray

from l1scout.errors import InputError
from l1scout.formats.decoded import Decoded, in_order_of_time, join_epochs
from l1scout.formats.raw import EPOCH_AT, FRAME_WORDS, Frame, epochs
from l1scout.formats.records import ORBIT_MASK, find_records
from l1scout.formats.streams.muon import MUONS, MuonWords, decode_records
from l1scout.io.archive_muons import to_muons
from l1scout.io.archive_rows import from_residuals, to_records, to_residuals, to_rows
from l1scout.io.archive_side import SIDE, Side, as_before
from l1scout.io.stored import time_spans
from l1scout.lhc import order_of_time

MAX_ROWS = 1 << 21
_ALL_LINKS = 0xFFFF
"""``linkMatch`` where the BX and orbits of all links agree."""
_LUMISECTION, _ORBIT, _SIZE, _CRC = 2, 3, 4, 5
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


def gather(parts: Sequence[Part], form: MuonWords, *, framed: bool) -> Stretch:
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
    heads = np.frombuffer(head, "<u4").reshape(len(kept), FRAME_WORDS * framed)
    return Stretch(words, starts, counts, heads, np.array(before, np.int64), b"".join(verbatim))


def _is_ours(frame: Frame) -> bool:
    return frame.source in MUONS.source_ids and len(frame.records) % 4 == 0


def to_columns(stretch: Stretch, form: MuonWords, crc: int, *, plain: bool) -> tuple[Columns, bytes]:
    """Make the columns and the side of a stretch; `crc` is of the file up to its end.

    With `plain` the coordinates at the second station are columns as they are; without, ``dEta`` and
    ``dPhi`` say how far they are from what the vertex coordinates and the GMT's table give. InputError if
    `from_columns` would not give back the stretch: every step is done backwards.
    """
    words, starts = stretch.words, stretch.starts
    columns, first = to_rows(words, starts, form)
    columns.pop("reserved", None)
    if stretch.heads.size:
        numbers = _numbers(stretch.heads[:, _LUMISECTION], stretch.heads[:, _ORBIT]) & ~np.int64(ORBIT_MASK)
        if numbers.any():
            of_record = np.repeat(numbers, stretch.records)
            columns["orbit"] += np.repeat(of_record, np.diff(np.append(first, len(columns["orbit"]))))
    same = as_before(columns)[first]
    back, _ = to_records(columns, first, form)
    patches = np.flatnonzero(back != words)
    right = plain
    if not plain:
        station = columns.pop("hwEta"), columns.pop("hwPhi")
        columns["dEta"], columns["dPhi"] = to_residuals({**columns, "hwEta": station[0], "hwPhi": station[1]})
        again = from_residuals(columns, columns["dEta"], columns["dPhi"])
        right = all(map(np.array_equal, station, again))
    checked = bool(stretch.heads.size and np.all(stretch.heads[:, _CRC]))
    frames = np.concatenate(
        [stretch.before[None], stretch.records[None], _unexpected(stretch, checked=checked).T]
    )
    splits = first[same]
    counts = len(columns["hwPt"]), len(stretch.records), splits.size, patches.size
    numbers = np.array((*counts, len(stretch.verbatim), checked, crc), SIDE)
    rest = frames, splits, patches, back[patches] ^ words[patches]
    side = numbers.tobytes() + b"".join(a.astype("<u4").tobytes() for a in rest) + stretch.verbatim
    if not (right and _gives_back(columns, side, stretch, first)):
        msg = "its archive would not give back the same bytes; nothing was written: memory may be faulty"
        raise InputError(msg)
    return columns, side


def _gives_back(columns: Columns, side: bytes, stretch: Stretch, first: NDArray[np.int64]) -> bool:
    """Return whether all but the words of the records, which rows and patches give, follows from the side.

    Checksums of frames that have them were compared when the frames were read.
    """
    heads = stretch.heads
    parsed = Side.parse(side, len(columns["hwPt"]), framed=bool(heads.size))
    same = np.array_equal(parsed.first_rows(columns), first) and parsed.verbatim == stretch.verbatim
    same &= np.array_equal(parsed.records, stretch.records) and np.array_equal(
        parsed.frames[0], stretch.before
    )
    if heads.size:
        left = parsed.frames[2:].T
        again = np.cumsum(left, axis=0, dtype=np.uint32)
        again[:, _SIZE] = left[:, _SIZE] + _sizes(stretch)
        again[:, _CRC] = heads[:, _CRC] if parsed.checked else left[:, _CRC]
        same &= np.array_equal(again, heads)
    return bool(same)


def _numbers(lumisections: NDArray[np.uint32], orbits: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Return the orbit numbers of frames, with their epochs, by two words of their heads."""
    words = orbits.astype(np.int64)
    return (words & ORBIT_MASK) | epochs(lumisections.astype(np.int64), words) << EPOCH_AT


def with_station(columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return columns with hwEta and hwPhi, which an archive may hold as ``dEta`` and ``dPhi``."""
    if "dEta" not in columns:
        return dict(columns)
    eta, phi = from_residuals(columns, columns["dEta"], columns["dPhi"])
    rest = {n: c for n, c in columns.items() if n not in ("dEta", "dPhi")}
    return {**rest, "hwEta": eta, "hwPhi": phi}


def from_columns(
    columns: Mapping[str, NDArray[Any]], side: bytes, form: MuonWords, *, framed: bool
) -> tuple[Stretch, int]:
    """Make a stretch, and the checksum of the file up to its end, of columns and side: see `to_columns`.

    Raises
    ------
    InputError
        If columns and side do not belong together: a damaged archive, or one with rows changed.
    """
    parsed = Side.parse(side, len(columns["hwPt"]), framed=framed)
    columns = with_station(columns)
    words, starts = to_records(columns, parsed.first_rows(columns), form)
    if np.any(parsed.at >= words.size):
        msg = "records, frames and patches do not agree: damaged"
        raise InputError(msg)
    words[parsed.at] ^= parsed.xor
    stretch = Stretch(
        words,
        starts,
        parsed.records,
        np.zeros((parsed.frames.shape[1], FRAME_WORDS * framed), np.uint32),
        parsed.frames[0].astype(np.int64),
        parsed.verbatim,
    )
    return _with_heads(stretch, parsed.frames[2:].T, checked=parsed.checked), parsed.crc


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
    left = np.diff(heads, axis=0, prepend=np.zeros((1, FRAME_WORDS), np.uint32))
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


class ArchiveChunk:
    """The muons of a chunk of an archive, from its columns.

    Parameters
    ----------
    columns : mapping of str to ndarray, shape (rows,)
    side : bytes
    form : MuonWords
    framed : bool
        Whether the records are those of frames.

    Raises
    ------
    InputError
        If columns and side do not belong together.
    """

    def __init__(self, columns: Mapping[str, NDArray[Any]], side: bytes, form: MuonWords, *, framed: bool):
        self.side = Side.parse(side, len(columns["hwPt"]), framed=framed)
        self._form = form
        self._stretch: Stretch | None = None
        if self.side.at.size:  # words that the columns do not give back: through the records
            self._stretch, _ = from_columns(columns, side, form, framed=framed)
            return
        columns = with_station(columns)
        first = self.side.first_rows(columns)
        self._first, self._columns = first, columns
        self._row, self._counts, self._muons = to_muons(columns, first, form)

    @property
    def orbits(self) -> NDArray[np.int64]:
        """Orbit numbers of the frames, with their epochs."""
        return _numbers(self.side.head_word(_LUMISECTION), self.side.head_word(_ORBIT))

    def _times(self) -> NDArray[np.int64]:
        """Return a number for each record that rises with time."""
        if self._stretch is not None:
            words, starts = self._stretch.words, self._stretch.starts
            orbit, bx = words[starts + 2] & ORBIT_MASK, words[starts + 1] & self._form.bx_mask
        else:
            orbit, bx = self._columns["orbit"][self._first], self._columns["bx"][self._first]
        return order_of_time(orbit, bx)

    def in_order(self, rows: int) -> Iterator[Decoded]:
        """Decode the records, `rows` at a time, by spans whose times rise."""
        times = self._times()
        number = np.arange(times.size)
        for first, last in time_spans(times, rows):
            yield self.decode((number >= first) & (number < last))

    def decode(self, keep: NDArray[np.bool_]) -> Decoded:
        """Return the muons of some records, as `formats.streams.muon.decode_records` gives them."""
        if self._stretch is not None:
            words, starts = self._stretch.words, self._stretch.starts
            framed = self._stretch.heads.size
            first = (
                np.repeat(self.orbits & ~np.int64(ORBIT_MASK), self.side.records) if framed else np.zeros(1)
            )
            epochs = np.unique(first).astype(np.int64).tolist() or [0]
            of_epoch = {e: starts[keep & (first == e)] for e in epochs}
            return join_epochs({e: decode_records(words, own, self._form) for e, own in of_epoch.items()})
        row, muons = self._row, self._muons
        if not keep.all():
            of_muon = np.repeat(keep, self._counts)
            row, muons = row[of_muon], {n: c[of_muon] for n, c in muons.items()}
        first = self._first[keep]
        flagged = self._columns["orbit"][first][self._columns["linkMatch"][first] != _ALL_LINKS]
        orbit, bx = self._columns["orbit"][row], self._columns["bx"][row]
        return Decoded(in_order_of_time(orbit, bx, muons), np.unique(flagged).astype(np.int64))
