"""Bins of offline pT, eta and charge that lose get more weight in training, up to a price.

A model only knows what the trigger says, and soft muons own every value of it, so the best answer on average
can be worse than none for the few hard muons. Where their words differ at least a little from those of soft
ones, a larger weight of theirs in the loss helps. Weights of bins are raised round by round, for the variable
in which a bin of `MIN_MUONS` validation muons is worse than the raw trigger; a muon's weight is the product
of those of its bins on all axes, at most `MAX_WEIGHT`. Bins that do not respond are given up, and the rounds
end at a price. It is not the default: `l1scout.training.guard` is.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from l1scout.dataset.matched import Dataset
from l1scout.evaluate.metrics import TAIL, ratios
from l1scout.evaluate.profiles import AXES, MIN_MUONS
from l1scout.model.quantities import VARIABLES, Residuals
from l1scout.statistics import paired_ratio, rms_ratio

if TYPE_CHECKING:
    import keras

ROUNDS = 8
MAX_WEIGHT = 10.0
GIVEN_UP = 2
"""Rounds in a row in which a larger weight did not make a bin better, after which it is given up."""
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
    """Weights of muons, shape (muons, 3), from those of bins: the product over the axes, with a limit."""
    return np.asarray(np.minimum(weights[bins(data)].prod(axis=0), MAX_WEIGHT))


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
    check: Callable[[], Residuals],
    validation: Dataset,
    raw: Residuals,
    most: float,
) -> dict[str, Any]:
    """Train on with changing weights; the best state whose price is not too high is kept.

    Parameters
    ----------
    model : keras.Model
        Trained without weights.
    again : callable
        Trains it on with the weights of the bins, shape (bins, 3).
    check : callable
        Gives the model's residuals on the validation part.
    validation : Dataset
    raw : Residuals
        Of the trigger's own values.
    most : float
        Share by which any of the nine metrics may become worse.

    Returns
    -------
    dict
        For the card: the price in the nine metrics, why the rounds ended, the bins that are left with their
        excess, and the largest weight of a bin.
    """
    free = check()
    left, weights = excess(validation, free, raw), np.ones((_FIRST[-1], len(VARIABLES)))
    best, kept, used, after, remaining = _badness(left), model.get_weights(), weights, free, left
    failed, reason = np.zeros_like(weights), f"{ROUNDS} rounds were done"
    for _ in range(ROUNDS):
        active = (left > 0) & (failed < GIVEN_UP)
        if not active.any():
            reason = "no bin is left that responds" if (left > 0).any() else "all bins are safe"
            break
        up = np.clip(1 + _UP * left, 1, _FASTEST)
        down = np.clip(1 + _DOWN * left, _SLOWEST, 1)
        weights = np.where(failed < GIVEN_UP, np.maximum(weights * np.where(active, up, down), 1), 1.0)
        again(weights)
        now = check()
        if price(now, free) > most:
            reason = f"more would cost over {100 * most:g} %"
            break
        new = excess(validation, now, raw)
        failed = np.where(active & (new >= left), failed + 1, np.where(failed < GIVEN_UP, 0, failed))
        left = new
        if _badness(left) < best:
            best, kept, used = _badness(left), model.get_weights(), weights
            after, remaining = now, left
    model.set_weights(kept)
    return {
        "price": ratios(after, free).as_dict(),
        "ended": reason,
        "largest_weight": float(used.max()),
        "left": _named(remaining),
    }


def price(after: Residuals, free: Residuals) -> float:
    """Return the largest share by which one of the nine metrics is worse than before."""
    losses = [1 - m.value if kind == "core" else m.value - 1 for kind, _, m in ratios(after, free)]
    return float(np.nanmax(losses))


def _named(left: NDArray[np.float64]) -> list[dict[str, Any]]:
    found = []
    for axis, first in zip(AXES, _FIRST, strict=False):
        for b in range(len(axis.edges) - 1):
            for k, v in enumerate(VARIABLES):
                if left[first + b, k] > 0:
                    ends = {"low": axis.edges[b], "high": axis.edges[b + 1]}
                    value = round(float(left[first + b, k]), 4)
                    found.append({"column": axis.column, **ends, "variable": v, "excess": value})
    return found


def _badness(left: NDArray[np.float64]) -> tuple[int, float]:
    """Bins that are not safe, and by how much in all."""
    return int(np.count_nonzero(left > 0)), float(np.maximum(left, 0).sum())
