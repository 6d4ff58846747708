"""The integer network of a firmware model: what its logic computes, bit for bit.

A neuron adds weights times inputs, its bias (rounding is in the bias), and what it looks up for inputs of
the network (`LookUp`), makes 0 of what is negative if it is hidden, drops the `shift` lowest bits and keeps
the `bits` lowest of the rest. Widths are chosen on the whole domain of the model: inside it nothing is ever
lost, and `FirmwareEngine` counts if it is.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.errors import InputError
from l1scout.formats.recalibrated import ETA_STEPS, PHI_STEPS, PT_STEPS
from l1scout.formats.streams.muon import ETA_LSB, PHI_LSB, PT_LSB

NETWORK_FILE = "network.json"
VERSION = 2
STEPS = np.array([PHI_LSB / PHI_STEPS, ETA_LSB / ETA_STEPS, PT_LSB / PT_STEPS])
"""What 1 is in the network's answers: rad, 1, GeV."""
_MAX_BYTES = 1 << 20
_MAX_NEURONS = 256
_MAX_VALUES = 1 << 17
_MAX_LOW = 1 << 15
_MAX_BITS = 31
_MAX_WEIGHT = 1 << 30
_PARTS = ("weights", "bias", "shift", "bits")


@dataclass(frozen=True)
class Neurons:
    """A layer of integer neurons.

    Parameters
    ----------
    weights : ndarray of int64, shape (inputs, neurons)
    bias, shift, bits : ndarray of int64, shape (neurons,)
        Added to the sum; dropped from it; kept of the rest, the sign among them in the last layer.
    """

    weights: NDArray[np.int64]
    bias: NDArray[np.int64]
    shift: NDArray[np.int64]
    bits: NDArray[np.int64]


@dataclass(frozen=True)
class LookUp:
    """What inputs add to a layer's sums: for each of their values, or each set of them, numbers of its own.

    Parameters
    ----------
    layer : int
        Number of the layer, from 0.
    columns : tuple of int
        Numbers of the inputs, from 0.
    low : tuple of int
        Lowest value of each.
    values : ndarray of int64, shape (values of the first input, ..., neurons)
        For `low` and on. Below and above, the first and the last of them.
    """

    layer: int
    columns: tuple[int, ...]
    low: tuple[int, ...]
    values: NDArray[np.int64]

    @property
    def rows(self) -> NDArray[np.int64]:
        """The values, shape (sets of inputs, neurons); of the last input the next value is the next row."""
        return self.values.reshape(-1, self.values.shape[-1])

    def row(self, hardware: NDArray[Any]) -> NDArray[np.int64]:
        """Row of each muon, shape (muons,), of all inputs' values, shape (inputs, muons)."""
        return rows_of(hardware, self.columns, self.low, self.values.shape[:-1])


def rows_of(
    hardware: NDArray[Any], columns: Sequence[int], low: Sequence[int], counts: Sequence[int]
) -> NDArray[np.int64]:
    """Row of each muon in a table of so many values of each input, from its lowest on: see `LookUp`."""
    codes = [
        np.clip(hardware[c].astype(np.int64) - first, 0, n - 1)
        for c, first, n in zip(columns, low, counts, strict=True)
    ]
    return np.asarray(np.ravel_multi_index(codes, counts), np.int64)


@dataclass(frozen=True)
class IntegerNetwork:
    """Raw hardware integers in, corrections in `STEPS` out.

    Parameters
    ----------
    inputs : tuple of str
        Columns, in the order of the first layer's weights.
    layers : tuple of Neurons
        All hidden, ReLU, but the last.
    look_ups : tuple of LookUp
        Besides the weights.
    """

    inputs: tuple[str, ...]
    layers: tuple[Neurons, ...]
    look_ups: tuple[LookUp, ...] = ()

    @property
    def blind(self) -> NDArray[np.bool_]:
        """Which inputs nothing looks at, shape (inputs,)."""
        used: NDArray[np.bool_] = (self.layers[0].weights != 0).any(axis=1)
        for at in self.look_ups:
            for axis, column in enumerate(at.columns):
                used[column] |= bool(np.ptp(at.values, axis=axis).any())
        return ~used

    def text(self) -> str:
        """Write it as JSON."""
        layers = [{n: getattr(layer, n).tolist() for n in _PARTS} for layer in self.layers]
        rows = ",\n".join("  " + json.dumps(layer) for layer in layers)
        found = [{**vars(at), "values": at.values.tolist()} for at in self.look_ups]
        look_ups = ",\n".join("  " + json.dumps(at) for at in found)
        inputs = json.dumps(list(self.inputs))
        head = f'"network": {VERSION}, "inputs": {inputs}'
        return f'{{{head}, "layers": [\n{rows}\n], "look_ups": [\n{look_ups}\n]}}\n'

    @cached_property
    def sha256(self) -> str:
        """Hash of its text: the model's identity."""
        return hashlib.sha256(self.text().encode()).hexdigest()

    def with_bits(self, bits: Sequence[NDArray[np.int64]]) -> "IntegerNetwork":
        """Return it with other widths."""
        pairs = zip(self.layers, bits, strict=True)
        return replace(self, layers=tuple(replace(layer, bits=b) for layer, b in pairs))


