"""Faults on request: what goes wrong on fibres and in buffers, seeded, mixed, at any rate."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.formats.records import LINKS
from l1scout.link.capture import Capture
from l1scout.link.frames import COMMA, COMMA_K, LINE_WORDS, MAX_SKEW_WORDS

_Words = tuple[NDArray[np.uint32], NDArray[np.uint8]]


@dataclass(frozen=True)
class FaultRates:
    """How often; all are probabilities.

    Parameters
    ----------
    flips : float
        Of a bit flip in a word, a word.
    k_flips : float
        Of a flip in a word's K flags, a word.
    lost_words, doubled_words : float
        A word. The orbit signal keeps its place among the words.
    stuck : float
        Of a word that is repeated for up to 2000 words, a link and orbit.
    bad_crc : float
        Of a bit flip in the word before the gap's first comma, a link and orbit.
    dead : float
        Of a link that dies, a link and orbit, for `dead_orbits` orbits.
    skew_jumps : float
        Of a jump to another skew, anywhere in the range, a link and orbit.
    """

    flips: float = 0.0
    k_flips: float = 0.0
    lost_words: float = 0.0
    doubled_words: float = 0.0
    stuck: float = 0.0
    bad_crc: float = 0.0
    dead: float = 0.0
    skew_jumps: float = 0.0
    dead_orbits: int = 3

    def __post_init__(self) -> None:
        rates = [getattr(self, f.name) for f in fields(self)[:-1]]
        if min(rates) < 0 or max(rates) > 1 or self.dead_orbits < 1:
            msg = f"fault rates are probabilities, and a link is dead for 1 orbit or more: not {self}"
            raise ValueError(msg)


@dataclass
class Injector:
    """Damages captures of a link, one after the other.

    Parameters
    ----------
    rates : FaultRates
    seed : int
    skews : sequence of int
        Skew of each link in words, as it was sent; jumps keep the sum within 16 BX.

    Attributes
    ----------
    touched : list of (int, int, str)
        Orbit (by the orbit signal), link and kind of each fault. A fault near an orbit signal may be
        felt in the orbits on both sides: see `near`.
    """

    rates: FaultRates
    seed: int
    skews: tuple[int, ...] = (0,) * LINKS
    touched: list[tuple[int, int, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = np.random.default_rng(self.seed)
        self._skew = list(self.skews)
        self._dead = [0] * LINKS
        idle = np.full(0, COMMA, np.uint32), np.zeros(0, np.uint8)
        self._held: list[_Words] = [idle] * LINKS

    def damage(self, captures: Iterable[Capture]) -> Iterator[Capture]:
        """Return the captures with faults, one piece late: jumps need to look ahead."""
        waiting: list[Capture] = []
        for capture in captures:
            for n in range(LINKS):
                self._take(n, *capture.link(n), capture)
            waiting.append(capture)
            if len(waiting) > 1:
                yield self._give(waiting.pop(0))
        for capture in waiting:
            yield self._give(capture)

    def _take(self, n: int, words: NDArray[np.uint32], mask: NDArray[np.uint8], capture: Capture) -> None:
        """Let a link's words jump, and hold them."""
        parts: list[Any] = []
        at = 0
        for k in np.flatnonzero(self._random.random(capture.orbits) < self.rates.skew_jumps):
            here = int(capture.ticks[n, k]) + int(self._random.integers(LINE_WORDS))
            step = int(self._random.integers(-MAX_SKEW_WORDS, MAX_SKEW_WORDS + 1)) - self._skew[n]
            if here < at or here >= words.size:
                continue
            self._skew[n] += step
            self.touched.append((capture.first_orbit + int(k), n, "skew"))
            parts.append((words[at:here], mask[at:here]))
            at = here - min(step, 0)
            if step > 0:
                parts.append((np.full(step, words[here]), np.zeros(step, np.uint8)))
        parts.append((words[at:], mask[at:]))
        held = [self._held[n], *parts]
        self._held[n] = np.concatenate([p[0] for p in held]), np.concatenate([p[1] for p in held])

    def _give(self, capture: Capture) -> Capture:
        links, ticks = [], []
        for n in range(LINKS):
            size = capture.orbits * LINE_WORDS
            words, mask = self._held[n]
            short = max(size - words.size, 0)  # the run is over
            words = np.r_[words, np.full(short, COMMA, np.uint32)]
            mask = np.r_[mask, np.full(short, COMMA_K, np.uint8)]
            self._held[n] = words[size:], mask[size:]
            words, mask = words[:size].copy(), mask[:size].copy()
            self._change(n, words, mask, capture)
            kept, marks = self._resize(n, words, mask, capture)
            links.append(kept)
            ticks.append(marks)
        return Capture.of_links(capture.first_orbit, links, np.array(ticks, np.int64), capture.simulated)

    def _note(self, n: int, at: NDArray[np.int64], kind: str, capture: Capture) -> None:
        self.touched += [(int(k) + capture.first_orbit, n, kind) for k in np.unique(at // LINE_WORDS)]

    def _some(self, size: int, rate: float) -> NDArray[np.int64]:
        count = self._random.binomial(size, rate)
        return self._random.choice(size, count, replace=False) if count else np.zeros(0, np.int64)

    def _change(self, n: int, words: NDArray[np.uint32], mask: NDArray[np.uint8], capture: Capture) -> None:
        """Faults that leave the number of words as it is, in place."""
        random, rates = self._random, self.rates
        at = self._some(words.size, rates.flips)
        words[at] ^= np.uint32(1) << random.integers(0, 32, at.size).astype(np.uint32)
        self._note(n, at, "flip", capture)
        at = self._some(words.size, rates.k_flips)
        mask[at] ^= random.integers(1, 16, at.size).astype(np.uint8)
        self._note(n, at, "k flip", capture)
        for k in range(capture.orbits):
            low = k * LINE_WORDS
            if random.random() < rates.stuck:
                start, length = low + int(random.integers(LINE_WORDS)), int(random.integers(2, 2000))
                words[start : start + length], mask[start : start + length] = words[start], mask[start]
                self._note(n, np.array([start, min(start + length, words.size) - 1]), "stuck", capture)
            if random.random() < rates.bad_crc:
                gap = np.flatnonzero(mask[low : low + LINE_WORDS] == COMMA_K)
                last = low + int(gap[-1] if gap.size else LINE_WORDS - 1)
                while last > low and mask[last]:
                    last -= 1
                words[last] ^= np.uint32(1 << int(random.integers(32)))
                self._note(n, np.array([last]), "crc", capture)
            if self._dead[n] == 0 and random.random() < rates.dead:
                self._dead[n] = rates.dead_orbits
            if self._dead[n]:
                self._dead[n] -= 1
                words[low : low + LINE_WORDS], mask[low : low + LINE_WORDS] = 0, 0
                self._note(n, np.array([low]), "dead", capture)

    def _resize(
        self, n: int, words: NDArray[np.uint32], mask: NDArray[np.uint8], capture: Capture
    ) -> tuple[_Words, NDArray[np.int64]]:
        """Lose and double words."""
        lost = self._some(words.size, self.rates.lost_words)
        doubled = self._some(words.size, self.rates.doubled_words)
        times = np.ones(words.size, np.int64)
        times[doubled], times[lost] = 2, 0
        self._note(n, lost, "lost", capture)
        self._note(n, doubled, "doubled", capture)
        marks = np.r_[0, np.cumsum(times)][np.arange(capture.orbits + 1) * LINE_WORDS]
        return (np.repeat(words, times), np.repeat(mask, times)), marks


def near(touched: Iterable[tuple[int, int, str]]) -> set[int]:
    """Orbits in which such faults can be felt: the one of the signal before, and both its neighbours."""
    return {k for orbit, _, _ in touched for k in (orbit - 1, orbit, orbit + 1)}


def truncate(packets: Iterable[bytes], rate: float, seed: int) -> Iterator[bytes]:
    """Take the end away from packets, as a full buffer does: each with probability `rate`, anywhere."""
    random = np.random.default_rng(seed)
    for packet in packets:
        yield packet[: int(random.integers(len(packet)))] if random.random() < rate else packet
