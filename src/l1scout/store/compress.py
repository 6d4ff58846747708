"""Compression of stored segments, in processes of their own, one after the other, and checked."""

import bz2
import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
from crc32c import crc32c

from l1scout.core.provenance import current, recording
from l1scout.errors import InputError, ScoutingError
from l1scout.files import checksum, sync_folder
from l1scout.model.card import model_record
from l1scout.readout.segments import parse_name
from l1scout.store.catalogue import Catalogue, Stored

if TYPE_CHECKING:
    from l1scout.deploy.recalibrate import Recalibrator

SUFFIX = {"zstd": ".zst", "bzip2": ".bz2", "parquet": ".parquet"}
_RETRY_S = 2.0


class ChangedError(ScoutingError, OSError):
    """A file that is not what it was when it was stored."""


@dataclass(frozen=True)
class Method:
    """How segments are kept.

    Parameters
    ----------
    name : str
        ``zstd`` or ``bzip2``, which ``zstd -d`` and ``bunzip2`` open, or ``parquet``, the compact
        archive of `l1scout.io.archive`.
    level : int
        Of zstd (1..19) and bzip2 (1..9).
    model : Path, optional
        Model directory: archives get columns with the recalibrated values beside the trigger's own.
    engine : str
        What computes them; see `l1scout.deploy.engine.create_engine`.
    """

    name: str
    level: int = 3
    model: Path | None = None
    engine: str = "fused"

    def check(self) -> None:
        """Load the model (InputError if it cannot be used, or if there is no column for its values)."""
        if self.model is not None:
            if self.name != "parquet":
                msg = f"recalibration needs columns: set store.method to parquet, not {self.name}"
                raise InputError(msg)
            _recalibrator(self.model, self.engine)

    def warnings(self, run: int) -> list[str]:
        """Say in what a run's muons differ from those that the model was trained on; one line each."""
        if self.model is None:
            return []
        from l1scout.io.conditions import differences, of_runs

        card = _recalibrator(self.model, self.engine).card
        return differences(of_runs([run], None), card.conditions, f"run {run}", card.name)


@dataclass(frozen=True)
class Compressed:
    """A compressed file: where, how, and its size and CRC32C."""

    path: Path
    method: str
    size: int
    crc32c: int


def compress(path: Path, crc: int, method: Method) -> Compressed:
    """Compress a file beside it, and read it back to see that it is right.

    What cannot be a Parquet archive (a segment without orbits) becomes a zstd file.

    Parameters
    ----------
    path : Path
    crc : int
        CRC32C that the file must have.
    method : Method

    Raises
    ------
    OSError
        If it cannot be written, or reads back different; `ChangedError` if its checksum is another.
    """
    if checksum(path)[1] != crc:
        msg = f"{path}: has changed since it was stored"
        raise ChangedError(msg)
    if method.name == "parquet":
        with contextlib.suppress(InputError):
            return _archived(path, method)
        method = Method("zstd")
    data = path.read_bytes()
    if method.name == "zstd":
        packed = pa.Codec("zstd", compression_level=method.level).compress(data, asbytes=True)
    else:
        packed = bz2.compress(data, min(method.level, 9))
    out = path.with_name(path.name + SUFFIX[method.name])
    part = out.with_name(out.name + ".part")
    part.write_bytes(packed)
    if decompress(part, method.name, len(data)) != data:
        msg = f"{out}: reads back different; the disk or memory is faulty"
        raise OSError(msg)
    return _finished(part, out, method.name)


def _archived(path: Path, method: Method) -> Compressed:
    from l1scout.io import archive

    out = path.with_name(path.name + SUFFIX["parquet"])
    part = out.with_name(out.name + ".part")
    with recording("store", {"segment": path}):
        if method.model is None:
            archive.to_parquet(path, part)
        else:
            recalibrate = _recalibrator(method.model, method.engine)
            made = current(model=model_record(recalibrate.card))
            archive.to_parquet(path, part, compute=lambda c: recalibrate(c).branches(), made=made)
    return _finished(part, out, "parquet")


def _finished(part: Path, out: Path, method: str) -> Compressed:
    size, crc = checksum(part)
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(out)
    sync_folder(out.parent)
    return Compressed(out, method, size, crc)


@cache
def _recalibrator(model: Path, engine: str) -> "Recalibrator":
    from l1scout.deploy.recalibrate import Recalibrator

    return Recalibrator.load(model, engine=engine)


