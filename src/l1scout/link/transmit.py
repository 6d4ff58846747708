"""From the muons of some orbits to the words on eight fibres."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.formats.block import BlockLayout
from l1scout.formats.pattern import FRAMES_PER_BX
from l1scout.formats.records import LINKS
from l1scout.formats.streams.muon import split
from l1scout.lhc import BX_PER_ORBIT
from l1scout.link.capture import Capture
from l1scout.link.frames import (
    COMMA,
    COMMA_K,
    ISO_HDLC,
    LATENCY_WORDS,
    LINE_WORDS,
    MAX_SKEW_WORDS,
    PADDING,
    PADDING_K,
    PAYLOAD_WORDS,
    Crc,
)

MIN_PADDING = 26
"""One word in 26 is the most padding that leaves room for CRC and commas."""


class Piece(NamedTuple):
    """Muons of the orbits `first` to `stop` of a run, with ``link`` and ``second``."""

    muons: OrbitBatch
    first: int
    stop: int


@dataclass(frozen=True)
class LinkTiming:
    """How a link differs from the others.

    Parameters
    ----------
    skew : int
        Words of line time (4 ns) by which it is late, -100..100 (16 BX).
    padding : int
        One word in N is padding; N is 26 or more.
    phase : int
        First of them.
    """

    skew: int = 0
    padding: int = MIN_PADDING
    phase: int = 0

    def __post_init__(self) -> None:
        if abs(self.skew) > MAX_SKEW_WORDS or self.padding < MIN_PADDING or not self.phase >= 0:
            msg = f"skew within +-{MAX_SKEW_WORDS} words, padding from {MIN_PADDING} on: not {self}"
            raise ValueError(msg)


def random_timing(random: np.random.Generator) -> tuple[LinkTiming, ...]:
    """Draw skews over the whole range, and padding of one word in 26 to 40."""
    return tuple(
        LinkTiming(
            int(random.integers(-MAX_SKEW_WORDS, MAX_SKEW_WORDS + 1)),
            int(random.integers(MIN_PADDING, 41)),
            int(random.integers(MIN_PADDING)),
        )
        for _ in range(LINKS)
    )


def payload(batch: OrbitBatch, first: int, stop: int, form: BlockLayout) -> NDArray[np.uint32]:
    """Words of the links for the muons of orbits `first` to `stop`.

    Parameters
    ----------
    batch : OrbitBatch
        Columns of the muon's layout, ``link`` (0..7), ``second`` (0/1) and in Run 3 ``hwEta``.
    first, stop : int
    form : BlockLayout

    Returns
    -------
    ndarray of uint32, shape (stop - first, 8, 21384)
    """
    words = np.zeros((stop - first, LINKS, BX_PER_ORBIT, FRAMES_PER_BX), np.uint32)
    f, s = split(
        form.muon.encode({x.name: batch[x.name] for x in form.muon.fields if x.name in batch.columns})
    )
    orbit, bx = batch.orbit[batch.row] - first, batch.bx[batch.row] - 1
    link, second = batch["link"], batch["second"].astype(np.int64)
    words[orbit, link, bx, 2 + 2 * second] = f
    words[orbit, link, bx, 3 + 2 * second] = s
    if form.from_link:
        for slot, name in enumerate(("hwEta1", "hwEta2")):
            at = second == slot
            words[orbit[at], link[at], bx[at], 1] |= form.bx.encode({name: batch["hwEta"][at]})
    return words.reshape(stop - first, LINKS, PAYLOAD_WORDS)


@dataclass
class Transmitter:
    """Eight links that send orbit after orbit.

    Parameters
    ----------
    form : BlockLayout
    timing : sequence of LinkTiming
    crc : Crc
    simulated : bool, optional
        What captures state: what this sends never was on a fibre, so they are simulated.
    """

    form: BlockLayout
    timing: Sequence[LinkTiming] = (LinkTiming(),) * LINKS
    crc: Crc = ISO_HDLC
    simulated: bool | None = True
    _late: list[tuple[NDArray[np.uint32], NDArray[np.uint8]]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._function = self.crc.function()
        self._late = []
        self._plans = [_plan(t) for t in self.timing]
        for t in self.timing:
            n = LATENCY_WORDS + t.skew  # idle until the first orbit comes
            self._late.append((np.full(n, COMMA, np.uint32), np.full(n, COMMA_K, np.uint8)))

    def send(self, batch: OrbitBatch, first: int, stop: int) -> Capture:
        """Words received in the time of orbits `first` to `stop`: the first come a little late.

        The end of the last orbit comes with the next call; after the run, call `idle`.
        """
        return self.send_words(payload(batch, first, stop, self.form), first)

    def send_words(self, words: NDArray[np.uint32], first: int) -> Capture:
        """Send the payload of orbits from `first` on, shape (orbits, 8, 21384), as `send` does."""
        stop = first + len(words)
        links = []
        for n, (template, mask, data_at, crc_at) in enumerate(self._plans):
            line = np.tile(template, (stop - first, 1))
            line[:, data_at] = words[:, n]
            line[:, crc_at] = [self._function(orbit) for orbit in words[:, n]]
            links.append((line.reshape(-1), np.tile(mask, stop - first)))
        return self._delayed(links, first, stop)

    def idle(self, first: int) -> Capture:
        """Send commas for the time of one orbit, after what is still on its way."""
        idle = np.full(LINE_WORDS, COMMA, np.uint32), np.full(LINE_WORDS, COMMA_K, np.uint8)
        return self._delayed([idle] * LINKS, first, first + 1)

    def _delayed(self, links: list[Any], first: int, stop: int) -> Capture:
        out = []
        for n, (words, mask) in enumerate(links):
            late = self._late[n]
            size, keep = words.size, words.size - late[0].size
            out.append((np.concatenate([late[0], words[:keep]]), np.concatenate([late[1], mask[:keep]])))
            self._late[n] = words[keep:size].copy(), mask[keep:size].copy()
        ticks = np.tile(np.arange(stop - first + 1) * LINE_WORDS, (LINKS, 1))
        return Capture.of_links(first, out, ticks, self.simulated)


def transmit(pieces: Iterable[Piece], transmitter: Transmitter) -> Iterator[Capture]:
    """Send one piece of a run after the other, and then idle words."""
    stop = 0
    for piece in pieces:
        stop = piece.stop
        yield transmitter.send(piece.muons, piece.first, stop)
    yield transmitter.idle(stop)


def _plan(timing: LinkTiming) -> tuple[NDArray[np.uint32], NDArray[np.uint8], NDArray[np.int64], int]:
    """Template of an orbit's line words, its K masks, and where its data and its CRC go."""
    line = np.arange(LINE_WORDS)
    data = np.flatnonzero(line % timing.padding != timing.phase % timing.padding)
    crc_at = int(data[PAYLOAD_WORDS])
    words, mask = np.full(LINE_WORDS, PADDING, np.uint32), np.full(LINE_WORDS, PADDING_K, np.uint8)
    words[crc_at + 1 :], mask[crc_at + 1 :] = COMMA, COMMA_K
    mask[data[: PAYLOAD_WORDS + 1]] = 0
    return words, mask, data[:PAYLOAD_WORDS], crc_at
