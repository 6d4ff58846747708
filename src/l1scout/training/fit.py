"""Training of a network on a data set."""

import dataclasses
import importlib.metadata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from l1scout import __version__
from l1scout.dataset.cuts import HW_PT
from l1scout.dataset.matched import Dataset
from l1scout.errors import InputError
from l1scout.evaluate.metrics import Scores, ratios, scores
from l1scout.evaluate.profiles import MIN_MUONS
from l1scout.evaluate.targets import corrected, raw_residuals, targets
from l1scout.formats.streams.muon import BMTF_INDEX
from l1scout.model import resolution
from l1scout.model.card import Card
from l1scout.model.quantities import INPUTS, Residuals
from l1scout.training import codes, guard
from l1scout.training import loss_functions as losses
from l1scout.training.epochs import Stream, batches
from l1scout.training.recipes import Recipe, build, compile_model, quiet_copies
from l1scout.training.scaling import domain, scaling
from l1scout.training.support import checked_hw_pt, checked_pt, without_loss

if TYPE_CHECKING:
    import keras

_MIN_MUONS = 100
OnEpoch = Callable[[int, float], object]


@dataclass(frozen=True)
class Validation:
    """The nine metrics of the raw trigger and of a model on a part of a data set, and their ratios."""

    muons: int
    raw: Scores
    model: Scores
    ratio: Scores
    part: str = "validation"

    def as_dict(self) -> dict[str, Any]:
        """For the card."""
        numbers = {n: getattr(self, n).as_dict() for n in ("raw", "model", "ratio")}
        return {"part": self.part, "muons": self.muons, **numbers}


@dataclass(frozen=True)
class Trained:
    """A trained Keras model (of normalised quantities), its card and its validation.

    The card lacks what export adds: the hash of the ONNX file and its deviation from Keras.
    """

    model: "keras.Model"
    card: Card
    validation: Validation


def fit(
    data: Dataset | Stream,
    recipe: Recipe,
    *,
    inputs: Sequence[str] = INPUTS,
    epochs: int | None = None,
    batch: int | None = None,
    seed: int = 1,
    patience: int | None = None,
    on_epoch: OnEpoch | None = None,
) -> Trained:
    """Train a network on the ``train`` part of a data set and score it on the ``validation`` part.

    At a constant learning rate the last epoch is a matter of luck (model B's phi RMS ratio was 0.70, 0.72
    and 0.76 for three seeds, and is 0.70 for all of them this way): there, the weights kept are those of
    the epoch with the smallest validation loss. At a falling rate they are the last. Results to quote are
    those of the test part.

    The same data, recipe, numbers and library versions give the same weights to the last bit. Keras
    keeps its random state in the process: it is set here.

    Parameters
    ----------
    data : Dataset or Stream
        All parts; the test part is not looked at. A stream is read again in every epoch: its weights differ
        from those of the same muons in memory, as their order does.
    recipe : Recipe
    inputs : sequence of str
        Columns that enter the network: `INPUTS`, and others if wanted.
    epochs, batch : int, optional
        By default the recipe's.
    seed : int
    patience : int, optional
        Stop after so many epochs without a better validation loss; by default all epochs are run. Not
        for a falling rate.
    on_epoch : callable, optional
        Told epoch (from 1) and loss at the end of every epoch.

    Raises
    ------
    InputError
        If the muons are too few, any is not of the barrel and the pT range that the network is meant for, or
        patience is asked for at a falling rate.
    """
    if patience and recipe.schedule != "constant":
        msg = f"model {recipe.name} trains at a falling rate: it cannot stop early; choose fewer epochs"
        raise InputError(msg)
    recipe = dataclasses.replace(recipe, epochs=epochs or recipe.epochs, batch=batch or recipe.batch)
    if isinstance(data, Stream):
        train, validation, muons, stream = data.train, data.validation, data.muons, data
        refuse_unselected(data.ends)
    else:
        train, validation, muons, stream = data.part("train"), data.part("validation"), len(data), None
        refuse_unselected(data)
    trained = fit_parts(train, validation, recipe, inputs, seed, patience, on_epoch, stream)
    about = {
        "file": train.name,
        "sha256": train.sha256,
        "muons": muons,
        "simulated": train.simulated,
        **{k: train.about.get(k) for k in ("source", "era", "trigger", "tables", "seed", "selection")},
    }
    return dataclasses.replace(trained, card=dataclasses.replace(trained.card, data=about))


