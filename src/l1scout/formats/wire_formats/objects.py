"""Packets with the records of any source: calorimeter, stubs, towers, Global Trigger; l1scout's own.

No public source says how the boards of these streams frame what they send: only the records are CMS's
(`formats.streams`). Here a packet has the records of some orbits of one source id: `PACKET`, then for each
orbit `ORBIT` and its records, and the 32 bytes with counters that end the packets of other boards, too
(`formats.packets`). An orbit without records is there as well. Each orbit has a checksum, and so has the
header of the packet: damage costs an orbit.

A board of several sources sends a packet of each in turn, for the same orbits.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from crc32c import crc32c
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.formats.decoded import Decoded
from l1scout.formats.marks import origin_mark
from l1scout.formats.packets import TRAILER_BYTES, Found, PacketOrbits, Readable, Trailer
from l1scout.formats.raw_segments import RawSegmentFormat, decode_payloads
from l1scout.formats.records import ORBIT_MASK
from l1scout.formats.stream import STREAMS, encode_source, streams_of_sources
from l1scout.formats.wire_format import WIRE_FORMATS

PACKET = np.dtype(
    [
        ("magic", "S8"),
        ("source", "<u2"),
        ("version", "<u2"),
        ("orbits", "<u4"),
        ("words", "<u4"),
        ("crc", "<u4"),
    ]
)
"""``words``: 32-bit words of the packet, with header and counters; ``crc``: CRC-32C of what is before it."""
ORBIT = np.dtype([(name, "<u4") for name in ("orbit", "marks", "words", "crossings", "crc")])
"""``words`` of records; ``crc``: CRC-32C of what is before it and of the records."""
MAGIC, VERSION = b"L1SOBJCT", 1
MAX_PACKET_WORDS = 1 << 26
_HEAD, _ORBIT = struct.Struct("<8sHHIII"), struct.Struct("<5I")
_HEAD_WORDS, _ORBIT_WORDS, _TRAILER_WORDS = _HEAD.size // 4, _ORBIT.size // 4, TRAILER_BYTES // 4
_LEAST = _HEAD_WORDS + _TRAILER_WORDS
_PIECE = 1 << 20


class ObjectPackets(RawSegmentFormat):
    """Packets of one source id each."""

    name = "objects"
    title = "packets of records of any source, l1scout's own"
    streams = ("muon", "jet", "egamma", "tau", "etsum", "gt", "stub", "tower")
    suffix = "objects"
    reports_empty_orbits = True
    headers = {"Header of a packet of records": PACKET, "Header of an orbit in it": ORBIT}  # noqa: RUF012

    def recognises(self, stream: Readable) -> bool:
        """Return whether a file begins with a packet's header."""
        head = bytearray(_HEAD.size)
        return stream.readinto(memoryview(head)) == len(head) and _packet_words(head, 0) > 0

    def split(self, stream: Readable) -> Iterator[tuple[memoryview, int]]:
        """Cut a stream into packets; after damage, look for the next header."""
        held, skipped, piece = bytearray(), 0, bytearray(_PIECE)
        while size := stream.readinto(memoryview(piece)):
            held += memoryview(piece)[:size]
            at = 0
            while len(held) - at >= _HEAD.size:
                end = at + 4 * _packet_words(held, at)
                if end == at:
                    found = held.find(MAGIC, at + 1)
                    start = len(held) - len(MAGIC) + 1 if found < 0 else found
                    at, skipped = start, skipped + start - at
                elif end <= len(held):
                    yield memoryview(bytes(memoryview(held)[at:end])), skipped
                    at, skipped = end, 0
                else:
                    break
            del held[:at]
        if held or skipped:
            yield memoryview(b""), skipped + len(held)

    def source_of(self, packet: memoryview) -> int | None:
        """Return the source id that a packet states."""
        return int(_HEAD.unpack_from(packet)[1]) if packet else None

    def trailer(self, packet: memoryview) -> Trailer | None:
        """Return the counters at a packet's end."""
        return Trailer.decode(packet[-TRAILER_BYTES:]) if packet else None

    def find_orbits(self, packet: memoryview) -> PacketOrbits:
        """Find the orbits of a packet whose checksums fit."""
        found = Found(packets=int(len(packet) > 0), trailer=self.trailer(packet))
        words = np.frombuffer(packet, "<u4")
        rows: list[tuple[int, ...]] = []
        announced = int(_HEAD.unpack_from(packet)[3]) if packet else 0
        at, end = (_HEAD_WORDS, words.size - _TRAILER_WORDS) if packet else (0, 0)
        while at + _ORBIT_WORDS <= end:
            orbit, marks, size, crossings, crc = _ORBIT.unpack_from(packet, 4 * at)
            first, stop = at + _ORBIT_WORDS, at + _ORBIT_WORDS + size
            if stop > end:
                break
            if crc32c(packet[4 * first : 4 * stop], crc32c(packet[4 * at : 4 * first - 4])) != crc:
                found.corrupt, found.corrupt_bytes = found.corrupt + 1, found.corrupt_bytes + 4 * (stop - at)
            else:
                rows.append((orbit & ORBIT_MASK, marks, first, stop, crossings))
            at = stop
        if at < end or len(rows) + found.corrupt < announced:
            found.corrupt, found.corrupt_bytes = found.corrupt + 1, found.corrupt_bytes + 4 * (end - at)
        table = np.array(rows, np.int64).reshape(-1, 5)
        found.orbits, found.blocks = len(rows), int(table[:, 4].sum())
        return PacketOrbits(
            rows=words[:, np.newaxis],
            spans=table[:, 2:4],
            orbit=table[:, 0],
            flagged=np.zeros(0, np.int64),
            found=found,
            blocks_of_orbit=table[:, 4],
            marks=table[:, 1].astype(np.uint32),
        )

    def decode(self, orbits: PacketOrbits) -> Mapping[str, Decoded]:
        """Decode the objects of orbits: of the packet's source.

        Crossings of an orbit that the packet does not have are left out, and counted as corrupt.
        """
        if not orbits.rows.size:
            nothing = np.zeros(0, np.int64)
            return {name: Decoded(STREAMS[name].empty(), nothing) for name in self.streams}
        source = int(orbits.rows[2, 0]) & 0xFFFF
        parts = [orbits.rows[first:end, 0] for first, end in orbits.spans.tolist()]
        bounds = np.r_[0, np.cumsum([part.size for part in parts])].astype(np.int64)
        words = np.concatenate([np.zeros(0, np.uint32), *parts])
        found = decode_payloads(streams_of_sources([source]), words, bounds, source)
        stated = orbits.orbit & ORBIT_MASK  # as records have it
        return {name: part.of_orbits(stated) for name, part in found.items()}

    def count_objects(self, data: bytes) -> dict[str, int]:
        """Count the objects of a ``.raw`` file: of the streams whose frames it has."""
        return {name: n for name, n in super().count_objects(data).items() if n}

    def example_packet(self) -> bytes:
        """Return a packet of each kind of source, with an object of each of its streams."""
        made, trailer = [], Trailer(0, 0, 1)
        for names, source in (
            ("jet egamma tau etsum", 2),
            ("gt", 4),
            ("stub", 10),
            ("jet", 22),
            ("tower", 32),
        ):
            payloads = payloads_of(
                {name: _one(name) for name in names.split()}, source, np.zeros(1, np.int64)
            )
            made.append(encode_packet(source, payloads, trailer))
        return b"".join(made)


