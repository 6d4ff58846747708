"""Save a trained network as a model directory: network, Keras, ONNX and card."""

import dataclasses
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from l1scout.errors import InputError
from l1scout.files import complete_folder
from l1scout.formats.streams.muon import PT
from l1scout.model.card import CARD_FILE, KERAS_FILE, ONNX_FILE, Card
from l1scout.model.checksums import write_sums
from l1scout.model.directory import network_file
from l1scout.model.network import NETWORK_FILE, Layer, LookUp, Network
from l1scout.model.onnx_export import INPUT_NAME, OPSET, OUTPUT_NAME, export_onnx, interface
from l1scout.training.epoch_loops import answers_of
from l1scout.training.fit import Trained
from l1scout.training.gains import Gains
from l1scout.training.recipes import quiet_copies

if TYPE_CHECKING:
    import keras


TOLERANCE = {"dphi": 2e-5, "deta": 2e-5, "dpt": 2e-3}
"""Largest accepted deviation of the network and of its ONNX export from Keras: rad, 1, GeV; far below the
core windows. Above `_LARGE`, that of pT goes with pT; that of phi and eta with the largest correction
if it is above 1: networks of many inputs give such where no muon is."""
_LARGE = 45.0
_CONNECTIONS = ("InputLayer", "Add")


def to_network(model: "keras.Model", card: Card, gains: Gains | None = None) -> Network:
    """Return a Keras network in physics units, batch normalisation folded in, embeddings as look-ups.

    Gains follow its answers.

    Raises
    ------
    InputError
        If the model holds anything but Dense, BatchNormalization and Activation in that order, and Embedding
        layers added to the first one.
    """
    layers: list[Layer] = []
    vectors: dict[str, NDArray[np.float64]] = {}
    for layer in model.layers:
        kind = type(layer).__name__
        values = [np.asarray(w.value, np.float64) for w in layer.weights]
        name = layer.get_config().get("activation", "linear")
        open_end = bool(layers) and layers[-1].activation == "linear"
        if kind == "Dense" and len(values) == 2:
            layers.append(Layer(values[0], values[1], name))
        elif kind == "Embedding" and len(layers) == 1 and open_end:
            vectors[layer.name] = values[0]
        elif kind == "BatchNormalization" and len(values) == 4 and open_end:
            gamma, beta, mean, variance = values
            gain = gamma / np.sqrt(variance + layer.epsilon)
            last = layers[-1]
            layers[-1] = Layer(last.weights * gain, (last.bias - mean) * gain + beta, "linear")
            if len(layers) == 1:
                vectors = {n: v * gain for n, v in vectors.items()}
        elif kind == "Activation" and open_end:
            layers[-1] = dataclasses.replace(layers[-1], activation=name)
        elif kind not in _CONNECTIONS:
            msg = f"layer {layer.name} ({kind}) cannot be exported: not Dense, BatchNormalization, Activation"
            raise InputError(msg)
    look_ups, inputs = _look_ups(layers, vectors, card), tuple(q.name for q in card.inputs)
    gains = gains or Gains(inputs)
    offset = gains.offset if gains.offset.any() else np.zeros(0)
    return Network(inputs, tuple(layers), look_ups, gains.gains, offset).in_physics_units(card)


def _look_ups(layers: list[Layer], vectors: dict[str, NDArray[np.float64]], card: Card) -> tuple[LookUp, ...]:
    """Return look-ups on the card's domain; what the first layer adds for their inputs goes into them."""
    weights, found = layers[0].weights.copy(), []
    for k, q in enumerate(card.inputs):
        if q.name in vectors:
            low, high = card.domain[q.name]
            x = (np.arange(low, high + 1) - q.offset) / q.scale
            found.append(LookUp(k, low, vectors[q.name][: x.size] + np.outer(x, weights[k])))
            weights[k] = 0
    layers[0] = dataclasses.replace(layers[0], weights=weights)
    return tuple(found)


