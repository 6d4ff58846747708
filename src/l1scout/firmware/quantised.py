"""The HGQ2 network: a float network's weights with few bits, and the integer network that it becomes."""

import importlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from l1scout.errors import InputError
from l1scout.evaluate import verify
from l1scout.evaluate.verify import Reference
from l1scout.formats.streams.muon import PHI_BINS
from l1scout.model.card import KERAS_FILE
from l1scout.model.directory import Model
from l1scout.model.domain import Domain
from l1scout.model.integers import STEPS, IntegerLookUp, IntegerNetwork, Neurons
from l1scout.model.keras_backend import load_keras
from l1scout.model.network import Network
from l1scout.model.quantities import INPUTS

if TYPE_CHECKING:
    import keras

INPUT_OFFSET = {"hwPhiAtVtx": PHI_BINS // 2, "hwEtaAtVtx": 0, "hwPt": 10, "hwCharge": 0}
INPUT_SHIFT = {"hwPhiAtVtx": 8, "hwEtaAtVtx": 3, "hwPt": 3, "hwCharge": 0}
"""An input of the HGQ2 network is (hardware - offset) / 2**shift: no value is rounded."""
INPUT_BITS = {"hwPhiAtVtx": (1, 9), "hwEtaAtVtx": (1, 8), "hwPt": (1, 9), "hwCharge": (0, 1)}
"""Sign and other bits of the centred integer, for the area that training counts."""
OUTPUT_FRACTION = 8
UNITS = STEPS * 2**OUTPUT_FRACTION
"""What 1 is in the HGQ2 network's answers: rad, 1, GeV."""
LOOKED_UP = (("hwEtaAtVtx",), ("hwCharge", "hwPt"))
"""Inputs that add what they look up to the answers; the field bends the charges apart, so pT goes with it."""
_WEIGHT_FRACTION = 7
_HIDDEN_FRACTION = 6


def network_inputs(columns: Any) -> NDArray[np.float32]:
    """Return inputs of the HGQ2 network, shape (muons, 4), from hardware columns."""
    rows = [(columns[n].astype(np.int64) - INPUT_OFFSET[n]) / 2.0 ** INPUT_SHIFT[n] for n in INPUTS]
    return np.stack(rows, axis=1).astype(np.float32)


def scaled(network: Network) -> Network:
    """Take a network from hardware and physics units to the units of the HGQ2 network.

    Raises
    ------
    InputError
        If a hidden activation is not ReLU, or the inputs are others than `INPUTS`.
    """
    activations = [layer.activation for layer in network.layers]
    if network.inputs != INPUTS or set(activations[:-1]) - {"relu"} or activations[-1] != "linear":
        msg = f"firmware is made of ReLU networks of {', '.join(INPUTS)} with a linear end; train another"
        raise InputError(msg)
    offset = np.array([INPUT_OFFSET[n] for n in INPUTS], np.float64)
    scale = np.array([2.0 ** INPUT_SHIFT[n] for n in INPUTS])
    return network.rescaled((offset, scale), (np.zeros(UNITS.size), UNITS))


def build(network: Network, domain: Domain) -> "keras.Model":
    """Make an HGQ2 network with the weights of a float one (in its units, see `scaled`).

    What jumps from one value of `LOOKED_UP` to the next need not go through the neurons: the answers have
    look-ups of their own, zeros at first.
    """
    model = _architecture(network, domain)
    layers, look_ups = network.layers, network.look_ups
    _fix(model.get_layer("inputs").quantizer)
    _fix(model.get_layer("dense_0").iq.quantizer, blind=[at.column for at in look_ups])
    bias = layers[0].bias.copy()
    for at in look_ups:
        values = at.between(domain.low[at.column], domain.high[at.column]).vectors
        middle = (values.max(axis=0) + values.min(axis=0)) / 2
        model.get_layer(_look_up_name(0, [INPUTS[at.column]])).vectors.assign(values - middle)
        bias += middle
    for (q, _), layer in zip(parts(model), [replace(layers[0], bias=bias), *layers[1:]], strict=True):
        q.kernel.assign(layer.weights)
        q.bias.assign(layer.bias)
        for quantizer, values in ((q.kq.quantizer, layer.weights), (q.bq.quantizer, layer.bias)):
            above = np.ceil(np.log2(np.abs(values) + 2.0**-_WEIGHT_FRACTION))
            quantizer._i.assign(above)
            quantizer._b.assign(np.maximum(above + _WEIGHT_FRACTION, 0))
    return model


def _architecture(network: Network, domain: Domain) -> "keras.Model":
    """Make an HGQ2 network for a float one, with no weights yet."""
    keras = need_hgq()
    from hgq.config import QuantizerConfig, QuantizerConfigScope
    from hgq.constraints import Constant
    from hgq.layers import QDense
    from hgq.quantizer import Quantizer

    from l1scout.firmware.look_up import QuantisedLookUp

    def look_up(units: int, layer: int, names: Sequence[str]) -> QuantisedLookUp:
        at = [INPUTS.index(n) for n in names]
        rows = [
            (c, domain.low[c], domain.high[c], INPUT_SHIFT[n], INPUT_OFFSET[n])
            for c, n in zip(at, names, strict=True)
        ]
        return QuantisedLookUp(units, rows, name=_look_up_name(layer, names))

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
        asked: dict[int, Sequence[Sequence[str]]] = {len(network.layers) - 1: LOOKED_UP}
        asked |= {0: [(INPUTS[at.column],) for at in network.look_ups]} if network.look_ups else {}
        given, answers = keras.Input((len(INPUTS),)), Quantizer(ends, name="answers")
        x = y = Quantizer(fixed, name="inputs")(given)
        for k, layer in enumerate(network.layers):
            y = QDense(layer.bias.size, iq_conf=None if k else fixed, name=f"dense_{k}")(y)
            for names in asked.get(k, ()):
                y = keras.layers.Add()([y, look_up(layer.bias.size, k, names)(x)])
            y = keras.layers.Activation("relu")(y) if layer.activation == "relu" else answers(y)
        return keras.Model(given, y)


def _fix(quantizer: Any, blind: Sequence[int] = ()) -> None:
    """Let a quantizer of the inputs take all their bits, and none of the `blind` ones."""
    sign, bits = np.array([INPUT_BITS[n] for n in INPUTS]).T
    sign[list(blind)] = bits[list(blind)] = 0
    fraction = np.array([INPUT_SHIFT[n] for n in INPUTS])
    quantizer._k.assign(sign[np.newaxis])
    quantizer._i.assign((bits - fraction)[np.newaxis])
    quantizer._f.assign(fraction[np.newaxis])


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


def integers(model: "keras.Model") -> IntegerNetwork:
    """Return the integer network that an HGQ2 network is, but for the widths, which are as large as can be.

    Neurons that nothing asks for are left out.
    """
    offset = np.array([INPUT_OFFSET[n] for n in INPUTS])
    fraction = np.array([INPUT_SHIFT[n] for n in INPUTS])
    layers, look_ups, kept = [], [], np.arange(len(INPUTS))
    for k, (q, beside) in enumerate(parts(model)):
        weights = np.asarray(q.qkernel, np.float64)[kept]
        bias = np.asarray(q.qbias, np.float64)
        wanted = np.asarray(_after(model, k).f, np.int64)[0]
        if k == 0:
            weights[[c for at in beside for c, *_ in at.columns]] = 0
            bias = bias - (offset / 2.0**fraction) @ weights
        keep = _kept(model, k)
        weights, bias, wanted = weights[:, keep], bias[keep], wanted[keep]
        vectors = [np.asarray(at.qvectors, np.float64)[:, keep] for at in beside]
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
    return IntegerNetwork(INPUTS, tuple(layers), tuple(look_ups))


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


def quantised_reference(path: Path) -> Reference:
    """Return the HGQ2 network of a firmware model, in float32: its numbers have few bits and are exact.

    Raises
    ------
    InputError
        If HGQ2 is not installed, or the file is no such network.
    """
    network = load(path)

    def answer(hardware: NDArray[np.int16]) -> NDArray[np.float64]:
        x = network_inputs(dict(zip(INPUTS, hardware, strict=True)))
        y = network.predict_on_batch(x)
        return np.asarray(UNITS[:, np.newaxis] * np.asarray(y, np.float64).T)

    return answer


def reference_of(model: Model) -> tuple[Reference, str]:
    """Return the reference for engines, and its description; see `l1scout.evaluate.verify.reference_of`."""
    if model.integers:
        return quantised_reference((model.directory or Path()) / KERAS_FILE), "HGQ2, float32"
    return verify.reference_of(model)
