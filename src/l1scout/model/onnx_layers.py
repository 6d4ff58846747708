"""Read an ONNX graph as dense layers, which the engines that compute layer by layer need.

A chain of ``Gemm`` (with alpha, beta, transB), ``MatMul``, ``Add``, ``Sub``, ``Mul``, ``Div``, ``Neg``,
``BatchNormalization`` and ``Gather`` by constants is folded into dense layers between the activations
``Relu`` and ``Softmax``: what l1scout, PyTorch and others write. Any other graph is a function, which
onnxruntime evaluates.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.errors import InputError
from l1scout.model.network import MAX_WIDTH, Activation, Layer

_ACTIVATIONS: dict[str, Activation] = {"Relu": "relu", "Softmax": "softmax"}
_UNCHANGED = ("Identity", "Dropout")


def read_layers(onnx_bytes: bytes, name: str) -> list[Layer]:
    """Read the layers of an ONNX model: hardware values in, corrections in physics units out.

    Parameters
    ----------
    onnx_bytes : bytes
    name : str
        Of the model, for the message.

    Raises
    ------
    InputError
        If the graph is not a chain of dense layers.
    """
    import onnx

    try:
        graph = onnx.load_from_string(onnx_bytes).graph
        return _Chain(graph).layers
    except Exception as error:  # protobuf and onnx have kinds of their own for damaged files
        what = (str(error) or type(error).__name__).splitlines()[0]
        msg = f"{name}: not a network of dense layers ({what})"
        raise InputError(msg) from error


class _Chain:
    """Layers of a graph; ValueError says why it is not a chain of them."""

    def __init__(self, graph: Any) -> None:
        from onnx import numpy_helper

        self.layers: list[Layer] = []
        self._constants: dict[str, NDArray[Any]] = {
            c.name: numpy_helper.to_array(c) for c in graph.initializer
        }
        inputs = [p for p in graph.input if p.name not in self._constants]
        if (len(inputs), len(graph.output)) != (1, 1):
            msg = f"{len(inputs)} inputs and {len(graph.output)} outputs"
            raise ValueError(msg)
        self._width = int(inputs[0].type.tensor_type.shape.dim[1].dim_value)
        if not 0 < self._width <= MAX_WIDTH:
            msg = f"an input of {self._width} columns"
            raise ValueError(msg)
        self._at = inputs[0].name
        for node in graph.node:
            attributes = {a.name: a for a in node.attribute}
            if node.op_type == "Constant" and "value" in attributes:
                self._constants[node.output[0]] = numpy_helper.to_array(attributes["value"].t)
                continue
            if [n for n in node.input if n and n not in self._constants] != [self._at]:
                msg = f"node {node.op_type} has other inputs than the previous node's output"
                raise ValueError(msg)
            self._add(node, attributes)
            self._at = node.output[0]
        if not self.layers or self._at != graph.output[0].name:
            msg = "the graph has no layers" if not self.layers else "the output is not that of the last node"
            raise ValueError(msg)

    def _add(self, node: Any, attributes: Mapping[str, Any]) -> None:
        kind = node.op_type
        if kind in _UNCHANGED or (kind == "Cast" and attributes["to"].i in (1, 11)):  # float32, float64
            return
        if kind in _ACTIVATIONS and self.layers and self.layers[-1].activation == "linear":
            if kind == "Softmax" and attributes and attributes["axis"].i not in (1, -1):
                msg = "its Softmax is not over the nodes of a layer"
                raise ValueError(msg)
            last = self.layers[-1]
            self.layers[-1] = Layer(last.weights, last.bias, _ACTIVATIONS[kind])
        elif kind == "Gemm":
            self._gemm(node, attributes)
        elif kind == "MatMul" and node.input[0] == self._at:
            self._dense(self._constant(node.input[1]))
        elif kind == "Gather" and node.input[0] == self._at and attributes and attributes["axis"].i == 1:
            self._dense(np.eye(self._width)[:, self._constant(node.input[1], MAX_WIDTH).astype(np.int64)])
        elif kind == "BatchNormalization":
            gamma, beta, mean, variance = (self._constant(n) for n in node.input[1:5])
            gain = gamma / np.sqrt(variance + (attributes["epsilon"].f if "epsilon" in attributes else 1e-5))
            self._scale(gain, beta - mean * gain)
        elif kind == "Neg":
            self._scale(-1.0, 0.0)
        elif kind in ("Add", "Sub", "Mul", "Div"):
            self._elementwise(kind, self._at == node.input[0], self._constant(*set(node.input) - {self._at}))
        else:
            msg = f"node {kind} is not one of Gemm, MatMul, Add, Relu, Softmax and their like"
            raise ValueError(msg)

    def _gemm(self, node: Any, attributes: Mapping[str, Any]) -> None:
        if node.input[0] != self._at or ("transA" in attributes and attributes["transA"].i):
            msg = "a Gemm transposes its input"
            raise ValueError(msg)
        weights = self._constant(node.input[1])
        weights = weights.T if "transB" in attributes and attributes["transB"].i else weights
        alpha, beta = (float(attributes[n].f) if n in attributes else 1.0 for n in ("alpha", "beta"))
        bias = self._constant(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(1)
        self._dense(alpha * weights, beta * bias)

    def _elementwise(self, kind: str, first: bool, values: NDArray[np.float64]) -> None:
        """Apply an operator of two arguments; `first` says that the muons come first."""
        if kind == "Add":
            self._scale(1.0, values)
        elif kind == "Mul":
            self._scale(values, 0.0)
        elif kind == "Sub":
            self._scale(1.0 if first else -1.0, -values if first else values)
        elif first:
            self._scale(1 / values, 0.0)
        else:
            msg = "it divides by an input"
            raise ValueError(msg)

    def _constant(self, name: str, most: int = MAX_WIDTH * MAX_WIDTH) -> NDArray[np.float64]:
        values = self._constants[name]
        if values.size > most:
            msg = f"a constant of {values.size} numbers"
            raise ValueError(msg)
        return values.astype(np.float64)

    def _dense(self, weights: NDArray[np.float64], bias: Any = 0.0) -> None:
        """Multiply by a matrix (inputs, outputs) and add a bias."""
        if weights.ndim != 2 or len(weights) != self._width or weights.shape[1] > MAX_WIDTH:
            msg = f"weights of shape {weights.shape} after {self._width} nodes"
            raise ValueError(msg)
        self._width = weights.shape[1]
        bias = self._row(bias)
        if self.layers and self.layers[-1].activation == "linear":
            last = self.layers.pop()
            weights, bias = last.weights @ weights, last.bias @ weights + bias
        self.layers.append(Layer(weights, bias, "linear"))

    def _scale(self, gain: Any, shift: Any) -> None:
        """Multiply each node by a number and add another."""
        gain, shift = self._row(gain), self._row(shift)
        if not self.layers or self.layers[-1].activation != "linear":
            if self._width > MAX_WIDTH:
                msg = f"a layer of {self._width} nodes"
                raise ValueError(msg)
            self.layers.append(Layer(np.diag(gain), shift, "linear"))
        else:
            last = self.layers.pop()
            self.layers.append(Layer(last.weights * gain, last.bias * gain + shift, "linear"))

    def _row(self, values: Any) -> NDArray[np.float64]:
        """Return one number per node."""
        row = np.asarray(values, np.float64)
        if row.size not in (1, self._width) or (row.size > 1 and row.shape[-1] != self._width):
            msg = f"constants of shape {row.shape} for {self._width} nodes"
            raise ValueError(msg)
        return np.broadcast_to(row.ravel(), (self._width,)).copy()
