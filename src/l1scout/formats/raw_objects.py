"""Objects in the frames of ``.raw`` files, by stream."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import constant
from l1scout.formats.decoded import Decoded
from l1scout.formats.frame_table import FrameTable
from l1scout.formats.marks import stated_origin
from l1scout.formats.raw import Frame, RawFile
from l1scout.formats.stream import Stream, decode_streams
from l1scout.lhc import lumisection


def decode_frames(frames: Sequence[Frame], stream: Stream, found: RawFile) -> Decoded:
    """Decode the objects of frames of one stream; in each, up to a record that makes no sense."""
    return decode_shared_frames(frames, [stream], found)[stream.name]


def decode_shared_frames(
    frames: Sequence[Frame] | FrameTable,
    streams: Sequence[Stream],
    found: RawFile,
    columns: Mapping[str, Collection[str]] | None = None,
) -> dict[str, Decoded]:
    """Decode the objects of several streams, by name, in frames whose sources all of them have.

    Of `columns`, see `formats.stream.decode_streams`. Records state the orbit of their objects, and frames
    its epoch; crossings of an orbit that no frame has are left out and counted as corrupt, without their
    bytes. Frames of several sources may come in any order.
    """
    table = frames if isinstance(frames, FrameTable) else FrameTable.of(frames)
    table = table.in_order()
    payloads, simulated, made = table.payloads, stated_origin(table.marks), {}
    for name, (part, ends) in decode_streams(streams, payloads, columns).items():
        lost = table.size - 4 * (ends - payloads.spans[0])
        objects = part.objects.stating(
            run=constant(found.run, len(part.objects)),
            lumisection=_lumisections(part.objects.orbit),
            n_orbits=table.orbit.size,
            simulated=simulated,
        )
        decoded = Decoded(objects, part.flagged, int(np.count_nonzero(lost)), int(lost.sum()))
        made[name] = decoded.of_orbits(table.orbit)
    return made


def _lumisections(orbit: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the lumisections of rising orbits."""
    ends = lumisection(orbit[[0, -1]]) if orbit.size else np.zeros(2, np.int64)
    return constant(int(ends[0]), orbit.size) if ends[0] == ends[1] else lumisection(orbit)
