"""Keep some processes busy with the stored segments that are not compressed yet."""

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

from l1scout.errors import printable
from l1scout.files import checksum
from l1scout.jit import leave_out_extensions
from l1scout.readout.segments import Segment, parse_name
from l1scout.store.catalogue import Catalogue, Stored
from l1scout.store.compress import ChangedError, Compressed, Method, compress

_RETRY_S = 2.0
_TICK_S = 0.25
_LIMIT_S = 600.0
"""Longest time that the compression of a segment may take: a process that hangs is killed."""


def process_pool(workers: int) -> ProcessPoolExecutor:
    """Return a pool of processes that are spawned: without this process's threads and locks."""
    return ProcessPoolExecutor(workers, get_context("spawn"), _prepare, (os.getpid(),))


def _prepare(store: int) -> None:
    """Begin a process: receiving segments goes first, and without the store there is nothing to do.

    The number of the store's process is given: it may have been killed before this one could ask for it.
    """
    os.nice(10)
    leave_out_extensions()
    threading.Thread(target=_follow, args=(store,), daemon=True).start()


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_RETRY_S)
    os._exit(1)


def drop_pool(pool: Executor) -> None:
    """Leave the workers of a pool; those that hang are killed."""
    processes = list((getattr(pool, "_processes", None) or {}).values())
    pool.shutdown(wait=not processes, cancel_futures=True)
    for process in processes:
        process.kill()
        process.join()  # or it might still write where the next one does


class HangingError(Exception):
    """A process that compresses takes too long."""


