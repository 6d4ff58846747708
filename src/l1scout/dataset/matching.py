"""Which offline muon is which L1 muon: nearest pairs at the second muon station."""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from l1scout.jit import kernel

MAX_DR2 = 0.01
"""Largest squared distance of a pair at the second muon station (reference paper, selection)."""


@kernel
def _distance2(eta: Any, phi: Any, other_eta: Any, other_phi: Any) -> Any:
    deta = eta - other_eta
    dphi = phi - other_phi
    dphi -= 2 * math.pi * np.rint(dphi / (2 * math.pi))
    return deta * deta + dphi * dphi


@kernel
def _nearest(i: int, eta: Any, phi: Any, other_eta: Any, other_phi: Any, free: Any, max_dr2: float) -> Any:
    """Nearest free partner of muon ``i`` and its squared distance; (-1, inf) if none is near enough.

    The arrays of partners and ``free`` are those of one row.
    """
    best, best_dr2 = -1, np.inf
    for j in range(other_eta.size):
        if free[j]:
            dr2 = _distance2(eta[i], phi[i], other_eta[j], other_phi[j])
            if dr2 < max_dr2 and dr2 < best_dr2:  # False for NaN
                best, best_dr2 = j, dr2
    return best, best_dr2


@kernel
def _match(
    l1_eta: Any,
    l1_phi: Any,
    l1_offsets: Any,
    reco_eta: Any,
    reco_phi: Any,
    reco_offsets: Any,
    max_dr2: float,
    partner: Any,
) -> None:
    """Write the offline partner of every L1 muon, or -1."""
    free = np.ones(reco_eta.size, np.bool_)
    distance = np.empty(l1_eta.size, np.float64)
    for row in range(l1_offsets.size - 1):
        low, high = l1_offsets[row], l1_offsets[row + 1]
        a, b = reco_offsets[row], reco_offsets[row + 1]
        if high - low == 1 and b - a == 1:  # nearly every row of a triggered sample
            near = _distance2(l1_eta[low], l1_phi[low], reco_eta[a], reco_phi[a]) < max_dr2
            partner[low] = a if near else -1
            continue
        eta, phi = reco_eta[a:b], reco_phi[a:b]
        for i in range(low, high):
            best, distance[i] = _nearest(i, l1_eta, l1_phi, eta, phi, free[a:b], max_dr2)
            partner[i] = a + best if best >= 0 else -1
        # A muon's nearest partner only gets worse as partners are taken, so the smallest of the nearest
        # distances is the smallest of all: only those who lost their partner have to look again.
        for _ in range(min(high - low, b - a)):
            first = -1
            for i in range(low, high):
                if distance[i] < np.inf and (first < 0 or distance[i] < distance[first]):
                    first = i
            if first < 0:
                break
            distance[first] = np.inf
            free[partner[first]] = False
            for i in range(low, high):
                if distance[i] < np.inf and partner[i] == partner[first]:
                    best, distance[i] = _nearest(i, l1_eta, l1_phi, eta, phi, free[a:b], max_dr2)
                    partner[i] = a + best if best >= 0 else -1


def match(
    l1_eta: ArrayLike,
    l1_phi: ArrayLike,
    l1_offsets: ArrayLike,
    reco_eta: ArrayLike,
    reco_phi: ArrayLike,
    reco_offsets: ArrayLike,
    max_dr2: float = MAX_DR2,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pair L1 with offline muons of the same row, nearest first, each used at most once.

    Parameters
    ----------
    l1_eta, l1_phi : array_like of float, shape (L1 muons,)
        At the second muon station; phi in rad, any number of turns.
    l1_offsets : array_like of int, shape (rows + 1,)
        Row ``r`` holds the muons ``l1_offsets[r]`` to ``l1_offsets[r + 1]``.
    reco_eta, reco_phi : array_like of float, shape (offline muons,)
        The same for the offline muons; NaN, which never matches, where a muon does not reach the
        station.
    reco_offsets : array_like of int, shape (rows + 1,)
    max_dr2 : float
        A pair needs ``deta^2 + dphi^2 < max_dr2``.

    Returns
    -------
    l1_index, reco_index : ndarray of int64, shape (pairs,)
        Indices from 0 of the pairs, in order of the L1 muons. Of equal distances, the lower L1 index
        goes first and takes the lower offline index.

    Raises
    ------
    ValueError
        If columns and offsets do not agree.
    """
    eta, phi, offsets = _side("L1", l1_eta, l1_phi, l1_offsets)
    other_eta, other_phi, other_offsets = _side("offline", reco_eta, reco_phi, reco_offsets)
    if offsets.size != other_offsets.size:
        msg = f"{offsets.size - 1} rows of L1 muons, but {other_offsets.size - 1} of offline muons"
        raise ValueError(msg)
    partner = np.full(eta.size, -1, np.int64)
    _match(eta, phi, offsets, other_eta, other_phi, other_offsets, float(max_dr2), partner)
    l1_index = np.flatnonzero(partner >= 0)
    return l1_index, partner[l1_index]


def _side(
    name: str, eta: ArrayLike, phi: ArrayLike, offsets: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Check and convert the columns of one side."""
    eta, phi = np.ascontiguousarray(eta, np.float64), np.ascontiguousarray(phi, np.float64)
    offsets = np.ascontiguousarray(offsets, np.int64)
    if eta.shape != phi.shape or eta.ndim != 1:
        msg = f"{name} muons: eta has shape {eta.shape}, phi {phi.shape}"
        raise ValueError(msg)
    if offsets.size < 1 or offsets[0] != 0 or offsets[-1] != eta.size or np.any(np.diff(offsets) < 0):
        msg = f"{name} muons: offsets must rise from 0 to {eta.size}, the number of muons"
        raise ValueError(msg)
    return eta, phi, offsets
