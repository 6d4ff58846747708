"""The spool: a directory, best on a RAM disk, of segments that wait for the store.

A segment is written as ``NAME.part``. When it is complete, its note ``NAME.json`` (`SegmentNote`) is
written, then the part gets its name: from then on the segment exists. When the store has acknowledged it, the
file goes. The note goes when the next segment of the run and source has been acknowledged, so that readout
finds its place after a restart, and every segment that waits has the note before it.

Segments that the store refuses lie in ``refused`` (`l1scout.readout.refused`), damaged files end in ``.bad``.
"""

import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import IO

from crc32c import crc32c

from l1scout.errors import InputError
from l1scout.files import is_disk_full, lock_folder, open_own, sync_folder, write_small
from l1scout.lhc import lumisection
from l1scout.readout.recovery import describe_anew, recover
from l1scout.readout.refused import keep_refused, refused_notes
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

RAM_DISK = Path("/dev/shm")
MIN_RAM_BYTES = 1 << 30
RESERVE = "reserve"
RESERVE_BYTES = 1 << 16
"""Kept on the disk of the spool, so that the account of the segment that fills it can be written."""


def default_folder() -> Path:
    """Return the RAM disk if there is one with 1 GiB free, else the folder for temporary files."""
    try:
        if shutil.disk_usage(RAM_DISK).free >= MIN_RAM_BYTES and os.access(RAM_DISK, os.W_OK):
            return RAM_DISK / f"l1scout-{os.getuid()}"
    except OSError:
        pass
    return Path(tempfile.gettempdir()) / f"l1scout-{os.getuid()}"


