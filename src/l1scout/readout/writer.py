"""From packets to segments: fine zero suppression, and the account of every orbit that the board sent."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
from crc32c import crc32c

from l1scout.core.provenance import DataLabel, data_label, joint_label
from l1scout.files import is_disk_full
from l1scout.formats.frame_checksums import checksum_of_frames
from l1scout.formats.marks import REAL
from l1scout.formats.packets import PacketOrbits
from l1scout.formats.raw import Frames
from l1scout.formats.stream import add_counts
from l1scout.formats.wire_format import WireFormat
from l1scout.lhc import ORBITS_PER_LUMISECTION, lumisection
from l1scout.readout.arrival import Arrival, Judged
from l1scout.readout.loss_alarms import LossAlarms
from l1scout.readout.open_segment import OpenSegment
from l1scout.readout.orbit_numbers import EPOCH_ORBITS
from l1scout.readout.orbit_sequence import OrbitSequence
from l1scout.readout.segment_note import ReadoutPosition
from l1scout.readout.segments import Segment
from l1scout.readout.spool import Spool
from l1scout.readout.totals import Totals

ORBITS_PER_SEGMENT = 1 << 13
"""0.73 s of the LHC; a lumisection has 32 such."""
_LUMISECTION = ORBITS_PER_LUMISECTION
_WAIT_S = 0.1
T = TypeVar("T")


class Stopped(Exception):  # noqa: N818
    """The wait for room was cut short."""


@dataclass(frozen=True)
class Limits:
    """When a segment is closed, whichever comes first.

    Parameters
    ----------
    orbits : int
        Segments end where the orbit number is a multiple of this.
    bytes : int
    seconds : float
        Since its first packet.
    """

    orbits: int = ORBITS_PER_SEGMENT
    bytes: int = 1 << 28
    seconds: float = 10.0


class SegmentWriter:
    """Writes the segments of one run and source.

    Packets come in order. `OrbitSequence` says which of their orbits are to be stored, and when, and
    `BoardAccount` compares what the board sent with what arrived.

    Parameters
    ----------
    spool : Spool
    run, source : int
    wire_format : WireFormat
    limits : Limits
    stopping : callable
        Asked while the spool or its disk is full; True ends the wait: what cannot be written from then on is
        left out, and counted as missed.
    clock : callable
        Seconds that never go back.
    data : str
        What orbits are that state nothing of themselves: ``real``, and then marked so, or ``unknown``.
    """

    def __init__(
        self,
        spool: Spool,
        run: int,
        source: int,
        wire_format: WireFormat,
        limits: Limits | None = None,
        stopping: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
        data: DataLabel = "unknown",
    ) -> None:
        self._spool, self._run, self._source, self._format = spool, run, source, wire_format
        self._limits, self._stopping, self._clock = limits or Limits(), stopping, clock
        self._position = spool.position(run, source)
        self._data = data
        self._open: OpenSegment | None = None
        self._frames = np.empty(0, np.uint32)
        self._sequence = OrbitSequence(self._position, wire_format)
        self._held_since = 0.0
        self.totals = Totals()
        self._alarms = LossAlarms(wire_format, self.totals)
        self.discarding = False
        """Whether orbits are left out, because the spool was full when the run was to end."""

    @property
    def position(self) -> ReadoutPosition:
        """Where the run is."""
        return self._position

    @property
    def alarms(self) -> list[str]:
        """What an operator must look at: losses, wrong formats, new epochs; one line each."""
        return self._alarms.lines(self._clock())

    def ready(self) -> bool:
        """Say whether a packet would be taken at once; if not, `step` waits for space in the spool."""
        return not self._spool.is_full()

    def step(self, item: tuple[memoryview, int]) -> None:
        """Take a packet and the number of bytes skipped before it, as `split_packets` gives them."""
        packet, skipped = item
        self.totals.bytes_in += len(packet) + skipped
        if skipped:
            self._sequence.damage()
            self._count(Counter(corrupt_bytes=skipped))
        if not packet:
            return
        self.totals.packets += 1
        orbits = self._format.find_orbits(packet)
        found = orbits.found
        if found.corrupt:
            self._alarms.unreadable(packet, found)
            self._count(Counter(corrupt_bytes=found.corrupt_bytes))
        trailer = found.trailer or self._format.trailer(packet)
        arrival = Arrival(orbits, trailer, found.corrupt > 0)
        for judged in self._sequence.take(arrival):
            self._store(judged)
        if self._sequence.holds:
            self._held_since = self._clock()

    def _store(self, judged: Judged) -> None:
        """Write the orbits of a packet; cut where a segment, a lumisection or an epoch ends."""
        orbits, counts = judged.orbits, judged.counts
        number = orbits.orbit
        n = number.size
        if n == 0:
            self._count(counts)
            self._move(judged, 0)
            return
        orbits = self._labelled(orbits)
        first, last, length = int(number[0]), int(number[-1]), self._limits.orbits
        if first // length == last // length and first // _LUMISECTION == last // _LUMISECTION:
            self._write(orbits, counts)
            self._move(judged, 0)
            return
        part, lumi = number // length, lumisection(number)
        cuts = np.flatnonzero((part[1:] != part[:-1]) | (lumi[1:] != lumi[:-1])) + 1
        place = np.arange(n)
        for begin, end in zip([0, *cuts], [*cuts, n], strict=True):
            self._write(orbits.select((place >= begin) & (place < end)), counts)
            counts = Counter()
            self._move(judged, n - int(end), int(number[end - 1]))

    def _labelled(self, arrived: PacketOrbits) -> PacketOrbits:
        """Take over what orbits state of themselves; mark others as real if the setting says so."""
        label = data_label(arrived.simulated)
        if label == "unknown" and self._data == "real":
            label, arrived = "real", replace(arrived, marks=arrived.marks | np.uint32(REAL))
        if label != self._position.data:
            self._position = replace(self._position, data=label)
        return arrived

    def expect_damage(self) -> None:
        """Take note that bytes between the packets were damaged: orbits may be lost with them."""
        self._sequence.damage()

    def read_again(self) -> None:
        """Expect packets again from the beginning, as of a file that was not read to its end."""
        self._sequence.reads_again = True

    def tick(self) -> None:
        """Close the segment if its time is over: to be called now and then when no packets come."""
        if self._sequence.holds and self._clock() - self._held_since >= self._limits.seconds:
            for judged in self._sequence.settle():
                self._store(judged)
        if self._open and not self.discarding and self._clock() - self._open.began >= self._limits.seconds:
            self._close()

    def finish(self) -> Segment:
        """End the run: close what is open as its last segment, with no orbits if need be."""
        for judged in self._sequence.finish():
            self._store(judged)
        return self._close(last=True)

    def _move(self, judged: Judged, left: int, last: int | None = None) -> None:
        """Move on after a packet, or after a part of it that ends with orbit `last` and leaves `left`."""
        last = judged.last if last is None else last
        epoch, orbit = divmod(last, EPOCH_ORBITS) if last >= 0 else (0, last)
        before = self._position
        self.totals.epochs += epoch - before.epoch
        self._position = ReadoutPosition(
            index=before.index,
            epoch=epoch,
            last_orbit=orbit,
            board_orbits=judged.board_orbits - left,
            board_dropped=judged.board_dropped,
            gap_orbits=judged.gap - (judged.last - last - left),
            unaccounted=judged.unaccounted,
            data=before.data,
        )

    def _write(self, orbits: PacketOrbits, counts: Counter[str]) -> None:
        first, last = int(orbits.orbit[0]), int(orbits.orbit[-1])
        lumi = int(lumisection(first))
        if self._open and not self.discarding and self._ends_before(self._open, first, lumi):
            self._close()
        current = self._open or self._begin(lumi)
        if self.discarding:
            self._leave_out(orbits, counts)
            return
        room = self._format.frame_room(orbits)
        if self._frames.size < room:
            self._frames = np.empty(room, np.uint32)
        frames = self._format.frame(orbits, self._run, self._source, self._frames)
        try:
            while not self._put(current, frames):
                self._close()
                current = self._begin(lumi)
                if self.discarding:
                    raise Stopped
        except Stopped:
            self._discard()
            self._leave_out(orbits, counts)
            return
        current.marks.append(orbits.marks)
        current.starts.append(current.size - frames.words.nbytes + 4 * frames.starts[:-1])
        counts["orbits"] += len(orbits.orbit)
        counts["flagged"] += len(orbits.flagged)
        counts["blocks"] += orbits.blocks
        counts["bad_blocks"] += frames.bad_blocks
        self._count(counts, frames.objects)
        current.labels.add(self._position.data)
        current.last_time = time.time()
        if current.first_orbit < 0:
            current.first_orbit, current.first_time = first, current.last_time
        current.last_orbit = last

    def _leave_out(self, orbits: PacketOrbits, counts: Counter[str]) -> None:
        """Count orbits that arrived and cannot be written any more."""
        counts["missed"] += len(orbits.orbit)
        self.totals.discarded += len(orbits.orbit)
        self._count(counts)

    def _discard(self) -> None:
        """Write no more orbits: the rest of the run has only what was kept for its account."""
        self.discarding = True
        self._spool.release_reserve()

    def _ends_before(self, current: OpenSegment, orbit: int, lumi: int) -> bool:
        """Say whether a segment is complete when `orbit` comes next."""
        if current.lumisection != lumi:
            return True
        limits = self._limits
        full = current.last_orbit // limits.orbits != orbit // limits.orbits or current.size >= limits.bytes
        return current.first_orbit >= 0 and full

    def _count(self, counts: Counter[str], objects: Mapping[str, int] = MappingProxyType({})) -> None:
        current = self._open or self._begin(int(lumisection(max(self._last, 0))))
        add_counts(current.counts, counts)
        add_counts(self.totals.counts, counts)
        add_counts(current.objects, objects)
        add_counts(self.totals.objects, objects)

    @property
    def _last(self) -> int:
        return self._position.absolute_orbit

    def _begin(self, lumi: int) -> OpenSegment:
        try:
            while self._spool.is_full() and not self.discarding:
                self._pause()
            if not self.discarding:
                self._retry(self._spool.take_reserve)
        except Stopped:
            self._discard()
        file = self._insist(lambda: self._spool.open(self._segment(lumi)))
        header = self._format.segment_header(self._run, lumi, 0, 0)
        left = memoryview(header)
        while left:
            left = left[self._insist(partial(file.write, left)) :]
        self._open = OpenSegment(lumi, file, self._clock(), len(header))
        self.totals.bytes_out += len(header)
        return self._open

    def _segment(self, lumi: int) -> Segment:
        """Return the description of the next segment, without an account."""
        return Segment(self._run, self._source, self._position.index, lumi, self._format.name)

    def _put(self, current: OpenSegment, frames: Frames) -> bool:
        """Write, and wait where the disk is full: that slows the board.

        Returns
        -------
        bool
            False if the disk is full and nothing but this segment waits: it must be closed to be sent, which
            makes room.
        """
        words = frames.words
        left = memoryview(words.view(np.uint8).data)
        while left:
            try:
                left = left[current.file.write(left) :]
            except OSError as error:
                if not is_disk_full(error):
                    raise
                if current.first_orbit >= 0 and not len(self._spool):
                    return False
                self._pause()
        current.size += words.nbytes
        if self._format.has_checksums:
            current.body_crc32c = checksum_of_frames(words, frames.starts, current.body_crc32c)
        else:
            current.body_crc32c = crc32c(words.data, current.body_crc32c)
        self.totals.bytes_out += words.nbytes
        return True

    def _close(self, *, last: bool = False) -> Segment:
        current = self._open
        assert current is not None
        sums: list[int] = []
        self._insist_alone(lambda: sums.append(current.complete(self._format, self._run)))
        segment = self._segment(current.lumisection)
        segment = replace(
            segment,
            data=joint_label(current.labels or {self._position.data}),
            size=current.size,
            crc32c=sums[-1],
            epoch=max(current.first_orbit, self._last, 0) // EPOCH_ORBITS,
            first_orbit=max(current.first_orbit, 0) % EPOCH_ORBITS,
            last_orbit=max(current.last_orbit, 0) % EPOCH_ORBITS,
            began=current.first_time,
            ended=current.last_time,
            objects=current.objects,
            last=last,
            **dict[str, Any](current.counts),
        )
        self._position = replace(self._position, index=segment.index + 1, ended=last)
        self._insist_alone(lambda: self._spool.add(segment, self._position))
        self._open = None
        self.totals.segments += 1
        return segment

    def _retry(self, act: Callable[[], T]) -> T:
        while True:
            try:
                return act()
            except OSError as error:
                if not is_disk_full(error):
                    raise
            self._pause()

    def _insist(self, act: Callable[[], T]) -> T:
        """Do what must be done, with the room that was kept for it once the run is to end."""
        try:
            return self._retry(act)
        except Stopped:
            self._discard()
            return act()

    def _insist_alone(self, act: Callable[[], None]) -> None:
        """Do what lets a segment go; if nothing else can make room, with what was kept for that."""

        def once() -> None:
            try:
                act()
            except OSError as error:
                if is_disk_full(error) and not len(self._spool):
                    self._spool.release_reserve()
                raise

        self._insist(once)

    def _pause(self) -> None:
        if self._stopping():
            raise Stopped
        time.sleep(_WAIT_S)
        self.totals.waited_s += _WAIT_S
