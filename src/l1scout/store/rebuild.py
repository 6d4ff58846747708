"""Check the catalogue of a store against its files, and make it again from them.

The files are what counts, and the catalogue is an index over them: whatever happens to it, a store comes up
by itself, keeps the damaged file, and says what happened.
"""

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from l1scout.errors import InputError
from l1scout.files import complete_or_nothing, sync_folder
from l1scout.readout.segment_note import ReadoutPosition, SegmentNote
from l1scout.store.catalogue import FILE, Catalogue, DamagedError, Stored, entry_of_row, open_read_only
from l1scout.store.catalogue_tables import QUOTED, ROW_SUM
from l1scout.store.on_disk import (
    FILE_MISSING,
    NOTE_LOST,
    WORKED_OUT,
    FilesOfSegment,
    RunFolder,
    describe,
    list_folder,
    note_on_disk,
    read_settings_file,
    run_folders,
    salvaged,
)

_NEW = FILE + ".new"
NO_NOTE = "are not in the catalogue and have no note: `l1scout store --rebuild` enters them"
_PARTS = ("", "-wal", "-shm", "-journal")
Log = Callable[..., None]
Entry = tuple[SegmentNote, Stored]


@dataclass
class Rebuilt:
    """What was found when a catalogue was made again.

    Parameters
    ----------
    segments : int
        Entered.
    note_lost : list of str
        Segments without a note, entered by what their own bytes say.
    file_changed : list of str
        Segments whose file is not what was stored.
    unreadable : list of str
        Files of segments without a note that cannot be read either: not entered.
    without_data : list of str
        Notes whose segment is not there: not entered.
    from_old : int
        Rows that only the old catalogue had.
    kept_as : str
        Name of the old catalogue; empty if there was none.
    """

    segments: int = 0
    note_lost: list[str] = field(default_factory=list)
    file_changed: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    without_data: list[str] = field(default_factory=list)
    from_old: int = 0
    kept_as: str = ""

    def __str__(self) -> str:
        """Describe it in a line."""
        line = f"the catalogue was made again from the files: {self.segments} segments"
        for names, what in (
            (self.note_lost, "have no note, and were read themselves"),
            (self.file_changed, "have changed since they were stored"),
            (self.unreadable, "cannot be read, and are not in it"),
            (self.without_data, "have a note but no data, and are not in it"),
        ):
            if names:
                line += f"; {len(names)} {what} ({names[0]}{', ...' if len(names) > 1 else ''})"
        return line + (f"; the old one is {self.kept_as}" if self.kept_as else "")

    @property
    def harmless(self) -> bool:
        """Whether nothing was found that is not as it was stored."""
        return not (self.note_lost or self.file_changed or self.unreadable or self.without_data)


def open_catalogue(folder: Path, log: Log) -> tuple[Catalogue, list[str]]:
    """Open the catalogue of a store that starts; it is made again from the files if it is damaged or missing.

    Parameters
    ----------
    folder : Path
    log : callable
        ``log(event, **values)``.

    Returns
    -------
    catalogue : Catalogue
    alarms : list of str
        What an operator must look at, one line each.

    Raises
    ------
    InputError
        If the folder cannot be used.
    """
    why = ""
    if not (folder / FILE).exists() and any(list_folder(path).segments for path in run_folders(folder)):
        why = f"{folder / FILE}: is missing, and there are runs"
    catalogue: Catalogue | None = None
    if not why:
        try:
            catalogue = Catalogue(folder, create=True)
            return catalogue, check(folder, catalogue, log)
        except DamagedError as error:
            if catalogue:
                catalogue.close()
            why = str(error)
    log("catalogue is damaged or missing: making it again from the files", why=why, level="error")
    found = rebuild(folder, log)
    log("catalogue made again", level="error", **_counts(found))
    catalogue = Catalogue(folder)
    return catalogue, [str(found), *check(folder, catalogue, log)]


def _counts(found: Rebuilt) -> dict[str, object]:
    counts = {n: len(v) if isinstance(v, list) else v for n, v in vars(found).items()}
    return {n: v for n, v in counts.items() if v}


