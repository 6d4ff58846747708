"""The scouting board's packets of Run 3, and its segments: CMSSW's ``.raw`` files.

For each orbit of a packet there is a header of 32 bytes, BX blocks, and a trailer of 544 bytes with a map of
the non-empty BX; at the end is the packet's trailer. Everything is in rows of 32 bytes.

Bit b of the map is BX b + 1, as l1scout writes it, or BX b, as the public DAQ code has it: the BX words of
the blocks show which, and all orbits of a packet must agree. These words come from the links and are kept as
they are: where they count from 0, muons have BX 0 to 3563.

No public source says what is in the header and in the last two rows of an orbit's trailer; ours hold
`ORBIT_HEADER`, the state of each link and its realigns; reading does not depend on them. An empty orbit
whose header is not of l1scout (all zeros, say) has the number that follows from the orbits beside it; where a
packet has no other orbits, from the packet before.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.formats.block import MAP_WORDS, ROWS
from l1scout.formats.block_format import BLOCKS_ROOM, BlockFormat, first_packet
from l1scout.formats.fine_suppression import frame_orbits
from l1scout.formats.frame_checks import mended_marks
from l1scout.formats.lanes import differing, lowest
from l1scout.formats.layout import Field, Layout
from l1scout.formats.marks import ALL_MARKS
from l1scout.formats.packets import ORBIT_END, ROW_BYTES, Found, PacketOrbits, Readable
from l1scout.formats.raw import FILE_HEADER, FRAME_HEADER, Frames, frame_heads
from l1scout.formats.raw_segments import RawSegmentFormat
from l1scout.formats.records import LINKS, ORBIT, ORBIT_MASK, RECORD_HEADER
from l1scout.formats.streams.muon import MUON_RUN3_EXTRA, RUN3_MUONS
from l1scout.formats.wire_format import WIRE_FORMATS
from l1scout.jit import kernel
from l1scout.lhc import BX_PER_ORBIT

ORBIT_TRAILER_ROWS = 17
ORBIT_TRAILER_BYTES = ROW_BYTES * ORBIT_TRAILER_ROWS
HEADER_MARK = 0x6C316F72
"""First word of an orbit's header as l1scout writes it ("l1or")."""
ORBIT_HEADER = (
    "mark",
    "orbit",
    "blocks",
    "goodLinks",
    "lostOrbits",
    "droppedOrbits",
    "flags",
    "reserved",
)
"""Words of that header; ``goodLinks`` has bit l set where link l was received without fault, ``flags`` are
bits of `formats.marks`."""
_ORBIT_AT, _BLOCKS_AT, _GOOD_AT, _FLAGS_AT = (
    ORBIT_HEADER.index(n) for n in ("orbit", "blocks", "goodLinks", "flags")
)
BX_RUN3 = Layout(
    "BX word of a link, Run 3",
    32,
    (Field("bx", 0, RUN3_MUONS.bx_bits, note="1..3564, or 0..3563"), *MUON_RUN3_EXTRA.fields[1:]),
    "The fields above the BX are those of the record's third word, as their widths suggest.",
)


