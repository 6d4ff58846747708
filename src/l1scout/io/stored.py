"""What readout and store leave: .raw files and files of bare records, plain or compressed as a whole."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import OrbitData
from l1scout.errors import InputError
from l1scout.formats.block import BlockLayout
from l1scout.formats.block_format import BlockFormat
from l1scout.formats.decoded import Decoded
from l1scout.formats.raw import (
    FILE_HEADER,
    Frame,
    RawFile,
    decode_frames,
    read_header,
    split_raw,
)
from l1scout.formats.records import (
    HEADER_WORDS,
    MAX_RECORD_WORDS,
    ORBIT_MASK,
    RECORD_HEADER,
    find_records,
    next_records,
)
from l1scout.formats.streams.muon import MUONS, decode_records
from l1scout.formats.wire_format import WIRE_FORMATS
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.io import root, runs
from l1scout.io.quality import ReadQuality
from l1scout.io.seen import orbit_checksums, whole_orbits
from l1scout.lhc import crossing, lumisection

HEAD = 1 << 16
"""Bytes looked at to tell what a file is."""
MAGICS = {"zstd": b"\x28\xb5\x2f\xfd", "bz2": b"BZh"}
_SKIPPABLE = b"\x50\x2a\x4d\x18"
"""First bytes of a zstd frame without data; the low half of the first byte is free."""
PIECE = 1 << 22
_SURE = 64
"""Records in a row that nothing else can be."""
_MAX_RATIO, _UNCHECKED = 1000, 1 << 26
"""A file that grows more when decompressed, after the first 64 MiB, was not made of records."""


def compression(head: bytes) -> str | None:
    """Tell how a file is compressed as a whole: "zstd" or "bz2"; None if it is not."""
    if head[1:4] == _SKIPPABLE[1:] and head[0] & 0xF0 == _SKIPPABLE[0]:
        return "zstd"  # a skippable frame, which pzstd and seekable files begin with
    return next((name for name, magic in MAGICS.items() if head.startswith(magic)), None)


class _Decompressed:
    """A stream that ends with an error where a compressed file turns out to be a bomb."""

    def __init__(self, stream: Any, path: Path) -> None:
        self._stream, self._path, self._done = stream, path, 0
        self._limit = max(_UNCHECKED, _MAX_RATIO * path.stat().st_size)

    def read(self, size: int) -> bytes:
        with root.guarded(self._path, "cannot be decompressed"):
            data = bytes(self._stream.read(size))
        self._done += len(data)
        if self._done > self._limit:
            msg = f"{self._path}: grows more than {_MAX_RATIO} times when decompressed: no records do"
            raise InputError(msg)
        return data


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file, decompressed on the way if it is zstd or bzip2, in constant memory (InputError)."""
    try:
        with path.open("rb") as file:
            how = compression(file.read(4))
            file.seek(0)
            if how is None:
                yield file
                return
            with pa.CompressedInputStream(pa.PythonFile(file, "r"), how) as stream:
                yield _Decompressed(stream, path)  # type: ignore[misc]
    except OSError as error:
        msg = f"{path}: {(error.strerror or 'cannot be read').lower()}"
        raise InputError(msg) from error


def detect_stored(path: Path) -> BlockFormat | str | None:
    """Tell what a file, decompressed, holds: "raw", the format of its bare records, or None."""
    with opened(path) as stream:
        head = stream.read(HEAD)
        if read_header(head) is not None:
            return "raw"
        return records_format(head, whole=len(head) < HEAD)


def records_format(head: bytes, *, whole: bool) -> BlockFormat | None:
    """Tell the format of bare records from the first bytes of a file; None if they are none.

    All that is there, but for a last one that is cut, or at least the first 64 must be records: in order
    of time, all with muons (hwPt > 0) and clean spare bits; in Run 3 each muon must say whether it is
    mu1 or mu2.
    """
    words = np.frombuffer(head[: len(head) & ~3], "<u4")
    for form in WIRE_FORMATS.values():
        if not isinstance(form, BlockFormat):
            continue
        starts, _, ends = find_records(words, form)
        left = len(head) - 4 * int(ends[0])
        cut = left < 4 * MAX_RECORD_WORDS and (left == 0 or starts.size >= 3 or not whole)
        if starts.size == 0 or (starts.size < _SURE and not cut):
            continue
        starts = starts[:_SURE]
        fields = RECORD_HEADER.decode(words[starts])
        orbit, bx = (words[starts + 2] & ORBIT_MASK).astype(np.int64), words[starts + 1] & form.bx_mask
        n = fields["n1"] + fields["n2"]
        rank = np.arange(n.sum()) - np.repeat(np.cumsum(n) - n, n)
        at = np.repeat(starts + HEADER_WORDS, n) + form.record_words * rank
        good = _in_order(crossing(orbit, bx), orbit)
        good &= bool(np.all(words[at] & form.present_bits) and np.all(words[starts] & (1 << 24)))
        if form.extra is not None:
            extra = words[at + 2] & form.bx_mask
            second = rank >= np.repeat(fields["n1"], n)
            # the public code leaves the BX in the third word
            marked = (extra == second) | (extra == np.repeat(bx & np.uint32(0x1FFE), n) | second)
            good &= bool(np.all(marked) and np.all(words[starts + 1] <= form.bx_mask))
        if good:
            return form
    return None


