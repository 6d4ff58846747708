"""Every engine against the Keras network in float64, at every input of the model's domain.

The reference of a firmware model is `l1scout.firmware.quantised.quantised_reference`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from l1scout.core.flow import Progress
from l1scout.deploy.engine import Engine
from l1scout.deploy.engines.onnx import OnnxEngine
from l1scout.deploy.engines.table import TableEngine
from l1scout.errors import InputError
from l1scout.evaluate.metrics import CORE
from l1scout.formats.streams.muon import ETA_VTX, PHI_VTX, PT
from l1scout.model.card import KERAS_FILE
from l1scout.model.directory import Model
from l1scout.model.keras_backend import load_keras
from l1scout.model.network import activate
from l1scout.model.onnx_function import OnnxFunction

if TYPE_CHECKING:
    import keras

FIELDS = (PHI_VTX, ETA_VTX, PT)
"""Fields that the outputs correct, in the order of the outputs."""
MOVED = 0.1
"""A recalibrated value has moved if it differs by more than this share of its core window (Table 1)."""
CLOSE_COUNTS = 0.25
CLOSE_PT = 1e-3
"""An engine is close where phi and eta move by at most this many hardware counts, pT by at most this part."""
_FLOAT32, _FLOAT64 = 1e-6, 1e-6
"""By how much answers may depend on the order of sums: relative in float32, of a table's step in float64."""
_CHUNK = 1 << 13
_PIECE = 1 << 8
Reference = Callable[[NDArray[np.int16]], NDArray[np.float64]]
"""From hardware inputs, shape (inputs, muons), to corrections in float64, shape (3, muons)."""


@dataclass(frozen=True)
class Deviation:
    """Difference of an engine and the reference, for one output.

    Parameters
    ----------
    output, unit : str
    worst, rms : float
        In physics units.
    worst_counts, rms_counts : float
        In hardware counts.
    moved : float
        Share of inputs whose recalibrated value moves by more than `MOVED` of its core window.
    """

    output: str
    unit: str
    worst: float
    rms: float
    worst_counts: float
    rms_counts: float
    moved: float


@dataclass(frozen=True)
class Verified:
    """An engine's deviations over the whole domain, or a sample of it.

    Parameters
    ----------
    inputs : int
    deviations : sequence of Deviation
    worst_relative_pt : float
        Largest deviation of a recalibrated pT, relative to it, where that is positive.
    inexact : int, optional
        Of a table: entries that are not the network in float64 to the nearest step; 0 is right.
    overflows, weight_overflows : int, optional
        Of the integer network: activations, and weights and biases, that did not fit into their words.
    """

    inputs: int
    deviations: Sequence[Deviation]
    worst_relative_pt: float
    inexact: int | None = None
    overflows: int | None = None
    weight_overflows: int | None = None

    @property
    def close(self) -> bool:
        """Whether no input moves by more than `CLOSE_COUNTS` of phi and eta and `CLOSE_PT` of pT."""
        counts = [d.worst_counts for d in self.deviations[:2]]
        return all(c <= CLOSE_COUNTS for c in counts) and self.worst_relative_pt <= CLOSE_PT


def keras_reference(model: Model) -> Reference:
    """Return the Keras network in float64, layer by layer as it was trained, and the model's gains after it.

    Raises
    ------
    InputError
        If the model directory has no usable Keras model of layers that this package trains.
    """
    keras = load_keras()

    path = (model.directory or Path()) / KERAS_FILE
    try:
        network = keras.models.load_model(path, compile=False)
    except Exception as error:  # a damaged file raises anything
        msg = f"{path}: not a usable Keras model ({str(error).splitlines()[0]})"
        raise InputError(msg) from error
    low = {q.name: (k, model.card.domain[q.name][0]) for k, q in enumerate(model.card.inputs)}
    steps = [_step(layer, low) for layer in network.layers]
    offset, scale = (np.array([[getattr(q, n)] for q in model.card.inputs]) for n in ("offset", "scale"))
    out = [np.array([[getattr(q, n)] for q in model.card.outputs]) for n in ("offset", "scale")]

    def answer(hardware: NDArray[np.int16]) -> NDArray[np.float64]:
        x = (hardware - offset) / scale
        for step in steps:
            x = step(x, hardware)
        return model.layers.finish(hardware, out[0] + out[1] * x)

    return answer


def reference_of(model: Model) -> tuple[Reference, str]:
    """Return the reference for engines, and its description; onnxruntime for an imported network.

    Raises
    ------
    InputError
        As `keras_reference`.
    """
    if not isinstance(model.network, OnnxFunction):
        return keras_reference(model), "Keras, float64"
    if not model.no_layers:
        return model.layers, "its layers, float64 (imported network)"
    engine = OnnxEngine(model)
    return lambda hardware: engine.correct(hardware).astype(np.float64), "onnxruntime (imported network)"


