"""The scouting board's packets of Run 3, and its segments: CMSSW's ``.raw`` files.

For each orbit of a packet there is a header of 32 bytes, BX blocks, and a trailer of 544 bytes with a map of
the non-empty BX; at the end is the packet's trailer. Everything is in rows of 32 bytes.

No public source says what is in the header and in the last two rows of an orbit's trailer; ours hold
`ORBIT_HEADER`, the state of each link and its realigns; reading does not depend on them.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.formats.block import MAP_WORDS, ROWS
from l1scout.formats.block_format import BLOCKS_ROOM, BlockFormat, OrbitState, first_packet
from l1scout.formats.fine_suppression import frame_orbits
from l1scout.formats.layout import Field, Layout
from l1scout.formats.marks import stated_origin
from l1scout.formats.packets import ORBIT_END, ROW_BYTES, Found, PacketOrbits, Readable
from l1scout.formats.raw import (
    FILE_HEADER,
    FRAME_HEADER,
    Frames,
    RawFile,
    decode_frames,
    file_header,
    frame_heads,
    read_frames,
    read_header,
)
from l1scout.formats.records import LINKS, ORBIT, ORBIT_MASK, RECORD_HEADER
from l1scout.formats.streams.muon import MUON_RUN3_EXTRA, MUONS, RUN3_MUONS
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
    (Field("bx", 0, RUN3_MUONS.bx_bits, note="1..3564"), *MUON_RUN3_EXTRA.fields[1:]),
    "The fields above the BX are those of the record's third word, as their widths suggest.",
)


@kernel
def _find_orbits(rows: Any, limit: Any, spans: Any) -> Any:
    """Find the first and last block of each orbit of a Run-3 packet, while they make sense.

    rows (n, 8) without the packet's trailer. Returns the number of orbits and the row where it
    ended: n if the whole packet makes sense.
    """
    n, at = 0, 0
    while at < rows.shape[0] and n < spans.shape[0]:
        first = at + 1
        end = first
        while end < rows.shape[0] and not _is_end(rows[end]):
            end += ROWS
        blocks = (end - first) // ROWS
        if end + ORBIT_TRAILER_ROWS > rows.shape[0] or blocks > limit:
            break
        # all blocks of one orbit, and ours is as the header says
        for other in range(first, end, ROWS):
            if (rows[other, 0] ^ rows[first, 0]) & np.uint32(ORBIT_MASK):
                return n, at
        apart = rows[at, 2] != blocks or (blocks and (rows[at, 1] ^ rows[first, 0]) & np.uint32(ORBIT_MASK))
        if apart and rows[at, 0] == np.uint32(HEADER_MARK):
            break
        k = 0
        for w in range(MAP_WORDS):
            bits, bx = rows[end + 1 + w // LINKS, w % LINKS], 32 * w + 1
            while bits != 0 and k <= blocks:
                if bits & np.uint32(1):
                    # the map and the blocks must tell the same BX, in order
                    if k == blocks or np.int64(rows[first + ROWS * k + 1, 0] & np.uint32(0x1FFF)) != bx:
                        return n, at
                    k += 1
                bits >>= np.uint32(1)
                bx += 1
        if k != blocks:
            break
        spans[n, 0], spans[n, 1] = first, end
        n += 1
        at = end + ORBIT_TRAILER_ROWS
    return n, at


@kernel
def _is_end(row: Any) -> Any:
    same = 0
    for word in row:
        same += word == np.uint32(ORBIT_END)
    return same == LINKS


@kernel
def _mark(rows: Any, spans: Any, by: Any, marks: Any) -> None:
    """Add to the orbit numbers of l1scout's headers, and set bits of their flags."""
    for k in range(spans.shape[0]):
        head = spans[k, 0] - 1
        if rows[head, 0] == np.uint32(HEADER_MARK):
            rows[head, _ORBIT_AT] = (rows[head, _ORBIT_AT] + by) & np.uint32(ORBIT_MASK)
            rows[head, _FLAGS_AT] |= marks


