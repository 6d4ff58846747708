"""The input board: words from eight links in, DMA packets out."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from l1scout.board.suppress import BoardSelection, Suppressor
from l1scout.core.flow import Sink
from l1scout.core.provenance import joint_origin
from l1scout.formats.block import BLOCK_BYTES, BLOCK_WORDS
from l1scout.formats.block_format import BlockFormat, OrbitState
from l1scout.formats.marks import origin_mark
from l1scout.formats.packets import ORBITS_PER_PACKET, TRAILER_BYTES, Trailer
from l1scout.formats.pattern import FRAMES_PER_BX
from l1scout.formats.records import LINKS
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.lhc import BX_FREQUENCY_HZ, BX_PER_ORBIT
from l1scout.link.align import windows
from l1scout.link.capture import Capture
from l1scout.link.frames import ISO_HDLC, Crc
from l1scout.link.receive import IDLE, LinkCounters, LinkReceiver


@dataclass
class BoardCounters:
    """Orbits and bytes since the start: ``orbits = delivered + idle + lost + dropped``.

    Parameters
    ----------
    orbits : int
        Orbits of time.
    delivered : int
        Orbits in packets; of these `flagged` without the data of some link.
    idle : int
        Orbits in which every link sent nothing but commas: there was no run.
    lost : int
        Orbits in which no link could be read.
    dropped : int
        Orbits for which the consumer was too slow.
    blocks, packets, bytes : int
        Written.
    links : LinkCounters
    """

    orbits: int = 0
    delivered: int = 0
    flagged: int = 0
    idle: int = 0
    lost: int = 0
    dropped: int = 0
    blocks: int = 0
    packets: int = 0
    bytes: int = 0
    links: LinkCounters = field(default_factory=LinkCounters)

    def summary(self) -> dict[str, Any]:
        """Return everything by name, with the factors of suppression in crossings and in bytes."""
        names = ("orbits", "delivered", "flagged", "idle", "lost", "dropped", "blocks", "packets", "bytes")
        crossings = self.delivered * BX_PER_ORBIT
        return {
            **{n: getattr(self, n) for n in names},
            "bx_suppression": crossings / self.blocks if self.blocks else None,
            "byte_suppression": crossings * BLOCK_BYTES / self.bytes if self.bytes else None,
            "links": self.links.summary(),
        }


class Board:
    """Decodes, aligns, suppresses and packs.

    A link's data are used in an orbit if it has all of its words and the right CRC; if not, the
    orbit is flagged and delivered without them. An orbit without any link is lost.

    Parameters
    ----------
    sink : Sink
        Takes packets; their memory is used again after `step`. If it is not ready when a packet begins, the
        orbit is dropped.
    form : BlockFormat
    selection : BoardSelection
    crc : Crc
    orbits_per_packet : int
    ends : bool
        Whether the end of the data is the end of a run: orbits that were lost after the last packet are then
        stated by a packet without orbits. A board in hardware does not know where a run ends.

    Attributes
    ----------
    counters : BoardCounters
    """

    def __init__(
        self,
        sink: Sink[memoryview],
        form: BlockFormat = RUN3,
        selection: BoardSelection | None = None,
        crc: Crc = ISO_HDLC,
        orbits_per_packet: int = ORBITS_PER_PACKET,
        *,
        ends: bool = True,
    ) -> None:
        self._sink, self._form, self._ends = sink, form, ends
        self._receiver = LinkReceiver(crc)
        self._suppressor = Suppressor(form, selection or BoardSelection())
        self._per_packet = orbits_per_packet
        room = orbits_per_packet * form.orbit_room + TRAILER_BYTES
        self._packet = np.empty(room // 4, np.uint32)
        self._end = self._held = self._told = self._marks = 0
        self._origins: set[bool | None] = set()
        self._in_packet: set[bool | None] = set()
        self.counters = BoardCounters(links=self._receiver.counters)

    @property
    def simulated(self) -> bool | None:
        """Whether what was taken so far is simulated, as the captures state it; None where they do not."""
        return joint_origin(self._origins)

    def take(self, capture: Capture, orbits: Iterable[int]) -> None:
        """Process orbits of a capture, counted from 0 in it; see `link.align.windows`."""
        for n in orbits:
            self._orbit(capture, n)

    def run(self, pieces: Iterable[Capture]) -> BoardCounters:
        """Process captures one after the other, to the end."""
        for capture, orbits in windows(pieces):
            self.take(capture, orbits)
        self.close()
        return self.counters

    def close(self) -> None:
        """Send what is held as a packet with fewer orbits, or, if `ends`, with none but the losses."""
        c = self.counters
        if self._held or (self._ends and c.packets and c.lost + c.dropped > self._told):
            self._send()

    def _orbit(self, capture: Capture, n: int) -> None:
        good = self._receiver.receive(capture, n)
        counters = self.counters
        counters.orbits += 1
        self._origins.add(capture.simulated)
        self._marks = origin_mark(capture.simulated)
        if good == 0:
            idle = bool((self._receiver.states == IDLE).all())
            counters.idle += idle
            counters.lost += not idle
        elif self._held == 0 and not self._sink.ready():
            counters.dropped += 1
        else:
            counters.delivered += 1
            counters.flagged += good != (1 << LINKS) - 1
            self._in_packet.add(capture.simulated)
            self._write(capture.first_orbit + n, good)
            self._held += 1
            if self._held == self._per_packet:
                self._send()

    def _write(self, orbit: int, good: int) -> None:
        packet, c, receiver = self._packet, self.counters, self._receiver
        at = self._end + self._form.head_words
        blocks = self._suppressor.blocks(receiver, good, orbit, packet[at:])
        links = self._suppressor.map, receiver.states, c.links.realigns
        state = OrbitState(orbit, blocks, good, c.lost, c.dropped, *links, self._marks)
        self._end = self._form.write_orbit(packet, self._end, at + blocks * BLOCK_WORDS, state)
        c.blocks += blocks

    def _send(self) -> None:
        c = self.counters
        self._told = c.lost + c.dropped
        trailer = Trailer(int(c.links.realigns.sum()), self._told, c.delivered)
        marks = origin_mark(joint_origin(self._in_packet or self._origins))
        stop = self._end + TRAILER_BYTES // 4
        self._packet[self._end : stop] = np.frombuffer(trailer.encode(marks), np.uint32)
        packet = self._packet[:stop].data.cast("B")
        self._sink.step(packet)
        c.packets, c.bytes = c.packets + 1, c.bytes + len(packet)
        self._end = self._held = 0
        self._in_packet.clear()


def line_rate(counters: BoardCounters, seconds: float) -> dict[str, float]:
    """How fast orbits were processed: M BX/s, GB/s of payload, and times the LHC's rate."""
    bx = counters.orbits * BX_PER_ORBIT / seconds
    return {
        "million_bx_per_s": bx / 1e6,
        "gb_per_s": bx * LINKS * FRAMES_PER_BX * 4 / 1e9,
        "real_time_factor": bx / BX_FREQUENCY_HZ,
    }
