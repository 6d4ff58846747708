"""The board process of the live chain: packets of a file or a simulation, without end, to readout."""

import contextlib
import io
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from l1scout.access import parse_networks
from l1scout.board.board import Board
from l1scout.board.repeat import RepeatedOrbits, RepeatedPackets
from l1scout.board.repeat_records import RepeatedRecords
from l1scout.board.sinks import BufferedSink, ReadoutSink
from l1scout.errors import InputError
from l1scout.formats.block_format import BlockFormat, board_format
from l1scout.formats.packets import Readable
from l1scout.formats.wire_formats.objects import OBJECT_PACKETS
from l1scout.lhc import ORBIT_FREQUENCY_HZ
from l1scout.link.transmit import Piece
from l1scout.readout.status import BoardStatus, ProcessState
from l1scout.settings import Settings
from l1scout.settings.setting_tables import BoardSection
from l1scout.simulate.activity import ACTIVITIES, Activity
from l1scout.simulate.collisions import simulate_orbits, without_truth
from l1scout.simulate.object_packets import SEED, simulated_objects
from l1scout.simulate.run import Running, simulate_run
from l1scout.simulate.write import Fibres

_TICK_S = 0.25


class _Memory:
    """A sink that keeps all packets."""

    def __init__(self) -> None:
        self.stream = io.BytesIO()

    def ready(self) -> bool:
        return True

    def step(self, packet: memoryview) -> None:
        self.stream.write(packet)

    def finish(self) -> None:
        """Nothing is held back."""


def simulated_packets(
    form: BlockFormat, orbits: int, occupancy: float, seed: int = SEED, activity: Activity | None = None
) -> io.BytesIO:
    """Simulate orbits, send them over eight fibres and through the board; the packets.

    With `activity`, muons are those of the collisions of which other boards send the other streams.
    """
    sink, fibres = _Memory(), Fibres(form, seed)
    pieces: Iterator[Piece]
    if activity:
        made = simulate_orbits(seed, orbits, activity=activity, form=form)
        pieces = (Piece(without_truth(part.muons), part.first, part.stop) for part in made)
    else:
        try:
            running = Running(occupancy=occupancy)
        except ValueError as error:
            msg = f"[board] occupancy: {error}"
            raise InputError(msg) from error
        pieces = simulate_run(seed, orbits, running=running, form=form)
    Board(sink, form).run(fibres.send(pieces))
    sink.stream.seek(0)
    return sink.stream


def activity_of(board: BoardSection) -> Activity | None:
    """Return the collisions that a board's settings ask for; None for muons alone."""
    if board.activity == "none":
        return None
    activity = ACTIVITIES[board.activity]
    return replace(activity, pile_up=board.pile_up) if board.pile_up else activity


def simulated(settings: Settings) -> io.BytesIO:
    """Simulate the packets of the settings' board (InputError if its sources cannot be simulated)."""
    board, readout = settings.board, settings.readout
    activity = activity_of(board)
    if readout.wire_format != OBJECT_PACKETS.name:
        form = board_format(readout.wire_format)
        return simulated_packets(form, board.simulate, board.occupancy, activity=activity)
    return io.BytesIO(
        b"".join(simulated_objects(readout.sources, board.simulate, activity or ACTIVITIES["2018"]))
    )


def repeated(settings: Settings, stream: Readable, first_orbit: int) -> RepeatedOrbits[Any]:
    """Return what sends packets again and again, in the wire format of the settings."""
    board, readout = settings.board, settings.readout
    if readout.wire_format == OBJECT_PACKETS.name:
        return RepeatedRecords(
            stream, readout.sources, first_orbit, keep=board.keep_orbits, of=board.of_orbits
        )
    if board.of_orbits > 1:
        msg = "board.of_orbits: only boards of the wire format objects can leave out orbits"
        raise InputError(msg)
    return RepeatedPackets(stream, board_format(readout.wire_format), first_orbit)


