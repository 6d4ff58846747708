"""Segments that are ``.raw`` files: what wire formats share whose orbits become frames."""

from collections.abc import Mapping, Sequence
from itertools import compress

import numpy as np
from crc32c import crc32c
from numpy.typing import NDArray

from l1scout.formats.decoded import Decoded
from l1scout.formats.frame_checks import mended_marks
from l1scout.formats.marks import stated_origin
from l1scout.formats.packets import PacketOrbits
from l1scout.formats.payloads import Payloads
from l1scout.formats.raw import (
    FILE_HEADER,
    FRAME_WORDS,
    HEAD_WORDS,
    Frame,
    Frames,
    RawFile,
    file_header,
    first_words,
    frame_heads,
    frames_without_header,
    read_frames,
    read_header,
    sum_frames,
)
from l1scout.formats.raw_objects import decode_frames
from l1scout.formats.stream import STREAMS, Stream, add_counts, decode_streams
from l1scout.formats.wire_format import Choice, WireFormat


class RawSegmentFormat(WireFormat):
    """A wire format whose segments are ``.raw`` files: a frame for each orbit, with a checksum.

    A subclass implements `recognises`, `split` and `find_orbits`. If the orbits of its packets are records of
    32-bit words as its streams decode them (`PacketOrbits.rows` of shape (words, 1)), that is all; otherwise
    it replaces `decode`, `frame_room` and `frame`, too. Several streams have their objects in the same
    records, and a source id that all of them have.
    """

    has_checksums = True

    def decode(self, orbits: PacketOrbits) -> Mapping[str, Decoded]:
        """Decode the objects of orbits."""
        streams = [STREAMS[name] for name in self.streams]
        words, bounds = _payloads(orbits)
        shared = set.intersection(*(set(stream.source_ids) for stream in streams))
        source = next(number for number in streams[0].source_ids if number in shared)
        return decode_payloads(streams, words, bounds, source)

    def frame_room(self, orbits: PacketOrbits) -> int:
        """Return the words that the frames of orbits take."""
        return int((orbits.spans[:, 1] - orbits.spans[:, 0] + FRAME_WORDS).sum())

    def frame(
        self, orbits: PacketOrbits, run: int, source: int, out: NDArray[np.uint32] | None = None
    ) -> Frames:
        """Write a frame for each orbit, with its words as they are."""
        room = self.frame_room(orbits)
        out = np.empty(room, np.uint32) if out is None else out
        if out.size < room:
            msg = f"frames need {room} words, but there is room for {out.size}"
            raise ValueError(msg)
        payload, bounds = _payloads(orbits)
        sizes = np.diff(bounds)
        starts = np.r_[0, np.cumsum(sizes + FRAME_WORDS)]
        words, heads = out[:room], frame_heads(orbits, run, source)
        for k, start in enumerate(starts[:-1].tolist()):
            words[start : start + 4], words[start + 4] = heads[k, :4], 4 * (1 + sizes[k])
            words[start + 6] = heads[k, 4]
            words[start + FRAME_WORDS : starts[k + 1]] = payload[bounds[k] : bounds[k + 1]]
        sum_frames(words, starts)
        objects: dict[str, int] = {}
        for name, part in self.decode(orbits).items():
            add_counts(objects, STREAMS[name].counts(part.objects))
        return Frames(words, starts, orbits.orbit, 0, objects)

    def segment_header(self, run: int, lumisection: int, orbits: int, size: int) -> bytes:
        """Return the header of a ``.raw`` file."""
        return file_header(run, lumisection, orbits, size)

    def mended_heads(self, marks: NDArray[np.uint32]) -> tuple[NDArray[np.uint32], Mapping[int, bytes]]:
        """Return the marks of frames as readers believe them, and the first word of those that change."""
        mended = mended_marks(marks)
        while not np.array_equal(mended, again := mended_marks(mended)):  # they are judged by those beside
            mended = again
        heads = first_words(mended)
        return mended, {int(k): heads[k].tobytes() for k in np.flatnonzero(mended != marks)}

    def salvage(self, data: bytes, source: int, choose: Choice | None = None) -> tuple[bytes, list[int]]:
        """Return the frames of the source whose checksum fits; without the others, they read back as such."""
        header = data[: FILE_HEADER.itemsize]
        while True:
            frames = [f for f in _frames(data) if f.source == source]
            if choose:
                frames = list(compress(frames, choose(*_numbers(frames)).tolist()))
            body = b"".join(data[f.start : f.stop] for f in frames)
            if len(header) + len(body) == len(data):
                return body, [f.orbit for f in frames]
            data = header + body  # frames are judged by those beside them: these may be others now

    def with_source(self, data: bytes, source: int) -> bytes:
        """Return a ``.raw`` file with another source id in each frame, and the checksums of that."""
        frames, changed = _frames(data), bytearray(data)
        words = np.frombuffer(changed, "<u4", len(changed) // 4)
        starts = np.array([f.start for f in frames], np.int64) // 4
        words[starts + HEAD_WORDS] = source
        for frame, start in zip(frames, starts.tolist(), strict=True):
            words[start + 5] = crc32c(memoryview(changed)[frame.start + 4 * HEAD_WORDS : frame.stop])
        return bytes(changed)

    def simulated(self, data: bytes) -> bool | None:
        """Return whether the frames of a ``.raw`` file state that they are simulated."""
        return stated_origin(np.array([f.marks for f in _frames(data)], np.int64))

    def count_objects(self, data: bytes) -> dict[str, int]:
        """Count the objects of a ``.raw`` file."""
        found, frames, total = read_header(data) or RawFile(0, 0, 0, 0), _frames(data), dict[str, int]()
        for stream in (STREAMS[name] for name in self.streams):
            add_counts(total, stream.counts(decode_frames(self._own(frames, stream), stream, found).objects))
        return total

    def _own(self, frames: list[Frame], stream: Stream) -> list[Frame]:
        """Return the frames of a stream: all, whatever their source, if it is the only one."""
        return frames if len(self.streams) == 1 else [f for f in frames if f.source in stream.source_ids]


def decode_payloads(
    streams: Sequence[Stream], words: NDArray[np.uint32], bounds: NDArray[np.int64], source: int
) -> dict[str, Decoded]:
    """Decode payloads of one source id, as `Stream.decode` takes them, for all streams that it has."""
    made: dict[str, Decoded] = {}
    sources = np.full(bounds.size - 1, source, np.int64)
    for name, (part, ends) in decode_streams(streams, Payloads.of(words, bounds, sources)).items():
        lost = 4 * (bounds[1:] - ends) * (not made)  # what they share is damaged once
        bad = int(np.count_nonzero(lost)), int(lost.sum())
        made[name] = Decoded(part.objects, part.flagged, *bad)
    return made


def _frames(data: bytes) -> list[Frame]:
    found = read_header(data) or frames_without_header(data)
    return list(read_frames(data, found)) if found else []


def _numbers(frames: list[Frame]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the lumisections and orbits of frames."""
    return np.array([f.lumisection for f in frames], np.int64), np.array([f.orbit for f in frames], np.int64)


def _payloads(orbits: PacketOrbits) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Return the words of all orbits, and where those of each begin and the last ones end."""
    parts = [orbits.rows[first:end].reshape(-1) for first, end in orbits.spans]
    bounds = np.r_[0, np.cumsum([part.size for part in parts])].astype(np.int64)
    return np.concatenate([np.zeros(0, np.uint32), *parts]), bounds
