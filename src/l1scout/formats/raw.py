"""CMSSW's scouting file, ``.raw``: a header, then a frame for each orbit with its zero-suppressed records.

Frames have their own checksum: damage costs an orbit, not the file. Empty orbits have a frame too. Headers
are under no checksum: a file's header is compared with its frames, and a frame's with those beside it
(`formats.frame_checks`).

Orbit numbers have 31 bits. Where they begin anew, in a new epoch, a frame's lumisection goes on counting: a
frame whose lumisection follows from its orbit, (lumisection - 1) mod 8192 = orbit / 2^18, has the orbit
number epoch x 2^31 + orbit, with epoch (lumisection - 1) / 8192.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from struct import Struct
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from crc32c import crc32c
from numpy.typing import NDArray

from l1scout.formats.frame_checks import SECTIONS_PER_EPOCH, are_dated, checked
from l1scout.formats.marks import ALL_MARKS, MARK_BITS, REPEATED
from l1scout.formats.packets import PacketOrbits
from l1scout.formats.records import ORBIT, ORBIT_MASK
from l1scout.jit import kernel
from l1scout.lhc import ORBITS_PER_LUMISECTION

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
MAX_FRAME_BYTES = 1 << 24
"""Of any source, when read from a stream: GMT frames have 0.73 MB at most, calorimeter ones 0.84 MB. It is
reached by 1640 towers in each of 2544 crossings."""
PIECE = 1 << 22
_BEGINNING_BYTES = 8
_CONSTANT = MAGIC + FILE_HEADER.itemsize.to_bytes(2, "little") + DATA_TYPE.to_bytes(2, "little")
"""Of the file's header."""
_WITNESSES = 16
"""Frames that are asked for the run at most."""
EPOCH_AT = ORBIT["orbit"].width
"""Lowest bit of the epoch in an orbit's number."""


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
        Left out because their BX is above 3564.
    objects : mapping of str to int
        Objects by kind, see `formats.stream.Stream.counts`.
    """

    words: NDArray[np.uint32]
    starts: NDArray[np.int64]
    orbit: NDArray[np.int64]
    bad_blocks: int
    objects: Mapping[str, int]


def frame_heads(packet: PacketOrbits, run: int, source: int) -> NDArray[np.uint32]:
    """Return words 0 to 3 of the header of each orbit's frame, and the source id: shape (orbits, 5)."""
    heads = np.empty((len(packet.orbit), 5), np.uint32)
    _fill_heads(packet.orbit, packet.marks, run, source, heads)
    return heads


@kernel
def _fill_heads(orbit: Any, marks: Any, run: Any, source: Any, heads: Any) -> None:
    for k in range(orbit.size):
        heads[k, 0] = (marks[k] & np.uint32(ALL_MARKS)) << np.uint32(16 + MARKS_AT) | np.uint32(VERSION)
        heads[k, 1], heads[k, 4] = run, source
        heads[k, 2], heads[k, 3] = 1 + orbit[k] // ORBITS_PER_LUMISECTION, orbit[k] & ORBIT_MASK


