"""Objects of crossings in places, the one of largest hwPt first: compiled loops."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.jit import kernel

LOW, HIGH = -128, 127
"""Ends of an input of an anomaly model."""


@kernel
def place_objects(offsets: NDArray[np.int64], pt: NDArray[Any], out: NDArray[np.int64]) -> None:
    """Find the objects of largest pt of each row.

    Parameters
    ----------
    offsets : ndarray of int64, shape (rows + 1,)
        Of the objects of each row.
    pt : ndarray, shape (objects,)
        Of equal ones, the first comes first.
    out : ndarray of int64, shape (rows, places)
        Gets the number of the object in each place, -1 where there is none.
    """
    places = out.shape[1]
    for row in range(offsets.size - 1):
        best, filled = out[row], 0
        for i in range(offsets[row], offsets[row + 1]):
            if filled < places:
                k = filled
                filled += 1
            elif pt[i] > pt[best[places - 1]]:
                k = places - 1
            else:
                continue
            while k > 0 and pt[best[k - 1]] < pt[i]:
                best[k] = best[k - 1]
                k -= 1
            best[k] = i
        for k in range(filled, places):
            best[k] = -1


@kernel
def fill_inputs(
    objects: NDArray[np.int64],
    at: NDArray[np.int64],
    values: NDArray[Any],
    offset: float,
    factor: float,
    out: NDArray[np.int16],
) -> None:
    """Fill the inputs that one column gives: (value - offset) x factor, rounded and saturated.

    Parameters
    ----------
    objects : ndarray of int64, shape (rows, places)
        See `place_objects`.
    at : ndarray of int64, shape (rows,)
        Place of each row among the crossings.
    values : ndarray, shape (objects,)
    offset, factor : float
    out : ndarray of int16, shape (places, crossings)
        Places without an object are left as they are.
    """
    for row in range(objects.shape[0]):
        for place in range(objects.shape[1]):
            k = objects[row, place]
            if k >= 0:
                x = np.rint((values[k] - offset) * factor)
                out[place, at[row]] = np.int16(min(max(x, LOW), HIGH))
