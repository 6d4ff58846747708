"""The firmware engine: an integer network at work, the reference of its logic."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.deploy.engines import ENGINES
from l1scout.deploy.engines._base import Engine, EngineOptions, check_arrays
from l1scout.jit import kernel
from l1scout.model.directory import Model
from l1scout.model.domain import Domain
from l1scout.model.integers import STEPS, IntegerNetwork

_CHUNK = 1 << 11  # the layers of this number of muons stay in the cache


@ENGINES.register("firmware")
class FirmwareEngine(Engine):
    """An integer network at work.

    Parameters
    ----------
    network : IntegerNetwork

    Attributes
    ----------
    overflows : int
        Values that lost bits above, since it was made: none, as long as the caller keeps to the domain.
    """

    networks = (IntegerNetwork,)
    reference = True
    unasked = True

    @classmethod
    def create(cls, model: Model, options: EngineOptions) -> "FirmwareEngine":  # noqa: ARG003
        """Make the engine."""
        assert model.integers  # as `networks` says
        return cls(model.integers)

    def __init__(self, network: IntegerNetwork) -> None:
        self.network = network
        self.overflows = 0
        self._steps = STEPS.astype(np.float32)[:, np.newaxis]
        self._layers = [
            (
                layer.weights.astype(np.float64),
                layer.bias.astype(np.float64),
                np.exp2(-layer.shift.astype(np.float64)),
                np.exp2(layer.bits.astype(np.float64)),
                k < len(network.layers) - 1,
            )
            for k, layer in enumerate(network.layers)
        ]
        self._look_ups = [
            [(at, np.ascontiguousarray(at.values.T, np.float64)) for at in network.look_ups if at.layer == k]
            for k in range(len(network.layers))
        ]

    def integers(self, hardware: NDArray[Any]) -> NDArray[np.int32]:
        """Answers in `STEPS`, exact, shape (3, muons)."""
        out = np.empty((len(STEPS), hardware.shape[1]), np.int32)
        for start in range(0, hardware.shape[1], _CHUNK):
            piece = slice(start, start + _CHUNK)
            out[:, piece] = self._values(hardware[:, piece])[-1]
        return out

    def ranges(self, domain: Domain) -> tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]]:
        """Smallest and largest value of each neuron over a domain, an array a layer.

        An input that no neuron looks at need not vary.
        """
        low = [np.full(layer.bias.size, np.inf) for layer in self.network.layers]
        high = [np.full(layer.bias.size, -np.inf) for layer in self.network.layers]
        for _, hardware in domain.fixed(self.network.blind).chunks(_CHUNK):
            for k, values in enumerate(self._values(hardware)):
                low[k] = np.minimum(low[k], values.min(axis=1))
                high[k] = np.maximum(high[k], values.max(axis=1))
        return [x.astype(np.int64) for x in low], [x.astype(np.int64) for x in high]

    def _values(self, hardware: NDArray[Any]) -> list[NDArray[np.float64]]:
        """Values of all layers for a chunk of muons."""
        x, found = hardware.astype(np.float64), []
        for (weights, bias, step, span, hidden), look_ups in zip(self._layers, self._look_ups, strict=True):
            y = np.empty((bias.size, x.shape[1]))
            y[:] = bias[:, np.newaxis]
            for at, values in look_ups:
                _look_up(values, at.row(hardware), y)
            self.overflows += _layer(weights, step, span, hidden, x, y)
            found.append(y)
            x = y
        return found

    def correct(self, hardware: NDArray[Any], out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Return corrections; see `Engine`."""
        hardware, out = check_arrays(hardware, len(self.network.inputs), len(STEPS), out)
        np.multiply(self.integers(hardware), self._steps, out=out, dtype=np.float32, casting="unsafe")
        return out


@kernel
def _look_up(values: NDArray[np.float64], rows: NDArray[np.int64], y: NDArray[np.float64]) -> None:
    """Add to sums, shape (neurons, muons), what is looked up in an array (neurons, rows)."""
    for j in range(y.shape[0]):
        for m in range(rows.size):
            y[j, m] += values[j, rows[m]]


@kernel
def _layer(
    weights: NDArray[np.float64],
    step: NDArray[np.float64],
    span: NDArray[np.float64],
    hidden: bool,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
) -> int:
    """Finish a layer's sums, shape (neurons, muons), and return how many values lost bits above.

    All are integers below 2**52, so that float64, which is faster, is exact.
    """
    over = 0
    for j in range(y.shape[0]):
        row = y[j]
        for i in range(x.shape[0]):
            weight, column = weights[i, j], x[i]
            if weight != 0:
                for m in range(row.size):
                    row[m] += weight * column[m]
        lowest = 0.0 if hidden else -span[j] / 2
        for m in range(row.size):
            word = np.floor((max(row[m], 0.0) if hidden else row[m]) * step[j])
            turns = np.floor((word - lowest) / span[j])
            over += turns != 0
            row[m] = word - turns * span[j]
    return over
