"""Pairs of objects within a crossing and across crossings: linear in objects and pairs."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.jit import kernel

Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]


def pairs(offsets: NDArray[np.int64]) -> Pairs:
    """All pairs of objects within a row.

    Parameters
    ----------
    offsets : ndarray of int64, shape (rows + 1,)
        As of an `OrbitBatch`.

    Returns
    -------
    first, second : ndarray of int64, shape (pairs,)
        Indices of objects, first < second, in order.
    """
    counts = np.diff(offsets)
    out = np.empty((2, int((counts * (counts - 1) // 2).sum())), np.int64)
    _pairs(offsets, out)
    return out[0], out[1]


@kernel
def _pairs(offsets: Any, out: Any) -> None:
    n = 0
    for row in range(offsets.size - 1):
        for i in range(offsets[row], offsets[row + 1] - 1):
            for j in range(i + 1, offsets[row + 1]):
                out[0, n] = i
                out[1, n] = j
                n += 1


def neighbours(time: NDArray[np.int64], low: int, high: int, start: int = 0) -> Pairs:
    """All pairs of objects whose second comes `low` to `high` crossings after the first.

    Parameters
    ----------
    time : ndarray of int64, shape (objects,)
        Crossing of each object (see `lhc.crossing`), never falling.
    low, high : int
        1 <= low <= high.
    start : int
        Only pairs whose second object is this one or later: those before were seen already.

    Returns
    -------
    first, second : ndarray of int64, shape (pairs,)
        In order of the second.

    Raises
    ------
    ValueError
        If the span or the order of time is wrong.
    """
    if not 1 <= low <= high:
        msg = f"crossings between neighbours must be 1 or more, rising: not {low} to {high}"
        raise ValueError(msg)
    time = np.ascontiguousarray(time, np.int64)
    edges = np.empty((2, max(time.size - start, 0)), np.int64)
    n = _edges(time, low, high, start, edges)
    if n < 0:
        msg = "objects are not in order of time"
        raise ValueError(msg)
    out = np.empty((2, n), np.int64)
    _fill(edges, start, out)
    return out[0], out[1]


@kernel
def _edges(time: Any, low: Any, high: Any, start: Any, edges: Any) -> Any:
    """First and past-the-last partner of each object from `start` on; returns the pairs, -1 if unordered."""
    begin, end, total = 0, 0, 0
    for j in range(start, time.size):
        if j and time[j] < time[j - 1]:
            return -1
        while begin < j and time[begin] < time[j] - high:
            begin += 1
        end = max(end, begin)
        while end < j and time[end] <= time[j] - low:
            end += 1
        edges[0, j - start] = begin
        edges[1, j - start] = end
        total += end - begin
    return total


@kernel
def _fill(edges: Any, start: Any, out: Any) -> None:
    n = 0
    for j in range(edges.shape[1]):
        for i in range(edges[0, j], edges[1, j]):
            out[0, n] = i
            out[1, n] = j + start
            n += 1


def coincidences(
    first: NDArray[np.int64], second: NDArray[np.int64], reach: int, kind: NDArray[np.int64], kinds: int
) -> NDArray[np.int64]:
    """Count pairs of two kinds of objects by the crossings between them.

    Parameters
    ----------
    first, second : ndarray of int64
        Crossing of each object, never falling; the two may be the same array: an object is then also
        paired with itself, at 0.
    reach : int
        Largest distance in crossings.
    kind : ndarray of int64, shape of `first`
        Category, 0 to kinds - 1, of each first object; others are left out.
    kinds : int

    Returns
    -------
    ndarray of int64, shape (kinds, 2 reach + 1)
        Column ``d + reach``: pairs whose second object comes d crossings after the first.

    Raises
    ------
    ValueError
        If the second objects are seen not to be in order of time.
    """
    counts = np.zeros((kinds, 2 * reach + 1), np.int64)
    ordered = _coincidences(
        np.ascontiguousarray(first, np.int64),
        np.ascontiguousarray(second, np.int64),
        reach,
        np.ascontiguousarray(kind, np.int64),
        counts,
    )
    if not ordered:
        msg = "objects are not in order of time"
        raise ValueError(msg)
    return counts


@kernel
def _coincidences(first: Any, second: Any, reach: Any, kind: Any, counts: Any) -> Any:
    begin = 0
    for i in range(first.size):
        while begin < second.size and second[begin] < first[i] - reach:
            begin += 1
        if kind[i] < 0 or kind[i] >= counts.shape[0]:
            continue
        for j in range(begin, second.size):
            apart = second[j] - first[i]
            if apart > reach:
                break
            if apart < -reach:
                return False
            counts[kind[i], apart + reach] += 1
    return True
