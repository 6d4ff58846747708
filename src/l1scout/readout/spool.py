"""The spool: a directory, best on a RAM disk, of segments that wait for the store.

A segment is written as ``NAME.part``. When it is complete, its description ``NAME.json`` is written,
then the part gets its name: from then on the segment exists. When the store has acknowledged it, the
file goes; the newest description of each run and source stays, so that readout finds its place after
a restart.
"""

import fcntl
import json
import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from crc32c import crc32c

from l1scout.core.orbit_data import MUON
from l1scout.errors import InputError
from l1scout.files import checksum, sync_folder
from l1scout.formats.streams.muon import INTERMEDIATE
from l1scout.formats.wire_format import WIRE_FORMATS, WireFormat
from l1scout.readout.segments import Segment, parse_name

RAM_DISK = Path("/dev/shm")
MIN_RAM_BYTES = 1 << 30


@dataclass(frozen=True)
class Place:
    """Where readout is in a run: what the next segment begins with.

    Parameters
    ----------
    index : int
        Of the next segment.
    last_orbit : int
        Written last; -1 before the first.
    board_orbits, board_dropped : int
        The board's counters as far as they are accounted for.
    unseen : int
        Orbits by number that have passed, are not there and are not counted: the board was idle, or its
        counters have not told yet.
    unexplained : int
        Of these, orbits whose account was lost with a process that was killed.
    ended : bool
        The last segment of the run is there.
    """

    index: int = 0
    last_orbit: int = -1
    board_orbits: int = 0
    board_dropped: int = 0
    unseen: int = 0
    unexplained: int = 0
    ended: bool = False


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
            msg = f"{folder}: cannot be the spool ({error.strerror or error})"
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
        for orphan in (p for p in folder.glob("run*.*") if p.suffix in (".raw", ".dat")):
            if not orphan.with_name(orphan.name + ".json").exists():
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

    def place(self, run: int, source: int) -> Place:
        """Return where readout is in a run (the beginning, if the spool has nothing of it)."""
        newest = Place()
        for path in self.folder.glob(f"run{run:06d}_source{source:02d}_*.json"):
            described = _read(path)
            if described and described[1].index > newest.index:
                newest = described[1]
        return newest

    def path(self, segment: Segment) -> Path:
        """Return where a segment lies, or will."""
        return self.folder / segment.name

    def open(self, segment: Segment) -> IO[bytes]:
        """Begin a segment's file."""
        name = segment.name + ".part"
        return (self.folder / name).open("w+b", buffering=0)

    def add(self, segment: Segment, place: Place) -> None:
        """Complete the segment whose part lies there: from here on it exists."""
        path = self.path(segment)
        part, note = path.with_name(path.name + ".part"), path.with_name(path.name + ".json")
        said = json.dumps({"segment": segment.to_dict(), "place": vars(place)})
        draft = note.with_name(note.name + ".new")
        with part.open("rb") as file:
            os.fsync(file.fileno())
        with draft.open("w") as file:
            file.write(said)
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
        bad = path.with_name(path.name + ".bad")
        path.replace(bad)
        data = bad.read_bytes()
        form = WIRE_FORMATS[segment.form]
        orbits, body = 0, b""
        if form.has_checksums:  # without any, the good part cannot be told
            body, numbers = form.salvage(data, segment.source)
            orbits = len(numbers)
        data = _with_header(form, segment.run, segment.lumisection, orbits, body)
        part = path.with_name(path.name + ".part")
        part.write_bytes(data)
        muons = form.count_objects(data)
        mended = replace(
            segment,
            orbits=orbits,
            corrupt=segment.corrupt + segment.orbits - orbits,
            size=len(data),
            crc32c=crc32c(data),
            final_muons=muons.get(MUON, 0),
            intermediate_muons=muons.get(INTERMEDIATE, 0),
            corrupt_bytes=segment.corrupt_bytes + bad.stat().st_size - len(data),
        )
        described = _read(path.with_name(path.name + ".json"))
        self.add(mended, described[1] if described else Place(segment.index + 1, segment.last_orbit))
        return mended

    def _recover(self, part: Path) -> Segment | None:
        """Make a segment of a part that nobody completed; its description may be there or not."""
        path = part.with_suffix("")
        name = parse_name(path.name)
        described = _read(path.with_name(path.name + ".json"))
        size, crc = checksum(part)
        if described and (size, crc) == (described[0].size, described[0].crc32c):
            part.replace(path)
            return described[0]
        if name is None or size == 0 or path.exists():
            part.unlink()
            return None
        data = part.read_bytes()
        form = WIRE_FORMATS[str(name["form"])]
        body, orbits = form.salvage(data, int(name["source"]))
        data = _with_header(form, int(name["run"]), int(name["lumisection"]), len(orbits), body)
        if not orbits:
            part.unlink()
            return None
        with part.open("wb") as file:
            file.write(data)
        before = self.place(int(name["run"]), int(name["source"]))
        muons = form.count_objects(data)
        segment = Segment(
            run=int(name["run"]),
            source=int(name["source"]),
            index=int(name["index"]),
            lumisection=int(name["lumisection"]),
            form=form.name,
            size=len(data),
            crc32c=crc32c(data),
            first_orbit=orbits[0],
            last_orbit=orbits[-1],
            orbits=len(orbits),
            final_muons=muons.get(MUON, 0),
            intermediate_muons=muons.get(INTERMEDIATE, 0),
        )
        gap = orbits[-1] - before.last_orbit - len(orbits)
        place = replace(
            before,
            index=segment.index + 1,
            last_orbit=orbits[-1],
            board_orbits=before.board_orbits + len(orbits),
            unseen=before.unseen + gap,
            unexplained=before.unexplained + gap,
        )
        self.add(segment, place)
        return segment


def read_notes(folder: Path, *, waiting: bool = False) -> Iterator[Segment]:
    """Go through the segments described in a spool, oldest first; only those that wait, if asked.

    The spool may be in use by a readout.
    """
    for path in sorted(folder.glob("*.json"), key=_order):
        if not waiting or path.with_suffix("").exists():
            described = _read(path)
            if described:
                yield described[0]


def _read(note: Path) -> tuple[Segment, Place] | None:
    try:
        said = json.loads(note.read_bytes())
        return Segment.from_dict(said["segment"]), Place(**said["place"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _order(note: Path) -> tuple[int, int, int]:
    name = parse_name(note.stem) or {"run": 0, "source": 0, "index": -1}
    return int(name["run"]), int(name["source"]), int(name["index"])


def _with_header(form: WireFormat, run: int, lumisection: int, orbits: int, body: bytes) -> bytes:
    """Return a segment's file with the header that its orbits and its size ask for."""
    empty = form.segment_header(run, lumisection, orbits, 0)
    return form.segment_header(run, lumisection, orbits, len(empty) + len(body)) + body
