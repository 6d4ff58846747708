"""A board that never ends: a stretch of packets sent again and again, as later and later orbits."""

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from l1scout.core.flow import Sink
from l1scout.errors import InputError
from l1scout.formats.block_format import BlockFormat
from l1scout.formats.marks import REPEATED
from l1scout.formats.packets import TRAILER_BYTES, PacketOrbits, Readable, Trailer
from l1scout.lhc import ORBIT_FREQUENCY_HZ

MAX_BYTES = 1 << 30


class RepeatedPackets:
    """Sends the packets of a stream without end.

    Damaged packets are left out. Each pass continues the orbit numbers and the trailers' counters of
    the one before; the time between the last and the first orbit is that of one orbit. From the second pass
    on, the orbits are marked as repeated: such crossings are not independent. Other marks stay.

    Parameters
    ----------
    stream : Readable
        At most 1 GiB.
    form : BlockFormat
    first_orbit : int
        Number of the first orbit that is sent.

    Attributes
    ----------
    length : int
        Orbits of one pass, by number.
    delivered, dropped, packets, bytes : int
        Orbits given to the sink; orbits for which it was not ready; packets and bytes given.

    Raises
    ------
    InputError
        If no packet can be read, or they are too many.
    """

    def __init__(self, stream: Readable, form: BlockFormat, first_orbit: int = 0) -> None:
        self._form = form
        self._pieces: list[tuple[PacketOrbits, int]] = []
        last, total = -1, 0
        for packet, _ in form.split(stream):
            if not packet:
                continue
            orbits = form.find_orbits(packet)
            if orbits.found.corrupt or not len(orbits.orbit) or orbits.orbit[0] <= last:
                continue
            span = int(orbits.orbit[-1] - orbits.orbit[0]) + 1
            n = len(orbits.orbit) if form.reports_empty_orbits else span
            self._pieces.append((replace(orbits, rows=orbits.rows.copy()), n))
            last, total = int(orbits.orbit[-1]), total + len(packet)
            if total > MAX_BYTES:
                msg = f"more than {MAX_BYTES >> 20} MiB of packets to repeat; take fewer"
                raise InputError(msg)
        if not self._pieces:
            msg = "no packets to repeat"
            raise InputError(msg)
        first = int(self._pieces[0][0].orbit[0])
        self._by, self._marks, self.length = first_orbit - first, 0, last - first + 1
        room = max(orbits.rows.nbytes for orbits, _ in self._pieces) + TRAILER_BYTES
        self._room = np.empty(room // 4, np.uint32)
        self.delivered = self.dropped = self.packets = self.bytes = self._told = 0

    def run(
        self,
        sink: Sink[memoryview],
        *,
        pace: float,
        orbits: int = 0,
        going: Callable[[], bool] = lambda: True,
    ) -> None:
        """Send until told to stop.

        Parameters
        ----------
        sink : Sink
            A packet that finds it not ready is dropped, orbit by orbit in the counters.
        pace : float
            Times the speed of the LHC; 0: without waiting.
        orbits : int
            Stop after this number; 0: never.
        going : callable
            Asked before each packet; False stops.
        """
        start = time.monotonic()
        while True:
            for packet, n in self._pieces:
                done = self.delivered + self.dropped
                if not going() or (orbits and done >= orbits):
                    return
                if pace:
                    due = start + (done + n) / (ORBIT_FREQUENCY_HZ * pace)
                    while (left := due - time.monotonic()) > 0:
                        time.sleep(min(left, 0.2))
                        if not going():
                            return
                if sink.ready():
                    sink.step(self._packet(packet, n))
                else:
                    self.dropped += n
            self._by, self._marks = self._by + self.length, REPEATED

    def _packet(self, packet: PacketOrbits, n: int) -> memoryview:
        rows = packet.rows
        words = rows.size + TRAILER_BYTES // 4
        copy = self._room[: rows.size].reshape(rows.shape)
        copy[:] = rows
        self._form.renumber(copy, packet.spans, self._by, self._marks)
        self.delivered += n
        marks = self._marks | int(np.bitwise_or.reduce(packet.marks))
        self._room[rows.size : words] = np.frombuffer(self._trailer(marks), np.uint32)
        self.packets, self.bytes = self.packets + 1, self.bytes + 4 * words
        return self._room[:words].data.cast("B")

    def _trailer(self, marks: int = 0) -> bytes:
        self._told = self.dropped
        return Trailer(0, self.dropped, self.delivered).encode(marks)

    def last_trailer(self) -> bytes | None:
        """Return a packet without orbits that states what was dropped after the last packet; None if nothing.

        Without it, readout would never hear of these orbits.
        """
        return self._trailer() if self.dropped > self._told else None
