"""The stream of muons of the Global Muon Trigger (GMT), as it was in 2017/18 and as it is in Run 3.

A muon has 64 bits, two 32-bit words: f (the low half) and s. Layouts and scales were checked against real
2018 and 2024 data; ``hwPt = 0`` means that there is no muon. Records: see `formats.records`.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from l1scout.core.joint_rows import on_rows
from l1scout.core.orbit_batch import OrbitBatch, final_muons, muon_counts
from l1scout.core.orbit_data import MUON
from l1scout.formats.decoded import Decoded, in_order_of_time
from l1scout.formats.layout import Field, Layout
from l1scout.formats.muon_kernel import decode_muons
from l1scout.formats.nano_table import NanoTable, Quantity, Values
from l1scout.formats.object_records import ObjectTable
from l1scout.formats.payloads import Payloads
from l1scout.formats.records import (
    ALL_MATCH,
    HEADER_WORDS,
    LINKS,
    ORBIT_MASK,
    RECORD_HEADER,
    find_records,
)
from l1scout.formats.stream import STREAMS, Stream

PHI_BINS = 576
"""Values of hardware phi in a full turn."""
PHI_LSB = 2 * math.pi / PHI_BINS
"""rad"""
ETA_LSB = 0.0870 / 8
PT_LSB = 0.5
"""GeV"""
MUON_MASS = 0.1056584
"""GeV"""

BMTF_INDEX = range(36, 72)
"""tfMuonIndex of muons from the barrel track finder."""
TRACK_FINDERS = {
    "EMTF+": range(18),
    "OMTF+": range(18, 36),
    "BMTF": BMTF_INDEX,
    "OMTF-": range(72, 90),
    "EMTF-": range(90, 108),
}
"""Their tfMuonIndex."""
Finder = Literal["bmtf", "omtf", "emtf"]
FINDERS: dict[Finder, tuple[range, ...]] = {
    "bmtf": (TRACK_FINDERS["BMTF"],),
    "omtf": (TRACK_FINDERS["OMTF+"], TRACK_FINDERS["OMTF-"]),
    "emtf": (TRACK_FINDERS["EMTF+"], TRACK_FINDERS["EMTF-"]),
}
"""tfMuonIndex of barrel, overlap and endcap track finder, both sides together: what a model can be for."""
PROCESSORS = 36
"""Of all track finders, numbered tfMuonIndex // 3: 6 of EMTF+, 6 of OMTF+, 12 of the BMTF, 6, 6."""

_PHI: dict[str, Any] = {"scale": PHI_LSB, "unit": "rad", "period": PHI_BINS}
_ETA: dict[str, Any] = {"signed": True, "scale": ETA_LSB}
_PT: dict[str, Any] = {
    "scale": PT_LSB,
    "offset": -PT_LSB,
    "unit": "GeV",
    "floor": True,
    "zero_is_absent": True,
}

PT = Field("hwPt", 10, 9, **_PT, note="0 = no muon; 511 = overflow")
PT_BITS = ((1 << PT.width) - 1) << PT.start
"""Bits of the word f which are 0 where there is no muon."""
PHI_VTX = Field("hwPhiAtVtx", 0, 10, **_PHI)
ETA_VTX = Field("hwEtaAtVtx", 23, 9, **_ETA, note="-256 stays -256 (CMSSW reads +256)")
PHI = Field("hwPhi", 43, 10, **_PHI, note="at the second muon station")
ETA = Field("hwEta", 53, 9, **_ETA, note="at the second muon station")
_COMMON = (
    PHI_VTX,
    PT,
    Field("hwQual", 19, 4, note="4, 8, 12 common in 2018"),
    ETA_VTX,
    Field("hwIso", 32, 2),
    Field("hwCharge", 34, 1, note="1 = negative"),
    Field("hwChargeValid", 35, 1),
    Field("tfMuonIndex", 36, 7, note="EMTF+ 0-17, OMTF+ 18-35, BMTF 36-71, OMTF- 72-89, EMTF- 90-107"),
    PHI,
)

