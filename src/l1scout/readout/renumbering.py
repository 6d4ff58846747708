"""The way out for refused segments: they are offered again as those of another source."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from crc32c import crc32c

from l1scout.errors import InputError
from l1scout.files import open_own
from l1scout.formats.wire_format import WIRE_FORMATS
from l1scout.readout.refused import forget_refused, refused_notes
from l1scout.readout.salvage import salvage
from l1scout.readout.segment_note import ReadoutPosition, SegmentNote
from l1scout.readout.segments import Segment
from l1scout.readout.spool import Spool

Position = Callable[[int, int], ReadoutPosition | None]
"""Where the store is in a run and source; None if it cannot be reached."""


def offer_as_source(spool: Spool, source: int, stored_position: Position) -> list[Segment]:
    """Put the refused segments back into the spool, as those of another source; return what they became.

    Those of one source in each run: others stay refused, and want a source id of their own. A segment is in
    the spool before it is no longer refused: killed in between, this goes on with the next.

    Parameters
    ----------
    spool : Spool
    source : int
        Source id under which nothing of these orbits is stored.
    stored_position : callable
        Takes run and source.

    Raises
    ------
    InputError
        If the store cannot be asked, or has such orbits of that source already.
    """
    made: list[Segment] = []
    every = list(refused_notes(spool.folder))
    chosen: dict[int, int] = {}
    for _, note in every:
        chosen.setdefault(note.segment.run, note.segment.source)
    every = [(path, note) for path, note in every if chosen[note.segment.run] == note.segment.source]
    for k, (path, note) in enumerate(every):
        run, last = note.segment.run, k + 1 == len(every) or every[k + 1][1].segment.run != note.segment.run
        position = _position(spool, run, source, stored_position)
        if not (
            position.index and replace(note.position, index=position.index, ended=position.ended) == position
        ):
            made.append(_put_back(spool, path, note, source, position, last=last))
        # else it was killed after the segment was put into the spool
        forget_refused(path)
        spool.n_refused -= 1
    return made


def _position(spool: Spool, run: int, source: int, stored_position: Position) -> ReadoutPosition:
    """Return where the run is in that source."""
    own, stored = spool.position(run, source), stored_position(run, source)
    if stored is None:
        msg = "the store cannot be reached, and must say where that source is in the run: start it first"
        raise InputError(msg)
    return max(own, stored, key=lambda p: p.index)


def _put_back(
    spool: Spool, path: Path, note: SegmentNote, source: int, position: ReadoutPosition, *, last: bool
) -> Segment:
    """Put a segment into the spool as the next of a source (InputError if that has later orbits)."""
    old = note.segment
    first = (old.epoch, old.first_orbit)
    if old.orbits and position.index and first <= (position.epoch, position.last_orbit):
        msg = (
            f"{path}: source {source} of run {old.run} has orbits up to {position.last_orbit} already, and "
            f"this segment begins with {old.first_orbit}; name a source id that is not in use"
        )
        raise InputError(msg)
    with open_own(path) as file:
        data = bytes(file.read())
    if (len(data), crc32c(data)) != (old.size, old.crc32c):
        lost = old.orbits
        data, old = salvage(data, old, checked=True)
        old = replace(old, corrupt=old.corrupt + lost - old.orbits)
    data = WIRE_FORMATS[old.wire_format].with_source(data, source)
    new = replace(
        old, source=source, index=position.index, size=len(data), crc32c=crc32c(data), last=old.last or last
    )
    spool.write(spool.path(new), data)
    spool.add(new, replace(note.position, index=new.index + 1, ended=new.last))
    return new