class LiveBoard:
    """Packets to readout until told to stop.

    Parameters
    ----------
    settings : Settings
        ``[board]`` says what is sent, ``[readout]`` to whom.
    first_orbit : int
    log : callable
        ``log(event, **values)``.

    Raises
    ------
    InputError
        If there is nothing to send.
    """

    def __init__(self, settings: Settings, first_orbit: int, log: Callable[..., None]) -> None:
        board = settings.board
        if (board.packets is None) == (board.simulate == 0):
            msg = "[board]: set either packets (a file) or simulate (a number of orbits)"
            raise InputError(msg)
        if board.packets:
            try:
                with board.packets.open("rb") as file:
                    self._packets = repeated(settings, file, first_orbit)
            except OSError as error:
                msg = f"{board.packets}: {(error.strerror or 'cannot be read').lower()}"
                raise InputError(msg) from error
        else:
            log("simulating", orbits=board.simulate)
            self._packets = repeated(settings, simulated(settings), first_orbit)
        self._readout = ReadoutSink(
            settings.readout.listen,
            settings.access.access,
            parse_networks(settings.readout.trusted_networks),
            drain_s=settings.readout.drain_seconds,
        )
        self._sink = BufferedSink(self._readout, board.buffer, wait=board.pace == 0)
        self._board, self._first, self._log, self._run = board, first_orbit, log, settings.run.number
        self._sources = settings.readout.sources
        self._stopping = threading.Event()
        self._alarms: list[str] = []
        self._unsent, self._confirmed = 0, True
        self._began = time.monotonic()

    def stop(self) -> None:
        """Request the end, when what is buffered has been sent; at the second request, at once."""
        if self._stopping.is_set():
            self._readout.end_now()
        self._readout.end_soon()  # a full buffer must not keep the board from hearing of it
        self._stopping.set()

    def run(self, status: Callable[[BoardStatus], None]) -> None:
        """Send until stopped, or until all orbits of the settings are sent.

        Raises
        ------
        InputError
            If not all could be sent; the last status has the number of orbits, too.
        """
        board, next_status = self._board, 0.0

        def going() -> bool:
            nonlocal next_status
            if time.monotonic() >= next_status:
                next_status = time.monotonic() + _TICK_S
                status(self.status("running"))
            return not self._stopping.is_set()

        self._log("board sends", first_orbit=self._first, pace=board.pace)
        with contextlib.suppress(OSError):  # given up while it was sending: counted below
            self._packets.run(self._sink, pace=board.pace, orbits=board.orbits, going=going)
        fault = self._finish()
        status(self.status("idle"))
        if fault:
            raise InputError(fault)

    def _finish(self) -> str:
        """Send what is buffered; return in words what could not be sent, empty if nothing."""
        try:
            self._sink.finish(self._packets.last_trailer())
        except OSError as error:
            why = str(error)
        else:
            return ""
        self._unsent, self._confirmed = self._packets.delivered - self._readout.orbits, False
        if self._unsent:
            fault = f"{self._unsent} orbits were not sent: readout was not reachable ({why})"
        else:
            fault = f"readout may not have read everything: `l1scout account` counts what it did not ({why})"
        self._alarms.append(fault)
        self._log("board could not send everything", level="error", unsent_orbits=self._unsent, why=why)
        return fault

    def status(self, state: ProcessState) -> BoardStatus:
        """Return counts since the start of this process."""
        packets, seconds = self._packets, time.monotonic() - self._began
        return BoardStatus(
            state=state,
            run=self._run,
            source=self._sources[0],
            source_count=len(self._sources),
            seconds=seconds,
            first_orbit=self._first,
            delivered=packets.delivered,
            dropped=packets.dropped,
            unsent=self._unsent,
            confirmed=self._confirmed,
            alarms=self._alarms,
            packets=packets.packets,
            bytes=packets.bytes,
            waiting=self._sink.waiting,
            buffer=self._board.buffer,
            readout=self._readout.why or "connected",
            real_time_factor=packets.delivered / ORBIT_FREQUENCY_HZ / seconds if seconds else 0.0,
        )
