"""The network of a model: dense layers, look-ups and gains, from the trigger's integers to corrections.

This is what a model directory stores (``network.json``), and what every engine and the firmware start from.
The first layer adds, to its weighted inputs, one vector for each value of an input that has a look-up. The
answers of the last layer are multiplied by a factor for each value of an input that has a gain, and an offset
is added. So a network knows symmetries (the sign of a correction is that of charge or eta), sizes (a pT
correction goes with pT) and limits (no correction where none helps) instead of learning them.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass

from l1scout.core.documents import CLOSED, read_document, write_document
from l1scout.model.arrays import FloatMatrix, FloatVector
from l1scout.model.card import Card, Scaled

NETWORK_FILE: Final = "network.json"
Activation = Literal["linear", "relu", "softmax"]
Scaling = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Offsets and scales of quantities: ``value = offset + scale * normalised``."""
MAX_WIDTH = 4096
"""Largest number of nodes of a layer."""
_MAX_BYTES = 1 << 23
_MAX_VALUE = 1 << 15


@dataclass(frozen=True, eq=False, config=CLOSED)
class Layer:
    """A dense layer: ``activation(x @ weights + bias)``, batch normalisation included.

    Parameters
    ----------
    weights : ndarray of float64, shape (inputs, outputs)
    bias : ndarray of float64, shape (outputs,)
    activation : {"linear", "relu", "softmax"}
    """

    weights: FloatMatrix
    bias: FloatVector
    activation: Activation

    def __post_init__(self) -> None:
        if self.weights.shape[1:] != self.bias.shape or not 0 < max(self.weights.shape) <= MAX_WIDTH:
            shapes = f"weights of shape {self.weights.shape} and bias of shape {self.bias.shape}"
            msg = f"a layer has {shapes}, not (inputs, outputs) and (outputs,) of 1 to {MAX_WIDTH}"
            raise ValueError(msg)


