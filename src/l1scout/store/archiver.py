"""Compress segments before they are acknowledged, in processes of their own."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from l1scout.errors import printable
from l1scout.files import is_disk_full
from l1scout.readout.segments import Segment
from l1scout.store.compress import ChangedError, Compressed, Method, compress_to
from l1scout.store.compressor import drop_pool, process_pool

LIMIT_S = 20.0
"""Longest time that a segment may take; less than a readout waits for its answer."""


class Archiver:
    """Compresses uploads that are complete. Its methods block: call them in threads.

    A segment that cannot be compressed, or in which the process that does it dies or hangs, is stored as it
    came, and `Compressor` tries it again.

    Parameters
    ----------
    method : Method
    workers : int
        Processes.
    log : callable
        ``log(event, **values)``.
    pool : callable
        Makes the executor of `workers` workers that compresses.
    limit_s : float
        Longest time that a segment may take, in s.

    Attributes
    ----------
    done, bytes_in, bytes_out : int
    failures : int
        Segments that were stored as they came.
    """

    def __init__(
        self,
        method: Method,
        workers: int,
        log: Callable[..., None],
        pool: Callable[[int], Executor] = process_pool,
        limit_s: float | None = None,
    ) -> None:
        self._method, self._workers, self._log, self._make_pool = method, workers, log, pool
        self._limit_s = LIMIT_S if limit_s is None else limit_s
        self._lock = threading.Lock()
        self._pool: Executor | None = None
        self._warm: Future[None] | None = None
        self._closed = False
        self.done = self.bytes_in = self.bytes_out = self.failures = 0

    def start(self) -> None:
        """Start the processes, which takes seconds, before a segment waits for them."""
        self._running_pool()

    def _running_pool(self) -> Executor | None:
        with self._lock:
            if self._pool is None and not self._closed:
                self._pool = self._make_pool(self._workers)
                self._warm = self._pool.submit(_warm_up)
            return self._pool

    def compress(self, part: Path, segment: Segment) -> Compressed | None:
        """Compress an upload beside it; None if it is to be stored as it came.

        Raises
        ------
        OSError
            `ChangedError` if the upload is not what was received; or if the disk is full.
        """
        pool = self._running_pool()
        if pool is None:
            return None
        target = part.with_suffix("")
        try:
            return self._compress(pool, part, target, segment)
        finally:
            for left in part.parent.glob(f"{target.name}.*.part.part"):  # of a process that was killed
                left.unlink(missing_ok=True)

    def _compress(self, pool: Executor, part: Path, target: Path, segment: Segment) -> Compressed | None:
        begun = time.monotonic()
        if self._warm and not wait([self._warm], self._limit_s).done:  # compiled kernels are kept, so it ends
            self._failed(segment, "the processes that compress are still starting")
            return None
        try:
            job = pool.submit(
                compress_to, part, segment.crc32c, self._method, segment.data, segment.name, target
            )
            if not wait([job], max(self._limit_s - (time.monotonic() - begun), 0)).done:
                self._failed(segment, f"took more than {self._limit_s:.0f} s", pool)
                return None
            made = job.result()
        except (BrokenProcessPool, CancelledError, RuntimeError) as error:
            self._failed(segment, f"the process that compresses died ({type(error).__name__})", pool)
            return None
        except ChangedError:
            raise
        except Exception as error:
            if isinstance(error, OSError) and is_disk_full(error):
                raise
            self._failed(segment, printable(f"{type(error).__name__}: {error}", 200))
            return None
        with self._lock:
            self.done, self.bytes_in = self.done + 1, self.bytes_in + segment.size
            self.bytes_out += made.size
        return made

    def _failed(self, segment: Segment, why: str, pool: Executor | None = None) -> None:
        """Leave a segment as it came; processes that died or hang are replaced."""
        self._log("segment is stored as it came", segment=segment.name, why=why, level="error")
        with self._lock:
            self.failures += 1
            if pool is not None and self._pool is pool:
                self._pool = None
        if pool is not None:
            drop_pool(pool)

    def close(self) -> None:
        """End the processes."""
        with self._lock:
            pool, self._pool, self._closed = self._pool, None, True
        if pool is not None:
            drop_pool(pool)


def _warm_up() -> None:
    """Import what the first segment needs, and compile its kernels."""
    from l1scout.io.archive import warm_up

    warm_up()
