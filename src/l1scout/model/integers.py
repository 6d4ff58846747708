"""The integer network of a firmware model: what its logic computes, bit for bit.

A neuron adds weights times inputs, its bias (rounding is in the bias), and what it looks up for inputs of
the network (`IntegerLookUp`), makes 0 of what is negative if it is hidden, drops the `shift` lowest bits and
keeps the `bits` lowest of the rest. An answer of the last layer may then be multiplied by integers that
depend on inputs (`IntegerGains`), and is rounded once more in the same way. Widths are chosen on the whole
domain of the model: inside it nothing is ever lost, and `FirmwareEngine` counts if it is.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass

from l1scout.core.documents import CLOSED, read_document, write_document
from l1scout.errors import InputError
from l1scout.formats.recalibrated import ETA_STEPS, PHI_STEPS, PT_STEPS
from l1scout.formats.streams.muon import ETA_LSB, PHI_LSB, PT_LSB
from l1scout.model.arrays import FloatVector, IntegerMatrix, IntegerVector

STEPS = np.array([PHI_LSB / PHI_STEPS, ETA_LSB / ETA_STEPS, PT_LSB / PT_STEPS])
"""What 1 is in the network's answers: rad, 1, GeV."""
_MAX_BYTES = 1 << 20
_MAX_NEURONS = 256
_MAX_VALUES = 1 << 17
_MAX_LOW = 1 << 15
_MAX_BITS = 31


@dataclass(frozen=True, eq=False, config=CLOSED)
class Neurons:
    """A layer of integer neurons.

    Parameters
    ----------
    weights : ndarray of int64, shape (inputs, neurons)
    bias, shift, bits : ndarray of int64, shape (neurons,)
        Added to the sum; dropped from it; kept of the rest, the sign among them in the last layer.
    """

    weights: IntegerMatrix
    bias: IntegerVector
    shift: IntegerVector
    bits: IntegerVector

    def __post_init__(self) -> None:
        neurons = self.weights.shape[1:]
        if any(part.shape != neurons for part in (self.bias, self.shift, self.bits)):
            msg = f"there are not bias, shift and bits for each of {neurons[0]} neurons"
            raise ValueError(msg)
        if self.bias.size > _MAX_NEURONS:
            msg = f"{self.bias.size} neurons, more than {_MAX_NEURONS}"
            raise ValueError(msg)
        _check_rounding(self.shift, self.bits)


def _check_rounding(shift: NDArray[np.int64], bits: NDArray[np.int64]) -> None:
    for name, values, low in (("shift", shift, 0), ("bits", bits, 1)):
        if (values < low).any() or (values > _MAX_BITS).any():
            msg = f"{name} outside {low}..{_MAX_BITS}"
            raise ValueError(msg)


@dataclass(frozen=True, eq=False, config=CLOSED)
class IntegerLookUp:
    """What inputs add to a layer's sums: for each of their values, or each set of them, numbers of its own.

    Parameters
    ----------
    layer : int
        Number of the layer, from 0.
    columns : tuple of int
        Numbers of the inputs, from 0.
    low : tuple of int
        Lowest value of each.
    counts : tuple of int
        Number of values of each.
    values : ndarray of int64, shape (sets of values, neurons)
        From `low` on, the last input's value changing fastest. Smaller and larger values of an input count as
        the first and the last of them.
    """

    layer: int
    columns: tuple[int, ...]
    low: tuple[int, ...]
    counts: tuple[int, ...]
    values: IntegerMatrix

    def __post_init__(self) -> None:
        if not 0 < len(self.columns) == len(self.low) == len(self.counts):
            msg = "a look-up does not have columns, low and counts of the same inputs"
            raise ValueError(msg)
        if max(map(abs, self.low)) > _MAX_LOW or min(self.counts) < 1:
            msg = f"low of a look-up beyond {_MAX_LOW}, or counts below 1"
            raise ValueError(msg)
        if math.prod(self.counts) != len(self.values) or not 0 < self.values.size <= _MAX_VALUES:
            sets, most = math.prod(self.counts), _MAX_VALUES
            msg = f"a look-up has {len(self.values)} rows, not {sets}, or not 1 to {most} values"
            raise ValueError(msg)

    @property
    def grid(self) -> NDArray[np.int64]:
        """The values, shape (values of the first input, ..., neurons)."""
        return self.values.reshape(*self.counts, -1)

    def row(self, hardware: NDArray[Any]) -> NDArray[np.int64]:
        """Row of each muon, shape (muons,), of all inputs' values, shape (inputs, muons)."""
        return rows_of(hardware, self.columns, self.low, self.counts)


