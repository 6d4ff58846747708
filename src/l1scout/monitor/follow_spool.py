"""Read the segments of a spool while a readout writes them.

The readout does not know of it: it writes its files as always, and whoever reads them can be slow, stop or
die. Of a stopped reader, at most one segment that is gone elsewhere keeps its room on the disk.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import OrbitData, Origin
from l1scout.files import open_own
from l1scout.formats.raw import FILE_HEADER, Frame, RawFile, read_header, split_raw
from l1scout.formats.raw_objects import decode_shared_frames
from l1scout.formats.raw_segments import RawSegmentFormat
from l1scout.formats.stream import Stream, streams_of_sources
from l1scout.formats.wire_format import WIRE_FORMATS
from l1scout.io.quality import ReadQuality
from l1scout.readout.segment_note import part_of
from l1scout.readout.segments import parse_name

POLL_S = 0.04
"""Between two looks for more."""
BEHIND_S = 0.2
"""If what is next to be read was written longer ago, reading goes on with what is written from now on."""
FRESH_S = 0.05
"""Of what waits then, that which was written within this time is not left out."""
PIECE_BYTES = 2 << 20
"""Read at a time at most: some 30 ms at the LHC's rate, so that the age of what waits is looked at often."""
FRAMES = 1 << 9
"""Orbits that are decoded at a time at most."""
_PART = ".part"
Take = Callable[[OrbitData], None]


@dataclass(frozen=True)
class SpooledSegment:
    """A segment in a spool: its place in its run, and its file when it is complete."""

    run: int
    source: int
    index: int
    path: Path


class SpoolFollower:
    """Follows one source of a run through the segments of a spool, and goes over to newer runs.

    Parameters
    ----------
    folder : Path
        The spool; it need not be there yet.
    source : int
    take : callable
        Gets the data, orbit by orbit in order of time.
    stopping : Event
        Ends it.

    Attributes
    ----------
    skipped_segments, skipped_bytes : int
        Segments, and bytes of others, that were left out, as this reader was too slow, or late.
    corrupt : int
        Stretches of files that could not be read.
    """

    def __init__(self, folder: Path, source: int, take: Take, stopping: threading.Event) -> None:
        self._folder, self._source, self._take, self._stopping = folder, source, take, stopping
        self.skipped_segments = self.skipped_bytes = self.corrupt = 0
        self._since_s: float | None = None
        self.quality = ReadQuality()
        self.quality.skip_flagged = True
        self._frames: list[Frame] = []
        self._header = RawFile(0, 0, 0, 0)

    def run(self) -> None:
        """Read until stopped."""
        last: SpooledSegment | None = None
        while not self._stopping.is_set():
            segment = self._next(last)
            if segment is None:
                self._since_s = time.monotonic()
                self._stopping.wait(POLL_S)
                continue
            if self._read(segment):
                last = segment

    def _next(self, last: SpooledSegment | None) -> SpooledSegment | None:
        """Return the segment to be read next; None if there is none yet."""
        found = sorted(segments_in(self._folder, self._source), key=lambda s: (s.run, s.index))
        if last is None:
            return found[-1] if found else None
        newer = [s for s in found if (s.run, s.index) > (last.run, last.index)]
        if not newer:
            return None
        chosen = newer[-1]
        if chosen.run == last.run:
            self.skipped_segments += chosen.index - last.index - 1
        return chosen

    def _read(self, segment: SpooledSegment) -> bool:
        """Read a segment to its end; return whether it was there."""
        try:
            file = _open(segment.path)
        except OSError:  # acknowledged and removed meanwhile
            return not part_of(segment.path).exists()
        with file:
            growing = GrowingFile(file, part_of(segment.path), self._stopping, self._pass_on, self._since_s)
            head = growing.read(FILE_HEADER.itemsize)
            header = read_header(head) if len(head) == FILE_HEADER.itemsize else None
            if header is None:
                self.corrupt += 1
                return True
            self._header = replace(header, size=0)  # what it announces need not all be read
            header = self._header
            for part in split_raw(cast(BinaryIO, growing), header):
                if isinstance(part, Frame):
                    self._frames.append(part)
                    if len(self._frames) >= FRAMES:
                        self._pass_on()
            self._pass_on()
            self.skipped_bytes += growing.skipped_bytes
            self.corrupt += max(header.corrupt - growing.jumps, 0)
            self._since_s = growing.complete_s
        return True

    def _pass_on(self) -> None:
        """Decode the orbits that were read so far."""
        frames, self._frames = self._frames, []
        if not frames:
            return
        streams: list[Stream] = streams_of_sources({frame.source for frame in frames})
        if streams:
            self._take(_decoded(frames, streams, self._header, self.quality, self._folder))


