"""Save what can still be read of a segment's file that is incomplete or damaged."""

from dataclasses import dataclass, replace

from crc32c import crc32c

from l1scout.core.orbit_batch import OrbitBatch, muon_counts
from l1scout.core.orbit_data import MUON
from l1scout.formats.block import FORMATS
from l1scout.formats.raw import FILE_HEADER, file_header, read_frames, read_header
from l1scout.formats.records import read_records, records_end
from l1scout.readout.segments import Segment, StreamCount, StreamCounts


@dataclass(frozen=True)
class Salvaged:
    """The readable part of a segment's file.

    Parameters
    ----------
    data : bytes
        A complete file of the segment's wire format.
    orbits : list of int
        Orbits in it, in order.
    objects : dict of str to StreamCount
        Objects in it, by stream.
    """

    data: bytes
    orbits: list[int]
    objects: StreamCounts

    def described(self, segment: Segment) -> Segment:
        """Return a segment's description with size, checksum, orbits and objects of this file."""
        first, last = (self.orbits[0], self.orbits[-1]) if self.orbits else (0, 0)
        return replace(
            segment,
            size=len(self.data),
            crc32c=crc32c(self.data),
            first_orbit=first,
            last_orbit=last,
            orbits=len(self.orbits),
            objects=self.objects,
        )


def salvage(data: bytes, segment: Segment, *, checked: bool = False) -> Salvaged:
    """Keep the part of a segment's file that can be read.

    Parameters
    ----------
    data : bytes
    segment : Segment
        Names the run, source, lumisection and wire format of the file.
    checked : bool
        Keep only what a checksum in the file proves to be right: nothing of bare records.
    """
    form = FORMATS[segment.wire_format]
    header = read_header(data) if form.name == "run3" else None
    if header is not None:
        frames = [f for f in read_frames(data, header) if f.source == segment.source]
        body = b"".join(data[f.start : f.stop] for f in frames)
        size = FILE_HEADER.itemsize + len(body)
        muons = read_records(b"".join(f.records for f in frames), form).muons
        head = file_header(segment.run, segment.lumisection, len(frames), size)
        return Salvaged(head + body, [f.orbit for f in frames], _counts(muons))
    if form.name == "run3" or checked:
        return Salvaged(b"", [], {})
    data = data[: records_end(data, form)]
    muons = read_records(data, form).muons
    return Salvaged(data, sorted(set(muons.orbit.tolist())), _counts(muons))


def _counts(muons: OrbitBatch) -> StreamCounts:
    final, intermediate = muon_counts(muons)
    return {MUON: StreamCount(final + (intermediate or 0), intermediate or 0)}