def rows_of(
    hardware: NDArray[Any], columns: Sequence[int], low: Sequence[int], counts: Sequence[int]
) -> NDArray[np.int64]:
    """Return the row of each muon in a table of the values of inputs: see `IntegerLookUp`."""
    codes = [
        np.clip(hardware[c].astype(np.int64) - first, 0, n - 1)
        for c, first, n in zip(columns, low, counts, strict=True)
    ]
    return np.asarray(np.ravel_multi_index(codes, counts), np.int64)


@dataclass(frozen=True, eq=False, config=CLOSED)
class IntegerGain:
    """An integer factor of each answer for each value of an input.

    Parameters
    ----------
    column : int
        Number of the input, from 0.
    low : int
        Value of the input to which the first factors belong.
    factors : ndarray of int64, shape (values, answers)
        For `low`, `low` + 1 and so on; smaller values have the first ones, larger ones the last.
    """

    column: int
    low: int
    factors: IntegerMatrix

    def __post_init__(self) -> None:
        if abs(self.low) > _MAX_LOW or not 0 < self.factors.size <= _MAX_VALUES:
            msg = f"low of a gain beyond {_MAX_LOW}, or not 1 to {_MAX_VALUES} factors"
            raise ValueError(msg)

    def row(self, hardware: NDArray[Any]) -> NDArray[np.int64]:
        """Row of each muon, shape (muons,), of all inputs' values, shape (inputs, muons)."""
        return rows_of(hardware, (self.column,), (self.low,), (len(self.factors),))


