"""Training of a network on a data set."""

import dataclasses
import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from l1scout import __version__
from l1scout.dataset.matched import Dataset
from l1scout.dataset.paper import paper_part
from l1scout.errors import InputError
from l1scout.evaluate.metrics import Scores, ratios, scores
from l1scout.evaluate.targets import raw_residuals
from l1scout.formats.streams.muon import FINDERS, Finder, of_finders
from l1scout.model import resolution
from l1scout.model.card import Card
from l1scout.model.keras_backend import load_keras
from l1scout.training import embeddings, symmetries
from l1scout.training.code_guard import Guard, find
from l1scout.training.epoch_loops import (
    InMemoryMuons,
    StreamedMuons,
    answers_of,
    guard_offline,
    in_range,
    network_arrays,
    residuals_after,
)
from l1scout.training.epochs import MuonFiles
from l1scout.training.gains import Gains, first_gains, unsigned
from l1scout.training.nodes import nodes
from l1scout.training.recipes import Recipe, build, quiet_copies
from l1scout.training.references import with_reference
from l1scout.training.scaling import domain, scaling
from l1scout.training.together import OnEpoch, Training, train_together

if TYPE_CHECKING:
    import keras

_MIN_MUONS = 100
STEPS, SMALLEST_BATCH = 100, 128
"""At a falling rate an epoch has at least this number of steps if muons are few, in batches not below this
size: in 12 steps an epoch 12,000 muons do not teach their network the bend of the softest."""


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
    """A trained network: its layers as a Keras model (of normalised quantities), gains, card and validation.

    The gains include the factors of the guard, if there is one.

    The card lacks what saving adds: the hash of the network and the deviation of the ONNX export from Keras.
    """

    model: "keras.Model"
    gains: Gains
    card: Card
    validation: Validation
    guard: Guard | None = None


