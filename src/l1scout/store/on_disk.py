"""What the files of a store's folder say of its segments, without the catalogue."""

import os
import re
import stat
from dataclasses import dataclass, field, replace
from pathlib import Path

from crc32c import crc32c

from l1scout.errors import InputError
from l1scout.files import checksum, read_limited
from l1scout.readout.orbit_numbers import epoch_of
from l1scout.readout.salvage import salvage
from l1scout.readout.segment_note import ReadoutPosition, SegmentNote, read_note
from l1scout.readout.segments import Segment, parse_name
from l1scout.store.catalogue import Stored
from l1scout.store.compress import SUFFIX, decompress, decompress_unknown
from l1scout.store.run_journal import JournalEntry, read_journal

MAX_SETTINGS_BYTES = 1 << 16
NOTE_LOST = "its note was lost: what was lost of it is unknown, and so is whether its data are right"
WORKED_OUT = "its note was lost: what was lost of it was worked out from the segments before and after it"
FILE_MISSING = "its file is missing"
FILE_CHANGED = "its file has changed since it was stored"
_RUN = re.compile(r"run\d{6,10}\Z")
_SETTINGS = re.compile(r"source(\d{2,5})_settings\.toml\Z")


@dataclass
class FilesOfSegment:
    """Files of a segment in the folder of its run.

    Parameters
    ----------
    name : str
        Of the segment as it was received.
    note : bool
        Whether its note is there.
    sizes : dict of str to int
        Size of each data file, by method of compression; an empty method for the file as received.
    """

    name: str
    note: bool = False
    sizes: dict[str, int] = field(default_factory=dict)

    @property
    def key(self) -> tuple[int, int, int]:
        """Run, source and index."""
        parsed = parse_name(self.name) or {}
        return int(parsed["run"]), int(parsed["source"]), int(parsed["index"])


@dataclass
class RunFolder:
    """Folder of a run in a store: what lies there.

    Parameters
    ----------
    path : Path
    segments : dict of str to FilesOfSegment
        By name, in order of source and index.
    settings : dict of int to Path
        File with the settings of each source.
    journal : dict of str to list of JournalEntry
        By name of the segment.
    damaged_lines : int
        Of the journal.
    """

    path: Path
    segments: dict[str, FilesOfSegment]
    settings: dict[int, Path]
    journal: dict[str, list[JournalEntry]]
    damaged_lines: int

    @property
    def run(self) -> int:
        """Number of the run."""
        return int(self.path.name.removeprefix("run"))


def run_folders(store: Path) -> list[Path]:
    """Return the folders of runs in a store's folder."""
    return sorted(p for p in store.glob("run*") if _RUN.match(p.name) and p.is_dir() and not p.is_symlink())


def list_folder(path: Path) -> RunFolder:
    """List the folder of a run; files of others are left out.

    Files may go meanwhile: what compresses for a store that was killed lives on for a moment.
    """
    found: dict[str, FilesOfSegment] = {}
    settings: dict[int, Path] = {}
    for entry in os.scandir(path) if path.is_dir() else ():
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        if not stat.S_ISREG(status.st_mode):
            continue
        if match := _SETTINGS.match(entry.name):
            settings[int(match[1])] = Path(entry.path)
            continue
        name, kind = _segment_of(entry.name)
        if not name or f"run{(parse_name(name) or {})['run']:06d}" != path.name:
            continue
        files = found.setdefault(name, FilesOfSegment(name))
        if kind == "note":
            files.note = True
        else:
            files.sizes[kind] = status.st_size
    journal, damaged = read_journal(path)
    in_order = sorted(found.values(), key=lambda f: f.key)
    return RunFolder(path, {f.name: f for f in in_order}, settings, journal, damaged)


def _segment_of(file: str) -> tuple[str, str]:
    """Return the name of the segment to which a file belongs, and its method or "note"; empty if none."""
    if parse_name(file):
        return file, ""
    for kind, suffix in {"note": ".json", **SUFFIX}.items():
        if file.endswith(suffix) and parse_name(file.removesuffix(suffix)):
            return file.removesuffix(suffix), kind
    return "", ""


def read_settings_file(path: Path) -> str | None:
    """Return the settings that a readout sent; None if they cannot be read."""
    try:
        return read_limited(path, MAX_SETTINGS_BYTES, "no settings are so large").decode()
    except (InputError, UnicodeDecodeError):
        return None


def note_on_disk(folder: RunFolder, files: FilesOfSegment) -> SegmentNote | None:
    """Return the note of a segment; None if it is missing, damaged or that of another one."""
    note = read_note(folder.path / f"{files.name}.json") if files.note else None
    return note if note and note.segment.name == files.name else None


