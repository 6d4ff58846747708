"""Compare the note of a segment with the segment's own bytes."""

from typing import Any

import numpy as np

from l1scout.formats.marks import ALL_MARKS, REAL, SIMULATED
from l1scout.formats.raw import FRAME_HEADER, MARKS_AT, VERSION
from l1scout.formats.raw_segments import RawSegmentFormat
from l1scout.formats.wire_format import WIRE_FORMATS
from l1scout.jit import kernel
from l1scout.lhc import lumisection
from l1scout.readout.orbit_numbers import EPOCH_ORBITS
from l1scout.readout.segments import Segment

_HEAD_WORDS = FRAME_HEADER.itemsize // 4
_MISFITS = ("", "does not fit into the file", "has another version, run or lumisection", "has another source",
            "has an orbit number that is not larger than the one before")  # fmt: skip


def contradiction(data: memoryview, segment: Segment) -> str:
    """Say where a segment's bytes contradict its note; empty if they do not.

    Looks at the header of the file and at those of its frames: run, lumisection, source, number of orbits,
    the first and the last one, and whether they are simulated. It does not look at the records. Of formats
    without frames, it compares the lumisection of the note with its orbits.
    """
    wire_format = WIRE_FORMATS[segment.wire_format]
    header = wire_format.segment_header(segment.run, segment.lumisection, segment.orbits, segment.size)
    if bytes(data[: len(header)]) != header:
        return "the file begins with another header (run, lumisection, orbits and size)"
    base = segment.epoch * EPOCH_ORBITS
    sections = {int(n) for n in lumisection([base + segment.first_orbit, base + segment.last_orbit])}
    if segment.orbits and sections != {segment.lumisection}:
        return f"orbits {segment.first_orbit} to {segment.last_orbit} are not in its lumisection"
    if isinstance(wire_format, RawSegmentFormat):
        return _in_frames(data[len(header) :], segment)
    return ""


def _in_frames(data: memoryview, segment: Segment) -> str:
    words = np.frombuffer(data, "<u4", len(data) // 4)
    misfit, n, first, last, any_marks, all_marks = _walk(
        words, segment.run, segment.lumisection, segment.source
    )
    if misfit or len(data) % 4:
        return f"frame {n} {_MISFITS[misfit or 1]}"
    if n != segment.orbits:
        return f"the file has {n} orbits, the note {segment.orbits}"
    if n and (first, last) != (segment.first_orbit, segment.last_orbit):
        noted = f"{segment.first_orbit} to {segment.last_orbit}"
        return f"the file has orbits {first} to {last}, the note {noted}"
    if any_marks & SIMULATED and segment.data != "simulated":
        return f"the orbits are simulated, the note says {segment.data}"
    if n and all_marks & REAL and segment.data == "simulated" and not any_marks & SIMULATED:
        return "the orbits are real, the note says simulated"
    return ""


@kernel
def _walk(words: Any, run: Any, lumisection: Any, source: Any) -> Any:
    """Walk over frames: misfit, number of frames, first and last orbit, marks of any and of all orbits."""
    at, n = np.int64(0), 0
    first, last, any_marks, all_marks = np.int64(-1), np.int64(-1), np.int64(0), np.int64(ALL_MARKS)
    while at < words.size:
        if at + _HEAD_WORDS >= words.size:
            return 1, n, first, last, any_marks, all_marks
        size, orbit = np.int64(words[at + 4]), np.int64(words[at + 3])
        if size < 4 or size % 4 or size // 4 > words.size - at - _HEAD_WORDS:
            return 1, n, first, last, any_marks, all_marks
        if (words[at] & 0xFFFF) != VERSION or words[at + 1] != run or words[at + 2] != lumisection:
            return 2, n, first, last, any_marks, all_marks
        if words[at + _HEAD_WORDS] != source:
            return 3, n, first, last, any_marks, all_marks
        if orbit <= last:
            return 4, n, first, last, any_marks, all_marks
        marks = np.int64(words[at]) >> (16 + MARKS_AT) & ALL_MARKS
        any_marks, all_marks = any_marks | marks, all_marks & marks
        first = orbit if n == 0 else first
        at, n, last = at + _HEAD_WORDS + size // 4, n + 1, orbit
    return 0, n, first, last, any_marks, all_marks


def compile_checks() -> None:
    """Compile the kernel, which takes a second at the first start on a machine."""
    _walk(np.zeros(0, np.uint32), 0, 0, 0)