class Spool:
    """Segments that wait.

    Parameters
    ----------
    folder : Path
        Made if it is not there, for this user only.
    max_bytes : int
        Bytes of segments to hold at most; 0: as much as the disk takes.

    Raises
    ------
    InputError
        If it cannot be written, others may write to it, or another readout has it.
    """

    def __init__(self, folder: Path, max_bytes: int = 0) -> None:
        self.folder, self.max_bytes = folder, max_bytes
        try:
            lock = lock_folder(folder, "spool folder", "another readout uses this spool; give each its own")
        except OSError as error:
            msg = f"cannot use {folder} as the spool folder: {error.filename}: {error.strerror or error}"
            raise InputError(msg) from error
        self.close = weakref.finalize(self, os.close, lock)
        """Leave the spool to others."""
        self.added = threading.Event()
        """Set when a segment has been added."""
        self._guard = threading.Lock()
        self._notes: dict[str, SegmentNote] = {}  # of those that wait: a disk may damage its own
        self._adopted: dict[tuple[int, int], ReadoutPosition] = {}
        self._last_gone: dict[tuple[int, int], Path] = {}
        self.bad = sum(1 for _ in folder.glob("*.bad"))
        """Damaged files that were kept."""
        self.recovered = recover(self)
        """Segments saved from an end without warning, or from damage."""
        self._notes = {segment.name: self.note(segment) for segment in self.waiting()}
        self._forget_old_notes()
        self.n_refused = sum(1 for _ in refused_notes(folder))
        """Segments that the store refuses."""
        self._reserved = False
        with suppress(OSError):  # full: a segment begins when there is room
            self.take_reserve()

    @property
    def held(self) -> int:
        """Bytes of the segments that wait."""
        return sum(note.segment.size for note in self._notes.copy().values())

    def __len__(self) -> int:
        """Return the number of segments that wait."""
        return len(self._notes)

    def is_full(self) -> bool:
        """Say whether the next segment must wait for one to go."""
        return bool(self.max_bytes) and self.held >= self.max_bytes

    def room(self) -> int:
        """Return the bytes that the spool can still take: up to its limit, and that of the disk."""
        free = self.disk_free()
        return max(min(free, self.max_bytes - self.held) if self.max_bytes else free, 0)

    def disk_free(self) -> int:
        """Return the bytes free on the disk; 0 if that is not known."""
        with suppress(OSError):
            return shutil.disk_usage(self.folder).free
        return 0

    def waiting(self) -> Iterator[Segment]:
        """Go through the segments that wait, oldest first; a note damaged meanwhile is written anew."""
        for path in sorted(self.folder.glob("*.json"), key=by_identity):
            segment = path.with_suffix("")
            if parse_name(segment.name) and segment.exists():
                note = read_note(path)
                found = note.segment if note else self._made_anew(segment)
                if found:
                    yield found

    def _made_anew(self, path: Path) -> Segment | None:
        """Write the note of a segment again that cannot be read, or describe the segment anew."""
        if not (path.exists() and note_of(path).exists()):  # acknowledged meanwhile
            return None
        self.set_aside(note_of(path))
        known = self._notes.get(path.name)
        if known is None:
            return describe_anew(self, path, path)
        write_small(note_of(path), known.encode(), durable=True)
        return known.segment

    def position(self, run: int, source: int) -> ReadoutPosition:
        """Return where readout is in a run (the beginning, if nothing of it is known)."""
        newest = self._adopted.get((run, source), ReadoutPosition())
        for path in self.folder.glob(f"run{run:06d}_source{source:02d}_*.json"):
            note = read_note(path)
            if note and note.position.index > newest.index:
                newest = note.position
        return newest

    def adopt(self, run: int, source: int, position: ReadoutPosition, wire_format: str) -> None:
        """Go on from a position of the store where it is newer than that of the spool, which was lost.

        It is kept as the note of the segment before: what the board had sent until then must be known if the
        next note is damaged.
        """
        if position.index > self.position(run, source).index:
            self._adopted[run, source] = position
            lumi = int(lumisection(max(position.absolute_orbit, 0)))
            before = Segment(run, source, position.index - 1, lumi, wire_format, epoch=position.epoch)
            with suppress(OSError):  # a full disk: it is known here all the same
                note = SegmentNote(segment=before, position=position)
                write_small(note_of(self.path(before)), note.encode(), durable=True)
                self._replace_note(before)

    def path(self, segment: Segment) -> Path:
        """Return where a segment lies, or will."""
        return self.folder / segment.name

    def note(self, segment: Segment) -> SegmentNote:
        """Return the note of a segment that waits."""
        note = self._notes.get(segment.name) or read_note(note_of(self.path(segment)))
        return note or SegmentNote(segment=segment, position=ReadoutPosition(index=segment.index + 1))

    def open(self, segment: Segment) -> IO[bytes]:
        """Begin a segment's file."""
        return open_own(part_of(self.path(segment)), "w+b", buffering=0)

    def add(self, segment: Segment, position: ReadoutPosition) -> None:
        """Complete the segment whose part lies there: from here on it exists."""
        path = self.path(segment)
        part = part_of(path)
        with open_own(part) as file:
            os.fsync(file.fileno())
        note = SegmentNote(segment=segment, position=position)
        write_small(note_of(path), note.encode(), durable=True)
        self._notes[segment.name] = note  # first: the sender may be quick
        part.replace(path)
        sync_folder(self.folder)
        self.added.set()

    def remove(self, segment: Segment) -> None:
        """Forget a segment that the store has acknowledged."""
        with self._guard:
            self.path(segment).unlink(missing_ok=True)
            self._gone(segment)

    def refuse(self, segment: Segment, why: str) -> None:
        """Put a segment aside that the store will never take, or that cannot be read: it waits no longer."""
        with self._guard:
            keep_refused(self.folder, self.note(segment), why)
            self._gone(segment)
            self.n_refused += 1

    def refused(self) -> list[Segment]:
        """Return the segments that the store refuses, oldest first."""
        return [note.segment for _, note in refused_notes(self.folder)]

    def set_aside(self, path: Path) -> Path:
        """Keep a damaged file beside, as ``.bad``; return its new path."""
        bad, k = path.with_name(path.name + ".bad"), 1
        while os.path.lexists(bad):
            k += 1
            bad = path.with_name(f"{path.name}-{k}.bad")
        path.replace(bad)
        self.bad += 1
        return bad

    def repair(self, segment: Segment) -> Segment:
        """Write a segment anew whose bytes have changed since: what can still be read of it.

        The damaged file stays beside, as ``.bad``.

        Returns
        -------
        Segment
            With the orbits that are gone counted as corrupt.
        """
        path, position = self.path(segment), self.note(segment).position
        with open_own(path) as file:
            data = file.read()
        if (len(data), crc32c(data)) == (segment.size, segment.crc32c):  # it could not be read before
            return segment
        good, mended = salvage(data, segment, checked=True)
        self.write(path, good)
        if path.exists():
            self.set_aside(path)
        mended = replace(
            mended,
            corrupt=segment.corrupt + segment.orbits - mended.orbits,
            corrupt_bytes=segment.corrupt_bytes + max(segment.size, len(data)) - len(good),
        )
        self.add(mended, position)
        return mended

    def write(self, path: Path, content: bytes) -> None:
        """Write the part of a segment as a whole."""
        with open_own(part_of(path), "wb") as file:
            file.write(content)

    def release_reserve(self) -> None:
        """Give the disk back what was kept for the account of the segment that fills it."""
        (self.folder / RESERVE).unlink(missing_ok=True)
        self._reserved = False

    def take_reserve(self) -> None:
        """Keep some room on the disk, if that is not done already.

        Raises
        ------
        InputError
            If the folder cannot be used.
        OSError
            If the disk is full.
        """
        if self._reserved:
            return
        path = self.folder / RESERVE
        try:
            with open_own(path, "wb") as file:
                file.write(bytes(RESERVE_BYTES))
        except OSError as error:
            if not is_disk_full(error):
                msg = f"cannot use {self.folder} as the spool folder: {path}: {error.strerror or error}"
                raise InputError(msg) from error
            path.unlink(missing_ok=True)  # what was written of it
            raise
        self._reserved = True

    def _gone(self, segment: Segment) -> None:
        """Take over that a segment waits no longer."""
        self._notes.pop(segment.name, None)
        self._replace_note(segment)

    def _replace_note(self, segment: Segment) -> None:
        """Let the note of a segment that is gone replace that of the one before."""
        source, note = (segment.run, segment.source), note_of(self.path(segment))
        before, newest = sorted((self._last_gone.get(source, note), note), key=by_identity)
        if before != newest and not before.with_suffix("").exists():
            before.unlink(missing_ok=True)
        self._last_gone[source] = newest

    def _forget_old_notes(self) -> None:
        """Remove notes of segments that are gone, but for the newest of each run and source."""
        for path in sorted(self.folder.glob("*.json"), key=by_identity):
            name = parse_name(path.stem)
            if name and not path.with_suffix("").exists():
                source = int(name["run"]), int(name["source"])
                if before := self._last_gone.get(source):
                    before.unlink(missing_ok=True)
                self._last_gone[source] = path


def read_notes(folder: Path, *, waiting: bool = False) -> Iterator[Segment]:
    """Go through the segments described in a spool, oldest first; only those that wait, if asked.

    The spool may be in use by a readout.
    """
    for path in sorted(folder.glob("*.json"), key=by_identity):
        if not waiting or path.with_suffix("").exists():
            note = read_note(path)
            if note:
                yield note.segment
