"""Receive segments: bounded, checked against their notes, and acknowledged when they are on disk for good.

What the store answers is an HTTP status; how it travels is the business of `l1scout.store.http_api`.
"""

import mmap
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

from crc32c import crc32c

from l1scout.errors import InputError, ScoutingError, printable
from l1scout.files import checksum, is_disk_full
from l1scout.readout.segment_note import ReadoutPosition, SegmentNote
from l1scout.readout.segments import Segment, parse_name
from l1scout.store.archiver import Archiver
from l1scout.store.catalogue import Catalogue, Stored
from l1scout.store.check_segment import compile_checks, contradiction
from l1scout.store.compress import ChangedError, Compressed
from l1scout.store.on_disk import NOTE_LOST, WORKED_OUT, is_intact
from l1scout.store.store_folder import StoreFolder

BUSY_S, FULL_S = 1, 5
"""In how many seconds to try again when the store is busy, and when its disk is full."""
_ENTERING_S = 10.0
"""Longest wait of a readout that asks for its position, for what is entered at this moment."""


class RefusedError(ScoutingError):
    """The store does not take a segment, or not now.

    Parameters
    ----------
    status : HTTPStatus
    why : str
        What, where, and what to do, in one line.
    retry_s : int
        In how many seconds to try again; 0: no advice.
    offset : int, optional
        Where the upload has got to.
    """

    def __init__(self, status: HTTPStatus, why: str, *, retry_s: int = 0, offset: int | None = None) -> None:
        super().__init__(why)
        self.status, self.retry_s, self.offset = status, retry_s, offset