MUON_2018 = Layout(
    "GMT muon, 2017/18",
    64,
    (*_COMMON, ETA, Field("reserved", 62, 2)),
    "Checked on real muons of 2018.",
)
PT_UNCONSTRAINED = Field(
    "hwPtUnconstrained",
    53,
    8,
    **_PT | {"scale": 1.0, "offset": -1.0},
    note="0 = none; 1 GeV per step (uGT scales of 2024, scouting code), 0.5 in the L1 unpacker",
)
MUON_RUN3 = Layout(
    "GMT muon, Run 3",
    64,
    (
        *_COMMON,
        PT_UNCONSTRAINED,
        Field("shower", 61, 1, note="muon shower, sent in this bit of some of the eight muons"),
        Field("hwDXY", 62, 2, note="transverse impact parameter, 4 bins"),
    ),
    "The second-station eta travels in the scouting record's third word.",
)
MUON_RUN3_EXTRA = Layout(
    "Scouting record of a Run-3 muon, third word",
    32,
    (
        Field("second", 0, 1, note="0 = first muon of its link (mu1), 1 = second (mu2)"),
        replace(ETA, name="hwEta1", start=13, note="hwEta, if this is mu1"),
        replace(ETA, name="hwEta2", start=22, note="hwEta, if this is mu2"),
        Field("intermediate", 31, 1),
    ),
)

FIELDS = {f.name: f for f in (*MUON_2018.fields, *MUON_RUN3.fields)}
"""Every column of a muon by name: the place to find its scale."""


def lowest_hw_pt(pt: float) -> int:
    """Return the smallest hwPt of muons with at least this pT in GeV."""
    return math.ceil(pt / PT_LSB + 1 - 1e-9)


def of_finders(index: NDArray[Any], finders: Iterable[Finder]) -> NDArray[np.bool_]:
    """Return which muons, by their tfMuonIndex, are of one of these track finders (keys of `FINDERS`)."""
    ranges = [indices for name in finders for indices in FINDERS[name]]
    return np.isin(index, np.concatenate(ranges))


def describe_finders(finders: Iterable[Finder]) -> str:
    """Name track finders with their indices: "tfMuonIndex 36-71 (BMTF), 18-35 and 72-89 (OMTF)"."""
    ranges = {n: " and ".join(f"{r.start}-{r.stop - 1}" for r in FINDERS[n]) for n in finders}
    return f"tfMuonIndex {', '.join(f'{indices} ({name.upper()})' for name, indices in ranges.items())}"


