"""The folded network as one compiled kernel: for one muon, one BX and small batches.

Many muons go through in blocks, one muon a vector lane: four neurons take four inputs at a time, so
that each value that is loaded is used four times. A few go through one after the other, one neuron a
lane, eight inputs at a time. Widths are filled up with zeros to multiples of eight.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.deploy.engine import checked
from l1scout.deploy.model import Model
from l1scout.jit import float_kernel
from l1scout.training.export import Layer

_BLOCK = 256
_LANES = 16
_ACTIVATIONS = ("linear", "relu", "softmax")
_RELU, _SOFTMAX = 1, 2
_FEW = 12
"""Up to so many muons are faster one after the other."""


class FusedEngine:
    """A network as one kernel; no memory is taken for a call with `out`.

    Parameters
    ----------
    model : Model
    dtype : type
        Of weights and arithmetic: float32, or float64 to make tables with.

    Raises
    ------
    InputError
        If the ONNX model is no chain of ``Gemm`` and activations.
    """

    def __init__(self, model: Model, dtype: type = np.float32) -> None:
        layers = model.layers
        self._io = len(layers[0].weights), layers[-1].bias.size
        self._shape, self._parameters = pack(layers, dtype)
        width = int(self._shape[:, :4].max())
        self._scratch = aligned((2, width, _BLOCK + _LANES), dtype)  # rows off each other's cache sets

    def correct(self, hardware: NDArray[Any], out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Corrections; see `Engine`."""
        hardware, out = checked(hardware, *self._io, out)
        _run(self._shape, self._parameters, self._scratch, hardware, out)
        return out

    def exact(self, hardware: NDArray[np.int16]) -> NDArray[Any]:
        """Corrections in the type of the arithmetic, shape (outputs, muons)."""
        out = np.empty((self._io[1], hardware.shape[1]), self._parameters.dtype)
        _run(self._shape, self._parameters, self._scratch, hardware, out)
        return out


