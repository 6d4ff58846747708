"""Not worse than the trigger where that can be checked: weights of muons such that no bin loses.

Bins are those of offline pT, offline eta and charge with `MIN_MUONS` validation muons; nothing is claimed of
the others, and `l1scout.training.support` ends a model's range of hwPt where those of pT end.

A model only knows what the trigger says, and soft muons own every value of it: the best answer on average
can be worse than none for the few hard muons. That nobody loses is a constraint, so muons of bins that
would lose count more in training, as Lagrange's multipliers do: they are found by raising the weight of a
bin, for the variable in which it loses, and training on; a muon's weight is the product of those of its
bins on all axes. The network needs nothing else, so every engine has the guard.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from l1scout.dataset.matched import Dataset
from l1scout.evaluate.metrics import TAIL
from l1scout.evaluate.profiles import AXES, MIN_MUONS
from l1scout.model.quantities import VARIABLES, Residuals
from l1scout.statistics import paired_ratio, rms_ratio

if TYPE_CHECKING:
    import keras

ROUNDS = 8
_UP, _FASTEST, _DOWN, _SLOWEST = 10.0, 3.0, 2.0, 0.8
_FIRST = np.cumsum([0, *(len(axis.edges) - 1 for axis in AXES)])
"""Number of the first bin of each axis: bins of all axes are counted in one row."""


def epochs(whole: int) -> int:
    """Epochs of a round, of those of the whole training."""
    return max(whole // 5, 1)


def bins(data: Dataset) -> NDArray[np.int64]:
    """Bin of each muon on each axis, shape (axes, muons); the end bins also have those beyond."""
    rows = []
    for axis, first in zip(AXES, _FIRST, strict=False):
        at = np.searchsorted(axis.edges, data[axis.column], side="right") - 1
        rows.append(first + np.clip(at, 0, len(axis.edges) - 2))
    return np.stack(rows)


def of_muons(weights: NDArray[np.float64], data: Dataset) -> NDArray[np.float64]:
    """Weights of muons, shape (muons, 3), from those of bins: the product over the axes."""
    return np.asarray(weights[bins(data)].prod(axis=0))


def excess(data: Dataset, after: Residuals, raw: Residuals) -> NDArray[np.float64]:
    """How much worse than the raw trigger a model may be, shape (bins, 3).

    The larger one of the ratios of RMS and tail, minus 1, plus one standard deviation: a bin is safe if
    this is negative. Bins with few muons are left out, and count as safe.
    """
    out = np.full((_FIRST[-1], len(VARIABLES)), -1.0)
    for row in bins(data):
        for b in np.unique(row):
            these = np.flatnonzero(row == b)
            if these.size < MIN_MUONS:
                continue
            for k, v in enumerate(VARIABLES):
                x, y = after[v][these], raw[v][these]
                found = rms_ratio(x, y), paired_ratio(np.abs(x) > TAIL[v], np.abs(y) > TAIL[v])
                out[b, k] = max(m.value - 1 + m.error for m in found if m.error == m.error)
    return out


def train(
    model: "keras.Model",
    again: Callable[[NDArray[np.float64]], None],
    check: Callable[[], NDArray[np.float64]],
) -> dict[str, Any]:
    """Train on with changing weights; the best state is kept.

    Parameters
    ----------
    model : keras.Model
        Trained without weights.
    again : callable
        Trains it on with the weights of the bins, shape (bins, 3).
    check : callable
        Gives the model's `excess` on the validation part.

    Returns
    -------
    dict
        Weights by axis and bin, and the number of bins that are not safe, for the card.
    """
    weights = np.ones((_FIRST[-1], len(VARIABLES)))
    used, left = weights, check()
    best, kept = _badness(left), model.get_weights()
    for _ in range(ROUNDS):
        if not (left > 0).any():
            break
        up = np.clip(1 + _UP * left, 1, _FASTEST)
        down = np.clip(1 + _DOWN * left, _SLOWEST, 1)
        weights = np.maximum(weights * np.where(left > 0, up, down), 1)
        again(weights)
        left = check()
        if _badness(left) < best:
            best, kept, used = _badness(left), model.get_weights(), weights
    model.set_weights(kept)
    by_axis = np.split(used, _FIRST[1:-1])
    return {
        "bins_not_safe": best[0],
        **{
            axis.name: {"edges": list(axis.edges), "weights": np.round(table, 3).tolist()}
            for axis, table in zip(AXES, by_axis, strict=True)
        },
    }


def _badness(left: NDArray[np.float64]) -> tuple[int, float]:
    """Bins that are not safe, and by how much in all."""
    return int(np.count_nonzero(left > 0)), float(np.maximum(left, 0).sum())