def check(folder: Path, catalogue: Catalogue, log: Log) -> list[str]:
    """Compare a catalogue with the files of its store, and enter what it does not know.

    Segments that have a note and are not in the catalogue are entered; rows whose file is another one by
    now are corrected; notes that are missing are written again. Data are not read.

    Returns
    -------
    list of str
        Alarms, one line each.

    Raises
    ------
    InputError
        If the catalogue itself is damaged: `rebuild` makes it again.
    """
    catalogue.check()
    alarms: list[str] = []
    known: dict[str, dict[str, Stored]] = {}
    for stored in catalogue.segments():
        known.setdefault(stored.segment.folder, {})[stored.segment.name] = stored
    paths = {p.name: p for p in run_folders(folder)}
    for name in sorted(known.keys() | paths.keys()):
        listed = list_folder(paths.get(name, folder / name))
        entries, problems = _compare(listed, known.get(name, {}), catalogue)
        catalogue.put(entries)
        if new := sum(not stored.fault for _, stored in entries):
            line = f"{name}: {new} segments lay there that the catalogue did not know as they are"
            alarms.append(line + ": entered")
        alarms += problems
        _heal_notes(listed, known.get(name, {}), catalogue, log)
        _enter_settings(listed, catalogue)
        _enter_copies(listed, entries, catalogue)
    for line in alarms:
        log("catalogue and files differ", what=line, level="warning")
    return alarms


def _compare(
    folder: RunFolder, known: dict[str, Stored], catalogue: Catalogue
) -> tuple[list[Entry], list[str]]:
    """Return the entries that the catalogue lacks or has differently, and what is wrong beyond that."""
    entries: list[Entry] = []
    wrong: dict[str, list[str]] = {}
    for name in sorted(folder.segments.keys() | known.keys()):
        files, stored = folder.segments.get(name, FilesOfSegment(name)), known.get(name)
        faulty = stored is not None and stored.fault not in ("", NOTE_LOST, WORKED_OUT)
        if stored and (stored.deleted is not None or _is_there(files, stored)) and not faulty:
            continue
        note = catalogue.note(stored) if stored else note_on_disk(folder, files)
        found = describe(folder, files, note, verify=faulty) if note else None
        if note and stored and not found:  # the readout may send it again
            entries.append((note, replace(stored, fault=FILE_MISSING)))
        if note and found:
            entries.append((note, found))
            if found.fault:
                wrong.setdefault("have changed since they were stored", []).append(name)
        elif stored:
            wrong.setdefault("are in the catalogue and their files are missing", []).append(name)
        elif note:
            wrong.setdefault("have a note and no data", []).append(name)
        else:
            wrong.setdefault(NO_NOTE, []).append(name)
    lines = [
        f"{folder.path.name}: {len(names)} segments {what} ({names[0]}{', ...' if len(names) > 1 else ''})"
        for what, names in wrong.items()
    ]
    return entries, lines


def _is_there(files: FilesOfSegment, stored: Stored) -> bool:
    """Return whether the file that the catalogue names is there, with its size."""
    return files.sizes.get(stored.method) == stored.stored_size


def _heal_notes(folder: RunFolder, known: dict[str, Stored], catalogue: Catalogue, log: Log) -> None:
    """Write notes that are missing again."""
    for name, stored in known.items():
        files = folder.segments.get(name)
        if stored.fault in (NOTE_LOST, WORKED_OUT) or (files and files.note) or not folder.path.is_dir():
            continue
        with contextlib.suppress(InputError):
            write_note(folder, catalogue.note(stored))
            log("note was missing: written again from the catalogue", segment=name, level="warning")


def write_note(folder: RunFolder, note: SegmentNote) -> None:
    """Write the note of a segment beside it (InputError if that cannot be done)."""
    with complete_or_nothing(folder.path / f"{note.segment.name}.json") as part:
        part.write_bytes(note.encode())


def _enter_settings(folder: RunFolder, catalogue: Catalogue) -> None:
    for source, path in folder.settings.items():
        text = read_settings_file(path)
        if text is not None:
            catalogue.put_settings(folder.run, source, text, path.stat().st_mtime)


def _enter_copies(folder: RunFolder, entries: list[Entry], catalogue: Catalogue) -> None:
    """Enter the copies of segments that the journal knows."""
    copies = [
        (*note.segment.key, entry.url, entry.size, entry.crc32c, entry.time)
        for note, _ in entries
        for entry in folder.journal.get(note.segment.name, ())
        if entry.event == "copied"
    ]
    catalogue.put_copies(copies)