def fit_parts(
    train: Dataset,
    validation: Dataset,
    recipe: Recipe,
    inputs: Sequence[str] = INPUTS,
    seed: int = 1,
    patience: int | None = None,
    on_epoch: OnEpoch | None = None,
    stream: Stream | None = None,
) -> Trained:
    """Train and validate on the muons given; see `fit`. The card says nothing of the data.

    With a guard, the card's range of hwPt is that of `l1scout.training.support`; training muons outside it
    have no weight, validation muons count with the trigger's values.

    With a stream, `train` is the sample of it, and all of its training muons are trained on.
    """
    import keras

    _check(train, inputs)
    refuse_unselected(train)
    refuse_unselected(validation)
    recipe = dataclasses.replace(recipe, codes=tuple(n for n in recipe.codes if n in inputs))
    scaled = scaling(train, recipe, inputs)
    ends = domain(train, inputs)
    if recipe.guard:
        ends["hwPt"] = checked_hw_pt(validation, ends["hwPt"])
    card = Card(
        name=recipe.name,
        inputs=scaled[0],
        outputs=scaled[1],
        domain={**ends, "tfMuonIndex": (BMTF_INDEX.start, BMTF_INDEX.stop - 1)},
        recipe=recipe.as_dict(),
        training={
            "epochs": recipe.epochs,
            "batch": recipe.batch,
            "seed": seed,
            "patience": patience,
            "muons": stream.training_muons if stream else len(train),
        },
        data={},
        scores={},
        onnx={},
        versions=versions(),
    )
    keras.utils.set_random_seed(seed)
    model = codes.build(recipe, card) if recipe.codes else build(recipe, len(inputs))
    muons = _Streamed(card, recipe, stream, seed) if stream else _InMemory(card, recipe, train)
    with quiet_copies():
        if recipe.schedule == "constant":
            done = _best_epoch(model, card, recipe, muons, validation, patience, on_epoch)
        else:
            done = _falling(model, card, recipe, muons, validation, on_epoch)
        raw = raw_residuals(validation)
        after = _after(model, card, validation, raw)
        if recipe.guard:
            hw_pt, lost = without_loss(validation, after, raw, card.domain["hwPt"])
            card = dataclasses.replace(card, domain={**card.domain, "hwPt": hw_pt})
            done["support"] = {
                "offline_pt_gev": checked_pt(validation),
                "min_muons": MIN_MUONS,
                "hw_pt_with_loss": lost,
            }
        if recipe.codes:
            model = codes.plain(model, recipe, card)
        after = _after(model, card, validation, raw)
    inside = _inside(card, validation)
    known = resolution.learn(
        validation.select(inside).columns, {v: r[inside] for v, r in after.items()}, inputs
    )
    validated = Validation(len(validation), scores(raw), scores(after), ratios(after, raw))
    card = dataclasses.replace(
        card,
        training={**card.training, **done},
        scores=validated.as_dict(),
        resolution=known,
    )
    return Trained(model, card, validated)


def all_epochs(recipe: Recipe, epochs: int | None = None) -> int:
    """Return how many epochs a training has at most, those of the guard included."""
    epochs = epochs or recipe.epochs
    return epochs + (guard.ROUNDS * guard.epochs(epochs) if recipe.guard else 0)