def _one(name: str) -> OrbitBatch:
    """Return a batch of one object, of which all columns are 1 but those of parts of the detector."""
    columns = {n: np.ones(1, c.dtype) for n, c in STREAMS[name].empty().columns.items()}
    columns |= {n: np.zeros(1, np.int16) for n in ("sector", "wheel") if n in columns}
    return OrbitBatch(np.zeros(1, np.int64), np.ones(1, np.int64), np.array([0, 1]), columns)


def _packet_words(data: bytes | bytearray, at: int) -> int:
    """Return the words of the packet whose header lies there; 0 if there is none."""
    magic, _, version, _, words, crc = _HEAD.unpack_from(data, at)
    intact = magic == MAGIC and version == VERSION and _LEAST <= words <= MAX_PACKET_WORDS
    return int(words) if intact and crc32c(bytes(data[at : at + _HEAD.size - 4])) == crc else 0


def encode_packet(
    source: int, orbits: Sequence[tuple[int, int, NDArray[np.uint32], int]], trailer: Trailer
) -> bytes:
    """Write a packet.

    Parameters
    ----------
    source : int
    orbits : sequence of tuple
        Orbit number, marks (`formats.marks`), words of the records, and number of crossings of each.
    trailer : Trailer
        Counters of the board since the start of the run, with these orbits.
    """
    parts, marks_of_all = [b""], 0
    for orbit, marks, words, crossings in orbits:
        head = _ORBIT.pack(orbit & ORBIT_MASK, marks, words.size, crossings, 0)[:-4]
        records = np.ascontiguousarray(words, "<u4").tobytes()
        parts += [head, crc32c(records, crc32c(head)).to_bytes(4, "little"), records]
        marks_of_all |= marks
    parts.append(trailer.encode(marks_of_all))
    size = (_HEAD.size + sum(map(len, parts))) // 4
    head = _HEAD.pack(MAGIC, source, VERSION, len(orbits), size, 0)[:-4]
    parts[0] = head + crc32c(head).to_bytes(4, "little")
    return b"".join(parts)


def payloads_of(
    batches: Mapping[str, OrbitBatch], source: int, orbits: NDArray[np.int64]
) -> list[tuple[int, int, NDArray[np.uint32], int]]:
    """Write the records of a source in some orbits (rising), as `encode_packet` takes them."""
    own = [s for s in streams_of_sources([source]) if s.name in batches]
    words, crossings, starts = encode_source({s.name: batches[s.name] for s in own}, source)
    marks = origin_mark(crossings.simulated)
    first, stop = (np.searchsorted(crossings.orbit, orbits, side) for side in ("left", "right"))
    records = np.r_[0, np.cumsum(np.diff(starts) > 0)]  # stubs have none where there are none of the sector
    return [
        (int(orbit), marks, words[starts[a] : starts[b]], int(records[b] - records[a]))
        for orbit, a, b in zip(orbits.tolist(), first.tolist(), stop.tolist(), strict=True)
    ]


OBJECT_PACKETS: ObjectPackets = WIRE_FORMATS.register("objects")(ObjectPackets())