def rebuild(folder: Path, log: Log, *, verify: bool = False) -> Rebuilt:
    """Make the catalogue of a store again from its files; nothing is deleted.

    What only the old catalogue knows (segments whose note is lost, or that were deleted after they had been
    copied) is taken from its rows, if their checksum is right. The old one stays as
    ``catalogue.sqlite.bad-TIME``.

    Parameters
    ----------
    folder : Path
        Of the store, which must not run.
    log : callable
        ``log(event, **values)``.
    verify : bool
        Read all data; otherwise only those of which nothing but reading tells whether they are right.

    Raises
    ------
    InputError
        If the folder is not there or cannot be written.
    """
    if not folder.is_dir():
        msg = f"{folder}: no such folder; name the store's folder"
        raise InputError(msg)
    old, old_copies = _old_entries(folder)
    result = Rebuilt()
    try:
        for part in _PARTS:
            (folder / f"{_NEW}{part}").unlink(missing_ok=True)
        new = Catalogue(folder, create=True, name=_NEW)
        try:
            new.put_copies(old_copies)
            for path in run_folders(folder):
                listed = list_folder(path)
                if listed.damaged_lines:
                    log(
                        "journal has damaged lines",
                        file=str(path),
                        lines=listed.damaged_lines,
                        level="warning",
                    )
                entries = list(_entries(listed, old, result, verify=verify))
                new.put(entries)
                _enter_settings(listed, new)
                _enter_copies(listed, entries, new)
                result.segments += len(entries)
            left = [entry for entry in old.values() if not entry[1].fault]
            new.put(left)
            result.from_old += len(left)
            result.segments += len(left)
        finally:
            new.close()
        result.kept_as = _exchange(folder)
    except OSError as error:
        msg = f"{folder}: the catalogue cannot be made again ({error.strerror or error})"
        raise InputError(msg) from error
    return result


def _entries(folder: RunFolder, old: dict[str, Entry], result: Rebuilt, *, verify: bool) -> Iterator[Entry]:
    """Go through the entries that the files of a run make; what is used is taken out of the old ones."""
    positions: dict[int, ReadoutPosition] = {}
    for name, files in folder.segments.items():
        source = files.key[1]
        note = note_on_disk(folder, files)
        before = old.pop(name, None)
        if note is None and before and not before[1].fault:
            note = before[0]
            result.from_old += 1
            write_note(folder, note)
        entry: Entry | None = None
        if note:
            stored = describe(folder, files, note, verify=verify)
            if stored is None and before and before[1].deleted is not None:
                stored = before[1]
            if stored is None:
                result.without_data.append(name)
                continue
            entry = note, stored
            if stored.fault:
                result.file_changed.append(name)
        elif files.sizes:
            before_it = positions.get(source, ReadoutPosition())
            entry = salvaged(folder, files, before_it, _note_after(folder, files))
            (result.note_lost if entry else result.unreadable).append(name)
        if entry:
            positions[source] = entry[0].position
            yield entry


def _note_after(folder: RunFolder, files: FilesOfSegment) -> SegmentNote | None:
    """Return the note of the segment that follows."""
    run, source, index = files.key
    found = (f for f in folder.segments.values() if f.key == (run, source, index + 1))
    return next((note for f in found if (note := note_on_disk(folder, f))), None)


def _old_entries(folder: Path) -> tuple[dict[str, Entry], list[tuple[object, ...]]]:
    """Return what can be read of the catalogue that is there: its right rows by segment, and its copies."""
    entries: dict[str, Entry] = {}
    copies: list[tuple[object, ...]] = []
    with contextlib.suppress(sqlite3.Error, OSError, ValueError), open_read_only(folder / FILE) as base:
        for order in ("ASC", "DESC"):  # from both ends, as far as damaged pages allow
            query = (
                f"SELECT {QUOTED} FROM segments WHERE row_crc32c IS {ROW_SUM} "
                f'ORDER BY run {order}, source {order}, "index" {order}'
            )
            with contextlib.suppress(sqlite3.Error, ValueError):
                for row in base.execute(query):
                    with contextlib.suppress(InputError, ValueError, TypeError):
                        note, stored = entry_of_row(row)
                        entries.setdefault(stored.segment.name, (note, stored))
        with contextlib.suppress(sqlite3.Error, ValueError):
            copies += base.execute("SELECT * FROM copies")
    return entries, copies


def _exchange(folder: Path) -> str:
    """Give the new catalogue its name; return the one under which the old one is kept."""
    kept = ""
    if any((folder / f"{FILE}{part}").exists() for part in _PARTS):
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        kept = f"{FILE}.bad-{stamp}"
        number = 1
        while any((folder / f"{kept}{part}").exists() for part in _PARTS):
            number += 1
            kept = f"{FILE}.bad-{stamp}-{number}"
        for part in reversed(_PARTS):  # the file itself last: until then the next start does this again
            with contextlib.suppress(FileNotFoundError):
                (folder / f"{FILE}{part}").replace(folder / f"{kept}{part}")
    (folder / _NEW).replace(folder / FILE)
    sync_folder(folder)
    return kept
