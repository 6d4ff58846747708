"""Angles between the leading objects of two kinds, k BX apart, beside those of mixed orbits."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.analysis.common.orbit_windows import OrbitWindow
from l1scout.core.orbit_batch import OrbitBatch
from l1scout.jit import kernel
from l1scout.lhc import BX_PER_ORBIT

BINS = 24
PHI_EDGES = np.linspace(0, np.pi, BINS + 1)
ETA_EDGES = np.linspace(-6, 6, BINS + 1)
PHI, ETA = range(2)
ANGLES = ("phi", "eta")
OBSERVED, MIXED = range(2)


def no_angles(pairs: int, reach: int) -> NDArray[np.int64]:
    """Return zeros of shape (observed and mixed, pairs, 2 reach + 1 offsets, phi and eta, bins)."""
    return np.zeros((2, pairs, 2 * reach + 1, 2, BINS), np.int64)


def leading(batch: OrbitBatch, keep: NDArray[np.bool_], values: dict[str, Any]) -> NDArray[np.bool_]:
    """Return which objects are the leading ones of their crossing: of the largest pT, or the first."""
    chosen = np.flatnonzero(keep)
    row = batch.row[chosen]
    pt = values["pt"][chosen].astype(np.float64) if "pt" in values else np.zeros(row.size)
    order = np.lexsort((chosen, -pt, row))
    first = np.r_[True, np.diff(row[order]) != 0] if row.size else np.zeros(0, np.bool_)
    out = np.zeros(batch.n_objects, np.bool_)
    out[chosen[order[first]]] = True
    return out


def add_angles(
    window: OrbitWindow, kinds: list[str], pairs: NDArray[np.int64], reach: int, counts: NDArray[np.int64]
) -> None:
    """Add the angles in a window; the mixed ones are to an object of the next orbit, if both were seen."""
    objects = [window.objects(kind) for kind in kinds]
    for p, (a, b) in enumerate(pairs.tolist()):
        one, two = objects[a], objects[b]
        if all(name in o.columns for o in (one, two) for name in ANGLES):
            for which, shift in ((OBSERVED, 0), (MIXED, BX_PER_ORBIT)):
                _angles(
                    *(one.time, one.columns["phi"], one.columns["eta"]),
                    *(two.time, two.columns["phi"], two.columns["eta"]),
                    *(shift, reach, a == b, counts[which, p]),
                )


@kernel
def _angles(
    t_one: Any,
    phi_one: Any,
    eta_one: Any,
    t_two: Any,
    phi_two: Any,
    eta_two: Any,
    shift: Any,
    reach: Any,
    same: Any,
    counts: Any,
) -> None:
    begin = 0
    for i in range(t_one.size):
        at = t_one[i] + shift
        while begin < t_two.size and t_two[begin] < at - reach:
            begin += 1
        for j in range(begin, t_two.size):
            d = t_two[j] - at
            if d > reach:
                break
            if same and d <= 0:
                continue
            phi = abs(phi_two[j] - phi_one[i]) % (2 * np.pi)
            phi = min(phi, 2 * np.pi - phi)
            if phi >= 0:  # not NaN, of which the integer is undefined
                counts[d + reach, PHI, min(int(phi * BINS / np.pi), BINS - 1)] += 1
            eta = (eta_two[j] - eta_one[i] + 6.0) * BINS / 12.0
            if eta >= 0 and eta < BINS:
                counts[d + reach, ETA, int(eta)] += 1