def probes(card: Card, n: int = 1 << 14) -> NDArray[np.int64]:
    """Hardware inputs all over a card's domain, corners included, shape (n + 16, inputs)."""
    rng = np.random.default_rng(0)
    ends = np.array([card.domain[q.name] for q in card.inputs])
    inside = rng.integers(ends[:, 0], ends[:, 1] + 1, (n, len(ends)))
    corners = np.array(np.meshgrid(*ends, indexing="ij")).reshape(len(ends), -1).T
    return np.concatenate([corners, inside])


def deviations(
    model: "keras.Model", card: Card, network: Network, onnx_bytes: bytes
) -> dict[str, dict[str, float]]:
    """Return the largest differences of a network and of its ONNX export from Keras, in physics units.

    Those of pT are divided by pT / 45 GeV where pT is larger than that, those of phi and eta by the
    largest correction, if it is larger than 1: the sums behind all answers have rounding errors of that size.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(onnx_bytes, providers=["CPUExecutionProvider"])
    hardware = probes(card)
    given: Any = session.run([OUTPUT_NAME], {INPUT_NAME: hardware.astype(np.float32)})[0]
    columns = {q.name: hardware[:, k] for k, q in enumerate(card.inputs)}
    wanted = network.finish(hardware.T, answers_of(model, card, columns).T).T
    answers = {"network": network(hardware.T).T, "ONNX": given}
    size = np.ones(wanted.shape)
    size[:, :2] = np.maximum(np.abs(wanted[:, :2]).max(axis=0), 1)
    if "hwPt" in columns:
        size[:, 2] = np.maximum(PT.to_physical(columns["hwPt"]) / _LARGE, 1)
    worst = {what: (np.abs(found - wanted) / size).max(axis=0) for what, found in answers.items()}
    return {what: {q.name: float(row[k]) for k, q in enumerate(card.outputs)} for what, row in worst.items()}


def save(trained: Trained, directory: str | Path, *, force: bool = False) -> Card:
    """Write a model directory: network, ONNX export, Keras network, card and their checksums.

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
        With the network's hash and the deviation of the ONNX export from Keras.

    Raises
    ------
    InputError
        If the directory holds something else, cannot be written, or network, ONNX and Keras disagree.
    """
    path = Path(directory)
    check_target(path, force=force)
    network = to_network(trained.model, trained.card, trained.gains)
    onnx_bytes = export_onnx(network, trained.card)
    worst = deviations(trained.model, trained.card, network, onnx_bytes)
    for what, name in ((w, n) for w in worst for n in worst[w]):
        if not worst[what][name] <= TOLERANCE[name]:
            off = f"{worst[what][name]:g} in {name}, more than {TOLERANCE[name]:g}"
            msg = f"{path}: {what} and Keras differ by {off}"
            raise InputError(msg)
    sha256 = hashlib.sha256(onnx_bytes).hexdigest()
    onnx_about = {"sha256": sha256, "opset": OPSET, "max_deviation_from_keras": worst["ONNX"]}
    onnx_about |= interface(trained.card)
    card = dataclasses.replace(trained.card, onnx=onnx_about, network=network_file(network))
    write_model(path, card, network, onnx_bytes, trained.model)
    return card


def write_model(path: Path, card: Card, network: Network, onnx_bytes: bytes, keras_model: Any) -> None:
    """Write the files of a model and their checksums, in a folder that appears when it is complete."""
    with complete_folder(path) as part:
        (part / NETWORK_FILE).write_bytes(network.content)
        (part / ONNX_FILE).write_bytes(onnx_bytes)
        with quiet_copies():
            keras_model.save(part / KERAS_FILE)
        card.write(part)
        write_sums(part)


def check_target(path: Path, *, force: bool = False) -> None:
    """Refuse (InputError) to write a model over something that is not one."""
    ours = not path.exists() or (path.is_dir() and ((path / CARD_FILE).exists() or not any(path.iterdir())))
    if not (ours or force):
        msg = f"{path}: exists and is not a model directory; name another or remove it"
        raise InputError(msg)
