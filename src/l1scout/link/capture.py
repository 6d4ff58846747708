"""What was received on eight fibres for some orbits of time, in memory and in files.

The words of the links lie one link after the other. K flags are few, so only the words that have
one are listed: position and mask, 5 bytes for each 25 words of a full line. Muon words carry no
orbit number: the board has the LHC's orbit signal and marks where in each link's words it came.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from l1scout.core.provenance import joint_origin
from l1scout.errors import InputError
from l1scout.formats.records import LINKS
from l1scout.jit import kernel
from l1scout.link.frames import LINE_WORDS

MAGIC = b"L1LINKS2"
MAX_ORBITS = 4096
"""Orbits in one piece of a capture file: what a reader must be ready to hold."""
_HEAD = np.dtype(
    [("magic", "S8"), ("first_orbit", "<i8"), ("orbits", "<i8"), ("simulated", "<i8"), ("k", "<i8", LINKS)]
)
_ORIGINS = {1: True, 0: False, -1: None}
"""Values of ``simulated`` in a file."""


class LinkWords(NamedTuple):
    """The arrays of a `Capture`, as kernels take them; see there."""

    words: NDArray[np.uint32]
    starts: NDArray[np.int64]
    k_at: NDArray[np.uint32]
    k_mask: NDArray[np.uint8]
    k_starts: NDArray[np.int64]
    ticks: NDArray[np.int64]


@dataclass(frozen=True)
class Capture:
    """Words of eight links between two orbit signals.

    Parameters
    ----------
    first_orbit : int
        Number of the orbit that the first signal announced.
    words : ndarray of uint32, shape (all words,)
        Link 0, then link 1...
    starts : ndarray of int64, shape (9,)
        Link l has ``words[starts[l]:starts[l + 1]]``.
    k_at : ndarray of uint32, shape (all K words,)
        Position, in its link, of each word that has a K flag; rising within a link.
    k_mask : ndarray of uint8, shape (all K words,)
        Its flags; bit b is byte b of the word. Not 0.
    k_starts : ndarray of int64, shape (9,)
    ticks : ndarray of int64, shape (8, orbits + 1)
        Where in each link's words the orbit signals came: first 0, last the number of words.
    simulated : bool, optional
        None where nothing says whether the words were simulated.

    Raises
    ------
    ValueError
        If the shapes do not agree.
    """

    first_orbit: int
    words: NDArray[np.uint32]
    starts: NDArray[np.int64]
    k_at: NDArray[np.uint32]
    k_mask: NDArray[np.uint8]
    k_starts: NDArray[np.int64]
    ticks: NDArray[np.int64]
    simulated: bool | None = None

    def __post_init__(self) -> None:
        shapes = self.starts.shape == self.k_starts.shape == (LINKS + 1,)
        shapes = shapes and self.ticks.ndim == 2 and self.ticks.shape[0] == LINKS and self.ticks.size > 0
        if not (shapes and _agree(self.line)):
            msg = "words, K flags and orbit signals of a capture do not agree"
            raise ValueError(msg)

    @property
    def orbits(self) -> int:
        """Orbits of time."""
        return int(self.ticks.shape[1]) - 1

    @property
    def line(self) -> LinkWords:
        """Words, K flags and orbit signals."""
        return LinkWords(self.words, self.starts, self.k_at, self.k_mask, self.k_starts, self.ticks)

    def link(self, number: int) -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
        """Words of a link, and the K mask of each, shape (n,)."""
        words = self.words[self.starts[number] : self.starts[number + 1]]
        mask = np.zeros(words.size, np.uint8)
        own = slice(self.k_starts[number], self.k_starts[number + 1])
        mask[self.k_at[own]] = self.k_mask[own]
        return words, mask

    @classmethod
    def of_links(
        cls,
        first_orbit: int,
        links: Iterable[tuple[NDArray[np.uint32], NDArray[np.uint8]]],
        ticks: NDArray[np.int64],
        simulated: bool | None = None,
    ) -> "Capture":
        """Put together from each link's words and K masks, the inverse of `link`."""
        words, masks = zip(*links, strict=True)
        at = [np.flatnonzero(m) for m in masks]
        return cls(
            first_orbit,
            np.concatenate(words),
            np.r_[0, np.cumsum([w.size for w in words])],
            np.concatenate(at).astype(np.uint32),
            np.concatenate([m[k] for m, k in zip(masks, at, strict=True)]),
            np.r_[0, np.cumsum([k.size for k in at])],
            ticks,
            simulated,
        )


