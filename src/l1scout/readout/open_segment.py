"""A segment while it is written."""

from collections import Counter
from dataclasses import dataclass, field
from typing import IO

import numpy as np
from crc32c import crc32c
from numpy.typing import NDArray

from l1scout.core.provenance import DataLabel, data_label
from l1scout.formats.marks import stated_origin
from l1scout.formats.wire_format import WireFormat
from l1scout.readout.joint_checksum import joint_checksum
from l1scout.readout.object_counts import ObjectCounts


@dataclass
class OpenSegment:
    """A segment that is being written.

    Parameters
    ----------
    lumisection : int
    file : binary file
    began : float
        When it was opened, by the writer's clock.
    size : int
        Bytes written.
    body_crc32c : int
        Of what was written after the header.
    first_orbit, last_orbit : int
        Written first and last, absolute; -1 before the first.
    first_time, last_time : float
        When packets were written first and last, seconds since 1970; 0 before the first.
    counts : Counter
        Counts of its account, by the name of the segment's field.
    objects : dict of str to int
        Objects written, by kind.
    labels : set of str
        Of the packets written: ``simulated``, ``real`` or ``unknown``.
    marks, starts : list of ndarray
        What the orbits written state of themselves, and where in the file they begin.
    """

    lumisection: int
    file: IO[bytes]
    began: float
    size: int = 0
    body_crc32c: int = 0
    first_orbit: int = -1
    last_orbit: int = -1
    first_time: float = 0.0
    last_time: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    objects: ObjectCounts = field(default_factory=dict)
    labels: set[DataLabel] = field(default_factory=set)
    marks: list[NDArray[np.uint32]] = field(default_factory=list)
    starts: list[NDArray[np.int64]] = field(default_factory=list)

    def complete(self, wire_format: WireFormat, run: int) -> int:
        """Write what is known only at the end, close the file, and return its CRC-32C.

        Marks that readers would take for damage, and leave their orbits out, become those of the orbits
        beside them.
        """
        self.file.truncate(self.size)
        mended = False
        if self.marks:
            marks, starts = np.concatenate(self.marks), np.concatenate(self.starts)
            right, heads = wire_format.mended_heads(marks)
            mended = bool(heads)
            for k, head in heads.items():
                self.file.seek(int(starts[k]))
                self.file.write(head)
            if heads:
                self.labels = {data_label(stated_origin(right))}
        self.file.seek(0)
        header = wire_format.segment_header(run, self.lumisection, self.counts["orbits"], self.size)
        self.file.write(header)
        if mended:
            self.file.seek(len(header))
            self.body_crc32c = crc32c(self.file.read())
        self.file.close()
        return joint_checksum(crc32c(header), self.body_crc32c, self.size - len(header))
