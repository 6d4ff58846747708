"""The store's folder: who uses it, what lies where, and how a segment becomes one of its files for good.

::

    lock                        held by the store that uses the folder
    catalogue.sqlite            `l1scout.store.catalogue`
    incoming/NAME.CRC.part      upload that is not complete; CRC is that of the whole segment
    incoming/NAME.CRC.SUFFIX.part     upload that is being compressed, before it has its name
    runNNNNNN/NAME.SUFFIX       segment, compressed
    runNNNNNN/NAME              segment as it was sent, until it is compressed
    runNNNNNN/NAME.json         its note, `l1scout.readout.segment_note`
    runNNNNNN/sourceNN_settings.toml  settings of the readout that sends the source
"""

import os
import re
import shutil
import time
import weakref
from contextlib import suppress
from pathlib import Path

from l1scout.errors import InputError
from l1scout.files import checksum, is_disk_full, lock_folder, sync_folder, write_small
from l1scout.readout.segment_note import SegmentNote
from l1scout.readout.segments import Segment
from l1scout.store.catalogue import FILE, Catalogue
from l1scout.store.compress import SUFFIX, Compressed

_STALE_S = 86400.0
_UPLOAD = re.compile(r"\.[0-9a-f]{8}\.part\Z")


class StoreFolder:
    """Folder of a store, locked as long as this object lives.

    Parameters
    ----------
    path : Path
        Made if it is missing.

    Raises
    ------
    InputError
        If another store uses it, or it cannot be written.
    OSError
        If the disk is full: try again when it is not.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.incoming = path, path / "incoming"
        taken = "another store uses this folder; stop it, or give each its own store.folder"
        lock = lock_folder(path, "store folder", taken, 0o755)
        self.close = weakref.finalize(self, os.close, lock)
        """Leave the folder to others."""
        try:
            self.incoming.mkdir(exist_ok=True)
        except OSError as error:
            if is_disk_full(error):
                raise
            msg = f"{path}: cannot be used as the store's folder ({error.strerror or error})"
            raise InputError(msg) from error
        self._watched: dict[Path, tuple[int, int]] = {}
        self._tidy()

    @property
    def free(self) -> int:
        """Bytes free on the disk; 0 if the folder is gone."""
        with suppress(OSError):
            return shutil.disk_usage(self.path).free
        return 0

    def watch(self) -> None:
        """Remember which files and folders the store has open; `gone` compares them."""
        for path in (self.path / "lock", self.path / FILE, self.incoming):
            self._watched[path] = _identity(path)

    @property
    def gone(self) -> str:
        """What somebody has deleted or replaced since `watch`; empty if all is there.

        The store goes on with files that are deleted, as far as it can: only this shows it.
        """
        for path, known in self._watched.items():
            try:
                same = _identity(path) == known
            except OSError:
                same = False
            if not same:
                return str(path)
        return ""

    def file(self, segment: Segment) -> Path:
        """Return where a segment lies as it was sent."""
        return self.path / segment.folder / segment.name

    def note_file(self, segment: Segment) -> Path:
        """Return where the note of a segment lies."""
        return self.path / segment.folder / f"{segment.name}.json"

    def part(self, segment: Segment) -> Path:
        """Return where a segment lies while it is not complete."""
        return self.incoming / f"{segment.name}.{segment.crc32c:08x}.part"

    def kept(self, name: str) -> int:
        """Return the bytes kept of an unfinished upload of a segment; 0 if there is none."""
        return max((path.stat().st_size for path in self.parts(name)), default=0)

    def parts(self, name: str = "") -> list[Path]:
        """Return the unfinished uploads of a segment, or of all, oldest first."""
        found = [p for p in self.incoming.glob("*.part") if p.name.startswith(f"{name}." if name else "")]
        return sorted(filter(_is_upload, found), key=lambda path: path.stat().st_mtime)

    def has(self, segment: Segment) -> bool:
        """Say whether a segment lies in its run's folder, complete, as it was sent."""
        path = self.file(segment)
        return path.is_file() and checksum(path) == (segment.size, segment.crc32c)

    def keep(
        self, note: SegmentNote, part: Path | None, catalogue: Catalogue, made: Compressed | None = None
    ) -> None:
        """Make a segment one of the store's for good: when this returns, it may be acknowledged.

        The note gets its name before the segment does: a segment in a run's folder never lacks its note.
        Whatever is interrupted is completed when the segment is offered again, or by
        `l1scout.store.rebuild.check` at the next start.

        Parameters
        ----------
        note : SegmentNote
        part : Path or None
            The segment's bytes, complete and right; None if they have their name already.
        catalogue : Catalogue
        made : Compressed or None
            The segment's bytes, compressed, on the disk and read back: then `part` is not kept.
        """
        path = self.file(note.segment)
        if made is not None:
            path = path.with_name(path.name + SUFFIX[made.method])
        elif part is not None:
            _sync(part)
        path.parent.mkdir(exist_ok=True)
        write_small(self.note_file(note.segment), note.encode(), durable=True)
        if made is not None:
            made.path.replace(path)
        elif part is not None:
            part.replace(path)
        sync_folder(path.parent)
        sync_folder(self.path)  # the run's folder may be new
        file = str(path.relative_to(self.path))
        catalogue.add(note, file, (made.method, made.size, made.crc32c) if made else None)
        if made and part is not None:
            part.unlink(missing_ok=True)

    def keep_settings(self, run: int, source: int, text: str, catalogue: Catalogue) -> None:
        """Keep the settings of the readout that sends a source of a run, in a file and in the catalogue."""
        folder = self.path / f"run{run:06d}"
        folder.mkdir(exist_ok=True)
        write_small(folder / f"source{source:02d}_settings.toml", text.encode(), durable=True)
        sync_folder(folder)
        sync_folder(self.path)
        catalogue.put_settings(run, source, text)

    def _tidy(self) -> None:
        """Delete uploads that nobody has continued for a day; leave the last byte of others to be sent.

        An upload that was complete when the store was killed can so be finished as any other. And see that
        names which a killed store gave to segments are on the disk, before the segments are entered.
        """
        for folder in self.path.glob("run*/"):
            sync_folder(folder)
        sync_folder(self.path)
        for part in self.incoming.glob("*.part"):
            if not _is_upload(part):  # half compressed
                part.unlink(missing_ok=True)
        for part in self.parts():
            found = part.stat()
            if time.time() - found.st_mtime > _STALE_S:
                part.unlink()
            elif found.st_size:
                os.truncate(part, found.st_size - 1)
                os.utime(part, ns=(found.st_atime_ns, found.st_mtime_ns))


def _is_upload(path: Path) -> bool:
    return _UPLOAD.search(path.name) is not None


def _identity(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
