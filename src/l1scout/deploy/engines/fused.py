"""The folded network as one compiled kernel: for one muon, one BX and small batches.

Many muons go through in blocks, one muon a vector lane: four neurons take four inputs at a time, so
that each value that is loaded is used four times. A few go through one after the other, one neuron a
lane, eight inputs at a time; widths are filled up with zeros, so that no loop has a remainder.

Look-ups add one vector for each value of an input to the sums of the first layer; gains multiply the answers
by one factor each, and the offset is added, where the answers are written.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.deploy.engines import ENGINES
from l1scout.deploy.engines._base import Engine, bindable, check_arrays
from l1scout.jit import aligned, array_at, bound, bound_kernel, float_kernel
from l1scout.model.directory import Model
from l1scout.model.network import Network

_BLOCK = 256
_LANES = 16
_ACTIVATIONS = ("linear", "relu", "softmax")
_RELU, _SOFTMAX = 1, 2
_FEW = 32
"""Up to this number, muons are faster one after the other."""
_1, _2, _3, _4, _5, _6, _7, _8 = (np.uint64(k) for k in range(1, 9))


@ENGINES.register("fused")
class FusedEngine(Engine):
    """A network as one kernel; no memory is taken for a call with `out`, if both arrays are C-contiguous.

    Parameters
    ----------
    model : Model
    dtype : type
        Of weights and arithmetic: float32, or float64 to make tables with.

    Raises
    ------
    InputError
        If the model has no layers.
    """

    unasked = True

    @classmethod
    def refusal(cls, model: Model) -> str:
        """Explain why the model has no layers; empty if it has."""
        return model.no_layers

    def __init__(self, model: Model, dtype: type = np.float32) -> None:
        network, layers = model.layers, model.layers.layers
        self._io = len(network.inputs), layers[-1].bias.size
        shape, parameters = pack(network, dtype)
        width = -(-max(max(layer.weights.shape) for layer in layers) // 16) * 16
        scratch = aligned((2 * width * (_BLOCK + _LANES),), dtype)
        # as few arrays as can be: a call takes a tenth of a microsecond longer for each
        self._network = len(layers), shape, parameters, scratch
        self._layers = np.array([len(layers)])

    def correct(self, hardware: NDArray[Any], out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Return corrections; see `Engine`."""
        if out is not None and bindable(hardware, out) and _run(*self._network, hardware, out):
            return out
        hardware, out = check_arrays(hardware, *self._io, out)
        answer = out if out.flags.c_contiguous else np.empty(out.shape, np.float32)
        _run(*self._network, np.ascontiguousarray(hardware), answer)  # each layout would be compiled anew
        if answer is not out:
            out[:] = answer
        return out

    def bind(self, hardware: NDArray[np.int16], out: NDArray[np.float32]) -> Callable[[], object]:
        """Return a function that corrects what is in `hardware` and fills `out`; see `Engine`."""
        call = super().bind(hardware, out)
        _, shape, parameters, scratch = self._network
        if not bindable(hardware, out) or parameters.dtype != np.float32:
            return call
        return bound(_run_bound, self._layers, shape, parameters, scratch, hardware, out)

    def exact(self, hardware: NDArray[np.int16]) -> NDArray[Any]:
        """Return corrections in the type of the arithmetic, shape (outputs, muons)."""
        out = np.empty((self._io[1], hardware.shape[1]), self._network[2].dtype)
        _run(*self._network, np.ascontiguousarray(hardware), out)
        return out