class Compressor:
    """Compresses segments and enters them in the catalogue; in a thread, or step by step.

    Nothing ends it silently: whatever goes wrong is logged, is an alarm, and is tried again. A
    segment that cannot be compressed, or whose compression kills the process that does it, stays as it is.

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
    limit_s : float
        Longest time that a segment may take, in s.

    Attributes
    ----------
    done, bytes_in, bytes_out : int
    waiting : int
        Segments not compressed yet.
    failures : int
        Times that something went wrong with the compressor itself.
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
        limit_s: float = _LIMIT_S,
    ) -> None:
        self._folder, self._catalogue, self._log = folder, catalogue, log
        self._method, self._workers, self._make_pool = method, workers, pool
        self._limit_s = limit_s
        self._pool: Executor | None = None
        self._at_once = 4 * workers
        self._wake, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="compressor", daemon=True)
        self._damaged: dict[tuple[int, int, int], str] = {}
        self._given_up: dict[tuple[int, int, int], str] = {}
        self._failing = ""
        self._abandoned = False
        self._run_checked: int | None = None
        self.warnings: list[str] = []
        self.done = self.bytes_in = self.bytes_out = self.waiting = self.failures = 0

    @property
    def damaged(self) -> int:
        """Stored segments that were found to have changed."""
        return len(self._damaged)

    @property
    def alive(self) -> bool:
        """Whether the thread is at work, has not been started yet, or ended on request."""
        return self._thread.is_alive() or self._thread.ident is None or self._stop.is_set()

    @property
    def alarms(self) -> list[str]:
        """What an operator must look at now, one line each."""
        lines = (
            [] if self.alive else ["the compressor has ended: segments stay as they are; restart the store"]
        )
        if self._failing:
            lines.append(f"compressor: {self._failing} ({self.failures} failures), trying again")
        for faults, what in (
            (self._damaged, "damaged in the store"),
            (self._given_up, "cannot be compressed"),
        ):
            if faults:
                first = next(iter(faults.copy().values()), "")
                lines.append(f"{len(faults)} segments {what}: {printable(first, 200)}")
        return lines

    def start(self) -> "Compressor":
        """Start the thread, which first compresses the segments that are stored already."""
        self._thread.start()
        return self

    def wake(self) -> None:
        """Tell the thread that there is something to do."""
        self._wake.set()

    def finish(self, limit_s: float | None = None) -> bool:
        """Compress all that is stored, then end the thread; what fails stays as it is.

        Parameters
        ----------
        limit_s : float, optional
            Longest time to wait; what is left then is compressed after the next start.

        Returns
        -------
        bool
            Whether the thread has ended.
        """
        self._stop.set()
        self._wake.set()
        self._thread.join(limit_s)
        return not self._thread.is_alive()

    def abandon(self) -> None:
        """End at once, and kill the processes that compress: Python would wait for them when it ends."""
        self._abandoned = True
        self._stop.set()
        while self._thread.is_alive():
            self._wake.set()
            self._drop_pool()
            self._thread.join(_TICK_S)

    def _run(self) -> None:
        try:
            self._attempt(self.tidy)
            while True:
                self._wake.clear()
                last = self._stop.is_set()
                wait_s = self._attempt(self.step)
                if wait_s and last:
                    return
                self._wake.wait(wait_s)
        finally:
            self._drop_pool()

    def _attempt(self, do: Callable[[], float]) -> float:
        """Do something; whatever goes wrong is logged, and tried again after a while."""
        try:
            wait_s = do()
        except Exception as error:
            self.failures += 1
            self._failing = printable(f"{type(error).__name__}: {error}", 200)
            self._log("compressor failed, trying again", why=self._failing, level="error")
            return _RETRY_S
        return wait_s

    def tidy(self) -> float:
        """Delete files whose compressed ones are catalogued and right: a store was killed in between."""
        for path in self._folder.glob("run*/run*"):
            name = parse_name(path.name)
            key = name and (int(name["run"]), int(name["source"]), int(name["index"]))
            stored = self._catalogue.get(key) if key else None
            if stored and stored.method and stored.segment.name == path.name and not stored.fault:
                made = self._folder / stored.file
                if made.is_file() and checksum(made) == (stored.stored_size, stored.stored_crc32c):
                    path.unlink()
        return 0.0

    def step(self) -> float:
        """Compress some segments, oldest first; return in how many seconds to look for more."""
        left_out = self._damaged.keys() | self._given_up.keys()
        waiting = self._catalogue.uncompressed()
        todo = [s for s in waiting if s.segment.key not in left_out]
        self.waiting = len(todo)
        if not todo or self._abandoned:
            self._failing = ""
            return _RETRY_S
        self._pool = self._pool or self._make_pool(self._workers)
        batch = todo[: self._at_once]
        try:
            failed = self._batch(self._pool, batch)
        except (BrokenProcessPool, CancelledError, HangingError) as error:
            if self._abandoned:
                return _RETRY_S
            why = "died" if isinstance(error, BrokenProcessPool) else f"took more than {self._limit_s:.0f} s"
            self._log("compression process failed, starting another", why=why, level="error")
            self._drop_pool()
            self.failures += 1
            if self._at_once == 1:  # this segment did it
                self._give_up(batch[0], f"the process that compresses it {why}")
            self._at_once = 1
            return 0.0
        self._at_once = 4 * self._workers
        self.failures += failed
        if not failed:
            self._failing = ""
        return _RETRY_S if failed else 0.0

    def _drop_pool(self) -> None:
        """Leave the workers; those that hang are killed."""
        pool, self._pool = self._pool, None
        if pool is not None:
            drop_pool(pool)

    def _give_up(self, stored: Stored, why: str) -> None:
        """Leave a segment as it is until the next start."""
        self._given_up[stored.segment.key] = f"{stored.segment.name}: {why}"
        self._log("segment stays uncompressed", segment=stored.segment.name, why=why, level="error")

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
        end = time.monotonic() + self._limit_s * len(todo)
        for stored, job in zip(todo, jobs, strict=True):
            if not wait([job], max(end - time.monotonic(), 0.0)).done:
                raise HangingError
            try:
                made = job.result()
            except (BrokenProcessPool, CancelledError):
                raise
            except (ChangedError, FileNotFoundError) as error:
                self._damaged[stored.segment.key] = str(error)
                self._log(
                    "stored segment is damaged", segment=stored.segment.name, why=str(error), level="error"
                )
                continue
            except OSError as error:
                failed += 1
                self._failing = printable(str(error), 200)
                self._log(
                    "cannot compress, trying again",
                    segment=stored.segment.name,
                    why=str(error),
                    level="error",
                )
                continue
            except Exception as error:
                self._give_up(stored, printable(f"{type(error).__name__}: {error}", 200))
                continue
            self._enter(stored, made)
        return failed

    def _enter(self, stored: Stored, made: Compressed) -> None:
        """Enter a compressed file, then delete the one that it was made of."""
        name = str(made.path.relative_to(self._folder))
        self._catalogue.compressed(stored.segment, name, made.method, made.size, made.crc32c)
        (self._folder / stored.file).unlink(missing_ok=True)
        self.done, self.waiting = self.done + 1, self.waiting - 1
        self.bytes_in, self.bytes_out = self.bytes_in + stored.segment.size, self.bytes_out + made.size
