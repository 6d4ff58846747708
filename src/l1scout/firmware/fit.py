"""Quantisation-aware training of a firmware model from a float one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from l1scout.deploy.domain import Domain
from l1scout.deploy.firmware import FirmwareEngine
from l1scout.deploy.integers import IntegerNetwork, widths
from l1scout.deploy.model import Model
from l1scout.firmware.quantised import (
    UNITS,
    build,
    ebops,
    integers,
    need_hgq,
    network_inputs,
    scaled,
    set_widths,
)
from l1scout.training import guard, losses, resolution
from l1scout.training.dataset import Dataset
from l1scout.training.fit import Validation
from l1scout.training.metrics import ratios, scores
from l1scout.training.models import INPUTS, quiet_copies
from l1scout.training.profiles import AXES
from l1scout.training.resolution import Resolution
from l1scout.training.targets import corrected, raw_residuals, targets

if TYPE_CHECKING:
    import keras

EPOCHS = 480
BATCH = 1024
LEARNING_RATE = 2e-3
"""Falls to a thousandth as a cosine. Longer and faster training gives less area at equal metrics."""
_WIDTHS_FASTER = 4.0
_RAMP = 0.6
"""Share of the epochs in which the area penalty rises, from `_FIRST_BETA` of what it ends at."""
_FIRST_BETA = 1e-2
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


def loss_of(float_model: Model) -> Callable[[Any, Any], Any]:
    """Return the loss of the residuals that a float model was trained with, else the balanced one."""
    return losses.LOSSES.get(str(float_model.card.recipe.get("loss")), losses.LOSSES["balanced"])


def weights_of(float_model: Model, data: Dataset) -> NDArray[np.float64]:
    """Weights of muons that the float model's guard ended with, shape (muons, 3); ones without a guard."""
    found = float_model.card.training.get("guard")
    if not found:
        return np.ones((len(data), 3))
    table = np.concatenate([np.asarray(found[axis.name]["weights"], np.float64) for axis in AXES])
    return np.asarray(table[guard.bins(data)].prod(axis=0), np.float64)


def fit(
    float_model: Model,
    data: Dataset,
    beta: float,
    *,
    epochs: int = EPOCHS,
    batch: int = BATCH,
    learning_rate: float = LEARNING_RATE,
    seed: int = 1,
    on_epoch: OnEpoch = lambda _epoch: None,
) -> Quantised:
    """Train a float model's network on with few bits.

    The loss is the float model's (``balanced`` for the paper's recipes) with the weights that its guard
    ended with, and `beta` times the area in bit operations.

    Parameters
    ----------
    float_model : Model
        ReLU, with the four usual inputs.
    data : Dataset
        All parts: trained on ``train``, scored on ``validation``.
    beta : float
        Area penalty. A bit operation is worth so much of the loss, which is about 6.
    epochs, batch, learning_rate, seed
    on_epoch : callable
        Told each epoch that is done, from 1.

    Raises
    ------
    InputError
        If HGQ2 is missing, or the model has other inputs or activations.
    """
    layers = scaled(float_model.layers)
    need_hgq()
    import keras

    train, validation = data.part("train"), data.part("validation")
    keras.utils.set_random_seed(seed)
    model = build(layers)
    x, y = network_inputs(train.columns), packed(float_model, train)
    steps = epochs * -(-len(train) // batch)
    rate = keras.optimizers.schedules.CosineDecay(learning_rate, steps, alpha=1e-3)
    model.compile(optimizer=_adam(rate), loss=loss_of(float_model), steps_per_execution=32)
    callbacks = _callbacks(beta, epochs, on_epoch)
    with quiet_copies():
        history = model.fit(x, y, batch_size=batch, epochs=epochs, verbose=0, callbacks=callbacks)
    network = finish(model, float_model.domain)
    raw = raw_residuals(validation)
    after = corrected(raw, corrections(network, validation), validation["recoPt"])
    return Quantised(
        model,
        network,
        beta,
        ebops(model),
        float(history.history["loss"][-1]),
        Validation(len(validation), scores(raw), scores(after), ratios(after, raw)),
        resolution.learn(validation.columns, after, INPUTS),
    )


def corrections(network: IntegerNetwork, data: Dataset) -> NDArray[np.float64]:
    """Corrections of muons, shape (muons, 3): rad, 1, GeV."""
    hardware = np.stack([data[n] for n in INPUTS]).astype(np.int16)
    return FirmwareEngine(network).correct(hardware).T.astype(np.float64)


def packed(float_model: Model, train: Dataset) -> NDArray[np.float32]:
    """Return what the loss needs, in the HGQ2 network's units."""
    gains = np.tile(UNITS, (len(train), 1))
    gains[:, 2] /= train["recoPt"]
    return losses.columns(targets(train) / UNITS, gains, weights_of(float_model, train))


def _adam(rate: Any) -> Any:
    """Adam for which widths, whose scale is a bit, learn faster than weights, whose scale is a tenth."""
    import keras

    class Widths(keras.optimizers.Adam):  # type: ignore[misc]
        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            faster = _WIDTHS_FASTER if variable.name in ("b", "f", "i") else 1.0
            super().update_step(gradient, variable, learning_rate * faster)

    return Widths(rate)


def _callbacks(beta: float, epochs: int, on_epoch: OnEpoch) -> list[Any]:
    """Raise the area penalty to `beta` epoch by epoch, and tell."""
    import keras
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
