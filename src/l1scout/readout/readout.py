"""The readout process: packets of boards in, segments to the store out, a status 4 times a second."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from l1scout.access import parse_address, parse_addresses, parse_networks
from l1scout.board.board import Board
from l1scout.board.sources import captures, is_capture
from l1scout.errors import InputError
from l1scout.formats.block_format import board_format
from l1scout.formats.packets import Readable
from l1scout.formats.wire_format import WIRE_FORMATS, WireFormat
from l1scout.lhc import ORBIT_FREQUENCY_HZ
from l1scout.readout.board_listener import BoardConnection, BoardListener
from l1scout.readout.deadline import Deadline
from l1scout.readout.packet_file import check_packet_file
from l1scout.readout.renumbering import offer_as_source
from l1scout.readout.segment_note import ReadoutPosition
from l1scout.readout.sender import Sender
from l1scout.readout.source_writers import SourceWriters
from l1scout.readout.spool import Spool, default_folder
from l1scout.readout.spool_alarms import SpoolForecast, spool_alarms
from l1scout.readout.status import ProcessState, ReadoutStatus
from l1scout.readout.store_client import put_settings, stored_position
from l1scout.readout.streams_in import TICK_S, Ending, stoppable
from l1scout.readout.warm_up import compile_kernels
from l1scout.readout.writer import Limits, SegmentWriter, Stopped
from l1scout.settings import Settings, as_toml

_LAST_BYTES_S = 5.0
"""Time that a board has which goes on sending when readout is to stop."""
_KNOWN_S, _UNKNOWN_S = 1.0, 3.0
"""Time that the store has, at the start, to say where the run is: if the spool knows it, and if not."""
_AGAIN_S = 0.2
"""The same for further sources, when the store did not answer for the first."""
_SETTINGS_S = 60.0
"""Time for giving the store the settings."""
_COUNT_S = 2.0
"""Longest time for counting what has arrived and will not be written any more."""


def chosen_format(settings: Settings) -> WireFormat:
    """Return the wire format of the settings (InputError if there is none of this name)."""
    try:
        return WIRE_FORMATS.find(settings.readout.wire_format)
    except InputError as error:
        msg = f"readout.wire_format: {error}"
        raise InputError(msg) from error


class _WriterSink:
    """The board's packets straight into the writer: board and readout in one process."""

    def __init__(
        self, take: Callable[[tuple[memoryview, int]], object], stopping: Callable[[], bool]
    ) -> None:
        self._take, self._stopping = take, stopping

    def ready(self) -> bool:
        return True

    def step(self, packet: memoryview) -> None:
        if self._stopping():
            raise Stopped
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
            log("segment recovered", segment=segment.name, orbits=segment.orbits, level="warning")
        self._deadline = Deadline(s.drain_seconds)
        self._ending = Ending(self._deadline.began)
        self.writers = SourceWriters(self._wire_format, s.sources, self._new_writer)
        self.sender = Sender(self.spool, s.store, settings.access.access, log, failover_s=s.failover_seconds)
        self._lock = threading.Lock()
        self._failure: Exception | None = None
        self._forecast = SpoolForecast()
        self._position_unknown = False
        self._began = time.monotonic()
        self.listener: BoardListener | None = None

    def _new_writer(self, source: int) -> SegmentWriter:
        s = self._settings.readout
        return SegmentWriter(
            self.spool,
            self._settings.run.number,
            source,
            self._wire_format,
            Limits(s.segment_orbits, s.segment_bytes, s.segment_seconds),
            self._deadline.close_to_its_end,
            data=s.data,
        )

    def stop(self) -> None:
        """Request a clean end within ``readout.drain_seconds``; at the second request, an end at once."""
        if self._deadline.began():
            self._deadline.expire()
        self._deadline.begin()

    def listen(self, status: Callable[[ReadoutStatus], None]) -> int:
        """Take packets from boards until stopped; return the number of segments left in the spool."""
        s = self._settings.readout
        parse_address(s.listen)
        self._begin()
        self.listener = BoardListener(
            s.listen,
            self._settings.access.access,
            parse_networks(s.trusted_networks),
            self._board,
            ending=self._ending,
            log=self._log,
        ).start()
        self._log("readout listens", address=self.listener.address, run=self._settings.run.number)
        with self._repeating(self._tick):
            while not self._deadline.began():
                status(self.status("running"))
                time.sleep(TICK_S)
        self._take_last_bytes(self.listener, status)
        return self._drain(status)

    def _take_last_bytes(self, listener: BoardListener, status: Callable[[ReadoutStatus], None]) -> None:
        """Read what boards have sent: for a while, and then only what has arrived."""
        end = time.monotonic() + _LAST_BYTES_S
        while listener.connected and not self._deadline.over():
            if time.monotonic() >= end:
                self._ending.now = True
            time.sleep(0.05)
            status(self.status("draining"))
        self._ending.now = True
        end = time.monotonic() + _COUNT_S
        while listener.connected and time.monotonic() < end:
            time.sleep(0.01)
        listener.close()

    def read(self, path: Path | None, stream: Readable, status: Callable[[ReadoutStatus], None]) -> int:
        """Take packets from a stream, or from the words of a link capture, to their end or until stopped."""
        if path and not is_capture(path):
            check_packet_file(path, self._wire_format)
        self._begin()
        if path:
            self.writers.read_again()
        with self._repeating(lambda: status(self.status("running"))):
            if path and is_capture(path):
                sink = _WriterSink(self._take, self._deadline.began)
                with suppress(Stopped):
                    Board(sink, board_format(self._wire_format.name)).run(captures(path))
            else:
                self._stream(stoppable(stream, self._ending))
        return self._drain(status)

    def drain(self, status: Callable[[ReadoutStatus], None]) -> int:
        """Send what waits in the spool; return the number of segments left."""
        self._deadline.begin()
        self.sender.start()
        return self._send_rest(status)

    def offer_refused(self, source: int, status: Callable[[ReadoutStatus], None]) -> int:
        """Send the segments that the store has refused as those of another source; see `offer_as_source`."""
        if not self.spool.n_refused:
            msg = f"no refused segments in {self.spool.folder}"
            raise InputError(msg)
        made = offer_as_source(self.spool, source, lambda r, s: self._stored_position(r, s, _UNKNOWN_S))
        for segment in made:
            self._log("refused segment offered again", segment=segment.name, orbits=segment.orbits)
        return self.drain(status)

    def _begin(self) -> None:
        for source in self._settings.readout.sources:
            self._find_position(source)
        if self.writers.ended:
            msg = f"run {self._settings.run.number} has ended: set another run.number"
            raise InputError(msg)
        compile_kernels(self._wire_format)
        threading.Thread(target=self._give_settings, name="settings to the store", daemon=True).start()
        self.sender.start()

    def _give_settings(self) -> None:
        """Let the store keep the settings in force with the run, as soon as it can be reached."""
        run, access = self._settings.run.number, self._settings.access.access
        addresses, text = parse_addresses(self._settings.readout.store), as_toml(self._settings)
        for source in self._settings.readout.sources:
            put_settings(addresses, access, run, source, text, self._log, _SETTINGS_S)

    def _find_position(self, source: int) -> None:
        """Ask the store where to go on: a spool that was lost does not know."""
        run = self._settings.run.number
        own = self.spool.position(run, source)
        patience_s = _KNOWN_S if own.index else _UNKNOWN_S
        if self._position_unknown:  # the store was waited for already, for another source
            patience_s = _AGAIN_S
        stored = self._stored_position(run, source, patience_s)
        unknown = stored is None and own.index == 0
        self._position_unknown |= unknown
        if unknown:
            why = "its segments are refused if the store has others of this run and source"
            self._log("store not reached: the run begins with segment 0", run=run, why=why, level="warning")
        if stored is not None and stored.index > own.index:
            self._log("goes on where the store is", run=run, index=stored.index, level="warning")
            self.spool.adopt(run, source, stored, self._wire_format.name)
            self.writers.make_anew(source)

    def _stored_position(self, run: int, source: int, patience_s: float) -> ReadoutPosition | None:
        addresses, access = parse_addresses(self._settings.readout.store), self._settings.access.access
        return stored_position(addresses, access, run, source, self._log, patience_s)

    @contextmanager
    def _repeating(self, act: Callable[[], object]) -> Iterator[None]:
        """Do something 4 times a second in a thread; afterwards, raise what ended the writing of segments."""
        done = threading.Event()

        def repeat() -> None:
            while not done.wait(TICK_S):
                act()

        thread = threading.Thread(target=repeat, name="readout, 4 times a second", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join(TICK_S)
        if self._failure:
            raise self._failure

    def _board(self, board: BoardConnection) -> None:
        for packet in self._wire_format.split(board):
            if packet[0]:
                board.has_sent_packet()
            if not self._take(packet):
                break  # the run has ended without it: the board will find the connection closed
        self._log("board gone", peer=board.peer)

    def _stream(self, stream: Readable) -> None:
        for packet in self._wire_format.split(stream):
            self._take(packet)

    def _take(self, packet: tuple[memoryview, int]) -> bool:
        """Give a packet to the writer; return whether the run had not ended."""
        with self._lock:
            if self.writers.ended:
                return False
            try:
                self.writers.step(packet)
            except Exception as error:
                self._notice(error)
                raise
            return True

    def _tick(self) -> None:
        """Close the segment if its time is over, unless the writer waits for space."""
        if self._lock.acquire(blocking=False):
            try:
                self.writers.tick()
            except Exception as error:
                self._notice(error)
                raise
            finally:
                self._lock.release()

    def _notice(self, error: Exception) -> None:
        """Let readout end with an error: the spool cannot be written."""
        self._failure = error
        self.stop()

    def _drain(self, status: Callable[[ReadoutStatus], None]) -> int:
        self._deadline.begin()
        folder = self.spool.folder
        if not self._lock.acquire(timeout=min(self._deadline.left() + _COUNT_S, threading.TIMEOUT_MAX)):
            msg = (
                f"{folder}: the disk of the spool does not answer; started again, readout goes on from there"
            )
            raise InputError(msg)
        try:
            self.writers.finish()
        finally:
            self._lock.release()
        if discarded := self.writers.totals.discarded:
            self._log("spool full: orbits given up", orbits=discarded, folder=str(folder), level="error")
        return self._send_rest(status)

    def _send_rest(self, status: Callable[[ReadoutStatus], None]) -> int:
        while not (self.sender.drained() or self._deadline.over()):
            status(self.status("draining"))
            time.sleep(0.05)
        self.sender.stop()
        status(self.status("idle"))
        return len(self.spool)

    def status(self, state: ProcessState) -> ReadoutStatus:
        """Return counts since the start of this process, and what waits."""
        totals, spool, sender = self.writers.totals, self.spool, self.sender
        seconds = time.monotonic() - self._began
        orbits = totals.counts["orbits"] / self._settings.readout.source_count
        return ReadoutStatus(
            state=state,
            alarms=self._alarms(),
            run=self._settings.run.number,
            data=self.writers.data,
            seconds=seconds,
            packets=totals.packets,
            bytes_in=totals.bytes_in,
            bytes_out=totals.bytes_out,
            **{n: totals.counts[n] for n in _COUNTS},
            objects=dict(totals.objects),
            real_time_factor=orbits / ORBIT_FREQUENCY_HZ / seconds if seconds else 0.0,
            spool_segments=len(spool),
            spool_bytes=spool.held,
            spool_limit=self._settings.readout.spool_bytes,
            spool_seconds_left=self._forecast.seconds_left(time.monotonic(), spool),
            waited_s=totals.waited_s,
            store_connected=sender.connected,
            sent=sender.sent,
            sent_bytes=sender.sent_bytes,
            refused=spool.n_refused,
            last_orbit=self.writers.last_orbit,
        )

    def _alarms(self) -> list[str]:
        """Return what an operator must look at."""
        alarms = [*self.writers.alarms, *spool_alarms(self.spool), *self.sender.alarms]
        if self.listener:
            alarms += self.listener.alarms
        if self._position_unknown and not self.sender.sent:
            alarms.append("the store could not be asked where the run goes on: it begins with segment 0")
        return alarms


_COUNTS = ("orbits", "corrupt", "missed", "duplicate", "dropped", "flagged", "corrupt_bytes")
