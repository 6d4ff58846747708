"""The board of the Global Trigger: words of its four scouting links in, packets of decisions out.

Links 28 to 31 of the trigger are the first four of a capture; what comes on others is not looked at. Zero
suppression is that of `formats.streams.gt.from_links`. An orbit is sent if all four links were received
without a fault; else it is lost, and counted as dropped. One in which all are idle is no orbit of a run.
"""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from l1scout.core.flow import Sink
from l1scout.formats.packets import ORBITS_PER_PACKET, Trailer
from l1scout.formats.pattern import FRAMES_PER_BX
from l1scout.formats.streams.gt import LINKS, SOURCE, from_links
from l1scout.formats.wire_formats.objects import encode_packet, payloads_of
from l1scout.lhc import BX_PER_ORBIT
from l1scout.link.align import windows
from l1scout.link.capture import Capture
from l1scout.link.frames import ISO_HDLC, Crc
from l1scout.link.receive import IDLE, LinkReceiver

_ALL = (1 << LINKS) - 1


class DecisionBoard:
    """Decodes, aligns, suppresses and packs.

    Parameters
    ----------
    sink : Sink
        Takes packets.
    ignored : iterable of int
        Algorithms that do not make a crossing worth keeping.
    crc : Crc
    orbits_per_packet : int

    Attributes
    ----------
    delivered, lost, idle : int
        Orbits sent, not received, and without a run.
    """

    def __init__(
        self,
        sink: Sink[memoryview],
        ignored: Iterable[int] = (),
        crc: Crc = ISO_HDLC,
        orbits_per_packet: int = ORBITS_PER_PACKET,
    ) -> None:
        self._sink, self._ignored, self._per_packet = sink, tuple(ignored), orbits_per_packet
        self._receiver = LinkReceiver(crc)
        self._held: list[tuple[int, int, np.ndarray, int]] = []
        self.delivered = self.lost = self.idle = 0

    def run(self, pieces: Iterable[Capture]) -> None:
        """Process captures one after the other, to the end."""
        for capture, orbits in windows(pieces):
            for n in orbits:
                self._take(capture, n)
        if self._held:
            self._send()

    def _take(self, capture: Capture, n: int) -> None:
        receiver, orbit = self._receiver, capture.first_orbit + n
        good = receiver.receive(capture, n)
        if good & _ALL != _ALL:
            none = bool(np.all(receiver.states[:LINKS] == IDLE))
            self.idle, self.lost = self.idle + none, self.lost + (not none)
            return
        payload = np.zeros((LINKS, BX_PER_ORBIT, FRAMES_PER_BX), np.uint32)
        bits = np.unpackbits(receiver.busy[:LINKS].view(np.uint8), axis=1, bitorder="little")
        for link in range(LINKS):
            busy = np.flatnonzero(bits[link, :BX_PER_ORBIT])
            payload[link, busy] = receiver.crossings[link, : busy.size]
        decisions = from_links(payload.reshape(LINKS, -1), orbit, self._ignored)
        decisions = replace(decisions, simulated=capture.simulated)
        self._held += payloads_of({"gt": decisions}, SOURCE, np.array([orbit]))
        self.delivered += 1
        if len(self._held) == self._per_packet:
            self._send()

    def _send(self) -> None:
        trailer = Trailer(int(self._receiver.counters.realigns[:LINKS].sum()), self.lost, self.delivered)
        self._sink.step(memoryview(encode_packet(SOURCE, self._held, trailer)))
        self._held = []