class Run3(BlockFormat):
    """Orbit word first; each orbit has a header and a map of its non-empty BX."""

    name = "run3"
    title = "DMA packets of Run 3"
    suffix = "raw"
    reports_empty_orbits = True
    has_checksums = True
    layouts = (ORBIT, BX_RUN3, RECORD_HEADER)
    headers = {  # noqa: RUF012
        "Header of an orbit in a packet of l1scout": np.dtype([(n, "<u4") for n in ORBIT_HEADER]),
        "Header of a .raw file": FILE_HEADER,
        "Header of an orbit in a .raw file": FRAME_HEADER,
    }
    head_words = LINKS

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

        An empty orbit whose header is not of l1scout is taken to follow the one before it. Marks are those of
        the headers, orbit by orbit, and not the trailer's.
        """
        del marks
        room = np.empty((rows.shape[0] // (1 + ORBIT_TRAILER_ROWS) + 1, 2), np.int64)
        n, end = _find_orbits(rows, BX_PER_ORBIT, room)
        spans = room[:n]
        found.corrupt_bytes = size - int(end) * ROW_BYTES
        found.corrupt = int(found.corrupt_bytes > 0)
        heads = rows[spans[:, 0] - 1]
        ours = heads[:, 0] == HEADER_MARK
        orbit = np.where(ours, heads[:, _ORBIT_AT] & ORBIT_MASK, -1).astype(np.int64)
        for k in np.flatnonzero(~ours):
            filled = spans[k, 0] < spans[k, 1]
            orbit[k] = rows[spans[k, 0], 0] & ORBIT_MASK if filled else orbit[k - 1] + 1 if k else 0
        flagged = orbit[ours & (heads[:, _GOOD_AT] != (1 << LINKS) - 1)]
        stated = np.where(ours, heads[:, _FLAGS_AT], 0).astype(np.uint32)
        return self._orbits(rows, spans, orbit, found, flagged, stated)

    def write_orbit(self, packet: NDArray[np.uint32], start: int, stop: int, state: OrbitState) -> int:
        """Write the header of an orbit, and its trailer with map, states and realigns of the links."""
        counts = state.lost & 0xFFFFFFFF, state.dropped & 0xFFFFFFFF
        head = HEADER_MARK, state.orbit & 0xFFFFFFFF, state.blocks, state.good_links, *counts, state.marks, 0
        packet[start : start + LINKS] = head
        packet[stop : stop + LINKS] = ORBIT_END
        stop += LINKS
        packet[stop : stop + MAP_WORDS] = state.bx_map
        stop += MAP_WORDS
        packet[stop : stop + LINKS] = state.states
        packet[stop + LINKS : stop + 2 * LINKS] = state.realigns
        return stop + 2 * LINKS

    def renumber(self, rows: NDArray[np.uint32], spans: NDArray[np.int64], by: int, marks: int = 0) -> None:
        """Add to the orbit numbers of all blocks and of l1scout's headers, and mark the latter, in place."""
        super().renumber(rows, spans, by)
        _mark(rows, spans, np.uint32(by & ORBIT_MASK), np.uint32(marks))

    def frame(
        self, orbits: PacketOrbits, run: int, source: int, out: NDArray[np.uint32] | None = None
    ) -> Frames:
        """Write a frame for each orbit, as a ``.raw`` file has them."""
        return frame_orbits(orbits, self, frame_heads(orbits, run, source), out)

    def segment_header(self, run: int, lumisection: int, orbits: int, size: int) -> bytes:
        """Return the header of a ``.raw`` file."""
        return file_header(run, lumisection, orbits, size)

    def salvage(self, data: bytes, source: int) -> tuple[bytes, list[int]]:
        """Return the frames of the source whose checksum fits."""
        found = read_header(data)
        frames = [f for f in read_frames(data, found) if f.source == source] if found else []
        return b"".join(data[f.start : f.stop] for f in frames), [f.orbit for f in frames]

    def simulated(self, data: bytes) -> bool | None:
        """Return whether the frames of a ``.raw`` file state that they are simulated."""
        found = read_header(data)
        frames = read_frames(data, found) if found else ()
        return stated_origin(np.array([f.marks for f in frames], np.int64))

    def count_objects(self, data: bytes) -> dict[str, int]:
        """Count the muons of a ``.raw`` file."""
        found = read_header(data)
        frames = list(read_frames(data, found)) if found else []
        return MUONS.counts(decode_frames(frames, MUONS, found or RawFile(0, 0, 0, 0)).objects)


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
