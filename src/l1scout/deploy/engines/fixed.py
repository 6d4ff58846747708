"""The integer network: what a 16-bit fixed-point processor computes, by rules that are stated.

A number x is stored as floor(x * 2**fraction + 1/2), saturated to the word. A neuron adds products in
64 bits, adds its bias shifted to the products' point, shifts back to the activation's point, rounded or
cut off, and saturates (or wraps). Vectors that are looked up are words as biases are. ReLU is exact. Every
saturation is counted.

Gains multiply the words of the last layer, extended to `WIDE` bits by zeros below. The factors of a gain for
one answer are words that have as many fractional bits as the largest of them leaves room for. Each product is
shifted back by one bit less than a word has, rounded or cut off, so that nothing overflows: instead, the
answer's point moves, by a number of bits that is known beforehand. The offset is added as answers become
float32.

Q8.8 (8 integer bits, the sign among them, and 8 fractional bits) is what the Micron DLA uses unless told
otherwise, for weights, biases and activations. Its documents state neither rounding, nor the width of
sums, nor what happens on overflow: this is an emulator of the rules above, not of that device.
"""

import re
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from l1scout.deploy.engines import ENGINES
from l1scout.deploy.engines._base import Engine, EngineOptions, check_arrays
from l1scout.errors import InputError
from l1scout.jit import kernel
from l1scout.model.directory import Model
from l1scout.model.network import Network

WIDE = 40
"""Bits of an answer while it is multiplied by factors, which have 24 at most: products fit into 64 bits."""
_EXACT = 48
"""Bits of biases and looked-up words at the products' point: some of them add up exactly in float64."""
_CHUNK = 1 << 11  # the layers of this number of muons stay in the cache


