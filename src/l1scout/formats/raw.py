"""CMSSW's scouting file, ``.raw``: a header, then a frame for each orbit with its zero-suppressed records.

Frames have their own checksum: damage costs an orbit, not the file. Empty orbits have a frame too.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from struct import Struct
from typing import BinaryIO, NamedTuple

import numpy as np
from crc32c import crc32c
from numpy.typing import NDArray

from l1scout.formats.decoded import Decoded
from l1scout.formats.marks import ALL_MARKS, MARK_BITS, REPEATED, stated_origin
from l1scout.formats.packets import PacketOrbits
from l1scout.formats.records import ORBIT_MASK
from l1scout.formats.stream import Stream
from l1scout.lhc import lumisection

MAGIC = b"RAW_0002"
FILE_HEADER = np.dtype(
    [
        ("magic", "S8"),
        ("headerSize", "<u2"),
        ("type", "<u2"),
        ("orbits", "<u4"),
        ("run", "<u4"),
        ("lumisection", "<u4"),
        ("fileSize", "<u8"),
    ]
)
DATA_TYPE = 20
FRAME_HEADER = np.dtype(
    [
        ("version", "<u2"),
        ("flags", "<u2"),
        ("run", "<u4"),
        ("lumisection", "<u4"),
        ("orbit", "<u4"),
        ("payloadSize", "<u4"),
        ("crc32c", "<u4"),
    ]
)
"""Version 6. The payload is a source id (u32) and records; a checksum of 0 says that there is none."""
VERSION = 6
MARKS_AT = 16 - MARK_BITS
"""Lowest bit of `formats.marks` in an orbit's ``flags``: CMSSW leaves these bits unused."""
_HEAD = Struct("<HHIIIIII")
"""`FRAME_HEADER` and the source id: numpy takes longer over a single one."""
_HEAD_BYTES = FRAME_HEADER.itemsize
HEAD_WORDS = _HEAD_BYTES // 4
FRAME_WORDS = HEAD_WORDS + 1
"""Words before an orbit's records: its header and the source id."""
MAX_FRAME_BYTES = 1 << 20
"""Of any source, when read from a stream: GMT frames are at most 0.73 MB, calorimeter ones 0.84 MB."""
_PIECE = 1 << 22
_BEGINNING_BYTES = 8


@dataclass(frozen=True)
class Frames:
    """Orbits one after the other, as a segment's file has them.

    Parameters
    ----------
    words : ndarray of uint32
    starts : ndarray of int64, shape (orbits + 1,)
        Word at which each orbit begins, and their end.
    orbit : ndarray of int64, shape (orbits,)
    bad_blocks : int
        Left out because their BX is not 1..3564.
    objects : mapping of str to int
        Objects by kind, see `formats.stream.Stream.counts`.
    """

    words: NDArray[np.uint32]
    starts: NDArray[np.int64]
    orbit: NDArray[np.int64]
    bad_blocks: int
    objects: Mapping[str, int]


def frame_heads(packet: PacketOrbits, run: int, source: int) -> NDArray[np.uint32]:
    """Return words 0 to 3 of the header of each orbit's frame, and the source id: shape (orbits, 5).

    Orbits are absolute: a frame states the orbit in its epoch, and the epoch by its lumisection.
    """
    heads = np.empty((len(packet.orbit), 5), np.uint32)
    heads[:, 0], heads[:, 1], heads[:, 4] = VERSION, run, source
    heads[:, 0] |= (packet.marks & np.uint32(ALL_MARKS)) << np.uint32(16 + MARKS_AT)
    heads[:, 2], heads[:, 3] = lumisection(packet.orbit), packet.orbit & ORBIT_MASK
    return heads


def sum_frames(words: NDArray[np.uint32], starts: NDArray[np.int64]) -> None:
    """Fill in the checksums of frames that begin at `starts` (with their end, shape (frames + 1,))."""
    data = words.data.cast("B")
    for start, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        words[start + 5] = crc32c(data[4 * (start + HEAD_WORDS) : 4 * end])


def file_header(run: int, lumi: int, orbits: int, size: int) -> bytes:
    """Encode the file's header; `size` is of the whole file in bytes."""
    head = np.array((MAGIC, FILE_HEADER.itemsize, DATA_TYPE, orbits, run, lumi, size), FILE_HEADER)
    return head.tobytes()


class Frame(NamedTuple):
    """An orbit's frame in a file: where it is, its head (with the source id) and its records (without)."""

    start: int
    stop: int
    run: int
    lumisection: int
    orbit: int
    source: int
    head: memoryview
    records: memoryview

    @property
    def marks(self) -> int:
        """Bits of `formats.marks` that the orbit's board stated."""
        return self.head[3] >> (MARKS_AT - 8)

    @property
    def repeated(self) -> bool:
        """Whether the orbit repeats the content of an earlier one, as its board marked it."""
        return bool(self.marks & REPEATED)


@dataclass
class RawFile:
    """What a ``.raw`` file was found to hold.

    Parameters
    ----------
    run, lumisection, orbits, size : int
        As its header says; an unfinished file has `size` 0.
    corrupt, corrupt_bytes : int
        Stretches that could not be read, filled while reading. An end that is missing counts as one.
    missing_orbits, missing_bytes : int
        What the header announces and the file does not have, filled when the end is reached.
    """

    run: int
    lumisection: int
    orbits: int
    size: int
    corrupt: int = 0
    corrupt_bytes: int = 0
    missing_orbits: int = 0
    missing_bytes: int = 0

    def end(self, size: int, frames: int, *, lost: bool) -> None:
        """Compare the header with the file's size and frames; `lost`: its last bytes are no frame."""
        if not self.size:
            return
        self.missing_orbits = max(self.orbits - frames, 0)
        self.missing_bytes = max(self.size - size, 0)
        self.corrupt += bool(self.missing_bytes) and not lost