def _in_order(time: NDArray[np.int64], orbit: NDArray[np.int64]) -> bool:
    """Return whether records are in order of time, apart from duplicate orbits."""
    step = np.diff(time)
    return bool(np.all((step > 0) | (np.diff(orbit) == 0) & (step < 0)))


@dataclass
class Found:
    """What a file was found to hold, filled while it is read.

    Parameters
    ----------
    form : str
        "run2" or "run3".
    compression : str, optional
    header : RawFile, optional
        None for bare records. Its counts of corrupt stretches are taken into those here.
    sources : dict of int to int
        Frames of each source of a .raw file.
    flagged, corrupt, corrupt_bytes : int
        Orbits in which a link was missing; stretches that could not be read.
    """

    form: str = ""
    compression: str | None = None
    header: RawFile | None = None
    sources: dict[int, int] = field(default_factory=dict)
    flagged: int = 0
    corrupt: int = 0
    corrupt_bytes: int = 0

    def add(self, part: Decoded) -> None:
        """Count what was decoded."""
        self.flagged += part.flagged.size
        self.corrupt += part.corrupt
        self.corrupt_bytes += part.corrupt_bytes


def read_stored(
    path: Path, rows: int, quality: ReadQuality | None = None, found: Found | None = None
) -> Iterator[OrbitData]:
    """Read the muons of a .raw file or of bare records, plain or compressed.

    Of a .raw file each chunk has whole orbits: about `rows` rows or fewer, unless a single orbit has
    more; ``n_orbits`` counts its GMT frames, empty ones too. Bare records do not tell empty orbits:
    there ``n_orbits`` is None, and the run is unknown. Damaged stretches, and orbits that were read before,
    are left out and counted.

    Parameters
    ----------
    path : Path
    rows : int
    quality : ReadQuality, optional
        Gets what is left out; the same one for several files recognises the orbits of all.
    found : Found, optional
        Gets what the file holds.

    Raises
    ------
    InputError
        If it is neither, or cannot be decompressed to its end.
    """
    found, quality = found if found is not None else Found(), quality or ReadQuality()
    kind = detect_stored(path)
    if kind is None:
        msg = f"{path}: neither a .raw file nor zero-suppressed records"
        raise InputError(msg)
    with path.open("rb") as file:
        found.compression = compression(file.read(4))
    with opened(path) as stream:
        if isinstance(kind, BlockFormat):
            found.form = kind.name
            parts = _good_records(split_records(stream, kind), found, quality)
            for muons in read_bare(parts, kind, rows, found, quality):
                yield OrbitData.of_muons(muons, source=str(path))
            quality.damage(found.corrupt, found.corrupt_bytes)
            return
        header = read_header(stream.read(FILE_HEADER.itemsize))
        if header is None:
            msg = f"{path}: changed while it was read"
            raise InputError(msg)
        found.form, found.header = RUN3.name, header
        simulated = runs.simulated(np.array([header.run]))
        size = 4 * (HEADER_WORDS + RUN3.record_words) * rows
        for frames in _groups(split_raw(stream, header), size, found, quality):
            new = quality.new_orbits(header.run, np.array([f.orbit for f in frames], np.int64))
            frames = [f for f, first in zip(frames, new.tolist(), strict=True) if first]
            quality.marked_orbits += sum(f.repeated for f in frames)
            part = decode_frames(frames, MUONS, header)
            found.add(part)
            muons = quality.flag(replace(part.objects, simulated=simulated), part.flagged)
            yield OrbitData.of_muons(muons, source=str(path))
        found.corrupt += header.corrupt
        found.corrupt_bytes += header.corrupt_bytes
        quality.missing_orbits += header.missing_orbits
        quality.damage(found.corrupt, found.corrupt_bytes)


def _groups(
    parts: Iterator[Frame | bytes], size: int, found: Found, quality: ReadQuality
) -> Iterator[list[Frame]]:
    """GMT frames, together until they have `size` bytes."""
    held: list[Frame] = []
    used = 0
    for part in parts:
        quality.bytes += len(part) if isinstance(part, bytes) else part.stop - part.start
        if isinstance(part, bytes):
            continue
        found.sources[part.source] = found.sources.get(part.source, 0) + 1
        if part.source not in MUONS.source_ids:
            continue
        if held and used + len(part.records) > size:
            yield held
            held, used = [], 0
        held.append(part)
        used += len(part.records)
    yield held


