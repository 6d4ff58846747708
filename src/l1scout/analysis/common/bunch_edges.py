"""Shares seen one BX early or late, measured where there are no collisions: beside the ends of trains.

What is seen before the first bunch of a train is early, after its last late, once the level of the four BX
further out, extrapolated, is taken away. It is divided by what is in time in that bunch, from which early and
late ones of its neighbours were taken.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from l1scout.analysis.common.schemes import Scheme
from l1scout.errors import InputError
from l1scout.statistics import Measured

SIDE, FAR = (2, 3), (4, 5)
"""BX from the bunch: a straight line through the means of both is the background of the BX beside it."""
STRETCH = 0.75
"""From the middle of `SIDE` to the BX beside the bunch, in distances between `SIDE` and `FAR`."""
FEWEST = 50
"""Objects in the first or last bunches of trains: with less, nothing is said."""
_ROUNDS = 30


@dataclass(frozen=True)
class Fired:
    """Share of the objects seen in a wrong BX.

    Parameters
    ----------
    share : Measured
        Of all objects of those bunches: early, in time and late. A difference of counts: by chance below 0.
    syst : float
        Of the background: an exponential through both pairs of BX instead of a line.
    seen : int
        Objects in the BX beside.
    background : float
        Expected there without firing.
    """

    share: Measured
    syst: float
    seen: int
    background: float

    @property
    def significance(self) -> float:
        """Standard deviations from 0."""
        return self.share.value / float(np.hypot(self.share.error, self.syst))


class BunchEdges:
    """First and last bunches of trains with enough empty BX beside them.

    Parameters
    ----------
    scheme : Scheme

    Attributes
    ----------
    first, last : ndarray of int64
        Their BX.

    Raises
    ------
    InputError
        If there are none.
    """

    def __init__(self, scheme: Scheme) -> None:
        self.first, self.last = _edges(scheme, -1), _edges(scheme, 1)
        if not self.first.size or not self.last.size:
            msg = f"filling scheme {scheme.name}: no train with five empty BX beside it"
            raise InputError(msg)

    def measure(
        self, counts: NDArray[np.int64], variance: NDArray[np.float64] | None = None
    ) -> tuple[Fired, Fired]:
        """Measure early and late objects; NaN if there are too few.

        Parameters
        ----------
        counts : ndarray of int64, shape (3565,)
            By BX; index 0 is not used.
        variance : ndarray of float64, shape (3565,), optional
            Of the counts; that of Poisson if not given.
        """
        n = counts[1:].astype(np.float64)
        v = n if variance is None else variance[1:]
        if min(n[self.first - 1].sum(), n[self.last - 1].sum()) < FEWEST:
            unknown = Fired(Measured(float("nan")), float("nan"), 0, float("nan"))
            return unknown, unknown
        in_time, early, late = n, 0.0, 0.0
        for _ in range(_ROUNDS):
            in_time = n - early * np.roll(in_time, -1) - late * np.roll(in_time, 1)
            e, t = (
                _beside(n, n, bx, side)[0] / max(in_time[bx - 1].sum(), 1.0)
                for bx, side in ((self.first, -1), (self.last, 1))
            )
            if abs(e - early) + abs(t - late) < 1e-9:
                break
            early, late = e, t
        total = 1 + early + late
        fired = []
        for bx, side, ratio in ((self.first, -1, early), (self.last, 1, late)):
            objects = max(in_time[bx - 1].sum(), 1.0)
            spread = objects if variance is None else float(v[bx - 1].sum())
            _, of_beside, seen, background, other = _beside(n, v, bx, side)
            error = np.sqrt(of_beside / objects**2 + ratio**2 * spread / objects**2) / total
            fired.append(
                Fired(Measured(ratio / total, float(error)), other / objects / total, seen, background)
            )
        return fired[0], fired[1]


def _edges(scheme: Scheme, side: int) -> NDArray[np.int64]:
    """Bunches at the end of a train with as many empty BX beside them as are looked at."""
    bx = scheme.first if side < 0 else scheme.last
    mask = scheme.mask[1:]
    free = np.ones(bx.size, np.bool_)
    for k in range(1, max(FAR) + 1):
        free &= ~mask[(bx - 1 + side * k) % mask.size]
    return bx[free]


def _beside(
    n: NDArray[np.float64], variance: NDArray[np.float64], bx: NDArray[np.int64], side: int
) -> tuple[float, float, int, float, float]:
    """Excess beside bunches, its variance, all objects there, background, and how far that may be wrong."""

    def at(values: NDArray[np.float64], distance: int) -> float:
        return float(values[(bx - 1 + side * distance) % n.size].sum())

    near, far, of_near, of_far = (
        sum(at(values, k) for k in ks) / len(ks) for values in (n, variance) for ks in (SIDE, FAR)
    )
    background = near + STRETCH * (near - far)
    curved = near * (near / far) ** STRETCH if far else near
    spread = max(at(variance, 1), 1.0) + ((1 + STRETCH) ** 2 * of_near + STRETCH**2 * of_far) / len(SIDE)
    return at(n, 1) - background, spread, int(at(n, 1)), background, abs(curved - background)