@dataclass(frozen=True, eq=False, config=CLOSED)
class LookUp:
    """A vector for each value of an input, added to the sums of the first layer.

    Parameters
    ----------
    column : int
        Number of the input, from 0.
    low : int
        Value of the input to which the first vector belongs.
    vectors : ndarray of float64, shape (values, outputs of the first layer)
        For `low`, `low` + 1 and so on; smaller values have the first vector, larger ones the last.
    """

    column: int
    low: int
    vectors: FloatMatrix

    def __post_init__(self) -> None:
        _check_values("a look-up", "vectors", self.vectors, self.low)

    def __call__(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Return the vectors of values of the input, shape (values, outputs)."""
        return _of_values(self.vectors, self.low, values)

    def between(self, low: int, high: int) -> "LookUp":
        """Return a look-up with the vectors of the values `low` to `high`, both included."""
        return LookUp(self.column, low, self(np.arange(low, high + 1)))


@dataclass(frozen=True, eq=False, config=CLOSED)
class Gain:
    """A factor for each value of an input, by which the answers of the last layer are multiplied.

    Parameters
    ----------
    column : int
        Number of the input, from 0.
    low : int
        Value of the input to which the first factors belong.
    factors : ndarray of float64, shape (values, outputs)
        For `low`, `low` + 1 and so on; smaller values have the first ones, larger ones the last.
    """

    column: int
    low: int
    factors: FloatMatrix

    def __post_init__(self) -> None:
        _check_values("a gain", "factors", self.factors, self.low)

    def __call__(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Return the factors of values of the input, shape (values, outputs)."""
        return _of_values(self.factors, self.low, values)


def _check_values(kind: str, rows: str, table: NDArray[np.float64], low: int) -> None:
    if not table.size or abs(low) > _MAX_VALUE or len(table) > 2 * _MAX_VALUE:
        msg = f"{kind} has {len(table)} {rows} from value {low} on: not 16-bit integers"
        raise ValueError(msg)


def _of_values(table: NDArray[np.float64], low: int, values: NDArray[Any]) -> NDArray[np.float64]:
    """Return the rows of values, of a table from the value `low` on; the ends go on beyond it."""
    index = np.clip(np.asarray(values, np.int64) - low, 0, len(table) - 1)
    return np.asarray(table[index], np.float64)


@dataclass(frozen=True, eq=False, config=CLOSED)
class Network:
    """A network from the trigger's integers to L1 minus offline (rad, 1, GeV).

    Parameters
    ----------
    inputs : tuple of str
        Columns of hardware values, in the order of the first layer's weights.
    layers : tuple of Layer
    look_ups : tuple of LookUp
        Of the first layer, at most one per input; the weights of these inputs are usually zero.
    gains : tuple of Gain
        Of the answers, at most one per input.
    offset : ndarray of float64, shape (outputs,) or (0,)
        Added to the answers after the gains; empty for none.
    """

    inputs: tuple[str, ...]
    layers: tuple[Layer, ...]
    look_ups: tuple[LookUp, ...] = ()
    gains: tuple[Gain, ...] = ()
    offset: FloatVector = field(default_factory=lambda: np.zeros(0))
    format: Literal["l1scout network"] = "l1scout network"
    version: Literal[1] = 1

    def __post_init__(self) -> None:
        widths = [len(self.inputs), *(layer.bias.size for layer in self.layers)]
        if not self.layers or widths[:-1] != [len(layer.weights) for layer in self.layers]:
            shapes = ", ".join(str(layer.weights.shape) for layer in self.layers)
            msg = f"layers of shapes {shapes or 'none'} do not follow each other from {widths[0]} inputs on"
            raise ValueError(msg)
        columns = [at.column for at in self.look_ups]
        if len(set(columns)) < len(columns) or not set(columns) <= set(range(len(self.inputs))):
            msg = f"look-ups of inputs {columns}, not one each of 0 to {len(self.inputs) - 1}"
            raise ValueError(msg)
        if any(at.vectors.shape[1] != widths[1] for at in self.look_ups):
            msg = f"vectors of a look-up do not have the {widths[1]} numbers of the first layer"
            raise ValueError(msg)
        gained = [gain.column for gain in self.gains]
        if len(set(gained)) < len(gained) or not set(gained) <= set(range(len(self.inputs))):
            msg = f"gains of inputs {gained}, not one each of 0 to {len(self.inputs) - 1}"
            raise ValueError(msg)
        if any(gain.factors.shape[1] != widths[-1] for gain in self.gains):
            msg = f"factors of a gain are not those of the {widths[-1]} answers"
            raise ValueError(msg)
        if self.offset.size not in (0, widths[-1]):
            msg = f"an offset of {self.offset.size} numbers, not {widths[-1]} or none"
            raise ValueError(msg)

    @cached_property
    def content(self) -> bytes:
        """The network as a JSON document."""
        return write_document(self)

    @cached_property
    def sha256(self) -> str:
        """Hash of `content`: the identity of the model."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def multiply_adds(self) -> int:
        """Smallest number of multiplications and additions per muon."""
        products = sum(layer.weights.size for layer in self.layers)
        looked_up = len(self.look_ups) * self.layers[0].bias.size
        return products + looked_up + len(self.gains) * self.layers[-1].bias.size + self.offset.size

    @property
    def before_gains(self) -> "Network":
        """The network without gains and offset, for processors of dense layers: `finish` does the rest."""
        return replace(self, gains=(), offset=np.zeros(0))

    def __call__(self, hardware: NDArray[Any]) -> NDArray[np.float64]:
        """Evaluate with plain numpy in float64, shape (inputs, muons) to (outputs, muons)."""
        x = np.asarray(hardware, np.float64)
        for k, layer in enumerate(self.layers):
            sums = layer.weights.T @ x + layer.bias[:, np.newaxis]
            for at in self.look_ups if k == 0 else ():
                sums += at(hardware[at.column]).T
            x = activate(sums, layer.activation)
        return self.finish(hardware, x)

    def finish(self, hardware: NDArray[Any], answers: NDArray[Any]) -> NDArray[np.float64]:
        """Multiply answers of the last layer by the gains and add the offset.

        Parameters
        ----------
        hardware : ndarray of int, shape (inputs, muons)
        answers : ndarray, shape (outputs, muons)
        """
        for gain in self.gains:
            answers = answers * gain(hardware[gain.column]).T
        offset = self.offset if self.offset.size else np.zeros(len(answers))
        return np.asarray(answers + offset[:, np.newaxis], np.float64)

    def rescaled(self, inputs: Scaling, outputs: Scaling) -> "Network":
        """Return the network of other inputs x and outputs y; ``offset + scale * x`` are the present inputs.

        Look-ups go by hardware values all the same.

        Parameters
        ----------
        inputs, outputs : tuple of ndarray
            Offsets and scales; ``offset + scale * y`` are the present outputs.
        """
        offset, scale = inputs
        first = self.layers[0]
        weights, bias = first.weights * scale[:, np.newaxis], first.bias + offset @ first.weights
        layers = [Layer(weights, bias, first.activation), *self.layers[1:]]
        offset, scale = outputs
        if layers[-1].activation != "linear":  # scaling comes after it, as a layer of its own
            layers.append(Layer(np.eye(scale.size), np.zeros(scale.size), "linear"))
        last = layers[-1]
        layers[-1] = Layer(last.weights / scale, (last.bias - offset) / scale, "linear")
        if len(layers) > 1:
            return replace(self, layers=tuple(layers))
        look_ups = tuple(replace(at, vectors=at.vectors / scale) for at in self.look_ups)
        return replace(self, layers=tuple(layers), look_ups=look_ups)

    def normalised(self, card: Card) -> "Network":
        """Return the network as it was trained, with inputs and outputs scaled to about [0, 1]."""
        return self.rescaled(_scaling(card.inputs), _scaling(card.outputs))

    def in_physics_units(self, card: Card) -> "Network":
        """Return the network with the card's scaling in its first and last layers, as before `normalised`."""
        return self.rescaled(*((-o / s, 1 / s) for o, s in map(_scaling, (card.inputs, card.outputs))))


def activate(x: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    """Apply an activation to values of shape (nodes, muons)."""
    if name == "relu":
        return np.maximum(x, 0)
    if name == "softmax":
        x = np.exp(x - x.max(axis=0))
        return np.asarray(x / x.sum(axis=0), np.float64)
    return x


def read_network(path: Path) -> Network:
    """Read and check ``network.json``; InputError says what is wrong with it."""
    return read_document(path, Network, max_bytes=_MAX_BYTES, hint="copy or train the model again")


def _scaling(quantities: Sequence[Scaled]) -> Scaling:
    return np.array([q.offset for q in quantities]), np.array([q.scale for q in quantities])