def pack(network: Network, dtype: type) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Return a network as two arrays.

    Returns
    -------
    shape : ndarray of int64, shape (layers + look-ups + gains, 5)
        Of a layer: inputs, outputs, number of the activation. Of a look-up or gain: number of the input, its
        lowest value, how many values it has, and where each of both begins in the parameters. The first row
        ends with the number of the first gain's row, and with where the offset begins (0 for none).
    parameters : ndarray, flat
        For each layer biases and weights (inputs, outputs), filled up with zeros: inputs to a multiple of
        8, outputs of 16. Then each look-up and gain twice: by value, and by output; and the offset.
    """
    parts = []
    for layer in network.layers:
        rows, columns = (-(-n // k) * k for n, k in zip(layer.weights.shape, (8, 16), strict=True))
        filled = np.zeros((1 + rows, columns))
        filled[0, : layer.bias.size] = layer.bias
        filled[1 : 1 + len(layer.weights), : layer.bias.size] = layer.weights
        parts.append(filled.ravel())
    shape = [(*layer.weights.shape, _ACTIVATIONS.index(layer.activation), 0, 0) for layer in network.layers]
    by_value = [(at.column, at.low, at.vectors) for at in network.look_ups]
    by_value += [(at.column, at.low, at.factors) for at in network.gains]
    for column, low, values in by_value:
        filled = np.zeros((len(values), -(-values.shape[1] // 16) * 16))
        filled[:, : values.shape[1]] = values
        begins = sum(part.size for part in parts)
        shape.append((column, low, len(values), begins, begins + filled.size))
        parts += [filled.ravel(), filled.T.ravel()]
    offset_begins = sum(part.size for part in parts) if network.offset.size else 0
    parts.append(network.offset)
    shape[0] = (*shape[0][:3], len(network.layers) + len(network.look_ups), offset_begins)
    parameters = aligned((sum(part.size for part in parts),), dtype)
    parameters[:] = np.concatenate(parts)
    return np.array(shape, np.int64), parameters


@float_kernel
def _run(
    layers: int,
    shape: NDArray[np.int64],
    parameters: NDArray[Any],
    scratch: NDArray[Any],
    hardware: NDArray[np.int16],
    out: NDArray[Any],
) -> bool:
    """Answer, if the arrays fit together."""
    inputs, muons = hardware.shape
    if inputs != shape[0, 0] or out.shape[0] != shape[layers - 1, 1] or out.shape[1] != muons:
        return False
    if muons <= _FEW:
        _few(layers, shape, parameters, scratch, hardware, out)
        return True
    lanes = scratch.reshape(2, -1, _BLOCK + _LANES)  # rows off each other's cache sets
    place = np.empty(_BLOCK, np.int32)
    for start in range(0, muons, _BLOCK):
        stop = min(start + _BLOCK, muons)
        _block(layers, shape, parameters, lanes, place, hardware, out, start, stop)
    return True


@bound_kernel
def _run_bound(address: int) -> None:
    layers, shape = array_at(address, 0, np.int64)[0, 0], array_at(address, 1, np.int64)
    parameters, scratch = array_at(address, 2, np.float32)[0], array_at(address, 3, np.float32)[0]
    _run(
        layers,
        shape,
        parameters,
        scratch,
        array_at(address, 4, np.int16),
        array_at(address, 5, np.float32),
    )


@float_kernel
def _few(
    layers: int,
    shape: NDArray[np.int64],
    parameters: NDArray[Any],
    scratch: NDArray[Any],
    hardware: NDArray[np.int16],
    out: NDArray[Any],
) -> None:
    # One array for all layers: every array variable costs atomic counting of its references. Places are
    # unsigned: signed ones would be compared with 0 each time.
    half, zero = np.uint64(scratch.size // 2), scratch.dtype.type(0)
    for m in range(hardware.shape[1]):
        x, y, at = np.uint64(0), half, np.uint64(0)
        for k in range((shape[0, 0] + 7) // 8 * 8):
            scratch[k] = hardware[k, m] if k < hardware.shape[0] else 0
        for layer in range(layers):
            inputs, outputs = shape[layer, 0], (shape[layer, 1] + 15) // 16 * 16
            row = np.uint64(outputs)
            for n in range(outputs):
                j = np.uint64(n)
                scratch[y + j] = parameters[at + j]
            at += row
            for k in range(0, inputs, 8):
                i = x + np.uint64(k)
                x0, x1, x2, x3 = scratch[i], scratch[i + _1], scratch[i + _2], scratch[i + _3]
                x4, x5, x6, x7 = scratch[i + _4], scratch[i + _5], scratch[i + _6], scratch[i + _7]
                for n in range(outputs):
                    j = np.uint64(n)
                    w = at + j
                    low = (
                        x0 * parameters[w]
                        + x1 * parameters[w + row]
                        + x2 * parameters[w + _2 * row]
                        + x3 * parameters[w + _3 * row]
                    )
                    high = (
                        x4 * parameters[w + _4 * row]
                        + x5 * parameters[w + _5 * row]
                        + x6 * parameters[w + _6 * row]
                        + x7 * parameters[w + _7 * row]
                    )
                    scratch[y + j] += low + high
                at += _8 * row
            if layer == 0:
                for k in range(layers, shape[0, 3]):
                    code = hardware[shape[k, 0], m] - shape[k, 1]
                    code = min(max(code, 0), shape[k, 2] - 1)
                    w = np.uint64(shape[k, 3] + code * outputs)
                    for n in range(outputs):
                        j = np.uint64(n)
                        scratch[y + j] += parameters[w + j]
            if shape[layer, 2] == _RELU:
                for n in range(outputs):
                    j = y + np.uint64(n)
                    scratch[j] = zero if scratch[j] < zero else scratch[j]
            elif shape[layer, 2] == _SOFTMAX:
                _softmax_one(scratch, y, shape[layer, 1])
            x, y = y, x
        if shape[0, 3] < shape.shape[0] or shape[0, 4]:
            _finish_one(shape, parameters, scratch, x, hardware, out, m)
        else:
            for n in range(out.shape[0]):
                out[n, m] = scratch[x + np.uint64(n)]


@float_kernel
def _finish_one(
    shape: NDArray[np.int64],
    parameters: NDArray[Any],
    scratch: NDArray[Any],
    x: np.uint64,
    hardware: NDArray[np.int16],
    out: NDArray[Any],
    m: int,
) -> None:
    """Multiply one muon's answers by the gains and write them, with the offset."""
    outputs = out.shape[0]
    for k in range(shape[0, 3], shape.shape[0]):
        code = min(max(hardware[shape[k, 0], m] - shape[k, 1], 0), shape[k, 2] - 1)
        w = np.uint64(shape[k, 3] + code * ((outputs + 15) // 16 * 16))
        for n in range(outputs):
            scratch[x + np.uint64(n)] *= parameters[w + np.uint64(n)]
    offset = np.uint64(shape[0, 4])
    for n in range(outputs):
        j = np.uint64(n)
        out[n, m] = scratch[x + j] + parameters[offset + j] if offset else scratch[x + j]


@float_kernel
def _softmax_one(x: NDArray[Any], first: np.uint64, outputs: int) -> None:
    top, total = x[first], x.dtype.type(0)
    for j in range(1, outputs):
        top = max(top, x[first + np.uint64(j)])
    for j in range(outputs):
        i = first + np.uint64(j)
        x[i] = np.exp(x[i] - top)
        total += x[i]
    for j in range(outputs):
        x[first + np.uint64(j)] /= total


@float_kernel
def _block(
    layers: int,
    shape: NDArray[np.int64],
    parameters: NDArray[Any],
    scratch: NDArray[Any],
    place: NDArray[np.int32],
    hardware: NDArray[np.int16],
    out: NDArray[Any],
    start: int,
    stop: int,
) -> None:
    n = stop - start
    lanes = (n + _LANES - 1) // _LANES * _LANES  # whole vectors; lanes beyond n hold old, finite numbers
    x, y = scratch[0], scratch[1]
    for k in range(hardware.shape[0]):
        column, row = hardware[k, start:stop], x[k]
        for m in range(n):
            row[m] = column[m]
    x[hardware.shape[0] : (hardware.shape[0] + 7) // 8 * 8, :lanes] = 0
    at = 0
    for layer in range(layers):
        inputs, outputs, activation = shape[layer, 0], shape[layer, 1], shape[layer, 2]
        rows, columns = (inputs + 7) // 8 * 8, (outputs + 15) // 16 * 16
        bias = parameters[at : at + columns]
        at += columns
        weights = parameters[at : at + rows * columns].reshape(rows, columns)
        at += rows * columns
        _dense(weights, bias, x, y, inputs, outputs, lanes)
        if layer == 0:
            for k in range(layers, shape[0, 3]):
                size, begins = shape[k, 2], shape[k, 4]
                _place(shape[k], hardware, start, stop, place)
                for j in range(outputs):
                    row, values = y[j], parameters[begins + j * size : begins + (j + 1) * size]
                    for m in range(n):
                        row[m] += values[place[m]]
        if activation == _RELU:
            for j in range(outputs):
                row = y[j]
                for m in range(lanes):
                    row[m] = y.dtype.type(0) if row[m] < 0 else row[m]
        elif activation == _SOFTMAX:
            _softmax(y, outputs, lanes)
        x, y = y, x
    for k in range(shape[0, 3], shape.shape[0]):
        size, begins = shape[k, 2], shape[k, 4]
        _place(shape[k], hardware, start, stop, place)
        for j in range(out.shape[0]):
            row, values = x[j], parameters[begins + j * size : begins + (j + 1) * size]
            for m in range(n):
                row[m] *= values[place[m]]
    for k in range(out.shape[0]):
        row, answer = x[k], out[k, start:stop]
        offset = parameters[shape[0, 4] + k] if shape[0, 4] else x.dtype.type(0)
        for m in range(n):
            answer[m] = row[m] + offset


@float_kernel
def _place(
    look_up: NDArray[np.int64], hardware: NDArray[np.int16], start: int, stop: int, place: NDArray[np.int32]
) -> None:
    """Fill in the rows of a block's muons in a look-up or gain, which is a row of `pack`."""
    column, low, last = hardware[look_up[0], start:stop], look_up[1], look_up[2] - 1
    for m in range(stop - start):
        place[m] = min(max(column[m] - low, 0), last)


@float_kernel
def _dense(
    weights: NDArray[Any],
    bias: NDArray[Any],
    x: NDArray[Any],
    y: NDArray[Any],
    inputs: int,
    outputs: int,
    lanes: int,
) -> None:
    for j in range(0, outputs, 4):
        y0, y1, y2, y3 = y[j], y[j + 1], y[j + 2], y[j + 3]
        for m in range(lanes):
            y0[m], y1[m], y2[m], y3[m] = bias[j], bias[j + 1], bias[j + 2], bias[j + 3]
        for i in range(0, inputs, 4):
            x0, x1, x2, x3 = x[i], x[i + 1], x[i + 2], x[i + 3]
            a0, b0, c0, d0 = weights[i, j], weights[i, j + 1], weights[i, j + 2], weights[i, j + 3]
            k = i + 1
            a1, b1, c1, d1 = weights[k, j], weights[k, j + 1], weights[k, j + 2], weights[k, j + 3]
            k = i + 2
            a2, b2, c2, d2 = weights[k, j], weights[k, j + 1], weights[k, j + 2], weights[k, j + 3]
            k = i + 3
            a3, b3, c3, d3 = weights[k, j], weights[k, j + 1], weights[k, j + 2], weights[k, j + 3]
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
