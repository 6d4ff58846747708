"""The store process: segments in, compressed files and their catalogue out."""

import multiprocessing
import os
import shutil
import threading
import time
from collections.abc import Callable
from functools import lru_cache

import psutil

from l1scout.errors import ScoutingError
from l1scout.files import is_disk_full
from l1scout.readout.status import ProcessState, StoreStatus
from l1scout.settings import Settings
from l1scout.store.archiver import Archiver
from l1scout.store.catalogue import Catalogue
from l1scout.store.compress import Method
from l1scout.store.compressor import Compressor
from l1scout.store.http_api import application
from l1scout.store.http_server import HttpServer
from l1scout.store.rebuild import open_catalogue
from l1scout.store.receiver import SegmentReceiver
from l1scout.store.store_folder import StoreFolder

_TICK_S = 0.25
_BEGIN_BYTES = 4 << 20
"""With less space than this, the catalogue is not opened."""


class DeadThreadError(ScoutingError):
    """A thread without which the store does not work has ended."""


class Store:
    """Receives, compresses, keeps the catalogue.

    A store whose disk is full waits until there is space, whether that happens before it began or later.

    Parameters
    ----------
    settings : Settings
    log : callable
        ``log(event, **values)``.

    Attributes
    ----------
    folder, catalogue, receiver : StoreFolder, Catalogue, SegmentReceiver
        None while the disk is too full to begin.
    server : HttpServer
    state : str

    Raises
    ------
    InputError
        If the folder, the address or the model cannot be used.
    """

    def __init__(self, settings: Settings, log: Callable[..., None]) -> None:
        s = settings.store
        self._settings, self._log = settings, log
        self._method = Method(s.method, s.level, settings.recalibrate.model, settings.recalibrate.engine)
        self._method.check()
        self.state: ProcessState = "running"
        self.folder: StoreFolder | None = None
        self.catalogue: Catalogue | None = None
        self.receiver: SegmentReceiver | None = None
        self._compressor: Compressor | None = None
        self._archiver: Archiver | None = None
        self._alarms: list[str] = []
        self._stopping = threading.Event()
        self._at_once = False
        self._began = time.monotonic()
        access = settings.access.access
        api = application(self, access.token, log)
        self.server = HttpServer(api, s.listen, access, log)
        try:
            self.open()
        except BaseException:
            self.server.stop()
            if self.folder:
                self.folder.close()
            raise

    def open(self) -> bool:
        """Take the folder and open the catalogue; False while the disk is too full for that."""
        s = self._settings.store
        try:
            self.folder = self.folder or StoreFolder(s.folder)
            if self.folder.free < _BEGIN_BYTES:  # a catalogue that cannot be written looks like a damaged one
                return False
            self.catalogue, self._alarms = open_catalogue(s.folder, self._log)
        except OSError as error:
            if is_disk_full(error):
                return False
            raise
        self.folder.watch()
        if s.method != "none":
            self._compressor = Compressor(s.folder, self.catalogue, self._method, s.workers, self._log)
        if self._method.on_arrival:
            self._archiver = Archiver(self._method, s.workers, self._log)
        self.receiver = SegmentReceiver(
            self.folder,
            self.catalogue,
            self._log,
            max_bytes=s.max_segment_bytes,
            reserve_bytes=s.reserve_bytes,
            uploads=s.connections,
            archiver=self._archiver,
            stored=self._compressor.wake if self._compressor else lambda: None,
        )
        return True

    def stop(self) -> None:
        """Request a clean end; at the second request, one that compresses nothing more."""
        if self._stopping.is_set():
            self._at_once = True
        self._stopping.set()

    def run(self, status: Callable[[StoreStatus], None]) -> None:
        """Serve until stopped, then compress what is there (DeadThreadError if a thread ends before)."""
        self.start()
        while not self._stopping.wait(_TICK_S):
            if self.receiver is None and self.open():
                self._start_compressor()
            status(self.status())
            self._check_threads()
        self.close(status)

    def start(self) -> None:
        """Start the threads."""
        self._start_compressor()
        self.server.start()
        self._log("store listens", address=self.server.address, folder=str(self._settings.store.folder))
        if self.receiver is None:
            self._log("disk full: waits for space", level="error", folder=str(self._settings.store.folder))

    def close(self, status: Callable[[StoreStatus], None] = lambda _: None) -> None:
        """Let uploads end, compress what is there, and leave the folder."""
        self.state = "draining"
        status(self.status())
        self.server.stop()
        if self._archiver:
            self._archiver.close()
        end = time.monotonic() + self._settings.store.drain_seconds
        while self._compressor and not self._compressor.finish(_TICK_S):
            if self._at_once or time.monotonic() >= end:
                self._log("segments are left uncompressed until the next start", level="warning")
                self._compressor.abandon()
                break
            status(self.status())
        self.state = "idle"
        status(self.status())
        if self.catalogue:
            self.catalogue.close()
        if self.folder:
            self.folder.close()

    def _start_compressor(self) -> None:
        if self._compressor:
            self._compressor.start()
        if self._archiver:
            self._archiver.start()

    def _check_threads(self) -> None:
        if not self.server.alive:
            msg = f"the thread that serves {self.server.address} has died ({self.server.error!r})"
            raise DeadThreadError(msg) from self.server.error

    @property
    def is_healthy(self) -> bool:
        """Whether segments can be taken."""
        receiver = self.receiver
        if receiver is None or receiver.is_full or receiver.failing or receiver.folder.gone:
            return False
        return not self.dead_threads

    @property
    def dead_threads(self) -> list[str]:
        """Threads that have ended though they should not have."""
        dead = {
            "http": self.state == "running" and not self.server.alive,
            "compressor": self._compressor is not None and not self._compressor.alive,
        }
        return [name for name, is_dead in dead.items() if is_dead]

    @property
    def alarms(self) -> list[str]:
        """What an operator must look at now, one line each."""
        found, folder, receiver = list(self._alarms), self._settings.store.folder, self.receiver
        if receiver and (gone := receiver.folder.gone):
            found.append(f"{gone} was deleted or replaced while the store uses it; restart the store")
        elif receiver is None or receiver.is_full:
            found.append(f"disk full: {folder} has less than store.reserve_bytes free; make space")
        if receiver and receiver.failing:
            found.append(f"segments cannot be stored: {receiver.failing}")
        if receiver and receiver.refused:
            found.append(
                f"{receiver.refused} times a segment was refused because another one has its identity; "
                "see SPOOL/refused of the readout"
            )
        if receiver and receiver.damaged:
            found.append(f"{receiver.damaged} segments were damaged on the way or not what their notes say")
        return found + (self._compressor.alarms if self._compressor else [])

    def status(self) -> StoreStatus:
        """Return counts since the start of this process."""
        compressor, receiver = self._compressor, self.receiver
        both = [c for c in (compressor, self._archiver) if c]
        return StoreStatus(
            state=self.state,
            seconds=time.monotonic() - self._began,
            cpu_s=_cpu_s(),
            segments=receiver.segments if receiver else 0,
            bytes_in=receiver.bytes if receiver else 0,
            again=receiver.again if receiver else 0,
            compressed=sum(c.done for c in both),
            uncompressed=compressor.waiting if compressor else 0,
            compressed_in=sum(c.bytes_in for c in both),
            compressed_out=sum(c.bytes_out for c in both),
            damaged=compressor.damaged if compressor else 0,
            warnings=compressor.warnings if compressor else [],
            alarms=self.alarms,
            dead_threads=self.dead_threads,
            disk_free=_free(self._settings),
        )


def _free(settings: Settings) -> int:
    try:
        return shutil.disk_usage(settings.store.folder).free
    except OSError:
        return 0


_process = lru_cache(maxsize=64)(psutil.Process)
"""To look a process up takes several times as long as to ask for its times."""


def _cpu_s() -> float:
    """Processor time of this process and those that compress.

    They are asked by their numbers: to find children as psutil does, it reads about every process there is.
    """
    total = 0.0
    for pid in (os.getpid(), *(worker.pid for worker in multiprocessing.active_children())):
        try:
            times = _process(pid).cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system
    return float(total)