def _step(layer: "keras.Layer", low: Mapping[str, tuple[int, int]]) -> Callable[..., NDArray[np.float64]]:
    """Return what a layer makes of the last layer's values and of the hardware values."""
    kind = type(layer).__name__
    values = [np.asarray(w.value, np.float64) for w in layer.weights]
    activation = layer.get_config().get("activation", "linear")
    if kind == "Dense":
        return lambda x, _: activate(values[0].T @ x + values[1][:, np.newaxis], activation)
    if kind == "Embedding":
        k, first = low[layer.name]
        last = len(values[0]) - 1
        return lambda x, hardware: x + values[0][np.clip(hardware[k].astype(np.int64) - first, 0, last)].T
    if kind == "BatchNormalization":
        gamma, beta, mean, variance = (v[:, np.newaxis] for v in values)
        return lambda x, _: gamma * (x - mean) / np.sqrt(variance + layer.epsilon) + beta
    if kind == "Activation":
        return lambda x, _: activate(x, activation)
    if kind in ("InputLayer", "Add"):  # embeddings add themselves
        return lambda x, _: x
    msg = f"layer {layer.name} ({kind}) is not Dense, Embedding, BatchNormalization or Activation"
    raise InputError(msg)


def verify(
    model: Model,
    engines: Mapping[str, Engine],
    reference: Reference,
    *,
    sample: int | None = None,
    seed: int = 1,
    progress: Progress = lambda _done, _of: None,
) -> dict[str, Verified]:
    """Compare engines with a reference at every input of the model's domain, or at a random sample of them.

    Parameters
    ----------
    model : Model
    engines : mapping of str to Engine
    reference : Reference
    sample : int, optional
        Number of random inputs; by default all are compared.
    seed : int
        Of the sample.
    progress : callable
        Told inputs done and inputs in all.

    Raises
    ------
    InputError
        If a sample is larger than the domain.
    """
    inputs = sample or model.domain.entries
    if inputs > model.domain.entries:
        msg = f"a sample of {inputs} inputs is more than all {model.domain.entries}; compare all of them"
        raise InputError(msg)
    done = 0
    sums = {name: _Sums() for name in engines}
    domain = model.domain
    for where, hardware in domain.sampled(sample, seed, _CHUNK):
        whole = model.integers or model.no_layers
        wanted = reference(hardware) if whole else _in_pieces(reference, hardware)
        columns = dict(zip(domain.names, hardware, strict=True))
        # without hwPt among the inputs, the smallest is the strictest
        lowest = model.card.domain.get(PT.name, (1, 1))[0]
        pt = PT.to_physical(columns.get(PT.name, np.full(hardware.shape[1], lowest))) - wanted[2]
        for name, engine in engines.items():
            if isinstance(engine, TableEngine):
                exact = wanted if whole else _in_pieces(model.layers, hardware)
                steps = exact / engine.steps[:, np.newaxis]
                # an answer that lies between two steps may be rounded to either one
                slack = 0.05 + _FLOAT32 * np.abs(steps) if model.no_layers else _FLOAT64
                wrong = np.abs(steps - engine.integers(where)) > 0.5 + slack
                sums[name].inexact += int(np.count_nonzero(wrong.any(axis=0)))
            sums[name].add(engine.correct(hardware) - wanted, pt)
        done += hardware.shape[1]
        progress(done, inputs)
    return {name: s.result(model, inputs, engines[name]) for name, s in sums.items()}


def _in_pieces(network: Reference, hardware: NDArray[np.int16]) -> NDArray[np.float64]:
    """Evaluate a network with products so small that BLAS uses one thread: two wait for each other."""
    pieces = [network(hardware[:, k : k + _PIECE]) for k in range(0, hardware.shape[1], _PIECE)]
    return np.concatenate(pieces, axis=1)


class _Sums:
    def __init__(self) -> None:
        self.worst, self.square, self.moved = np.zeros(3), np.zeros(3), np.zeros(3, np.int64)
        self.relative, self.inexact = 0.0, 0

    def add(self, difference: NDArray[np.float64], pt: NDArray[np.float64]) -> None:
        size = np.abs(difference)
        window = [np.full(pt.size, MOVED * CORE["phi"]), np.full(pt.size, MOVED * CORE["eta"])]
        window.append(np.where(pt > 0, MOVED * CORE["pt"] * pt, np.inf))
        self.worst = np.maximum(self.worst, size.max(axis=1))  # NaN stays
        self.square += (difference**2).sum(axis=1)
        self.moved += np.count_nonzero(~(size <= np.stack(window)), axis=1)
        usable = pt > 0
        if usable.any():
            self.relative = max(self.relative, float((size[2, usable] / pt[usable]).max()))

    def result(self, model: Model, inputs: int, engine: Engine) -> Verified:
        rms = np.sqrt(self.square / inputs)
        deviations = []
        for k, (q, f) in enumerate(zip(model.card.outputs, FIELDS, strict=True)):
            count = float(f.scale or 1)
            in_counts = self.worst[k] / count, rms[k] / count
            share = self.moved[k] / inputs
            numbers = (self.worst[k], rms[k], *in_counts, share)
            deviations.append(Deviation(q.name, q.unit, *(float(x) for x in numbers)))
        inexact = self.inexact if isinstance(engine, TableEngine) else None
        over = getattr(engine, "overflows", None), getattr(engine, "weight_overflows", None)
        return Verified(inputs, deviations, self.relative, inexact, *over)
