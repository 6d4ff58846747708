"""Train networks of one shape together, such as those of several folds, which may differ in data and start.

Plain networks take the steps of a chunk of batches one after the other, by the fused step. For others, JAX
compiles one step that moves all of them, each on a batch of its own: a step of one is over before its
bookkeeping is, and compiling takes as long as many epochs. Each is what it would be by itself, but for
rounding (fused: exactly). A network alone goes the same way.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from l1scout.errors import InputError
from l1scout.model.keras_backend import load_keras
from l1scout.training import compiled_step, fused_step
from l1scout.training.compiled_step import (
    CHUNK,
    Arrays,
    Given,
    Program,
    StepKind,
    TrainingState,
    Tree,
    Weights,
    step_kind,
)
from l1scout.training.embeddings import EmbeddedInputs, layers_in_order
from l1scout.training.recipes import Recipe

if TYPE_CHECKING:
    import keras

VALIDATION_BATCH = 2048
"""Muons of the validation part that are answered at a time; their number does not change the answers."""
OnEpoch = Callable[[int, float], object]


class TrainingMuons(Protocol):
    """Where batches come from: inputs and what the loss needs, both of shape (muons, columns)."""

    steps: int

    def epoch(self, number: int, size: int) -> Iterator[Arrays]:
        """Go through all muons once, mixed anew, in chunks of `size` muons; the last may be smaller."""


@dataclass
class Training:
    """A network that is to be trained, and what it is trained on.

    Parameters
    ----------
    model : keras.Model
        Its weights are where the training starts, and then its result.
    recipe : Recipe
    muons : TrainingMuons
    validation : tuple of two arrays, optional
        Inputs and what the loss needs: the best epoch is kept. Without them the last is.
    embedded : EmbeddedInputs, optional
        Inputs each of whose values has a vector.
    """

    model: "keras.Model"
    recipe: Recipe
    muons: TrainingMuons
    validation: Arrays | None = None
    embedded: EmbeddedInputs | None = None

    def kind(self) -> StepKind:
        """Return what its step is compiled for."""
        columns = self.embedded.columns if self.embedded else {}
        return step_kind(self.recipe, columns, _weights(self.model)[0])

    def given(self) -> Given:
        """Return what the network has that is not trained."""
        recipe, embedded = self.recipe, self.embedded
        penalties = np.array([recipe.l1, recipe.l2], np.float32)
        steps = np.float32(recipe.epochs * self.muons.steps)
        if not embedded:
            return Given(steps, penalties, np.ones(self.model.input_shape[1], np.float32), {}, {})
        return Given(steps, penalties, embedded.plain, embedded.codes, embedded.shares)


def train_together(
    trainings: Sequence[Training], patience: int | None = None, on_epoch: OnEpoch | None = None
) -> list[dict[str, Any]]:
    """Train networks, together where they are of one shape, and return what their cards say of it.

    Parameters
    ----------
    trainings : sequence of Training
    patience : int, optional
        Epochs without a better validation loss after which a network has done.
    on_epoch : callable, optional
        Told epoch (from 1) and mean loss of the networks at the end of every epoch.

    Raises
    ------
    InputError
        If Keras has another backend than JAX.
    """
    keras = load_keras()
    if keras.backend.backend() != "jax":
        msg = f"training needs Keras with JAX, not with {keras.backend.backend()}: unset KERAS_BACKEND"
        raise InputError(msg)
    groups: dict[Any, list[int]] = {}
    for k, training in enumerate(trainings):
        shares = [(n, v.shape) for n, v in training.given().shares.items()]
        recipe = training.recipe
        alike = training.kind(), repr(shares), recipe.epochs, recipe.batch, training.validation is None
        groups.setdefault(alike, []).append(k)
    found: list[dict[str, Any]] = [{} for _ in trainings]
    for (kind, *_), members in groups.items():
        step = fused_step if fused_step.does(kind) else compiled_step
        done = _Group([trainings[k] for k in members], step.program(kind)).train(patience, on_epoch)
        for k, entries in zip(members, done, strict=True):
            found[k] = entries
    return found


class _Group:
    """Networks of one shape: their states side by side."""

    def __init__(self, trainings: Sequence[Training], compiled: Program) -> None:
        self._trainings, self._compiled = trainings, compiled
        self._batch, self._epochs = trainings[0].recipe.batch, trainings[0].recipe.epochs
        each = [_weights(t.model) for t in trainings]
        states = [TrainingState(compiled.flatten(w), m, compiled.optimizer, np.float32(0)) for w, m in each]
        self._state, self._given = _stacked(states), _stacked([t.given() for t in trainings])

    def train(self, patience: int | None, on_epoch: OnEpoch | None) -> list[dict[str, Any]]:
        """Train all epochs, put the weights kept into the Keras networks, and return entries for cards."""
        validation = self._validation()
        best = _Best(validation is not None, len(self._trainings), patience)
        for epoch in range(self._epochs):
            going = best.going.copy()
            losses, seen = self._epoch(epoch, going), None
            if validation is not None:
                seen = np.asarray(self._compiled.validate(self._state, self._given, validation), np.float64)
            best.tell(losses, seen, self._state)
            if on_epoch:
                on_epoch(epoch + 1, float(losses[going].mean()))
            if not best.going.any():
                break
        for k, training in enumerate(self._trainings):
            flat, moving = best.kept[k]
            _put(training.model, self._compiled.unflatten(flat), moving)
        return [best.entries(k) for k in range(len(self._trainings))]

    def _epoch(self, number: int, going: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Take the steps of an epoch and return the mean loss of each network."""
        muons, size = [t.muons for t in self._trainings], CHUNK * self._batch
        sources = [m.epoch(number, size) if on else iter(()) for m, on in zip(muons, going, strict=True)]
        self._state = self._state._replace(loss=np.zeros(len(muons), np.float32))
        met = np.zeros(len(muons), np.int64)
        for chunks in zip_longest(*sources):
            batches = self._compiled.batches(chunks, self._batch)
            self._state = self._compiled.advance(self._state, self._given, batches)
            met += [len(chunk[0]) if chunk else 0 for chunk in chunks]
        return np.asarray(self._state.loss, np.float64) / np.maximum(met, 1)

    def _validation(self) -> Any:
        """Return the validation muons of all networks, as `Program.batches`, or None."""
        parts = [t.validation for t in self._trainings if t.validation is not None]
        return self._compiled.batches(parts, VALIDATION_BATCH) if parts else None


