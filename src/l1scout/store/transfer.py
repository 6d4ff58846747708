"""Copy stored segments elsewhere, read every copy back, and only then delete the original on request.

Notes, settings and a catalogue go along: the copy is a store of its own.
"""

import contextlib
import errno
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec
from crc32c import crc32c
from fsspec.implementations.local import LocalFileSystem

from l1scout.core.provenance import DataLabel
from l1scout.errors import InputError
from l1scout.files import checksum, sync_folder
from l1scout.readout.segments import joint_data
from l1scout.store.catalogue import FILE, Catalogue, Stored
from l1scout.store.on_disk import FILE_CHANGED, list_folder

_PIECE = 1 << 22
_FOR_ALL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
"""Errors that every further file would meet, too."""


def silent(_done: int, _of: int) -> None:
    """Show no progress."""


@dataclass
class Transferred:
    """What was done.

    Parameters
    ----------
    copied, copied_bytes : int
        Files copied and verified.
    again : int
        Of these, files of which a copy had been there and was gone or damaged.
    there : int
        Files of which a verified copy was there already, and still is.
    not_compressed : int
        Segments that wait for their compression, and were left for the next time.
    not_tried : int
        Files left because the target takes no more.
    deleted, deleted_bytes : int
        Files deleted here.
    failed : dict of str to str
        File and reason.
    data : str
        ``simulated``, ``real`` or ``unknown``: of all segments that were to be copied.
    """

    copied: int = 0
    copied_bytes: int = 0
    again: int = 0
    there: int = 0
    not_compressed: int = 0
    not_tried: int = 0
    deleted: int = 0
    deleted_bytes: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    data: DataLabel = "unknown"


def transfer(
    folder: Path,
    target: str,
    *,
    run: int | None = None,
    keep_days: float | None = None,
    verify: bool = False,
    uncompressed: bool = False,
    progress: Callable[[int, int], None] = silent,
    now: float | None = None,
) -> Transferred:
    """Copy all compressed segments to a URL, with their notes, and the catalogue of what is there.

    A copy gets its name when it is complete where the file system can rename; it is then read back,
    and entered in the catalogue if size and CRC32C are right. Started again, it goes on with what has
    no verified copy, or whose copy has gone.

    Parameters
    ----------
    folder : Path
        Of the store.
    target : str
        Any URL that fsspec knows: a folder, ``s3://``, ``root://``...
    run : int, optional
        Only that run.
    keep_days : float, optional
        Delete here what was received longer ago, if a copy is verified, and is still there with the
        right checksum when looked at once more. None deletes nothing.
    verify : bool
        Read the copies that are there already, too.
    uncompressed : bool
        Copy segments that are not compressed, too: those of a store that compresses nothing.
    progress : callable
        ``progress(done, of)``, in bytes.

    Raises
    ------
    InputError
        If there is no catalogue, it is damaged, or nothing can be opened at the URL, or it is in the store.
    """
    catalogue = Catalogue(folder)
    try:
        catalogue.check()
        copies = _Target(target)
        if copies.is_in(folder):
            msg = f"{target}: lies in the store that is to be copied, {folder}; name another place"
            raise InputError(msg)
        return _Transfer(folder, catalogue, copies, verify=verify).run(
            run, keep_days, now or time.time(), progress, uncompressed=uncompressed
        )
    finally:
        catalogue.close()


class _Target:
    """Where the copies go: files by their path relative to the store's folder.

    Parameters
    ----------
    url : str
    """

    def __init__(self, url: str) -> None:
        try:
            self._files, root = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError) as error:
            msg = f"{url}: {error}"
            raise InputError(msg) from error
        self._root, self.url = root.rstrip("/"), url.rstrip("/") + "/"
        self._listed: dict[str, dict[str, int]] = {}
        self._files.invalidate_cache()

    def path(self, file: str) -> str:
        """Return the path in the file system."""
        return f"{self._root}/{file}"

    def is_in(self, folder: Path) -> bool:
        """Return whether it is a folder of this machine, or lies in it."""
        if not isinstance(self._files, LocalFileSystem):
            return False
        here, root = folder.stat(), Path(self._root).resolve()
        return any(os.path.samestat(p.stat(), here) for p in (root, *root.parents) if p.exists())

    def is_itself(self, file: str, here: Path) -> bool:
        """Return whether a copy is the file of which it is to be one, by way of a link."""
        path = Path(self.path(file))
        local = isinstance(self._files, LocalFileSystem)
        return local and path.exists() and here.exists() and path.samefile(here)

    def size(self, file: str) -> int | None:
        """Return the size of a file as listed once for each folder; None if it is not there."""
        folder, _, name = file.rpartition("/")
        if folder not in self._listed:
            try:
                entries = self._files.ls(self.path(folder), detail=True)
            except FileNotFoundError:
                entries = []
            sizes = {e["name"].rpartition("/")[2]: e.get("size") for e in entries if e.get("type") == "file"}
            self._listed[folder] = sizes
        return self._listed[folder].get(name)

    def put(self, source: Path, file: str, size: int, crc: int) -> None:
        """Copy a file, read it back, and give it its name (OSError if it is not right)."""
        there, part = self.path(file), self.path(file) + ".part"
        self._files.makedirs(there.rpartition("/")[0], exist_ok=True)
        try:
            self._files.put_file(str(source), part)
            self.check(file + ".part", size, crc)
            self._sync(part)
            self._files.mv(part, there)
        except Exception:
            with contextlib.suppress(Exception):  # what went wrong before is what counts
                self._files.rm_file(part)
            raise
        self._sync(there.rpartition("/")[0])
        if self._files.size(there) != size:
            msg = "copy has another size after it was renamed"
            raise OSError(msg)
        folder, _, name = file.rpartition("/")
        self._listed.setdefault(folder, {})[name] = size

    def _sync(self, path: str) -> None:
        """Give a file or folder to the disk, where that is known to be possible."""
        if isinstance(self._files, LocalFileSystem):
            sync_folder(Path(path))

    def check(self, file: str, size: int, crc: int) -> None:
        """Read a copy (OSError if it is another one)."""
        if _sum(_pieces(self._files.open(self.path(file), "rb"))) != (size, crc):
            msg = "copy reads back different"
            raise OSError(msg)

    def is_right(self, file: str, size: int, crc: int) -> bool:
        """Return whether a copy is there and reads back right."""
        try:
            self.check(file, size, crc)
        except OSError:
            return False
        return True


