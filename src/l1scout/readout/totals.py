"""What a readout process has seen since its start."""

from collections import Counter
from dataclasses import dataclass, field

from l1scout.readout.object_counts import ObjectCounts


@dataclass
class Totals:
    """What this process has seen, for its status.

    Parameters
    ----------
    packets, bytes_in, bytes_out, segments : int
    epochs : int
        How often the orbit number has begun again.
    waited_s : float
        Time spent waiting for space in the spool.
    discarded : int
        Orbits of those missed that arrived, and were left out because the spool was full when the run ended.
    counts : Counter
        Counts of the segments' accounts, by the name of the segment's field.
    objects : dict of str to int
        Objects written, by kind.
    """

    packets: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    segments: int = 0
    epochs: int = 0
    waited_s: float = 0.0
    discarded: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    objects: ObjectCounts = field(default_factory=dict)
