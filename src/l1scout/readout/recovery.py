"""Recover what a killed readout, or a disk that was damaged, has left in a spool.

Every segment is to have a file and an intact note. Where one of the two is missing or damaged, it is made
from the other, and from the notes of the segments before and after: what orbits are gone is counted.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from l1scout.files import checksum, open_own
from l1scout.readout.orbit_numbers import begun_after, epoch_of
from l1scout.readout.salvage import salvage
from l1scout.readout.segment_note import (
    ReadoutPosition,
    SegmentNote,
    by_identity,
    note_of,
    part_of,
    read_note,
)
from l1scout.readout.segments import Segment, parse_name

if TYPE_CHECKING:
    from l1scout.readout.spool import Spool


def recover(spool: "Spool") -> list[Segment]:
    """Complete the segments of a spool; return those for which there was something to do, oldest first."""
    folder, found = spool.folder, []
    for draft in folder.glob("run*.json.new"):
        draft.unlink()
    files = (p for p in folder.glob("run*") if p.suffix != ".bad")
    names = {p.name.removesuffix(".json").removesuffix(".part") for p in files}
    waits: set[tuple[int, int]] = set()
    for path in sorted((note_of(folder / n) for n in names if parse_name(n)), key=by_identity):
        run, source, _ = by_identity(path)
        segment = _recover(spool, path.with_suffix(""), older_wait=(run, source) in waits)
        found += [segment] if segment else []
        if path.with_suffix("").exists():
            waits.add((run, source))
    return found


def _recover(spool: "Spool", path: Path, *, older_wait: bool) -> Segment | None:
    """Complete a segment; None if there is nothing to do, or nothing to save."""
    part, note = part_of(path), read_note(note_of(path))
    for one in (path, part, note_of(path)):
        if one.is_symlink():  # not ours
            spool.set_aside(one)
    if note is None and note_of(path).exists():
        spool.set_aside(note_of(path))
    if part.exists():
        if path.exists():
            part.unlink()  # a repair that was not completed
        elif note is None:
            return describe_anew(spool, path, part)
        elif checksum(part) == (note.segment.size, note.segment.crc32c):
            part.replace(path)
            return note.segment
        else:
            return _mend(spool, path, part, note)
    if path.exists() and note is None:
        return describe_anew(spool, path, path)
    if path.exists() and note and path.stat().st_size != note.segment.size:
        return spool.repair(note.segment)
    if note and older_wait and not path.exists():  # not acknowledged: the oldest goes first
        return _mend(spool, path, None, note)
    return None


def _mend(spool: "Spool", path: Path, file: Path | None, note: SegmentNote) -> Segment:
    """Make a segment of a part that is not what its note says, or of no file at all."""
    described = note.segment
    good, segment = salvage(_content(file) if file else b"", described, checked=True)
    spool.write(path, good)
    corrupt = described.corrupt + described.orbits - segment.orbits
    lost_bytes = max(described.size - len(good), 0)
    segment = replace(segment, corrupt=corrupt, corrupt_bytes=described.corrupt_bytes + lost_bytes)
    spool.add(segment, note.position)
    return segment


def describe_anew(spool: "Spool", path: Path, file: Path) -> Segment | None:
    """Make a segment of a file without a note; what the note would have said of losses is worked out."""
    name = parse_name(path.name)
    assert name is not None
    before, after = (_neighbour(path, step) for step in (-1, 1))
    start = before.position if before else ReadoutPosition(index=int(name["index"]))
    epoch = epoch_of(int(name["lumisection"]))
    data = _content(file)
    good, segment = salvage(data, Segment.from_dict(name | {"epoch": epoch, "data": start.data}))
    if not segment.orbits and after is None:  # the next segment takes its place
        if file == path and data:
            spool.set_aside(file)
        else:
            file.unlink()
        return None
    if good != data:
        if file == path:
            spool.set_aside(file)
        spool.write(path, good)
    elif file == path:
        path.replace(part_of(path))
    if before is None and segment.index:  # nothing is known of what was before
        start = replace(start, epoch=epoch, last_orbit=segment.first_orbit - 1)
    segment, position = _account(segment, start, after, damaged=file == path and good != data)
    spool.add(segment, position)
    return segment


def _account(
    segment: Segment, start: ReadoutPosition, after: SegmentNote | None, *, damaged: bool
) -> tuple[Segment, ReadoutPosition]:
    """Return a segment with its losses, and the position after it.

    Parameters
    ----------
    segment : Segment
        With the orbits found.
    start : ReadoutPosition
        Before it.
    after : SegmentNote, optional
        Of the next segment: its board counters show what the board had sent before. Without, the next
        counters of the board will show it.
    damaged : bool
        Whether what is missing was in the file.
    """
    orbits, last = segment.orbits, segment.last_orbit if segment.orbits else start.last_orbit
    same_epoch = segment.epoch == start.epoch or not orbits
    before = start.last_orbit if same_epoch else begun_after(start.last_orbit)
    gap = max(last - before - orbits, 0)
    position = replace(
        start,
        index=segment.index + 1,
        epoch=max(segment.epoch, start.epoch),
        last_orbit=last,
        data=segment.data,
        board_orbits=start.board_orbits + orbits,
        gap_orbits=start.gap_orbits + gap,
        unaccounted=start.unaccounted + gap,
    )
    if after is None:
        return segment, position
    sent = after.position.board_orbits - after.segment.sent - start.board_orbits
    dropped = after.position.board_dropped - after.segment.dropped - start.board_dropped
    passed = after.position.absolute_orbit - position.absolute_orbit - after.segment.orbits
    passed += position.gap_orbits
    if not (sent >= orbits and dropped >= 0 and sent - orbits + dropped <= max(passed, 0)):
        return segment, position  # the board was started again
    counts: dict[str, Any] = {"corrupt" if damaged else "missed": sent - orbits, "dropped": dropped}
    position = replace(
        position,
        board_orbits=start.board_orbits + sent,
        board_dropped=start.board_dropped + dropped,
        gap_orbits=position.gap_orbits - (sent - orbits) - dropped,
        unaccounted=0,
    )
    return replace(segment, **counts), position


def _neighbour(path: Path, step: int) -> SegmentNote | None:
    """Return the note of the segment before (-1) or after (1) another, if it is intact."""
    run, source, index = by_identity(note_of(path))
    for note in path.parent.glob(f"run{run:06d}_source{source:02d}_*_index{index + step:06d}.*.json"):
        if found := read_note(note):
            return found
    return None


def _content(path: Path) -> bytes:
    with open_own(path) as file:
        return bytes(file.read())
