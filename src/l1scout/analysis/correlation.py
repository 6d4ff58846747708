"""Correlation between objects of two kinds, k crossings apart: what chance does not explain.

In every batch, pairs k crossings apart are compared with what independent crossings would give: the products
of the mean counts of the two BX, summed over the orbit. The filling scheme drops out, and so do
changes of the luminosity from batch to batch.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from l1scout.analysis.kernels import coincidences
from l1scout.lhc import BX_PER_ORBIT


@dataclass
class Correlation:
    """State: add times of objects, then ask for the excess.

    Parameters
    ----------
    reach : int
        Largest distance in crossings.

    Attributes
    ----------
    pairs, chance : ndarray, shape (2 reach + 1,)
        Pairs whose second object comes d = -reach..reach crossings after the first, and those expected
        by chance.
    excess : ndarray, shape (2 reach + 1,)
        Pairs beyond chance. If both kinds are the same objects, each is paired with itself at d = 0.
    """

    reach: int = 5

    def __post_init__(self) -> None:
        size = 2 * self.reach + 1
        self.pairs, self.chance, self.excess = np.zeros(size, np.int64), np.zeros(size), np.zeros(size)
        self.objects = 0
        self.orbits = 0

    def add(self, first: NDArray[np.int64], second: NDArray[np.int64], orbits: int) -> None:
        """Take in a batch.

        Parameters
        ----------
        first, second : ndarray of int64
            Crossing of each object (`lhc.crossing`), never falling.
        orbits : int
            Orbits in which they were looked for, 2 or more: with less, chance cannot be told.
        """
        self.objects += first.size
        self.orbits += orbits
        if orbits < 2:
            return
        found = coincidences(first, second, self.reach, np.zeros(first.size, np.int64), 1)[0]
        a, b = (np.bincount(t % BX_PER_ORBIT, minlength=BX_PER_ORBIT) for t in (first, second))
        shifts = range(-self.reach, self.reach + 1)
        chance = np.array([float(a @ np.roll(b, -d)) for d in shifts]) / orbits
        self.pairs += found
        self.chance += chance
        # chance holds one orbit's share of what is sought
        self.excess += (found - chance) * orbits / (orbits - 1)

    @property
    def distances(self) -> NDArray[np.int64]:
        """-reach..reach."""
        return np.arange(-self.reach, self.reach + 1)

    @property
    def error(self) -> NDArray[np.float64]:
        """Statistical uncertainty of the excess."""
        return np.asarray(np.sqrt(np.maximum(self.chance, 1.0) + np.maximum(self.excess, 0.0)))
