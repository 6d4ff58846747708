"""A trained network as a model directory: Keras, ONNX and card."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from l1scout.errors import InputError
from l1scout.files import complete_folder
from l1scout.training.card import CARD_FILE, KERAS_FILE, ONNX_FILE, Card
from l1scout.training.fit import Trained
from l1scout.training.models import quiet_copies
from l1scout.training.sums import write_sums

if TYPE_CHECKING:
    import keras
    import onnx

OPSET = 9
IR_VERSION = 4
"""As old as the Micron DLA's reader needs, and read by everything newer."""
INPUT_NAME = "hardware"
OUTPUT_NAME = "l1_minus_offline"
SIGN = "L1 minus offline: subtract it from the L1 value"
MAX_ONNX_BYTES = 1 << 29
"""Largest size of a model's ONNX file: trained networks have 20 kB, tree ensembles can have 100 MB."""

TOLERANCE = {"dphi": 2e-5, "deta": 2e-5, "dpt": 2e-3}
"""Largest accepted deviation of the ONNX model from Keras: rad, 1, GeV; far below the core windows."""
_OPERATORS = {"relu": "Relu", "softmax": "Softmax", "linear": None}


@dataclass(frozen=True)
class Layer:
    """``activation(x @ weights + bias)``: weights of shape (inputs, outputs), float64."""

    weights: NDArray[np.float64]
    bias: NDArray[np.float64]
    activation: str


def fold(model: "keras.Model") -> list[Layer]:
    """Dense layers with their batch normalisation folded in, in float64.

    Raises
    ------
    InputError
        If the model holds anything but Dense, BatchNormalization and Activation in that order.
    """
    layers: list[Layer] = []
    for layer in model.layers:
        kind = type(layer).__name__
        values = [np.asarray(w.value, np.float64) for w in layer.weights]
        name = layer.get_config().get("activation", "linear")
        open_end = bool(layers) and layers[-1].activation == "linear"
        if kind == "Dense" and len(values) == 2:
            layers.append(Layer(values[0], values[1], name))
        elif kind == "BatchNormalization" and len(values) == 4 and open_end:
            gamma, beta, mean, variance = values
            gain = gamma / np.sqrt(variance + layer.epsilon)
            last = layers[-1]
            layers[-1] = Layer(last.weights * gain, (last.bias - mean) * gain + beta, "linear")
        elif kind == "Activation" and open_end:
            layers[-1] = dataclasses.replace(layers[-1], activation=name)
        else:
            msg = f"layer {layer.name} ({kind}) cannot be exported: not Dense, BatchNormalization, Activation"
            raise InputError(msg)
    return layers


def fold_scaling(layers: list[Layer], card: Card) -> list[Layer]:
    """Take the card's normalisation into the first and last layer: hardware units in, physics units out."""
    offset, scale = (np.array([getattr(q, n) for q in card.inputs]) for n in ("offset", "scale"))
    first = layers[0]
    weights = first.weights / scale[:, np.newaxis]
    layers = [Layer(weights, first.bias - offset @ weights, first.activation), *layers[1:]]
    offset, scale = (np.array([getattr(q, n) for q in card.outputs]) for n in ("offset", "scale"))
    last = layers[-1]
    if last.activation != "linear":  # scaling comes after it, as a layer of its own
        return [*layers, Layer(np.diag(scale), offset, "linear")]
    return [*layers[:-1], Layer(last.weights * scale, last.bias * scale + offset, last.activation)]


def to_onnx(layers: list[Layer], *, batch: int | None = None, name: str = "l1scout") -> "onnx.ModelProto":
    """Write layers as ``Gemm`` and activation nodes, which every ONNX reader knows.

    Input and output are named `INPUT_NAME` and `OUTPUT_NAME`; `describe` states what they mean.

    Parameters
    ----------
    layers : list of Layer
    batch : int, optional
        Fixed number of muons a call (1 for the Micron DLA); by default any.
    name : str
        Of the graph.
    """
    from onnx import TensorProto, checker, helper, numpy_helper

    nodes, constants, at = [], [], INPUT_NAME
    for k, layer in enumerate(layers, 1):
        for part, values in (("weights", layer.weights.T), ("bias", layer.bias)):
            array = np.ascontiguousarray(values, np.float32)
            constants.append(numpy_helper.from_array(array, f"{part}_{k}"))
        operator = _OPERATORS[layer.activation]
        last = k == len(layers)
        out = OUTPUT_NAME if last and not operator else f"dense_{k}"
        nodes.append(helper.make_node("Gemm", [at, f"weights_{k}", f"bias_{k}"], [out], transB=1))
        if operator:
            at, out = out, OUTPUT_NAME if last else f"hidden_{k}"
            nodes.append(helper.make_node(operator, [at], [out]))
        at = out
    rows = batch if batch is not None else "muons"
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info(INPUT_NAME, TensorProto.FLOAT, [rows, len(layers[0].weights)])],
        [helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, [rows, layers[-1].bias.size])],
        constants,
    )
    opset = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, producer_name="l1scout", opset_imports=opset, ir_version=IR_VERSION)
    checker.check_model(model, full_check=True)
    return model


