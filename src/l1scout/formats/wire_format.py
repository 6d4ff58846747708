"""Wire formats: how packets of a board are written and read, one module each in `formats.wire_formats`."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from io import BufferedIOBase
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from l1scout.core.registry import Registry
from l1scout.formats.decoded import Decoded, join_decoded
from l1scout.formats.layout import Layout
from l1scout.formats.packets import Found, PacketOrbits, Readable, Trailer
from l1scout.formats.raw import Frames
from l1scout.formats.records import ORBIT
from l1scout.formats.stream import STREAMS, add_counts

Choice = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.bool_]]
"""Says which orbits of a file can be right, by their lumisections and numbers, in the order of the file."""


class WireFormat(ABC):
    """Packets as a board writes them, and the segments that readout makes of them.

    Attributes
    ----------
    name : str
        Name of the format, and of its module.
    title : str
        Short description for people.
    streams : tuple of str
        Names of the streams whose objects its packets hold.
    suffix : str
        Suffix of the files of its segments, without the dot; no two formats share one.
    reports_empty_orbits : bool
        Whether packets and segments show orbits without any object.
    orbit_bits : int
        Width of its orbit numbers: where they begin again.
    has_checksums : bool
        Whether each orbit of a segment's file has a checksum by which the intact ones are told.
    layouts : tuple of Layout
        Words of its packets that are not those of objects.
    headers : mapping of str to numpy type
        Headers that are not made of bit fields, by title.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    streams: ClassVar[tuple[str, ...]]
    suffix: ClassVar[str]
    reports_empty_orbits: ClassVar[bool]
    orbit_bits: ClassVar[int] = ORBIT["orbit"].width
    has_checksums: ClassVar[bool]
    layouts: ClassVar[tuple[Layout, ...]] = ()
    headers: ClassVar[Mapping[str, np.dtype[Any]]] = {}

    @abstractmethod
    def recognises(self, stream: Readable) -> bool:
        """Return whether a file, read from its beginning, holds packets of this format."""

    @abstractmethod
    def split(self, stream: Readable) -> Iterator[tuple[memoryview, int]]:
        """Cut a stream of bytes into packets, in constant memory.

        Yields
        ------
        packet : memoryview
            Valid until the next one. Whether it makes sense is for `find_orbits` to see.
        skipped : int
            Bytes left out before it, because they are not part of a packet; with an empty packet, the rest
            of the stream.
        """

    def source_of(self, packet: memoryview) -> int | None:
        """Return the source id of a packet; None if packets of the format do not state it."""
        del packet
        return None

    def trailer(self, packet: memoryview) -> Trailer | None:
        """Return the counters that a packet states, damaged or not; None if it states none."""
        del packet
        return None

    @abstractmethod
    def find_orbits(self, packet: memoryview) -> PacketOrbits:
        """Find the orbits of a packet; what is damaged is left out and counted."""

    def example_packet(self) -> bytes:
        """Return a small packet with an object in it, for compiling kernels with; empty if there is none."""
        return b""

    @abstractmethod
    def decode(self, orbits: PacketOrbits) -> Mapping[str, Decoded]:
        """Decode the objects of orbits, by stream."""

    @abstractmethod
    def frame_room(self, orbits: PacketOrbits) -> int:
        """Return the largest number of 32-bit words that orbits can take in a segment."""

    @abstractmethod
    def frame(
        self, orbits: PacketOrbits, run: int, source: int, out: NDArray[np.uint32] | None = None
    ) -> Frames:
        """Write orbits as a segment's file has them.

        Parameters
        ----------
        orbits : PacketOrbits
            As `find_orbits` gives them.
        run, source : int
            Run number and source id that are written into the frames.
        out : ndarray of uint32, optional
            Memory to use again, at least ``frame_room(orbits)`` words.

        Raises
        ------
        ValueError
            If `out` is too small.
        """

    @abstractmethod
    def segment_header(self, run: int, lumisection: int, orbits: int, size: int) -> bytes:
        """Return what a segment's file of `size` bytes begins with; empty if it has no header."""

    def mended_heads(self, marks: NDArray[np.uint32]) -> tuple[NDArray[np.uint32], Mapping[int, bytes]]:
        """Return the marks of a segment's orbits as its readers believe them, and the heads that change.

        Returns
        -------
        marks : ndarray of uint32
        heads : mapping of int to bytes
            What orbits in the segment must begin with, by their place. None, if marks are not kept there.
        """
        return marks, {}

    @abstractmethod
    def salvage(self, data: bytes, source: int, choose: Choice | None = None) -> tuple[bytes, list[int]]:
        """Return the orbits of a damaged or unfinished segment's file that can be read, and their numbers.

        The header of the file is not among the bytes. Of formats with checksums, only orbits are kept that
        `choose` does not leave out.
        """

    def with_source(self, data: bytes, source: int) -> bytes:
        """Return a segment's file with another source id; as it is, if its orbits do not state theirs."""
        del source
        return data

    def simulated(self, data: bytes) -> bool | None:
        """Return whether a segment's file states that its orbits are simulated; None if it states nothing."""
        del data
        return None

    @abstractmethod
    def count_objects(self, data: bytes) -> dict[str, int]:
        """Count the objects in a segment's file by kind, see `formats.stream.Stream.counts`."""


