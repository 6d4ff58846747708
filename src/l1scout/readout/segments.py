"""A segment: some orbits of one run and one source, in one file, and the account of its orbits.

Segments are what readout, wire and store hand over. A segment's identity is (run, source, index);
its lumisection and its content follow from that, so that the same segment twice is no harm.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    Strict,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)
from pydantic.dataclasses import dataclass as validated_dataclass

from l1scout.core.orbit_batch import joint_origin
from l1scout.core.provenance import DataLabel, data_label, is_simulated
from l1scout.errors import InputError, first_fault

SUFFIXES = {"run2": "dat", "run3": "raw"}
_MAX_STREAMS = 32
_NAME = re.compile(r"run(\d{6,10})_source(\d{1,5})_ls(\d{4,10})_index(\d{6,10})\.(raw|dat)\Z")
CLOSED = ConfigDict(extra="forbid")

U16 = Annotated[int, Strict(), Field(ge=0, lt=1 << 16)]
U32 = Annotated[int, Strict(), Field(ge=0, lt=1 << 32)]
U63 = Annotated[int, Strict(), Field(ge=0, lt=1 << 63)]
FileSize = Annotated[int, Strict(), Field(ge=0, le=1 << 40)]
StreamName = Annotated[str, StringConstraints(pattern="^[a-z][a-z0-9_-]{0,31}$")]


@dataclass(frozen=True)
class StreamCount:
    """Number of objects of one stream.

    Parameters
    ----------
    count : int
        All objects of the stream.
    intermediate : int
        How many of them are intermediate muons; 0 for other streams.
    """

    count: U63 = 0
    intermediate: U63 = 0
    __pydantic_config__ = CLOSED

    @property
    def final(self) -> int:
        """Objects that are not intermediate."""
        return self.count - self.intermediate

    def __add__(self, other: "StreamCount") -> "StreamCount":
        """Return the sum of two counts."""
        return StreamCount(self.count + other.count, self.intermediate + other.intermediate)


StreamCounts = dict[StreamName, StreamCount]


def add_counts(*counts: Mapping[str, StreamCount]) -> StreamCounts:
    """Return the sums of objects of each stream."""
    total: StreamCounts = {}
    for one in counts:
        for name, count in one.items():
            total[name] = total.get(name, StreamCount()) + count
    return total


def objects_line(objects: Mapping[str, StreamCount]) -> str:
    """Return the objects of each stream in one line, such as ``muon 1,204 (and 903 intermediate)``."""
    return ", ".join(
        f"{name} {c.final:,}" + (f" (and {c.intermediate:,} intermediate)" if c.intermediate else "")
        for name, c in objects.items()
    )


def _wire_format(name: str) -> str:
    if name not in SUFFIXES:
        msg = f"unknown wire format; known are {', '.join(SUFFIXES)}"
        raise ValueError(msg)
    return name


def _few(objects: StreamCounts) -> StreamCounts:
    if len(objects) > _MAX_STREAMS:
        msg = f"{len(objects)} streams in a segment; at most {_MAX_STREAMS} are possible"
        raise ValueError(msg)
    return objects


@validated_dataclass(frozen=True, config=CLOSED)
class Segment:
    """What a segment is, and what became of the orbits that it stands for.

    Of the orbits that the board sent, each is counted once: ``sent = orbits + corrupt + missed``.

    Parameters
    ----------
    run, source, index : int
        Identity; `index` counts from 0 in each run and source, over all lumisections.
    lumisection : int
        From 1; no segment lies in two.
    wire_format : str
        Such as ``run2`` (bare records) or ``run3`` (CMSSW ``.raw``).
    data : str
        ``simulated``, ``real`` or ``unknown``, as the board's packets state it.
    size, crc32c : int
        Of the file, in bytes; its checksum.
    first_orbit, last_orbit : int
        In the file; 0 and 0 if `orbits` is 0.
    orbits : int
        In the file.
    corrupt : int
        Arrived and could not be read.
    missed : int
        Sent by the board, by its own count, and never arrived.
    duplicate : int
        Arrived once more, or when a later orbit had been written: left out, and not among those sent.
    dropped : int
        Lost or dropped by the board itself, by its own count: not among those sent.
    flagged : int
        Of `orbits`, those without the data of some link.
    blocks, bad_blocks : int
        Crossings read, crossings left out for their BX.
    corrupt_bytes : int
    objects : dict of str to StreamCount
        Objects written, by the name of their stream.
    last : bool
        No segment of this run and source follows.
    version : int
        Of this description: in notes of the spool and on the wire.
    """

    run: U32
    source: U16
    index: U32
    lumisection: U32
    wire_format: Annotated[str, AfterValidator(_wire_format)]
    data: DataLabel = "unknown"
    size: FileSize = 0
    crc32c: U32 = 0
    first_orbit: U32 = 0
    last_orbit: U32 = 0
    orbits: U32 = 0
    corrupt: U32 = 0
    missed: U32 = 0
    duplicate: U32 = 0
    dropped: U32 = 0
    flagged: U32 = 0
    blocks: U32 = 0
    bad_blocks: U32 = 0
    corrupt_bytes: FileSize = 0
    objects: Annotated[StreamCounts, AfterValidator(_few)] = field(default_factory=dict, hash=False)
    last: Annotated[bool, Strict()] = False
    version: Literal[1] = 1

    @property
    def sent(self) -> int:
        """Orbits that the board sent and that this segment accounts for."""
        return self.orbits + self.corrupt + self.missed

    @property
    def key(self) -> tuple[int, int, int]:
        """Identity."""
        return self.run, self.source, self.index

    @property
    def name(self) -> str:
        """File name: the one of CMSSW with the source in it."""
        return (
            f"run{self.run:06d}_source{self.source:02d}_ls{self.lumisection:04d}"
            f"_index{self.index:06d}.{SUFFIXES[self.wire_format]}"
        )

    @property
    def folder(self) -> str:
        """Folder of its run."""
        return f"run{self.run:06d}"

    def to_dict(self) -> dict[str, Any]:
        """Return all fields by name, with JSON types only."""
        return dict(SEGMENT.dump_python(self, mode="json"))

    @classmethod
    def from_dict(cls, described: Any) -> "Segment":
        """Read a description from an untrusted peer.

        Raises
        ------
        InputError
            If a field is unknown or not possible.
        """
        try:
            return SEGMENT.validate_python(described)
        except ValidationError as error:
            msg = f"segment: {first_fault(error)}"
            raise InputError(msg) from error


SEGMENT = TypeAdapter(Segment)
"""Reads and writes descriptions of segments."""


def joint_data(segments: Iterable[Segment]) -> DataLabel:
    """Return whether the orbits of segments, together, are simulated, real or unknown."""
    return data_label(joint_origin(is_simulated(s.data) for s in segments if s.orbits))


def parse_name(name: str) -> dict[str, int | str] | None:
    """Return run, source, lumisection, index and wire format of a segment's file name; None for others."""
    match = _NAME.match(name)
    if match is None:
        return None
    run, source, lumi, index = (int(g) for g in match.groups()[:4])
    wire_format = next(f for f, suffix in SUFFIXES.items() if suffix == match.group(5))
    return {"run": run, "source": source, "lumisection": lumi, "index": index, "wire_format": wire_format}
