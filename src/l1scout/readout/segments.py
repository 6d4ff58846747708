"""A segment: some orbits of one run and one source, in one file, and the account of its orbits.

Segments are what readout, wire and store hand over. A segment's identity is (run, source, index);
its lumisection and its content follow from that, so that the same segment twice is no harm.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from l1scout.errors import InputError
from l1scout.formats.wire_format import WIRE_FORMATS

_U32 = (1 << 32) - 1
_LIMITS = {"source": (1 << 16) - 1, "size": 1 << 40}
_NAME = re.compile(r"run(\d{6,10})_source(\d{1,5})_ls(\d{4,10})_index(\d{6,10})\.([a-z0-9]+)\Z")


@dataclass(frozen=True)
class Segment:
    """What a segment is, and what became of the orbits that it stands for.

    Of the orbits that the board sent, each is counted once: ``sent = orbits + corrupt + missed``.

    Parameters
    ----------
    run, source, index : int
        Identity; `index` counts from 0 in each run and source, over all lumisections.
    lumisection : int
        From 1; no segment lies in two.
    form : str
        Name of the wire format, see `formats.wire_format.WIRE_FORMATS`.
    size, crc32c : int
        Of the file.
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
    final_muons, intermediate_muons : int
        Muons written.
    corrupt_bytes : int
    last : bool
        No segment of this run and source follows.
    """

    run: int
    source: int
    index: int
    lumisection: int
    form: str
    size: int = 0
    crc32c: int = 0
    first_orbit: int = 0
    last_orbit: int = 0
    orbits: int = 0
    corrupt: int = 0
    missed: int = 0
    duplicate: int = 0
    dropped: int = 0
    flagged: int = 0
    blocks: int = 0
    bad_blocks: int = 0
    final_muons: int = 0
    intermediate_muons: int = 0
    corrupt_bytes: int = 0
    last: bool = False

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
            f"_index{self.index:06d}.{WIRE_FORMATS[self.form].suffix}"
        )

    @property
    def folder(self) -> str:
        """Folder of its run."""
        return f"run{self.run:06d}"

    def to_dict(self) -> dict[str, Any]:
        """Return all fields by name."""
        return asdict(self)

    @classmethod
    def from_dict(cls, said: Mapping[str, Any]) -> "Segment":
        """Read a description from an untrusted peer.

        Raises
        ------
        InputError
            If a field is missing, unknown, of a wrong type, negative or too large.
        """
        known = {f.name: f.type for f in fields(cls)}
        if set(said) != set(known):
            odd = sorted(map(repr, set(said) ^ set(known)))
            msg = f"segment: fields missing or unknown: {', '.join(odd[:4])[:100]}"
            raise InputError(msg)
        for name, value in said.items():
            if name == "form":
                good = isinstance(value, str) and value in WIRE_FORMATS
            elif name == "last":
                good = isinstance(value, bool)
            else:
                good = type(value) is int and 0 <= value <= _LIMITS.get(name, _U32)
            if not good:
                msg = f"segment: {name} = {str(value)[:40]!r} is not possible"
                raise InputError(msg)
        return cls(**said)


def parse_name(name: str) -> dict[str, int | str] | None:
    """Return run, source, lumisection, index and form of a segment's file name; None if it is none."""
    match = _NAME.match(name)
    if match is None:
        return None
    run, source, lumi, index = (int(g) for g in match.groups()[:4])
    form = next((name for name, f in WIRE_FORMATS.items() if f.suffix == match.group(5)), None)
    if form is None:
        return None
    return {"run": run, "source": source, "lumisection": lumi, "index": index, "form": form}
