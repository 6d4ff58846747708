"""The state of the analysis `slow`: windows of stubs that are selected, beside those of mixed orbits.

Chance is what the same selection finds in mixed orbits: in a window of orbits, the content of BX b of orbit
i is taken from orbit i - m b (in a circle), for a few m. Neighbouring BX then come from different orbits,
while each BX keeps its rate and each crossing its stubs. So the filling scheme, and prompt muons with several
stubs, are in what is expected; what one particle leaves in several BX is not.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.analysis.common.live_time import LiveTime
from l1scout.analysis.common.muons import OfOrigin
from l1scout.analysis.common.orbit_windows import (
    WINDOW,
    OrbitWindow,
    TimedObjects,
    WindowedState,
    orbits_of,
    seen_objects,
)
from l1scout.core.orbit_batch import OrbitBatch
from l1scout.errors import InputError
from l1scout.lhc import BX_PER_ORBIT
from l1scout.statistics import signal_fraction
from l1scout.trigger.multi_bx_stubs import COLUMNS, StubSelection

MIXTURES = 4
"""Ways in which the orbits of a window are mixed, if it has enough of them."""
_STUB = "stub"
Times = NDArray[np.int64]


@dataclass
class _WindowSums:
    """Selected windows by BX, of which 0 is not used: all, those compared, and those of mixed orbits."""

    selected: NDArray[np.int64]
    compared: NDArray[np.int64]
    mixed: NDArray[np.int64]
    orbits: int = 0

    @classmethod
    def none(cls) -> "_WindowSums":
        one = np.zeros(BX_PER_ORBIT + 1, np.int64)
        return cls(one, one.copy(), np.zeros((MIXTURES + 1, BX_PER_ORBIT + 1), np.int64))

    def add(self, other: "_WindowSums") -> None:
        self.selected = self.selected + other.selected
        self.compared = self.compared + other.compared
        self.mixed = self.mixed + other.mixed
        self.orbits += other.orbits


@dataclass
class StubWindows(WindowedState, OfOrigin):
    """State: add batches of stubs, then ask for results."""

    selection: StubSelection
    live: LiveTime = field(default_factory=LiveTime)
    stubs: int = 0
    _sums: _WindowSums = field(default_factory=_WindowSums.none)

    @property
    def sums(self) -> _WindowSums:
        """Sums of the windows that were closed."""
        return self._sums

    def add(self, batch: OrbitBatch, prescale: float = 1.0) -> None:
        """Take in a batch (InputError if it does not count its orbits, or is not in order of time)."""
        if prescale != 1:
            msg = "stubs of neighbouring crossings need all crossings: give no --prescale"
            raise InputError(msg)
        self.live.add(batch, prescale)
        self.origins |= batch.origins
        self.stubs += batch.n_objects
        columns = {name: batch[name] for name in COLUMNS if name in batch.columns}
        self.take({_STUB: seen_objects(batch, np.ones(batch.n_objects, np.bool_), columns)})

    def merge(self, other: "StubWindows") -> None:
        """Add data that follow these."""
        self.live.merge(other.live)
        self.origins |= other.origins
        self.stubs += other.stubs
        self._sums.add(other._sums)
        self.follow(other)

    def close(self, window: OrbitWindow, sums: _WindowSums) -> None:
        """Count the windows of BX that end in a window of orbits, or in the first BX of the next one."""
        width, own = self.selection.window, window.objects(_STUB)
        if not own.time.size and window.head is None:
            return
        start, stop = window.first, window.first + BX_PER_ORBIT * WINDOW
        ends = self._select(_joined(own, window.head, stop, stop + width - 1))
        # those at its beginning are counted with the window before it
        found = _by_bx(ends[ends >= start + (width - 1 if window.follows else 0)])
        sums.selected = sums.selected + found
        orbits = orbits_of(window.seen.get(_STUB, 0))
        steps = [m for m in range(1, orbits.size) if math.gcd(m, orbits.size) == 1][:MIXTURES]
        if orbits.size < width or not steps:
            return
        sums.orbits += orbits.size
        sums.compared = sums.compared + found
        mixed = [_by_bx(self._select(_mixed(own, start, orbits, step))) for step in steps]
        sums.mixed = sums.mixed.copy()
        sums.mixed[len(steps)] += np.sum(mixed, axis=0)

    def _select(self, stubs: TimedObjects) -> Times:
        if not stubs.time.size:
            return stubs.time
        return self.selection.select(stubs.time, stubs.columns)

    def result(self) -> dict[str, Any]:
        """Gather what is printed and written (InputError if no orbit was seen)."""
        total = _WindowSums.none()
        total.add(self._sums)
        self.close_open(total)
        scale = 1 / np.maximum(np.arange(MIXTURES + 1), 1)
        mean = (total.mixed * scale[:, None]).sum(axis=0)
        spread = np.sqrt((total.mixed * scale[:, None] ** 2).sum(axis=0))
        n, compared, chance = int(total.selected.sum()), int(total.compared.sum()), float(mean.sum())
        error = float(np.sqrt((spread**2).sum()))
        # scaled to the number of mixed windows that one mixture has
        share = signal_fraction(compared, round(chance))
        excess = compared - chance
        rows = np.flatnonzero((total.selected > 0) | (mean > 0))
        return {
            "orbits": self.live.orbits,
            "live_s": self.live.seconds,
            "unplaced_orbits": self.unplaced,
            "stubs": self.stubs,
            "selected": n,
            "rate_hz": {"value": self.live.rate(n), "error": self.live.rate(np.sqrt(max(n, 1)))},
            "compared_orbits": total.orbits,
            "compared": compared,
            "expected": {"value": chance, "error": error},
            "excess": {"value": excess, "error": float(np.hypot(np.sqrt(max(compared, 1)), error))},
            "excess_share": {"value": share.value, "low": share.low, "high": share.high},
            "by_bx": [
                {
                    "bx": bx,
                    "selected": int(total.selected[bx]),
                    "expected": float(mean[bx]),
                    "expected_stat": float(spread[bx]),
                }
                for bx in rows.tolist()
            ],
        }


def _joined(own: TimedObjects, head: OrbitWindow | None, first: int, stop: int) -> TimedObjects:
    """Return objects with those of the first crossings of the next window."""
    if head is None:
        return own
    later = head.objects(_STUB).between(first, stop)
    if not later.time.size:
        return own
    if not own.time.size:
        return later
    columns = {name: np.concatenate([c, later.columns[name]]) for name, c in own.columns.items()}
    return TimedObjects(np.concatenate([own.time, later.time]), columns)


def _mixed(stubs: TimedObjects, start: int, orbits: NDArray[np.int64], step: int) -> TimedObjects:
    """Return stubs moved to another orbit of those that were seen, by `step` orbits more in each next BX."""
    orbit, bx = np.divmod(stubs.time - start, BX_PER_ORBIT)
    place = (np.searchsorted(orbits, orbit) + step * bx) % orbits.size
    time = start + orbits[place] * BX_PER_ORBIT + bx
    order = np.argsort(time, kind="stable")
    return TimedObjects(time[order], {name: column[order] for name, column in stubs.columns.items()})


def _by_bx(time: Times) -> NDArray[np.int64]:
    return np.bincount(time % BX_PER_ORBIT + 1, minlength=BX_PER_ORBIT + 1)
