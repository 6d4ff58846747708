"""The readout process: packets of boards in, segments to the store out, a status 4 times a second."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

from l1scout.access import parse_networks
from l1scout.board.board import Board
from l1scout.board.sources import captures, is_capture
from l1scout.errors import InputError
from l1scout.formats.block_format import board_format
from l1scout.formats.packets import Readable
from l1scout.formats.wire_format import WIRE_FORMATS, WireFormat
from l1scout.lhc import ORBIT_FREQUENCY_HZ
from l1scout.readout.board_listener import BoardConnection, BoardListener
from l1scout.readout.sender import Sender
from l1scout.readout.spool import Spool, default_folder
from l1scout.readout.status import ProcessState, ReadoutStatus
from l1scout.readout.writer import Limits, SegmentWriter, Stopped
from l1scout.settings import Settings

_TICK_S = 0.25
_LAST_BYTES_S = 5.0


def chosen_format(settings: Settings) -> WireFormat:
    """Return the wire format of the settings (InputError if there is none of this name)."""
    try:
        return WIRE_FORMATS.find(settings.readout.wire_format)
    except InputError as error:
        msg = f"readout.wire_format: {error}"
        raise InputError(msg) from error


class _WriterSink:
    """The board's packets straight into the writer: board and readout in one process."""

    def __init__(self, take: Callable[[tuple[memoryview, int]], None]) -> None:
        self._take = take

    def ready(self) -> bool:
        return True

    def step(self, packet: memoryview) -> None:
        self._take((packet, 0))

    def finish(self) -> None:
        """Leave it to the readout, which ends the run."""


class Readout:
    """Everything between the board's packets and the store.

    Parameters
    ----------
    settings : Settings
    log : callable
        ``log(event, **values)``.

    Raises
    ------
    InputError
        If the spool or an address cannot be used, or the run has ended.
    """

    def __init__(self, settings: Settings, log: Callable[..., None]) -> None:
        self._settings, self._log = settings, log
        s = settings.readout
        self._wire_format = chosen_format(settings)
        self.spool = Spool(s.spool or default_folder(), s.spool_bytes)
        log("spool", folder=str(self.spool.folder), waiting=len(self.spool))
        for segment in self.spool.recovered:
            log("segment recovered", segment=segment.name, orbits=segment.orbits)
        self._forced = threading.Event()
        self._stopping = threading.Event()
        self.writer = SegmentWriter(
            self.spool,
            settings.run.number,
            s.source,
            self._wire_format,
            Limits(s.segment_orbits, s.segment_bytes, s.segment_seconds),
            self._forced.is_set,
            data=s.data,
        )
        self.sender = Sender(self.spool, s.store, settings.access.access, log, failover_s=s.failover_seconds)
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self.listener: BoardListener | None = None

    def stop(self) -> None:
        """Request a clean end; at the second request, an end at once."""
        if self._stopping.is_set():
            self._forced.set()
        self._stopping.set()

    def listen(self, status: Callable[[ReadoutStatus], None]) -> int:
        """Take packets from boards until stopped; return the number of segments left in the spool."""
        s = self._settings.readout
        self._begin()
        self.listener = BoardListener(
            s.listen,
            self._settings.access.access,
            parse_networks(s.trusted_networks),
            self._board,
            stopping=self._stopping,
            log=self._log,
        ).start()
        self._log("readout listens", address=self.listener.address, run=self._settings.run.number)
        while not self._stopping.wait(_TICK_S):
            status(self.step())
        end = time.monotonic() + _LAST_BYTES_S
        while self.listener.connected and time.monotonic() < end and not self._forced.is_set():
            time.sleep(0.05)
            status(self.status("draining"))
        self.listener.close()
        return self._drain(status)

    def read(self, path: Path | None, stream: Readable, status: Callable[[ReadoutStatus], None]) -> int:
        """Take packets from a stream, or from the words of a link capture, to their end."""
        self._begin()
        stop = threading.Event()

        def report() -> None:
            while not stop.wait(_TICK_S):
                status(self.status("running"))

        reporter = threading.Thread(target=report, daemon=True)
        reporter.start()
        try:
            if path and is_capture(path):
                board = Board(_WriterSink(self._take), board_format(self._wire_format.name))
                board.run(captures(path))
            else:
                self._stream(stream)
        finally:
            stop.set()
            reporter.join()
        return self._drain(status)

    def drain(self, status: Callable[[ReadoutStatus], None]) -> int:
        """Send what waits in the spool; return the number of segments left."""
        self.sender.start()
        return self._send_rest(status)

    def _begin(self) -> None:
        if self.writer.position.ended:
            msg = f"run {self._settings.run.number} has ended: set another run.number"
            raise InputError(msg)
        self.sender.start()

    def _board(self, board: BoardConnection) -> None:
        for packet in self._wire_format.split(board):
            if packet[0]:
                board.has_sent_packet()
            self._take(packet)
        self._log("board gone", peer=board.peer)

    def _stream(self, stream: Readable) -> None:
        for packet in self._wire_format.split(stream):
            self._take(packet)

    def _take(self, packet: tuple[memoryview, int]) -> None:
        with self._lock:
            self.writer.step(packet)

    def step(self) -> ReadoutStatus:
        """Close the segment if its time is over, and return the status."""
        # while the writer waits for space there is nothing to close
        if self._lock.acquire(blocking=False):
            try:
                self.writer.tick()
            finally:
                self._lock.release()
        return self.status("running")

    def _drain(self, status: Callable[[ReadoutStatus], None]) -> int:
        try:
            with self._lock:
                self.writer.finish()
        except Stopped:
            self._log("stopped with the spool full; start again to go on")
        return self._send_rest(status)

    def _send_rest(self, status: Callable[[ReadoutStatus], None]) -> int:
        end = time.monotonic() + self._settings.readout.drain_seconds
        while not self.sender.drained() and time.monotonic() < end and not self._forced.is_set():
            status(self.status("draining"))
            time.sleep(0.05)
        self.sender.stop()
        status(self.status("idle"))
        return len(self.spool)

    def status(self, state: ProcessState) -> ReadoutStatus:
        """Return counts since the start of this process, and what waits."""
        totals, spool, sender = self.writer.totals, self.spool, self.sender
        seconds = time.monotonic() - self._began
        return ReadoutStatus(
            state=state,
            run=self._settings.run.number,
            data=self.writer.position.data,
            seconds=seconds,
            packets=totals.packets,
            bytes_in=totals.bytes_in,
            bytes_out=totals.bytes_out,
            **{n: totals.counts[n] for n in _COUNTS},
            objects=dict(totals.objects),
            real_time_factor=totals.counts["orbits"] / ORBIT_FREQUENCY_HZ / seconds if seconds else 0.0,
            spool_segments=len(spool),
            spool_bytes=spool.held,
            spool_limit=self._settings.readout.spool_bytes,
            waited_s=totals.waited_s,
            store_connected=sender.connected,
            sent=sender.sent,
            sent_bytes=sender.sent_bytes,
            refused=sender.refused,
            last_orbit=self.writer.position.last_orbit,
        )


_COUNTS = ("orbits", "corrupt", "missed", "duplicate", "dropped", "flagged", "corrupt_bytes")
