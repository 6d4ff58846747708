"""Losses of the residuals themselves, for targets of the kind "residual".

Keras gives a loss the targets and the network's outputs. The targets hold nine columns: three targets,
three gains that turn their difference from the outputs into residuals (rad, 1, relative pT), and three
weights. So the pT residual is relative to the offline pT, as the nine numbers have it, and the network
still answers in GeV: no engine has to know.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.training.metrics import CORE, TAIL, VARIABLES

WIDTH = {"phi": 0.05, "eta": 0.012, "pt": 0.06}
"""Residuals beyond this count linearly in robust losses: about what recalibrated muons have."""
_TAIL_EDGE = 0.15
"""Softness of the tail's edge, in units of the window."""
_CORE_WINDOW = 3.0
"""Width of the bump that stands for the core, in units of the core window: a narrower one hardly trains."""
_CORE_SHARE = 0.3
"""What a muon in the core is worth, in units of one that is not in the tail."""
_PULL = 0.03
"""Share of a robust loss beside these counts, which give far residuals no slope."""
_RMS_SHARE = 0.1


def columns(
    targets: NDArray[np.float64], gains: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Pack what a loss needs, three arrays of shape (muons, 3), into one of shape (muons, 9)."""
    return np.concatenate([targets, gains, weights], axis=1).astype(np.float32)


def _loss(name: str, of: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    def loss(packed: Any, outputs: Any) -> Any:
        from keras import ops

        residual = (packed[:, :3] - outputs) * packed[:, 3:6]
        return ops.mean(ops.sum(of(residual) * packed[:, 6:], axis=1))

    loss.__name__ = name
    return loss


def _scales(of: dict[str, float]) -> NDArray[np.float32]:
    return np.array([of[v] for v in VARIABLES], np.float32)


def _square(residual: Any) -> Any:
    from keras import ops

    return ops.square(residual / _scales(WIDTH))


def _robust(residual: Any) -> Any:
    """Give ln(2 cosh z), without overflow."""
    from keras import ops

    z = ops.abs(residual / _scales(WIDTH))
    return z + ops.log1p(ops.exp(-2 * z))


def _counts(residual: Any) -> Any:
    from keras import ops

    beyond = ops.abs(residual) / _scales(TAIL) - 1
    tail = ops.sigmoid(beyond / _TAIL_EDGE)
    core = ops.exp(-0.5 * ops.square(residual / (_CORE_WINDOW * _scales(CORE))))
    return tail - _CORE_SHARE * core + _PULL * _robust(residual)


LOSSES = {
    "rms": _loss("rms", _square),
    "balanced": _loss("balanced", lambda residual: _robust(residual) + _RMS_SHARE * _square(residual)),
    "core": _loss("core", _counts),
}
"""By name; each takes the packed targets and the network's outputs.

``rms`` is least where the RMS is. ``core`` counts the tail (with a soft edge) and the core (with a soft and
wider window). ``balanced`` is between a median and a mean.
"""