def read_header(data: bytes | memoryview) -> RawFile | None:
    """Decode the header of a file; None if it is none."""
    if len(data) < FILE_HEADER.itemsize or bytes(data[: len(MAGIC)]) != MAGIC:
        return None
    head = np.frombuffer(data, FILE_HEADER, 1)[0]
    if head["headerSize"] != FILE_HEADER.itemsize:
        return None
    return RawFile(int(head["run"]), int(head["lumisection"]), int(head["orbits"]), int(head["fileSize"]))


def read_frames(data: bytes | memoryview, found: RawFile) -> Iterator[Frame]:
    """Walk through the frames of a file, header and all, and over what is damaged.

    A frame counts if its checksum fits; after one that does not, the next place that begins as the
    file's frames do is tried.

    Parameters
    ----------
    data : bytes-like
        May be a memory map: nothing is copied.
    found : RawFile
        From `read_header`; gets the corrupt stretches counted.
    """
    view = memoryview(data)
    at = lost = FILE_HEADER.itemsize
    begins, frames = _beginning(found), 0
    while at < len(view):
        frame = _frame_at(view, at, found.run)
        if frame is None:
            at = _find(view, begins, at + 1)
            continue
        if at > lost:
            found.corrupt, found.corrupt_bytes = found.corrupt + 1, found.corrupt_bytes + at - lost
        yield frame
        at = lost = frame.stop
        frames += 1
    if len(view) > lost:
        found.corrupt, found.corrupt_bytes = found.corrupt + 1, found.corrupt_bytes + len(view) - lost
    found.end(len(view), frames, lost=len(view) > lost)


def split_raw(stream: BinaryIO, found: RawFile) -> Iterator[Frame | bytes]:
    """Cut what follows a file's header into frames and stretches of bytes that are none, in order.

    Every byte comes, in constant memory. A frame's `start` and `stop` are from the first byte of the
    stream's rest.

    Parameters
    ----------
    stream : binary file
        After its header; may be a decompressor.
    found : RawFile
        From `read_header`; gets the corrupt stretches counted.
    """
    begins, frames = _beginning(found), 0
    held, done, lost, last = b"", 0, False, False
    while not last:
        piece = stream.read(_PIECE)
        held, at, last = held + piece, 0, not piece
        view = memoryview(held)
        while at < len(held) and (last or len(held) - at >= MAX_FRAME_BYTES):
            frame = _frame_at(view, at, found.run, done)
            if frame is not None:
                yield frame
                at, lost, frames = frame.stop - done, False, frames + 1
                continue
            stop = _find(view, begins, at + 1)
            if stop == len(view) and not last:
                stop -= _BEGINNING_BYTES
            found.corrupt, found.corrupt_bytes = found.corrupt + (not lost), found.corrupt_bytes + stop - at
            yield held[at:stop]
            at, lost = stop, True
        held, done = held[at:], done + at
    found.end(FILE_HEADER.itemsize + done, frames, lost=lost)


def frame_marks(first_words: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return the marks in the first words of frames' headers."""
    return np.asarray(first_words >> np.uint32(16 + MARKS_AT))


def _beginning(found: RawFile) -> re.Pattern[bytes]:
    """Return what matches the first 8 bytes of a frame of the file, with any marks and no other flags."""
    version, run = (np.array(n, t).tobytes() for n, t in ((VERSION, "<u2"), (found.run, "<u4")))
    flags = b"".join(bytes([marks << (MARKS_AT - 8)]) for marks in range(1 << MARK_BITS))
    return re.compile(re.escape(version) + b"\0[" + re.escape(flags) + b"]" + re.escape(run), re.DOTALL)


def _frame_at(view: memoryview, at: int, run: int, base: int = 0) -> Frame | None:
    first = at + _HEAD_BYTES
    if first + 4 > len(view):
        return None
    version, _, said, lumi, orbit, size, crc, source = _HEAD.unpack_from(view, at)
    stop = first + size
    if version != VERSION or said != run or stop < first + 4 or stop > len(view):
        return None
    if crc and crc32c(view[first:stop]) != crc:
        return None
    head, records = view[at : first + 4], view[first + 4 : stop]
    return Frame(base + at, base + stop, said, lumi, orbit, source, head, records)


def _find(view: memoryview, begins: re.Pattern[bytes], at: int, piece: int = 1 << 20) -> int:
    """Return the first position from `at` on where a frame may begin, or the end."""
    while at < len(view):
        found = begins.search(view[at : at + piece + _BEGINNING_BYTES])
        if found:
            return at + found.start()
        at += piece
    return len(view)


def decode_frames(frames: Sequence[Frame], stream: Stream, found: RawFile) -> Decoded:
    """Decode the objects of frames of one stream; in each, up to a record that makes no sense."""
    words = np.frombuffer(b"".join(f.records[: len(f.records) & ~3] for f in frames), "<u4")
    sizes = np.array([len(f.records) for f in frames], np.int64)
    bounds = np.r_[0, np.cumsum(sizes // 4)]
    sources = np.array([f.source for f in frames], np.int64)
    part, ends = stream.decode(words, bounds, sources)
    lost = sizes - 4 * (ends - bounds[:-1])
    objects = replace(
        part.objects,
        run=np.full(len(part.objects), found.run, np.int64),
        lumisection=lumisection(part.objects.orbit),
        n_orbits=len(frames),
        simulated=stated_origin(np.array([f.marks for f in frames], np.int64)),
    )
    return Decoded(objects, part.flagged, int(np.count_nonzero(lost)), int(lost.sum()))