class _InMemory:
    """Training muons as arrays.

    Attributes
    ----------
    given : dict
        What Keras' ``fit`` needs.
    steps : int
        Batches of an epoch.
    """

    def __init__(self, card: Card, recipe: Recipe, train: Dataset) -> None:
        self._train, self._inside = train, _inside(card, train)
        x, self._y = _arrays(card, recipe, train)
        self.given = {"x": x, "y": self._y, "batch_size": recipe.batch}
        self.steps = -(-len(train) // recipe.batch)

    def weigh(self, weights: NDArray[np.float64]) -> None:
        """Give each muon the weights of its bins."""
        self._y[:, 6:] = guard.of_muons(weights, self._train) * self._inside[:, np.newaxis]


class _Streamed:
    """Training muons from files; see `_InMemory`."""

    def __init__(self, card: Card, recipe: Recipe, stream: Stream, seed: int) -> None:
        self._weights: NDArray[np.float64] | None = None

        def arrays(block: Dataset) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            x, y = _arrays(card, recipe, block)
            if self._weights is not None:
                y[:, 6:] *= guard.of_muons(self._weights, block)
            return x, y

        source = batches(stream, arrays, recipe.batch, seed)
        self.given: dict[str, Any] = {"x": source, "shuffle": False}
        self.steps = len(source)

    def weigh(self, weights: NDArray[np.float64]) -> None:
        """Give each muon the weights of its bins."""
        self._weights = weights


def _best_epoch(
    model: "keras.Model",
    card: Card,
    recipe: Recipe,
    muons: _InMemory | _Streamed,
    validation: Dataset,
    patience: int | None,
    on_epoch: OnEpoch | None,
) -> dict[str, Any]:
    import keras

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


def _falling(
    model: "keras.Model",
    card: Card,
    recipe: Recipe,
    muons: _InMemory | _Streamed,
    validation: Dataset,
    on_epoch: OnEpoch | None,
) -> dict[str, Any]:
    """Train at a falling rate, and on for the guard."""
    run, loss = 0, float("nan")

    compile_model(model, recipe, recipe.epochs * muons.steps, guard.epochs(recipe.epochs) * muons.steps)

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
            go(guard.epochs(recipe.epochs))

        raw = raw_residuals(validation)
        found["guard"] = guard.train(
            model, again, lambda: guard.excess(validation, _after(model, card, validation, raw), raw)
        )
    return {"epochs_run": run, "epoch_kept": run, "loss": loss, **found}


def _after(model: "keras.Model", card: Card, data: Dataset, raw: Residuals) -> Residuals:
    """Return residuals with the model's corrections; muons outside its range of hwPt keep the raw ones."""
    outputs = model.predict(card.normalise(data.columns), batch_size=1 << 14, verbose=0)
    inside = _inside(card, data)
    after = corrected(raw, card.physical(outputs), data["recoPt"])
    return {v: np.where(inside, r, raw[v]) for v, r in after.items()}


def _inside(card: Card, data: Dataset) -> NDArray[np.bool_]:
    low, high = card.domain["hwPt"]
    return np.asarray((data["hwPt"] >= low) & (data["hwPt"] <= high))


def score(trained: Trained, data: Dataset) -> tuple[Scores, Scores]:
    """Nine metrics of the raw trigger and of a trained network."""
    raw = raw_residuals(data)
    return scores(raw), scores(_after(trained.model, trained.card, data, raw))


def _arrays(card: Card, recipe: Recipe, data: Dataset) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Network inputs and what the loss needs, both normalised."""
    offset = np.array([q.offset for q in card.outputs])
    scale = np.array([q.scale for q in card.outputs])
    wanted = (targets(data) - offset) / scale
    if recipe.targets == "unit":
        return card.normalise(data.columns), wanted.astype(np.float32)
    gains = np.tile(scale, (len(data), 1))
    gains[:, 2] /= data["recoPt"]
    weights = np.ones_like(gains) * _inside(card, data)[:, np.newaxis]
    return card.normalise(data.columns), losses.columns(wanted, gains, weights)


def _check(train: Dataset, inputs: Sequence[str]) -> None:
    missing = [n for n in inputs if n not in train.columns]
    if missing:
        msg = f"{train.name}: no column {', '.join(missing)}; `l1scout dataset` writes stubs where it has any"
        raise InputError(msg)
    if len(train) < _MIN_MUONS:
        msg = f"{train.name}: {len(train)} muons to train on; at least {_MIN_MUONS} are needed"
        raise InputError(msg)


def refuse_unselected(data: Dataset) -> None:
    """Refuse muons, in any part of the data, outside the range that networks are meant for."""
    for name, allowed in (("hwPt", HW_PT), ("tfMuonIndex", BMTF_INDEX)):
        outside = (data[name] < allowed.start) | (data[name] >= allowed.stop)
        if outside.any():
            values = data[name][outside]
            msg = (
                f"{data.name}: muons with {name} from {values.min()} to {values.max()}, outside "
                f"{allowed.start}..{allowed.stop - 1}; take them out, as `l1scout dataset` does"
            )
            raise InputError(msg)


def versions() -> dict[str, str]:
    """Return versions of this package and of the libraries that make a model."""
    libraries = ("keras", "jax", "numpy", "onnx", "onnxruntime")
    return {"l1scout": __version__, **{n: importlib.metadata.version(n) for n in libraries}}


def _tell(on_epoch: OnEpoch | None, before: int) -> list[Any]:
    if on_epoch is None:
        return []
    import keras

    return [
        keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: on_epoch(before + epoch + 1, float(logs["loss"]))
        )
    ]