def fit(
    data: Dataset | MuonFiles,
    recipe: Recipe,
    *,
    inputs: Sequence[str] | None = None,
    epochs: int | None = None,
    batch: int | None = None,
    seed: int = 1,
    patience: int | None = None,
    guard_price: float | None = None,
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
    data : Dataset or MuonFiles
        All parts; the test part is not looked at. The paper's recipes take the paper's part
        (`l1scout.dataset.paper`), for which they are made; files must have been read for that. Files are read
        again in every epoch: their weights differ from those of the same muons in memory, as the order does.
    recipe : Recipe
    inputs : sequence of str, optional
        Columns that enter the network; by default the recipe's. Recipes with symmetries add phi if the
        training muons are not the same all around.
    epochs, batch : int, optional
        By default the recipe's.
    seed : int
    patience : int, optional
        Stop after this number of epochs without a better validation loss; by default all epochs are run. Not
        for a falling rate.
    guard_price : float, optional
        Help bins of offline quantities at this price: `Recipe.guard_price`.
    on_epoch : callable, optional
        Told epoch (from 1) and loss at the end of every epoch.

    Raises
    ------
    InputError
        If the muons are too few, in all or of one track finder, any is of no track finder, patience is asked
        for at a falling rate, or files were read for other recipes.
    """
    if patience and recipe.schedule != "constant":
        msg = f"model {recipe.name} trains at a falling rate: it cannot stop early; choose fewer epochs"
        raise InputError(msg)
    if guard_price is not None:
        if recipe.targets != "residual" or recipe.schedule != "cosine":
            known = "default, balanced, rms and small"
            msg = f"model {recipe.name} cannot weigh muons: --guard-price is for {known}"
            raise InputError(msg)
        recipe = dataclasses.replace(recipe, guard_price=guard_price)
    recipe = dataclasses.replace(recipe, epochs=epochs or recipe.epochs, batch=batch or recipe.batch)
    if isinstance(data, MuonFiles):
        train, validation, muons, stream = data.train, data.validation, data.muons, data
        if data.paper != recipe.papers_part:
            msg = f"model {recipe.name}: read the files with read_stream(..., paper={recipe.papers_part})"
            raise InputError(msg)
        refuse_unselected(data.ends)
    else:
        refuse_unselected(data)
        if recipe.papers_part:
            data = data.select(paper_part(data.columns, FINDERS))
        train, validation, muons, stream = data.part("train"), data.part("validation"), len(data), None
    if recipe.schedule == "cosine" and not batch:
        smaller = max(len(train) // STEPS, SMALLEST_BATCH)
        recipe = dataclasses.replace(recipe, batch=min(recipe.batch, smaller))
    recipe = dataclasses.replace(recipe, inputs=tuple(inputs or recipe.inputs))
    trained = fit_parts(train, validation, recipe, seed, patience, on_epoch, stream)
    about = data_record(train, muons)
    return dataclasses.replace(trained, card=dataclasses.replace(trained.card, data=about))


def data_record(data: Dataset, muons: int) -> dict[str, Any]:
    """Describe a data set for a card, where a network was trained on `muons` of its muons."""
    more = ("source", "era", "trigger", "tables", "randomised", "seed", "hard", "selection")
    known = {k: data.about.get(k) for k in more}
    return {"file": data.name, "sha256": data.sha256, "muons": muons, "simulated": data.simulated, **known}


@dataclass(frozen=True)
class Parts:
    """What one network is trained on.

    Parameters
    ----------
    train, validation : Dataset
    seed : int
        Of initial weights and of the order of muons.
    stream : MuonFiles, optional
        `train` is the sample of it, and all of its training muons are trained on.
    """

    train: Dataset
    validation: Dataset
    seed: int = 1
    stream: MuonFiles | None = None


def fit_parts(
    train: Dataset,
    validation: Dataset,
    recipe: Recipe,
    seed: int = 1,
    patience: int | None = None,
    on_epoch: OnEpoch | None = None,
    stream: MuonFiles | None = None,
) -> Trained:
    """Train and validate on the muons given; see `fit`. The card says nothing of the data."""
    return fit_together([Parts(train, validation, seed, stream)], recipe, patience, on_epoch)[0]


def fit_together(
    parts: Sequence[Parts], recipe: Recipe, patience: int | None = None, on_epoch: OnEpoch | None = None
) -> list[Trained]:
    """Train a network of a recipe on each of several parts, such as folds; see `fit_parts`.

    Each network is what it would be by itself, but for rounding.
    """
    networks = [_prepared(p, recipe, patience) for p in parts]
    done = train_together([n.training for n in networks], patience, on_epoch)
    return [_finished(n, entries) for n, entries in zip(networks, done, strict=True)]


@dataclass(frozen=True)
class _Network:
    """A network before its training, and what its card will say."""

    training: Training
    muons: InMemoryMuons | StreamedMuons
    card: Card
    gains: Gains
    ties: embeddings.Tables
    validation: Dataset
    about: dict[str, Any]


def _prepared(parts: Parts, recipe: Recipe, patience: int | None) -> _Network:
    """Make a network that can be trained."""
    train, seed, stream = parts.train, parts.seed, parts.stream
    recipe = with_reference(train, recipe)
    _check(train, recipe.inputs)
    refuse_unselected(train)
    refuse_unselected(parts.validation)
    recipe, differences = _adapted(train, recipe)
    card, gains = _first_card(train, recipe)
    about = {
        "epochs": recipe.epochs,
        "batch": recipe.batch,
        "seed": seed,
        "patience": patience,
        "muons": stream.training_muons if stream else len(train),
        "differences": differences,
    }
    load_keras().utils.set_random_seed(seed)
    ties = embeddings.tables(train, recipe, card.domain)
    model = embeddings.build(recipe, card, ties) if ties else build(recipe, len(recipe.inputs))
    muons = (
        StreamedMuons(card, gains, recipe, stream, seed)
        if stream
        else InMemoryMuons(card, gains, recipe, train, seed)
    )
    constant = recipe.schedule == "constant"
    validation = network_arrays(card, gains, recipe, parts.validation) if constant else None
    embedded = embeddings.embedded(recipe, card, ties) if ties else None
    training = Training(model, recipe, muons, validation, embedded)
    return _Network(training, muons, card, gains, ties, parts.validation, about)


def _finished(network: _Network, done: dict[str, Any]) -> Trained:
    """Guard and validate a network that has been trained."""
    card, gains, validation, model = network.card, network.gains, network.validation, network.training.model
    recipe, done = network.training.recipe, dict(done)
    with quiet_copies():
        if recipe.guard_price is not None:
            done["offline_guard"] = guard_offline(network.training, network.muons, card, gains, validation)
        if network.ties:
            model = embeddings.untied(model, recipe, card, network.ties)
        answers = answers_of(model, card, validation.columns)
    raw = raw_residuals(validation)
    after = residuals_after(card, gains, answers, validation, raw)
    guarded = None
    if recipe.guard:
        least = residuals_after(card, gains, np.zeros_like(answers), validation, raw)
        guarded = find(validation, raw, least, after, recipe.reference)
        gains = gains.times(guarded.factors)
        after = residuals_after(card, gains, answers, validation, raw)
        done["guard"] = guarded.as_dict()
    inside = in_range(card, validation)
    known = resolution.learn(
        validation.select(inside).columns, {v: r[inside] for v, r in after.items()}, recipe.inputs
    )
    validated = Validation(len(validation), scores(raw), scores(after), ratios(after, raw))
    training, scored = {**network.about, **done}, validated.as_dict()
    card = dataclasses.replace(card, training=training, scores=scored, resolution=known)
    return Trained(model, gains, card, validated, guarded)


def _adapted(train: Dataset, recipe: Recipe) -> tuple[Recipe, dict[str, float]]:
    """Return the recipe for these muons, and how far they are from each symmetry (empty: not looked at)."""
    found: dict[str, float] = {}
    if recipe.symmetries and len(train) >= symmetries.MIN_MUONS:
        found = symmetries.differences(train, unsigned(train, "vertex"))
    recipe = symmetries.adapted(recipe, found)
    embedded = tuple(n for n in recipe.embedded_inputs if n in recipe.inputs)
    return dataclasses.replace(recipe, embedded_inputs=embedded), found


def _first_card(train: Dataset, recipe: Recipe) -> tuple[Card, Gains]:
    """Return card and gains of a network before it is trained: its inputs, outputs and domain."""
    ends = domain(train, recipe, recipe.inputs)
    at = nodes(train["hwPt"].astype(np.int64))
    gains = first_gains(train, recipe, ends, recipe.inputs, (int(at[0]), int(at[-1])))
    scaled = scaling(train, recipe, recipe.inputs, gains)
    card = Card(
        name=recipe.name,
        inputs=scaled[0],
        outputs=scaled[1],
        domain=ends,
        finders=known_finders(train),
        reference=recipe.reference,
        recipe=recipe.as_dict(),
        training={},
        data={},
        scores={},
        onnx={},
        versions=versions(),
    )
    return card, gains


def score(trained: Trained, data: Dataset) -> tuple[Scores, Scores]:
    """Nine metrics of the raw trigger and of a trained network."""
    raw = raw_residuals(data)
    answers = answers_of(trained.model, trained.card, data.columns)
    return scores(raw), scores(residuals_after(trained.card, trained.gains, answers, data, raw))


def _check(train: Dataset, inputs: Sequence[str]) -> None:
    missing = [n for n in inputs if n not in train.columns]
    if missing:
        msg = f"{train.name}: no column {', '.join(missing)}; `l1scout dataset` writes stubs where it has any"
        raise InputError(msg)
    if len(train) < _MIN_MUONS:
        msg = f"{train.name}: {len(train)} muons to train on; at least {_MIN_MUONS} are needed"
        raise InputError(msg)


def refuse_unselected(data: Dataset) -> None:
    """Refuse muons, in any part of the data, that are of no track finder."""
    index = data["tfMuonIndex"]
    unknown = index[~of_finders(index, FINDERS)]
    if unknown.size:
        msg = (
            f"{data.name}: muons with tfMuonIndex from {unknown.min()} to {unknown.max()}, which are of no "
            "track finder; take them out, as `l1scout dataset` does"
        )
        raise InputError(msg)


def known_finders(data: Dataset) -> tuple[Finder, ...]:
    """Return the track finders whose muons are in a data set: those for which its network is.

    Raises
    ------
    InputError
        If there are only a few muons of one.
    """
    counts = {name: int(np.count_nonzero(of_finders(data["tfMuonIndex"], [name]))) for name in FINDERS}
    for name, n in counts.items():
        if 0 < n < _MIN_MUONS:
            msg = (
                f"{data.name}: {n} muons of the {name.upper()}, of which at least {_MIN_MUONS} are needed; "
                "take them out: `l1scout dataset --finder` says which to keep"
            )
            raise InputError(msg)
    return tuple(name for name, n in counts.items() if n)


def versions() -> dict[str, str]:
    """Return versions of this package and of the libraries that make a model."""
    libraries = ("keras", "jax", "numpy", "onnx", "onnxruntime")
    return {"l1scout": __version__, **{n: importlib.metadata.version(n) for n in libraries}}