@dataclass(frozen=True)
class Format:
    """Rules of a fixed-point network.

    Parameters
    ----------
    bits : int
        Of a word, the sign among them.
    fraction : int
        Fractional bits of activations; of weights and biases, too, unless these are `variable`.
    variable : bool
        Each layer's weights have as many fractional bits as its largest one leaves room for (QX.Y).
    rounding : {"nearest", "down"}
        Of sums that are shifted back: half up, or cut off.
    overflow : {"saturate", "wrap"}
        What does not fit into a word becomes its end, or loses its upper bits.
    """

    bits: int = 16
    fraction: int = 8
    variable: bool = False
    rounding: Literal["nearest", "down"] = "nearest"
    overflow: Literal["saturate", "wrap"] = "saturate"

    def __post_init__(self) -> None:
        if not (2 <= self.bits <= 24 and 0 <= self.fraction < self.bits):
            msg = f"Q{self.bits - self.fraction}.{self.fraction}: words have 2 to 24 bits, sign included"
            raise InputError(msg)

    @classmethod
    def parse(cls, text: str) -> "Format":
        """Read rules: ``Q8.8``, then any of ``variable``, ``down`` and ``wrap``, after commas.

        Raises
        ------
        InputError
            If it is none of these, or words would be too long.
        """
        first, *words = text.split(",")
        match = re.fullmatch(r"Q(\d{1,2})\.(\d{1,2})", first)
        if not match or not set(words) <= {"variable", "down", "wrap"}:
            msg = f"fixed-point rules {text!r}: like Q8.8 or Q4.12,variable,down,wrap"
            raise InputError(msg)
        bits, fraction = int(match[1]) + int(match[2]), int(match[2])
        rounding: Literal["nearest", "down"] = "down" if "down" in words else "nearest"
        overflow: Literal["saturate", "wrap"] = "wrap" if "wrap" in words else "saturate"
        return cls(bits, fraction, "variable" in words, rounding, overflow)

    @property
    def largest(self) -> int:
        """Largest value of a word."""
        return (1 << (self.bits - 1)) - 1

    def fit(self, values: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
        """Return values as words, and how many did not fit."""
        low = -self.largest - 1
        over = int(np.count_nonzero((values < low) | (values > self.largest)))
        if self.overflow == "wrap":
            return ((values - low) & ((1 << self.bits) - 1)) + low, over
        return np.clip(values, low, self.largest), over


@dataclass(frozen=True)
class IntegerLayer:
    """``relu((x @ weights + (bias << shift)) >> shift)``: weights of shape (inputs, outputs), int64.

    `bias` has the activations' point; `shift` is the number of fractional bits of the weights.
    """

    weights: NDArray[np.int64]
    bias: NDArray[np.int64]
    shift: int
    relu: bool


@ENGINES.register("fixed")
class FixedEngine(Engine):
    """A network in integers.

    Parameters
    ----------
    model : Model
    rules : Format

    Attributes
    ----------
    layers : list of IntegerLayer
    overflows : int
        Activations that did not fit, since it was made.
    weight_overflows : int
        Weights and biases that did not fit.

    Raises
    ------
    InputError
        If a hidden activation is not ReLU: softmax has no exact integer form.
    """

    settings = "Q8.8 unless told otherwise; or Q4.12,variable,down,wrap"
    unasked = True

    @classmethod
    def create(cls, model: Model, options: EngineOptions) -> "FixedEngine":
        """Make the engine."""
        return cls(model, Format.parse(options.settings) if options.settings else None)

    @classmethod
    def refusal(cls, model: Model) -> str:
        """Explain why the model has no exact integer form; empty if it has."""
        if not model.no_layers and any(layer.activation == "softmax" for layer in model.layers.layers):
            return "softmax has no exact integer form"
        return model.no_layers

    def __init__(self, model: Model, rules: Format | None = None) -> None:
        self.rules = rules or Format()
        self.overflows = 0
        card, network = model.card, model.layers
        self._in = [np.array([[getattr(q, n)] for q in card.inputs]) for n in ("offset", "scale")]
        self._out = [np.array([[getattr(q, n)] for q in card.outputs]) for n in ("offset", "scale")]
        self._offset = network.offset[:, np.newaxis] if network.offset.size else 0.0
        if network.gains:  # they multiply answers, of which the offset of the card's scaling is a part
            self._out[0] = np.zeros_like(self._out[0])
        network = network.rescaled(*((o[:, 0], s[:, 0]) for o, s in (self._in, self._out)))
        self.layers, self.weight_overflows = quantise(network, self.rules, model.name)
        self._look_ups = []
        for at in network.look_ups:
            words, over = self.rules.fit(_nearest(at.vectors, self.rules.fraction))
            self._look_ups.append((at.column, at.low, words))
            self.weight_overflows += over
        self._gains = []
        for gain in network.gains:
            points = np.array([fractional_bits(column, self.rules) for column in gain.factors.T])
            words, _ = self.rules.fit(_nearest(gain.factors, points))
            self._gains.append((gain.column, gain.low, words, points))

    def integers(self, hardware: NDArray[Any]) -> NDArray[np.int64]:
        """Words of the last layer, shape (outputs, muons), exact."""
        rules = self.rules
        words, over = rules.fit(_nearest((hardware - self._in[0]) / self._in[1], rules.fraction))
        x = words.astype(np.float64)
        for k, layer in enumerate(self.layers):
            half = (1 << layer.shift >> 1) * (rules.rounding == "nearest")
            y = np.empty((layer.bias.size, x.shape[1]))
            y[:] = ((layer.bias << layer.shift) + half)[:, np.newaxis]
            for column, low, entries in self._look_ups if k == 0 else ():
                row = np.clip(hardware[column].astype(np.int64) - low, 0, len(entries) - 1)
                y += (entries << layer.shift)[row].T
            weights, largest = layer.weights.astype(np.float64), float(rules.largest)
            over += _layer(weights, 2.0**-layer.shift, largest, rules.overflow == "wrap", layer.relu, x, y)
            x = y
        self.overflows += over
        return x.astype(np.int64)

    def correct(self, hardware: NDArray[Any], out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Return corrections; see `Engine`."""
        hardware, out = check_arrays(hardware, len(self._in[0]), len(self._out[0]), out)
        for start in range(0, hardware.shape[1], _CHUNK):
            piece = slice(start, start + _CHUNK)
            words = self.integers(hardware[:, piece])
            if self._gains:
                words, points = self.multiplied(hardware[:, piece], words)
            else:
                points = np.full((len(words), 1), self.rules.fraction)
            out[:, piece] = self._out[0] + self._out[1] * np.ldexp(words, -points) + self._offset
        return out

    def multiplied(
        self, hardware: NDArray[Any], words: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Multiply words of the last layer by the gains, exact in 64 bits.

        Returns
        -------
        answers : ndarray of int64, shape (outputs, muons)
            Of `WIDE` bits.
        points : ndarray of int64, shape (outputs, 1)
            Number of their fractional bits.
        """
        back = self.rules.bits - 1
        half = (1 << back >> 1) * (self.rules.rounding == "nearest")
        answers = words << (WIDE - self.rules.bits)
        points = np.full((len(words), 1), self.rules.fraction + WIDE - self.rules.bits)
        for column, low, factors, own in self._gains:
            row = np.clip(hardware[column].astype(np.int64) - low, 0, len(factors) - 1)
            answers = (answers * factors[row].T + half) >> back
            points = points + (own - back)[:, np.newaxis]
        return answers, points


def quantise(network: Network, rules: Format, name: str = "model") -> tuple[list[IntegerLayer], int]:
    """Return integer layers, and how many weights and biases did not fit."""
    made, over = [], 0
    for layer in network.layers:
        if layer.activation not in ("relu", "linear"):
            msg = f"{name}: {layer.activation} has no exact integer form; the fixed engine runs ReLU networks"
            raise InputError(msg)
        if 2 * (rules.bits - 1) + len(layer.weights).bit_length() > 52:
            inputs = len(layer.weights)
            msg = f"{name}: sums of {inputs} inputs of {rules.bits} bits would not be exact; use fewer bits"
            raise InputError(msg)
        shift = rules.fraction
        if rules.variable:  # biases are shifted to the products' point, and are exact there
            shift = min(max(fractional_bits(layer.weights, rules), 0), _EXACT - rules.bits)
        weights, many = rules.fit(_nearest(layer.weights, shift))
        bias, more = rules.fit(_nearest(layer.bias, rules.fraction))
        over += many + more
        made.append(IntegerLayer(weights, bias, shift, layer.activation == "relu"))
    return made, over


def fractional_bits(values: NDArray[np.float64], rules: Format) -> int:
    """Return how many fractional bits the largest of values leaves room for in a word; negative if none."""
    largest = max(float(np.abs(values).max()), 2.0**-rules.bits)
    bits = min(rules.bits - 1 - int(np.floor(np.log2(largest)) + 1), 2 * rules.bits)
    while np.rint(largest * 2.0**bits) > rules.largest:  # the largest rounds up to a power of two
        bits -= 1
    return bits


@kernel
def _layer(
    weights: NDArray[np.float64],
    step: float,
    largest: float,
    wrap: bool,
    relu: bool,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
) -> int:
    """Make words of a layer's sums, shape (outputs, muons), and return how many did not fit.

    All are integers below 2**53, so that float64, which is faster, is exact.
    """
    lowest, span = -largest - 1, 2 * (largest + 1)
    over = 0
    for j in range(y.shape[0]):
        row = y[j]
        for i in range(x.shape[0]):
            weight, column = weights[i, j], x[i]
            for m in range(row.size):
                row[m] += weight * column[m]
        for m in range(row.size):
            word = np.floor(row[m] * step)
            over += word < lowest or word > largest
            if wrap:
                word -= np.floor((word - lowest) / span) * span
            word = min(max(word, lowest), largest)
            row[m] = 0.0 if relu and word < 0 else word
    return over


def _nearest(values: NDArray[np.float64], fraction: int | NDArray[np.int64]) -> NDArray[np.int64]:
    return np.floor(values * 2.0**fraction + 0.5).astype(np.int64)