def split_records(stream: BinaryIO, form: BlockLayout) -> Iterator[tuple[NDArray[np.uint32], Any] | bytes]:
    """Cut bare records into words with the places where records start, and stretches that are none.

    Every byte comes, in order and in constant memory.
    """
    held, last = b"", False
    while not last:
        piece = stream.read(PIECE)
        held, last = held + piece, not piece
        words = np.frombuffer(held, "<u4", len(held) // 4)
        at = 0
        while at < words.size and (last or words.size - at > 4 * MAX_RECORD_WORDS):
            starts, _, ends = find_records(words[at:], form)
            stop = at + int(ends[0])
            if starts.size:
                yield words[at:stop], starts
            at = stop
            if last or words.size - at > 4 * MAX_RECORD_WORDS:
                stop = next_records(words, at + 1, form) if at < words.size else at
                if stop == words.size and not last:
                    stop = max(words.size - 4 * MAX_RECORD_WORDS, at + 1)
                if stop > at:
                    yield held[4 * at : 4 * stop]
                at = stop
        held = held[4 * at :]
    if held:
        yield held


def _good_records(
    parts: Iterable[tuple[NDArray[np.uint32], Any] | bytes], found: Found, quality: ReadQuality
) -> Iterator[tuple[NDArray[np.uint32], Any]]:
    """Yield the records of a file, and count the stretches that are not records."""
    lost = False
    for part in parts:
        bad = isinstance(part, bytes)
        quality.bytes += len(part) if isinstance(part, bytes) else part[0].nbytes
        if isinstance(part, bytes):
            found.corrupt, found.corrupt_bytes = found.corrupt + (not lost), found.corrupt_bytes + len(part)
        else:
            yield part
        lost = bad


def read_bare(
    parts: Iterable[tuple[NDArray[np.uint32], NDArray[np.int64]]],
    form: BlockLayout,
    rows: int,
    found: Found,
    quality: ReadQuality,
) -> Iterator[OrbitBatch]:
    """Decode bare records, whole orbits and about `rows` rows at a time, without those that were read before.

    Parameters
    ----------
    parts : iterable of (words, places where records start)
    form : BlockLayout
    rows : int
    found : Found
    quality : ReadQuality
    """
    flagged = np.zeros(0, np.int64)

    def pieces() -> Iterator[OrbitBatch]:
        nonlocal flagged
        for words, starts in parts:
            time = crossing(
                (words[starts + 2] & ORBIT_MASK).astype(np.int64), words[starts + 1] & form.bx_mask
            )
            back = np.flatnonzero(time[1:] <= time[:-1]) + 1  # records of an earlier time are never joined
            cuts = np.union1d(back, np.arange(0, starts.size + rows, rows).clip(max=starts.size))
            for first, last in pairwise(np.union1d([0, starts.size], cuts).tolist()):
                decoded = decode_records(words, starts[first:last], form)
                found.add(decoded)
                flagged = np.union1d(flagged, decoded.flagged)
                yield replace(decoded.objects, lumisection=lumisection(decoded.objects.orbit))

    for batch in whole_orbits(pieces()):
        orbits = np.unique(batch.orbit)
        new = quality.new_contents(orbits, orbit_checksums(batch, orbits))
        if not new.all():
            batch = batch.take(np.flatnonzero(np.isin(batch.orbit, orbits[new])))
        here = np.intersect1d(flagged, orbits)
        batch = quality.flag(batch, np.intersect1d(here, orbits[new]))
        flagged = np.setdiff1d(flagged, here)
        for piece in split_orbits(batch, np.unique(batch.orbit), rows):
            yield replace(piece, n_orbits=None)


def split_orbits(batch: OrbitBatch, orbits: NDArray[np.int64], rows: int) -> Iterator[OrbitBatch]:
    """Cut a batch into whole orbits, of about `rows` rows in all; `orbits` has the empty ones too."""
    orbits = np.sort(orbits)
    first = np.searchsorted(batch.orbit, orbits)
    first[:1] = 0
    a = 0
    while a < orbits.size:
        b = max(int(np.searchsorted(first, first[a] + rows, "right")) - 1, a + 1)
        b = orbits.size if len(batch) - first[a] <= rows else b
        low, high = int(first[a]), int(first[b]) if b < orbits.size else len(batch)
        i, j = batch.offsets[low], batch.offsets[high]
        yield replace(
            batch,
            orbit=batch.orbit[low:high],
            bx=batch.bx[low:high],
            offsets=batch.offsets[low : high + 1] - i,
            columns={n: c[i:j] for n, c in batch.columns.items()},
            run=batch.run[low:high],
            lumisection=batch.lumisection[low:high],
            n_orbits=b - a,
        )
        a = b


def describe_stored(chunks: dict[str, Any], found: Found, quality: ReadQuality) -> dict[str, Any]:
    """Add to a summary of events what they were read from, and what was left out."""
    header = found.header
    out = {"compression": found.compression, "form": found.form, **chunks}
    if header is not None:
        out["said"] = {n: getattr(header, n) for n in ("run", "lumisection", "orbits", "size")}
        out["frames_by_source"] = {str(k): n for k, n in sorted(found.sources.items())}
        out |= {n: getattr(header, n) for n in ("missing_orbits", "missing_bytes")}
    out |= {n: getattr(quality, n) for n in ("duplicate_orbits", "repeated_orbits")}
    counts = ("flagged", "corrupt", "corrupt_bytes")
    return out | {"flagged_orbits" if n == "flagged" else n: getattr(found, n) for n in counts}
