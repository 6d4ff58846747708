"""The stream of jets of the calorimeter trigger (demultiplexer of layer 2), Run 3.

Records of a crossing come in two forms, by source id:

- 2, the board's DMA: 59 words: header, BX, orbit, then eight links of a word of the link and six objects:
  jet2, jet1, egamma2, egamma1, empty, sum, tau2, tau1. Of these, this stream reads the jets. (Older data
  have each pair in the other order, which no word states: only the order of jets in a crossing changes.)
- 22, over TCP: header with the number of jets in its low byte, BX, orbit, and a word per jet, up to 12. Ids
  22-29 are for objects over TCP; that 22 is jets is the default of CMSSW's unpacker.

After CMSSW's unpacker and public scouting documents. What the records' headers hold otherwise is in no public
source; encoders write 0.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.formats.decoded import Decoded, in_order_of_time
from l1scout.formats.layout import Field, Layout
from l1scout.formats.records import HEADER_WORDS, ORBIT_MASK
from l1scout.formats.stream import STREAMS, Stream
from l1scout.jit import kernel
from l1scout.lhc import BX_PER_ORBIT

DMA_SOURCE, TCP_SOURCE = 2, 22
LINK_OBJECTS = 6
MAX_JETS = 2 * LINK_OBJECTS
DMA_WORDS = HEADER_WORDS + 8 * (1 + LINK_OBJECTS)
JET_PHI_BINS = 144
JET = Layout(
    "Calorimeter jet, Run 3",
    32,
    (
        Field("hwPt", 0, 11, scale=0.5, unit="GeV", zero_is_absent=True, note="0 = no jet; 2047 = overflow"),
        Field("hwEta", 11, 8, signed=True, scale=0.0435),
        Field(
            "hwPhi",
            19,
            8,
            scale=2 * math.pi / JET_PHI_BINS,
            unit="rad",
            period=JET_PHI_BINS,
            note="CMSSW multiplies by 0.0435, up to 0.019 rad less",
        ),
        Field("hwDisplaced", 27, 1),
        Field("hwQual", 28, 2),
    ),
    "After CMSSW's unpacker.",
)
_PLACES = np.r_[1 + 1 + LINK_OBJECTS + np.arange(LINK_OBJECTS), 1 + np.arange(LINK_OBJECTS)] + HEADER_WORDS
"""Words of a DMA record with jets: those of jet1, on the second link, then those of jet2, on the first."""


@kernel
def _find(words: Any, bounds: Any, is_dma: Any, starts: Any, counts: Any, ends: Any) -> Any:
    """Walk from record to record while they make sense; write where each is and how many jets it may have."""
    n = 0
    for k in range(ends.size):
        at = bounds[k]
        while at + HEADER_WORDS <= bounds[k + 1]:
            jets, length = np.int64(MAX_JETS), np.int64(DMA_WORDS)
            if not is_dma[k]:
                jets = np.int64(words[at] & np.uint32(0xFF))
                length = HEADER_WORDS + jets
            bx = words[at + 1]
            if jets > MAX_JETS or at + length > bounds[k + 1] or bx > BX_PER_ORBIT:
                break
            if bx == 0 and not np.any(words[at + HEADER_WORDS : at + length]):
                break  # zeros are damage, not a crossing
            starts[n], counts[n] = at, jets
            n += 1
            at += length
        ends[k] = at
    return n


class JetStream(Stream):
    """Jets of the calorimeter trigger, of up to twelve in a crossing."""

    name = "jet"
    title = "jets of the calorimeter trigger"
    source_ids = (DMA_SOURCE, TCP_SOURCE)
    layouts = {"Run 3": (JET,)}  # noqa: RUF012
    absent = "hwPt is 0"

    def decode(
        self, words: NDArray[np.uint32], bounds: NDArray[np.int64], sources: NDArray[np.int64]
    ) -> tuple[Decoded, NDArray[np.int64]]:
        """Decode the jets of records of both forms."""
        starts, counts = np.empty((2, words.size // HEADER_WORDS), np.int64)
        ends = np.empty(bounds.size - 1, np.int64)
        is_dma = np.asarray(sources == DMA_SOURCE)
        n = int(_find(words, bounds, is_dma, starts, counts, ends))
        starts, counts = starts[:n], counts[:n]
        record = np.repeat(np.arange(n), counts)
        rank = np.arange(record.size) - np.repeat(np.cumsum(counts) - counts, counts)
        payload = np.searchsorted(bounds, starts, side="right") - 1
        dma = is_dma[payload][record]
        at = starts[record] + np.where(dma, _PLACES[rank], HEADER_WORDS + rank)
        jets = words[at]
        there = jets & np.uint32(JET["hwPt"].high) != 0
        record, columns = record[there], JET.decode(jets[there])
        orbit, bx = words[starts[record] + 2] & np.uint32(ORBIT_MASK), words[starts[record] + 1]
        return Decoded(in_order_of_time(orbit, bx, columns), np.zeros(0, np.int64)), ends

    def encode(
        self, objects: OrbitBatch, source: int | None = None
    ) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """Write records of the form of a source id: as over TCP if it is not given."""
        if objects.counts.max(initial=0) > MAX_JETS:
            msg = f"a crossing has more than {MAX_JETS} jets"
            raise ValueError(msg)
        dma = source == DMA_SOURCE
        sizes = np.full(len(objects), DMA_WORDS) if dma else HEADER_WORDS + objects.counts
        starts = np.r_[0, np.cumsum(sizes)]
        words = np.zeros(starts[-1], np.uint32)
        if not dma:
            words[starts[:-1]] = objects.counts
        words[starts[:-1] + 1], words[starts[:-1] + 2] = objects.bx, objects.orbit & ORBIT_MASK
        rank = np.arange(objects.n_objects) - objects.offsets[objects.row]
        at = starts[objects.row] + (_PLACES[rank] if dma else HEADER_WORDS + rank)
        words[at] = JET.encode({field.name: objects[field.name] for field in JET.fields})
        return words, starts


JETS: JetStream = STREAMS.register("jet")(JetStream())
