"""Losses of the residuals themselves, for targets of the kind "residual".

Keras gives a loss the targets and the network's outputs. The targets hold nine columns: three targets,
three sizes that turn their difference from the outputs into residuals (rad, 1, relative pT), and three
weights. So residuals are those of the nine metrics, pT relative to the offline pT, whatever the layers
answer with: no engine has to know.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.model.keras_backend import load_keras
from l1scout.model.quantities import VARIABLES

WIDTH = {"phi": 0.05, "eta": 0.012, "pt": 0.06}
"""About what recalibrated muons have: gives phi, eta and pT equal weight."""
_NARROW = 0.3
"""Width beyond which a balanced loss is linear, in units of `WIDTH`: close to a mean absolute error."""


def columns(
    targets: NDArray[np.float64], sizes: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Pack what a loss needs, three arrays of shape (muons, 3), into one of shape (muons, 9)."""
    return np.concatenate([targets, sizes, weights], axis=1).astype(np.float32)


def _loss(name: str, of: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    def loss(packed: Any, outputs: Any) -> Any:
        ops = load_keras().ops

        residual = (packed[:, :3] - outputs) * packed[:, 3:6]
        return ops.sum(of(residual) * packed[:, 6:], axis=1)

    loss.__name__ = name
    return loss


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


LOSSES = {"rms": _loss("rms", _square), "balanced": _loss("balanced", _robust)}
"""By name; each takes the packed targets and the network's outputs, and returns one number per muon.

``rms`` is least for a conditional mean, ``balanced`` near a conditional median, which is close to the best
in all of RMS, core and tail.
"""
