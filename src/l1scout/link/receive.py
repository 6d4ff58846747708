"""One orbit from the words of eight links: find the gaps, strip padding, check length and CRC.

Nothing is remembered from one orbit to the next but counters and the last orbit signal: whatever happened
before, an orbit between two good gaps is read. Its number is that of the orbit signal near which it began; a
signal so soon after another that both are near the same gap has no orbit: it counts as lost.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.formats.block import MAP_WORDS
from l1scout.formats.lanes import copy_32, lowest
from l1scout.formats.pattern import FRAMES_PER_BX
from l1scout.formats.records import LINKS
from l1scout.jit import kernel
from l1scout.lhc import ORBIT_FREQUENCY_HZ
from l1scout.link.capture import Capture
from l1scout.link.frames import (
    COMMA,
    COMMA_K,
    ISO_HDLC,
    LATENCY_WORDS,
    MAX_SKEW_WORDS,
    PADDING,
    PADDING_K,
    PAYLOAD_WORDS,
    Crc,
)

GOOD, IDLE, UNLOCKED, CODE, LENGTH, CRC = range(6)
"""State of a link in an orbit: good; nothing but commas; no comma where the gap must be; a K word
that is neither comma nor padding; too few or too many words between the gaps; wrong CRC."""
STATES = ("good", "idle", "unlocked", "code", "length", "crc")
_LAST_BX = (1 << (PAYLOAD_WORDS // FRAMES_PER_BX % 32)) - 1
_RUN = 32
_ROOM = PAYLOAD_WORDS + 1 + 2 * _RUN
_NO_SKEW = 1 << 30


@kernel
def _unframe(
    words: Any,
    starts: Any,
    k_at: Any,
    k_mask: Any,
    k_starts: Any,
    ticks: Any,
    n: Any,
    out: Any,
    busy: Any,
    found: Any,
) -> None:
    """Copy orbit `n`'s payload of every link to `out`.

    busy (8, 112) becomes a map of the BX with any bit set; found (8, 3) state, skew and commas.
    """
    busy[:] = 0
    for link in range(LINKS):
        line = words[starts[link] : starts[link + 1]]
        at = k_at[k_starts[link] : k_starts[link + 1]]
        mask = k_mask[k_starts[link] : k_starts[link + 1]]
        row, bits = out[link], busy[link]
        found[link, 0], found[link, 1], found[link, 2] = UNLOCKED, _NO_SKEW, 0
        nominal = ticks[link, n] + LATENCY_WORDS
        # the last comma within the range of skew is the end of the gap: a gap of any length will do
        k = np.searchsorted(at, np.uint32(nominal + MAX_SKEW_WORDS))
        begin = np.int64(-1)
        for i in range(k - 1, max(k - 2 * MAX_SKEW_WORDS - 2, -1), -1):  # type: ignore[call-overload]
            p = np.int64(at[i])
            if p < nominal - MAX_SKEW_WORDS - 1 or p >= line.size:
                break
            if mask[i] == COMMA_K and line[p] == np.uint32(COMMA):
                begin, k = p + 1, i + 1
                break
        if begin < 0:
            continue
        found[link, 1] = begin - nominal
        p, o, state = begin, np.int64(0), LENGTH
        while k < at.size:
            q = np.int64(at[k])
            if q >= line.size or q < p or q - p > PAYLOAD_WORDS + 1 - o:
                break
            while p < q:
                count = q - p if q - p < _RUN else _RUN
                if p + _RUN <= line.size:
                    some = copy_32(line, np.uint64(p), row, np.uint64(o), np.uint32(count))
                else:
                    some = np.uint32(0)
                    for j in range(count):
                        row[o + j] = line[p + j]
                        some |= np.uint32(line[p + j] != 0) << np.uint32(j)
                while some != 0:
                    bx = (o + np.int64(lowest(some))) // FRAMES_PER_BX
                    bits[bx >> 5] |= np.uint32(1) << np.uint32(bx & 31)
                    some &= some - np.uint32(1)
                o += count
                p += count
            p = q + 1
            if mask[k] != PADDING_K or line[q] != np.uint32(PADDING):
                if mask[k] != COMMA_K or line[q] != np.uint32(COMMA):
                    state = CODE
                elif o == PAYLOAD_WORDS + 1:
                    state = GOOD
                elif o == 0:
                    state = IDLE
                break
            k += 1
        found[link, 0] = state
        bits[MAP_WORDS - 1] &= np.uint32(_LAST_BX)  # not the CRC word, after the last BX
        if state == GOOD:
            commas = 0
            while k + commas < at.size and mask[k + commas] == COMMA_K and at[k + commas] - at[k] == commas:
                commas += 1
            found[link, 2] = commas


@kernel
def _check(
    found: Any, sent: Any, crc: Any, skews: Any, seen: Any, commas: Any, realigns: Any, states: Any
) -> Any:
    """Compare CRCs and count; the good links as bits."""
    good = 0
    for link in range(LINKS):
        state, skew = found[link, 0], found[link, 1]
        if state == GOOD and sent[link] != crc[link]:
            state = found[link, 0] = CRC
        states[state, link] += 1
        commas[link] += found[link, 2]
        if state == UNLOCKED:
            skews[link] = _NO_SKEW
        if state == GOOD:
            good |= 1 << link
            realigns[link] += seen[link] and skew != skews[link]
            skews[link], seen[link] = skew, True
    return good


@dataclass
class LinkCounters:
    """What happened on each link, arrays of int64 of shape (8,).

    Parameters
    ----------
    commas : ndarray
        In the gaps after good orbits.
    realigns : ndarray
        Times that a link came back after a loss of lock, or with another skew.
    states : ndarray, shape (6, 8)
        Orbits in each of the `STATES`.
    """

    commas: NDArray[np.int64] = field(default_factory=lambda: np.zeros(LINKS, np.int64))
    realigns: NDArray[np.int64] = field(default_factory=lambda: np.zeros(LINKS, np.int64))
    states: NDArray[np.int64] = field(default_factory=lambda: np.zeros((len(STATES), LINKS), np.int64))

    @property
    def lost(self) -> NDArray[np.int64]:
        """Orbits of which a link gave nothing."""
        return np.asarray(self.states[UNLOCKED:].sum(axis=0))

    def summary(self) -> dict[str, list[Any]]:
        """Return all counters by name, a number a link."""
        return {
            "commas": self.commas.tolist(),
            "realigns": self.realigns.tolist(),
            "lost_orbits": self.lost.tolist(),
            "unlocked_s": (self.states[UNLOCKED] / ORBIT_FREQUENCY_HZ).tolist(),
            "code_errors": self.states[CODE].tolist(),
            "length_errors": self.states[LENGTH].tolist(),
            "crc_errors": self.states[CRC].tolist(),
        }


class LinkReceiver:
    """Eight links' decoders.

    Parameters
    ----------
    crc : Crc

    Attributes
    ----------
    payload : ndarray of uint32, shape (8, 21384 and some)
        Words of the orbit received last; rubbish on links that are not good.
    busy : ndarray of uint32, shape (8, 112)
        The BX in which a link had anything but zeros; bit b is BX b + 1.
    states : ndarray of int64, shape (8,)
        State of each link in that orbit.
    counters : LinkCounters
    """

    def __init__(self, crc: Crc = ISO_HDLC) -> None:
        self.payload = np.zeros((LINKS, _ROOM), np.uint32)
        self.busy = np.zeros((LINKS, MAP_WORDS), np.uint32)
        self.counters = LinkCounters()
        self._function = crc.function()
        self._views = [self.payload[n, :PAYLOAD_WORDS].data for n in range(LINKS)]
        self._sent = self.payload[:, PAYLOAD_WORDS]
        self._crcs = np.zeros(LINKS, np.uint32)
        self._found = np.zeros((LINKS, 3), np.int64)
        self.states = self._found[:, 0]
        self._skews = np.full(LINKS, _NO_SKEW)
        self._seen = np.zeros(LINKS, np.bool_)
        self._next, self._words = -1, 0
        """Orbit after the one received last, and how many words after it its signal came."""

    def receive(self, capture: Capture, n: int) -> int:
        """Receive orbit `n` of a capture, counted from 0.

        The capture must reach beyond the orbit's end, to 204 words after the next orbit signal.

        Returns
        -------
        int
            Bit l is set if the data of link l can be used.
        """
        found, c = self._found, capture
        too_soon = c.first_orbit + n == self._next and self._words < LATENCY_WORDS + MAX_SKEW_WORDS
        self._next, self._words = c.first_orbit + n + 1, int((c.ticks[:, n + 1] - c.ticks[:, n]).min())
        if too_soon:
            self.states[:] = UNLOCKED
            self.counters.states[UNLOCKED] += 1
            return 0
        _unframe(c.words, c.starts, c.k_at, c.k_mask, c.k_starts, c.ticks, n, self.payload, self.busy, found)
        # of links in another state there may be less to compute from, but nothing outside the row
        self._crcs[:] = [self._function(view) for view in self._views]
        k = self.counters
        return int(
            _check(found, self._sent, self._crcs, self._skews, self._seen, k.commas, k.realigns, k.states)
        )
