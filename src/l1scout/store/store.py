"""The store process: segments in, compressed files and their catalogue out."""

import threading
import time
from collections.abc import Callable

import psutil

from l1scout.readout.status import ProcessState, StoreStatus
from l1scout.settings import Settings
from l1scout.store.catalogue import Catalogue
from l1scout.store.compress import Method
from l1scout.store.compressor import Compressor
from l1scout.store.receiver import SegmentReceiver
from l1scout.wire import Listener

_TICK_S = 0.25


class Store:
    """Receives, compresses, keeps the catalogue.

    Parameters
    ----------
    settings : Settings
    log : callable
        ``log(event, **values)``.

    Raises
    ------
    InputError
        If the folder, the address or the model cannot be used.
    """

    def __init__(self, settings: Settings, log: Callable[..., None]) -> None:
        s = settings.store
        self._settings, self._log = settings, log
        s.folder.mkdir(parents=True, exist_ok=True)
        self.catalogue = Catalogue(s.folder, create=True)
        method = Method(s.method, s.level, settings.recalibrate.model, settings.recalibrate.engine)
        method.check()
        self._compressor = (
            Compressor(s.folder, self.catalogue, method, s.workers, log) if s.method != "none" else None
        )
        self.receiver = SegmentReceiver(
            s.folder,
            self.catalogue,
            log,
            max_bytes=s.max_segment_bytes,
            reserve_bytes=s.reserve_bytes,
            stored=self._compressor.wake if self._compressor else lambda: None,
        )
        self.listener = Listener(
            s.listen,
            "store",
            settings.access.access,
            self.receiver.handle,
            connections=s.connections,
            log=log,
        )
        self._stopping = threading.Event()
        self._began = time.monotonic()

    def stop(self) -> None:
        """Request a clean end."""
        self._stopping.set()

    def run(self, status: Callable[[StoreStatus], None]) -> None:
        """Serve until stopped, then compress what is there."""
        if self._compressor:
            self._compressor.start()
        self.listener.start()
        self._log("store listens", address=self.listener.address, folder=str(self._settings.store.folder))
        while not self._stopping.wait(_TICK_S):
            status(self.status("running"))
        self.listener.close()
        status(self.status("draining"))
        if self._compressor:
            self._compressor.finish()
        status(self.status("idle"))
        self.catalogue.close()

    def status(self, state: ProcessState) -> StoreStatus:
        """Return counts since the start of this process."""
        compressor, receiver = self._compressor, self.receiver
        return StoreStatus(
            state=state,
            seconds=time.monotonic() - self._began,
            cpu_s=_cpu_s(),
            segments=receiver.segments,
            bytes_in=receiver.bytes,
            again=receiver.again,
            compressed=compressor.done if compressor else 0,
            uncompressed=compressor.waiting if compressor else 0,
            compressed_in=compressor.bytes_in if compressor else 0,
            compressed_out=compressor.bytes_out if compressor else 0,
            damaged=compressor.damaged if compressor else 0,
            warnings=compressor.warnings if compressor else [],
            disk_free=psutil.disk_usage(str(self._settings.store.folder)).free,
        )


def _cpu_s() -> float:
    """Processor time of this process and those that compress."""
    total = 0.0
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system
    return float(total)
