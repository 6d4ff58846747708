"""Receive segments: acknowledged after fsync, rename and entry in the catalogue, and not before."""

import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

from crc32c import crc32c
from pydantic import ValidationError

from l1scout.errors import InputError, first_fault
from l1scout.files import checksum, is_disk_full, sync_folder
from l1scout.readout.segment_messages import Answer, Offer
from l1scout.readout.segment_note import SegmentNote
from l1scout.readout.segments import Segment
from l1scout.store.catalogue import Catalogue
from l1scout.wire import Channel, WireError

INCOMING = "incoming"
_PIECE = 1 << 20
_QUIET_S = 60.0
_STALE_S = 86400.0


class SegmentReceiver:
    """Answers what readouts offer, and writes what they send.

    Parameters
    ----------
    folder : Path
    catalogue : Catalogue
    log : callable
        ``log(event, **values)``.
    max_bytes : int
        Longest segment.
    reserve_bytes : int
        To stay free on the disk.
    stored : callable
        Called after each segment that was taken.

    Attributes
    ----------
    segments, bytes, again : int
        Taken; and offered though they were there.
    """

    def __init__(
        self,
        folder: Path,
        catalogue: Catalogue,
        log: Callable[..., None],
        *,
        max_bytes: int,
        reserve_bytes: int,
        stored: Callable[[], None] = lambda: None,
    ) -> None:
        self._folder, self._catalogue, self._log, self._stored = folder, catalogue, log, stored
        self._max_bytes, self._reserve = max_bytes, reserve_bytes
        self._lock = threading.Lock()
        self._busy: set[tuple[int, int, int]] = set()
        self.segments = self.bytes = self.again = 0
        (folder / INCOMING).mkdir(parents=True, exist_ok=True)
        for part in (folder / INCOMING).iterdir():
            if time.time() - part.stat().st_mtime > _STALE_S:
                part.unlink()

    def handle(self, channel: Channel, peer: str) -> None:
        """Serve a connection to its end."""
        while True:
            self.step(channel, peer)

    def step(self, channel: Channel, peer: str) -> None:
        """Wait for an offer and answer it (WireError if something else comes, or nothing in time)."""
        try:
            note = Offer.model_validate(channel.receive(_QUIET_S)).offer
        except ValidationError as error:
            msg = f"not an offer of a segment: {first_fault(error)}"
            _answer(channel, Answer(refused=msg[:200]))
            raise WireError(msg) from error
        segment = note.segment
        with self._lock:
            busy = segment.key in self._busy
            self._busy.add(segment.key)
        if busy:
            _answer(channel, Answer(wait="another connection sends it at this moment"))
            return
        try:
            self._take(channel, note, peer)
        except (sqlite3.Error, InputError) as error:
            self._log("catalogue cannot be used", segment=segment.name, why=str(error))
            msg = f"catalogue cannot be used ({error})"
            raise WireError(msg) from error
        finally:
            with self._lock:
                self._busy.discard(segment.key)

    def _take(self, channel: Channel, note: SegmentNote, peer: str) -> None:
        segment = note.segment
        known = self._catalogue.get(segment.key)
        if known:
            if known.segment == segment:
                self.again += 1
                _answer(channel, Answer(done=True))
            else:
                self._log("segment refused: another one has its name", segment=segment.name, peer=peer)
                _answer(channel, Answer(refused="another segment of this run, source and index is stored"))
            return
        if segment.size > self._max_bytes:
            reason = (
                f"the segment has {segment.size} bytes; the limit is {self._max_bytes} (max_segment_bytes)"
            )
            _answer(channel, Answer(refused=reason))
            return
        part = self._folder / INCOMING / f"{segment.name}.{segment.crc32c:08x}.part"
        final = self._folder / segment.folder / segment.name
        if final.exists() and checksum(final) == (segment.size, segment.crc32c):
            self._enter(channel, note, final)  # it came before a crash, and nobody was told
            return
        there = min(part.stat().st_size, segment.size) if part.exists() else 0
        if shutil.disk_usage(self._folder).free < segment.size - there + self._reserve:
            self._log("disk full: readout waits", folder=str(self._folder))
            _answer(channel, Answer(wait="disk full"))
            return
        _answer(channel, Answer(send=there))
        try:
            good = self._receive(channel, segment, part, there)
            if good:
                final.parent.mkdir(exist_ok=True)
                part.replace(final)
        except WireError:
            raise
        except OSError as error:
            if is_disk_full(error):
                part.unlink(missing_ok=True)
            self._log("cannot write", file=str(part), why=error.strerror)
            msg = f"cannot write ({error.strerror})"
            raise WireError(msg) from error
        if good:
            self._enter(channel, note, final)
        else:
            part.unlink()
            self._log("segment damaged on the way", segment=segment.name, peer=peer)
            _answer(channel, Answer(again="checksum"))

    def _enter(self, channel: Channel, note: SegmentNote, final: Path) -> None:
        """Enter a segment whose file is complete into the catalogue, then acknowledge it."""
        sync_folder(final.parent)
        sync_folder(self._folder)  # the run's folder may be new
        self._catalogue.add(note, str(final.relative_to(self._folder)))
        self.segments, self.bytes = self.segments + 1, self.bytes + note.segment.size
        _answer(channel, Answer(done=True))
        self._stored()

    def _receive(self, channel: Channel, segment: Segment, part: Path, there: int) -> bool:
        """Write what comes; True if it is right."""
        crc = 0
        with part.open("r+b" if there else "wb", buffering=0) as file:
            if there:
                file.truncate(there)
                crc = checksum(part)[1]
                file.seek(there)
            buffer = memoryview(bytearray(_PIECE))
            left = segment.size - there
            while left:
                try:
                    n = channel.socket.recv_into(buffer[: min(left, _PIECE)])
                except OSError as error:
                    msg = f"cut in a segment ({error})"
                    raise WireError(msg) from error
                if n == 0:
                    msg = "cut in a segment"
                    raise WireError(msg)
                piece = buffer[:n]
                crc = crc32c(piece, crc)
                left -= n
                while piece:
                    piece = piece[file.write(piece) :]
            os.fsync(file.fileno())
        return crc == segment.crc32c


def _answer(channel: Channel, answer: Answer) -> None:
    channel.send(**answer.as_message())
