"""Training of a network on a data set."""

import dataclasses
import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from l1scout import __version__
from l1scout.errors import InputError
from l1scout.formats.muon import BMTF_INDEX, ETA_VTX, PHI_BINS, PHI_VTX, PT
from l1scout.training.card import Card, Scaled
from l1scout.training.dataset import Dataset
from l1scout.training.metrics import Residuals, Scores, ratios, residuals, scores, wrap
from l1scout.training.models import INPUTS, OUTPUT_UNITS, OUTPUTS, Recipe, build, compile_model, quiet_copies
from l1scout.training.selection import HW_PT

if TYPE_CHECKING:
    import keras

EPOCHS = 60
BATCH = 256
"""The seed paper gives neither. With Adadelta, 20 epochs or batches of 1024 are too few steps: on
300,000 training muons the RMS ratios of model B are then 0.75 / 0.83 / 0.61 or 0.85 / 0.82 / 0.73
(phi / eta / pT) instead of 0.69 / 0.82 / 0.52."""
_MIN_MUONS = 100


@dataclass(frozen=True)
class Validation:
    """Nine numbers of the raw trigger and of a model on the validation part, and their ratios."""

    muons: int
    raw: Scores
    model: Scores
    ratio: Scores

    def as_dict(self) -> dict[str, Any]:
        """For the card."""
        numbers = {n: getattr(self, n).as_dict() for n in ("raw", "model", "ratio")}
        return {"part": "validation", "muons": self.muons, **numbers}


@dataclass(frozen=True)
class Trained:
    """A trained Keras model (of normalised quantities), its card and its validation.

    The card lacks what export adds: the hash of the ONNX file and its deviation from Keras.
    """

    model: "keras.Model"
    card: Card
    validation: Validation


def targets(data: Dataset) -> NDArray[np.float64]:
    """L1 minus offline, shape (muons, 3): phi (rad, wrapped), eta, pT (GeV)."""
    return np.stack(
        [
            wrap(PHI_VTX.to_physical(data["hwPhiAtVtx"]) - data["recoPhi"]),
            ETA_VTX.to_physical(data["hwEtaAtVtx"]) - data["recoEta"],
            PT.to_physical(data["hwPt"]) - data["recoPt"],
        ],
        axis=1,
    )


def raw_residuals(data: Dataset) -> Residuals:
    """Residuals of the trigger's own values."""
    return residuals(
        PT.to_physical(data["hwPt"]),
        ETA_VTX.to_physical(data["hwEtaAtVtx"]),
        PHI_VTX.to_physical(data["hwPhiAtVtx"]),
        data.columns,
    )


def fit(
    data: Dataset,
    recipe: Recipe,
    *,
    epochs: int = EPOCHS,
    batch: int = BATCH,
    seed: int = 1,
    patience: int | None = None,
    on_epoch: Callable[[int, float], object] | None = None,
) -> Trained:
    """Train a network on the ``train`` part of a data set and score it on the ``validation`` part.

    The weights kept are those of the epoch with the smallest validation loss: at a constant learning
    rate the last epoch is a matter of luck (model B's phi RMS ratio was 0.70, 0.72 and 0.76 for three
    seeds, and is 0.70 for all of them this way). Results to quote are those of the test part.

    The same data, recipe, numbers and library versions give the same weights to the last bit. Keras
    keeps its random state in the process: it is set here.

    Parameters
    ----------
    data : Dataset
        All parts; the test part is not looked at.
    recipe : Recipe
    epochs, batch, seed : int
    patience : int, optional
        Stop after so many epochs without a better validation loss; by default all epochs are run.
    on_epoch : callable, optional
        Told epoch (from 1) and loss at the end of every epoch.

    Raises
    ------
    InputError
        If the muons are too few, or not of the barrel and the pT range that the network is meant for.
    """
    import keras

    train, validation = data.part("train"), data.part("validation")
    _check(train)
    inputs, outputs = _scaling(train)
    card = Card(
        name=recipe.name,
        inputs=inputs,
        outputs=outputs,
        domain=_domain(train),
        recipe=dataclasses.asdict(recipe),
        training={"epochs": epochs, "batch": batch, "seed": seed, "patience": patience, "muons": len(train)},
        data={
            "file": data.name,
            "sha256": data.sha256,
            "muons": len(data),
            "simulated": data.simulated,
            **{k: data.about.get(k) for k in ("source", "era", "seed", "selection")},
        },
        scores={},
        onnx={},
        versions=_versions(),
    )
    keras.utils.set_random_seed(seed)
    model = build(recipe)
    compile_model(model, recipe)
    best = keras.callbacks.EarlyStopping(patience=patience or epochs, restore_best_weights=True)
    callbacks: list[Any] = [best, *([_tell(on_epoch)] if on_epoch else [])]
    with quiet_copies():
        history = model.fit(
            *_arrays(card, train),
            batch_size=batch,
            epochs=epochs,
            validation_data=_arrays(card, validation),
            callbacks=callbacks,
            verbose=0,
        )
    losses = history.history["val_loss"]
    chosen = int(np.argmin(losses))
    done = {
        **card.training,
        "epochs_run": len(losses),
        "epoch_kept": chosen + 1,
        "loss": float(history.history["loss"][chosen]),
        "validation_loss": float(losses[chosen]),
    }
    validated = _validate(model, card, validation)
    return Trained(model, dataclasses.replace(card, training=done, scores=validated.as_dict()), validated)


