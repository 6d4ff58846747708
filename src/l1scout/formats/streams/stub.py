"""Stubs of the barrel muon track finder (BMTF), Run 3: source ids 10 to 21, one for each sector.

A stub is what one station of drift tubes measures of a muon. A record is a header with the number of stubs in
its low byte, BX, orbit, and two words per stub. The sector is that of the source: ``sector`` = source id -
10. The column ``tag`` is 1 for the first stub of its chamber (station, wheel and sector) in the crossing and
0 for others, as CMSSW's unpacker makes it. The middle of sector k is at phi = k pi / 6. The stub's own BX is
not read: encoders write that of the record.

After CMSSW's unpacker (EventFilter/L1ScoutingRawToDigi), which takes stubs whose bit ``valid`` is 0, too; the
scales of phi and phiB are those of the track finder's inputs.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.formats.layout import Field, Layout
from l1scout.formats.nano_table import NanoTable
from l1scout.formats.object_records import ObjectTable, RecordForm, write_records
from l1scout.formats.object_stream import ObjectStream
from l1scout.formats.stream import STREAMS

FIRST_SOURCE, SECTORS = 10, 12
STUB = Layout(
    "Stub of the barrel muon track finder, Run 3",
    64,
    (
        Field("valid", 0, 1),
        Field("hwPhi", 1, 12, signed=True, scale=1 / 4096, unit="rad", note="from the middle of the sector"),
        Field("hwPhiB", 13, 10, signed=True, scale=1 / 512, unit="rad", note="bending angle"),
        Field("hwQual", 23, 3),
        Field("hwEta", 26, 7, note="a bit for each of seven groups of strips"),
        Field("hwQEta", 33, 7, note="quality of each bit of hwEta"),
        Field("station", 40, 2, note="the column is this + 1: 1..4"),
        Field("wheel", 42, 3, signed=True, note="-2..2"),
        Field("reserved", 45, 3),
        Field("bx", 48, 16, note="not read"),
    ),
    "After CMSSW's unpacker.",
)
READ = ("valid", "hwPhi", "hwPhiB", "hwQual", "hwEta", "hwQEta", "station", "wheel")
RECORD = np.dtype([*((name, "<u4") for name in ("header", "bx", "orbit")), ("stubs", "<u8", (1,))])
_FORM = RecordForm(0xFF, count_mask=0xFF, object_words=2)
_CHAMBER, _CHAMBER_BITS = 40, 5
"""Lowest bit of station and wheel together, and their number."""


class StubStream(ObjectStream):
    """Stubs of the barrel muon track finder."""

    name = "stub"
    title = "stubs of the barrel muon track finder"
    source_ids = tuple(range(FIRST_SOURCE, FIRST_SOURCE + SECTORS))
    layouts = {"Run 3": (STUB,)}  # noqa: RUF012
    nano = NanoTable(
        "L1BMTFStub",
        hardware=("hwPhi", "hwPhiB", "hwQual", "hwEta", "hwQEta", "station", "wheel", "sector", "tag"),
    )
    absent = ""
    forms = {FIRST_SOURCE: _FORM}  # noqa: RUF012
    table = ObjectTable(
        (STUB,),
        unused=("reserved", "bx"),
        added={"station": 1},
        part=("sector", FIRST_SOURCE),
        first=("tag", _CHAMBER, _CHAMBER_BITS),
    )
    records = {  # noqa: RUF012
        "Record of a sector's stubs in a crossing: as many as the header's low byte says": RECORD
    }

    def encode(
        self, objects: OrbitBatch, source: int | None = None
    ) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """Write the stubs of the sector of a source id; without it, of the one sector that there is.

        Crossings without stubs there get no record. ``tag`` is not written: it follows from the order.
        """
        if source is None:
            first, *others = self.sources(objects) or (FIRST_SOURCE,)
            if others:
                msg = f"stubs of sectors {first - FIRST_SOURCE} and others: name the source id of one"
                raise ValueError(msg)
            source = first
        here = objects["sector"] == source - FIRST_SOURCE
        stubs, filled = objects.select(here), np.bincount(objects.row[here], minlength=len(objects)) > 0
        values = {n: stubs[n] for n in READ} | {"station": stubs["station"] - 1, "bx": stubs.bx[stubs.row]}
        made = STUB.encode(values)
        halves = made.astype(np.uint32), (made >> np.uint64(32)).astype(np.uint32)
        words, starts = write_records(stubs, _FORM, dict(enumerate(halves)))
        sizes = np.zeros(len(objects), np.int64)
        sizes[filled] = np.diff(starts)
        return words, np.r_[0, np.cumsum(sizes)]

    def sources(self, objects: OrbitBatch) -> tuple[int, ...]:
        """Return the source ids of the sectors that have stubs."""
        return tuple((np.unique(objects["sector"]).astype(np.int64) + FIRST_SOURCE).tolist())

    def physics(self, columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return phi of the stub in CMS and its bending angle phiB, in rad."""
        found = super().physics(columns)
        local = found.pop("phi", None)
        if local is not None and "sector" in columns:
            phi = local + columns["sector"] * (2 * math.pi / SECTORS)
            found["phi"] = ((phi + math.pi) % (2 * math.pi) - math.pi).astype(np.float32)
        return found


STUBS: StubStream = STREAMS.register("stub")(StubStream())