def _decoded(
    frames: list[Frame], streams: list[Stream], header: RawFile, quality: ReadQuality, folder: Path
) -> OrbitData:
    orbits = np.unique(np.array([frame.orbit for frame in frames], np.int64))
    made: dict[str, OrbitBatch] = {}
    for name, part in decode_shared_frames(frames, streams, header).items():
        good = quality.flag(part.objects, part.flagged)
        made[name] = good.with_orbits(np.setdiff1d(orbits, part.flagged))
    return OrbitData(made, None, Origin(str(folder)))


def segments_in(folder: Path, source: int) -> Iterator[SpooledSegment]:
    """Go through the segments of a source in a spool, those that are being written too."""
    names: set[str] = set()
    with suppress(OSError):
        names = {path.name.removesuffix(_PART) for path in folder.iterdir()}
    for name in names:
        known = parse_name(name)
        if known is None or known["source"] != source:
            continue
        if isinstance(WIRE_FORMATS[str(known["wire_format"])], RawSegmentFormat):
            yield SpooledSegment(int(known["run"]), source, int(known["index"]), folder / name)


def _open(path: Path) -> Any:
    """Open a segment, whether or not it is complete (OSError if it is gone)."""
    try:
        return open_own(part_of(path), "rb", buffering=0)
    except OSError:
        return open_own(path, "rb", buffering=0)


class GrowingFile:
    """A file that somebody writes: a read waits for more, until it is complete.

    What is next to be read is never older than `BEHIND_S` by much: if more comes than can be read, some is
    left out. Its age is that of the first look at which the file was long enough.

    Parameters
    ----------
    file : binary file
        Unbuffered.
    part : Path
        Name that it has until it is complete.
    stopping : Event
        Ends every wait.
    before_wait : callable
        Called when all that is there was read, and before something is left out.
    since_s : float, optional
        When writing began, by `clock`, if it is known: at the end of the segment before.
    clock : callable
        Seconds that never go back.

    Attributes
    ----------
    jumps, skipped_bytes : int
        How often something was left out, and how much.
    complete_s : float or None
        When the file was found to be complete.
    """

    def __init__(
        self,
        file: Any,
        part: Path,
        stopping: threading.Event,
        before_wait: Callable[[], None],
        since_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._file, self._part, self._stopping, self._before = file, part, stopping, before_wait
        self._clock, self._since_s = clock, since_s
        self._looks: deque[tuple[float, int]] = deque()
        self.jumps = self.skipped_bytes = 0
        self.complete_s: float | None = None

    def read(self, size: int) -> bytes:
        """Return 1 to `size` bytes, as soon as there are any; nothing at the end of a complete file."""
        while True:
            if self.complete_s is None and not self._part.exists():  # before the read: all of it is seen
                self.complete_s = self._clock()
            self._keep_up()
            piece: bytes = self._file.read(min(size, PIECE_BYTES))
            if piece or self.complete_s is not None or self._stopping.is_set():
                return piece
            self._before()
            self._stopping.wait(POLL_S)

    def _keep_up(self) -> None:
        """Note how long the file is, and leave out what has waited for too long."""
        at, size, now = self._file.tell(), os.fstat(self._file.fileno()).st_size, self._clock()
        if not self._looks or size > self._looks[-1][1]:
            self._looks.append((now if self._since_s is None else self._since_s, size))
            self._since_s = None
        while self._looks and self._looks[0][1] <= at:
            self._looks.popleft()
        if at < FILE_HEADER.itemsize or not self._looks or now - self._looks[0][0] <= BEHIND_S:
            return
        self._before()
        old = [until for looked, until in self._looks if now - looked > FRESH_S]
        self._file.seek(old[-1])
        self.jumps += 1
        self.skipped_bytes += old[-1] - at
