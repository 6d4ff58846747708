"""A segment: some orbits of one run and one source, in one file, and the account of its orbits.

Segments are what readout, wire and store hand over. A segment's identity is (run, source, index);
its lumisection and its content follow from that, so that the same segment twice is no harm.
"""

import base64
import re
from collections.abc import Iterable
from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Strict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as validated_dataclass

from l1scout.core.provenance import DataLabel, joint_label
from l1scout.errors import InputError, first_fault
from l1scout.formats.wire_format import WIRE_FORMATS
from l1scout.readout.object_counts import U16, U32, FileSize, ObjectCounts, Time

_MAX_KINDS = 32
_NAME = re.compile(r"run(\d{6,10})_source(\d{1,5})_ls(\d{4,10})_index(\d{6,10})\.([a-z0-9]+)\Z")
CLOSED = ConfigDict(extra="forbid")


def _known_format(name: str) -> str:
    try:
        return WIRE_FORMATS[name].name
    except KeyError as error:
        msg = f"unknown wire format; known are {', '.join(WIRE_FORMATS)}"
        raise ValueError(msg) from error


def _few(objects: ObjectCounts) -> ObjectCounts:
    if len(objects) > _MAX_KINDS:
        msg = f"{len(objects)} kinds of object in a segment; at most {_MAX_KINDS} are possible"
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
        Name of the wire format, see `l1scout.formats.wire_format.WIRE_FORMATS`.
    data : str
        ``simulated``, ``real`` or ``unknown``, as the board's packets state it.
    size, crc32c : int
        Of the file, in bytes; its checksum.
    epoch : int
        How often the orbit number had begun again in the run: it wrapped at 2**31, or the board restarted.
    first_orbit, last_orbit : int
        In the file; 0 and 0 if `orbits` is 0.
    began, ended : float
        When its first and its last packet came, by the readout's clock; seconds since 1970, 0 if unknown.
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
    objects : dict of str to int
        Objects written, by kind: each stream's own, and intermediate muons.
    last : bool
        No segment of this run and source follows.
    version : int
        Of this description: in notes of the spool and on the wire.
    """

    run: U32
    source: U16
    index: U32
    lumisection: U32
    wire_format: Annotated[str, AfterValidator(_known_format)]
    data: DataLabel = "unknown"
    size: FileSize = 0
    crc32c: U32 = 0
    epoch: U16 = 0
    first_orbit: U32 = 0
    last_orbit: U32 = 0
    began: Time = 0.0
    ended: Time = 0.0
    orbits: U32 = 0
    corrupt: U32 = 0
    missed: U32 = 0
    duplicate: U32 = 0
    dropped: U32 = 0
    flagged: U32 = 0
    blocks: U32 = 0
    bad_blocks: U32 = 0
    corrupt_bytes: FileSize = 0
    objects: Annotated[ObjectCounts, AfterValidator(_few)] = field(default_factory=dict, hash=False)
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
            f"_index{self.index:06d}.{WIRE_FORMATS[self.wire_format].suffix}"
        )

    @property
    def repr_digest(self) -> str:
        """Checksum as the HTTP header ``Repr-Digest`` has it."""
        return f"crc32c=:{base64.b64encode(self.crc32c.to_bytes(4, 'big')).decode()}:"

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
    return joint_label(s.data for s in segments if s.orbits)


def parse_name(name: str) -> dict[str, int | str] | None:
    """Return run, source, lumisection, index and wire format of a segment's file name; None for others."""
    match = _NAME.match(name)
    if match is None:
        return None
    run, source, lumi, index = (int(g) for g in match.groups()[:4])
    wire_format = _format_of_suffix(match.group(5))
    if wire_format is None:
        return None
    return {"run": run, "source": source, "lumisection": lumi, "index": index, "wire_format": wire_format}


_BY_SUFFIX: dict[str, str] = {}


def _format_of_suffix(suffix: str) -> str | None:
    if suffix not in _BY_SUFFIX:
        _BY_SUFFIX.update({f.suffix: name for name, f in WIRE_FORMATS.items()})
    return _BY_SUFFIX.get(suffix)
