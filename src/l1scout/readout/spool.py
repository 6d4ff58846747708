"""The spool: a directory, best on a RAM disk, of segments that wait for the store.

A segment is written as ``NAME.part``. When it is complete, its description ``NAME.json`` (`SpoolNote`) is
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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationError

from l1scout.core.provenance import DataLabel
from l1scout.errors import InputError
from l1scout.files import checksum, sync_folder
from l1scout.readout.object_counts import U63
from l1scout.readout.salvage import salvage
from l1scout.readout.segments import CLOSED, Segment, parse_name

RAM_DISK = Path("/dev/shm")
MIN_RAM_BYTES = 1 << 30


@dataclass(frozen=True)
class ReadoutPosition:
    """Where readout is in a run: what the next segment begins with.

    Parameters
    ----------
    index : int
        Of the next segment.
    last_orbit : int
        Written last; -1 before the first.
    board_orbits, board_dropped : int
        The board's counters as far as they are accounted for.
    gap_orbits : int
        Orbits by number that have passed, are not there and are not counted: the board was idle, or its
        counters have not told yet.
    unaccounted : int
        Of these, orbits whose account was lost with a process that was killed.
    ended : bool
        The last segment of the run is there.
    data : str
        ``simulated``, ``real`` or ``unknown``: of the newest orbits.
    """

    index: U63 = 0
    last_orbit: Annotated[int, Strict(), Field(ge=-1, lt=1 << 63)] = -1
    board_orbits: U63 = 0
    board_dropped: U63 = 0
    gap_orbits: Annotated[int, Strict()] = 0
    unaccounted: Annotated[int, Strict()] = 0
    ended: Annotated[bool, Strict()] = False
    data: DataLabel = "unknown"
    __pydantic_config__ = CLOSED


class SpoolNote(BaseModel):
    """The file beside a segment in the spool: its description, and where readout was when it was complete."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    segment: Segment
    position: ReadoutPosition


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

    def open(self, segment: Segment) -> IO[bytes]:
        """Begin a segment's file."""
        name = segment.name + ".part"
        return (self.folder / name).open("w+b", buffering=0)

    def add(self, segment: Segment, position: ReadoutPosition) -> None:
        """Complete the segment whose part lies there: from here on it exists."""
        path = self.path(segment)
        part, note = path.with_name(path.name + ".part"), path.with_name(path.name + ".json")
        text = SpoolNote(segment=segment, position=position).model_dump_json()
        draft = note.with_name(note.name + ".new")
        with part.open("rb") as file:
            os.fsync(file.fileno())
        with draft.open("w") as file:
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


def read_note(path: Path) -> SpoolNote | None:
    """Read the description of a segment; None if it is missing, incomplete or damaged."""
    try:
        return SpoolNote.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def _order(note: Path) -> tuple[int, int, int]:
    name = parse_name(note.stem) or {"run": 0, "source": 0, "index": -1}
    return int(name["run"]), int(name["source"]), int(name["index"])
