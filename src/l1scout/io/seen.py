"""Recognise what was read before: orbits of the same number, orbits of the same content, events.

Memory is bounded: a bit per orbit where the run is known, two bytes per orbit where it is not, and a sample
of checksums to recognise data that repeat.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch, concatenate
from l1scout.lhc import ORBITS_PER_LUMISECTION, order_of_time

_BLOCK = ORBITS_PER_LUMISECTION
"""Orbits of a block of memory."""
_MAX_BLOCKS = 1 << 13
"""Blocks of bits: 256 MiB, 53 hours of incomplete lumisections. The oldest are forgotten beyond that."""
_MAX_CONTENT_BLOCKS = 1 << 9
"""Blocks of checksums: 256 MiB, 3 hours."""
_EMPTY = 1
"""Checksum of an orbit without a muon; 0 = orbit not seen."""
_MAX_SAMPLE = 1 << 16
_MIN_MUONS = 2
"""Orbits with fewer muons say nothing about repetition."""

_PACKED = (
    ("hwPt", 9, 12),
    ("hwPhiAtVtx", 10, 21),
    ("hwEtaAtVtx", 9, 31),
    ("hwCharge", 1, 40),
    ("hwQual", 4, 41),
    ("tfMuonIndex", 7, 45),
)
"""Columns of a muon that make its checksum: name, bits, place above the 12 bits of the BX."""
_OTHERS = 3
"""Columns that make the checksum of objects without hwPt, such as towers and sums, beside the BX."""


def is_first(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which values occur for the first time in an array."""
    out = np.zeros(len(values), np.bool_)
    out[np.unique(values, return_index=True)[1]] = True
    return out


def checksums(batch: OrbitBatch) -> NDArray[np.uint64]:
    """Return the sums of the checksums of objects and their BX before each row, shape (rows + 1,).

    Of muons only the final ones count.

    The checksum of some rows in succession, such as an orbit, is the difference of two of them; 0 without a
    muon.
    """
    packed = batch.bx[batch.row].astype(np.uint64)
    for name, bits, place in _PACKED:
        if name in batch.columns:
            value = batch[name].astype(np.int64) & ((1 << bits) - 1)
            packed |= value.astype(np.uint64) << np.uint64(place)
    if "hwPt" not in batch.columns:
        whole = [values for values in batch.columns.values() if values.dtype.kind in "iu"]
        for values in whole[:_OTHERS]:
            packed = (packed ^ values.astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):  # splitmix64
        packed = (packed ^ (packed >> np.uint64(shift))) * np.uint64(factor)
    if "intermediate" in batch.columns:
        packed[batch["intermediate"] != 0] = 0
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(packed, dtype=np.uint64)])
    return np.asarray(sums[batch.offsets])


