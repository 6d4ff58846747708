"""A trained network as a model directory: Keras, ONNX and card."""

import dataclasses
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from l1scout.errors import InputError
from l1scout.files import complete_folder
from l1scout.model.card import CARD_FILE, KERAS_FILE, ONNX_FILE, Card
from l1scout.model.checksums import write_sums
from l1scout.model.layers import Layer
from l1scout.model.onnx_export import INPUT_NAME, IR_VERSION, OPSET, OUTPUT_NAME, describe, interface, to_onnx
from l1scout.training.fit import Trained
from l1scout.training.recipes import quiet_copies

if TYPE_CHECKING:
    import keras


TOLERANCE = {"dphi": 2e-5, "deta": 2e-5, "dpt": 2e-3}
"""Largest accepted deviation of the ONNX model from Keras: rad, 1, GeV; far below the core windows."""


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
