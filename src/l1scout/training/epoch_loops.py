"""Muons as a training takes them, in memory or read from files; and what a network makes of muons."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from l1scout.dataset.matched import Dataset
from l1scout.evaluate.targets import corrected, raw_residuals
from l1scout.model.card import Card
from l1scout.model.quantities import Residuals
from l1scout.training import loss_functions, offline_guard
from l1scout.training.compiled_step import Arrays
from l1scout.training.epochs import MuonFiles, mixed
from l1scout.training.gains import Gains
from l1scout.training.recipes import Recipe
from l1scout.training.together import Training, train_together

if TYPE_CHECKING:
    import keras

_ANSWERED = 1 << 14
"""Muons that `answers_of` gives to a network at a time."""


class InMemoryMuons:
    """Training muons as arrays; see `TrainingMuons`."""

    def __init__(self, card: Card, gains: Gains, recipe: Recipe, train: Dataset, seed: int) -> None:
        self._x, self._y = network_arrays(card, gains, recipe, train)
        self._train, self._seed = train, seed
        self.steps = -(-len(train) // recipe.batch)

    def weigh(self, weights: NDArray[np.float64]) -> None:
        """Give each muon the weights of its offline bins."""
        self._y[:, 6:9] = offline_guard.of_muons(weights, self._train)

    def epoch(self, number: int, size: int) -> Iterator[Arrays]:
        """Go through all muons once, mixed anew."""
        order = np.random.default_rng((self._seed, number)).permutation(len(self._x))
        for start in range(0, len(order), size):
            at = order[start : start + size]
            yield self._x.take(at, axis=0), self._y.take(at, axis=0)  # four times as fast as [at]


class StreamedMuons:
    """Training muons from files; see `TrainingMuons`."""

    def __init__(self, card: Card, gains: Gains, recipe: Recipe, stream: MuonFiles, seed: int) -> None:
        self._weights: NDArray[np.float64] | None = None
        self._known, self._stream, self._seed = (card, gains, recipe), stream, seed
        self.steps = -(-stream.training_muons // recipe.batch)

    def weigh(self, weights: NDArray[np.float64]) -> None:
        """Give each muon the weights of its offline bins."""
        self._weights = weights

    def epoch(self, number: int, size: int) -> Iterator[Arrays]:
        """Go through all muons once, mixed anew."""
        return mixed(self._stream, self._arrays, size, (self._seed, number))

    def _arrays(self, block: Dataset) -> Arrays:
        x, y = network_arrays(*self._known, block)
        if self._weights is not None:
            y[:, 6:9] *= offline_guard.of_muons(self._weights, block)
        return x, y


def guard_offline(
    training: Training,
    muons: InMemoryMuons | StreamedMuons,
    card: Card,
    gains: Gains,
    validation: Dataset,
) -> dict[str, Any]:
    """Train on for bins of offline quantities, up to the recipe's price; the card's entries about it."""
    raw, recipe, model = raw_residuals(validation), training.recipe, training.model
    rate, few = 0.3 * recipe.learning_rate, offline_guard.epochs(recipe.epochs)
    short = replace(training, recipe=replace(recipe, learning_rate=rate, epochs=few))

    def again(weights: NDArray[np.float64]) -> None:
        muons.weigh(weights)
        train_together([short])

    def check() -> Residuals:
        return residuals_after(card, gains, answers_of(model, card, validation.columns), validation, raw)

    return offline_guard.train(model, again, check, validation, raw, recipe.guard_price or 0.0)


def answers_of(model: "keras.Model", card: Card, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
    """Return the answers of the layers, before the gains, shape (muons, outputs).

    Batches are filled up to one size: operations are then compiled once for all networks. Keras' own
    ``predict`` compiles anew for every network.
    """
    x = card.normalise(columns)
    out = np.zeros((len(x), len(card.outputs)))
    for start in range(0, len(x), _ANSWERED):
        part = x[start : start + _ANSWERED]
        filled = np.pad(part, ((0, _ANSWERED - len(part)), (0, 0)))
        out[start : start + len(part)] = np.asarray(model(filled, training=False))[: len(part)]
    return card.physical(out)


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


def network_arrays(
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
