"""From packets to segments: fine zero suppression, and the account of every orbit that the board sent."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import IO, TypeVar

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_data import MUON
from l1scout.files import checksum, is_disk_full
from l1scout.formats.packets import MAX_ORBITS_PER_PACKET, PacketOrbits, Trailer
from l1scout.formats.records import ORBIT_MASK
from l1scout.formats.streams.muon import INTERMEDIATE
from l1scout.formats.wire_format import WireFormat
from l1scout.lhc import lumisection
from l1scout.readout.segments import Segment
from l1scout.readout.spool import Place, Spool

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
class _Open:
    """A segment that is being written."""

    segment: Segment
    file: IO[bytes]
    began: float
    size: int = 0


@dataclass(frozen=True)
class _Doubted:
    """A trailer that was not believed, and the orbits by number that its packet came after."""

    trailer: Trailer
    gap: int


@dataclass
class Totals:
    """What this process has seen, for its status line."""

    packets: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    segments: int = 0
    waited_s: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, counts: dict[str, int]) -> None:
        """Add counts of a segment's account."""
        for name, n in counts.items():
            self.counts[name] = self.counts.get(name, 0) + n


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
    form : WireFormat
    limits : Limits
    stopping : callable
        Asked while the spool is full; True ends the wait with `Stopped`.
    clock : callable
        Seconds that never go back.
    """

    def __init__(
        self,
        spool: Spool,
        run: int,
        source: int,
        form: WireFormat,
        limits: Limits | None = None,
        stopping: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spool, self._run, self._source, self._form = spool, run, source, form
        self._limits, self._stopping, self._clock = limits or Limits(), stopping, clock
        self._place = spool.place(run, source)
        self._open: _Open | None = None
        self._room = np.empty(0, np.uint32)
        self._damaged = False
        self._doubted: _Doubted | None = None
        self._dropped_last = 0
        self.totals = Totals()

    @property
    def place(self) -> Place:
        """Where the run is."""
        return self._place

    def add(self, packet: memoryview, skipped: int) -> None:
        """Take a packet, as `formats.packets.split_packets` gives it."""
        self.totals.bytes_in += len(packet) + skipped
        if skipped:
            self._damaged = True
            self._account(corrupt_bytes=skipped)
        if not packet:
            return
        self.totals.packets += 1
        arrived = self._form.find_orbits(packet)
        self._damaged |= arrived.found.corrupt > 0
        last = np.maximum.accumulate(np.append(self._place.last_orbit, arrived.orbit))[:-1]
        fresh = arrived.orbit > last
        kept = arrived if fresh.all() else arrived.select(fresh)
        n = len(kept.orbit)
        trailer = self._form.trailer(packet)
        self._dropped_last = self._dropped_at_the_end(trailer) if not len(arrived.rows) else 0
        counts, place = self._compare(trailer, kept.orbit)
        counts["duplicate"] = len(arrived.orbit) - n
        counts["corrupt_bytes"] = arrived.found.corrupt_bytes
        if n == 0:
            self._account(**counts)
            self._move(place, 0)
            return
        # cut where a segment or a lumisection ends
        part = kept.orbit // self._limits.orbits
        cuts = np.flatnonzero((part[1:] != part[:-1]) | (np.diff(lumisection(kept.orbit)) != 0)) + 1
        at = np.arange(n)
        for first, end in zip([0, *cuts], [*cuts, n], strict=True):
            piece = kept.select((at >= first) & (at < end)) if len(cuts) else kept
            self._write(piece, counts)
            counts = {}
            self._move(place, n - int(end))

    def tick(self) -> None:
        """Close the segment if its time is over: to be called now and then when no packets come."""
        if self._open and self._clock() - self._open.began >= self._limits.seconds:
            self._close()

    def finish(self) -> Segment:
        """End the run: close what is open as its last segment, with no orbits if need be."""
        if self._open is None:
            self._begin(int(lumisection(max(self._place.last_orbit, 0))))
        if self._place.unexplained:  # no trailer came any more that could say more
            self._account(missed=self._place.unexplained)
            self._place = replace(self._place, unexplained=0)
        if self._dropped_last:
            self._account(dropped=self._dropped_last)
        return self._close(last=True)

    def _dropped_at_the_end(self, trailer: Trailer | None) -> int:
        """Return the orbits that a packet of a trailer alone says were dropped after the last orbit sent.

        No later orbit shows that their time has passed: they count when the run ends with this packet.
        """
        place = self._place
        if trailer is None or self._damaged or trailer.orbits != place.board_orbits:
            return 0
        dropped = trailer.dropped - place.board_dropped
        return dropped if 0 < dropped <= ORBIT_MASK else 0

    def _move(self, place: Place, left: int) -> None:
        """Take over what a packet says of the board, but for so many orbits not written yet."""
        self._place = replace(
            place,
            index=self._place.index,
            last_orbit=self._place.last_orbit,
            board_orbits=place.board_orbits - left,
        )

    def _compare(self, trailer: Trailer | None, orbit: NDArray[np.int64]) -> tuple[dict[str, int], Place]:
        """Compare what the board says to have sent with the orbits that have arrived.

        Returns the counts, and the place when all this is written.
        """
        n, place = len(orbit), self._place
        gap = int(orbit[-1]) - place.last_orbit - n if n else 0
        plain = replace(place, board_orbits=place.board_orbits + n, unseen=place.unseen + gap)
        if trailer is None:
            return {}, plain
        slack = MAX_ORBITS_PER_PACKET if self._damaged or not self._form.reports_empty_orbits else 0
        sent, dropped = trailer.orbits - place.board_orbits, trailer.dropped - place.board_dropped
        if not (dropped >= 0 and n <= sent and sent + dropped <= n + plain.unseen + slack):
            return self._doubt(trailer, orbit, plain)
        self._doubted = None
        missing, counts = sent - n, {"dropped": dropped}
        unseen = plain.unseen - missing - dropped
        if not (self._form.reports_empty_orbits or self._damaged):
            span = int(orbit[-1] - orbit[0]) + 1 if n else 0
            empty = min(missing, MAX_ORBITS_PER_PACKET if span > n else span - n)
            counts["orbits"], missing = empty, missing - empty
        counts["corrupt" if self._damaged else "missed"] = missing
        self._damaged = False
        return counts, _as_told(plain, trailer, unseen)

    def _doubt(
        self, trailer: Trailer, orbit: NDArray[np.int64], plain: Place
    ) -> tuple[dict[str, int], Place]:
        """Treat counters that do not go on from the last ones: damage, or a board that began again."""
        n, before = len(orbit), self._doubted
        gap = self._place.unexplained + int(orbit[0]) - self._place.last_orbit - 1 if n else 0
        if before and n and n <= trailer.orbits - before.trailer.orbits <= gap + n:
            self._doubted = None
            missed = max(before.gap - before.trailer.dropped, 0)
            missed += trailer.orbits - before.trailer.orbits - n
            unseen = plain.unseen - missed - trailer.dropped
            return {"missed": missed, "dropped": trailer.dropped}, _as_told(plain, trailer, unseen)
        if n:
            self._doubted = _Doubted(trailer, gap)
        return {}, plain

    def _write(self, orbits: PacketOrbits, counts: dict[str, int]) -> None:
        lumi = int(lumisection(orbits.orbit[0]))
        current = self._open
        if (
            current
            and current.segment.orbits
            and (
                current.segment.lumisection != lumi
                or current.segment.last_orbit // self._limits.orbits != orbits.orbit[0] // self._limits.orbits
                or current.size >= self._limits.bytes
            )
        ):
            self._close()
        if self._open and not self._open.segment.orbits and self._open.segment.lumisection != lumi:
            self._close()
        current = self._open or self._begin(lumi)
        room = self._form.frame_room(orbits)
        if self._room.size < room:
            self._room = np.empty(room, np.uint32)
        frames = self._form.frame(orbits, self._run, self._source, self._room)
        self._put(current, frames.words)
        first = current.segment.first_orbit if current.segment.orbits else int(orbits.orbit[0])
        self._account(
            **{
                **counts,
                "orbits": counts.get("orbits", 0) + len(orbits.orbit),
                "flagged": len(orbits.flagged),
                "blocks": orbits.blocks,
                "bad_blocks": frames.bad_blocks,
                "final_muons": frames.objects.get(MUON, 0),
                "intermediate_muons": frames.objects.get(INTERMEDIATE, 0),
            }
        )
        last = int(orbits.orbit[-1])
        current.segment = replace(current.segment, first_orbit=first, last_orbit=last)
        self._place = replace(self._place, last_orbit=last)

    def _account(self, **counts: int) -> None:
        current = self._open or self._begin(int(lumisection(max(self._place.last_orbit, 0))))
        segment = current.segment
        current.segment = replace(segment, **{n: getattr(segment, n) + k for n, k in counts.items()})
        self.totals.add(counts)

    def _begin(self, lumi: int) -> _Open:
        self._wait(self._spool.is_full)
        segment = Segment(self._run, self._source, self._place.index, lumi, self._form.name)
        self._open = _Open(segment, self._retry(lambda: self._spool.open(segment)), self._clock())
        header = self._form.segment_header(self._run, lumi, 0, 0)
        if header:
            self._put(self._open, np.frombuffer(header, np.uint32))
        return self._open

    def _put(self, current: _Open, words: NDArray[np.uint32]) -> None:
        """Write, and wait where the disk is full: that slows the board."""
        left = memoryview(words.view(np.uint8).data)
        while left:
            left = left[self._retry(partial(current.file.write, left)) :]
        current.size += words.nbytes
        self.totals.bytes_out += words.nbytes

    def _close(self, *, last: bool = False) -> Segment:
        current = self._open
        assert current is not None
        segment = current.segment
        header = self._form.segment_header(self._run, segment.lumisection, segment.orbits, current.size)
        if header:
            current.file.seek(0)
            current.file.write(header)
        current.file.close()
        part = self._spool.path(segment)
        size, crc = checksum(part.with_name(part.name + ".part"))
        segment = replace(segment, size=size, crc32c=crc, last=last)
        self._place = replace(self._place, index=segment.index + 1, ended=last)
        self._retry(lambda: self._spool.add(segment, self._place))
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

    def _wait(self, while_true: Callable[[], bool]) -> None:
        while while_true():
            self._pause()

    def _pause(self) -> None:
        if self._stopping():
            raise Stopped
        time.sleep(_WAIT_S)
        self.totals.waited_s += _WAIT_S


def _as_told(place: Place, trailer: Trailer, unseen: int) -> Place:
    return replace(
        place,
        board_orbits=trailer.orbits,
        board_dropped=trailer.dropped,
        unseen=unseen,
        unexplained=0,
    )