def join(f: NDArray[np.uint32], s: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """Make 64-bit muons of their two words."""
    return np.asarray(f, np.uint64) | (np.asarray(s, np.uint64) << np.uint64(32))


def split(muons: NDArray[np.uint64]) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Return the words f and s of 64-bit muons."""
    return muons.astype(np.uint32), (muons >> np.uint64(32)).astype(np.uint32)


def is_intermediate(columns: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
    """Return which muons are intermediate, from their values: where the format does not state it.

    Intermediate muons have tfMuonIndex 0 and hwEtaAtVtx 0. Final muons of index 0 come from the EMTF, far
    from eta 0.
    """
    return np.asarray((columns["tfMuonIndex"] == 0) & (columns["hwEtaAtVtx"] == 0))


def physical(columns: dict[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
    """Physics values of the hardware columns that have any, under the names of the nano files.

    ``hwPt`` gives ``pt`` (GeV), ``hwEtaAtVtx`` gives ``etaAtVtx``, and so on; phi in [-pi, pi).
    """
    names = [n for n in columns if n in FIELDS and FIELDS[n].scale is not None]
    return {n[2].lower() + n[3:]: FIELDS[n].to_physical(columns[n]).astype(np.float32) for n in names}


@dataclass(frozen=True)
class MuonWords:
    """How muons are written in the records of one era; a `RecordShape`.

    Parameters
    ----------
    muon : Layout
        Words f and s together.
    extra : Layout or None
        Third word of a muon, if it has one.
    bx_bits : int
        Lowest bits of the BX word that hold the BX.
    """

    muon: Layout
    extra: Layout | None
    bx_bits: int

    @property
    def record_words(self) -> int:
        """Words per muon in a record."""
        return 2 if self.extra is None else 3

    @property
    def bx_mask(self) -> int:
        """Bits of the BX word that hold the BX."""
        return (1 << self.bx_bits) - 1

    @property
    def present_bits(self) -> int:
        """Bits of the word f that are all 0 if there is no muon."""
        return PT_BITS


RUN2_MUONS = MuonWords(MUON_2018, None, 16)
RUN3_MUONS = MuonWords(MUON_RUN3, MUON_RUN3_EXTRA, 13)
RUN3_COLUMNS = ObjectTable(
    (
        MUON_RUN3,
        Layout("Slot", 32, (Field("second", 0, 1),)),
        Layout(
            "Third word",
            32,
            (replace(ETA, start=MUON_RUN3_EXTRA["hwEta1"].start), Field("intermediate", 31, 1)),
        ),
    )
)
"""Columns of a muon of Run 3, as `decode_muons` has its words."""
INTERMEDIATE = "intermediate_muon"
"""Kind under which intermediate muons are counted, apart from the final ones, which most of them repeat."""


def make_muons(
    shape: MuonWords,
    orbit: NDArray[Any],
    bx: NDArray[Any],
    words: tuple[NDArray[np.uint32], NDArray[np.uint32], NDArray[np.uint32] | None],
    columns: Mapping[str, NDArray[Any]],
) -> OrbitBatch:
    """Make columns of words f, s and extra, given for each muon with its orbit and BX (1..3564).

    The batch has the columns of the muon's layout, ``second`` (0 = first slot of its link, 1 = second) and,
    where the data state it, ``link`` (0..7); ``intermediate`` (0/1), see `core.orbit_batch.final_muons`; in
    Run 3 also ``hwEta``, at the second station. Within a crossing: first slots by link, then second slots.
    """
    f, s, extra = words
    made: dict[str, NDArray[Any]] = dict(shape.muon.decode(join(f, s)))
    made |= {name: column.astype(np.int16) for name, column in columns.items()}
    if shape.extra is not None and extra is not None:
        fields = shape.extra.decode(extra, ("hwEta1", "hwEta2", "intermediate"))
        made["hwEta"] = np.where(made["second"] == 1, fields["hwEta2"], fields["hwEta1"]).astype(np.int16)
        made["intermediate"] = fields["intermediate"].astype(np.int16)
    return in_order_of_time(orbit, bx, made)


def decode_records(
    words: NDArray[np.uint32], starts: NDArray[np.int64], shape: MuonWords, **rest: Any
) -> Decoded:
    """Decode the records that `find_records` found; `rest` goes to `Decoded`.

    Records of Run 2 do not state which muons are intermediate: see `is_intermediate`.
    """
    head = words[starts]
    fields = RECORD_HEADER.decode(head)
    n1, counts = fields["n1"], fields["n1"] + fields["n2"]
    rank = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    at = np.repeat(starts + HEADER_WORDS, counts) + shape.record_words * rank
    bx, orbit = words[starts + 1] & shape.bx_mask, words[starts + 2] & ORBIT_MASK
    flagged = np.unique(orbit[(head & ALL_MATCH) != ALL_MATCH]).astype(np.int64)
    columns: dict[str, NDArray[Any]] = {"second": rank >= np.repeat(n1, counts)}
    muons = words[at], words[at + 1], None if shape.extra is None else words[at + 2]
    if shape.extra is None:
        described = shape.muon.decode(join(muons[0], muons[1]), ("tfMuonIndex", "hwEtaAtVtx"))
        columns["intermediate"] = is_intermediate(described)
    objects = make_muons(shape, np.repeat(orbit, counts), np.repeat(bx, counts), muons, columns)
    return Decoded(objects, flagged, **rest)


def read_records(data: bytes | memoryview | NDArray[np.uint32], shape: MuonWords) -> Decoded:
    """Decode zero-suppressed records.

    After the first one that makes no sense, the rest of `data` is counted as corrupt: see
    `formats.records.next_records` to go on.
    """
    raw = np.frombuffer(data, np.uint8)
    words = raw[: raw.size & ~3].view("<u4")
    starts, _, ends = find_records(words, shape)
    lost = raw.size - 4 * int(ends[0])
    return decode_records(words, starts, shape, corrupt=int(lost > 0), corrupt_bytes=lost)


def encode_records(muons: OrbitBatch, shape: MuonWords) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Write records in which all links agree: the inverse of `decode_records`; see `Stream.encode`."""
    fields = {f.name: muons[f.name] for f in shape.muon.fields if f.name in muons.columns}
    second = muons["second"].astype(np.int64)
    n2 = np.bincount(muons.row, second, len(muons)).astype(np.int64)
    n1 = muons.counts - n2
    if max(n1.max(initial=0), n2.max(initial=0)) > LINKS:
        msg = f"a crossing has more than {LINKS} muons in first or second slots"
        raise ValueError(msg)
    starts = np.r_[0, np.cumsum(HEADER_WORDS + shape.record_words * muons.counts)]
    words = np.zeros(starts[-1], np.uint32)
    words[starts[:-1]] = ALL_MATCH | RECORD_HEADER.encode({"n1": n1, "n2": n2})
    words[starts[:-1] + 1], words[starts[:-1] + 2] = muons.bx, muons.orbit & ORBIT_MASK
    rank = np.arange(muons.n_objects) - muons.offsets[muons.row]
    at = starts[muons.row] + HEADER_WORDS + shape.record_words * rank
    words[at], words[at + 1] = split(shape.muon.encode(fields))
    if shape.extra is not None:
        eta, intermediate = muons["hwEta"], muons["intermediate"]
        etas = {"hwEta1": np.where(second == 0, eta, 0), "hwEta2": np.where(second == 1, eta, 0)}
        words[at + 2] = shape.extra.encode({"second": second, "intermediate": intermediate, **etas})
    return words, starts


class MuonTable(NanoTable):
    """The table of muons: final ones only, and ``hwCharge`` is the sign (-1, 1; 0 where it is not valid).

    It is read by `l1scout.io.nano`, which knows other spellings, too.
    """

    def branches(
        self, objects: OrbitBatch, *, hardware: bool = False, exact: bool = False
    ) -> tuple[NDArray[np.int64], dict[str, Values]]:
        """Make the branches of the final muons of a batch."""
        rows, objects = objects, final_muons(objects)
        offsets, made = super().branches(objects, hardware=hardware, exact=exact)
        if "hwCharge" in made:
            made["hwCharge"] = MUONS.physics(objects.columns)["charge"].astype(np.int16)
        if len(objects) != len(rows):
            offsets = on_rows(objects, rows).offsets
        return offsets, made


_PHYSICS = (PT, ETA, PHI, PT_UNCONSTRAINED, ETA_VTX, PHI_VTX)


class MuonStream(Stream):
    """Muons of the GMT: final ones and, on further links, their intermediate copies."""

    name = MUON
    title = "muons of the Global Muon Trigger"
    source_ids = (1,)
    layouts = {"Run 2": (MUON_2018,), "Run 3": (MUON_RUN3, MUON_RUN3_EXTRA)}  # noqa: RUF012
    absent = "hwPt is 0"
    nano = MuonTable(
        "L1Mu",
        {f.name[2].lower() + f.name[3:]: Quantity.of(f) for f in _PHYSICS},
        ("hwCharge", "hwQual", "tfMuonIndex", "hwDXY"),
        {"tfMuonIndex": "u2", "hwDXY": "u2"},
    )

    def decode(
        self, words: NDArray[np.uint32], bounds: NDArray[np.int64], sources: NDArray[np.int64]
    ) -> tuple[Decoded, NDArray[np.int64]]:
        """Decode records of Run 3: ``.raw`` files have no others."""
        return self.decode_with([self], Payloads.of(words, bounds, sources), {})[self.name]

    def decode_with(
        self, streams: Sequence[Stream], payloads: Payloads, columns: Mapping[str, Collection[str]]
    ) -> dict[str, tuple[Decoded, NDArray[np.int64]]]:
        """Decode records of Run 3, with the columns that are wanted."""
        del streams
        form = RUN3_MUONS.bx_mask, ETA.width
        return {self.name: decode_muons(payloads, RUN3_COLUMNS, *form, columns.get(self.name))}

    def encode(
        self, objects: OrbitBatch, source: int | None = None
    ) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """Write records of Run 3, with columns ``second``, ``intermediate`` and ``hwEta``."""
        del source
        return encode_records(objects, RUN3_MUONS)

    def physics(self, columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return pt, eta and phi at the vertex, mass and charge (-1, 1; 0 where it is not valid)."""
        fields = {"pt": PT, "eta": ETA_VTX, "phi": PHI_VTX}
        found: dict[str, NDArray[Any]] = {
            name: field.to_physical(columns[field.name]).astype(np.float32)
            for name, field in fields.items()
            if field.name in columns
        }
        if "hwPt" in columns:
            found["mass"] = np.full(len(columns["hwPt"]), MUON_MASS, np.float32)
        if "hwCharge" in columns:
            valid = columns.get("hwChargeValid", np.int16(1)) != 0
            found["charge"] = np.where(valid, 1 - 2 * columns["hwCharge"], 0).astype(np.int8)
        return found

    def counts(self, objects: OrbitBatch) -> dict[str, int]:
        """Count final muons, and intermediate ones where the data tell them apart."""
        final, intermediate = muon_counts(objects)
        return {MUON: final} if intermediate is None else {MUON: final, INTERMEDIATE: intermediate}


MUONS: MuonStream = STREAMS.register(MUON)(MuonStream())