@dataclass(frozen=True, eq=False, config=CLOSED)
class IntegerGains:
    """Factors by which the answers of the last layer are multiplied, and the rounding of the products.

    The answer is ``(answer of the last layer * product of factors + bias) >> shift``, of which the `bits`
    lowest are kept, the sign among them.

    Parameters
    ----------
    gains : tuple of IntegerGain
        At most one per input.
    bias, shift, bits : ndarray of int64, shape (answers,)
    """

    gains: tuple[IntegerGain, ...]
    bias: IntegerVector
    shift: IntegerVector
    bits: IntegerVector

    def __post_init__(self) -> None:
        if not self.gains or len({gain.column for gain in self.gains}) < len(self.gains):
            msg = "there is no gain, or more than one of an input"
            raise ValueError(msg)
        shapes = {*(gain.factors.shape[1:] for gain in self.gains), self.shift.shape, self.bits.shape}
        if shapes != {self.bias.shape}:
            msg = f"there are not factors, shift and bits for each of {self.bias.size} answers"
            raise ValueError(msg)
        _check_rounding(self.shift, self.bits)

    def __call__(self, hardware: NDArray[Any], answers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return what answers of the last layer, shape (answers, muons), become in int64."""
        for gain in self.gains:
            answers = answers * gain.factors[gain.row(hardware)].T
        kept = (answers + self.bias[:, np.newaxis]) >> self.shift[:, np.newaxis]
        half = np.left_shift(1, self.bits - 1)[:, np.newaxis]
        return np.asarray((kept + half) % (2 * half) - half, np.int64)


@dataclass(frozen=True, eq=False, config=CLOSED)
class IntegerNetwork:
    """Raw hardware integers in, answers in steps out: corrections in `STEPS`, if no others are stated.

    Parameters
    ----------
    inputs : tuple of str
        Columns, in the order of the first layer's weights.
    layers : tuple of Neurons
        All hidden, ReLU, but the last.
    look_ups : tuple of IntegerLookUp
        Besides the weights.
    gains : IntegerGains, optional
        After the last layer.
    steps : ndarray of float64, shape (answers,), optional
        What 1 is in each answer of a network that does not correct muons.
    """

    inputs: tuple[str, ...]
    layers: tuple[Neurons, ...]
    look_ups: tuple[IntegerLookUp, ...] = ()
    gains: IntegerGains | None = None
    steps: FloatVector | None = None
    format: Literal["l1scout integer network"] = "l1scout integer network"
    version: Literal[1] = 1

    def __post_init__(self) -> None:
        widths = [len(self.inputs), *(layer.bias.size for layer in self.layers)]
        for n, layer in enumerate(self.layers, 1):
            if len(layer.weights) != widths[n - 1]:
                msg = f"layer {n} has weights for {len(layer.weights)} inputs, not {widths[n - 1]}"
                raise ValueError(msg)
        answers = len(self.answer_steps)
        if not self.layers or widths[-1] != answers or not answers:
            msg = f"the network does not have {answers} answers"
            raise ValueError(msg)
        if not (self.answer_steps > 0).all():
            msg = "steps of the answers are not all positive"
            raise ValueError(msg)
        for at in self.look_ups:
            if not 0 <= at.layer < len(self.layers):
                msg = f"layer of a look-up is not one of 0..{len(self.layers) - 1}"
                raise ValueError(msg)
            if not set(at.columns) <= set(range(len(self.inputs))):
                msg = f"columns of a look-up are not integers from 0 to {len(self.inputs) - 1}"
                raise ValueError(msg)
            if at.values.shape[1] != widths[at.layer + 1]:
                msg = f"a look-up has {at.values.shape[1]} values per row, not {widths[at.layer + 1]}"
                raise ValueError(msg)
        columns = {gain.column for gain in self.gains.gains} if self.gains else set()
        if not columns <= set(range(len(self.inputs))):
            msg = f"columns of the gains are not integers from 0 to {len(self.inputs) - 1}"
            raise ValueError(msg)
        if self.gains and self.gains.bias.size != answers:
            msg = f"the gains have factors of {self.gains.bias.size} answers, not {answers}"
            raise ValueError(msg)

    @property
    def answer_steps(self) -> NDArray[np.float64]:
        """What 1 is in each answer, shape (answers,)."""
        return STEPS if self.steps is None else self.steps

    @property
    def blind(self) -> NDArray[np.bool_]:
        """Which inputs nothing looks at, shape (inputs,)."""
        used: NDArray[np.bool_] = (self.layers[0].weights != 0).any(axis=1)
        for at in self.look_ups:
            for axis, column in enumerate(at.columns):
                used[column] |= bool(np.ptp(at.grid, axis=axis).any())
        for gain in self.gains.gains if self.gains else ():
            used[gain.column] |= bool(np.ptp(gain.factors, axis=0).any())
        return ~used

    @cached_property
    def content(self) -> bytes:
        """The network as a JSON document."""
        return write_document(self)

    @cached_property
    def sha256(self) -> str:
        """Hash of `content`: the identity of the model."""
        return hashlib.sha256(self.content).hexdigest()

    def with_bits(self, bits: Sequence[NDArray[np.int64]]) -> "IntegerNetwork":
        """Return it with other widths: of each layer, and of the answers after gains if it has any."""
        of_layers, of_gains = bits[: len(self.layers)], bits[len(self.layers) :]
        layers = tuple(replace(layer, bits=b) for layer, b in zip(self.layers, of_layers, strict=True))
        if not self.gains:
            return replace(self, layers=layers)
        (after,) = of_gains
        return replace(self, layers=layers, gains=replace(self.gains, bits=after))


def read_integer_network(path: Path) -> IntegerNetwork:
    """Read and check ``network.json`` of a firmware model; InputError says what is wrong with it."""
    hint = "copy or train the model again"
    network = read_document(path, IntegerNetwork, max_bytes=_MAX_BYTES, hint=hint)
    if not _exact_in_float64(network):
        msg = f"{path}: its sums do not stay below 2**52; {hint}"
        raise InputError(msg)
    return network


def _exact_in_float64(network: IntegerNetwork) -> bool:
    """Whether no sum can leave float64's integers, in which the engine adds."""
    largest: NDArray[Any] = np.full(len(network.inputs), 2.0**15)
    for k, layer in enumerate(network.layers):
        looked_up = sum(np.abs(at.values).max(axis=0) for at in network.look_ups if at.layer == k)
        if (largest @ np.abs(layer.weights) + np.abs(layer.bias) + looked_up >= 2.0**52).any():
            return False
        largest = 2.0**layer.bits
    if network.gains:
        factors = [np.abs(gain.factors).max(axis=0).astype(np.float64) for gain in network.gains.gains]
        products = largest / 2 * np.prod(factors, axis=0) + np.abs(network.gains.bias)
        return bool((products < 2.0**52).all())
    return True


def widths(
    network: IntegerNetwork, low: Sequence[NDArray[np.int64]], high: Sequence[NDArray[np.int64]]
) -> list[NDArray[np.int64]]:
    """Bits that hold values between `low` and `high`, from the last layer on with a sign.

    Parameters
    ----------
    network : IntegerNetwork
    low, high : sequence of ndarray
        Of each layer, and of the answers after gains if there are any.
    """
    found = []
    for k, ends in enumerate(zip(low, high, strict=True)):
        largest = np.maximum(ends[1], -ends[0] - 1)
        need = [int(value).bit_length() for value in np.maximum(largest, 1)]
        found.append(np.array(need, np.int64) + (k >= len(network.layers) - 1))
    return found