@kernel
def _find_orbits(rows: Any, limit: Any, spans: Any) -> Any:
    """Find the first and last block of each orbit of a Run-3 packet, while they make sense.

    rows (n, 8) without the packet's trailer. Returns the number of orbits, the row where it ended (n if the
    whole packet makes sense), and the BX of the map's first bit: 1, 0, or -1 if no orbit tells.
    """
    n, at, first_bx, words = 0, 0, np.int64(-1), rows.reshape(-1)
    ours = rows.shape[0] > 0 and rows[0, 0] == np.uint32(HEADER_MARK)
    while at < rows.shape[0] and n < spans.shape[0]:
        first = at + 1
        end, apart_orbit = first, np.uint32(0)
        while end < rows.shape[0] and differing(
            words, np.uint64(LINKS * end), np.uint32(ORBIT_END), np.uint32(0xFFFFFFFF)
        ):
            apart_orbit |= rows[end, 0] ^ rows[first, 0]
            end += ROWS
        blocks = (end - first) // ROWS
        if end + ORBIT_TRAILER_ROWS > rows.shape[0] or blocks > limit:
            break
        if (rows[at, 0] == np.uint32(HEADER_MARK)) != ours:  # all headers are of l1scout, or none
            if not ours:  # it is the mark of the first ones that is damaged
                n, at = 0, 0
            break
        # all blocks of one orbit, and ours is as the header says
        if apart_orbit & np.uint32(ORBIT_MASK):
            return n, at, first_bx
        apart = rows[at, 2] != blocks or (blocks and (rows[at, 1] ^ rows[first, 0]) & np.uint32(ORBIT_MASK))
        if apart and ours:
            break
        k = 0
        for w in range(MAP_WORDS):
            bits = rows[end + 1 + w // LINKS, w % LINKS]
            while bits != 0:
                if k == blocks:
                    return n, at, first_bx
                # the map and the blocks must tell the same BX, in order
                bx = np.int64(rows[first + ROWS * k + 1, 0] & np.uint32(0x1FFF))
                apart_bx = bx - (32 * w + np.int64(lowest(bits)))
                if first_bx < 0 and (apart_bx == 1 or (apart_bx == 0 and not ours)):
                    first_bx = apart_bx
                if apart_bx != first_bx:
                    return n, at, first_bx
                k += 1
                bits &= bits - np.uint32(1)
        if k != blocks:
            break
        spans[n, 0], spans[n, 1] = first, end
        n += 1
        at = end + ORBIT_TRAILER_ROWS
    return n, at, first_bx


@kernel
def _read_heads(rows: Any, spans: Any, orbit: Any, marks: Any, bad: Any) -> Any:
    """Read l1scout's headers of orbits: number, marks, and whether a link is bad; how many have bad links."""
    flagged = 0
    for k in range(spans.shape[0]):
        head = spans[k, 0] - 1
        orbit[k] = rows[head, _ORBIT_AT] & np.uint32(ORBIT_MASK)
        marks[k] = rows[head, _FLAGS_AT] & np.uint32(ALL_MARKS)
        bad[k] = rows[head, _GOOD_AT] != np.uint32((1 << LINKS) - 1)
        flagged += bad[k]
    return flagged


def _numbers(n: int, filled: NDArray[np.int64], stated: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """Return the numbers of `n` orbits of which the `filled` ones state theirs, and how many are known.

    An empty orbit follows the one before it, or precedes the first that states its number.
    """
    place = np.arange(n)
    if not filled.size:
        return place, n
    before = np.maximum(np.searchsorted(filled, place, "right") - 1, 0)
    orbit = stated[before] + place - filled[before]
    # between two that state theirs there may be fewer numbers than empty orbits: one of them is damaged
    half = (ORBIT_MASK + 1) // 2
    step = (np.diff(orbit) + half) % (2 * half) - half
    inferred = np.ones(n, np.bool_)
    inferred[filled] = False
    crowded = np.flatnonzero((step <= 0) & inferred[:-1])
    n = int(crowded[0]) + 1 if crowded.size else n
    return orbit[:n] & ORBIT_MASK, n


@kernel
def _mark(rows: Any, spans: Any, by: Any, marks: Any) -> None:
    """Add to the orbit numbers of l1scout's headers, and set bits of their flags."""
    for k in range(spans.shape[0]):
        head = spans[k, 0] - 1
        if rows[head, 0] == np.uint32(HEADER_MARK):
            rows[head, _ORBIT_AT] = (rows[head, _ORBIT_AT] + by) & np.uint32(ORBIT_MASK)
            rows[head, _FLAGS_AT] |= marks


class Run3(BlockFormat, RawSegmentFormat):
    """Orbit word first; each orbit has a header and a map of its non-empty BX."""

    name = "run3"
    title = "DMA packets of Run 3"
    suffix = "raw"
    reports_empty_orbits = True
    layouts = (ORBIT, BX_RUN3, RECORD_HEADER)
    headers = {  # noqa: RUF012
        "Header of an orbit in a packet of l1scout": np.dtype([(n, "<u4") for n in ORBIT_HEADER]),
        "Header of a .raw file": FILE_HEADER,
        "Header of an orbit in a .raw file": FRAME_HEADER,
    }
    orbit_head = (HEADER_MARK, "orbit", "blocks", "good_links", "lost", "dropped", "marks", 0)
    orbit_tail = (*(ORBIT_END,) * LINKS, "bx_map", "states", "realigns")

    @property
    def orbit_room(self) -> int:
        """Bytes that one orbit takes in a packet at most."""
        return ROW_BYTES + BLOCKS_ROOM + ORBIT_TRAILER_BYTES

    def recognises(self, stream: Readable) -> bool:
        """Return whether an orbit can be read in the first packet."""
        orbits = first_packet(self, stream)
        return orbits is not None and orbits.orbit.size > 0

    def _find(self, rows: NDArray[np.uint32], size: int, found: Found, marks: int) -> PacketOrbits:
        """Find the orbits before the first one that makes no sense: header, blocks and map must agree.

        Numbers of empty orbits with headers of others follow from their neighbours. Marks are those of the
        headers, orbit by orbit, and not the trailer's.
        """
        del marks
        room = np.empty((rows.shape[0] // (1 + ORBIT_TRAILER_ROWS) + 1, 2), np.int64)
        n, end, first_bx = _find_orbits(rows, BX_PER_ORBIT, room)
        spans, numbered = room[:n], True
        if n and rows[0, 0] != HEADER_MARK:
            filled = np.flatnonzero(spans[:, 0] < spans[:, 1])
            orbit, n = _numbers(n, filled, (rows[spans[filled, 0], 0] & ORBIT_MASK).astype(np.int64))
            end = end if n == len(spans) else spans[n, 0] - 1
            spans, numbered = spans[:n], filled.size > 0
            flagged, stated = np.zeros(0, np.int64), np.zeros(n, np.uint32)
        else:
            orbit, stated = np.empty(n, np.int64), np.empty(n, np.uint32)
            bad = np.empty(n, np.bool_)
            flagged = orbit[bad] if _read_heads(rows, spans, orbit, stated, bad) else orbit[:0]
            stated = mended_marks(stated)
        found.corrupt_bytes = size - int(end) * ROW_BYTES
        found.corrupt = int(found.corrupt_bytes > 0)
        found.maps_from_0 = int(first_bx == 0)
        orbits = self._orbits(rows, spans, orbit, found, flagged, stated)
        return orbits if numbered else replace(orbits, numbered=False)

    def renumber(self, rows: NDArray[np.uint32], spans: NDArray[np.int64], by: int, marks: int = 0) -> None:
        """Add to the orbit numbers of all blocks and of l1scout's headers, and mark the latter, in place."""
        super().renumber(rows, spans, by)
        _mark(rows, spans, np.uint32(by & ORBIT_MASK), np.uint32(marks))

    def frame(
        self, orbits: PacketOrbits, run: int, source: int, out: NDArray[np.uint32] | None = None
    ) -> Frames:
        """Write a frame for each orbit, as a ``.raw`` file has them."""
        return frame_orbits(orbits, self, frame_heads(orbits, run, source), out)


RUN3: Run3 = WIRE_FORMATS.register("run3")(
    Run3(
        RUN3_MUONS.muon,
        RUN3_MUONS.extra,
        RUN3_MUONS.bx_bits,
        bx_row=1,
        orbit_row=0,
        bx=BX_RUN3,
        intermediate_field="intermediate",
        from_link=0x7FFFE000,
        verilog=1,
    )
)