def orbit_checksums(batch: OrbitBatch, orbits: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return the checksum of each of some orbits; the batch is in order of time."""
    sums = checksums(batch)
    first, last = (np.searchsorted(batch.orbit, orbits, side) for side in ("left", "right"))
    return sums[last] - sums[first]


class OrbitsSeen:
    """Orbits that were read, by run and number: for data whose run is known."""

    def __init__(self) -> None:
        self._blocks: dict[tuple[int, int], NDArray[np.uint8]] = {}

    def new(self, run: int, orbits: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which orbits were not read before, and remember all of them."""
        out = is_first(orbits)
        numbers = orbits // _BLOCK
        for number in np.unique(numbers).tolist():
            at = np.flatnonzero(numbers == number)
            bits = self._block(run, number)
            place = orbits[at] % _BLOCK
            byte, bit = place >> 3, (1 << (place & 7)).astype(np.uint8)
            out[at] &= bits[byte] & bit == 0
            np.bitwise_or.at(bits, byte, bit)
        return out

    def _block(self, run: int, number: int) -> NDArray[np.uint8]:
        key = run, number
        if key not in self._blocks:
            if len(self._blocks) >= _MAX_BLOCKS:
                del self._blocks[next(iter(self._blocks))]
            self._blocks[key] = np.zeros(_BLOCK // 8, np.uint8)
        return self._blocks[key]


class ContentSeen:
    """Orbits that were read, by number and content: for data that do not state their run.

    Two such files may hold different runs, whose orbits have the same numbers: only an orbit with the same
    number *and* the same muons is the same orbit. Empty orbits follow the verdict on those around them.

    Attributes
    ----------
    overlapping : int
        Orbits with the number of an earlier one, but with other muons.
    """

    def __init__(self) -> None:
        self._blocks: dict[int, NDArray[np.uint16]] = {}
        self._same = False
        self.overlapping = 0

    def new(self, orbits: NDArray[np.int64], checksums: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Return which orbits (rising) were not read before, and remember them."""
        short = np.where(checksums == 0, _EMPTY, checksums % np.uint64(0xFFFD) + np.uint64(2)).astype(
            np.uint16
        )
        before = np.zeros(orbits.size, np.uint16)
        numbers = orbits // _BLOCK
        for number in np.unique(numbers).tolist():
            at = np.flatnonzero(numbers == number)
            block, place = self._block(number), orbits[at] % _BLOCK
            before[at] = block[place]
            block[place] = short[at]
        seen, filled = before > 0, (short != _EMPTY) | (before > _EMPTY)
        same = seen & filled & (before == short)
        decided = np.flatnonzero(seen & filled)
        self.overlapping += int(decided.size - np.count_nonzero(same))
        if decided.size:
            self._same = bool(np.count_nonzero(same) * 2 > decided.size)
        return np.asarray(~(same | (seen & ~filled & self._same)))

    def _block(self, number: int) -> NDArray[np.uint16]:
        if number not in self._blocks:
            if len(self._blocks) >= _MAX_CONTENT_BLOCKS:
                del self._blocks[next(iter(self._blocks))]
            self._blocks[number] = np.zeros(_BLOCK, np.uint16)
        return self._blocks[number]


class EventsSeen:
    """Triggered events that were read, by run and crossing: eight bytes per event."""

    def __init__(self) -> None:
        self._runs: dict[int, NDArray[np.int64]] = {}

    def new(self, batch: OrbitBatch) -> NDArray[np.bool_]:
        """Return which rows were not read before; rows whose orbit is not known always count as new."""
        out = np.ones(len(batch), np.bool_)
        for run in np.unique(batch.run).tolist():
            rows = np.flatnonzero((batch.run == run) & (batch.orbit >= 0))
            time = order_of_time(batch.orbit[rows], batch.bx[rows])
            before = self._runs.get(run, np.zeros(0, np.int64))
            out[rows] = is_first(time) & ~np.isin(time, before)
            self._runs[run] = np.union1d(before, time)
        return out


class Repetition:
    """Recognise orbits that repeat the content of an earlier orbit under another number.

    Keeps at most 65,536 checksums: of all orbits at first, then of a fraction that is chosen by the checksum
    itself, so that every pass of a loop meets its own orbits again.
    """

    def __init__(self) -> None:
        self._sample: set[int] = set()
        self._one_in = 1
        self.repeated = 0

    def add(self, batch: OrbitBatch) -> None:
        """Take in the orbits of a batch."""
        if not len(batch):
            return
        starts = np.flatnonzero(np.r_[True, np.diff(batch.orbit) != 0])
        ends = np.r_[starts[1:], len(batch)]
        sums = checksums(batch)
        sums = (sums[ends] - sums[starts])[batch.offsets[ends] - batch.offsets[starts] >= _MIN_MUONS]
        for value in sums[sums % np.uint64(self._one_in) == 0].tolist():
            if value % self._one_in:  # the fraction became smaller in this loop
                continue
            if value in self._sample:
                self.repeated += self._one_in
                continue
            self._sample.add(value)
            if len(self._sample) > _MAX_SAMPLE:
                self._one_in *= 2
                self._sample = {v for v in self._sample if v % self._one_in == 0}


def whole_orbits(batches: Iterable[OrbitBatch]) -> Iterator[OrbitBatch]:
    """Complete the last orbit of each batch from the next batch; at most two batches are in memory."""
    held: OrbitBatch | None = None
    for batch in batches:
        if held is None:
            held = batch
            continue
        n = _rows_of_last_orbit(held, batch)
        if n:
            rows = np.arange(len(batch))
            rest = batch.take(rows[:n], n_orbits=None if batch.n_orbits is None else 0)
            held = concatenate([held, rest])
            batch = batch.take(rows[n:], n_orbits=batch.n_orbits)
            if not len(batch) and not batch.n_orbits:
                continue
        yield held
        held = batch
    if held is not None:
        yield held


def _rows_of_last_orbit(before: OrbitBatch, after: OrbitBatch) -> int:
    """Count the first rows of a batch that belong to the last orbit of the one before."""
    if not (len(before) and len(after)) or before.orbit[-1] < 0 or before.run[-1] != after.run[0]:
        return 0
    rises = np.diff(np.r_[before.bx[-1], after.bx]) > 0
    same = (after.orbit == before.orbit[-1]) & (after.run == before.run[-1]) & rises
    return len(after) if same.all() else int(np.argmin(same))
