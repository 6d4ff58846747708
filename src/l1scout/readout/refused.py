"""Segments that the store refuses for ever, because it has others of their run, source and index.

They lie in the folder ``refused`` of the spool with their notes, and a line ``NAME.why`` each; they wait no
longer. `l1scout.readout.renumbering` offers them again under another source id.
"""

from collections.abc import Iterator
from pathlib import Path

from l1scout.files import own_folder, sync_folder, write_small
from l1scout.readout.segment_note import SegmentNote, by_identity, note_of, read_note

REFUSED = "refused"


def keep_refused(folder: Path, note: SegmentNote, why: str) -> Path:
    """Move a segment of a spool's folder to the refused ones, with its note and why; return its new path."""
    place, name, k = folder / REFUSED, note.segment.name, 1
    while (place / name).exists():  # of another spool that was lost
        k += 1
        place = folder / REFUSED / f"again-{k}"
    for made in {folder / REFUSED, place}:
        own_folder(made, "folder of refused segments")
    target = place / name
    write_small(note_of(target), note.encode(), durable=True)
    write_small(target.with_name(name + ".why"), f"{why}\n".encode("utf-8", "backslashreplace"))
    (folder / name).replace(target)
    for changed in (place, folder / REFUSED, folder):
        sync_folder(changed)
    return target


def refused_notes(folder: Path) -> Iterator[tuple[Path, SegmentNote]]:
    """Go through the refused segments of a spool's folder, oldest first: their files and notes."""
    for path in sorted((folder / REFUSED).rglob("*.json"), key=by_identity):
        segment = path.with_suffix("")
        note = read_note(path) if segment.exists() else None
        if note:
            yield segment, note


def forget_refused(segment: Path) -> None:
    """Remove a refused segment that was offered under another source id."""
    segment.unlink(missing_ok=True)
    for path in (note_of(segment), segment.with_name(segment.name + ".why")):
        path.unlink(missing_ok=True)