def aligned(shape: tuple[int, ...], dtype: type) -> NDArray[Any]:
    """Zeros that begin on a cache line; numpy's may not, and a vector then takes two."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.zeros(size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size].view(dtype).reshape(shape)


def pack(layers: Sequence[Layer], dtype: type) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Return widths and parameters of a network as two arrays.

    Returns
    -------
    shape : ndarray of int64, shape (layers, 6)
        Inputs and outputs, filled up to multiples of four, and of eight; outputs; number of the activation.
    parameters : ndarray, flat
        For each layer biases and weights (outputs, inputs) filled up to multiples of four, then biases
        and weights (inputs, outputs) filled up to multiples of eight.
    """
    shape, parts = [], []
    for layer in layers:
        sizes: list[int] = []
        for multiple in (4, 8):
            rows, columns = (-(-n // multiple) * multiple for n in layer.weights.shape)
            weights, bias = np.zeros((rows, columns)), np.zeros(columns)
            weights[: layer.weights.shape[0], : layer.weights.shape[1]] = layer.weights
            bias[: layer.bias.size] = layer.bias
            parts += [bias, (weights.T if multiple == 4 else weights).ravel()]
            sizes += [rows, columns]
        shape.append((*sizes, layer.bias.size, _ACTIVATIONS.index(layer.activation)))
    parameters = np.concatenate(parts)
    kept = aligned(parameters.shape, dtype)
    kept[:] = parameters
    return np.array(shape, np.int64), kept


@float_kernel
def _run(
    shape: NDArray[np.int64],
    parameters: NDArray[Any],
    scratch: NDArray[Any],
    hardware: NDArray[np.int16],
    out: NDArray[Any],
) -> None:
    muons = hardware.shape[1]
    if muons <= _FEW:
        for m in range(muons):
            _one(shape, parameters, scratch, hardware, out, m)
        return
    for start in range(0, muons, _BLOCK):
        _block(shape, parameters, scratch, hardware, out, start, min(start + _BLOCK, muons))


@float_kernel
def _one(
    shape: NDArray[np.int64],
    parameters: NDArray[Any],
    scratch: NDArray[Any],
    hardware: NDArray[np.int16],
    out: NDArray[Any],
    m: int,
) -> None:
    x, y = scratch[0, 0], scratch[1, 0]
    for k in range(shape[0, 2]):
        x[k] = hardware[k, m] if k < hardware.shape[0] else 0
    at = 0
    for layer in range(shape.shape[0]):
        above, left, rows, columns, outputs, activation = shape[layer]
        at += left * (above + 1)
        bias = parameters[at : at + columns]
        for j in range(columns):
            y[j] = bias[j]
        at += columns
        for i in range(0, rows, 8):
            x0, x1, x2, x3 = x[i], x[i + 1], x[i + 2], x[i + 3]
            x4, x5, x6, x7 = x[i + 4], x[i + 5], x[i + 6], x[i + 7]
            # A body of this size is what the compiler unrolls to one vector at a time, so that layers
            # of 32 neurons do not end up in its scalar remainder.
            w0, w1 = parameters[at : at + columns], parameters[at + columns : at + 2 * columns]
            at += 2 * columns
            w2, w3 = parameters[at : at + columns], parameters[at + columns : at + 2 * columns]
            at += 2 * columns
            w4, w5 = parameters[at : at + columns], parameters[at + columns : at + 2 * columns]
            at += 2 * columns
            w6, w7 = parameters[at : at + columns], parameters[at + columns : at + 2 * columns]
            at += 2 * columns
            for j in range(columns):
                low = x0 * w0[j] + x1 * w1[j] + x2 * w2[j] + x3 * w3[j]
                y[j] += low + (x4 * w4[j] + x5 * w5[j] + x6 * w6[j] + x7 * w7[j])
        if activation == _RELU:
            for j in range(columns):
                y[j] = y.dtype.type(0) if y[j] < 0 else y[j]
        elif activation == _SOFTMAX:
            top, total = y[:outputs].max(), y.dtype.type(0)
            for j in range(outputs):
                y[j] = np.exp(y[j] - top)
                total += y[j]
            for j in range(outputs):
                y[j] /= total
        x, y = y, x
    for k in range(out.shape[0]):
        out[k, m] = x[k]


@float_kernel
def _block(
    shape: NDArray[np.int64],
    parameters: NDArray[Any],
    scratch: NDArray[Any],
    hardware: NDArray[np.int16],
    out: NDArray[Any],
    start: int,
    stop: int,
) -> None:
    n = stop - start
    lanes = (n + _LANES - 1) // _LANES * _LANES  # whole vectors; lanes beyond n hold old, finite numbers
    x, y = scratch[0], scratch[1]
    for k in range(shape[0, 0]):
        if k < hardware.shape[0]:
            column, row = hardware[k, start:stop], x[k]
            for m in range(n):
                row[m] = column[m]
        else:
            x[k, :lanes] = 0
    at = 0
    for layer in range(shape.shape[0]):
        rows, columns, _, _, outputs, activation = shape[layer]
        bias = parameters[at : at + columns]
        at += columns
        weights = parameters[at : at + rows * columns].reshape(columns, rows)
        at += rows * columns + shape[layer, 3] * (shape[layer, 2] + 1)
        _dense(weights, bias, x, y, lanes)
        if activation == _RELU:
            for j in range(columns):
                row = y[j]
                for m in range(lanes):
                    row[m] = y.dtype.type(0) if row[m] < 0 else row[m]
        elif activation == _SOFTMAX:
            _softmax(y, outputs, lanes)
        x, y = y, x
    for k in range(out.shape[0]):
        row, answer = x[k], out[k, start:stop]
        for m in range(n):
            answer[m] = row[m]


@float_kernel
def _dense(weights: NDArray[Any], bias: NDArray[Any], x: NDArray[Any], y: NDArray[Any], lanes: int) -> None:
    for j in range(0, weights.shape[0], 4):
        y0, y1, y2, y3 = y[j], y[j + 1], y[j + 2], y[j + 3]
        for m in range(lanes):
            y0[m], y1[m], y2[m], y3[m] = bias[j], bias[j + 1], bias[j + 2], bias[j + 3]
        for i in range(0, weights.shape[1], 4):
            x0, x1, x2, x3 = x[i], x[i + 1], x[i + 2], x[i + 3]
            a0, a1, a2, a3 = weights[j, i], weights[j, i + 1], weights[j, i + 2], weights[j, i + 3]
            k = j + 1
            b0, b1, b2, b3 = weights[k, i], weights[k, i + 1], weights[k, i + 2], weights[k, i + 3]
            k = j + 2
            c0, c1, c2, c3 = weights[k, i], weights[k, i + 1], weights[k, i + 2], weights[k, i + 3]
            k = j + 3
            d0, d1, d2, d3 = weights[k, i], weights[k, i + 1], weights[k, i + 2], weights[k, i + 3]
            for m in range(lanes):
                y0[m] += a0 * x0[m] + a1 * x1[m] + a2 * x2[m] + a3 * x3[m]
                y1[m] += b0 * x0[m] + b1 * x1[m] + b2 * x2[m] + b3 * x3[m]
                y2[m] += c0 * x0[m] + c1 * x1[m] + c2 * x2[m] + c3 * x3[m]
                y3[m] += d0 * x0[m] + d1 * x1[m] + d2 * x2[m] + d3 * x3[m]


@float_kernel
def _softmax(y: NDArray[Any], outputs: int, lanes: int) -> None:
    for m in range(lanes):
        top, total = y[0, m], y.dtype.type(0)
        for j in range(1, outputs):
            top = max(top, y[j, m])
        for j in range(outputs):
            y[j, m] = np.exp(y[j, m] - top)
            total += y[j, m]
        for j in range(outputs):
            y[j, m] /= total
