"""Save what can still be read of a segment's file that is incomplete or damaged."""

from dataclasses import replace

from crc32c import crc32c

from l1scout.core.provenance import data_label
from l1scout.formats.wire_format import WIRE_FORMATS
from l1scout.readout.segments import Segment


def salvage(data: bytes, segment: Segment, *, checked: bool = False) -> tuple[bytes, Segment]:
    """Make a complete file of the part of a segment's file that can be read.

    Parameters
    ----------
    data : bytes
    segment : Segment
        Names the run, source, lumisection and wire format of the file.
    checked : bool
        Keep only what a checksum in the file proves to be right.

    Returns
    -------
    data : bytes
    segment : Segment
        With size, checksum, orbits and objects of these data, and simulated or real if they state that.
    """
    wire_format = WIRE_FORMATS[segment.wire_format]
    run, lumisection = segment.run, segment.lumisection
    body, orbits = b"", list[int]()
    if wire_format.has_checksums or not checked:
        header = wire_format.segment_header(run, lumisection, 0, 0)  # what is there may be the damage
        body, orbits = wire_format.salvage(header + data[len(header) :], segment.source)
    size = len(wire_format.segment_header(run, lumisection, len(orbits), 0)) + len(body)
    data = wire_format.segment_header(run, lumisection, len(orbits), size) + body
    simulated = wire_format.simulated(data)
    first, last = (orbits[0], orbits[-1]) if orbits else (0, 0)
    return data, replace(
        segment,
        data=segment.data if simulated is None else data_label(simulated),
        size=size,
        crc32c=crc32c(data),
        first_orbit=first,
        last_orbit=last,
        orbits=len(orbits),
        objects=wire_format.count_objects(data),
    )