def read_network(path: Path) -> IntegerNetwork:
    """Read and check a network.

    Raises
    ------
    InputError
        If it cannot be read or is not a network as `IntegerNetwork.text` writes it.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            msg = f"{path}: larger than {_MAX_BYTES} bytes, so no integer network"
            raise InputError(msg)
        content = json.loads(path.read_text("utf-8"))
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror}); `l1scout firmware train` makes it"
        raise InputError(msg) from error
    except (ValueError, RecursionError) as error:
        msg = f"{path}: not JSON ({error})"
        raise InputError(msg) from error
    try:
        return _from_json(content)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else str(error)
        msg = f"{path}: not an integer network: {what}; train or copy it again"
        raise InputError(msg) from error


def _from_json(content: Any) -> IntegerNetwork:
    if not isinstance(content, dict) or content.get("network") != VERSION:
        msg = f"its version is not {VERSION}"
        raise ValueError(msg)
    inputs = tuple(content["inputs"])
    layers: list[Neurons] = []
    for n, entry in enumerate(content["layers"], 1):
        parts = {name: _integers(entry[name], f"{name} of layer {n}") for name in _PARTS}
        layer = Neurons(**parts)
        wanted = len(layers[-1].bias) if layers else len(inputs)
        if layer.weights.ndim != 2 or layer.weights.shape[0] != wanted:
            msg = f"weights of layer {n} are not {wanted} rows of equal length"
            raise ValueError(msg)
        neurons = layer.weights.shape[1]
        if any(getattr(layer, p).shape != (neurons,) for p in _PARTS[1:]) or neurons > _MAX_NEURONS:
            msg = f"layer {n} has no bias, shift and bits for each of its {neurons} neurons"
            raise ValueError(msg)
        for name, low in (("shift", 0), ("bits", 1)):
            values = getattr(layer, name)
            if (values < low).any() or (values > _MAX_BITS).any():
                msg = f"{name} of layer {n} outside {low}..{_MAX_BITS}"
                raise ValueError(msg)
        layers.append(layer)
    if not layers or len(layers[-1].bias) != len(STEPS):
        msg = f"it has not {len(STEPS)} answers"
        raise ValueError(msg)
    look_ups = tuple(_look_up(entry, len(inputs), layers) for entry in content["look_ups"])
    network = IntegerNetwork(inputs, tuple(layers), look_ups)
    _check_sums(network)
    return network


def _look_up(entry: Any, inputs: int, layers: Sequence[Neurons]) -> LookUp:
    layer, columns, low = (entry[n] for n in ("layer", "columns", "low"))
    if type(layer) is not int or not 0 <= layer < len(layers):
        msg = f"layer of a look-up is none of 0..{len(layers) - 1}"
        raise ValueError(msg)
    for name, given, first, last in (("columns", columns, 0, inputs - 1), ("low", low, -_MAX_LOW, _MAX_LOW)):
        good = isinstance(given, list) and all(type(n) is int and first <= n <= last for n in given)
        if not good or not 1 <= len(given) <= inputs or len(given) != len(columns):
            msg = f"{name} of a look-up are no list of integers from {first} to {last}, one an input"
            raise ValueError(msg)
    values, neurons = _integers(entry["values"], "values of a look-up"), layers[layer].bias.size
    if values.ndim != len(columns) + 1 or values.shape[-1] != neurons or not 0 < values.size <= _MAX_VALUES:
        msg = f"values of a look-up are not 1 to {_MAX_VALUES}, {neurons} for each set of inputs"
        raise ValueError(msg)
    return LookUp(layer, tuple(columns), tuple(low), values)


def _integers(values: Any, name: str) -> NDArray[np.int64]:
    try:
        array = np.array(values)
    except ValueError as error:
        msg = f"{name} have rows of different lengths"
        raise ValueError(msg) from error
    if array.dtype.kind != "i" or (array.size and np.abs(array).max() >= _MAX_WEIGHT):
        msg = f"{name} are not integers below 2**30"
        raise ValueError(msg)
    return array.astype(np.int64)


def _check_sums(network: IntegerNetwork) -> None:
    """Refuse a network whose sums could leave float64's integers, in which the engine adds."""
    largest: NDArray[Any] = np.full(len(network.inputs), 2.0**15)
    for k, layer in enumerate(network.layers):
        looked_up = sum(np.abs(at.rows).max(axis=0) for at in network.look_ups if at.layer == k)
        if (largest @ np.abs(layer.weights) + np.abs(layer.bias) + looked_up >= 2.0**52).any():
            msg = "its sums do not stay below 2**52"
            raise ValueError(msg)
        largest = 2.0**layer.bits


def widths(
    network: IntegerNetwork, low: Sequence[NDArray[np.int64]], high: Sequence[NDArray[np.int64]]
) -> list[NDArray[np.int64]]:
    """Bits that hold what neurons have between `low` and `high`, in the last layer with a sign."""
    found = []
    for k, ends in enumerate(zip(low, high, strict=True)):
        largest = np.maximum(ends[1], -ends[0] - 1)
        need = [int(value).bit_length() for value in np.maximum(largest, 1)]
        found.append(np.array(need, np.int64) + (k == len(network.layers) - 1))
    return found
