"""Energy sums and counts of the calorimeter trigger, Run 3: one object per crossing, of six words.

The words are those that the Global Trigger gets: ETT, HTT, ETM, HTM, ETMHF and HTMHF. Records: see
`formats.calo_objects`; over TCP (source id 24) one has no header, but only BX, orbit and the six words. A
crossing in which all six are 0 has no object: CMSSW gives it one of zeros. Where a missing Et or Ht is 0, its
phi is kept as it is: CMSSW sets it to 0. The centrality has eight bits, four in each of the last two words;
masks of older CMSSW unpackers keep two of each.
"""

from collections.abc import Mapping
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
    cmssw_phi,
    dma_place,
)
from l1scout.formats.layout import Field, Layout
from l1scout.formats.nano_table import NanoTable, Quantity, Values
from l1scout.formats.object_records import ObjectTable, RecordForm, write_records
from l1scout.formats.stream import STREAMS

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
TABLE = ObjectTable(WORDS, present=0xFFFFFFFF, composed={"centrality": ("centralityLow", "centralityHigh")})
COLUMNS = TABLE.columns


NANO_SUMS = (
    ("hwTotalEt", 0),
    ("hwTotalEtEm", 16),
    ("hwMissEt", 2),
    ("hwTotalHt", 1),
    ("hwMissHt", 3),
    ("hwMissEtHF", 8),
    ("hwMissHtHF", 20),
    ("hwAsymEt", 23),
    ("hwAsymHt", 24),
    ("hwAsymEtHF", 25),
    ("hwAsymHtHF", 26),
    ("minBiasHFP0", 11),
    ("minBiasHFM0", 12),
    ("minBiasHFP1", 13),
    ("minBiasHFM1", 14),
    ("towerCount", 21),
    ("centrality", 22),
)
"""Sums in the order of CMSSW's nano files, with their ``etSumType`` (`l1t::EtSum`)."""
_TYPES = np.array([kind for _, kind in NANO_SUMS], np.int32)
_SCALES = np.array([ET_LSB if name.startswith("hw") else 1.0 for name, _ in NANO_SUMS], np.float32)
_PHIS = {k: name + "Phi" for k, (name, _) in enumerate(NANO_SUMS) if name + "Phi" in COLUMNS}
_PHI = Quantity.of(Field("hwPhi", 0, 8, **PHI))


class EtSumTable(NanoTable):
    """The table of sums: a row per sum, told apart by ``etSumType``; one object of ours is 17 rows.

    ``pt`` is 0.5 GeV x the hardware value for energies and asymmetries, and the number itself for counts. As
    from CMSSW's unpacker, phi is 0 where a missing Et or Ht is 0; ``hwPhi`` is not.
    """

    def branches(
        self, objects: OrbitBatch, *, hardware: bool = False, exact: bool = False
    ) -> tuple[NDArray[np.int64], dict[str, Values]]:
        """Make the branches of a batch, a row per sum."""
        energy = np.stack([objects[name] for name, _ in NANO_SUMS], axis=1).astype(np.int32)
        phi = np.zeros_like(energy)
        for k, name in _PHIS.items():
            phi[:, k] = objects[name]
        angle = _PHI.exact(phi) if exact else cmssw_phi(phi)
        made = {
            "pt": (energy * _SCALES).astype(np.float32),
            "phi": np.where(energy == 0, 0, angle).astype(np.float32),
            "etSumType": np.broadcast_to(_TYPES, energy.shape),
        }
        made |= {"hwEt": energy, "hwPhi": phi} if hardware else {}
        return objects.offsets * len(NANO_SUMS), {name: values.ravel() for name, values in made.items()}

    def names(self, columns: Mapping[str, Any]) -> tuple[str, ...]:
        """Return all branches that may be there."""
        del columns
        return ("pt", "phi", "etSumType", "hwEt", "hwPhi")

    def columns(
        self, offsets: NDArray[np.int64], found: Mapping[str, Values]
    ) -> tuple[NDArray[np.int64], dict[str, Values]]:
        """Make one object of the sums of each row; a sum that is missing is 0.

        ``hwEt`` is not read: CMSSW's has physics values in it.

        Raises
        ------
        ValueError
            If a row has a sum twice, or nothing tells which sums they are.
        """
        if "etSumType" not in found or "pt" not in found:
            msg = "sums without etSumType or pt: nothing tells which they are"
            raise ValueError(msg)
        counts = np.diff(offsets)
        row = np.cumsum(counts > 0)[np.repeat(np.arange(counts.size), counts)] - 1
        n = int(np.count_nonzero(counts))
        made = {name: np.zeros(n, np.int64) for name in COLUMNS}
        phi = (
            found["hwPhi"] if "hwPhi" in found else _PHI.to_hardware(found["phi"]) if "phi" in found else None
        )
        for k, (name, kind) in enumerate(NANO_SUMS):
            at = np.flatnonzero(found["etSumType"] == kind)
            if at.size and np.any(np.diff(row[at]) == 0):
                msg = f"a crossing has the sum of etSumType {kind} twice"
                raise ValueError(msg)
            made[name][row[at]] = np.rint(found["pt"][at] / _SCALES[k])
            if k in _PHIS and phi is not None:
                made[_PHIS[k]][row[at]] = phi[at]
        return np.r_[0, np.cumsum(counts > 0)], made


class EtSumStream(CaloStream):
    """Sums of a crossing."""

    name = "etsum"
    title = "energy sums of the calorimeter trigger"
    source_ids = (DMA_SOURCE, TCP_SOURCE)
    layouts = {"Run 3": WORDS}  # noqa: RUF012
    absent = "all six words are 0"
    nano = EtSumTable("L1EtSum")
    forms = {  # noqa: RUF012
        DMA_SOURCE: RecordForm(
            1, object_words=LINK_OBJECTS, objects_at=(dma_place("sum"),), fixed_words=DMA_WORDS
        ),
        TCP_SOURCE: RecordForm(
            1, object_words=LINK_OBJECTS, bx_at=0, objects_at=(2,), fixed_words=2 + LINK_OBJECTS
        ),
    }
    table = TABLE
    records = {  # noqa: RUF012
        "Record of a crossing in the calorimeter's DMA (source id 2)": DMA_RECORD,
        "Record of the sums of a crossing over TCP": TCP_RECORD,
    }

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
