"""The input board: words from eight links in, DMA packets out."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from l1scout.board.pack import (
    BLOCKS,
    DELIVERED,
    DROPPED,
    END,
    FLAGGED,
    HELD,
    IDLE,
    LOST,
    NEXT,
    ORBITS,
    READY,
    pack,
)
from l1scout.board.suppress import BoardSelection, selection_tables
from l1scout.core.flow import Sink
from l1scout.core.provenance import joint_origin
from l1scout.formats.block import BLOCK_BYTES
from l1scout.formats.block_format import STATE_SPANS, STATE_WORDS, BlockFormat
from l1scout.formats.marks import origin_mark
from l1scout.formats.packets import ORBITS_PER_PACKET, TRAILER_BYTES, Trailer
from l1scout.formats.pattern import FRAMES_PER_BX
from l1scout.formats.records import LINKS
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.lhc import BX_FREQUENCY_HZ, BX_PER_ORBIT
from l1scout.link.align import windows
from l1scout.link.capture import Capture
from l1scout.link.frames import ISO_HDLC, Crc
from l1scout.link.receive import LinkCounters, LinkReceiver


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
        Takes packets; their memory is used again after `step`. If it is not ready before the first orbit of a
        packet, that orbit is dropped.
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
        self._tables = selection_tables(form, selection or BoardSelection())
        self._per_packet, self._frame = orbits_per_packet, form.orbit_frame()
        self._state = np.zeros(STATE_WORDS, np.uint32)
        room = orbits_per_packet * form.orbit_room + TRAILER_BYTES
        self._packet = np.empty(room // 4, np.uint32)
        self._count = np.zeros(BLOCKS + 1, np.int64)
        self._told = 0
        self._origins: set[bool | None] = set()
        self._in_packet: set[bool | None] = set()
        self.counters = BoardCounters(links=self._receiver.counters)

    @property
    def simulated(self) -> bool | None:
        """Whether what was taken so far is simulated, as the captures state it; None where they do not."""
        return joint_origin(self._origins)

    def take(self, capture: Capture, orbits: range) -> None:
        """Process orbits of a capture, counted from 0 in it; see `link.align.windows`."""
        if not orbits:
            return
        self._origins.add(capture.simulated)
        self._state[STATE_SPANS["marks"]] = origin_mark(capture.simulated)
        count = self._count
        count[NEXT] = orbits.start
        while count[NEXT] < orbits.stop:
            if not (count[HELD] or count[READY]):
                count[READY] = self._sink.ready()
            before = count[DELIVERED]
            pack(
                capture.line, capture.first_orbit, orbits.stop, self._per_packet, self._receiver.arrays,
                self._tables, self._frame, self._state, self._packet, count,
            )  # fmt: skip
            if count[DELIVERED] > before:
                self._in_packet.add(capture.simulated)
            if count[HELD] == self._per_packet:
                self._send()
        self._update()

    def run(self, pieces: Iterable[Capture]) -> BoardCounters:
        """Process captures one after the other, to the end."""
        for capture, orbits in windows(pieces):
            self.take(capture, orbits)
        self.close()
        return self.counters

    def close(self) -> None:
        """Send what is held as a packet with fewer orbits, or, if `ends`, with none but the losses."""
        count = self._count
        if count[HELD] or (
            self._ends and self.counters.packets and count[LOST] + count[DROPPED] > self._told
        ):
            self._send()

    def _update(self) -> None:
        """Bring the counters up to date."""
        c, count = self.counters, self._count.tolist()
        c.orbits, c.delivered, c.flagged = count[ORBITS], count[DELIVERED], count[FLAGGED]
        c.idle, c.lost, c.dropped, c.blocks = count[IDLE], count[LOST], count[DROPPED], count[BLOCKS]

    def _send(self) -> None:
        c, count = self.counters, self._count.tolist()
        end = count[END]
        self._told = count[LOST] + count[DROPPED]
        trailer = Trailer(int(self._receiver.counters.realigns.sum()), self._told, count[DELIVERED])
        marks = origin_mark(joint_origin(self._in_packet or self._origins))
        packet = self._packet.data.cast("B")[: 4 * end + TRAILER_BYTES]
        packet[4 * end :] = trailer.encode(marks)
        self._sink.step(packet)
        c.packets, c.bytes = c.packets + 1, c.bytes + len(packet)
        self._count[READY : END + 1] = 0
        self._in_packet.clear()


def line_rate(counters: BoardCounters, seconds: float) -> dict[str, float]:
    """How fast orbits were processed: M BX/s, GB/s of payload, and times the LHC's rate."""
    bx = counters.orbits * BX_PER_ORBIT / seconds
    return {
        "million_bx_per_s": bx / 1e6,
        "gb_per_s": bx * LINKS * FRAMES_PER_BX * 4 / 1e9,
        "real_time_factor": bx / BX_FREQUENCY_HZ,
    }