class SegmentReceiver:
    """Takes segments into the store's folder and its catalogue. Its methods block: call them in threads.

    Parameters
    ----------
    folder : StoreFolder
    catalogue : Catalogue
    log : callable
        ``log(event, **values)``.
    max_bytes : int
        Longest segment.
    reserve_bytes : int
        To stay free on the disk.
    uploads : int
        Segments received at a time.
    archiver : Archiver, optional
        Compresses segments before they are stored.
    stored : callable
        Called after each segment.

    Attributes
    ----------
    segments, bytes, again : int
        Taken; and offered though they were there.
    refused, damaged : int
        Others have their identity; they are not what their notes say.
    failing : str
        Why the newest segment could not be stored; empty if it was.
    """

    def __init__(
        self,
        folder: StoreFolder,
        catalogue: Catalogue,
        log: Callable[..., None],
        *,
        max_bytes: int,
        reserve_bytes: int,
        uploads: int,
        archiver: Archiver | None = None,
        stored: Callable[[], None] = lambda: None,
    ) -> None:
        self.folder, self.catalogue, self._archiver = folder, catalogue, archiver
        self._log, self._stored = log, stored
        self.max_bytes, self._reserve, self._uploads = max_bytes, reserve_bytes, uploads
        self._lock = threading.Lock()
        self._open: dict[tuple[int, int, int], tuple[int, Path | None]] = {}
        self._entered = threading.Condition(self._lock)
        self._entering: set[tuple[int, int, int]] = set()
        self._overtaken: set[tuple[int, int, int]] = set()
        self.segments = self.bytes = self.again = self.refused = self.damaged = 0
        self.failing = ""
        compile_checks()

    @property
    def is_full(self) -> bool:
        """Whether the disk has no space for a segment."""
        return self.folder.free <= self._reserve

    @property
    def receiving(self) -> int:
        """Segments that are being received."""
        return len(self._open)

    def progress(self, name: str) -> Segment | int:
        """Return the segment of a name if it is stored, else the bytes kept of its upload."""
        parsed = parse_name(name)
        if parsed is None:
            msg = f"{name}: not a segment; expected such as run000001_source01_ls0001_index000000.raw"
            raise RefusedError(HTTPStatus.NOT_FOUND, msg, offset=0)
        known = self._known((int(parsed["run"]), int(parsed["source"]), int(parsed["index"])))
        if known and not known.fault and known.segment.name == name:
            return known.segment
        return self.folder.kept(name)

    def position(self, run: int, source: int) -> ReadoutPosition:
        """Return where the readout of a source is in a run, after the newest segment that is stored.

        Who asks goes on from there: what a readout before it was sending and has not been entered yet is not
        stored any more, or the next segment would have the same identity.
        """
        with self._entered:
            self._overtaken |= {key for key in self._open if key[:2] == (run, source)} - self._entering
            if not self._entered.wait_for(
                lambda: all(key[:2] != (run, source) for key in self._entering), _ENTERING_S
            ):
                msg = f"a segment of run {run}, source {source} is being entered; try again"
                raise RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, msg, retry_s=BUSY_S)
        try:
            return self.catalogue.position(run, source)
        except (sqlite3.Error, InputError) as error:
            raise self._unusable(error) from error

    def keep_settings(self, run: int, source: int, text: str) -> None:
        """Keep the settings of the readout that sends a source of a run."""
        name = f"settings of run {run}, source {source}"
        if self.is_full:
            raise self._full(name)
        with self.writing(name):
            self.folder.keep_settings(run, source, text, self.catalogue)

    def begin(self, note: SegmentNote, start: int = 0) -> "Upload | HTTPStatus":
        """Begin or continue an upload.

        Parameters
        ----------
        note : SegmentNote
        start : int
            Byte of the segment with which it goes on.

        Returns
        -------
        Upload or HTTPStatus
            The status if there is nothing to send: OK if the segment was stored already, CREATED if it was
            here and is stored now.

        Raises
        ------
        RefusedError
        """
        segment = note.segment
        with self._lock:
            if segment.key in self._open:
                msg = f"{segment.name}: another connection sends it at this moment; try again"
                raise RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, msg, retry_s=BUSY_S)
            if len(self._open) >= self._uploads:
                msg = f"{segment.name}: {self._uploads} other segments are being received; try again"
                raise RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, msg, retry_s=BUSY_S)
            self._open[segment.key] = 0, None
        try:
            found = self._find(note, start)
        except BaseException:
            self.release(segment)
            raise
        if not isinstance(found, Upload):
            self.release(segment)
        return found

    def release(self, segment: Segment) -> None:
        """End an upload: others may begin it."""
        with self._lock:
            self._open.pop(segment.key, None)
            self._overtaken.discard(segment.key)

    def _find(self, note: SegmentNote, start: int) -> "Upload | HTTPStatus":
        segment = note.segment
        known = self._known(segment.key)
        if known and known.fault and self._may_replace(known, segment):
            known = None  # its note was lost or its file has changed: here it comes again
        if known and known.segment == segment:
            self.again += 1
            self.folder.part(segment).unlink(missing_ok=True)  # a store was killed when it had archived it
            return HTTPStatus.OK
        if known:
            self.refused += 1
            self._log("segment refused: another one has its identity", level="error", segment=segment.name)
            msg = (
                f"{segment.name}: another segment of this run, source and index is stored; "
                "do not offer this one again"
            )
            raise RefusedError(HTTPStatus.CONFLICT, msg)
        if segment.size > self.max_bytes:
            msg = (
                f"{segment.name}: the segment has {segment.size} bytes; "
                f"the limit is {self.max_bytes} (store.max_segment_bytes)"
            )
            raise RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, msg)
        part = self.folder.part(segment)
        if self.folder.has(segment):  # the catalogue could not be written when it came
            self.enter(note, None)
            return HTTPStatus.CREATED
        kept = part.stat().st_size if part.exists() else 0
        if start > kept:
            msg = f"{segment.name}: {kept} bytes are here; go on from there, not from {start}"
            raise RefusedError(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, msg, offset=kept)
        self._reserve_space(segment, part, segment.size - start)
        with self.writing(segment.name, part):
            return Upload(self, note, part, start)

    def _may_replace(self, known: Stored, segment: Segment) -> bool:
        """Say whether a segment with a fault has the bytes of the one offered, or cannot be read."""
        if known.fault not in (NOTE_LOST, WORKED_OUT):  # its file is missing or has changed
            return True
        if (known.segment.size, known.segment.crc32c) == (segment.size, segment.crc32c):
            return True
        return known.deleted is None and not is_intact(self.folder.path / known.file, known)

    def _reserve_space(self, segment: Segment, part: Path, left: int) -> None:
        """See that there is space for the rest of a segment, or refuse it."""
        with self._lock:
            for other in set(self.folder.parts(segment.name)) - {part}:  # of other bytes under its name
                other.unlink(missing_ok=True)
            self._open[segment.key] = left, part
            needed = self._reserve + sum(left for left, _ in self._open.values())
            if self.folder.free < needed:
                for idle in set(self.folder.parts()) - {part for _, part in self._open.values()}:
                    idle.unlink(missing_ok=True)
            free = self.folder.free
        if free < needed:
            raise self._full(segment.name)

    def _full(self, name: str) -> RefusedError:
        self._log("disk full: readout waits", level="error", folder=str(self.folder.path))
        where = f"the disk of {self.folder.path} is full ({self._reserve} bytes stay free)"
        msg = f"{name}: {where}; make space"
        return RefusedError(HTTPStatus.INSUFFICIENT_STORAGE, msg, retry_s=FULL_S)

    def _known(self, key: tuple[int, int, int]) -> Stored | None:
        try:
            return self.catalogue.get(key)
        except (sqlite3.Error, InputError) as error:
            raise self._unusable(error) from error

    def _unusable(self, error: Exception) -> RefusedError:
        self._log("catalogue cannot be used", level="error", why=str(error))
        self.failing = printable(str(error))
        msg = f"the store's catalogue cannot be used ({error}); see the log of the store"
        return RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, msg, retry_s=FULL_S)

    @contextmanager
    def writing(self, name: str, part: Path | None = None) -> Iterator[None]:
        """Turn what goes wrong while something is written into a refusal; on a full disk, no part is kept."""
        try:
            yield
        except OSError as error:
            if is_disk_full(error):
                if part:
                    part.unlink(missing_ok=True)
                raise self._full(name) from error
            self._log("cannot write", level="error", file=name, why=error.strerror)
            self.failing = f"{name}: {error.strerror}"
            msg = f"{name}: the store cannot write it ({error.strerror}); see the log of the store"
            raise RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, msg, retry_s=FULL_S) from error
        except (sqlite3.Error, InputError) as error:
            raise self._unusable(error) from error

    def _compressed(self, segment: Segment, part: Path) -> Compressed | None:
        """Compress a right upload, if that is done before it is acknowledged."""
        with self.writing(segment.name, part):
            try:
                return self._archiver.compress(part, segment) if self._archiver else None
            except ChangedError as error:
                raise self.reject(segment, part, f"{segment.name}: {error}; send it again") from error

    def enter(self, note: SegmentNote, part: Path | None) -> None:
        """Make a segment that is complete one of the store's; None: its file has its name already."""
        segment = note.segment
        made = self._compressed(segment, part) if part is not None else None
        with self._lock:
            if segment.key in self._overtaken:
                if made:
                    made.path.unlink(missing_ok=True)
                msg = f"{segment.name}: a readout has asked meanwhile where the run goes on; send it again"
                raise RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, msg, retry_s=BUSY_S)
            self._entering.add(segment.key)
        try:
            with self.writing(segment.name, part):
                self.folder.keep(note, part, self.catalogue, made)
        finally:
            with self._entered:
                self._entering.discard(segment.key)
                self._entered.notify_all()
        self.failing = ""
        with self._lock:
            self.segments, self.bytes = self.segments + 1, self.bytes + segment.size
        self._stored()

    def reject(self, segment: Segment, part: Path, why: str) -> RefusedError:
        """Drop a segment that was received and is not what its note says."""
        part.unlink(missing_ok=True)
        with self._lock:
            self.damaged += 1
        self._log("segment damaged on the way", level="warning", segment=segment.name, why=why)
        return RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, why)


