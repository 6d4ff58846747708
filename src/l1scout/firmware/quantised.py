"""The HGQ2 network: a float network's weights with few bits, and the integer network that it becomes."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from l1scout.deploy.integers import STEPS, IntegerNetwork, Neurons
from l1scout.errors import InputError
from l1scout.formats.muon import PHI_BINS
from l1scout.training.export import Layer
from l1scout.training.models import INPUTS

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
_WEIGHT_FRACTION = 7
_HIDDEN_FRACTION = 6


def network_inputs(columns: Any) -> NDArray[np.float32]:
    """Return inputs of the HGQ2 network, shape (muons, 4), from hardware columns."""
    rows = [(columns[n].astype(np.int64) - INPUT_OFFSET[n]) / 2.0 ** INPUT_SHIFT[n] for n in INPUTS]
    return np.stack(rows, axis=1).astype(np.float32)


def scaled(layers: Sequence[Layer]) -> list[Layer]:
    """Take layers from hardware to physics units to the units of the HGQ2 network.

    Raises
    ------
    InputError
        If a hidden activation is not ReLU, or the inputs are others than `INPUTS`.
    """
    if (
        len(layers[0].weights) != len(INPUTS)
        or any(v.activation != "relu" for v in layers[:-1])
        or layers[-1].activation != "linear"
    ):
        msg = f"firmware is made of ReLU networks of {', '.join(INPUTS)} with a linear end; train another"
        raise InputError(msg)
    offset = np.array([INPUT_OFFSET[n] for n in INPUTS], np.float64)
    scale = np.array([2.0 ** INPUT_SHIFT[n] for n in INPUTS])
    first = layers[0]
    out = [
        Layer(first.weights * scale[:, np.newaxis], first.bias + offset @ first.weights, "relu"),
        *layers[1:],
    ]
    last = out[-1]
    return [*out[:-1], Layer(last.weights / UNITS, last.bias / UNITS, "linear")]


def build(layers: Sequence[Layer]) -> "keras.Model":
    """Make an HGQ2 network with the weights of a float one (in its units, see `scaled`)."""
    import keras

    need_hgq()
    from hgq.config import QuantizerConfig, QuantizerConfigScope
    from hgq.constraints import Constant
    from hgq.layers import QDense

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
        made: list[Any] = [keras.Input((len(layers[0].weights),))]
        for k, layer in enumerate(layers):
            more = {"iq_conf": fixed} if k == 0 else {}
            more |= {"enable_oq": True, "oq_conf": ends} if k == len(layers) - 1 else {}
            made.append(QDense(layer.bias.size, activation=layer.activation, **more))
        model = keras.Sequential(made)
    for q, layer in zip(model.layers, layers, strict=True):
        q.kernel.assign(layer.weights)
        q.bias.assign(layer.bias)
        for quantizer, values in ((q.kq.quantizer, layer.weights), (q.bq.quantizer, layer.bias)):
            above = np.ceil(np.log2(np.abs(values) + 2.0**-_WEIGHT_FRACTION))
            quantizer._i.assign(above)
            quantizer._b.assign(np.maximum(above + _WEIGHT_FRACTION, 0))
    sign, bits = np.array([INPUT_BITS[n] for n in INPUTS]).T
    fraction = np.array([INPUT_SHIFT[n] for n in INPUTS])
    q = model.layers[0].iq.quantizer
    q._k.assign(sign[np.newaxis])
    q._i.assign((bits - fraction)[np.newaxis])
    q._f.assign(fraction[np.newaxis])
    return model


def load(path: Path) -> "keras.Model":
    """Load the HGQ2 network of a firmware model.

    Raises
    ------
    InputError
        If HGQ2 is not installed, or the file is no such network.
    """
    import keras

    need_hgq()
    try:
        return keras.models.load_model(path, compile=False)
    except Exception as error:  # a damaged file raises anything
        msg = f"{path}: not a usable HGQ2 network ({str(error).splitlines()[0]})"
        raise InputError(msg) from error


def need_hgq() -> None:
    """Import HGQ2, which Keras then knows; InputError if it is not installed."""
    try:
        importlib.import_module("hgq.layers")
    except ImportError as error:
        msg = f"HGQ2 is not installed ({error}); pip install 'l1scout[firmware]'"
        raise InputError(msg) from error


def ebops(model: "keras.Model") -> float:
    """Effective bit operations: bits of inputs times bits of weights, summed over all products."""
    return float(sum(float(q._compute_ebops((1, q.kernel.shape[0]))) for q in model.layers))


def integers(model: "keras.Model") -> IntegerNetwork:
    """Return the integer network that an HGQ2 network is, but for the widths, which are as large as can be.

    Neurons that nothing asks for are left out.
    """
    offset = np.array([INPUT_OFFSET[n] for n in INPUTS])
    fraction = np.array([INPUT_SHIFT[n] for n in INPUTS])
    layers, kept = [], np.arange(len(INPUTS))
    quantizers = [q.iq.quantizer for q in model.layers[1:]] + [model.layers[-1].oq.quantizer]
    for k, (q, after) in enumerate(zip(model.layers, quantizers, strict=True)):
        weights = np.asarray(q.qkernel, np.float64)[kept]
        bias = np.asarray(q.qbias, np.float64)
        wanted = np.asarray(after.f, np.int64)[0]
        if k == 0:
            bias = bias - (offset / 2.0**fraction) @ weights
        keep = _kept(model, k)
        weights, bias, wanted = weights[:, keep], bias[keep], wanted[keep]
        point = wanted.copy()
        for j in range(keep.size):
            need = [_fraction(w) + f for w, f in zip(weights[:, j], fraction, strict=True) if w]
            point[j] = (
                max(int(wanted[j]), _fraction(bias[j]), *need)
                if need
                else max(int(wanted[j]), _fraction(bias[j]))
            )
        shift = point - wanted
        whole = weights * 2.0 ** (point - fraction[:, np.newaxis])
        start = bias * 2.0**point + np.where(shift > 0, 2.0 ** (shift - 1), 0)
        layers.append(Neurons(whole.astype(np.int64), start.astype(np.int64), shift, np.full(keep.size, 31)))
        kept, fraction = keep, wanted
    return IntegerNetwork(INPUTS, tuple(layers))


def set_widths(model: "keras.Model", network: IntegerNetwork) -> None:
    """Give an HGQ2 network the widths of the integer network that `integers` made of it."""
    for k, layer in enumerate(network.layers):
        last = k == len(network.layers) - 1
        quantizer = (model.layers[k].oq if last else model.layers[k + 1].iq).quantizer
        fraction = np.asarray(quantizer.f, np.int64)[0]
        bits = np.zeros(fraction.size, np.int64)  # of neurons that are left out: nobody asks
        bits[_kept(model, k)] = layer.bits - last
        quantizer._k.assign(np.full((1, bits.size), last))
        quantizer._i.assign((bits - fraction)[np.newaxis])


def _kept(model: "keras.Model", k: int) -> NDArray[np.int64]:
    """Neurons of a layer that the next one asks for."""
    if k == len(model.layers) - 1:
        return np.arange(model.layers[k].units)
    weights = np.asarray(model.layers[k + 1].qkernel)
    return np.flatnonzero(np.abs(weights).sum(axis=1) > 0)


def _fraction(value: float) -> int:
    """Fewest bits below the point that a number needs."""
    f = -24
    while value * 2.0**f != np.floor(value * 2.0**f):
        f += 1
    return f if value else -24