class _Best:
    """Which weights of each network are kept: those of the best epoch, or the last.

    Attributes
    ----------
    going : ndarray of bool, shape (networks,)
        Those that have not run out of patience.
    kept : list of (flat weights, moving averages)
    """

    def __init__(self, validated: bool, networks: int, patience: int | None) -> None:
        self._validated, self._patience = validated, patience
        self._losses: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
        self._at, self._run = np.zeros(networks, np.int64), np.zeros(networks, np.int64)
        self._lowest = np.full(networks, np.inf)
        self.going = np.ones(networks, np.bool_)
        self.kept: list[tuple[Any, Tree]] = [(None, None)] * networks

    def tell(
        self, losses: NDArray[np.float64], seen: NDArray[np.float64] | None, state: TrainingState
    ) -> None:
        """Take note of an epoch: losses in training and, if there is a validation, there."""
        epoch, better = len(self._losses), self.going.copy()
        self._losses.append((losses, losses if seen is None else seen))
        if seen is not None:
            better &= (seen < self._lowest) | (epoch == 0)  # the first counts, even if it is no number
            self._lowest = np.where(better & np.isfinite(seen), seen, self._lowest)
        for k in map(int, np.flatnonzero(better)):
            self.kept[k] = _picked((state.flat, state.moving), k)
        self._at[better] = epoch
        self._run[self.going] = epoch + 1
        if self._patience:
            self.going &= epoch - self._at < self._patience

    def entries(self, k: int) -> dict[str, Any]:
        """Return what a card says of a network's epochs."""
        at = int(self._at[k])
        loss, seen = (float(x[k]) for x in self._losses[at])
        said = {"epochs_run": int(self._run[k]), "epoch_kept": at + 1, "loss": loss}
        return said | ({"validation_loss": seen} if self._validated else {})


def _stacked(trees: Sequence[Tree]) -> Tree:
    import jax

    return jax.tree.map(lambda *x: np.stack([np.asarray(a) for a in x]), *trees)


def _picked(tree: Tree, k: int) -> Tree:
    import jax

    return jax.tree.map(lambda a: np.array(a[k]), tree)


def _weights(model: "keras.Model") -> tuple[Weights, Tree]:
    """Return trained weights and moving averages of a Keras network."""
    dense, normal, vectors = _layers(model)
    trained = Weights(
        tuple((d.kernel.value, d.bias.value) for d in dense),
        tuple((n.gamma.value, n.beta.value) for n in normal),
        {name: layer.kernel.value for name, layer in vectors.items()},
    )
    return trained, tuple((n.moving_mean.value, n.moving_variance.value) for n in normal)


def _put(model: "keras.Model", weights: Weights, moving: Tree) -> None:
    """Give a Keras network weights and moving averages."""
    dense, normal, vectors = _layers(model)
    for layer, (kernel, bias) in zip(dense, weights.dense, strict=True):
        layer.kernel.assign(kernel)
        layer.bias.assign(bias)
    for layer, (gamma, beta), (mean, variance) in zip(normal, weights.normalisation, moving, strict=True):
        layer.gamma.assign(gamma)
        layer.beta.assign(beta)
        layer.moving_mean.assign(mean)
        layer.moving_variance.assign(variance)
    for name, layer in vectors.items():
        layer.kernel.assign(weights.vectors[name])


def _layers(model: "keras.Model") -> tuple[list[Any], list[Any], dict[str, Any]]:
    """Return Dense and BatchNormalization layers in order, and those of trained vectors by input."""
    kinds: dict[str, list[Any]] = {"Dense": [], "BatchNormalization": [], "Activation": []}
    for layer in layers_in_order(model):
        kinds[type(layer).__name__].append(layer)
    vectors = {x.name: x for x in model.layers if type(x).__name__ == "Dense" and len(x.weights) == 1}
    return kinds["Dense"], kinds["BatchNormalization"], vectors
