"""Puppi candidates of the Phase-2 trigger: particles after the subtraction of pile-up.

One 64-bit word per candidate, after CMSSW's L1TriggerScouting/Phase2 and the public Phase-2 scouting clients.
Events: see `formats.events64`. Ours: the names of the columns; hwPt 0 is no candidate; fields that a
candidate does not have are 0. No source id in ``.raw`` files is published, so the stream has none.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.formats.events64 import EventStream, words_of_events
from l1scout.formats.layout import Field, Layout
from l1scout.formats.nano_table import NanoTable
from l1scout.formats.stream import STREAMS

_ANGLE = math.pi / 720
_SHARED = (
    Field("hwPt", 0, 14, scale=0.25, unit="GeV", zero_is_absent=True, note="0 = no candidate"),
    Field("hwEta", 14, 12, signed=True, scale=_ANGLE),
    Field("hwPhi", 26, 11, signed=True, scale=_ANGLE, unit="rad", note="1440 values are a full turn"),
    Field("hwId", 37, 3, note="h0, photon, h-, h+, e-, e+, mu-, mu+: charged from 2 on"),
)
FIRST_CHARGED = 2
MASSES = np.array([0.4976, 0, 0.1396, 0.1396, 0.000511, 0.000511, 0.1057, 0.1057], np.float32)
"""GeV, by hwId; hadrons are taken for kaons (neutral) and pions (charged)."""
CHARGES = np.array([0, 0, -1, 1, -1, 1, -1, 1], np.int8)
CHARGED = Layout(
    "Puppi candidate, charged",
    64,
    (
        *_SHARED,
        Field("hwZ0", 40, 10, signed=True, scale=0.05, unit="cm"),
        Field("hwDxy", 50, 8, signed=True, note="no scale is published"),
        Field("hwQuality", 58, 3),
    ),
)
NEUTRAL = Layout(
    "Puppi candidate, neutral",
    64,
    (*_SHARED, Field("hwPuppiWeight", 40, 10, scale=1 / 256), Field("hwEmId", 50, 6)),
)
COLUMNS = tuple(dict.fromkeys(field.name for layout in (CHARGED, NEUTRAL) for field in layout.fields))
_PT_MASK = (1 << CHARGED["hwPt"].width) - 1


def candidate_columns(words: NDArray[np.uint64]) -> dict[str, NDArray[Any]]:
    """Make columns of candidates' words; fields that a candidate does not have are 0."""
    charged, neutral = CHARGED.decode(words), NEUTRAL.decode(words)
    is_charged = charged["hwId"] >= FIRST_CHARGED
    columns: dict[str, NDArray[Any]] = {field.name: charged[field.name] for field in _SHARED}
    for name in COLUMNS[len(_SHARED) :]:
        has, values = (is_charged, charged) if name in charged else (~is_charged, neutral)
        columns[name] = np.where(has, values[name], 0).astype(np.int16)
    return columns


def candidate_words(columns: OrbitBatch) -> NDArray[np.uint64]:
    """Make the words of candidates: the inverse of `candidate_columns`."""
    words = np.zeros(columns.n_objects, np.uint64)
    charged = columns["hwId"] >= FIRST_CHARGED
    for layout, own in ((CHARGED, charged), (NEUTRAL, ~charged)):
        words[own] = layout.encode({field.name: columns[field.name][own] for field in layout.fields})
    return words


class PuppiStream(EventStream):
    """Candidates of the Puppi algorithm in the correlator, Phase 2."""

    name = "puppi"
    title = "Puppi candidates of the Phase-2 correlator"
    layouts = {"Phase 2": (CHARGED, NEUTRAL)}  # noqa: RUF012
    nano = NanoTable("L1Puppi", cms=False)
    absent = "hwPt is 0"

    def unpack(
        self, words: NDArray[np.uint64], first: NDArray[np.int64], count: NDArray[np.int64]
    ) -> tuple[dict[str, NDArray[Any]], NDArray[np.int64]]:
        """Make columns of the candidates of events."""
        candidates = words[words_of_events(first, count)]
        there = candidates & np.uint64(_PT_MASK) != 0
        event = np.repeat(np.arange(count.size), count)
        return candidate_columns(candidates[there]), np.bincount(event[there], minlength=count.size)

    def pack(self, objects: OrbitBatch) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """Make a word of each candidate."""
        return candidate_words(objects), objects.counts

    def fits(self, words: NDArray[np.uint64], first: NDArray[np.int64], count: NDArray[np.int64]) -> bool:
        """Return True: any word can be a candidate."""
        del words, first, count
        return True

    def physics(self, columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return pt and mass (GeV), eta, phi (rad), charge, z0 (cm) and the weight."""
        found = super().physics(columns)
        if "hwId" in columns:
            kind = np.asarray(columns["hwId"], np.int64) & 7
            found |= {"mass": MASSES[kind], "charge": CHARGES[kind]}
        return found


PUPPI: PuppiStream = STREAMS.register("puppi")(PuppiStream())