def decompress(path: Path, method: str, size: int) -> bytes:
    """Return the bytes of a compressed segment, of which the catalogue knows the size.

    Raises
    ------
    OSError, InputError
        If the file is damaged.
    """
    if method == "parquet":
        from l1scout.io import archive

        with tempfile.TemporaryDirectory() as folder:
            whole = Path(folder) / "segment"
            archive.to_raw(path, whole)
            return whole.read_bytes()
    packed = path.read_bytes()
    if method == "zstd":
        return bytes(pa.Codec("zstd").decompress(packed, size, asbytes=True))
    return bz2.decompress(packed) if method == "bzip2" else packed


def content(folder: Path, stored: Stored) -> bytes:
    """Read a stored segment's own bytes.

    Raises
    ------
    OSError
        If it cannot be read; `ChangedError` if its checksum is not that of the catalogue.
    """
    path = folder / stored.file
    data = b""
    right = checksum(path) == (stored.stored_size, stored.stored_crc32c)
    if right:
        data = decompress(path, stored.method, stored.segment.size)
    if not right or crc32c(data) != stored.segment.crc32c:
        msg = f"{path}: has changed since it was stored"
        raise ChangedError(msg)
    return data


def _prepare(store: int) -> None:
    """Begin a process: what receives comes first, and without the store there is nothing to do.

    The number of the store's process is given: it may have been killed before this one could ask for it.
    """
    os.nice(10)
    threading.Thread(target=_follow, args=(store,), daemon=True).start()


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_RETRY_S)
    os._exit(1)


class Compressor:
    """A thread that keeps some processes busy with what is not compressed yet.

    Parameters
    ----------
    folder : Path
    catalogue : Catalogue
    method : Method
    workers : int
    log : callable
        ``log(event, **values)``.

    Attributes
    ----------
    done, bytes_in, bytes_out : int
    waiting : int
        Segments not compressed yet.
    warnings : list of str
        In what the newest run's muons differ from those that the model was trained on.
    """

    def __init__(
        self,
        folder: Path,
        catalogue: Catalogue,
        method: Method,
        workers: int,
        log: Callable[..., None],
    ) -> None:
        self._folder, self._catalogue, self._log = folder, catalogue, log
        self._method, self._workers = method, workers
        self._wake, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="compressor", daemon=True)
        self._damaged: set[tuple[int, int, int]] = set()
        self._run_checked: int | None = None
        self.warnings: list[str] = []
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
        # spawned: nothing of this process's threads and locks
        return ProcessPoolExecutor(self._workers, get_context("spawn"), _prepare, (os.getpid(),))

    def _tidy(self) -> None:
        """Delete files whose compressed ones are catalogued: a store was killed in between."""
        for path in self._folder.glob("run*/run*"):
            name = parse_name(path.name)
            key = name and (int(name["run"]), int(name["source"]), int(name["index"]))
            stored = self._catalogue.get(key) if key else None
            if stored and stored.method and stored.segment.name == path.name:
                path.unlink()

    def _run(self) -> None:
        self._tidy()
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

    def _check_conditions(self, run: int) -> None:
        """Warn once for each run, in the log and in the status, if the model was trained on other muons."""
        if run != self._run_checked:
            self._run_checked, self.warnings = run, self._method.warnings(run)
            for line in self.warnings:
                self._log("recalibration: other conditions than in training", run=run, warning=line)

    def _batch(self, pool: ProcessPoolExecutor, todo: list[Stored]) -> int:
        jobs = []
        for stored in todo:
            self._check_conditions(stored.segment.run)
            path = self._folder / stored.file
            jobs.append(pool.submit(compress, path, stored.segment.crc32c, self._method))
        failed = 0
        for stored, job in zip(todo, jobs, strict=True):
            try:
                made = job.result()
            except (ChangedError, FileNotFoundError) as error:
                self._damaged.add(stored.segment.key)
                self._log("stored segment is damaged", segment=stored.segment.name, why=str(error))
                continue
            except OSError as error:
                failed += 1
                self._log("cannot compress, trying again", segment=stored.segment.name, why=str(error))
                continue
            name = str(made.path.relative_to(self._folder))
            self._catalogue.compressed(stored.segment, name, made.method, made.size, made.crc32c)
            (self._folder / stored.file).unlink()
            self.done, self.waiting = self.done + 1, self.waiting - 1
            self.bytes_in, self.bytes_out = self.bytes_in + stored.segment.size, self.bytes_out + made.size
        return failed

    @property
    def damaged(self) -> int:
        """Stored segments that were found to have changed."""
        return len(self._damaged)
