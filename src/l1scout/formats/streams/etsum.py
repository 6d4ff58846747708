"""Energy sums and counts of the calorimeter trigger, Run 3: one object per crossing, of six words.

The words are those that the Global Trigger gets: ETT, HTT, ETM, HTM, ETMHF and HTMHF. Records: see
`formats.calo_objects`; over TCP (source id 24) one has no header, but only BX, orbit and the six words. A
crossing in which all six are 0 has no object: CMSSW gives it one of zeros. Where a missing Et or Ht is 0, its
phi is kept as it is: CMSSW sets it to 0. The centrality has eight bits, four in each of the last two words;
masks of older CMSSW unpackers keep two of each.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.formats.calo_objects import (
    DMA_RECORD,
    DMA_SOURCE,
    DMA_WORDS,
    ET_LSB,
    LINK_OBJECTS,
    PHI,
    CaloStream,
    dma_place,
)
from l1scout.formats.layout import Field, Layout
from l1scout.formats.object_records import Collected, RecordForm, write_records
from l1scout.formats.stream import STREAMS
from l1scout.jit import kernel

TCP_SOURCE = 24
TCP_RECORD = np.dtype([("bx", "<u4"), ("orbit", "<u4"), ("sums", "<u4", (LINK_OBJECTS,))])
_ET: dict[str, Any] = {"scale": ET_LSB, "unit": "GeV"}


def _word(kind: str, name: str, *fields: Field) -> Layout:
    return Layout(f"Sums of the calorimeter trigger, {kind}", 32, (Field(name, 0, 12, **_ET), *fields))


def _missing(kind: str, name: str, asymmetry: str, last: Field) -> Layout:
    phi = Field(f"{name}Phi", 12, 8, **PHI)
    return _word(kind, name, phi, Field(asymmetry, 20, 8), last)


WORDS = (
    _word("ETT", "hwTotalEt", Field("hwTotalEtEm", 12, 12, **_ET), Field("minBiasHFP0", 28, 4)),
    _word("HTT", "hwTotalHt", Field("towerCount", 12, 13), Field("minBiasHFM0", 28, 4)),
    _missing("ETM", "hwMissEt", "hwAsymEt", Field("minBiasHFP1", 28, 4)),
    _missing("HTM", "hwMissHt", "hwAsymHt", Field("minBiasHFM1", 28, 4)),
    _missing(
        "ETMHF", "hwMissEtHF", "hwAsymEtHF", Field("centralityLow", 28, 4, note="bits 0-3 of centrality")
    ),
    _missing(
        "HTMHF", "hwMissHtHF", "hwAsymHtHF", Field("centralityHigh", 28, 4, note="bits 4-7 of centrality")
    ),
)
ETT, HTT, ETM, HTM, ETMHF, HTMHF = WORDS
_CENTRALITY = ("centralityLow", "centralityHigh")
_FIELDS = [(k, f) for k, word in enumerate(WORDS) for f in word.fields if f.name not in _CENTRALITY]
_TABLE = np.array([(k, f.start, f.high) for k, f in _FIELDS], np.int64)
COLUMNS = (*(f.name for _, f in _FIELDS), "centrality")


@kernel
def _transpose(words: Any, out: Any, kept: Any) -> Any:
    """Write the six words of crossings that have any, a row per word; the number of those crossings."""
    n = 0
    for i in range(kept.size):
        some = np.uint32(0)
        for k in range(LINK_OBJECTS):
            out[k, n] = words[LINK_OBJECTS * i + k]
            some |= out[k, n]
        kept[i] = some != 0
        n += some != 0
    return n


@kernel
def _unpack(words: Any, table: Any, out: Any) -> None:
    """Cut the fields, of which the last is the centrality, from rows of words: field by field."""
    last = table.shape[0]
    for f in range(last):
        row, column = words[table[f, 0]], out[f]
        start, mask = np.uint32(table[f, 1]), np.uint32(table[f, 2])
        for i in range(column.size):
            column[i] = (row[i] >> start) & mask
    for i in range(out.shape[1]):
        out[last, i] = (words[4, i] >> np.uint32(28)) | ((words[5, i] >> np.uint32(28)) << np.uint32(4))


class EtSumStream(CaloStream):
    """Sums of a crossing."""

    name = "etsum"
    title = "energy sums of the calorimeter trigger"
    source_ids = (DMA_SOURCE, TCP_SOURCE)
    layouts = {"Run 3": WORDS}  # noqa: RUF012
    absent = "all six words are 0"
    forms = {  # noqa: RUF012
        DMA_SOURCE: RecordForm(LINK_OBJECTS, objects_at=(dma_place("sum"),), fixed_words=DMA_WORDS),
        TCP_SOURCE: RecordForm(LINK_OBJECTS, bx_at=0, objects_at=(2,), fixed_words=2 + LINK_OBJECTS),
    }
    present = 0
    records = {  # noqa: RUF012
        "Record of a crossing in the calorimeter's DMA (source id 2)": DMA_RECORD,
        "Record of the sums of a crossing over TCP": TCP_RECORD,
    }

    def batch(self, found: Collected) -> OrbitBatch:
        """Make columns of the words of sums, named as CMSSW's members of BxSums."""
        kept = np.empty(found.orbit.size, np.bool_)
        rows = np.empty((LINK_OBJECTS, kept.size + 1), np.uint32)
        n = int(_transpose(found.words, rows, kept))
        out = np.empty((len(COLUMNS), n), np.int16)
        _unpack(rows, _TABLE, out)
        columns = dict(zip(COLUMNS, out, strict=True))
        orbit, bx = (found.orbit, found.bx) if n == kept.size else (found.orbit[kept], found.bx[kept])
        return replace(found, orbit=orbit, bx=bx, starts=np.arange(n + 1)).batch(columns)

    def encode(
        self, objects: OrbitBatch, source: int | None = None
    ) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """Write records of the form of a source id: as over TCP if it is not given."""
        if objects.counts.max(initial=0) > 1:
            msg = "a crossing has the sums of more than one"
            raise ValueError(msg)
        centrality = np.asarray(objects["centrality"])
        given = dict(objects.columns) | {"centralityLow": centrality & 15, "centralityHigh": centrality >> 4}
        words = {k: word.encode({f.name: given[f.name] for f in word.fields}) for k, word in enumerate(WORDS)}
        return write_records(objects, self.forms[TCP_SOURCE if source is None else source], words)

    def orbit_word(self, source: int) -> int:
        """Return the word of a record with the orbit number: over TCP there is no header before the BX."""
        return 1 if source == TCP_SOURCE else 2

    def physics(self, columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return energies (GeV) and angles (rad), without ``hw`` in their names; phi is NaN where Et is 0."""
        found = super().physics(columns)
        for name in [n for n in found if n.endswith("Phi")]:
            energy = columns.get("hw" + name[0].upper() + name[1:].removesuffix("Phi"))
            if energy is not None:
                found[name] = np.where(energy > 0, found[name], np.float32(np.nan))
        return found


ET_SUMS: EtSumStream = STREAMS.register("etsum")(EtSumStream())
