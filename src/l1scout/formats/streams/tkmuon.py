"""Tracker muons of the Phase-2 Global Muon Trigger: muons matched to tracks of the tracker.

96 bits per muon, a word of 64 bits and a half one: two muons share three 64-bit words. The even one has the
first word and the low half of the second; the odd one has the third, and the high half of the second. An odd
number of muons leaves the last half word empty. After CMSSW's L1TriggerScouting/Phase2 (its tracker-muon
unpacker). Events: see `formats.events64`; their headers count 64-bit words.

Ours: the names of the columns; the bit that CMSSW does not read is ``valid``, after the word of the Global
Muon Trigger. No source id in ``.raw`` files is published, so the stream has none.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.formats.events64 import EventStream
from l1scout.formats.layout import Field, Layout
from l1scout.formats.nano_table import NanoTable
from l1scout.formats.stream import STREAMS
from l1scout.formats.streams.muon import MUON_MASS

_ANGLE = math.pi / 4096
LOW = Layout(
    "Tracker muon, first 64 bits",
    64,
    (
        Field("valid", 0, 1),
        Field("hwPt", 1, 16, scale=1 / 32, unit="GeV"),
        Field("hwPhi", 17, 13, signed=True, scale=_ANGLE, unit="rad", note="8192 values are a full turn"),
        Field("hwEta", 30, 14, signed=True, scale=_ANGLE),
        Field("hwZ0", 44, 10, signed=True, scale=0.05, unit="cm"),
        Field("hwD0", 54, 10, signed=True, scale=0.03, note="CMSSW states no unit"),
    ),
)
HIGH = Layout(
    "Tracker muon, last 32 bits",
    32,
    (
        Field("hwCharge", 0, 1, note="1 = negative"),
        Field("hwQual", 1, 8),
        Field("hwIso", 9, 4),
        Field("hwBeta", 13, 4, scale=0.06, note="velocity over that of light"),
        Field("spare", 17, 15, note="not read"),
    ),
)
_READ = ("hwCharge", "hwQual", "hwIso", "hwBeta")


def _places(
    first: NDArray[np.int64], counts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint64]]:
    """Return the words with the low and the high bits of each muon, and the first of the high bits."""
    rank = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    pair, odd = np.divmod(rank, 2)
    at = np.repeat(first, counts) + 3 * pair
    return at + 2 * odd, at + 1, (32 * odd).astype(np.uint64)


class TrackerMuonStream(EventStream):
    """Muons of the Phase-2 Global Muon Trigger with a track of the tracker."""

    name = "tkmuon"
    title = "tracker muons of the Phase-2 Global Muon Trigger"
    layouts = {"Phase 2": (LOW, HIGH)}  # noqa: RUF012
    nano = NanoTable("L1TkMu", cms=False)
    absent = "all 96 bits are 0"

    def unpack(
        self, words: NDArray[np.uint64], first: NDArray[np.int64], count: NDArray[np.int64]
    ) -> tuple[dict[str, NDArray[Any]], NDArray[np.int64]]:
        """Make columns of the muons of events; a word that is left over is ignored, as by CMSSW."""
        counts = 2 * count // 3
        low, high, shift = _places(first, counts)
        first_bits, last_bits = words[low], (words[high] >> shift).astype(np.uint32)
        there = (first_bits != 0) | (last_bits != 0)
        event = np.repeat(np.arange(count.size), counts)[there]
        columns = dict(LOW.decode(first_bits[there])) | HIGH.decode(last_bits[there], _READ)
        return columns, np.bincount(event, minlength=count.size)

    def pack(self, objects: OrbitBatch) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """Make the words of the muons of crossings."""
        counts = (3 * objects.counts + 1) // 2
        starts = np.r_[0, np.cumsum(counts)]
        words = np.zeros(starts[-1], np.uint64)
        low, high, shift = _places(starts[:-1], objects.counts)
        words[low] = LOW.encode({f.name: objects[f.name] for f in LOW.fields})
        np.bitwise_or.at(words, high, HIGH.encode({n: objects[n] for n in _READ}).astype(np.uint64) << shift)
        return words, counts

    def fits(self, words: NDArray[np.uint64], first: NDArray[np.int64], count: NDArray[np.int64]) -> bool:
        """Return whether all muons are valid and their spare bits empty, and there is no word too many."""
        counts = 2 * count // 3
        low, high, shift = _places(first, counts)
        last_bits = (words[high] >> shift).astype(np.uint32)
        valid = np.all(words[low] & np.uint64(1)) and not np.any(last_bits >> np.uint32(HIGH["spare"].start))
        odd = (first + count - 1)[counts % 2 == 1]
        return bool(low.size and valid and np.all(count % 3 != 1) and not np.any(words[odd] >> np.uint64(32)))

    def physics(self, columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return pt and mass (GeV), eta, phi (rad), charge, z0 (cm), d0 and beta."""
        found = super().physics(columns)
        if "hwPt" in columns:
            found["mass"] = np.full(len(columns["hwPt"]), MUON_MASS, np.float32)
        if "hwCharge" in columns:
            found["charge"] = (1 - 2 * columns["hwCharge"]).astype(np.int8)
        return found


TRACKER_MUONS: TrackerMuonStream = STREAMS.register("tkmuon")(TrackerMuonStream())