def first_words(marks: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return the first word of frames of orbits with such marks."""
    return (marks & np.uint32(ALL_MARKS)) << np.uint32(16 + MARKS_AT) | np.uint32(VERSION)


def sum_frames(words: NDArray[np.uint32], starts: NDArray[np.int64]) -> None:
    """Fill in the checksums of frames that begin at `starts` (with their end, shape (frames + 1,))."""
    data = words.data.cast("B")
    sums = [crc32c(data[a + 4 * HEAD_WORDS : b]) for a, b in pairwise((4 * starts).tolist())]
    words[starts[:-1] + 5] = sums


def file_header(run: int, lumi: int, orbits: int, size: int) -> bytes:
    """Encode the file's header; `size` is of the whole file in bytes."""
    head = np.array((MAGIC, FILE_HEADER.itemsize, DATA_TYPE, orbits, run, lumi, size), FILE_HEADER)
    return head.tobytes()


class Frame(NamedTuple):
    """An orbit's frame in a file: where it is, its head (with the source id) and its records (without).

    `orbit` has the epoch above its 31 bits, where the lumisection is that of the orbit in an epoch.
    """

    start: int
    stop: int
    run: int
    lumisection: int
    orbit: int
    source: int
    head: memoryview
    records: memoryview

    @property
    def flags(self) -> int:
        """Flags of the frame's header."""
        return self.head[2] | self.head[3] << 8

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
        As its header says; the run as the frames have it. An unfinished file has `size` 0.
    is_damaged : bool
        Whether the header contradicts the frames.
    corrupt, corrupt_bytes : int
        Stretches that could not be read, filled while reading. An end that is missing, and a damaged header,
        count as one each.
    missing_orbits, missing_bytes : int
        What the header announces and the file does not have, filled when the end is reached.
    """

    run: int
    lumisection: int
    orbits: int
    size: int
    is_damaged: bool = False
    corrupt: int = 0
    corrupt_bytes: int = 0
    missing_orbits: int = 0
    missing_bytes: int = 0

    def count_lost(self, size: int, *, more: bool) -> None:
        """Count bytes that are no frame; `more`: of the stretch that was counted last."""
        self.corrupt += not more
        self.corrupt_bytes += size

    def end(self, size: int, frames: int, *, lost: bool) -> None:
        """Compare the header with the file's size and frames; `lost`: its last bytes are no frame."""
        if self.size:
            missing_orbits, missing_bytes = max(self.orbits - frames, 0), max(self.size - size, 0)
            if not self.corrupt and (missing_orbits == 0) != (missing_bytes == 0):
                # all is there by one of them: the other is damaged, or the file was cut between two frames
                self.is_damaged |= missing_bytes == 0 or self.orbits == frames
                missing_orbits *= missing_bytes > 0
                missing_bytes *= self.orbits != frames
            self.missing_orbits, self.missing_bytes = missing_orbits, missing_bytes
            self.corrupt += bool(missing_bytes) and not lost
        if self.is_damaged:
            self.corrupt, self.corrupt_bytes = self.corrupt + 1, self.corrupt_bytes + FILE_HEADER.itemsize


def read_header(data: bytes | memoryview) -> RawFile | None:
    """Decode the header of a file from its first bytes; None if it is none.

    Where there are frames among the bytes, a damaged header is one, too: the file is recognised by them, and
    its run is the one that most of them state.
    """
    view = memoryview(data)
    if len(view) < FILE_HEADER.itemsize:
        return None
    damaged = bytes(view[: len(_CONSTANT)]) != _CONSTANT
    if damaged and not _is_frame(view, FILE_HEADER.itemsize):
        return None
    head = np.frombuffer(view, FILE_HEADER, 1)[0]
    run, votes = int(head["run"]), _runs(view)
    likely, n = votes.most_common(1)[0] if votes else (run, 0)
    if n > 1 or damaged:
        damaged, run = damaged or likely != run, likely
    return RawFile(run, int(head["lumisection"]), int(head["orbits"]), int(head["fileSize"]), damaged)


def frames_without_header(data: bytes | memoryview) -> RawFile | None:
    """Return a file's description by its frames alone; None if it has none with a checksum."""
    votes = _runs(memoryview(data))
    return RawFile(votes.most_common(1)[0][0], 0, 0, 0, is_damaged=True) if votes else None


def _is_frame(view: memoryview, at: int) -> bool:
    """Return whether a frame with a checksum lies there, whatever its run."""
    frame = _frame_at(view, at, None)
    return frame is not None and any(frame.head[20:24])


def _runs(view: memoryview) -> Counter[int]:
    """Count the runs that the first frames with checksums state."""
    votes, begins, at = Counter[int](), _beginning(None), FILE_HEADER.itemsize
    while at < len(view) and votes.total() < _WITNESSES:
        frame = _frame_at(view, at, None)
        if frame is None or not any(frame.head[20:24]):
            at = _find(view, begins, at + 1)
            continue
        votes[frame.run] += 1
        at = frame.stop
    return votes


def read_frames(data: bytes | memoryview, found: RawFile) -> Iterator[Frame]:
    """Walk through the frames of a file, header and all, and over what is damaged.

    A frame counts if its checksum fits and its header agrees with the frames beside it; after one that does
    not fit, the next place that begins as the file's frames do is tried.

    Parameters
    ----------
    data : bytes-like
        May be a memory map: nothing is copied.
    found : RawFile
        From `read_header`; gets the corrupt stretches counted.
    """
    view = memoryview(data)
    parts, _ = split_parts(view, FILE_HEADER.itemsize, found.run, last=True)
    frames, lost = 0, False
    for part in checked(parts, {}):
        if isinstance(part, Frame):
            yield part
            frames += 1
        else:
            found.count_lost(len(part), more=lost)
        lost = not isinstance(part, Frame)
    found.end(len(view), frames, lost=lost)


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
    frames, held, done, lost, last, before = 0, b"", 0, False, False, dict[int, int]()
    while not last:
        piece = stream.read(PIECE)
        held, last = held + piece, not piece
        parts, at = split_parts(memoryview(held), 0, found.run, last=last, base=done)
        for part in checked(parts, before):
            if isinstance(part, Frame):
                yield part
                frames += 1
            else:
                found.count_lost(len(part), more=lost)
                yield bytes(part)
            lost = not isinstance(part, Frame)
        held, done = held[at:], done + at
    found.end(FILE_HEADER.itemsize + done, frames, lost=lost)


def split_parts(
    view: memoryview, at: int, run: int, *, last: bool, base: int = 0
) -> tuple[list[Frame | memoryview], int]:
    """Return frames and what lies between them, and where to go on when more was read."""
    parts, begins = list[Frame | memoryview](), _beginning(run)
    while at < len(view):
        frame = _frame_at(view, at, run, base)
        if frame is not None:
            parts.append(frame)
            at = frame.stop - base
            continue
        if not last and may_go_on(view, at, run):
            break
        stop = _find(view, begins, at + 1)
        if stop == len(view) and not last:
            stop -= _BEGINNING_BYTES
        parts.append(view[at:stop])
        at = stop
    return parts, at


def epochs(lumisections: NDArray[np.int64], orbits: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the epochs of frames by the lumisections and orbits of their headers; see `Frame`."""
    return np.where(are_dated(lumisections, orbits), (lumisections - 1) // SECTIONS_PER_EPOCH, 0)


def frame_marks(first_words: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return the marks in the first words of frames' headers."""
    return np.asarray(first_words >> np.uint32(16 + MARKS_AT))


def _beginning(run: int | None) -> re.Pattern[bytes]:
    """Return what matches the first 8 bytes of a frame of the run (or any), with marks but no other flags."""
    version = np.array(VERSION, "<u2").tobytes()
    flags = b"".join(bytes([marks << (MARKS_AT - 8)]) for marks in range(1 << MARK_BITS))
    of_run = b"...." if run is None else re.escape(np.array(run, "<u4").tobytes())
    return re.compile(re.escape(version) + b"\0[" + re.escape(flags) + b"]" + of_run, re.DOTALL)


def _frame_at(view: memoryview, at: int, run: int | None, base: int = 0) -> Frame | None:
    first = at + _HEAD_BYTES
    if first + 4 > len(view):
        return None
    version, _, said, lumi, orbit, size, crc, source = _HEAD.unpack_from(view, at)
    stop = first + size
    if version != VERSION or (said != run and run is not None) or stop < first + 4 or stop > len(view):
        return None
    if crc and crc32c(view[first:stop]) != crc:
        return None
    head, records = view[at : first + 4], view[first + 4 : stop]
    orbit &= ORBIT_MASK
    if lumi > SECTIONS_PER_EPOCH and (lumi - 1 - orbit // ORBITS_PER_LUMISECTION) % SECTIONS_PER_EPOCH == 0:
        orbit |= (lumi - 1) // SECTIONS_PER_EPOCH << EPOCH_AT
    return Frame(base + at, base + stop, said, lumi, orbit, source, head, records)


def may_go_on(view: memoryview, at: int, run: int) -> bool:
    """Return whether a frame of the run may begin there of which not all is read."""
    if at + _HEAD_BYTES + 4 > len(view):
        return True
    version, _, said, _, _, size, _, _ = _HEAD.unpack_from(view, at)
    return bool(version == VERSION and said == run) and len(view) - at - _HEAD_BYTES < size <= MAX_FRAME_BYTES


def _find(view: memoryview, begins: re.Pattern[bytes], at: int, piece: int = 1 << 20) -> int:
    """Return the first position from `at` on where a frame may begin, or the end."""
    while at < len(view):
        found = begins.search(view[at : at + piece + _BEGINNING_BYTES])
        if found:
            return at + found.start()
        at += piece
    return len(view)
