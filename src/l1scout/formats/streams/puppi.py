"""The stream of Puppi candidates of the Phase-2 trigger: particles after the subtraction of pile-up.

Documented (the README and the unpackers of the public Phase-2 scouting clients, and CMSSW's
L1TriggerScouting/Phase2): the header of an event and the words of a candidate. Events are of one BX, with a
header of 64 bits and a word of 64 bits per candidate, "native64"; a header without candidates and with the
error bit is an event that was truncated. Sources disagree on the run's and the orbit's width; as the newest,
we read 5 and 32 bits. Native BX are 0..3563; columns and `OrbitBatch` have 1..3564 as everywhere.

Ours: the names of the columns; hwPt 0 is no candidate; up to three empty words may follow an event, as the
public clients write them at the end of an orbit; an orbit header, documented for truncated orbits only, may
come before the events of any orbit. No source id in ``.raw`` files is published, so the stream has none.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.formats.decoded import Decoded, in_order_of_time
from l1scout.formats.layout import Field, Layout
from l1scout.formats.stream import STREAMS, Stream
from l1scout.jit import kernel
from l1scout.lhc import BX_PER_ORBIT

EVENT_TAG, ORBIT_TAG = 2, 3
MAX_NULL_WORDS = 3
EVENT_HEADER = Layout(
    "Header of a Phase-2 event (native64)",
    64,
    (
        Field("count", 0, 8, note="candidates that follow"),
        Field("zero", 8, 4, note="must be 0"),
        Field("bx", 12, 12, note="0..3563"),
        Field("orbitLow", 24, 16),
        Field("orbitHigh", 40, 16),
        Field("run", 56, 5, note="local run number"),
        Field("error", 61, 1, note="with count 0: truncated"),
        Field("tag", 62, 2, note="2 = event, 3 = orbit (bits 0-23 are then its size in 64-bit words)"),
    ),
)
_ANGLE = math.pi / 720
_SHARED = (
    Field("hwPt", 0, 14, scale=0.25, unit="GeV", zero_is_absent=True, note="0 = no candidate"),
    Field("hwEta", 14, 12, signed=True, scale=_ANGLE),
    Field("hwPhi", 26, 11, signed=True, scale=_ANGLE, unit="rad", note="1440 values are a full turn"),
    Field("hwId", 37, 3, note="h0, photon, h-, h+, e-, e+, mu-, mu+: charged from 2 on"),
)
FIRST_CHARGED = 2
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


@kernel
def walk(words: Any, at: Any, headers: Any) -> Any:
    """Walk through the events of one orbit from word `at` on, and write where their headers are.

    Returns the number of headers; the word after the last; and why it ended: 0 another orbit begins, 1 the
    words end, 2 there is no event there. Events are in order of BX.
    """
    n, nulls, last, bx = 0, 0, at, np.int64(-1)
    orbit = np.uint64(0)
    while at < words.size:
        word = words[at]
        if word == 0 and n and nulls < MAX_NULL_WORDS:
            nulls, at = nulls + 1, at + 1
            last = at
            continue
        tag = word >> np.uint64(62)
        this = (word >> np.uint64(24)) & np.uint64(0xFFFFFFFF)
        if tag < np.uint64(EVENT_TAG):
            return n, last, 2
        if tag == np.uint64(ORBIT_TAG):
            if n:
                return n, last, 0
            length = np.int64(1)
        else:
            here = np.int64((word >> np.uint64(12)) & np.uint64(0xFFF))
            if (word >> np.uint64(8)) & np.uint64(0xF) or here >= BX_PER_ORBIT:
                return n, last, 2
            if n and this != orbit:
                return n, last, 0
            if here <= bx:
                return n, last, 2
            length, bx = 1 + np.int64(word & np.uint64(0xFF)), here
        if at + length > words.size:
            return n, last, 1
        headers[n] = at
        n, nulls, orbit = n + 1, 0, this
        at += length
        last = at
    return n, last, 1


def orbit_headers() -> NDArray[np.int64]:
    """Return room for the places of the headers of an orbit, for `walk`."""
    return np.empty(BX_PER_ORBIT + 1, np.int64)


def header_orbits(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the orbit numbers of headers."""
    return ((words >> np.uint64(24)) & np.uint64(0xFFFFFFFF)).astype(np.int64)


def decode_events(words: NDArray[np.uint64], headers: NDArray[np.int64]) -> Decoded:
    """Decode the candidates of events.

    Parameters
    ----------
    words : ndarray of uint64
    headers : ndarray of int64
        Where the headers are; those of orbits are left out.
    """
    head = EVENT_HEADER.decode(words[headers])
    is_event = head["tag"] == EVENT_TAG
    number = header_orbits(words[headers])
    flagged = np.unique(number[head["error"] == 1])
    headers, number = headers[is_event], number[is_event]
    bx, count = head["bx"][is_event] + 1, head["count"][is_event].astype(np.int64)
    event = np.repeat(np.arange(headers.size), count)
    at = headers[event] + 1 + np.arange(event.size) - np.repeat(np.cumsum(count) - count, count)
    candidates = words[at]
    there = candidates & np.uint64(_PT_MASK) != 0
    candidates, event = candidates[there], event[there]
    return Decoded(in_order_of_time(number[event], bx[event], candidate_columns(candidates)), flagged)


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


def event_headers(
    orbit: NDArray[np.int64], bx: NDArray[np.int64], count: NDArray[np.int64], run: int = 0
) -> NDArray[np.uint64]:
    """Write headers of events; BX are 1..3564 here."""
    return EVENT_HEADER.encode(
        {
            "count": count,
            "bx": bx - 1,
            "orbitLow": orbit & 0xFFFF,
            "orbitHigh": orbit >> 16,
            "run": np.int64(run & 0x1F),
            "tag": np.int64(EVENT_TAG),
        }
    )


class PuppiStream(Stream):
    """Candidates of the Puppi algorithm in the correlator, Phase 2."""

    name = "puppi"
    title = "Puppi candidates of the Phase-2 correlator"
    source_ids = ()
    layouts = {"Phase 2": (CHARGED, NEUTRAL)}  # noqa: RUF012
    absent = "hwPt is 0"

    def decode(
        self, words: NDArray[np.uint32], bounds: NDArray[np.int64], sources: NDArray[np.int64]
    ) -> tuple[Decoded, NDArray[np.int64]]:
        """Decode payloads of native64 events, each of one orbit."""
        del sources
        ends = bounds[:-1].copy()
        found, parts, headers, first = [], [], orbit_headers(), 0
        for k in range(ends.size):
            part = words[bounds[k] : bounds[k + 1]]
            events = part[: part.size & ~1].view(np.uint64)
            n, end, _ = walk(events, 0, headers)
            ends[k] += 2 * end
            parts.append(events[:end])
            found.append(first + headers[:n])
            first += end
        nothing = np.zeros(0, np.uint64)
        return decode_events(
            np.concatenate([nothing, *parts]), np.concatenate([np.zeros(0, np.int64), *found])
        ), ends

    def encode(
        self, objects: OrbitBatch, source: int | None = None
    ) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """Write events with candidates."""
        del source
        starts = np.r_[0, np.cumsum(1 + objects.counts)]
        words = np.zeros(starts[-1], np.uint64)
        words[starts[:-1]] = event_headers(objects.orbit, objects.bx, objects.counts)
        is_candidate = np.ones(words.size, np.bool_)
        is_candidate[starts[:-1]] = False
        words[is_candidate] = candidate_words(objects)
        return words.view(np.uint32), 2 * starts


PUPPI: PuppiStream = STREAMS.register("puppi")(PuppiStream())
