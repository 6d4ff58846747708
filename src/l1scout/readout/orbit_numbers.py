"""Orbit numbers as packets state them: counted on where they wrap, and separated from damaged ones."""

from bisect import bisect_right

import numpy as np
from numpy.typing import NDArray

from l1scout.formats.records import ORBIT
from l1scout.lhc import ORBITS_PER_LUMISECTION

EPOCH_ORBITS = 1 << ORBIT["orbit"].width
"""Orbit numbers of an epoch: an absolute orbit is ``epoch * EPOCH_ORBITS + orbit``."""
MAX_EPOCH = (1 << 16) - 1
_NEAR = 1 << 24
"""Orbits on both sides of the wrap, 25 minutes, within which a number is taken to have wrapped."""


def absolute(orbit: NDArray[np.int64], last: int, period: int) -> NDArray[np.int64]:
    """Return absolute orbits: in the epoch of the last one, or in the next where the numbers have wrapped.

    Parameters
    ----------
    orbit : ndarray of int64
        As packets state them; negative where they state nothing.
    last : int
        Absolute orbit that was believed last.
    period : int
        Where the numbers of the format begin again.
    """
    base = (last + 1) // period * period
    if base == 0 and last < period - _NEAR:
        return orbit
    number = orbit + base
    if last - base >= period - _NEAR:
        number[(orbit >= 0) & (orbit < _NEAR)] += period
    elif base and last - base < _NEAR:
        number[orbit >= period - _NEAR] -= period
    number[orbit < 0] = -1
    return number


def epoch_of(lumisection: int) -> int:
    """Return the epoch in which a lumisection (from 1) lies."""
    return (lumisection - 1) * ORBITS_PER_LUMISECTION // EPOCH_ORBITS


def begun_after(last_orbit: int) -> int:
    """Return the last orbit of an epoch as counted in the next: below -1 if numbers may have wrapped."""
    return last_orbit - EPOCH_ORBITS if last_orbit >= EPOCH_ORBITS - _NEAR else -1


def is_increasing(number: NDArray[np.int64]) -> bool:
    """Return whether each number is larger than the one before."""
    return bool((number[1:] > number[:-1]).all())


def longest_chain(number: NDArray[np.int64], expected: int) -> NDArray[np.bool_]:
    """Return which numbers of a packet go together: most of them, each larger than the one before.

    One number of a packet that is damaged is too large for those after it, or too small for those before it.
    Where there is a choice, the numbers with the smallest steps from the expected one are taken.

    Parameters
    ----------
    number : ndarray of int64
        Negative numbers are none.
    expected : int
        The number that follows the last one believed.
    """
    if is_increasing(number) and (number.size == 0 or number[0] >= 0):
        return _on_one_side(number, np.ones(number.size, np.bool_), expected)
    # orbit - place in the packet is constant in a row of orbits and never falls
    offset = (number - np.arange(number.size)).tolist()
    smallest, at = [expected], [-1]
    before = [-1] * number.size
    for k, value in enumerate(offset):
        if number[k] < 0:
            continue
        place = bisect_right(smallest, value)
        before[k] = at[place - 1] if place else -1
        if place == len(smallest):
            smallest.append(value)
            at.append(k)
        else:
            smallest[place], at[place] = value, k
    chain = np.zeros(number.size, np.bool_)
    k = at[-1]
    while k >= 0:
        chain[k] = True
        k = before[k]
    return _on_one_side(number, chain, expected)


def _on_one_side(number: NDArray[np.int64], chain: NDArray[np.bool_], expected: int) -> NDArray[np.bool_]:
    """Leave out what is on the wrong side of the last orbit, unless the chain crosses it without a step."""
    old, new = chain & (number < expected), chain & (number >= expected)
    if not (old.any() and new.any()):
        return chain
    offset = number - np.arange(number.size)
    joined = old & (offset == offset[np.argmax(new)])
    return old if old.sum() > new.sum() and not joined.any() else np.asarray(new | joined)


def last_run(offset: NDArray[np.int64]) -> int:
    """Return where the last row of equal offsets (number - place in the packet) begins."""
    steps = np.flatnonzero(np.diff(offset))
    return int(steps[-1]) + 1 if steps.size else 0


def single_places(offset: NDArray[np.int64], expected: int) -> NDArray[np.bool_]:
    """Return which orbits, but for the last, are alone between steps of the numbers."""
    before = np.r_[expected, offset[:-1]]
    after = np.r_[offset[1:], offset[-1:]]
    return np.asarray((offset != before) & (offset != after))
