"""The firmware engine: an integer network at work, the reference of its logic."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.deploy.engines import ENGINES
from l1scout.deploy.engines._base import Engine, EngineOptions, check_arrays
from l1scout.jit import kernel
from l1scout.model.directory import Model
from l1scout.model.domain import Domain
from l1scout.model.integers import IntegerGains, IntegerNetwork, Neurons

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
        self._steps = network.answer_steps.astype(np.float32)[:, np.newaxis]
        self._layers = [
            (layer.weights.astype(np.float64), *_rounding(layer), k < len(network.layers) - 1)
            for k, layer in enumerate(network.layers)
        ]
        self._gains = [
            (gain, np.ascontiguousarray(gain.factors.T, np.float64))
            for gain in (network.gains.gains if network.gains else ())
        ]
        self._after_gains = _rounding(network.gains) if network.gains else None
        self._look_ups = [
            [(at, np.ascontiguousarray(at.values.T, np.float64)) for at in network.look_ups if at.layer == k]
            for k in range(len(network.layers))
        ]

    def integers(self, hardware: NDArray[Any]) -> NDArray[np.int32]:
        """Answers in the network's steps, exact, shape (answers, muons)."""
        out = np.empty((len(self._steps), hardware.shape[1]), np.int32)
        for start in range(0, hardware.shape[1], _CHUNK):
            piece = slice(start, start + _CHUNK)
            out[:, piece] = self._values(hardware[:, piece])[-1]
        return out

    def ranges(self, domain: Domain) -> tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]]:
        """Smallest and largest value of each neuron over a domain, an array per layer; then of the gains.

        An input that no neuron and no gain looks at need not vary.
        """
        parts = [*self.network.layers, *((self.network.gains,) if self.network.gains else ())]
        low = [np.full(part.bias.size, np.inf) for part in parts]
        high = [np.full(part.bias.size, -np.inf) for part in parts]
        for _, hardware in domain.fixed(self.network.blind).chunks(_CHUNK):
            for k, values in enumerate(self._values(hardware)):
                low[k] = np.minimum(low[k], values.min(axis=1))
                high[k] = np.maximum(high[k], values.max(axis=1))
        return [x.astype(np.int64) for x in low], [x.astype(np.int64) for x in high]

    def _values(self, hardware: NDArray[Any]) -> list[NDArray[np.float64]]:
        """Values of all layers for a chunk of muons, then those after the gains if there are any."""
        x, found = hardware.astype(np.float64), []
        for (weights, bias, step, span, hidden), look_ups in zip(self._layers, self._look_ups, strict=True):
            y = np.empty((bias.size, x.shape[1]))
            y[:] = bias[:, np.newaxis]
            for at, values in look_ups:
                _look_up(values, at.row(hardware), y)
            _products(weights, x, y)
            self.overflows += _round(step, span, hidden, y)
            found.append(y)
            x = y
        if self._after_gains:
            bias, step, span = self._after_gains
            y = x.copy()
            for gain, factors in self._gains:
                _multiply(factors, gain.row(hardware), y)
            y += bias[:, np.newaxis]
            self.overflows += _round(step, span, False, y)
            found.append(y)
        return found

    def correct(self, hardware: NDArray[Any], out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Return corrections; see `Engine`."""
        hardware, out = check_arrays(hardware, len(self.network.inputs), len(self._steps), out)
        np.multiply(self.integers(hardware), self._steps, out=out, dtype=np.float32, casting="unsafe")
        return out


@kernel
def _look_up(values: NDArray[np.float64], rows: NDArray[np.int64], y: NDArray[np.float64]) -> None:
    """Add to sums, shape (neurons, muons), what is looked up in an array (neurons, rows)."""
    for j in range(y.shape[0]):
        for m in range(rows.size):
            y[j, m] += values[j, rows[m]]


@kernel
def _multiply(factors: NDArray[np.float64], rows: NDArray[np.int64], y: NDArray[np.float64]) -> None:
    """Multiply answers, shape (answers, muons), by factors in an array (answers, rows)."""
    for j in range(y.shape[0]):
        for m in range(rows.size):
            y[j, m] *= factors[j, rows[m]]


@kernel
def _products(weights: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
    """Add weights times inputs, shape (inputs, muons), to a layer's sums, shape (neurons, muons)."""
    for j in range(y.shape[0]):
        row = y[j]
        for i in range(x.shape[0]):
            weight, column = weights[i, j], x[i]
            if weight != 0:
                for m in range(row.size):
                    row[m] += weight * column[m]


@kernel
def _round(step: NDArray[np.float64], span: NDArray[np.float64], hidden: bool, y: NDArray[np.float64]) -> int:
    """Finish sums, shape (neurons, muons), and return how many values lost bits above.

    All are integers below 2**52, so that float64, which is faster, is exact.
    """
    over = 0
    for j in range(y.shape[0]):
        row = y[j]
        lowest = 0.0 if hidden else -span[j] / 2
        for m in range(row.size):
            word = np.floor((max(row[m], 0.0) if hidden else row[m]) * step[j])
            turns = np.floor((word - lowest) / span[j])
            over += turns != 0
            row[m] = word - turns * span[j]
    return over


def _rounding(
    part: Neurons | IntegerGains,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return bias, what a bit above those dropped is worth, and where values wrap, in float64."""
    shift, bits = part.shift.astype(np.float64), part.bits.astype(np.float64)
    return part.bias.astype(np.float64), np.exp2(-shift), np.exp2(bits)
