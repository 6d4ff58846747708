"""Compiled loops over pairs and triples of objects, in the integers of the Global Trigger.

Of each leg they get the row of its objects and which of them pass; of each pair, the tables and limits of
`pair_values.PairRules`. In the tests, an interpreter in plain Python and the trigger's own vectors are
their reference.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.jit import kernel

CHARGES, DETA, DPHI, DISTANCE, MASS, TRANSVERSE_MASS = range(6)
"""Cuts on a pair."""
Integers = NDArray[np.int64]
Places = NDArray[np.uint16]


@kernel
def pair_passes(a: Any, b: Any, i: int, j: int, cuts: Any, tables: Any, turn: int) -> bool:
    """Return whether objects `i` and `j` of two legs pass all cuts.

    Parameters
    ----------
    a, b : tuple of ndarray of int64
        pT, eta, phi and charge of the legs' objects; those that no cut needs may be empty.
    i, j : int
    cuts : ndarray of int64, shape (cuts, 4)
        Kind, lower and upper limit, and 1 if the value must be within them, 0 if not.
    tables : tuple of ndarray of int64
        Differences of eta and of phi in 0.001, cosh and cos; cos of 0 is 1 with its decimals.
    turn : int
        Bins of phi in a full turn.
    """
    eta = phi = 0
    if len(a[1]) and len(b[1]):
        eta = abs(a[1][i] - b[1][j])
    if len(a[2]) and len(b[2]):
        phi = abs(a[2][i] - b[2][j]) % turn
        phi = min(phi, turn - phi)
    for k in range(len(cuts)):
        kind = cuts[k, 0]
        if kind == CHARGES:
            first, second = a[3][i], b[3][j]
            if first == 0 or second == 0:
                return False
            value = np.int64(first != second)
        elif kind == DETA:
            value = tables[0][eta]
        elif kind == DPHI:
            value = tables[1][phi]
        elif kind == DISTANCE:
            value = tables[0][eta] * tables[0][eta] + tables[1][phi] * tables[1][phi]
        elif kind == MASS:
            value = a[0][i] * b[0][j] * (tables[2][eta] - tables[3][phi])
        else:
            value = a[0][i] * b[0][j] * (tables[3][0] - tables[3][phi])
        if (cuts[k, 1] <= value <= cuts[k, 2]) != (cuts[k, 3] == 1):
            return False
    return True


@kernel
def overlapping(
    starts: Any, places: Any, a: Any, b: Any, cuts: Any, tables: Any, turn: int, near: Places
) -> None:
    """Find which objects of one leg are within a cut of which objects of another.

    Parameters
    ----------
    starts, places : tuple of two ndarray, each of shape (candidates,)
        First object of each leg's row, and which of its objects pass.
    a, b, cuts, tables, turn
        As of `pair_passes`.
    near : ndarray of uint16, shape (candidates, slots)
        Result: by place of the first leg's object, the second leg's objects that it overlaps.
    """
    for k in range(len(near)):
        for i in range(near.shape[1]):
            near[k, i] = 0
            if not places[0][k] >> i & 1:
                continue
            for j in range(16):
                if places[1][k] >> j & 1 and pair_passes(
                    a, b, starts[0][k] + i, starts[1][k] + j, cuts, tables, turn
                ):
                    near[k, i] |= 1 << j


@kernel
def any_pair(
    starts: Any,
    places: Any,
    same: int,
    a: Any,
    b: Any,
    cuts: Any,
    tables: Any,
    turn: int,
    near: Any,
    last: Places,
    veto: bool,
    passed: NDArray[np.bool_],
) -> None:
    """Find the candidates in which a pair passes all cuts.

    Parameters
    ----------
    starts, places, a, b, cuts, tables, turn
        As of `overlapping`.
    same : int
        1 if both legs are from one list, so that their objects must be different; 2 if, besides, the legs
        are equal, so that each pair needs to be looked at once only; otherwise 0.
    near : tuple of two ndarray of uint16, each of shape (candidates, slots)
        Overlaps of each leg's objects with the last leg's; of shape (0, 0) if no overlaps are removed.
    last : ndarray of uint16, shape (candidates,)
        Objects of the last leg that pass.
    veto : bool
        Whether all of those must be away from the pair; otherwise one is enough.
    passed : ndarray of bool, shape (candidates,)
        Result.
    """
    removal = len(near[0]) > 0
    for k in range(len(passed)):
        passed[k] = False
        if removal and last[k] == 0:
            continue
        for i in range(16):
            if passed[k] or places[0][k] >> i == 0:
                break
            if not places[0][k] >> i & 1:
                continue
            for j in range(i + 1 if same == 2 else 0, 16):
                if places[1][k] >> j == 0:
                    break
                if not places[1][k] >> j & 1 or (same and i == j):
                    continue
                if removal:
                    close = last[k] & (near[0][k, i] | near[1][k, j])
                    if close == last[k] or (veto and close):
                        continue
                if pair_passes(a, b, starts[0][k] + i, starts[1][k] + j, cuts, tables, turn):
                    passed[k] = True
                    break


@kernel
def any_triple(
    starts: Any,
    places: Any,
    lists: Integers,
    values: Any,
    low: int,
    high: int,
    charges: int,
    tables: Any,
    turn: int,
    passed: NDArray[np.bool_],
) -> None:
    """Find the candidates in which three different objects pass a cut on their mass.

    Parameters
    ----------
    starts, places : ndarray, shape (3, candidates)
    lists : ndarray of int64, shape (3,)
        Legs with the same number have objects of one list.
    values : tuple of ndarray of int64
        pT, eta, phi and charge of all three legs' objects.
    low, high : int
        Limits of the sum of the pairs' half squared masses.
    charges : int
        0 if charges must be equal, 1 if not all may be; otherwise -1.
    tables, turn
        As of `pair_passes`.
    passed : ndarray of bool, shape (candidates,)
        Result.
    """
    for k in range(len(passed)):
        passed[k] = _triple_of(starts[:, k], places[:, k], lists, values, low, high, charges, tables, turn)


@kernel
def _triple_of(
    starts: Any, places: Any, lists: Any, values: Any, low: int, high: int, charges: int, tables: Any,
    turn: int,
) -> bool:  # fmt: skip
    for i in range(16):
        if not places[0] >> i & 1:
            continue
        for j in range(16):
            if not places[1] >> j & 1 or (lists[0] == lists[1] and i == j):
                continue
            for m in range(16):
                if not places[2] >> m & 1 or (lists[0] == lists[2] and i == m):
                    continue
                if lists[1] == lists[2] and j == m:
                    continue
                at = starts[0] + i, starts[1] + j, starts[2] + m
                if _triple_passes(at, values, low, high, charges, tables, turn):
                    return True
    return False


@kernel
def _triple_passes(at: Any, values: Any, low: int, high: int, charges: int, tables: Any, turn: int) -> bool:
    pt, eta, phi, charge = values
    if charges >= 0:
        first, second, third = charge[at[0]], charge[at[1]], charge[at[2]]
        if first == 0 or second == 0 or third == 0:
            return False
        if (first == second and first == third) != (charges == 0):
            return False
    total = 0
    for k in range(3):
        a, b = at[k], at[(k + 1) % 3]
        turned = abs(phi[a] - phi[b]) % turn
        turned = min(turned, turn - turned)
        total += pt[a] * pt[b] * (tables[2][abs(eta[a] - eta[b])] - tables[3][turned])
    return bool(low <= total <= high)