class Upload:
    """A segment that is being received; made by `SegmentReceiver.begin`, to be closed in any case.

    Parameters
    ----------
    receiver, note, part
        See `SegmentReceiver`.
    start : int
        Byte of the segment with which it goes on; what is kept after that is dropped.

    Attributes
    ----------
    left : int
        Bytes that are to come.
    """

    def __init__(self, receiver: SegmentReceiver, note: SegmentNote, part: Path, start: int) -> None:
        self._receiver, self._note, self._part = receiver, note, part
        self.left = note.segment.size - start
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file = os.fdopen(os.open(part, flags, 0o644), "wb", buffering=0)
        try:
            self._file.truncate(start)
            self._file.seek(start)
            self._crc = checksum(part)[1]
        except BaseException:
            self._file.close()
            raise

    def write(self, pieces: Iterable[bytes]) -> None:
        """Write what came next."""
        segment = self._note.segment
        with self._receiver.writing(segment.name, self._part):
            for piece in pieces:
                if len(piece) > self.left:
                    msg = f"more bytes came than the {segment.size} of the segment"
                    raise self._receiver.reject(segment, self._part, f"{segment.name}: {msg}; send it again")
                self._crc = crc32c(piece, self._crc)
                self.left -= len(piece)
                rest = memoryview(piece)
                while rest:
                    rest = rest[self._file.write(rest) :]

    def finish(self) -> None:
        """Compare the segment with its note and store it: when this returns, it may be acknowledged."""
        segment = self._note.segment
        if self.left or self._crc != segment.crc32c:
            why = "the bytes do not have the note's checksum"
            why = f"{self.left} bytes are missing" if self.left else why
            raise self._receiver.reject(segment, self._part, f"{segment.name}: {why}; send it again")
        with mapped(self._part) as data:
            why = contradiction(data, segment)
        if why:
            msg = f"{segment.name}: the bytes are not what the note says: {why}; send what readout wrote"
            raise self._receiver.reject(segment, self._part, msg)
        self._receiver.enter(self._note, self._part)

    def close(self) -> None:
        """End the upload; what came stays, and the upload may go on from there."""
        self._file.close()
        self._receiver.release(self._note.segment)


@contextmanager
def mapped(path: Path) -> Iterator[memoryview]:
    """Give the bytes of a file, not read before they are looked at."""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            yield memoryview(b"")
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data, memoryview(data) as view:
            yield view
