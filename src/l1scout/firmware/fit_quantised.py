"""Quantisation-aware training of a firmware model from a float one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from l1scout.dataset import plausibility, split
from l1scout.dataset.matched import Dataset
from l1scout.deploy.engines.firmware import FirmwareEngine
from l1scout.deploy.engines.fused import FusedEngine
from l1scout.errors import InputError
from l1scout.evaluate.metrics import ratios, scores
from l1scout.evaluate.targets import corrected, raw_residuals
from l1scout.firmware.prune_neurons import pruned
from l1scout.firmware.quantised import (
    UNITS,
    build,
    ebops,
    integers,
    need_hgq,
    network_inputs,
    parts,
    scaled,
    set_widths,
)
from l1scout.formats.streams.muon import PT, PT_LSB
from l1scout.model import resolution
from l1scout.model.directory import Model
from l1scout.model.domain import Domain
from l1scout.model.integers import IntegerNetwork, widths
from l1scout.model.keras_backend import load_keras
from l1scout.model.quantities import INPUTS, VARIABLES
from l1scout.model.resolution import Resolution
from l1scout.training.fit import Validation
from l1scout.training.recipes import quiet_copies

if TYPE_CHECKING:
    import keras

NEURONS = 20
"""Of the default's 32. A neuron of the first layer costs tables: of 16, 20, 24 and 32, 20 took the fewest
LUTs for answers as close."""
EPOCHS = 240
BATCH = 256
LEARNING_RATE = 4e-3
"""Falls to a thousandth as a cosine. Twice the epochs were no better."""
_WIDTHS_FASTER = 4.0
_RAMP = 0.6
"""Share of the epochs in which the area penalty rises, from `_FIRST_BETA` of what it ends at."""
_FIRST_BETA = 1e-2
_FEW = 20_000
"""Muons that choose neurons."""
_SWEEPS = 2
"""Through the look-ups; a third changes nothing more."""
OnEpoch = Callable[[int], object]


@dataclass(frozen=True)
class Quantised:
    """A trained HGQ2 network, the integer network that it is, and its area in bit operations."""

    model: "keras.Model"
    network: IntegerNetwork
    beta: float
    ebops: float
    loss: float
    validation: Validation
    resolution: Resolution | None


def fit(
    float_model: Model,
    data: Dataset,
    beta: float,
    *,
    neurons: int = NEURONS,
    epochs: int = EPOCHS,
    batch: int = BATCH,
    learning_rate: float = LEARNING_RATE,
    seed: int = 1,
    on_epoch: OnEpoch = lambda _epoch: None,
) -> Quantised:
    """Train a float model's network on with few bits.

    It learns the float model's answers, not the muons': the loss is the squared distance from them, each in
    units of the float model's resolution for such a muon, and `beta` times the area in bit operations. So
    there is no noise in what it learns, and what the float model is good at, it is good at, too.

    Parameters
    ----------
    float_model : Model
        ReLU, with the four usual inputs.
    data : Dataset
        All parts: trained on ``train``, scored on ``validation``; muons outside the float model's domain
        are left out.
    beta : float
        Area penalty: so much of the loss is a bit operation worth. A loss of 0.02 is, for each of phi, eta
        and pT, a distance of a twelfth of the resolution.
    neurons : int
        Largest number of neurons that are left in each hidden layer.
    epochs, batch, learning_rate, seed
    on_epoch : callable
        Told each epoch that is done, from 1.

    Raises
    ------
    InputError
        If HGQ2 is missing, the model has other inputs or activations, or there are too few muons or none in
        its domain.
    """
    for part in split.PARTS:
        muons = data.select(split.part(data.identity, part)).columns
        where = f"{data.name}, {part} part"
        card = float_model.card
        plausibility.refuse_outside(muons, card.domain, card.finders, where, card.name)
    network = scaled(float_model.layers)
    keras = need_hgq()
    train, validation = (
        part.select(float_model.domain.holds(part.columns))
        for part in (data.part("train"), data.part("validation"))
    )
    x, y = network_inputs(train.columns), distillation_targets(float_model, train)
    few = {n: train[n][:_FEW] for n in INPUTS}
    network = pruned(network, few, neurons, np.sqrt((y[:, 3:] ** 2).mean(axis=0)))
    keras.utils.set_random_seed(seed)
    model = build(network, float_model.domain)
    steps = epochs * -(-len(train) // batch)
    rate = keras.optimizers.schedules.CosineDecay(learning_rate, steps, alpha=1e-3)
    model.compile(optimizer=_adam(rate), loss=distance, steps_per_execution=32)
    callbacks = _callbacks(beta, epochs, on_epoch)
    with quiet_copies():
        history = model.fit(x, y, batch_size=batch, epochs=epochs, verbose=0, callbacks=callbacks)
        remove_residual_bias(model, train, x, y)
    loss = float(history.history["loss"][-1])
    return _measured(model, finish(model, float_model.domain), beta, loss, validation)


def _measured(
    model: "keras.Model", network: IntegerNetwork, beta: float, loss: float, validation: Dataset
) -> Quantised:
    """Score a trained network."""
    raw = raw_residuals(validation)
    after = corrected(raw, corrections(network, validation), validation["recoPt"])
    validated = Validation(len(validation), scores(raw), scores(after), ratios(after, raw))
    known = resolution.learn(validation.columns, after, INPUTS)
    return Quantised(model, network, beta, ebops(model), loss, validated, known)


def corrections(network: IntegerNetwork, data: Dataset) -> NDArray[np.float64]:
    """Corrections of muons, shape (muons, 3): rad, 1, GeV."""
    hardware = np.stack([data[n] for n in INPUTS]).astype(np.int16)
    return FirmwareEngine(network).correct(hardware).T.astype(np.float64)


def distillation_targets(float_model: Model, data: Dataset) -> NDArray[np.float32]:
    """Return a float model's answers in the HGQ2 network's units, and 1 / resolution in the same, (muons, 6).

    Raises
    ------
    InputError
        If the muons are too few to know a resolution.
    """
    hardware = np.stack([data[n] for n in INPUTS]).astype(np.int16)
    answers = FusedEngine(float_model, np.float64).exact(hardware).T
    after = corrected(raw_residuals(data), answers, data["recoPt"])
    known = resolution.learn(data.columns, after, INPUTS)
    if known is None:
        msg = f"{len(data)} muons are too few to learn from; {resolution.MIN_MUONS} are needed at least"
        raise InputError(msg)
    errors = np.stack([known(data.columns)[v] for v in VARIABLES], axis=1)
    errors[:, 2] *= np.maximum(PT.to_physical(data["hwPt"]) - answers[:, 2], PT_LSB)
    return np.concatenate([answers / UNITS, UNITS / errors], axis=1).astype(np.float32)


def distance(targets: Any, answers: Any) -> Any:
    """Return the mean squared distance from the targets in resolutions, summed over the answers."""
    ops = load_keras().ops

    return ops.mean(ops.sum(ops.square((targets[:, :3] - answers) * targets[:, 3:]), axis=1))


def remove_residual_bias(
    model: "keras.Model", data: Dataset, x: NDArray[np.float32], targets: NDArray[np.float32]
) -> None:
    """Remove the residual bias of each entry of the answers' look-ups, by backfitting.

    To each vector the mean distance of its muons from their targets is added, weighted as in the loss, for
    one look-up after the other. Training sees a rare value too seldom for that, and muons of
    large hwPt are rare, and make a good part of the RMS.
    """
    hardware, weights = np.stack([data[n] for n in INPUTS]), targets[:, 3:].astype(np.float64) ** 2
    for look_up in parts(model)[-1][1] * _SWEEPS:
        answers = np.asarray(model.predict(x, batch_size=1 << 14, verbose=0), np.float64)
        row, rows = look_up.row(hardware), look_up.vectors.shape[0]
        distances, totals = (
            np.stack([np.bincount(row, part, rows) for part in table.T], axis=1)
            for table in (weights * (targets[:, :3] - answers), weights)
        )
        means = np.divide(distances, totals, out=np.zeros_like(totals), where=totals > 0)
        look_up.vectors.assign(np.asarray(look_up.qvectors) + means)


def _adam(rate: Any) -> Any:
    """Adam for which widths, whose scale is a bit, learn faster than weights, whose scale is a tenth."""
    keras = load_keras()

    class Widths(keras.optimizers.Adam):  # type: ignore[misc, name-defined]
        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            faster = _WIDTHS_FASTER if variable.name in ("b", "f", "i") else 1.0
            super().update_step(gradient, variable, learning_rate * faster)

    return Widths(rate)


def _callbacks(beta: float, epochs: int, on_epoch: OnEpoch) -> list[Any]:
    """Raise the area penalty to `beta` epoch by epoch, and tell."""
    keras = load_keras()
    from hgq.utils.sugar import BetaScheduler

    def penalty(epoch: int) -> float:
        return beta * float(_FIRST_BETA ** (1 - min(epoch / (_RAMP * epochs), 1.0)))

    tell = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, _logs: on_epoch(epoch + 1))
    return [BetaScheduler(penalty), tell]


def finish(model: "keras.Model", domain: Domain) -> IntegerNetwork:
    """Choose widths on the whole domain, in the integer network and in the HGQ2 network."""
    network = integers(model)
    network = network.with_bits(widths(network, *FirmwareEngine(network).ranges(domain)))
    set_widths(model, network)
    return network
