"""Compression of stored segments, in processes of their own, one after the other, and checked."""

import bz2
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

import pyarrow as pa
from crc32c import crc32c

from l1scout.files import sync_folder
from l1scout.store.catalogue import Catalogue, Stored

SUFFIX = {"zstd": ".zst", "bzip2": ".bz2"}
_RETRY_S = 2.0


class ChangedError(OSError):
    """A file that is not what it was when it was stored."""


def compress(path: Path, crc: int, method: str, level: int) -> tuple[Path, int, int]:
    """Compress a file beside it, and read it back to see that it is right.

    Parameters
    ----------
    path : Path
    crc : int
        CRC32C that the file must have.
    method : str
        ``zstd`` or ``bzip2``: what ``zstd -d`` and ``bunzip2`` open.
    level : int

    Returns
    -------
    path : Path
    size, crc32c : int
        Of the compressed file.

    Raises
    ------
    OSError
        If it cannot be written, or reads back different; `ChangedError` if its checksum is another.
    """
    data = path.read_bytes()
    if crc32c(data) != crc:
        msg = f"{path}: has changed since it was stored"
        raise ChangedError(msg)
    if method == "zstd":
        packed = pa.Codec("zstd", compression_level=level).compress(data, asbytes=True)
    else:
        packed = bz2.compress(data, min(level, 9))
    out = path.with_name(path.name + SUFFIX[method])
    part = out.with_name(out.name + ".part")
    with part.open("wb") as file:
        file.write(packed)
        file.flush()
        os.fsync(file.fileno())
    if decompress(part.read_bytes(), method, len(data)) != data:
        msg = f"{out}: reads back different; the disk or memory is faulty"
        raise OSError(msg)
    part.replace(out)
    sync_folder(out.parent)
    return out, len(packed), crc32c(packed)


def decompress(packed: bytes, method: str, size: int) -> bytes:
    """Return the bytes of a compressed segment, of which the catalogue knows the size."""
    if method == "zstd":
        return bytes(pa.Codec("zstd").decompress(packed, size, asbytes=True))
    return bz2.decompress(packed)


def content(folder: Path, stored: Stored) -> bytes:
    """Read a stored segment's own bytes.

    Raises
    ------
    OSError
        If it cannot be read; `ChangedError` if its checksum is not that of the catalogue.
    """
    path = folder / stored.file
    packed = path.read_bytes()
    right = (len(packed), crc32c(packed)) == (stored.stored_size, stored.stored_crc32c)
    data = b""
    if right:
        data = decompress(packed, stored.method, stored.segment.size) if stored.method else packed
    if not right or crc32c(data) != stored.segment.crc32c:
        msg = f"{path}: has changed since it was stored"
        raise ChangedError(msg)
    return data


def _gentle() -> None:
    os.nice(10)  # what receives comes first


class Compressor:
    """A thread that keeps some processes busy with what is not compressed yet.

    Parameters
    ----------
    folder : Path
    catalogue : Catalogue
    method : str
    level, workers : int
    log : callable
        ``log(event, **values)``.

    Attributes
    ----------
    done, bytes_in, bytes_out : int
    waiting : int
        Segments not compressed yet.
    """

    def __init__(
        self,
        folder: Path,
        catalogue: Catalogue,
        method: str,
        level: int,
        workers: int,
        log: Callable[..., None],
    ) -> None:
        self._folder, self._catalogue, self._log = folder, catalogue, log
        self._method, self._level, self._workers = method, level, workers
        self._wake, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="compressor", daemon=True)
        self._damaged: set[tuple[int, int, int]] = set()
        self.done = self.bytes_in = self.bytes_out = self.waiting = 0

    def start(self) -> "Compressor":
        """Begin with what there is."""
        self._thread.start()
        return self

    def wake(self) -> None:
        """Say that there is something to do."""
        self._wake.set()

    def finish(self) -> None:
        """Compress all that is there, then end."""
        self._stop.set()
        self._wake.set()
        self._thread.join()

    def _pool(self) -> ProcessPoolExecutor:
        # forked from a process that has not begun to work: nothing of this one's threads and locks
        return ProcessPoolExecutor(self._workers, get_context("spawn"), _gentle)

    def _run(self) -> None:
        pool = self._pool()
        try:
            while True:
                self._wake.clear()
                todo = [s for s in self._catalogue.uncompressed() if s.segment.key not in self._damaged]
                self.waiting = len(todo)
                if not todo:
                    if self._stop.is_set():
                        return
                    self._wake.wait(_RETRY_S)
                    continue
                failed = 0
                try:
                    failed = self._batch(pool, todo[: 4 * self._workers])
                except BrokenProcessPool:
                    self._log("compression process died, starting another")
                    pool = self._pool()
                if failed and self._stop.wait(_RETRY_S):
                    return  # they stay as they came, and are catalogued so
        finally:
            pool.shutdown(cancel_futures=True)

    def _batch(self, pool: ProcessPoolExecutor, todo: list[Stored]) -> int:
        jobs = []
        for stored in todo:
            path = self._folder / stored.file
            jobs.append(pool.submit(compress, path, stored.segment.crc32c, self._method, self._level))
        failed = 0
        for stored, job in zip(todo, jobs, strict=True):
            try:
                out, size, crc = job.result()
            except (ChangedError, FileNotFoundError) as error:
                self._damaged.add(stored.segment.key)
                self._log("stored segment is damaged", segment=stored.segment.name, why=str(error))
                continue
            except OSError as error:
                failed += 1
                self._log("cannot compress, trying again", segment=stored.segment.name, why=str(error))
                continue
            name = str(out.relative_to(self._folder))
            self._catalogue.compressed(stored.segment, name, self._method, size, crc)
            (self._folder / stored.file).unlink()
            self.done, self.waiting = self.done + 1, self.waiting - 1
            self.bytes_in, self.bytes_out = self.bytes_in + stored.segment.size, self.bytes_out + size
        return failed

    @property
    def damaged(self) -> int:
        """Stored segments that were found to have changed."""
        return len(self._damaged)
