"""Train an anomaly model: a variational autoencoder of crossings, of which the encoder is kept.

Modelled on the anomaly trigger AXOL1TL: the encoder gives means and variances of latent variables, a decoder
makes the inputs of values drawn from them, and the loss is the squared distance from the inputs and the
divergence (Kullback and Leibler) of the latent distributions from normal ones. What is usual is encoded near
0; the score, the sum of the squared means, needs the encoder alone.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch, final_muons
from l1scout.core.orbit_data import MUON, OrbitData
from l1scout.core.provenance import joint_origin
from l1scout.deploy.anomaly_score import hardware_score
from l1scout.errors import InputError
from l1scout.formats.stream import STREAMS
from l1scout.formats.streams.muon import FINDERS
from l1scout.model.anomaly_inputs import FRACTION, PLACES, AnomalyInputs, Level, ObjectInputs
from l1scout.model.card import Card, Scaled
from l1scout.model.directory import network_file
from l1scout.model.keras_backend import load_keras
from l1scout.model.network import Network
from l1scout.model.object_places import HIGH, LOW
from l1scout.model.onnx_export import OPSET, export_onnx, interface
from l1scout.training.fit import versions
from l1scout.training.recipes import quiet_copies
from l1scout.training.save_model import check_target, to_network, write_model

if TYPE_CHECKING:
    import keras

HIDDEN = (32, 16)
"""Nodes of the encoder's hidden layers; the decoder has them in reverse."""
LATENT = 8
EPOCHS, BATCH, LEARNING_RATE = 20, 512, 3e-3
DIVERGENCE = 0.25
"""Weight of the divergence, where the squared distances, summed over the inputs, have a half."""
MAX_CROSSINGS = 2_000_000
"""Held in memory: 0.5 GB with all objects."""
MIN_CROSSINGS = 1000
_VALIDATION = 0.1
"""Share of the crossings that are not trained on."""
_LEAST_RMS = 0.03
"""Of a target: what is filled in fewer than one crossing in a thousand counts no more."""
_FRACTIONS = (1e-2, 1e-3, 1e-4)
"""Of validation crossings, whose scores the card states."""
_TOLERANCE = 1e-3
"""Largest accepted difference of network and ONNX export from Keras, of latent means of about 1."""


@dataclass(frozen=True)
class AnomalySample:
    """Crossings to train on.

    Parameters
    ----------
    inputs : AnomalyInputs
    hardware : ndarray of int16, shape (inputs, crossings)
    orbits : int
        In which they were found.
    simulated : bool, optional
    source : str
        What they were read from.
    """

    inputs: AnomalyInputs
    hardware: NDArray[np.int16]
    orbits: int
    simulated: bool | None
    source: str


@dataclass(frozen=True)
class TrainedEncoder:
    """A trained encoder: Keras gives means of normalised inputs.

    Parameters
    ----------
    encoder : keras.Model
    network : Network
    card : Card
    probes : ndarray of int16, shape (inputs, crossings)
        Validation crossings.
    """

    encoder: "keras.Model"
    network: Network
    card: Card
    probes: NDArray[np.int16]


