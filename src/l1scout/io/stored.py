"""What readout and store leave: .raw files and files of bare records, plain or compressed as a whole."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import MUON, OrbitData
from l1scout.errors import InputError
from l1scout.formats.block_format import BlockFormat, board_formats
from l1scout.formats.decoded import Decoded
from l1scout.formats.raw import FILE_HEADER, Frame, RawFile, read_header, split_raw
from l1scout.formats.raw_objects import decode_shared_frames
from l1scout.formats.records import (
    HEADER_WORDS,
    MAX_RECORD_WORDS,
    ORBIT_MASK,
    RECORD_HEADER,
    find_records,
    next_records,
)
from l1scout.formats.stream import STREAMS, Stream, streams_of_sources
from l1scout.formats.streams.muon import MUONS, decode_records
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.io.input_file import HEAD, InputFile
from l1scout.io.quality import ReadQuality
from l1scout.io.reader import ROWS, FormatReader, origin
from l1scout.io.seen import orbit_checksums, whole_orbits
from l1scout.io.summary import summarize
from l1scout.lhc import lumisection, order_of_time

PIECE = 1 << 22
_SURE = 64
"""Records in a row that nothing else can be."""


def records_of(file: InputFile) -> BlockFormat | None:
    """Return the format of the records of a file, plain or compressed; None if it holds none."""
    if file.is_text or file.is_root or file.is_parquet or is_raw(file):
        return None
    head = file.content_head
    return file.once("records", lambda: records_format(head, whole=len(head) < HEAD))


def is_raw(file: InputFile) -> bool:
    """Return whether a file, plain or compressed, begins with the header of a ``.raw`` file."""
    return raw_header(file) is not None


def raw_header(file: InputFile) -> RawFile | None:
    """Return the header of a ``.raw`` file, compared with its first frames; None if it begins with none."""
    header = file.once("raw header", lambda: read_header(file.content_head))
    return None if header is None else replace(header)


def records_format(head: bytes, *, whole: bool) -> BlockFormat | None:
    """Tell the format of bare records from the first bytes of a file; None if they are none.

    All that is there, but for a last one that is cut, or at least the first 64 must be records: in order
    of time, all with muons (hwPt > 0) and clean spare bits; in Run 3 each muon must say whether it is
    mu1 or mu2.
    """
    words = np.frombuffer(head[: len(head) & ~3], "<u4")
    for form in board_formats().values():
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
        good = _in_order(order_of_time(orbit, bx), orbit)
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
class StoredContent:
    """What a file was found to hold, filled while it is read.

    Parameters
    ----------
    form : str
        "run2" or "run3".
    header : RawFile, optional
        None for bare records. Its counts of corrupt stretches are taken into those here.
    sources : dict of int to int
        Frames of each source of a .raw file.
    flagged, corrupt, corrupt_bytes : int
        Orbits in which a link was missing; stretches that could not be read.
    """

    form: str = ""
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


def read_raw(file: InputFile, rows: int, quality: ReadQuality, found: StoredContent) -> Iterator[OrbitData]:
    """Read the objects of a .raw file, plain or compressed: of all streams whose frames it has.

    Each chunk has whole orbits: about `rows` rows or fewer, unless a single orbit has more; ``n_orbits`` of a
    stream counts its frames, empty ones too. Damaged stretches, and orbits that were read before, are left
    out and counted.

    Parameters
    ----------
    file : InputFile
    rows : int
    quality : ReadQuality
        Counts what is left out; the same one for several files recognizes the orbits of all.
    found : StoredContent
        Is filled with what the file holds.
    """
    with file.content() as content:
        header, size = raw_header(file), FILE_HEADER.itemsize
        if header is None or len(content.read(size)) < size:
            msg = f"{file.path}: changed while it was read"
            raise InputError(msg)
        found.form, found.header = RUN3.name, header
        size = 4 * (HEADER_WORDS + RUN3.record_words) * rows
        for frames in _groups(split_raw(content, header), size, found, quality):
            streams = _decode_streams(frames, header, found, quality)
            yield OrbitData(streams, None, origin(file))
        found.corrupt += header.corrupt
        found.corrupt_bytes += header.corrupt_bytes
        quality.missing_orbits += header.missing_orbits
        quality.damage(found.corrupt, found.corrupt_bytes)


def _decode_streams(
    frames: dict[int, list[Frame]], header: RawFile, found: StoredContent, quality: ReadQuality
) -> dict[str, OrbitBatch]:
    """Decode frames, given by source id, that were not read before."""
    new: dict[int, list[Frame]] = {}
    for number, (source, of_source) in enumerate(frames.items()):
        orbits = np.array([f.orbit for f in of_source], np.int64)
        first = quality.new_orbits(header.run, orbits, source)
        new[source] = [f for f, is_new in zip(of_source, first.tolist(), strict=True) if is_new]
        if not number:
            quality.marked_orbits += sum(f.repeated for f in new[source])
    together: dict[tuple[int, ...], list[Stream]] = {}
    for stream in streams_of_sources(frames) or [MUONS]:
        own = tuple(source for source in stream.source_ids if source in new)
        together.setdefault(own, []).append(stream)
    made = {}
    for sources, streams in together.items():
        own_frames = [frame for source in sources for frame in new[source]]
        orbits = np.unique(np.array([f.orbit for f in own_frames], np.int64))
        for n, (name, part) in enumerate(decode_shared_frames(own_frames, streams, header).items()):
            # what they share is damaged once
            found.add(replace(part, corrupt=0, corrupt_bytes=0) if n else part)
            made[name] = quality.flag(part.objects.with_orbits(orbits), part.flagged)
    return made


def read_records(
    file: InputFile, rows: int, quality: ReadQuality, found: StoredContent
) -> Iterator[OrbitData]:
    """Read the muons of bare records, plain or compressed.

    They do not tell empty orbits: ``n_orbits`` is None, and the run is unknown. See `read_raw`.
    """
    form = records_of(file)
    if form is None:
        msg = f"{file.path}: no zero-suppressed records"
        raise InputError(msg)
    found.form = form.name
    with file.content() as stream:
        parts = _good_records(split_records(stream, form), found, quality)
        for muons in read_pieces(_in_time(parts, form, rows), rows, found, quality):
            yield OrbitData({MUON: muons}, None, origin(file))
    quality.damage(found.corrupt, found.corrupt_bytes)


def _groups(
    parts: Iterator[Frame | bytes], size: int, found: StoredContent, quality: ReadQuality
) -> Iterator[dict[int, list[Frame]]]:
    """Frames of known streams by source id, whole orbits together until they have `size` bytes."""
    known = {source for stream in STREAMS.values() for source in stream.source_ids}
    seen: dict[int, list[Frame]] = {}
    used, orbit = 0, -1
    for part in parts:
        quality.bytes += len(part) if isinstance(part, bytes) else part.stop - part.start
        if isinstance(part, bytes):
            continue
        found.sources[part.source] = found.sources.get(part.source, 0) + 1
        if part.source not in known:
            continue
        if used and used + len(part.records) > size and part.orbit != orbit:
            yield seen
            seen, used = {source: [] for source in seen}, 0
        seen.setdefault(part.source, []).append(part)
        used, orbit = used + len(part.records), part.orbit
    yield seen


def split_records(stream: BinaryIO, form: BlockFormat) -> Iterator[tuple[NDArray[np.uint32], Any] | bytes]:
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
    parts: Iterable[tuple[NDArray[np.uint32], Any] | bytes], found: StoredContent, quality: ReadQuality
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


def _in_time(
    parts: Iterable[tuple[NDArray[np.uint32], NDArray[np.int64]]], form: BlockFormat, rows: int
) -> Iterator[Decoded]:
    """Decode bare records, `rows` at a time; records of an earlier time begin anew."""
    for words, starts in parts:
        orbit, bx = (words[starts + 2] & ORBIT_MASK).astype(np.int64), words[starts + 1] & form.bx_mask
        for first, last in time_spans(order_of_time(orbit, bx), rows):
            yield decode_records(words, starts[first:last], form)


def time_spans(time: NDArray[np.int64], rows: int) -> Iterator[tuple[int, int]]:
    """Cut records into spans of at most `rows` whose times rise."""
    back = np.flatnonzero(time[1:] <= time[:-1]) + 1
    cuts = np.union1d(back, np.arange(0, time.size + rows, rows).clip(max=time.size))
    yield from pairwise(np.union1d([0, time.size], cuts).tolist())


def read_pieces(
    pieces: Iterable[Decoded], rows: int, found: StoredContent, quality: ReadQuality
) -> Iterator[OrbitBatch]:
    """Give the muons of bare records by whole orbits, without those that were read before.

    Parameters
    ----------
    pieces : iterable of Decoded
        Each in order of time.
    rows : int
        About as many in a batch.
    found : StoredContent
    quality : ReadQuality
    """
    flagged = np.zeros(0, np.int64)

    def muons() -> Iterator[OrbitBatch]:
        nonlocal flagged
        for piece in pieces:
            found.add(piece)
            flagged = np.union1d(flagged, piece.flagged)
            yield replace(piece.objects, lumisection=lumisection(piece.objects.orbit))

    for batch in whole_orbits(muons()):
        orbits = np.unique(batch.orbit)
        new = quality.new_contents(orbits, orbit_checksums(batch, orbits))
        if not new.all():
            batch = batch.take(np.flatnonzero(np.isin(batch.orbit, orbits[new])))
        here = np.intersect1d(flagged, orbits)
        batch = quality.flag(batch, np.intersect1d(here, orbits[new]))
        flagged = np.setdiff1d(flagged, here)
        for piece in split_orbits(batch, np.unique(batch.orbit), rows):
            yield replace(piece, n_orbits=None, first_orbit=None)


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
        yield batch.span(low, high, orbits[a:b])
        a = b


class StoredReader(FormatReader):
    """Describes .raw files and records: what they were read from, and what was left out."""

    removes_duplicates = True

    def read(self, file: InputFile, rows: int, quality: ReadQuality) -> Iterator[OrbitData]:
        """Read muons."""
        return self.read_content(file, rows, quality, StoredContent())

    def read_content(
        self, file: InputFile, rows: int, quality: ReadQuality, found: StoredContent
    ) -> Iterator[OrbitData]:
        """Read muons, and note what the file holds."""
        raise NotImplementedError

    def describe(self, file: InputFile) -> dict[str, Any]:
        """Return what the muons are, the frames of each source, and what was left out."""
        found, quality = StoredContent(), ReadQuality()
        summary = summarize(self.read_content(file, ROWS, quality, found), quality)
        out = {"compression": file.compression, "form": found.form, **summary}
        header = found.header
        if header is not None:
            out["said"] = {n: getattr(header, n) for n in ("run", "lumisection", "orbits", "size")}
            out["frames_by_source"] = {str(k): n for k, n in sorted(found.sources.items())}
            out |= {n: getattr(header, n) for n in ("missing_orbits", "missing_bytes")}
        out |= {n: getattr(quality, n) for n in ("duplicate_orbits", "repeated_orbits")}
        counts = ("flagged", "corrupt", "corrupt_bytes")
        return out | {"flagged_orbits" if n == "flagged" else n: getattr(found, n) for n in counts}