def interface(card: Card) -> dict[str, dict[str, Any]]:
    """Return what an ONNX model takes and gives, for its card: names, types, shapes, columns, units, sign."""
    inputs, outputs = [q.name for q in card.inputs], {q.name: q.unit for q in card.outputs}
    return {
        "input": {
            "name": INPUT_NAME,
            "type": "float32",
            "shape": ["muons", len(inputs)],
            "columns": inputs,
            "unit": "the trigger's integers, not scaled",
        },
        "output": {
            "name": OUTPUT_NAME,
            "type": "float32",
            "shape": ["muons", len(outputs)],
            "columns": list(outputs),
            "units": outputs,
            "sign": SIGN,
        },
    }


def describe(model: "onnx.ModelProto", card: Card) -> None:
    """State in an ONNX model itself what it takes and gives, so that it can be used without its card."""
    from onnx import helper

    what = interface(card)
    given, answer = what["input"], what["output"]
    units = ", ".join(f"{n} ({u})" for n, u in answer["units"].items())
    takes = f"float32, shape (muons, {len(given['columns'])}): {', '.join(given['columns'])}, {given['unit']}"
    gives = f"float32, shape (muons, {len(answer['columns'])}): {units}. {SIGN}"
    graph = model.graph
    graph.input[0].doc_string, graph.output[0].doc_string = takes, gives
    model.doc_string = graph.doc_string = (
        f"l1scout model {card.name}, trained on {card.origin}. Input {INPUT_NAME}: {takes}. "
        f"Output {OUTPUT_NAME}: {gives}. Outside the domain its answers are not valid."
    )
    helper.set_model_props(
        model,
        {
            "l1scout.name": card.name,
            "l1scout.input": takes,
            "l1scout.input_columns": ",".join(given["columns"]),
            "l1scout.output": gives,
            "l1scout.output_columns": ",".join(answer["columns"]),
            "l1scout.output_units": ",".join(answer["units"].values()),
            "l1scout.sign": SIGN,
            "l1scout.domain": json.dumps({n: list(ends) for n, ends in card.domain.items()}),
            "l1scout.trained_on": card.origin,
        },
    )


def probes(card: Card, n: int = 1 << 14) -> NDArray[np.int64]:
    """Hardware inputs all over a card's domain, corners included, shape (n + 16, inputs)."""
    rng = np.random.default_rng(0)
    ends = np.array([card.domain[q.name] for q in card.inputs])
    inside = rng.integers(ends[:, 0], ends[:, 1] + 1, (n, len(ends)))
    corners = np.array(np.meshgrid(*ends, indexing="ij")).reshape(len(ends), -1).T
    return np.concatenate([corners, inside])


def deviation(model: "keras.Model", card: Card, onnx_bytes: bytes) -> dict[str, float]:
    """Largest difference between an ONNX model (of any batch size) and Keras, in physics units."""
    import onnxruntime

    session = onnxruntime.InferenceSession(onnx_bytes, providers=["CPUExecutionProvider"])
    hardware = probes(card)
    given: Any = session.run([OUTPUT_NAME], {INPUT_NAME: hardware.astype(np.float32)})[0]
    columns = {q.name: hardware[:, k] for k, q in enumerate(card.inputs)}
    wanted = card.physical(model.predict(card.normalise(columns), batch_size=1 << 14, verbose=0))
    worst = np.abs(given - wanted).max(axis=0)
    return {q.name: float(worst[k]) for k, q in enumerate(card.outputs)}


def save(trained: Trained, directory: str | Path, *, force: bool = False) -> Card:
    """Write a model directory: ``model.keras``, ``model.onnx``, ``card.json`` and their sums.

    It appears under its name when it is complete. A directory that holds a model is replaced.

    Parameters
    ----------
    trained : Trained
    directory : str or Path
    force : bool
        Replace a directory even if it does not look like a model.

    Returns
    -------
    Card
        With the ONNX file's hash and deviation from Keras.

    Raises
    ------
    InputError
        If the directory holds something else, cannot be written, or ONNX and Keras disagree.
    """
    path = Path(directory)
    check_target(path, force=force)
    layers = fold_scaling(fold(trained.model), trained.card)
    onnx_model = to_onnx(layers, name=f"l1scout {trained.card.name}")
    describe(onnx_model, trained.card)
    onnx_bytes = onnx_model.SerializeToString(deterministic=True)
    worst = deviation(trained.model, trained.card, onnx_bytes)
    for name, value in worst.items():
        if not value <= TOLERANCE[name]:
            msg = f"{path}: ONNX and Keras differ by {value:g} in {name}, more than {TOLERANCE[name]:g}"
            raise InputError(msg)
    sha256 = hashlib.sha256(onnx_bytes).hexdigest()
    onnx_about = {"sha256": sha256, "opset": OPSET, "ir": IR_VERSION, "max_deviation_from_keras": worst}
    card = dataclasses.replace(trained.card, onnx={**onnx_about, **interface(trained.card)})
    with complete_folder(path) as part:
        (part / ONNX_FILE).write_bytes(onnx_bytes)
        with quiet_copies():
            trained.model.save(part / KERAS_FILE)
        card.write(part)
        write_sums(part)
    return card


def check_target(path: Path, *, force: bool = False) -> None:
    """Refuse (InputError) to write a model over something that is not one."""
    ours = not path.exists() or (path.is_dir() and ((path / CARD_FILE).exists() or not any(path.iterdir())))
    if not (ours or force):
        msg = f"{path}: exists and is not a model directory; name another or remove it"
        raise InputError(msg)
