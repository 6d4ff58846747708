"""A board that never ends: a stretch of packets sent again and again, as later and later orbits."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Generic, TypeVar

import numpy as np

from l1scout.core.flow import Sink
from l1scout.errors import InputError
from l1scout.formats.block_format import BlockFormat
from l1scout.formats.marks import REPEATED
from l1scout.formats.packets import TRAILER_BYTES, PacketOrbits, Readable, Trailer
from l1scout.lhc import ORBIT_FREQUENCY_HZ

MAX_BYTES = 1 << 30
Sent = TypeVar("Sent")


class RepeatedOrbits(ABC, Generic[Sent]):
    """Sends pieces of some orbits each without end, as later and later orbits.

    Each pass continues the orbit numbers and the counters of the one before; the time between the last and
    the first orbit is that of one orbit. From the second pass on, the orbits are marked as repeated: such
    crossings are not independent. Other marks stay.

    Parameters
    ----------
    pieces : sequence of tuple
        A piece, the orbits that it delivers, and the orbits of time from its first one to that of the next.
    first, last : int
        Numbers of the first and the last orbit of a pass.
    first_orbit : int
        Number of the first orbit that is sent.

    Attributes
    ----------
    length : int
        Orbits of one pass, by number.
    delivered, dropped, packets, bytes : int
        Orbits given to the sink; orbits for which it was not ready; packets and bytes given.
    """

    def __init__(
        self, pieces: Sequence[tuple[Sent, int, int]], first: int, last: int, first_orbit: int
    ) -> None:
        self._pieces = pieces
        self._by, self._marks, self.length = first_orbit - first, 0, last - first + 1
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
            Stop after this number, sent or not; 0: never.
        going : callable
            Asked before each packet; False stops.
        """
        start, passed = time.monotonic(), 0
        while True:
            for piece, n, span in self._pieces:
                if not going() or (orbits and passed >= orbits):
                    return
                passed += span
                if pace:
                    due = start + passed / (ORBIT_FREQUENCY_HZ * pace)
                    while (left := due - time.monotonic()) > 0:
                        time.sleep(min(left, 0.2))
                        if not going():
                            return
                if sink.ready():
                    self.delivered += n
                    sink.step(self._packet(piece))
                else:
                    self.dropped += n
            self._by, self._marks = self._by + self.length, REPEATED

    @abstractmethod
    def _packet(self, piece: Sent) -> memoryview:
        """Return a piece as it is now to be sent, with the counters; read-only if its memory is its own."""

    def _trailer(self, marks: int = 0) -> bytes:
        self._told = self.dropped
        return Trailer(0, self.dropped, self.delivered).encode(marks)

    def last_trailer(self) -> bytes | None:
        """Return a packet without orbits that states what was dropped after the last packet; None if nothing.

        Without it, readout would never hear of these orbits.
        """
        return self._trailer() if self.dropped > self._told else None


class RepeatedPackets(RepeatedOrbits[PacketOrbits]):
    """Sends the packets of a stream of BX blocks without end; see `RepeatedOrbits`.

    Damaged packets are left out.

    Parameters
    ----------
    stream : Readable
        At most 1 GiB.
    form : BlockFormat
    first_orbit : int
        Number of the first orbit that is sent.

    Raises
    ------
    InputError
        If no packet can be read, or they are too many.
    """

    def __init__(self, stream: Readable, form: BlockFormat, first_orbit: int = 0) -> None:
        self._form = form
        pieces: list[tuple[PacketOrbits, int, int]] = []
        last, total = -1, 0
        for packet, _ in form.split(stream):
            if not packet:
                continue
            orbits = form.find_orbits(packet)
            if orbits.found.corrupt or not len(orbits.orbit) or orbits.orbit[0] <= last:
                continue
            span = int(orbits.orbit[-1] - orbits.orbit[0]) + 1
            n = len(orbits.orbit) if form.reports_empty_orbits else span
            pieces.append((replace(orbits, rows=orbits.rows.copy()), n, n))
            last, total = int(orbits.orbit[-1]), total + len(packet)
            check_size(total)
        if not pieces:
            msg = "no packets to repeat"
            raise InputError(msg)
        super().__init__(pieces, int(pieces[0][0].orbit[0]), last, first_orbit)

    def _packet(self, piece: PacketOrbits) -> memoryview:
        rows = piece.rows
        words = np.empty(rows.size + TRAILER_BYTES // 4, np.uint32)
        copy = words[: rows.size].reshape(rows.shape)
        copy[:] = rows
        self._form.renumber(copy, piece.spans, self._by, self._marks)
        marks = self._marks | int(np.bitwise_or.reduce(piece.marks))
        words[rows.size :] = np.frombuffer(self._trailer(marks), np.uint32)
        self.packets, self.bytes = self.packets + 1, self.bytes + words.nbytes
        return words.data.cast("B").toreadonly()


def check_size(size: int) -> None:
    """Refuse more bytes of packets than are kept (InputError)."""
    if size > MAX_BYTES:
        msg = f"more than {MAX_BYTES >> 20} MiB of packets to repeat; take fewer"
        raise InputError(msg)