def scaled_to(data: OrbitData, level: Level) -> AnomalyInputs:
    """Return inputs whose scales are such that their spread in some data is about 1.

    Offsets are 0, and half a turn for phi: half of its values are then negative.

    Raises
    ------
    InputError
        If the data lack a stream or a column.
    """
    found = []
    for stream, places, columns in PLACES[level]:
        if stream not in data.streams:
            msg = f"{data.source}: has no {stream}, which an anomaly model of level {level} takes"
            raise InputError(msg)
        batch = final_muons(data.streams[stream]) if stream == MUON else data.streams[stream]
        missing = [name for name in columns if name not in batch.columns]
        if missing:
            msg = f"{data.source}: {stream} has no {', '.join(missing)}, which an anomaly model takes"
            raise InputError(msg)
        offsets = tuple((STREAMS[stream].fields[name].period or 0) // 2 for name in columns)
        spread = [
            float(np.sqrt(np.mean((batch[name] - float(offset)) ** 2))) if batch.n_objects else 1.0
            for name, offset in zip(columns, offsets, strict=True)
        ]
        shifts = tuple(int(np.clip(np.rint(np.log2(max(s, 1.0))), 0, 15)) for s in spread)
        found.append(ObjectInputs(stream, places, columns, offsets, shifts))
    return AnomalyInputs(level, tuple(found))


def collect_crossings(chunks: Iterable[OrbitData], level: Level, most: int = MAX_CROSSINGS) -> AnomalySample:
    """Lay out the crossings of data, up to `most`; the first chunk sets the scales.

    Raises
    ------
    InputError
        If there are fewer than `MIN_CROSSINGS`, or the data lack what the level takes.
    """
    inputs: AnomalyInputs | None = None
    parts, orbits, origins, source = [np.zeros((0, 0), np.int16)], 0, set[bool | None](), ""
    for data in chunks:
        inputs = inputs or scaled_to(data, level)
        crossings, hardware = inputs(data)
        source = source or data.source
        parts.append(hardware)
        orbits += crossings.n_orbits or 0
        origins |= data.origins
        beyond = sum(part.shape[1] for part in parts) - most
        if beyond >= 0:
            orbits -= _orbits_after(crossings, hardware.shape[1] - beyond)
            break
    n = sum(part.shape[1] for part in parts)
    if inputs is None or n < MIN_CROSSINGS:
        msg = f"{n} crossings with an object are too few to train on: {MIN_CROSSINGS} are needed at least"
        raise InputError(msg)
    laid = np.concatenate(parts[1:], axis=1)[:, :most]
    return AnomalySample(inputs, laid, orbits, joint_origin(origins), source)


def _orbits_after(crossings: OrbitBatch, kept: int) -> int:
    """Return how many orbits follow that of the last of the first `kept` crossings."""
    seen = crossings.orbits_seen()
    if seen is None:
        seen = np.unique(crossings.orbit)
    return int(np.count_nonzero(seen > crossings.orbit[kept - 1]))


def fit_encoder(
    sample: AnomalySample,
    *,
    epochs: int = EPOCHS,
    batch: int = BATCH,
    latent: int = LATENT,
    seed: int = 1,
    on_epoch: Callable[[int, float], object] = lambda _epoch, _loss: None,
) -> TrainedEncoder:
    """Train an encoder on crossings.

    Parameters
    ----------
    sample : AnomalySample
    epochs, batch, latent : int
    seed : int
        The same seed gives the same weights, on the same kind of processor.
    on_epoch : callable
        Told each epoch that is done, from 1, and its loss.
    """
    keras = load_keras()
    order = np.random.default_rng(seed).permutation(sample.hardware.shape[1])
    laid = sample.hardware[:, order]
    cut = int(_VALIDATION * order.size)
    probes, x = laid[:, :cut], normalised(laid[:, cut:])
    keras.utils.set_random_seed(seed)
    encoder, autoencoder = build_autoencoder(x.shape[1], latent, seed)
    steps = epochs * -(-len(x) // batch)
    rate = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps, alpha=1e-2)
    optimizer = keras.optimizers.Adam(rate, clipnorm=10.0)
    autoencoder.compile(optimizer=optimizer, loss=_loss_of(latent), steps_per_execution=16)
    tell = keras.callbacks.LambdaCallback(on_epoch_end=lambda k, logs: on_epoch(k + 1, logs["loss"]))
    with quiet_copies():
        y, scales = targets(x)
        history = autoencoder.fit(x, y, batch_size=batch, epochs=epochs, verbose=0, callbacks=[tell])
        left = normalised(probes)
        loss = float(autoencoder.evaluate(left, targets(left, scales)[0], batch_size=4096, verbose=0))
    training = {
        "epochs": epochs, "batch": batch, "seed": seed, "crossings": len(x), "hidden": list(HIDDEN),
        "latent": latent, "divergence": DIVERGENCE, "learning_rate": LEARNING_RATE,
        "loss": float(history.history["loss"][-1]), "validation_loss": loss,
    }  # fmt: skip
    card = _card(sample, training, latent)
    network = to_network(encoder, card)
    return TrainedEncoder(encoder, network, _scored(card, network, probes, sample), probes)


def normalised(hardware: NDArray[np.int16]) -> NDArray[np.float32]:
    """Return inputs as Keras takes them: shape (crossings, inputs), 1 for 4."""
    return np.asarray(hardware.T / (1 << FRACTION), np.float32, order="C")


def targets(
    x: NDArray[np.float32], scales: NDArray[np.float32] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return what the decoder is to make of normalised inputs, and the scales of it.

    Large values count by their logarithm, so that spectra that fall as powers do not make all of the loss;
    each input is divided by its RMS, so that a place that is rarely filled counts as much as one that always
    is: a crossing that fills it is rare.
    """
    y = np.asarray(np.arcsinh(x), np.float32)
    if scales is None:
        rms = np.sqrt(np.square(y, dtype=np.float64).mean(axis=0))
        scales = np.asarray(np.maximum(rms, _LEAST_RMS), np.float32)
    return np.asarray(y / scales, np.float32), scales


def build_autoencoder(inputs: int, latent: int, seed: int) -> tuple["keras.Model", "keras.Model"]:
    """Return the encoder, from inputs to means; and the autoencoder, from inputs to means, logarithms of
    variances, and inputs made of latent variables that are drawn: side by side.
    """  # noqa: D205
    keras = load_keras()
    layers = keras.layers

    class Drawn(layers.Layer):  # type: ignore[misc, name-defined]
        """Draws latent variables while it trains, and takes the means otherwise."""

        def __init__(self) -> None:
            super().__init__()
            self.generator = keras.random.SeedGenerator(seed)

        def call(self, given: Any, training: bool = False) -> Any:
            means, logs = given
            if not training:
                return means
            noise = keras.random.normal(keras.ops.shape(means), seed=self.generator)
            return means + keras.ops.exp(0.5 * logs) * noise

    x = given = keras.Input((inputs,))
    for nodes in HIDDEN:
        x = layers.Dense(nodes, activation="relu")(x)
    means = layers.Dense(latent, name="means")(x)
    logs = layers.Lambda(lambda v: keras.ops.clip(v, -10.0, 5.0))(layers.Dense(latent)(x))
    y = Drawn()([means, logs])
    for nodes in reversed(HIDDEN):
        y = layers.Dense(nodes, activation="relu")(y)
    made = layers.Dense(inputs)(y)
    autoencoder = keras.Model(given, layers.Concatenate()([means, logs, made]))
    return keras.Model(given, means), autoencoder


def _loss_of(latent: int) -> Callable[[Any, Any], Any]:
    ops = load_keras().ops

    def loss(x: Any, answers: Any) -> Any:
        means, logs, made = answers[:, :latent], answers[:, latent : 2 * latent], answers[:, 2 * latent :]
        distance = 0.5 * ops.sum(ops.square(x - made), axis=1)
        divergence = 0.5 * ops.sum(ops.square(means) + ops.exp(logs) - 1.0 - logs, axis=1)
        return distance + DIVERGENCE * divergence

    return loss


def _card(sample: AnomalySample, training: dict[str, Any], latent: int) -> Card:
    scale = float(1 << FRACTION)
    return Card(
        name=f"anomaly-{sample.inputs.level}",
        inputs=tuple(Scaled(name, "1/4", 0.0, scale) for name in sample.inputs.names),
        outputs=tuple(Scaled(f"mean{k}", "1", 0.0, 1.0) for k in range(latent)),
        domain=dict.fromkeys(sample.inputs.names, (LOW, HIGH)),
        finders=tuple(FINDERS),
        recipe={"name": "variational autoencoder", "level": sample.inputs.level},
        training=training,
        data={
            "source": sample.source,
            "simulated": sample.simulated,
            "crossings": int(sample.hardware.shape[1]),
            "orbits": sample.orbits,
        },
        scores={},
        onnx={},
        versions=versions(),
        anomaly=sample.inputs,
    )


def _scored(card: Card, network: Network, probes: NDArray[np.int16], sample: AnomalySample) -> Card:
    """State the scores that fractions of the validation crossings exceed, where ten or more do."""
    found = hardware_score(network(probes).astype(np.float32))
    exceeded = {f"{f:g}": int(np.quantile(found, 1 - f)) for f in _FRACTIONS if f * found.size >= 10}
    about = {"validation_crossings": int(found.size), "score_exceeded_by_fraction": exceeded}
    per_orbit = sample.hardware.shape[1] / sample.orbits if sample.orbits else None
    return dataclasses.replace(card, scores=about | {"crossings_per_orbit": per_orbit})


def save_anomaly_model(trained: TrainedEncoder, directory: str | Path, *, force: bool = False) -> Card:
    """Write a model directory: network, ONNX export, Keras encoder, card and their checksums.

    Raises
    ------
    InputError
        If the directory holds something else, cannot be written, or network, ONNX and Keras disagree.
    """
    path = Path(directory)
    check_target(path, force=force)
    onnx_bytes = export_onnx(trained.network, trained.card)
    worst = _deviations(trained, onnx_bytes)
    for what, off in worst.items():
        if not off <= _TOLERANCE:
            msg = f"{path}: {what} and Keras differ by {off:g}, more than {_TOLERANCE:g}; train it again"
            raise InputError(msg)
    about = {"sha256": hashlib.sha256(onnx_bytes).hexdigest(), "opset": OPSET}
    about |= {"max_deviation_from_keras": worst["ONNX"], **interface(trained.card)}
    card = dataclasses.replace(trained.card, onnx=about, network=network_file(trained.network))
    write_model(path, card, trained.network, onnx_bytes, trained.encoder)
    return card


def _deviations(trained: TrainedEncoder, onnx_bytes: bytes) -> dict[str, float]:
    """Return the largest differences from Keras on validation crossings, relative for means above 1."""
    import onnxruntime

    session = onnxruntime.InferenceSession(onnx_bytes, providers=["CPUExecutionProvider"])
    given: Any = session.run(None, {session.get_inputs()[0].name: trained.probes.T.astype(np.float32)})[0]
    with quiet_copies():
        wanted = np.asarray(trained.encoder.predict(normalised(trained.probes), batch_size=4096, verbose=0))
    size = np.maximum(np.abs(wanted), 1)
    answers = {"network": trained.network(trained.probes).T, "ONNX": given}
    return {what: float((np.abs(found - wanted) / size).max()) for what, found in answers.items()}
