"""The spool: a directory, best on a RAM disk, of segments that wait for the store.

A segment is written as ``NAME.part``. When it is complete, its note ``NAME.json`` (`SegmentNote`) is
written, then the part gets its name: from then on the segment exists. When the store has acknowledged it, the
file goes; the newest description of each run and source stays, so that readout finds its place after
a restart.
"""

import fcntl
import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO

from l1scout.errors import InputError
from l1scout.files import checksum, sync_folder
from l1scout.readout.salvage import salvage
from l1scout.readout.segment_note import ReadoutPosition, SegmentNote, read_note
from l1scout.readout.segments import Segment, parse_name

RAM_DISK = Path("/dev/shm")
MIN_RAM_BYTES = 1 << 30


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
        If it cannot be written, or another readout has it.
    """

    def __init__(self, folder: Path, max_bytes: int = 0) -> None:
        self.folder, self._max_bytes = folder, max_bytes
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
            self.close = weakref.finalize(self, os.close, lock)
            """Leave the spool to others."""
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            msg = f"{folder}: another readout uses this spool; give each its own"
            raise InputError(msg) from error
        except OSError as error:
            msg = f"cannot use {folder} as the spool folder: {error.strerror or error}"
            raise InputError(msg) from error
        self.added = threading.Event()
        """Set when a segment has been added."""
        self._guard = threading.Lock()
        self._sizes: dict[str, int] = {}
        self.recovered = [
            segment for part in sorted(folder.glob("*.part")) if (segment := self._recover(part))
        ]
        """Segments saved from an end without warning."""
        for segment in self.waiting():
            self._sizes[segment.name] = segment.size
        for orphan in (p for p in folder.glob("run*.*") if parse_name(p.name)):
            if read_note(orphan.with_name(orphan.name + ".json")) is None:
                orphan.rename(orphan.with_name(orphan.name + ".bad"))

    @property
    def held(self) -> int:
        """Bytes of the segments that wait."""
        return sum(self._sizes.copy().values())

    def __len__(self) -> int:
        """Return the number of segments that wait."""
        return len(self._sizes)

    def is_full(self) -> bool:
        """Say whether the next segment must wait for one to go."""
        return bool(self._max_bytes) and self.held >= self._max_bytes

    def waiting(self) -> Iterator[Segment]:
        """Go through the segments that wait, oldest first."""
        yield from read_notes(self.folder, waiting=True)

    def position(self, run: int, source: int) -> ReadoutPosition:
        """Return where readout is in a run (the beginning, if the spool has nothing of it)."""
        newest = ReadoutPosition()
        for path in self.folder.glob(f"run{run:06d}_source{source:02d}_*.json"):
            note = read_note(path)
            if note and note.position.index > newest.index:
                newest = note.position
        return newest

    def path(self, segment: Segment) -> Path:
        """Return where a segment lies, or will."""
        return self.folder / segment.name

    def note(self, segment: Segment) -> SegmentNote:
        """Return the note of a segment that waits."""
        path = self.path(segment)
        note = read_note(path.with_name(path.name + ".json"))
        return note or SegmentNote(segment=segment, position=ReadoutPosition(index=segment.index + 1))

    def open(self, segment: Segment) -> IO[bytes]:
        """Begin a segment's file."""
        name = segment.name + ".part"
        return (self.folder / name).open("w+b", buffering=0)

    def add(self, segment: Segment, position: ReadoutPosition) -> None:
        """Complete the segment whose part lies there: from here on it exists."""
        path = self.path(segment)
        part, note = path.with_name(path.name + ".part"), path.with_name(path.name + ".json")
        text = SegmentNote(segment=segment, position=position).encode()
        draft = note.with_name(note.name + ".new")
        with part.open("rb") as file:
            os.fsync(file.fileno())
        with draft.open("wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(note)
        self._sizes[segment.name] = segment.size  # first: the sender may be quick
        part.replace(path)
        sync_folder(self.folder)
        self.added.set()

    def remove(self, segment: Segment) -> None:
        """Forget a segment that the store has acknowledged."""
        with self._guard:
            self.path(segment).unlink(missing_ok=True)
            self._sizes.pop(segment.name, None)
            notes = self.folder.glob(f"run{segment.run:06d}_source{segment.source:02d}_*.json")
            for note in sorted(notes, key=_order)[:-1]:
                if not note.with_suffix("").exists():
                    note.unlink(missing_ok=True)

    def repair(self, segment: Segment) -> Segment:
        """Write a segment anew whose bytes have changed since: what can still be read of it.

        The damaged file stays beside, as ``.bad``.

        Returns
        -------
        Segment
            With the orbits that are gone counted as corrupt.
        """
        path = self.path(segment)
        bad, note = (path.with_name(path.name + suffix) for suffix in (".bad", ".json"))
        path.replace(bad)
        data = bad.read_bytes()
        good, mended = salvage(data, segment, checked=True)
        path.with_name(path.name + ".part").write_bytes(good)
        mended = replace(
            mended,
            corrupt=segment.corrupt + segment.orbits - mended.orbits,
            corrupt_bytes=segment.corrupt_bytes + len(data) - len(good),
        )
        described = read_note(note)
        position = described.position if described else ReadoutPosition(segment.index + 1, segment.last_orbit)
        self.add(mended, position)
        return mended

    def _recover(self, part: Path) -> Segment | None:
        """Make a segment of a part that nobody completed; its description may be there or not."""
        path = part.with_suffix("")
        name = parse_name(path.name)
        note = read_note(path.with_name(path.name + ".json"))
        size, crc = checksum(part)
        if note and (size, crc) == (note.segment.size, note.segment.crc32c):
            part.replace(path)
            return note.segment
        if name is None or size == 0 or path.exists():
            part.unlink()
            return None
        empty = Segment.from_dict(name)
        before = self.position(empty.run, empty.source)
        data, segment = salvage(part.read_bytes(), replace(empty, data=before.data))
        if not segment.orbits:
            part.unlink()
            return None
        part.write_bytes(data)
        gap = segment.last_orbit - before.last_orbit - segment.orbits
        position = replace(
            before,
            index=segment.index + 1,
            last_orbit=segment.last_orbit,
            data=segment.data,
            board_orbits=before.board_orbits + segment.orbits,
            gap_orbits=before.gap_orbits + gap,
            unaccounted=before.unaccounted + gap,
        )
        self.add(segment, position)
        return segment


def read_notes(folder: Path, *, waiting: bool = False) -> Iterator[Segment]:
    """Go through the segments described in a spool, oldest first; only those that wait, if asked.

    The spool may be in use by a readout.
    """
    for path in sorted(folder.glob("*.json"), key=_order):
        if not waiting or path.with_suffix("").exists():
            note = read_note(path)
            if note:
                yield note.segment


def _order(note: Path) -> tuple[int, int, int]:
    name = parse_name(note.stem) or {"run": 0, "source": 0, "index": -1}
    return int(name["run"]), int(name["source"]), int(name["index"])