def describe(
    folder: RunFolder, files: FilesOfSegment, note: SegmentNote, *, verify: bool = False
) -> Stored | None:
    """Return what the files of a segment say of it; None if its data are neither there nor were deleted.

    Parameters
    ----------
    folder : RunFolder
    files : FilesOfSegment
    note : SegmentNote
        The segment's.
    verify : bool
        Read all data; otherwise only those of which nothing but reading tells whether they are right.
    """
    segment, journal = note.segment, folder.journal.get(files.name, [])
    received = _time_of(folder.path / f"{files.name}.json", folder.path / files.name)
    made = {e.method: e for e in journal if e.event == "compressed" and e.method in SUFFIX}

    def stored(method: str, size: int, crc: int, fault: str = "") -> Stored:
        file = f"{folder.path.name}/{files.name}{SUFFIX.get(method, '')}"
        return Stored(segment, file, method, size, crc, received, fault=fault)

    found: list[Stored] = []
    for method, size in sorted(files.sizes.items(), reverse=True):
        entry = made.get(method)
        if not method:
            right = size == segment.size
            if right and verify:
                right = checksum(folder.path / files.name) == (segment.size, segment.crc32c)
            found.append(stored("", segment.size, segment.crc32c, "" if right else FILE_CHANGED))
        elif entry and entry.size == size and not verify:
            found.append(stored(method, size, entry.crc32c))
        else:
            path = folder.path / f"{files.name}{SUFFIX[method]}"
            right = _holds(path, method, segment)
            found.append(stored(method, *checksum(path), "" if right else FILE_CHANGED))
    if found:
        return min(found, key=lambda s: bool(s.fault))  # a right one, if there is any
    deleted = next((e for e in reversed(journal) if e.event == "deleted"), None)
    if deleted is None:
        return None
    last = next((e for e in reversed(journal) if e.event == "compressed"), None)
    gone = stored(last.method, last.size, last.crc32c) if last else stored("", segment.size, segment.crc32c)
    return replace(gone, deleted=deleted.time)


def _holds(path: Path, method: str, segment: Segment) -> bool:
    try:
        data = decompress(path, method, segment.size)
    except (OSError, ValueError, MemoryError):
        return False
    return (len(data), crc32c(data)) == (segment.size, segment.crc32c)


def salvaged(
    folder: RunFolder, files: FilesOfSegment, before: ReadoutPosition, after: SegmentNote | None = None
) -> tuple[SegmentNote, Stored] | None:
    """Describe a segment whose note is lost by its own bytes; None if none of its files can be read.

    Parameters
    ----------
    folder : RunFolder
    files : FilesOfSegment
    before : ReadoutPosition
        After the segment before it.
    after : SegmentNote, optional
        Of the segment after it.
    """
    for method in sorted(files.sizes):
        path = folder.path / f"{files.name}{SUFFIX.get(method, '')}"
        try:
            data = decompress_unknown(path, method)
        except (OSError, ValueError, MemoryError):
            continue
        named = Segment.from_dict(parse_name(files.name))
        good, seen = salvage(data, replace(named, data=before.data))
        epoch = max(epoch_of(seen.lumisection), 0)
        segment = replace(seen, size=len(data), crc32c=crc32c(data), epoch=epoch)
        fault = NOTE_LOST
        if after and good == data and (known := _worked_out(segment, before, after)):
            segment, fault = known, WORKED_OUT
        note = SegmentNote(segment=segment, position=_position_after(segment, before))
        size, crc = checksum(path)
        file = f"{folder.path.name}/{path.name}"
        return note, Stored(segment, file, method, size, crc, _time_of(path), fault=fault)
    return None


def is_intact(path: Path, stored: Stored) -> bool:
    """Return whether a segment without its note is as it was entered, and nothing in it is damaged."""
    try:
        if checksum(path) != (stored.stored_size, stored.stored_crc32c):
            return False
        data = decompress_unknown(path, stored.method)
    except (OSError, ValueError, MemoryError):
        return False
    return salvage(data, stored.segment)[0] == data


def _worked_out(segment: Segment, before: ReadoutPosition, after: SegmentNote) -> Segment | None:
    """Return a segment with the losses that the board's counters show for it; None if they do not."""
    end, following = after.position, after.segment
    sent = end.board_orbits - before.board_orbits - following.sent
    dropped = end.board_dropped - before.board_dropped - following.dropped
    in_order = before.index == segment.index == following.index - 1
    if not in_order or end.unaccounted != before.unaccounted or dropped < 0 or sent < segment.orbits:
        return None
    if segment.index == 0 and (sent, dropped) != (segment.orbits, 0):  # the board may have begun before
        return None
    return replace(segment, missed=sent - segment.orbits, dropped=dropped)


def _position_after(segment: Segment, before: ReadoutPosition) -> ReadoutPosition:
    if not segment.orbits:
        return replace(before, index=segment.index + 1)
    gap = 0
    if segment.epoch == before.epoch:
        gap = segment.last_orbit - before.last_orbit - segment.orbits
    return replace(
        before,
        index=segment.index + 1,
        epoch=segment.epoch,
        last_orbit=segment.last_orbit,
        data=segment.data,
        board_orbits=before.board_orbits + segment.orbits,
        gap_orbits=before.gap_orbits + gap,
        unaccounted=before.unaccounted + gap,
    )


def _time_of(*paths: Path) -> float:
    """Return when the first of some files that is there was written, 0 if none is."""
    for path in paths:
        try:
            return max(path.stat().st_mtime, 0.0)
        except OSError:
            continue
    return 0.0
