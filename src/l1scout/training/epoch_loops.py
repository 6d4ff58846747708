"""The loops over epochs that train a network, on muons in memory or read from files."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from l1scout.dataset.matched import Dataset
from l1scout.evaluate.targets import corrected, raw_residuals
from l1scout.model.card import Card
from l1scout.model.keras_backend import load_keras
from l1scout.model.quantities import Residuals
from l1scout.training import loss_functions, offline_guard
from l1scout.training.epochs import MuonFiles, batches
from l1scout.training.gains import Gains
from l1scout.training.recipes import Recipe, compile_model

if TYPE_CHECKING:
    import keras

OnEpoch = Callable[[int, float], object]


class InMemoryMuons:
    """Training muons as arrays.

    Attributes
    ----------
    given : dict
        What Keras' ``fit`` needs.
    steps : int
        Batches of an epoch.
    """

    def __init__(self, card: Card, gains: Gains, recipe: Recipe, train: Dataset) -> None:
        x, self._y = _arrays(card, gains, recipe, train)
        self._train = train
        self.given: dict[str, Any] = {"x": x, "y": self._y, "batch_size": recipe.batch}
        self.steps = -(-len(train) // recipe.batch)

    def weigh(self, weights: NDArray[np.float64]) -> None:
        """Give each muon the weights of its offline bins."""
        self._y[:, 6:9] = offline_guard.of_muons(weights, self._train)


class StreamedMuons:
    """Training muons from files; see `InMemoryMuons`."""

    def __init__(self, card: Card, gains: Gains, recipe: Recipe, stream: MuonFiles, seed: int) -> None:
        self._weights: NDArray[np.float64] | None = None

        def arrays(block: Dataset) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            x, y = _arrays(card, gains, recipe, block)
            if self._weights is not None:
                y[:, 6:9] *= offline_guard.of_muons(self._weights, block)
            return x, y

        source = batches(stream, arrays, recipe.batch, seed)
        self.given: dict[str, Any] = {"x": source, "shuffle": False}
        self.steps = len(source)

    def weigh(self, weights: NDArray[np.float64]) -> None:
        """Give each muon the weights of its offline bins."""
        self._weights = weights


def best_epoch(
    model: "keras.Model",
    card: Card,
    gains: Gains,
    recipe: Recipe,
    muons: InMemoryMuons | StreamedMuons,
    validation: Dataset,
    patience: int | None,
    on_epoch: OnEpoch | None,
) -> dict[str, Any]:
    """Train at a constant learning rate and keep the best epoch; the card's entries about it."""
    keras = load_keras()
    compile_model(model, recipe)
    best = keras.callbacks.EarlyStopping(patience=patience or recipe.epochs, restore_best_weights=True)
    history = model.fit(
        **muons.given,
        epochs=recipe.epochs,
        validation_data=_arrays(card, gains, recipe, validation),
        callbacks=[best, *_tell(on_epoch)],
        verbose=0,
    )
    losses_seen = history.history["val_loss"]
    chosen = int(np.argmin(losses_seen))
    return {
        "epochs_run": len(losses_seen),
        "epoch_kept": chosen + 1,
        "loss": float(history.history["loss"][chosen]),
        "validation_loss": float(losses_seen[chosen]),
    }


def falling_rate(
    model: "keras.Model", recipe: Recipe, muons: InMemoryMuons | StreamedMuons, on_epoch: OnEpoch | None
) -> dict[str, Any]:
    """Train at a falling learning rate; the card's entries about it."""
    compile_model(model, recipe, recipe.epochs * muons.steps)
    history = model.fit(**muons.given, epochs=recipe.epochs, callbacks=_tell(on_epoch), verbose=0)
    loss = float(history.history["loss"][-1])
    return {"epochs_run": recipe.epochs, "epoch_kept": recipe.epochs, "loss": loss}


def guard_offline(
    model: "keras.Model",
    card: Card,
    gains: Gains,
    recipe: Recipe,
    muons: InMemoryMuons | StreamedMuons,
    validation: Dataset,
) -> dict[str, Any]:
    """Train on for bins of offline quantities, up to the recipe's price; the card's entries about it."""
    raw = raw_residuals(validation)
    rate, few = 0.3 * recipe.learning_rate, offline_guard.epochs(recipe.epochs)
    short = replace(recipe, learning_rate=rate, epochs=few)

    def again(weights: NDArray[np.float64]) -> None:
        muons.weigh(weights)
        falling_rate(model, short, muons, None)

    def check() -> Residuals:
        return residuals_after(card, gains, answers_of(model, card, validation.columns), validation, raw)

    return offline_guard.train(model, again, check, validation, raw, recipe.guard_price or 0.0)


def answers_of(model: "keras.Model", card: Card, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
    """Return the answers of the layers, before the gains, shape (muons, outputs)."""
    return card.physical(model.predict(card.normalise(columns), batch_size=1 << 14, verbose=0))


def residuals_after(
    card: Card, gains: Gains, answers: NDArray[np.float64], data: Dataset, raw: Residuals
) -> Residuals:
    """Return residuals with the model's corrections; muons outside its range of hwPt keep the raw ones."""
    inside = in_range(card, data)
    before = raw_residuals(data, gains.reference)
    after = corrected(before, gains.corrections(data.columns, answers), data["recoPt"])
    return {v: np.where(inside, r, raw[v]) for v, r in after.items()}


def in_range(card: Card, data: Dataset) -> NDArray[np.bool_]:
    """Return which muons are in the model's range of hwPt, shape (muons,)."""
    low, high = card.domain["hwPt"]
    return np.asarray((data["hwPt"] >= low) & (data["hwPt"] <= high))


def _arrays(
    card: Card, gains: Gains, recipe: Recipe, data: Dataset
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Network inputs and what the loss needs, both normalised."""
    offset = np.array([q.offset for q in card.outputs])
    scale = np.array([q.scale for q in card.outputs])
    wanted = (gains.answers(data) - offset) / scale
    if recipe.targets == "unit":
        return card.normalise(data.columns), wanted.astype(np.float32)
    sizes = scale * gains.factors(data.columns)
    sizes[:, 2] /= data["recoPt"]
    weights = np.ones_like(sizes) * in_range(card, data)[:, np.newaxis]
    return card.normalise(data.columns), loss_functions.columns(wanted, sizes, weights, data["hwPt"])


def _tell(on_epoch: OnEpoch | None) -> list[Any]:
    if on_epoch is None:
        return []
    return [
        load_keras().callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: on_epoch(epoch + 1, float(logs["loss"]))
        )
    ]