class _Transfer:
    def __init__(self, folder: Path, catalogue: Catalogue, target: _Target, *, verify: bool) -> None:
        self._folder, self._catalogue, self._target, self._verify = folder, catalogue, target, verify
        self._done = Transferred()
        self._took = False

    def run(
        self,
        run: int | None,
        keep_days: float | None,
        now: float,
        progress: Callable[[int, int], None],
        *,
        uncompressed: bool,
    ) -> Transferred:
        done = self._done
        here = [s for s in self._catalogue.segments(run) if s.deleted is None]
        todo = [s for s in here if s.method or uncompressed]
        done.data, done.not_compressed = joint_data(s.segment for s in here), len(here) - len(todo)
        total, ended = sum(s.stored_size for s in todo), 0
        for k, stored in enumerate(todo):
            try:
                self._one(stored, keep_days, now)
            except Exception as error:  # file systems of others raise what they like
                done.failed[stored.file] = str(error) or type(error).__name__
                if isinstance(error, OSError) and error.errno in _FOR_ALL:
                    done.not_tried = len(todo) - k - 1
                    return done
            ended += stored.stored_size
            progress(ended, total)
        try:
            self._settings({s.segment.folder for s in todo})
            self._copy_catalogue()
        except Exception as error:
            done.failed[FILE] = str(error) or type(error).__name__
        return done

    def _one(self, stored: Stored, keep_days: float | None, now: float) -> None:
        """Copy a segment and its note, unless they are there; then delete it here, if it is old."""
        done, target = self._done, self._target
        size, crc = stored.stored_size, stored.stored_crc32c
        if target.is_itself(stored.file, self._folder / stored.file):
            msg = "the copy is the file itself: a link leads back to the store"
            raise OSError(msg)
        url = target.url + stored.file
        known = url in self._catalogue.copies(stored)
        there = target.size(stored.file) == size
        if there and (self._verify or not known):
            there = target.is_right(stored.file, size, crc)
        if there:
            done.there += 1
        else:
            self._copy(stored)
            done.copied, done.copied_bytes = done.copied + 1, done.copied_bytes + size
            done.again += known
        self._note(stored)
        if not (known and there):
            self._catalogue.copied(stored, url)
        if keep_days is not None and stored.received <= now - 86400.0 * keep_days:
            target.check(stored.file, size, crc)
            self._delete(stored)

    def _copy(self, stored: Stored) -> None:
        path = self._folder / stored.file
        if stored.fault == FILE_CHANGED or checksum(path) != (stored.stored_size, stored.stored_crc32c):
            msg = "has changed since it was stored: not copied"
            raise OSError(msg)
        self._target.put(path, stored.file, stored.stored_size, stored.stored_crc32c)

    def _note(self, stored: Stored) -> None:
        """Copy the note of a segment, as the catalogue knows it."""
        if stored.fault:  # it has none
            return
        data = self._catalogue.note(stored).encode()
        file = f"{stored.segment.folder}/{stored.segment.name}.json"
        size, crc = len(data), crc32c(data)
        if self._target.size(file) == size and (not self._verify or self._target.is_right(file, size, crc)):
            return
        self._put_bytes(data, file)

    def _put_bytes(self, data: bytes, file: str) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "file"
            path.write_bytes(data)
            self._target.put(path, file, len(data), crc32c(data))

    def _delete(self, stored: Stored) -> None:
        self._catalogue.deleted(stored)  # first the entry: a file too many does no harm
        (self._folder / stored.file).unlink()
        self._done.deleted, self._done.deleted_bytes = (
            self._done.deleted + 1,
            self._done.deleted_bytes + stored.stored_size,
        )

    def _settings(self, folders: set[str]) -> None:
        """Copy the settings of the readouts of runs."""
        for folder in sorted(folders):
            for path in list_folder(self._folder / folder).settings.values():
                data = path.read_bytes()
                file = f"{folder}/{path.name}"
                if not self._target.is_right(file, len(data), crc32c(data)):
                    self._put_bytes(data, file)

    def _copy_catalogue(self) -> None:
        """Write the catalogue of what is there beside it."""
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / FILE
            self._catalogue.backup(path, self._target.url)
            self._target.put(path, FILE, *checksum(path))


def _pieces(file: Any) -> Iterator[bytes]:
    with file:
        while piece := file.read(_PIECE):
            yield piece


def _sum(pieces: Iterator[bytes]) -> tuple[int, int]:
    size = crc = 0
    for piece in pieces:
        size, crc = size + len(piece), crc32c(piece, crc)
    return size, crc