def join(one: Capture, two: Capture, most: int | None = None) -> Capture:
    """Put the last orbit's time of a capture and the beginning of the next together.

    Parameters
    ----------
    one, two : Capture
        The second begins where the first ends.
    most : int, optional
        Words of each link to take of the second; all if not given.
    """
    low, high = one.ticks[:, -2], one.ticks[:, -1]
    size = two.ticks[:, -1] if most is None else np.minimum(two.ticks[:, -1], most)
    ticks = np.stack([np.zeros(LINKS, np.int64), high - low, high - low + size], axis=1)
    total = int(ticks[:, 2].sum())
    words, k_at, k_mask = np.empty(total, np.uint32), np.empty(total, np.uint32), np.empty(total, np.uint8)
    starts, k_starts = np.zeros((2, LINKS + 1), np.int64)
    _join(one.line, two.line, low, high, size, words, k_at, k_mask, starts, k_starts)
    k_at, k_mask = k_at[: k_starts[-1]], k_mask[: k_starts[-1]]
    origin = joint_origin((one.simulated, two.simulated))
    return Capture(one.first_orbit + one.orbits - 1, words, starts, k_at, k_mask, k_starts, ticks, origin)


@kernel
def _agree(line: Any) -> Any:
    """Return whether words, K flags and orbit signals of arrays of the right shapes agree."""
    starts, k_starts, ticks = line.starts, line.k_starts, line.ticks
    bad = starts[0] != 0 or k_starts[0] != 0 or starts[LINKS] != line.words.size
    bad = bad or k_starts[LINKS] != line.k_at.size or k_starts[LINKS] != line.k_mask.size
    for link in range(LINKS):
        size, last = starts[link + 1] - starts[link], ticks.shape[1] - 1
        bad = bad or size < 0 or k_starts[link + 1] < k_starts[link]
        bad = bad or ticks[link, 0] != 0 or ticks[link, last] != size
        for n in range(last):
            bad = bad or ticks[link, n + 1] < ticks[link, n]
    none = 0
    for mask in line.k_mask:
        none += mask == 0
    return not bad and none == 0


@kernel
def _join(
    one: Any,
    two: Any,
    low: Any,
    high: Any,
    size: Any,
    words: Any,
    k_at: Any,
    k_mask: Any,
    starts: Any,
    k_starts: Any,
) -> None:
    """Fill the arrays of a capture with words `low` to `high` of each link, and `size` words of another."""
    n = k = 0
    for link in range(LINKS):
        n, k = _append(one, link, low[link], high[link], 0, words, n, k_at, k_mask, k)
        n, k = _append(two, link, 0, size[link], high[link] - low[link], words, n, k_at, k_mask, k)
        starts[link + 1], k_starts[link + 1] = n, k


@kernel
def _append(
    line: Any,
    link: Any,
    low: Any,
    high: Any,
    after: Any,
    words: Any,
    n: Any,
    k_at: Any,
    k_mask: Any,
    k: Any,
) -> Any:
    """Copy words `low` to `high` of a link to place `after`; return where words and K flags end then."""
    source = line.words[line.starts[link] + low : line.starts[link] + high]
    target = words[n : n + high - low]
    for i in range(source.size):
        target[i] = source[i]
    at = line.k_at[line.k_starts[link] : line.k_starts[link + 1]]
    begin, end = np.searchsorted(at, np.uint32(low)), np.searchsorted(at, np.uint32(high))
    at, at_target, by = at[begin:end], k_at[k : k + end - begin], np.uint32(after - low)
    mask, mask_target = line.k_mask[line.k_starts[link] + begin :], k_mask[k : k + end - begin]
    for i in range(at.size):
        at_target[i] = np.uint32(at[i] + by)
        mask_target[i] = mask[i]
    return n + high - low, k + at.size


