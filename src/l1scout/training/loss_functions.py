"""Losses of the residuals themselves, for targets of the kind "residual".

Keras gives a loss the targets and the network's outputs. The targets hold ten columns: three targets,
three sizes that turn their difference from the outputs into residuals (rad, 1, relative pT), three
weights, and how much of the logarithm there is in pT. So residuals are those of the nine metrics, pT
relative to the offline pT, whatever the layers answer with: no engine has to know.

Relative to the offline pT, a pT that is three times too large counts three times as much as one that is
three times too small, so that the best answer is below the pT of most muons. At low pT that is the price of
the best RMS. At high pT resolutions are so bad that a Z would be 7 % too low, and the answer to the largest
pT of the track finder would be 99 GeV, where pairs make a hump in the spectrum of masses. So `balanced` goes
over to the logarithm of the ratio of both pT, which is symmetric, between the two pT of `LOGARITHMIC`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.formats.streams.muon import PT
from l1scout.model.keras_backend import load_keras
from l1scout.model.quantities import VARIABLES

WIDTH = {"phi": 0.05, "eta": 0.012, "pt": 0.06}
"""About what recalibrated muons have: gives phi, eta and pT equal weight."""
_NARROW = 0.3
"""Width beyond which a balanced loss is linear, in units of `WIDTH`: close to a mean absolute error."""
LOGARITHMIC = (22.0, 75.0)
"""GeV of L1 pT: up to the first a balanced loss sees the relative pT residual, from the second on its
logarithm, in between a mixture that changes with the logarithm of pT."""
_STRAIGHT = 0.1
"""Ratio of recalibrated and offline pT below which the logarithm goes on as a straight line."""


def columns(
    targets: NDArray[np.float64],
    sizes: NDArray[np.float64],
    weights: NDArray[np.float64],
    hw_pt: NDArray[np.integer[Any]],
) -> NDArray[np.float32]:
    """Pack what a loss needs into one array of shape (muons, 10).

    Parameters
    ----------
    targets, sizes, weights : ndarray of float64, shape (muons, 3)
    hw_pt : ndarray of int, shape (muons,)
    """
    low, high = np.log(LOGARITHMIC)
    share = np.clip((np.log(np.maximum(PT.to_physical(hw_pt), 0.5)) - low) / (high - low), 0, 1)
    return np.concatenate([targets, sizes, weights, share[:, np.newaxis]], axis=1).astype(np.float32)


def _loss(name: str, of: Callable[[Any], Any], logarithmic: bool = False) -> Callable[[Any, Any], Any]:
    def loss(packed: Any, outputs: Any) -> Any:
        ops = load_keras().ops

        residual = (packed[:, :3] - outputs) * packed[:, 3:6]
        if logarithmic:
            share = packed[:, 9:] * np.array([v == "pt" for v in VARIABLES], np.float32)
            residual = residual + share * (_logarithm(residual) - residual)
        return ops.sum(of(residual) * packed[:, 6:9], axis=1)

    loss.__name__ = name
    return loss


def _logarithm(residual: Any) -> Any:
    """Return the logarithm of 1 plus a relative residual, and a straight line where there is none."""
    ops = load_keras().ops

    above = residual + (1 - _STRAIGHT)
    return ops.log(_STRAIGHT + ops.relu(above)) + ops.minimum(above, 0.0) / _STRAIGHT


def _scales(of: dict[str, float]) -> NDArray[np.float32]:
    return np.array([of[v] for v in VARIABLES], np.float32)


def _square(residual: Any) -> Any:
    ops = load_keras().ops

    return ops.square(residual / _scales(WIDTH))


def _robust(residual: Any) -> Any:
    """Give ln(2 cosh z), without overflow."""
    ops = load_keras().ops

    z = ops.abs(residual / (_NARROW * _scales(WIDTH)))
    return z + ops.log1p(ops.exp(-2 * z))


LOSSES = {"rms": _loss("rms", _square), "balanced": _loss("balanced", _robust, logarithmic=True)}
"""By name; each takes the packed targets and the network's outputs, and returns one number per muon.

``rms`` is least for a conditional mean, ``balanced`` near a conditional median, which is close to the best
in all of RMS, core and tail.
"""
