"""Objects in the frames of ``.raw`` files, by stream."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from l1scout.formats.decoded import Decoded, join_epochs
from l1scout.formats.marks import stated_origin
from l1scout.formats.payloads import Payloads
from l1scout.formats.raw import Frame, RawFile
from l1scout.formats.records import ORBIT_MASK
from l1scout.formats.stream import Stream, decode_streams
from l1scout.lhc import lumisection


def decode_frames(frames: Sequence[Frame], stream: Stream, found: RawFile) -> Decoded:
    """Decode the objects of frames of one stream; in each, up to a record that makes no sense."""
    return decode_shared_frames(frames, [stream], found)[stream.name]


def decode_shared_frames(
    frames: Sequence[Frame], streams: Sequence[Stream], found: RawFile
) -> dict[str, Decoded]:
    """Decode the objects of several streams, by name, in frames whose sources all of them have."""
    of_epoch: dict[int, list[Frame]] = {}
    for frame in frames:
        of_epoch.setdefault(frame.orbit & ~ORBIT_MASK, []).append(frame)
    decoded = {first: _decode(own, streams) for first, own in (of_epoch or {0: []}).items()}
    simulated = stated_origin(np.array([f.marks for f in frames], np.int64))
    made = {}
    for stream in streams:
        part = join_epochs({first: parts[stream.name] for first, parts in decoded.items()})
        objects = replace(
            part.objects,
            run=np.full(len(part.objects), found.run, np.int64),
            lumisection=lumisection(part.objects.orbit),
            n_orbits=len(frames),
            simulated=simulated,
        )
        made[stream.name] = replace(part, objects=objects)
    return made


def _decode(frames: Sequence[Frame], streams: Sequence[Stream]) -> dict[str, Decoded]:
    """Decode the objects of frames of one epoch, with the orbits that their records state."""
    words = np.frombuffer(b"".join(f.records[: len(f.records) & ~3] for f in frames), "<u4")
    sizes = np.array([len(f.records) for f in frames], np.int64)
    bounds = np.r_[0, np.cumsum(sizes // 4)]
    sources = np.array([f.source for f in frames], np.int64)
    made = {}
    for name, (part, ends) in decode_streams(streams, Payloads.of(words, bounds, sources)).items():
        lost = sizes - 4 * (ends - bounds[:-1])
        made[name] = replace(part, corrupt=int(np.count_nonzero(lost)), corrupt_bytes=int(lost.sum()))
    return made