def write_capture(stream: BinaryIO, capture: Capture) -> None:
    """Append to a capture file."""
    head = np.zeros(1, _HEAD)
    head["magic"], head["first_orbit"], head["orbits"] = MAGIC, capture.first_orbit, capture.orbits
    head["simulated"] = next(value for value, origin in _ORIGINS.items() if origin is capture.simulated)
    head["k"] = np.diff(capture.k_starts)
    for part in (head, capture.ticks.astype("<i8"), capture.k_at.astype("<u4"), capture.k_mask):
        stream.write(np.ascontiguousarray(part).tobytes())
    stream.write(np.ascontiguousarray(capture.words, "<u4").data.cast("B"))


def read_captures(path: Path) -> Iterator[Capture]:
    """Read a capture file piece by piece, in the memory of one piece.

    Raises
    ------
    InputError
        If it is no capture file, or a piece contradicts itself or is cut short.
    """
    with path.open("rb") as stream:
        yield from read_capture(stream, path.stat().st_size, str(path))


def read_capture(stream: Any, size: int, name: str) -> Iterator[Capture]:
    """Read an open capture file of `size` bytes; `name` is for messages. See `read_captures`."""
    left, piece = size, 0
    while left:
        capture, used = _read_piece(stream, left, f"{name}, piece {piece}")
        yield capture
        left, piece = left - used, piece + 1


def _read_piece(stream: Any, left: int, where: str) -> tuple[Capture, int]:
    used = 0

    def take(count: int, kind: Any) -> NDArray[Any]:
        nonlocal used
        size = count * np.dtype(kind).itemsize
        if size > left - used:  # checked before memory is taken
            msg = f"{where}: cut short, {size} bytes expected and {left - used} there"
            raise InputError(msg)
        used += size
        array = np.empty(count, kind)
        view = array.view(np.uint8).data
        while view:
            got = stream.readinto(view)
            if not got:
                msg = f"{where}: the file became shorter while it was read"
                raise InputError(msg)
            view = view[got:]
        return array

    head = take(1, _HEAD)[0]
    orbits, counts = int(head["orbits"]), head["k"]
    if head["magic"] != MAGIC:
        msg = f"{where}: not a link capture (no {MAGIC.decode()} there)"
        raise InputError(msg)
    longest = 2 * LINE_WORDS * MAX_ORBITS
    if not 0 < orbits <= MAX_ORBITS or counts.min() < 0 or counts.max() > longest:
        msg = f"{where}: {orbits} orbits and {counts.tolist()} K words cannot be"
        raise InputError(msg)
    if int(head["simulated"]) not in _ORIGINS:
        msg = f"{where}: {int(head['simulated'])} says neither simulated (1) nor real (0) nor unknown (-1)"
        raise InputError(msg)
    ticks = take(LINKS * (orbits + 1), "<i8").reshape(LINKS, orbits + 1)
    if np.any(ticks < 0) or np.any(ticks > longest):
        msg = f"{where}: orbit signals outside the words"
        raise InputError(msg)
    k_at, k_mask = take(int(counts.sum()), "<u4"), take(int(counts.sum()), np.uint8)
    starts, k_starts = np.r_[0, np.cumsum(ticks[:, -1])], np.r_[0, np.cumsum(counts)]
    for n in range(LINKS):
        own = k_at[k_starts[n] : k_starts[n + 1]]
        if own.size and (np.any(own[1:] <= own[:-1]) or own[-1] >= ticks[n, -1]):
            msg = f"{where}: K flags of link {n} are out of order or outside its words"
            raise InputError(msg)
    words = take(int(starts[-1]), "<u4")
    if not k_mask.all():  # words listed without any flag are data
        k_starts = np.r_[0, np.cumsum(k_mask > 0)][k_starts]
        k_at, k_mask = k_at[k_mask > 0], k_mask[k_mask > 0]
    try:
        origin = _ORIGINS[int(head["simulated"])]
        capture = Capture(int(head["first_orbit"]), words, starts, k_at, k_mask, k_starts, ticks, origin)
    except ValueError as error:
        msg = f"{where}: {error}"
        raise InputError(msg) from error
    return capture, used
