"""One orbit from the words of eight links: find the gaps, strip padding, check length and CRC.

Nothing is remembered from one orbit to the next but counters and the last orbit signal: whatever happened
before, an orbit between two good gaps is read. Its number is that of the orbit signal near which it began; a
signal so soon after another that both are near the same gap has no orbit: it counts as lost.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from l1scout.formats.block import MAP_WORDS
from l1scout.formats.pattern import FRAMES_PER_BX
from l1scout.formats.records import LINKS
from l1scout.jit import kernel
from l1scout.lhc import BX_PER_ORBIT, ORBIT_FREQUENCY_HZ
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
    CrcTables,
)
from l1scout.link.payload import are_paddings, keep, words_by_flags, words_by_value

GOOD, IDLE, UNLOCKED, CODE, LENGTH, CRC = range(6)
"""State of a link in an orbit: good; nothing but commas; no comma where the gap must be; a K word
that is neither comma nor padding; too few or too many words between the gaps; wrong CRC."""
STATES = ("good", "idle", "unlocked", "code", "length", "crc")
_NO_SKEW = 1 << 30
_TOO_SOON = LATENCY_WORDS + MAX_SKEW_WORDS


class ReceiverState(NamedTuple):
    """The arrays of a `LinkReceiver`, as kernels take them; see there.

    Parameters
    ----------
    places, words : ndarray of uint32, shape (21385,)
        Room for one link's words that are not 0.
    found : ndarray of int64, shape (8, 3)
        State, skew and commas of each link in the orbit received last.
    skews, seen : ndarray, shape (8,)
        Skew of each link when it was last good, and whether it ever was.
    last : ndarray of int64, shape (2,)
        Number of the orbit after the one received last, and how many words after it its signal came.
    """

    crossings: NDArray[np.uint32]
    busy: NDArray[np.uint32]
    places: NDArray[np.uint32]
    words: NDArray[np.uint32]
    found: NDArray[np.int64]
    skews: NDArray[np.int64]
    seen: NDArray[np.bool_]
    last: NDArray[np.int64]
    commas: NDArray[np.int64]
    realigns: NDArray[np.int64]
    states: NDArray[np.int64]
    tables: CrcTables


@kernel
def _find_begin(words: Any, at: Any, mask: Any, nominal: Any) -> Any:
    """Return where an orbit begins, -1 if nowhere, and the first K word after that.

    The last comma within the range of skew is the end of the gap: a gap of any length will do.
    """
    k = np.searchsorted(at, np.uint32(nominal + MAX_SKEW_WORDS))
    for i in range(k - 1, max(k - 2 * MAX_SKEW_WORDS - 2, -1), -1):  # type: ignore[call-overload]
        p = np.int64(at[i])
        if p < nominal - MAX_SKEW_WORDS - 1 or p >= words.size:
            break
        if mask[i] == COMMA_K and words[p] == np.uint32(COMMA):
            return p + 1, i + 1
    return np.int64(-1), k


@kernel
def _find_end(words: Any, at: Any, mask: Any, begin: Any, first: Any) -> Any:
    """Follow the K words from number `first` on to the orbit's end: state, and number of the word there.

    Every K word must be padding, up to a comma after as many words as an orbit has.
    """
    p, o, k = begin, np.int64(0), first
    while k < at.size:
        q = np.int64(at[k])
        if q >= words.size or q < p or q - p > PAYLOAD_WORDS + 1 - o:
            break
        o += q - p
        p = q + 1
        if mask[k] != PADDING_K or words[q] != np.uint32(PADDING):
            if mask[k] != COMMA_K or words[q] != np.uint32(COMMA):
                return CODE, k
            if o == PAYLOAD_WORDS + 1:
                return GOOD, k
            return (IDLE if o == 0 else LENGTH), k
        k += 1
    return LENGTH, k


@kernel
def _expect_end(words: Any, at: Any, mask: Any, begin: Any, first: Any) -> Any:
    """Return the number of the comma that ends an orbit if all K words before it are padding; or -1."""
    low, high = first, np.int64(at.size)
    while low < high:
        middle = (low + high) // 2
        if np.int64(at[middle]) - begin - (middle - first) < PAYLOAD_WORDS + 1:
            low = middle + 1
        else:
            high = middle
    if low < at.size:
        q = np.int64(at[low])
        if q - begin - (low - first) == PAYLOAD_WORDS + 1 and q < words.size:  # noqa: SIM102
            if mask[low] == COMMA_K and words[q] == np.uint32(COMMA):
                return low
    return np.int64(-1)


@kernel
def _receive_link(line: Any, link: Any, n: Any, own: Any) -> None:
    """Read orbit `n` of a link: its crossings and their map, and in ``found`` state, skew and commas."""
    start, stop = line.starts[link], line.starts[link + 1]
    words = line.words[start:stop]
    at = line.k_at[line.k_starts[link] : line.k_starts[link + 1]]
    mask = line.k_mask[line.k_starts[link] : line.k_starts[link + 1]]
    nominal = line.ticks[link, n] + LATENCY_WORDS
    places, data, tables, crossings = own.places, own.words, own.tables, own.crossings[link]
    busy, found = own.busy[link], own.found[link]
    found[0], found[1], found[2] = UNLOCKED, _NO_SKEW, 0
    begin, first = _find_begin(words, at, mask, nominal)
    if begin < 0:
        return
    found[1] = begin - nominal
    state, size = LENGTH, np.int64(0)
    k = _expect_end(words, at, mask, begin, first)
    if k >= 0:
        size, count = words_by_value(line.words, start + begin, start + np.int64(at[k]), places, data)
        if count == k - first and are_paddings(words, at[first - 1 : k + 1], mask[first:k]):
            state = GOOD
    if state != GOOD:  # by the book
        state, k = _find_end(words, at, mask, begin, first)
        if state == GOOD:
            size = words_by_flags(words, begin, at[first : k + 1], places, data)
    if state == GOOD:
        if not keep(places[:size], data[:size], tables, crossings, busy):
            state = CRC
        n, last = np.uint64(k), np.uint64(at.size)
        while n < last and mask[n] == COMMA_K and at[n] - at[k] == n - np.uint64(k):
            n += np.uint64(1)
        found[2] = n - np.uint64(k)
    found[0] = state


@kernel
def receive_orbit(line: Any, first_orbit: Any, n: Any, own: Any) -> Any:
    """Receive orbit `n` of a capture that begins with `first_orbit`; the good links as bits.

    line : LinkWords; own : ReceiverState
    """
    too_soon = first_orbit + n == own.last[0] and own.last[1] < _TOO_SOON
    own.last[0], own.last[1] = first_orbit + n + 1, line.ticks[0, n + 1] - line.ticks[0, n]
    for link in range(1, LINKS):
        own.last[1] = min(own.last[1], line.ticks[link, n + 1] - line.ticks[link, n])
    good = 0
    for link in range(LINKS):
        if too_soon:
            own.found[link, 0] = UNLOCKED
            own.states[UNLOCKED, link] += 1
            continue
        _receive_link(line, link, n, own)
        state, skew = own.found[link, 0], own.found[link, 1]
        own.states[state, link] += 1
        own.commas[link] += own.found[link, 2]
        if state == UNLOCKED:
            own.skews[link] = _NO_SKEW
        if state == GOOD:
            good |= 1 << link
            own.realigns[link] += own.seen[link] and skew != own.skews[link]
            own.skews[link], own.seen[link] = skew, True
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
    crossings : ndarray of uint32, shape (8, 3564, 6)
        Words of the orbit received last: those of the crossings in `busy`, one after the other; rubbish
        behind them, and on links that are not good.
    busy : ndarray of uint32, shape (8, 112)
        The BX in which a link had anything but zeros; bit b is BX b + 1.
    states : ndarray of int64, shape (8,)
        State of each link in that orbit.
    counters : LinkCounters
    arrays : ReceiverState
        All of these, for `receive_orbit`.
    """

    def __init__(self, crc: Crc = ISO_HDLC) -> None:
        self.crossings = np.zeros((LINKS, BX_PER_ORBIT, FRAMES_PER_BX), np.uint32)
        self.busy = np.zeros((LINKS, MAP_WORDS), np.uint32)
        self.counters = c = LinkCounters()
        found = np.zeros((LINKS, 3), np.int64)
        self.states = found[:, 0]
        places, words = np.zeros((2, PAYLOAD_WORDS + 1), np.uint32)
        self.arrays = ReceiverState(
            self.crossings,
            self.busy,
            places,
            words,
            found,
            np.full(LINKS, _NO_SKEW),
            np.zeros(LINKS, np.bool_),
            np.array([-1, 0]),
            c.commas,
            c.realigns,
            c.states,
            crc.tables(),
        )

    def receive(self, capture: Capture, n: int) -> int:
        """Receive orbit `n` of a capture, counted from 0.

        The capture must reach beyond the orbit's end, to 204 words after the next orbit signal.

        Returns
        -------
        int
            Bit l is set if the data of link l can be used.
        """
        return int(receive_orbit(capture.line, capture.first_orbit, n, self.arrays))
