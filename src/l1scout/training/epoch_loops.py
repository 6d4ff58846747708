"""The loops over epochs that train a network, on muons in memory or read from files."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from l1scout.dataset.matched import Dataset
from l1scout.evaluate.targets import corrected, raw_residuals, targets
from l1scout.model.card import Card
from l1scout.model.keras_backend import load_keras
from l1scout.model.quantities import Residuals
from l1scout.training import bin_guard, loss_functions
from l1scout.training.epochs import MuonFiles, batches
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

    def __init__(self, card: Card, recipe: Recipe, train: Dataset) -> None:
        self._train, self.in_range = train, in_range(card, train)
        x, self._y = _arrays(card, recipe, train)
        self.given = {"x": x, "y": self._y, "batch_size": recipe.batch}
        self.steps = -(-len(train) // recipe.batch)

    def weigh(self, weights: NDArray[np.float64]) -> None:
        """Give each muon the weights of its bins."""
        self._y[:, 6:] = bin_guard.of_muons(weights, self._train) * self.in_range[:, np.newaxis]


class StreamedMuons:
    """Training muons from files; see `InMemoryMuons`."""

    def __init__(self, card: Card, recipe: Recipe, stream: MuonFiles, seed: int) -> None:
        self._weights: NDArray[np.float64] | None = None

        def arrays(block: Dataset) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            x, y = _arrays(card, recipe, block)
            if self._weights is not None:
                y[:, 6:] *= bin_guard.of_muons(self._weights, block)
            return x, y

        source = batches(stream, arrays, recipe.batch, seed)
        self.given: dict[str, Any] = {"x": source, "shuffle": False}
        self.steps = len(source)

    def weigh(self, weights: NDArray[np.float64]) -> None:
        """Give each muon the weights of its bins."""
        self._weights = weights


def best_epoch(
    model: "keras.Model",
    card: Card,
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
        validation_data=_arrays(card, recipe, validation),
        callbacks=[best, *_tell(on_epoch, 0)],
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
    model: "keras.Model",
    card: Card,
    recipe: Recipe,
    muons: InMemoryMuons | StreamedMuons,
    validation: Dataset,
    on_epoch: OnEpoch | None,
) -> dict[str, Any]:
    """Train at a falling learning rate, and on for the guard; the card's entries about it."""
    run, loss = 0, float("nan")

    compile_model(model, recipe, recipe.epochs * muons.steps, bin_guard.epochs(recipe.epochs) * muons.steps)

    def go(epochs: int) -> None:
        nonlocal run, loss
        tell = _tell(on_epoch, run)
        history = model.fit(**muons.given, epochs=epochs, callbacks=tell, verbose=0)
        run, loss = run + epochs, float(history.history["loss"][-1])

    go(recipe.epochs)
    found: dict[str, Any] = {}
    if recipe.guard:

        def again(weights: NDArray[np.float64]) -> None:
            muons.weigh(weights)
            go(bin_guard.epochs(recipe.epochs))

        raw = raw_residuals(validation)
        found["guard"] = bin_guard.train(
            model,
            again,
            lambda: bin_guard.excess(validation, residuals_after(model, card, validation, raw), raw),
        )
    return {"epochs_run": run, "epoch_kept": run, "loss": loss, **found}


def residuals_after(model: "keras.Model", card: Card, data: Dataset, raw: Residuals) -> Residuals:
    """Return residuals with the model's corrections; muons outside its range of hwPt keep the raw ones."""
    outputs = model.predict(card.normalise(data.columns), batch_size=1 << 14, verbose=0)
    inside = in_range(card, data)
    after = corrected(raw, card.physical(outputs), data["recoPt"])
    return {v: np.where(inside, r, raw[v]) for v, r in after.items()}


def in_range(card: Card, data: Dataset) -> NDArray[np.bool_]:
    """Return which muons are in the model's range of hwPt, shape (muons,)."""
    low, high = card.domain["hwPt"]
    return np.asarray((data["hwPt"] >= low) & (data["hwPt"] <= high))


def _arrays(card: Card, recipe: Recipe, data: Dataset) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Network inputs and what the loss needs, both normalised."""
    offset = np.array([q.offset for q in card.outputs])
    scale = np.array([q.scale for q in card.outputs])
    wanted = (targets(data) - offset) / scale
    if recipe.targets == "unit":
        return card.normalise(data.columns), wanted.astype(np.float32)
    gains = np.tile(scale, (len(data), 1))
    gains[:, 2] /= data["recoPt"]
    weights = np.ones_like(gains) * in_range(card, data)[:, np.newaxis]
    return card.normalise(data.columns), loss_functions.columns(wanted, gains, weights)


def _tell(on_epoch: OnEpoch | None, before: int) -> list[Any]:
    if on_epoch is None:
        return []
    return [
        load_keras().callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: on_epoch(before + epoch + 1, float(logs["loss"]))
        )
    ]
