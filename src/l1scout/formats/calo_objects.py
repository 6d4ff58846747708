"""Objects of the calorimeter trigger's layer 2: what jets, e/gamma objects, taus and sums have in common.

The records of a crossing come in two forms, by source id:

- from the board's DMA (source id 2), all objects together: `DMA_RECORD`;
- over TCP, an id for each kind of object: jets 22, e/gamma 23, sums 24, taus 25 (the defaults of CMSSW's
  unpacker, of the ids 22-29).

After CMSSW's unpacker (EventFilter/L1ScoutingRawToDigi) and public scouting documents.
"""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.formats.layout import Field, Layout
from l1scout.formats.nano_table import NanoTable, Quantity
from l1scout.formats.object_records import ObjectTable, RecordForm, write_records
from l1scout.formats.object_stream import ObjectStream

DMA_SOURCE = 2
LINK_OBJECTS = 6
MAX_OBJECTS = 2 * LINK_OBJECTS
_LINKS = ("jet2", "jet1", "egamma2", "egamma1", "empty", "sum", "tau2", "tau1")
DMA_RECORD = np.dtype(
    [
        *((name, "<u4") for name in ("header", "bx", "orbit")),
        *(
            field
            for k, name in enumerate(_LINKS)
            for field in ((f"link{k}", "<u4"), (name, "<u4", (LINK_OBJECTS,)))
        ),
    ]
)
DMA_WORDS = DMA_RECORD.itemsize // 4
TCP_RECORD = np.dtype(
    [*((name, "<u4") for name in ("header", "bx", "orbit")), ("objects", "<u4", (MAX_OBJECTS,))]
)
PHI_BINS = 144
CMSSW_PHI_LSB = 0.0435
"""rad; CMSSW's scale of phi, smaller than 2 pi / 144 = 0.04363."""
ET_LSB = 0.5
"""GeV"""
ETA: dict[str, Any] = {"signed": True, "scale": 0.0435}
PHI: dict[str, Any] = {"scale": 2 * math.pi / PHI_BINS, "unit": "rad", "period": PHI_BINS}
PHI_NOTE = "CMSSW multiplies by 0.0435, up to 0.019 rad less"


def dma_place(name: str) -> int:
    """Return the word of a DMA record at which the objects of a link begin."""
    offsets = {field: where[1] for field, where in (DMA_RECORD.fields or {}).items()}
    return offsets[name] // 4


def cmssw_phi(hw_phi: ArrayLike) -> NDArray[np.float32]:
    """Return phi of calorimeter objects as CMSSW writes it into scouting nano files: 0.0435 x hw.

    It is up to 0.019 rad less than the exact value, 2 pi / 144 x hw, which `Stream.physics` gives.
    """
    phi = np.float32(CMSSW_PHI_LSB) * np.asarray(hw_phi, np.float32)
    return np.where(phi >= np.float32(math.pi), phi - np.float32(2 * math.pi), phi).astype(np.float32)


class CaloStream(ObjectStream):
    """Objects in records of the calorimeter trigger: of its DMA, together with others, or over TCP."""

    def sources(self, objects: OrbitBatch) -> tuple[int]:
        """Return the source id of these objects over TCP."""
        del objects
        return (self.source_ids[-1],)


class CaloObjectStream(CaloStream):
    """Objects of one word, up to twelve in a crossing, on two links of the layer's demultiplexer.

    Attributes
    ----------
    word : Layout
        With a field hwPt that is 0 where there is no object.
    links : tuple of str
        Fields of `DMA_RECORD` with the objects, in their order.
    """

    word: ClassVar[Layout]
    links: ClassVar[tuple[str, str]]
    absent = "hwPt is 0"
    records = {  # noqa: RUF012
        "Record of a crossing in the calorimeter's DMA (source id 2)": DMA_RECORD,
        "Record of a crossing over TCP: as many objects as the header's low byte says": TCP_RECORD,
    }

    def __init__(self) -> None:
        dma = tuple(dma_place(name) for name in self.links)
        self.table = ObjectTable((self.word,), present=self.word["hwPt"].high)
        self.forms = {
            DMA_SOURCE: RecordForm(MAX_OBJECTS, objects_at=dma, fixed_words=DMA_WORDS),
            self.source_ids[-1]: RecordForm(MAX_OBJECTS, count_mask=0xFF),
        }

    def encode(
        self, objects: OrbitBatch, source: int | None = None
    ) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """Write records of the form of a source id: as over TCP if it is not given."""
        words = self.word.encode({field.name: objects[field.name] for field in self.word.fields})
        form = self.forms[self.source_ids[-1] if source is None else source]
        return write_records(objects, form, {0: words})

    def physics(self, columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return pt, eta, phi and mass, which is 0."""
        found = super().physics(columns)
        return found | {"mass": np.zeros_like(found["pt"])} if "pt" in found else found


def object_table(name: str, word: Layout, hardware: str) -> NanoTable:
    """Return the table of nano files of objects of one word, with CMSSW's phi."""
    quantities = {
        "pt": Quantity.of(word["hwPt"]),
        "eta": Quantity.of(word["hwEta"]),
        "phi": Quantity.of(word["hwPhi"], cmssw_phi),
    }
    return NanoTable(name, quantities, (hardware,))


def object_word(kind: str, pt_bits: int, **rest: int) -> Layout:
    """Return the layout of a calorimeter object: pT, eta, phi, and fields by their widths."""
    note = f"0 = none; {(1 << pt_bits) - 1} = overflow"
    fields = [
        Field("hwPt", 0, pt_bits, scale=ET_LSB, unit="GeV", zero_is_absent=True, note=note),
        Field("hwEta", pt_bits, 8, **ETA),
        Field("hwPhi", pt_bits + 8, 8, **PHI, note=PHI_NOTE),
    ]
    for name, width in rest.items():
        fields.append(Field(name, fields[-1].start + fields[-1].width, width))
    return Layout(f"Calorimeter {kind}, Run 3", 32, tuple(fields), "After CMSSW's unpacker.")
