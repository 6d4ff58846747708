"""The note of a segment: its description and the readout's position, with a checksum of its own.

A note lies as ``NAME.json`` beside the segment in the spool, travels with it to the store, and lies beside it
there: the files alone show what happened to every orbit.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from crc32c import crc32c
from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationError

from l1scout.core.provenance import DataLabel
from l1scout.errors import InputError, first_fault
from l1scout.files import read_limited
from l1scout.readout.object_counts import I64, U16, U32, U63
from l1scout.readout.orbit_numbers import EPOCH_ORBITS
from l1scout.readout.segments import CLOSED, Segment, parse_name

MAX_NOTE_BYTES = 1 << 14


@dataclass(frozen=True)
class ReadoutPosition:
    """Position of the readout in a run: what the next segment begins with.

    Parameters
    ----------
    index : int
        Of the next segment.
    epoch : int
        How often the orbit number has begun again: it wrapped at 2**31, or the board restarted at 0.
    last_orbit : int
        Last orbit written, in this epoch; -1 before the first.
    board_orbits, board_dropped : int
        The board's counters as far as they are accounted for.
    gap_orbits : int
        Orbits by number that have passed, did not arrive and are not counted: the board was idle, or its
        counters do not show it yet.
    unaccounted : int
        Of these, orbits whose account was lost with a process that was killed.
    ended : bool
        Whether the last segment of the run is written.
    data : str
        ``simulated``, ``real`` or ``unknown``: of the newest orbits.
    """

    index: U63 = 0
    epoch: U16 = 0
    last_orbit: Annotated[int, Strict(), Field(ge=-1, lt=1 << 31)] = -1
    board_orbits: U63 = 0
    board_dropped: U63 = 0
    gap_orbits: I64 = 0
    unaccounted: I64 = 0
    ended: Annotated[bool, Strict()] = False
    data: DataLabel = "unknown"
    __pydantic_config__ = CLOSED

    @property
    def absolute_orbit(self) -> int:
        """Last orbit written, counted over all epochs; -1 before the first."""
        return self.epoch * EPOCH_ORBITS + self.last_orbit


class SegmentNote(BaseModel):
    """Description of a segment, and the readout's position after it.

    Parameters
    ----------
    segment : Segment
    position : ReadoutPosition
    crc32c : int
        Of the rest of the note as JSON; `encode` fills it in, `decode` compares it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    segment: Segment
    position: ReadoutPosition
    crc32c: U32 = Field(0, description="Checksum of the note without this field.")

    def encode(self) -> bytes:
        """Return the note as a line of JSON in ASCII, with its checksum."""
        content = self._content()
        return json.dumps(content | {"crc32c": _checksum(content)}, separators=(",", ":")).encode("ascii")

    @classmethod
    def decode(cls, text: bytes | str) -> "SegmentNote":
        """Read a note from an untrusted peer or a file (InputError if it is damaged or not possible)."""
        try:
            note = cls.model_validate_json(text)
        except ValidationError as error:
            msg = f"note of a segment: {first_fault(error)}"
            raise InputError(msg) from error
        if _checksum(note._content()) != note.crc32c:
            msg = "note of a segment: its checksum is wrong"
            raise InputError(msg)
        return note

    @property
    def contradiction(self) -> str:
        """What in the position does not follow from the segment; empty if all does.

        A readout that has lost its spool goes on from the newest position in the store: a wrong one would end
        the run, or have all later orbits left out.
        """
        segment, position = self.segment, self.position
        if position.index != segment.index + 1:
            return f"the position after segment {segment.index} has index {position.index}"
        if position.ended != segment.last:
            return "segment and position differ in whether the run has ended"
        last = (position.epoch, position.last_orbit)
        if segment.orbits and last < (segment.epoch, segment.last_orbit):
            return f"the position is before the segment's last orbit, {segment.last_orbit}"
        return ""

    def _content(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude={"crc32c"})


def read_note(path: Path) -> SegmentNote | None:
    """Read the note of a segment; None if it is missing, incomplete or damaged."""
    try:
        return SegmentNote.decode(read_limited(path, MAX_NOTE_BYTES, "no note of a segment is so large"))
    except InputError:
        return None


def note_of(segment: Path) -> Path:
    """Return where the note of a segment's file lies."""
    return segment.with_name(segment.name + ".json")


def part_of(segment: Path) -> Path:
    """Return where a segment's file lies while it is written."""
    return segment.with_name(segment.name + ".part")


def by_identity(note: Path) -> tuple[int, int, int]:
    """Return run, source and index of a note by its name, to sort notes."""
    name = parse_name(note.stem) or {"run": 0, "source": 0, "index": -1}
    return int(name["run"]), int(name["source"]), int(name["index"])


def _checksum(content: dict[str, Any]) -> int:
    return crc32c(json.dumps(content, separators=(",", ":"), sort_keys=True).encode())
