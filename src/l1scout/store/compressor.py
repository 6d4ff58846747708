"""Keep some processes busy with the stored segments that are not compressed yet."""

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

from l1scout.readout.segments import Segment, parse_name
from l1scout.store.catalogue import Catalogue, Stored
from l1scout.store.compress import ChangedError, Method, compress

_RETRY_S = 2.0


def process_pool(workers: int) -> ProcessPoolExecutor:
    """Return a pool of processes that are spawned: without this process's threads and locks."""
    return ProcessPoolExecutor(workers, get_context("spawn"), _prepare, (os.getpid(),))


def _prepare(store: int) -> None:
    """Begin a process: receiving segments goes first, and without the store there is nothing to do.

    The number of the store's process is given: it may have been killed before this one could ask for it.
    """
    os.nice(10)
    threading.Thread(target=_follow, args=(store,), daemon=True).start()


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_RETRY_S)
    os._exit(1)


class Compressor:
    """Compresses segments and enters them in the catalogue; in a thread, or step by step.

    Parameters
    ----------
    folder : Path
    catalogue : Catalogue
    method : Method
    workers : int
    log : callable
        ``log(event, **values)``.
    pool : callable
        Makes the executor of `workers` workers that compresses.

    Attributes
    ----------
    done, bytes_in, bytes_out : int
    waiting : int
        Segments not compressed yet.
    warnings : list of str
        How the newest run's muons differ from those that the model was trained on.
    """

    def __init__(
        self,
        folder: Path,
        catalogue: Catalogue,
        method: Method,
        workers: int,
        log: Callable[..., None],
        pool: Callable[[int], Executor] = process_pool,
    ) -> None:
        self._folder, self._catalogue, self._log = folder, catalogue, log
        self._method, self._workers, self._make_pool = method, workers, pool
        self._pool: Executor | None = None
        self._wake, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="compressor", daemon=True)
        self._damaged: set[tuple[int, int, int]] = set()
        self._run_checked: int | None = None
        self.warnings: list[str] = []
        self.done = self.bytes_in = self.bytes_out = self.waiting = 0

    @property
    def damaged(self) -> int:
        """Stored segments that were found to have changed."""
        return len(self._damaged)

    def start(self) -> "Compressor":
        """Start the thread, which first compresses the segments that are stored already."""
        self._thread.start()
        return self

    def wake(self) -> None:
        """Tell the thread that there is something to do."""
        self._wake.set()

    def finish(self) -> None:
        """Compress all that is stored, then end the thread; what fails stays as it is."""
        self._stop.set()
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        self.tidy()
        try:
            while True:
                self._wake.clear()
                last = self._stop.is_set()
                wait_s = self.step()
                if wait_s and last:
                    return
                self._wake.wait(wait_s)
        finally:
            if self._pool:
                self._pool.shutdown(cancel_futures=True)

    def tidy(self) -> None:
        """Delete files whose compressed ones are catalogued: a store was killed in between."""
        for path in self._folder.glob("run*/run*"):
            name = parse_name(path.name)
            key = name and (int(name["run"]), int(name["source"]), int(name["index"]))
            stored = self._catalogue.get(key) if key else None
            if stored and stored.method and stored.segment.name == path.name:
                path.unlink()

    def step(self) -> float:
        """Compress some segments, oldest first; return in how many seconds to look for more."""
        todo = [s for s in self._catalogue.uncompressed() if s.segment.key not in self._damaged]
        self.waiting = len(todo)
        if not todo:
            return _RETRY_S
        self._pool = self._pool or self._make_pool(self._workers)
        try:
            failed = self._batch(self._pool, todo[: 4 * self._workers])
        except BrokenProcessPool:
            self._log("compression process died, starting another")
            self._pool = None
            return 0.0
        return _RETRY_S if failed else 0.0

    def _check_conditions(self, segment: Segment) -> None:
        """Warn once for each run, in the log and in the status, if the model was trained on other muons."""
        if segment.run != self._run_checked:
            self._run_checked = segment.run
            self.warnings = self._method.warnings(segment.run, segment.data)
            for line in self.warnings:
                self._log("recalibration: other conditions than in training", run=segment.run, warning=line)

    def _batch(self, pool: Executor, todo: list[Stored]) -> int:
        """Compress segments; return how many could not be written."""
        jobs = []
        for stored in todo:
            self._check_conditions(stored.segment)
            path = self._folder / stored.file
            segment = stored.segment
            jobs.append(pool.submit(compress, path, segment.crc32c, self._method, segment.data))
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
