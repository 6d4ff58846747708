"""The scouting board's packets of Run 2 (2018), and its segments: bare records.

A packet is BX blocks and a trailer. It shows neither empty orbits nor damage, but for an impossible BX or a
wrong order of time.
"""

import numpy as np
from numpy.typing import NDArray

from l1scout.formats.block import BLOCK_BYTES, ROWS, occupied
from l1scout.formats.block_format import BLOCKS_ROOM, BlockFormat, first_packet
from l1scout.formats.fine_suppression import frame_orbits
from l1scout.formats.layout import Field, Layout
from l1scout.formats.packets import TRAILER_BYTES, Found, PacketOrbits, Readable
from l1scout.formats.raw import Frames
from l1scout.formats.records import LINKS, ORBIT, ORBIT_MASK, RECORD_HEADER, records_end
from l1scout.formats.streams.muon import MUONS, RUN2_MUONS, read_records
from l1scout.formats.wire_format import WIRE_FORMATS, Choice
from l1scout.lhc import BX_PER_ORBIT, order_of_time

BX_RUN2 = Layout(
    "BX word of a link, Run 2",
    32,
    (
        Field("bx", 0, RUN2_MUONS.bx_bits, note="1..3564, or 0..3563"),
        Field("link", 23, 4),
        Field("marker", 27, 4, note="15 = intermediate muons, 0 = final"),
    ),
)
_NO_HEADS = np.zeros((0, 5), np.uint32)


class Run2(BlockFormat):
    """BX word first, no headers of orbits."""

    name = "run2"
    title = "DMA packets of Run 2 (2018)"
    suffix = "dat"
    reports_empty_orbits = False
    has_checksums = False
    layouts = (ORBIT, BX_RUN2, RECORD_HEADER)

    @property
    def orbit_room(self) -> int:
        """Bytes that one orbit takes in a packet at most."""
        return BLOCKS_ROOM

    def recognises(self, stream: Readable) -> bool:
        """Return whether the length of the first packet and the BX of its blocks fit."""
        orbits = first_packet(self, stream)
        return orbits is not None and not (orbits.found.corrupt or self.decode(orbits)["muon"].corrupt)

    def _find(self, rows: NDArray[np.uint32], size: int, found: Found, marks: int) -> PacketOrbits:
        """Find the orbits, or none if the length is wrong, a BX is impossible or out of the order of time.

        The format has nothing else to tell damage by: a stretch of whole blocks that is missing leaves no
        trace. Orbits without a block leave none either.
        """
        none, nowhere = np.zeros(0, np.int64), np.zeros((0, 2), np.int64)
        bad = Found(corrupt=1, corrupt_bytes=size + TRAILER_BYTES)
        if size % BLOCK_BYTES:
            return self._orbits(rows, nowhere, none, bad)
        bx = (rows[self.bx_row :: ROWS, 0] & self.bx_mask).astype(np.int64)
        number = (rows[self.orbit_row :: ROWS, 0] & ORBIT_MASK).astype(np.int64)
        time = order_of_time(number, bx)
        zero = np.flatnonzero(bx == 0)  # only where there is a muon: a block of zeros is damage
        impossible = np.any(bx > BX_PER_ORBIT) or np.any(time[1:] <= time[:-1])
        if impossible or not occupied(rows.reshape(-1, ROWS, LINKS)[zero]).all():
            return self._orbits(rows, nowhere, none, bad)
        orbit, first = np.unique(number, return_index=True)
        spans = ROWS * np.stack([first, np.append(first[1:], number.size)[: first.size]], axis=1)
        return self._orbits(rows, spans, orbit, found, marks=np.full(orbit.size, marks, np.uint32))

    def frame(
        self, orbits: PacketOrbits, run: int, source: int, out: NDArray[np.uint32] | None = None
    ) -> Frames:
        """Write bare records: they state neither run nor source."""
        del run, source
        return frame_orbits(orbits, self, _NO_HEADS, out)

    def segment_header(self, run: int, lumisection: int, orbits: int, size: int) -> bytes:
        """Return nothing: files of bare records have no header."""
        del run, lumisection, orbits, size
        return b""

    def salvage(self, data: bytes, source: int, choose: Choice | None = None) -> tuple[bytes, list[int]]:
        """Return the records up to the first that makes no sense."""
        del source, choose
        data = data[: records_end(data, self)]
        return data, sorted(set(read_records(data, self).objects.orbit.tolist()))

    def count_objects(self, data: bytes) -> dict[str, int]:
        """Count the muons of bare records."""
        return MUONS.counts(read_records(data, self).objects)


RUN2: Run2 = WIRE_FORMATS.register("run2")(
    Run2(
        RUN2_MUONS.muon,
        RUN2_MUONS.extra,
        RUN2_MUONS.bx_bits,
        bx_row=0,
        orbit_row=1,
        bx=BX_RUN2,
        intermediate_field="marker",
    )
)
