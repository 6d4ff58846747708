"""Correlate objects of two kinds, k crossings apart: find what chance does not explain.

In windows of `WINDOW` orbits, pairs k crossings apart are compared with what independent crossings would
give: the products of the mean counts of the two BX, summed over the orbit. The filling scheme drops out, and
so do changes of the luminosity from window to window. Windows begin at multiples of `WINDOW` orbits, wherever
the data were cut into batches or pieces; pairs in two windows are not counted.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from l1scout.analysis.common.kernels import coincidences
from l1scout.analysis.common.seen_orbits import SeenOrbits
from l1scout.lhc import BX_PER_ORBIT

WINDOW = 100
"""Orbits of a window: 9 ms."""
_LENGTH = WINDOW * BX_PER_ORBIT
Times = NDArray[np.int64]


@dataclass
class _Window:
    """Objects of a window that may not be complete: crossings of both kinds, and orbits that were seen."""

    key: tuple[int, int]
    first: list[Times]
    second: list[Times]
    orbits: int

    def extend(self, other: "_Window") -> None:
        """Add a later part of the same window."""
        self.first, self.second = self.first + other.first, self.second + other.second
        self.orbits += other.orbits


class Correlation:
    """State: add times of objects, then ask for the excess.

    Parameters
    ----------
    reach : int
        Largest distance in crossings.

    Attributes
    ----------
    objects : int
        Objects of the first kind.
    orbits : int
        Orbits in which they were looked for.
    """

    def __init__(self, reach: int = 5) -> None:
        self.reach = reach
        self.objects = 0
        self.orbits = 0
        self._sums: dict[int, NDArray[np.int64]] = {}
        self._open: list[_Window] = []

    def add(self, first: Times, second: Times, covered: SeenOrbits, other_orbits: int = 0) -> None:
        """Take in a batch of one run.

        Parameters
        ----------
        first, second : ndarray of int64
            Crossing of each object (`lhc.crossing`), never falling.
        covered : SeenOrbits
            Orbits in which they were looked for.
        other_orbits : int
            Orbits of the batch of which it is not known which they are: they count for its first window.
        """
        self.objects += first.size
        self.orbits += covered.orbits + other_orbits
        for window in self._windows(first, second, covered):
            window.orbits, other_orbits = window.orbits + other_orbits, 0
            self._take(window)

    def _windows(self, first: Times, second: Times, covered: SeenOrbits) -> Iterator[_Window]:
        """Yield the windows of a batch that have objects, and the first and the last."""
        with_objects = np.unique(np.r_[first // _LENGTH, second // _LENGTH])
        ends = np.array([covered.first // WINDOW, covered.last // WINDOW], np.int64)
        numbers = np.union1d(with_objects, ends)
        edges = np.stack([numbers, numbers + 1])
        of_first, of_second = (
            np.searchsorted(times, edges * _LENGTH).T.tolist() for times in (first, second)
        )
        seen = np.diff(covered.before((edges * WINDOW).reshape(-1)).reshape(2, -1), axis=0)[0].tolist()
        for number, a, b, orbits in zip(numbers.tolist(), of_first, of_second, seen, strict=True):
            parts = [first[slice(*a)]], [second[slice(*b)]]
            yield _Window((covered.run or 0, number), *parts, orbits)

    def _take(self, window: _Window) -> None:
        """Add a window, or the rest of the last one: the first and the last stay open for a merge."""
        if self._open and self._open[-1].key == window.key:
            self._open[-1].extend(window)
            return
        self._open.append(window)
        if len(self._open) > 2:
            self._close(self._open.pop(1), self._sums)

    def _close(self, window: _Window, sums: dict[int, NDArray[np.int64]]) -> None:
        """Count the pairs of a window: whole numbers by the orbits seen, so that sums are exact."""
        if window.orbits < 2:
            return  # chance cannot be told
        # parts of a window may come in any order
        first, second = (np.sort(np.concatenate(x), kind="stable") for x in (window.first, window.second))
        if not first.size or not second.size:
            return
        found = coincidences(first, second, self.reach, np.zeros(first.size, np.int64), 1)[0]
        a, b = (np.bincount(t % BX_PER_ORBIT, minlength=BX_PER_ORBIT) for t in (first, second))
        around = np.r_[b[-self.reach :], b, b[: self.reach]]
        products = np.lib.stride_tricks.sliding_window_view(around, BX_PER_ORBIT) @ a
        sums[window.orbits] = sums.get(window.orbits, 0) + np.stack([found, products])

    def merge(self, other: "Correlation") -> None:
        """Add the objects of data that follow these."""
        self.objects += other.objects
        self.orbits += other.orbits
        for orbits, sums in other._sums.items():
            self._sums[orbits] = self._sums.get(orbits, 0) + sums
        for window in other._open:
            self._take(_Window(window.key, [*window.first], [*window.second], window.orbits))

    def _totals(self) -> list[tuple[int, NDArray[np.int64]]]:
        """Return pairs and products by the orbits of their windows, those of open windows too."""
        sums = dict(self._sums)
        for window in self._open:
            self._close(window, sums)
        return sorted(sums.items())

    @property
    def pairs(self) -> NDArray[np.int64]:
        """Pairs whose second object comes d = -reach..reach crossings after the first."""
        return sum((both[0] for _, both in self._totals()), np.zeros(2 * self.reach + 1, np.int64))

    @property
    def chance(self) -> NDArray[np.float64]:
        """Pairs that are expected by chance."""
        return sum((both[1] / n for n, both in self._totals()), np.zeros(2 * self.reach + 1))

    @property
    def excess(self) -> NDArray[np.float64]:
        """Pairs beyond chance. If both kinds are the same objects, each is paired with itself at d = 0."""
        # chance holds one orbit's share of what is sought
        parts = ((both[0] - both[1] / n) * n / (n - 1) for n, both in self._totals())
        return sum(parts, np.zeros(2 * self.reach + 1))

    @property
    def distances(self) -> NDArray[np.int64]:
        """-reach..reach."""
        return np.arange(-self.reach, self.reach + 1)

    @property
    def error(self) -> NDArray[np.float64]:
        """Statistical uncertainty of the excess."""
        return np.asarray(np.sqrt(np.maximum(self.chance, 1.0) + np.maximum(self.excess, 0.0)))
