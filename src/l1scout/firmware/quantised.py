"""The HGQ2 network: a float network's weights with few bits, and the integer network that it becomes."""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from l1scout.errors import InputError
from l1scout.evaluate import verify
from l1scout.evaluate.verify import Reference
from l1scout.model.card import KERAS_FILE
from l1scout.model.directory import Model
from l1scout.model.domain import Domain
from l1scout.model.integers import STEPS, IntegerGains, IntegerLookUp, IntegerNetwork, Neurons
from l1scout.model.keras_backend import load_keras
from l1scout.model.network import Network

if TYPE_CHECKING:
    import keras

OUTPUT_FRACTION = 8
"""Bits below the point of the HGQ2 network's answers."""
_PT_BITS = 6
"""Highest bits of hwPt that are looked up: each value up to 63, then groups of 1.6 to 3 % of the value."""
_WEIGHT_FRACTION = 7
_HIDDEN_FRACTION = 6


@dataclass(frozen=True)
class Inputs:
    """How an HGQ2 network takes hardware integers: (hardware - offset) / 2**shift, so no value is rounded.

    Parameters
    ----------
    domain : Domain
    offset : ndarray of int64, shape (inputs,)
        The middle of the domain; 0 or 1 stay as they are.
    bits : ndarray of int64, shape (inputs,)
        Of the centred integers, without their sign.
    """

    domain: Domain
    offset: NDArray[np.int64]
    bits: NDArray[np.int64]

    @classmethod
    def of(cls, domain: Domain) -> "Inputs":
        """Return how inputs are taken in a domain."""
        low, high = np.array(domain.low, np.int64), np.array(domain.high, np.int64)
        offset = np.where(high - low > 1, (low + high + 1) // 2, low)
        largest = np.maximum(high - offset, offset - low)
        return cls(domain, offset, np.array([int(n).bit_length() for n in largest], np.int64))

    @property
    def shift(self) -> NDArray[np.int64]:
        """Bits below the point, shape (inputs,): most of them, as the inputs are to be about 1."""
        return np.maximum(self.bits - 1, 0)

    @property
    def signs(self) -> NDArray[np.int64]:
        """Return 1 for each input with values below its offset."""
        return (np.array(self.domain.low) < self.offset).astype(np.int64)

    def __call__(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Return inputs of the HGQ2 network, shape (muons, inputs), from hardware columns."""
        hardware = np.stack([columns[n] for n in self.domain.names], axis=1).astype(np.int64)
        return np.asarray((hardware - self.offset) / np.exp2(self.shift), np.float32)


def scaled(network: Network, inputs: Inputs, units: NDArray[np.float64]) -> Network:
    """Take the layers and look-ups of a network to the units of the HGQ2 network.

    Parameters
    ----------
    network : Network
    inputs : Inputs
    units : ndarray, shape (outputs,)
        What 1 is in the HGQ2 network's answers, in units of the layers' answers.

    Raises
    ------
    InputError
        If a hidden activation is not ReLU or the last one is not linear.
    """
    activations = [layer.activation for layer in network.layers]
    if set(activations[:-1]) - {"relu"} or activations[-1] != "linear":
        given = ", ".join(activations)
        msg = f"firmware is made of ReLU networks with a linear end, not of {given}; train another"
        raise InputError(msg)
    scaling = inputs.offset.astype(np.float64), np.exp2(inputs.shift)
    return before_gains(network).rescaled(scaling, (np.zeros(units.size), units))


def before_gains(network: Network) -> Network:
    """Return the network that answers what a network multiplies by its gains.

    Without gains these are the answers; what an offset adds to them is then in the last bias.
    """
    *layers, last = network.layers
    if network.offset.size and not network.gains:
        last = replace(last, bias=last.bias + network.offset)
    return replace(network, layers=(*layers, last), gains=(), offset=np.zeros(0))


def codes(network: Network, domain: Domain, column: int) -> NDArray[np.int64]:
    """Return a number for each value of an input: the same for values that look the same up.

    Those are values with equal vectors in the float network, as eta and -eta may be, and values of hwPt whose
    `_PT_BITS` highest bits are the same: there are too few muons of each to learn from.
    """
    values = np.arange(domain.low[column], domain.high[column] + 1)
    found = [at.between(values[0], values[-1]).vectors for at in network.look_ups if at.column == column]
    weighted = network.layers[0].weights[column].any()
    keys = values[:, np.newaxis] if weighted or not found else np.hstack(found)
    if network.inputs[column] == "hwPt":
        drop = [max(int(v).bit_length() - _PT_BITS, 0) for v in values]
        keys = (values >> drop << drop)[:, np.newaxis]
    _, first, same = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[same.ravel()], np.int64)


def looked_up_by_answers(network: Network) -> list[tuple[str, ...]]:
    """Return the inputs, or sets of them, that add what they look up to the answers.

    The field bends the charges apart, so pT goes with the charge if the layers see it.
    """
    seen: NDArray[np.bool_] = (network.layers[0].weights != 0).any(axis=1)
    for at in network.look_ups:
        seen[at.column] |= bool(np.ptp(at.vectors, axis=0).any())
    names = [n for n, s in zip(network.inputs, seen, strict=True) if s]
    pt = ("hwCharge", "hwPt") if "hwCharge" in names else ("hwPt",)
    return [at for at in (("hwEtaAtVtx",), ("hwEta",), pt) if set(at) <= set(names)]


def build(network: Network, inputs: Inputs) -> "keras.Model":
    """Make an HGQ2 network with the weights of a float one (in its units, see `scaled`).

    What jumps from one value of an input to the next need not go through the neurons: the answers have
    look-ups of their own, zeros at first.
    """
    model = _architecture(network, inputs)
    layers, look_ups, domain = network.layers, network.look_ups, inputs.domain
    _fix(model.get_layer("inputs").quantizer, inputs)
    _fix(model.get_layer("dense_0").iq.quantizer, inputs, blind=[at.column for at in look_ups])
    bias = layers[0].bias.copy()
    for at in look_ups:
        same = codes(network, domain, at.column)
        vectors = at.between(domain.low[at.column], domain.high[at.column]).vectors
        sums = np.stack([np.bincount(same, column) for column in vectors.T], axis=1)
        values = sums / np.bincount(same)[:, np.newaxis]
        middle = (values.max(axis=0) + values.min(axis=0)) / 2
        model.get_layer(_look_up_name(0, [network.inputs[at.column]])).vectors.assign(values - middle)
        bias += middle
    for (q, _), layer in zip(parts(model), [replace(layers[0], bias=bias), *layers[1:]], strict=True):
        q.kernel.assign(layer.weights)
        q.bias.assign(layer.bias)
        for quantizer, values in ((q.kq.quantizer, layer.weights), (q.bq.quantizer, layer.bias)):
            above = np.ceil(np.log2(np.abs(values) + 2.0**-_WEIGHT_FRACTION))
            quantizer._i.assign(above)
            quantizer._b.assign(np.maximum(above + _WEIGHT_FRACTION, 0))
    return model


def _architecture(network: Network, inputs: Inputs) -> "keras.Model":
    """Make an HGQ2 network for a float one, with no weights yet."""
    keras = need_hgq()
    from hgq.config import QuantizerConfig, QuantizerConfigScope
    from hgq.constraints import Constant
    from hgq.layers import QDense
    from hgq.quantizer import Quantizer

    from l1scout.firmware.look_up import QuantisedLookUp

    domain = inputs.domain

    def look_up(units: int, layer: int, names: Sequence[str]) -> QuantisedLookUp:
        at = [network.inputs.index(n) for n in names]
        rows = [(c, domain.low[c], domain.high[c], inputs.shift[c], inputs.offset[c]) for c in at]
        same = [codes(network, domain, c).tolist() for c in at]
        return QuantisedLookUp(units, rows, same, name=_look_up_name(layer, names))

    with (
        QuantizerConfigScope(place="all", default_q_type="kbi", overflow_mode="SAT_SYM"),
        QuantizerConfigScope(
            place="datalane", default_q_type="kif", overflow_mode="WRAP", f0=_HIDDEN_FRACTION
        ),
    ):
        fixed = QuantizerConfig("kif", "datalane", k0=1, i0=8, f0=8, trainable=False)
        ends = QuantizerConfig(
            "kif", "datalane", k0=1, i0=3, f0=OUTPUT_FRACTION, fc=Constant(OUTPUT_FRACTION)
        )
        asked = {len(network.layers) - 1: looked_up_by_answers(network)}
        asked |= {0: [(network.inputs[at.column],) for at in network.look_ups]} if network.look_ups else {}
        given, answers = keras.Input((len(network.inputs),)), Quantizer(ends, name="answers")
        x = y = Quantizer(fixed, name="inputs")(given)
        for k, layer in enumerate(network.layers):
            y = QDense(layer.bias.size, iq_conf=None if k else fixed, name=f"dense_{k}")(y)
            for names in asked.get(k, ()):
                y = keras.layers.Add()([y, look_up(layer.bias.size, k, names)(x)])
            y = keras.layers.Activation("relu")(y) if layer.activation == "relu" else answers(y)
        return keras.Model(given, y)


def _fix(quantizer: Any, inputs: Inputs, blind: Sequence[int] = ()) -> None:
    """Let a quantizer of the inputs take all their bits, and none of the `blind` ones."""
    sign, bits = inputs.signs, inputs.bits.copy()
    sign[list(blind)] = bits[list(blind)] = 0
    quantizer._k.assign(sign[np.newaxis])
    quantizer._i.assign((bits - inputs.shift)[np.newaxis])
    quantizer._f.assign(inputs.shift[np.newaxis])


def _look_up_name(layer: int, names: Sequence[str]) -> str:
    return f"look_up_{layer}_{'_'.join(names)}"


def parts(model: "keras.Model") -> list[tuple[Any, list[Any]]]:
    """Dense layers of an HGQ2 network, each with the look-ups beside it."""
    names = [layer.name for layer in model.layers]
    return [
        (model.get_layer(f"dense_{k}"), [model.get_layer(n) for n in names if n.startswith(f"look_up_{k}_")])
        for k in range(sum(n.startswith("dense_") for n in names))
    ]


def load(path: Path) -> "keras.Model":
    """Load the HGQ2 network of a firmware model.

    Raises
    ------
    InputError
        If HGQ2 is not installed, or the file is no such network.
    """
    keras = need_hgq()
    importlib.import_module("l1scout.firmware.look_up")
    try:
        return keras.models.load_model(path, compile=False)
    except Exception as error:  # a damaged file raises anything
        msg = f"{path}: not a usable HGQ2 network ({str(error).splitlines()[0]})"
        raise InputError(msg) from error


def need_hgq() -> Any:
    """Return Keras, which then knows HGQ2; InputError if that is not installed."""
    keras = load_keras()
    try:
        importlib.import_module("hgq.layers")
    except ImportError as error:
        msg = f"HGQ2 is not installed ({error}); pip install 'l1scout[firmware]'"
        raise InputError(msg) from error
    return keras


def ebops(model: "keras.Model") -> float:
    """Effective bit operations: bits of inputs times bits of weights of all products; and the look-ups'."""
    layers = [(q, look_up) for q, look_ups in parts(model) for look_up in [q, *look_ups]]
    return float(sum(float(layer._compute_ebops((1, q.kernel.shape[0]))) for q, layer in layers))


def integers(model: "keras.Model", inputs: Inputs, gains: IntegerGains | None = None) -> IntegerNetwork:
    """Return the integer network that an HGQ2 network is, but for the widths, which are as large as can be.

    Neurons that nothing asks for are left out.

    Parameters
    ----------
    model : keras.Model
    inputs : Inputs
    gains : IntegerGains, optional
        By which its answers are multiplied.
    """
    offset, fraction = inputs.offset, inputs.shift
    layers, look_ups, kept = [], [], np.arange(offset.size)
    for k, (q, beside) in enumerate(parts(model)):
        weights = np.asarray(q.qkernel, np.float64)[kept]
        bias = np.asarray(q.qbias, np.float64)
        wanted = np.asarray(_after(model, k).f, np.int64)[0]
        if k == 0:
            weights[[c for at in beside for c, *_ in at.columns]] = 0
            bias = bias - (offset / 2.0**fraction) @ weights
        keep = _kept(model, k)
        weights, bias, wanted = weights[:, keep], bias[keep], wanted[keep]
        vectors = [at.of_values(np.asarray(at.qvectors, np.float64))[:, keep] for at in beside]
        point = wanted.copy()
        for j in range(keep.size):
            need = [_fraction(w) + f for w, f in zip(weights[:, j], fraction, strict=True) if w]
            need += [_fraction(x) for v in vectors for x in v[:, j]]
            point[j] = max(int(wanted[j]), _fraction(bias[j]), *need)
        shift = point - wanted
        whole = weights * 2.0 ** (point - fraction[:, np.newaxis])
        start = bias * 2.0**point + np.where(shift > 0, 2.0 ** (shift - 1), 0)
        layers.append(Neurons(whole.astype(np.int64), start.astype(np.int64), shift, np.full(keep.size, 31)))
        for at, v in zip(beside, vectors, strict=True):
            columns, low, *_ = zip(*at.columns, strict=True)
            values = (v * 2.0**point).astype(np.int64)
            look_ups.append(IntegerLookUp(k, columns, low, tuple(at.counts), values))
        kept, fraction = keep, wanted
    return IntegerNetwork(inputs.domain.names, tuple(layers), tuple(look_ups), gains)


def set_widths(model: "keras.Model", network: IntegerNetwork) -> None:
    """Give an HGQ2 network the widths of the integer network that `integers` made of it."""
    for k, layer in enumerate(network.layers):
        last = k == len(network.layers) - 1
        quantizer = _after(model, k)
        fraction = np.asarray(quantizer.f, np.int64)[0]
        bits = np.zeros(fraction.size, np.int64)  # of neurons that are left out: nobody asks
        bits[_kept(model, k)] = layer.bits - last
        quantizer._k.assign(np.full((1, bits.size), last))
        quantizer._i.assign((bits - fraction)[np.newaxis])


def _after(model: "keras.Model", k: int) -> Any:
    """Quantizer of what a layer gives: the next one's of its inputs, or that of the answers."""
    dense = parts(model)
    return dense[k + 1][0].iq.quantizer if k + 1 < len(dense) else model.get_layer("answers").quantizer


def _kept(model: "keras.Model", k: int) -> NDArray[np.int64]:
    """Neurons of a layer that the next one asks for."""
    dense = [q for q, _ in parts(model)]
    if k == len(dense) - 1:
        return np.arange(dense[k].units)
    return np.flatnonzero(np.abs(np.asarray(dense[k + 1].qkernel)).sum(axis=1) > 0)


def _fraction(value: float) -> int:
    """Fewest bits below the point that a number needs."""
    f = -24
    while value * 2.0**f != np.floor(value * 2.0**f):
        f += 1
    return f if value else -24


def answers_in_steps(
    network: IntegerNetwork, hardware: NDArray[Any], answers: NDArray[Any]
) -> NDArray[np.int64]:
    """Return answers of an HGQ2 network, shape (muons, 3), in `STEPS` after the gains, shape (3, muons)."""
    whole = np.rint(np.asarray(answers, np.float64).T * 2.0**OUTPUT_FRACTION).astype(np.int64)
    return network.gains(hardware, whole) if network.gains else whole


def quantised_reference(model: Model) -> Reference:
    """Return the HGQ2 network of a firmware model, in float32: its numbers have few bits and are exact.

    Its answers are multiplied by the gains in integers.

    Raises
    ------
    InputError
        If HGQ2 is not installed, or the file is no such network.
    """
    network, inputs = load((model.directory or Path()) / KERAS_FILE), Inputs.of(model.domain)
    integer_network = model.integers
    assert integer_network

    def answer(hardware: NDArray[np.int16]) -> NDArray[np.float64]:
        x = inputs(dict(zip(model.domain.names, hardware, strict=True)))
        answers = answers_in_steps(integer_network, hardware, network.predict_on_batch(x))
        return np.asarray(STEPS[:, np.newaxis] * answers)

    return answer


def reference_of(model: Model) -> tuple[Reference, str]:
    """Return the reference for engines, and its description; see `l1scout.evaluate.verify.reference_of`."""
    if model.integers:
        return quantised_reference(model), "HGQ2, float32"
    return verify.reference_of(model)
