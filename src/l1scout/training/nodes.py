"""Which values of an input have a vector of their own, and which lie between those of others.

Where training muons are many, each value of an input has its own vector (`l1scout.training.embeddings`).
Where they are few, as at high pT, vectors of their own would follow chance: there, they are tied. Only some
values, the nodes, have one, and those between get the linear interpolation, so that answers change smoothly;
values beyond the first and the last node have its vector. Symmetry is a tie, too: values of eta and -eta
have the same vector.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from l1scout.formats.streams.muon import PHI_BINS

DENSE = 50
"""Training muons of every node."""
SECTORS = 12
"""Of the barrel."""
WIDER = 1.35
"""Nodes of hwPt from `NARROW` on are at least this ratio apart: a spectrum of masses has bumps and dips where
answers follow the chances of single values."""
NARROW = 18
"""hwPt from which on a node needs more muons, too, by its square: soft muons that are measured wrong scatter
there by many times their pT. From `MOST` on it is no more."""
MOST = 1000


def nodes(values: NDArray[np.int64], wider: float = 1.0) -> NDArray[np.int64]:
    """Choose nodes: each value that `DENSE` muons have, and between them one for each `DENSE` muons.

    In pT, all from `NARROW` on stand for ranges of values, and for more muons.

    Parameters
    ----------
    values : ndarray of int64, shape (muons,)
        Not negative.
    wider : float
        Smallest ratio of the first and the last value that a node stands for, if they are more than one.
    """
    counts = np.bincount(values)
    found: list[int] = []
    first, group, moment = 0, 0, 0
    for value in np.flatnonzero(counts).tolist():
        n = int(counts[value])
        smooth = wider > 1 and value >= NARROW
        enough = min(DENSE * (value / NARROW) ** 2, MOST) if smooth else DENSE
        if n >= enough and not smooth:
            found.append(value)
            group = moment = 0
            continue
        first = first if group else value
        group, moment = group + n, moment + n * value
        if group >= enough and value >= wider * first:
            found.append(round(moment / group))
            group = moment = 0
    if group >= DENSE or not found:
        found.append(round(moment / group))
    return np.array(sorted(set(found)))


def table(
    low: int, high: int, at: NDArray[np.int64], of: Callable[[NDArray[np.int64]], NDArray[np.int64]]
) -> NDArray[np.float32]:
    """Return the share of each node in the vector of each value, and a slope, shape (values, nodes + 1).

    The slope is a number that grows with the value, by about 1 on a tenth of the nodes: neighbours share
    what they learn by it.

    Parameters
    ----------
    low, high : int
        Values from `low` to `high`, both included.
    at : ndarray of int64
        Nodes, rising.
    of : callable
        Gives the value that a value counts as: its size for ties of values of both signs.
    """
    value = of(np.arange(low, high + 1)).astype(np.float64)
    position = np.interp(value, at, np.arange(at.size))
    shares = np.maximum(1 - np.abs(position[:, np.newaxis] - np.arange(at.size)), 0)
    slope = (position - (at.size - 1) / 2) / 10
    return np.concatenate([shares, slope[:, np.newaxis]], axis=1).astype(np.float32)


def harmonics(phi: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return waves over the full turn and over a sector of 30 degrees, shape (values, waves): ties of phi."""
    turns = np.outer(phi, [*range(1, 4), *(SECTORS * k for k in range(1, 4))]) * (2 * np.pi / PHI_BINS)
    return np.concatenate([np.sin(turns), np.cos(turns)], axis=1).astype(np.float32)