WIRE_FORMATS: Registry[WireFormat] = Registry(
    "wire formats", "l1scout.formats.wire_formats", lambda: WireFormat
)
"""Wire formats by name; other packages add theirs as entry points of the group ``l1scout.wire_formats``."""


def recognise_format(stream: BufferedIOBase) -> WireFormat | None:
    """Return the wire format whose packets a file holds; None if it is none of the known ones."""
    for form in WIRE_FORMATS.values():
        stream.seek(0)
        if form.recognises(stream):
            return form
    return None


def count_decoded(decoded: Mapping[str, Decoded]) -> dict[str, int]:
    """Count decoded objects by kind."""
    total: dict[str, int] = {}
    for name, part in decoded.items():
        add_counts(total, STREAMS[name].counts(part.objects))
    return total


def read_packets(
    stream: Readable, form: WireFormat, found: Found | None = None
) -> Iterator[Mapping[str, Decoded]]:
    """Decode a stream of packets, one after the other, in constant memory.

    Parameters
    ----------
    stream : Readable
    form : WireFormat
    found : Found, optional
        Is kept up to date with all that was seen.

    Yields
    ------
    mapping of str to Decoded
        Objects of one packet by stream. ``flagged`` has the empty orbits too, where their headers flag them.
    """
    found = found if found is not None else Found()
    for packet, skipped in form.split(stream):
        if skipped:
            found.add(Found(corrupt=1, corrupt_bytes=skipped))
        if len(packet):
            orbits = form.find_orbits(packet)
            decoded = form.decode(orbits)
            flagged = np.unique(np.concatenate([orbits.flagged, *(d.flagged for d in decoded.values())]))
            now = Found(
                corrupt=sum(d.corrupt for d in decoded.values()),
                corrupt_bytes=sum(d.corrupt_bytes for d in decoded.values()),
                flagged=flagged.size,
                objects=count_decoded(decoded),
            )
            found.add(orbits.found)
            found.add(now)
            yield {
                name: Decoded(part.objects, flagged, part.corrupt, part.corrupt_bytes)
                for name, part in decoded.items()
            }


def decode_packets(stream: Readable, form: WireFormat) -> tuple[dict[str, Decoded], Found]:
    """Decode all packets of a stream that fits in memory (its objects do; its packets need not)."""
    found = Found()
    parts = list(read_packets(stream, form, found)) or [form.decode(form.find_orbits(memoryview(b"")))]
    names = [name for name in form.streams if any(name in p for p in parts)]
    return {name: join_decoded([p[name] for p in parts if name in p]) for name in names}, found
