"""From packets to segments: fine zero suppression, and the account of every orbit that the board sent."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType
from typing import IO, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from l1scout.core.provenance import DataLabel, data_label, joint_label
from l1scout.files import checksum, is_disk_full
from l1scout.formats.marks import REAL
from l1scout.formats.packets import MAX_ORBITS_PER_PACKET, PacketOrbits, Trailer
from l1scout.formats.records import ORBIT_MASK
from l1scout.formats.stream import add_counts
from l1scout.formats.wire_format import WireFormat
from l1scout.lhc import lumisection
from l1scout.readout.object_counts import ObjectCounts
from l1scout.readout.segment_note import ReadoutPosition
from l1scout.readout.segments import Segment
from l1scout.readout.spool import Spool
from l1scout.readout.totals import Totals

ORBITS_PER_SEGMENT = 1 << 13
"""0.73 s of the LHC; a lumisection has 32 such."""
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


@dataclass
class _OpenSegment:
    """A segment that is being written.

    Parameters
    ----------
    lumisection : int
    file : binary file
    began : float
        When it was opened, by the writer's clock.
    size : int
        Bytes written.
    first_orbit, last_orbit : int
        Written first and last; -1 before the first.
    counts : Counter
        Counts of its account, by the name of the segment's field.
    objects : dict of str to int
        Objects written, by kind.
    labels : set of str
        Of the packets written: ``simulated``, ``real`` or ``unknown``.
    """

    lumisection: int
    file: IO[bytes]
    began: float
    size: int = 0
    first_orbit: int = -1
    last_orbit: int = -1
    counts: Counter[str] = field(default_factory=Counter)
    objects: ObjectCounts = field(default_factory=dict)
    labels: set[DataLabel] = field(default_factory=set)


@dataclass(frozen=True)
class _SuspectTrailer:
    """A trailer not believed, the orbits by number that its packet came after, and those of the packet."""

    trailer: Trailer
    gap: int
    orbits: int


class SegmentWriter:
    """Writes the segments of one run and source.

    Packets come in order; an orbit that is not later than the last one written is a duplicate and
    is left out. What the packets' trailers count and what arrives are compared: orbits that the
    board sent and that are not there are counted as corrupt if there was damage since the last
    trailer, else as missed. A trailer whose counters cannot be (fewer orbits than have arrived, more
    than have passed) is not believed. If the next one goes on from it, the board was started again,
    and the orbits between are counted as missed.

    Packets of Run 2 do not show empty orbits. There, orbits that are not seen are taken to be empty
    if the packet has other gaps, and missed if it has none.

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
        self._open: _OpenSegment | None = None
        self._frames = np.empty(0, np.uint32)
        self._damaged = False
        self._suspect: _SuspectTrailer | None = None
        self._dropped_last = 0
        self.totals = Totals()
        self.discarding = False
        """Whether orbits are left out, because the spool was full when the run was to end."""

    @property
    def position(self) -> ReadoutPosition:
        """Where the run is."""
        return self._position

    def ready(self) -> bool:
        """Say whether a packet would be taken at once; if not, `step` waits for space in the spool."""
        return not self._spool.is_full()

    def step(self, item: tuple[memoryview, int]) -> None:
        """Take a packet and the number of bytes skipped before it, as `split_packets` gives them."""
        packet, skipped = item
        self.totals.bytes_in += len(packet) + skipped
        if skipped:
            self._damaged = True
            self._count(Counter(corrupt_bytes=skipped))
        if not packet:
            return
        self.totals.packets += 1
        arrived = self._format.find_orbits(packet)
        self._damaged |= arrived.found.corrupt > 0
        if len(arrived.orbit):
            arrived = self._labelled(arrived)
        last = np.maximum.accumulate(np.append(self._position.last_orbit, arrived.orbit))[:-1]
        fresh = arrived.orbit > last
        kept = arrived if fresh.all() else arrived.select(fresh)
        n = len(kept.orbit)
        trailer = self._format.trailer(packet)
        self._dropped_last = self._dropped_at_the_end(trailer) if not len(arrived.rows) else 0
        counts, position = self._compare(trailer, kept.orbit)
        counts["duplicate"] = len(arrived.orbit) - n
        counts["corrupt_bytes"] = arrived.found.corrupt_bytes
        if n == 0:
            self._count(counts)
            self._move(position, 0)
            return
        # cut where a segment or a lumisection ends
        part = kept.orbit // self._limits.orbits
        cuts = np.flatnonzero((part[1:] != part[:-1]) | (np.diff(lumisection(kept.orbit)) != 0)) + 1
        number = np.arange(n)
        for first, end in zip([0, *cuts], [*cuts, n], strict=True):
            chunk = kept.select((number >= first) & (number < end)) if len(cuts) else kept
            self._write(chunk, counts)
            counts = Counter()
            self._move(position, n - int(end))

    def _labelled(self, arrived: PacketOrbits) -> PacketOrbits:
        """Take over what orbits state of themselves; mark as real those that state nothing, if told so."""
        label = data_label(arrived.simulated)
        if label == "unknown" and self._data == "real":
            label, arrived = "real", replace(arrived, marks=arrived.marks | np.uint32(REAL))
        if label != self._position.data:
            self._position = replace(self._position, data=label)
        return arrived

    def tick(self) -> None:
        """Close the segment if its time is over: to be called now and then when no packets come."""
        if self._open and not self.discarding and self._clock() - self._open.began >= self._limits.seconds:
            self._close()

    def finish(self) -> Segment:
        """End the run: close what is open as its last segment, with no orbits if need be."""
        # no trailer came any more that could tell of the unaccounted orbits
        counts = Counter(missed=self._position.unaccounted, dropped=self._dropped_last)
        s = self._suspect
        if s and s.trailer.dropped <= s.gap and s.orbits <= s.trailer.orbits <= s.gap + s.orbits:
            # a board that was started again, and of which only this packet came
            counts = Counter(missed=s.gap - s.trailer.dropped, dropped=s.trailer.dropped)
        self._count(counts)
        self._position = replace(self._position, unaccounted=0)
        return self._close(last=True)

    def _dropped_at_the_end(self, trailer: Trailer | None) -> int:
        """Return the orbits that a packet of a trailer alone says were dropped after the last orbit sent.

        No later orbit shows that their time has passed: they count when the run ends with this packet.
        """
        position = self._position
        if trailer is None or self._damaged or trailer.orbits != position.board_orbits:
            return 0
        dropped = trailer.dropped - position.board_dropped
        return dropped if 0 < dropped <= ORBIT_MASK else 0

    def _move(self, position: ReadoutPosition, left: int) -> None:
        """Take over what a packet states of the board, without the `left` orbits that are not written yet."""
        self._position = replace(
            position,
            index=self._position.index,
            last_orbit=self._position.last_orbit,
            board_orbits=position.board_orbits - left,
        )

    def _compare(
        self, trailer: Trailer | None, orbit: NDArray[np.int64]
    ) -> tuple[Counter[str], ReadoutPosition]:
        """Compare what the board says to have sent with the orbits that have arrived.

        Returns the counts, and the position when all this is written.
        """
        n, position = len(orbit), self._position
        gap = int(orbit[-1]) - position.last_orbit - n if n else 0
        plain = replace(
            position, board_orbits=position.board_orbits + n, gap_orbits=position.gap_orbits + gap
        )
        if trailer is None:
            return Counter(), plain
        slack = MAX_ORBITS_PER_PACKET if self._damaged or not self._format.reports_empty_orbits else 0
        sent, dropped = trailer.orbits - position.board_orbits, trailer.dropped - position.board_dropped
        if not (dropped >= 0 and n <= sent and sent + dropped <= n + plain.gap_orbits + slack):
            return self._treat_as_suspect(trailer, orbit, plain)
        self._suspect = None
        missing, counts = sent - n, Counter(dropped=dropped)
        gap_orbits = plain.gap_orbits - missing - dropped
        if not (self._format.reports_empty_orbits or self._damaged):
            span = int(orbit[-1] - orbit[0]) + 1 if n else 0
            empty = min(missing, MAX_ORBITS_PER_PACKET if span > n else span - n)
            counts["orbits"], missing = empty, missing - empty
        counts["corrupt" if self._damaged else "missed"] = missing
        self._damaged = False
        return counts, _accepted(plain, trailer, gap_orbits)

    def _treat_as_suspect(
        self, trailer: Trailer, orbit: NDArray[np.int64], plain: ReadoutPosition
    ) -> tuple[Counter[str], ReadoutPosition]:
        """Treat counters that do not go on from the last ones: damage, or a board that began again."""
        n, before = len(orbit), self._suspect
        gap = self._position.unaccounted + int(orbit[0]) - self._position.last_orbit - 1 if n else 0
        possible = before is not None and before.trailer.dropped <= trailer.dropped <= before.gap + gap
        if before and n and possible and n <= trailer.orbits - before.trailer.orbits <= gap + n:
            self._suspect = None
            missed = max(before.gap - before.trailer.dropped, 0)
            missed += trailer.orbits - before.trailer.orbits - n
            gap_orbits = plain.gap_orbits - missed - trailer.dropped
            counts = Counter(missed=missed, dropped=trailer.dropped)
            return counts, _accepted(plain, trailer, gap_orbits)
        if n:
            self._suspect = _SuspectTrailer(trailer, gap, n)
        return Counter(), plain

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
            self._put(current, frames.words)
        except Stopped:
            self._discard()
            current.file.truncate(current.size)
            self._leave_out(orbits, counts)
            return
        counts["orbits"] += len(orbits.orbit)
        counts["flagged"] += len(orbits.flagged)
        counts["blocks"] += orbits.blocks
        counts["bad_blocks"] += frames.bad_blocks
        self._count(counts, frames.objects)
        current.labels.add(self._position.data)
        if current.first_orbit < 0:
            current.first_orbit = first
        current.last_orbit = last
        self._position = replace(self._position, last_orbit=last)

    def _leave_out(self, orbits: PacketOrbits, counts: Counter[str]) -> None:
        """Count orbits that arrived and cannot be written any more."""
        counts["missed"] += len(orbits.orbit)
        self.totals.discarded += len(orbits.orbit)
        self._count(counts)
        self._position = replace(self._position, last_orbit=int(orbits.orbit[-1]))

    def _discard(self) -> None:
        """Write no more orbits: the rest of the run has only what was kept for its account."""
        self.discarding = True
        self._spool.release_reserve()

    def _ends_before(self, current: _OpenSegment, orbit: int, lumi: int) -> bool:
        """Say whether a segment is complete when `orbit` comes next."""
        if current.lumisection != lumi:
            return True
        limits = self._limits
        full = current.last_orbit // limits.orbits != orbit // limits.orbits or current.size >= limits.bytes
        return current.first_orbit >= 0 and full

    def _count(self, counts: Counter[str], objects: Mapping[str, int] = MappingProxyType({})) -> None:
        current = self._open or self._begin(int(lumisection(max(self._position.last_orbit, 0))))
        add_counts(current.counts, counts)
        add_counts(self.totals.counts, counts)
        add_counts(current.objects, objects)
        add_counts(self.totals.objects, objects)

    def _begin(self, lumi: int) -> _OpenSegment:
        try:
            while self._spool.is_full() and not self.discarding:
                self._pause()
        except Stopped:
            self._discard()
        file = self._insist(lambda: self._spool.open(self._segment(lumi)))
        header = self._format.segment_header(self._run, lumi, 0, 0)
        self._insist(partial(file.write, header))
        self._open = _OpenSegment(lumi, file, self._clock(), len(header))
        self.totals.bytes_out += len(header)
        return self._open

    def _segment(self, lumi: int) -> Segment:
        """Return the description of the next segment, without an account."""
        return Segment(self._run, self._source, self._position.index, lumi, self._format.name)

    def _put(self, current: _OpenSegment, words: NDArray[np.uint32]) -> None:
        """Write, and wait where the disk is full: that slows the board."""
        left = memoryview(words.view(np.uint8).data)
        while left:
            left = left[self._retry(partial(current.file.write, left)) :]
        current.size += words.nbytes
        self.totals.bytes_out += words.nbytes

    def _close(self, *, last: bool = False) -> Segment:
        current = self._open
        assert current is not None
        orbits = current.counts["orbits"]
        header = self._format.segment_header(self._run, current.lumisection, orbits, current.size)
        current.file.seek(0)
        current.file.write(header)
        current.file.close()
        segment = self._segment(current.lumisection)
        path = self._spool.path(segment)
        size, crc = checksum(path.with_name(path.name + ".part"))
        segment = replace(
            segment,
            data=joint_label(current.labels or {self._position.data}),
            size=size,
            crc32c=crc,
            first_orbit=max(current.first_orbit, 0),
            last_orbit=max(current.last_orbit, 0),
            objects=current.objects,
            last=last,
            **dict[str, Any](current.counts),
        )
        self._position = replace(self._position, index=segment.index + 1, ended=last)
        self._insist(lambda: self._spool.add(segment, self._position))
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

    def _pause(self) -> None:
        if self._stopping():
            raise Stopped
        time.sleep(_WAIT_S)
        self.totals.waited_s += _WAIT_S


def _accepted(position: ReadoutPosition, trailer: Trailer, gap_orbits: int) -> ReadoutPosition:
    return replace(
        position,
        board_orbits=trailer.orbits,
        board_dropped=trailer.dropped,
        gap_orbits=gap_orbits,
        unaccounted=0,
    )