def corrected(raw: Residuals, correction: NDArray[np.float64], reco_pt: NDArray[Any]) -> Residuals:
    """Residuals after a correction (shape (muons, 3): rad, 1, GeV) is taken off the L1 values."""
    return {
        "phi": wrap(raw["phi"] - correction[:, 0]),
        "eta": raw["eta"] - correction[:, 1],
        "pt": raw["pt"] - correction[:, 2] / reco_pt,
    }


def _validate(model: "keras.Model", card: Card, validation: Dataset) -> Validation:
    inputs = card.normalise(validation.columns)
    correction = card.physical(model.predict(inputs, batch_size=1 << 14, verbose=0))
    raw = raw_residuals(validation)
    after = corrected(raw, correction, validation["recoPt"])
    return Validation(len(validation), scores(raw), scores(after), ratios(after, raw))


def _arrays(card: Card, data: Dataset) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Network inputs and targets, both normalised."""
    offset = np.array([q.offset for q in card.outputs])
    scale = np.array([q.scale for q in card.outputs])
    return card.normalise(data.columns), ((targets(data) - offset) / scale).astype(np.float32)


def _check(train: Dataset) -> None:
    if len(train) < _MIN_MUONS:
        msg = f"{train.name}: {len(train)} muons to train on; at least {_MIN_MUONS} are needed"
        raise InputError(msg)
    for name, allowed in (("hwPt", HW_PT), ("tfMuonIndex", BMTF_INDEX)):
        n = np.count_nonzero((train[name] < allowed.start) | (train[name] >= allowed.stop))
        if n:
            msg = (
                f"{train.name}: {n} muons with {name} outside {allowed.start}..{allowed.stop - 1}; "
                "take them out, as `l1scout dataset` does"
            )
            raise InputError(msg)


def _range(train: Dataset, name: str) -> tuple[int, int]:
    """Return the ends of an input in the training data, but always all phi and both charges."""
    whole = {"hwPhiAtVtx": (0, PHI_BINS - 1), "hwCharge": (0, 1)}
    return whole.get(name, (int(train[name].min()), int(train[name].max())))


def _scaling(train: Dataset) -> tuple[tuple[Scaled, ...], tuple[Scaled, ...]]:
    """Map the ends of every input and target to 0 and 1."""
    ends = [(name, *_range(train, name)) for name in INPUTS]
    inputs = tuple(Scaled(name, "hardware", float(a), float(max(b - a, 1))) for name, a, b in ends)
    y = targets(train)
    low, high = y.min(axis=0), y.max(axis=0)
    span = np.where(high > low, high - low, 1.0)
    outputs = zip(OUTPUTS, OUTPUT_UNITS, low.tolist(), span.tolist(), strict=True)
    return inputs, tuple(Scaled(*o) for o in outputs)


def _domain(train: Dataset) -> dict[str, tuple[int, int]]:
    domain = {name: _range(train, name) for name in INPUTS}
    return {**domain, "tfMuonIndex": (BMTF_INDEX.start, BMTF_INDEX.stop - 1)}


def _versions() -> dict[str, str]:
    libraries = ("keras", "jax", "numpy", "onnx", "onnxruntime")
    return {"l1scout": __version__, **{n: importlib.metadata.version(n) for n in libraries}}


def _tell(on_epoch: Callable[[int, float], object]) -> Any:
    import keras

    return keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: on_epoch(epoch + 1, float(logs["loss"]))
    )
