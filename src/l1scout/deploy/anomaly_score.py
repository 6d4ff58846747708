"""Anomaly scores of crossings by a trained encoder, as a stage: it adds a stream of scores to data."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.core.joint_rows import joint_rows, on_rows
from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import OrbitData
from l1scout.deploy.engine import Engine, available_engines, create_engine, default_engine
from l1scout.errors import InputError
from l1scout.formats.streams.anomaly import LEVELS, MAX_SCORE, MAX_THRESHOLDS, STEPS_PER_UNIT
from l1scout.lhc import ORBIT_FREQUENCY_HZ
from l1scout.model.anomaly_inputs import AnomalyInputs
from l1scout.model.card import Card
from l1scout.model.directory import Model, load_model

STREAM = "anomaly"
FAST_ENGINE = "fused"
"""Of float models: its scores differ from those of onnx by the rounding of the last bit at most."""


def hardware_score(latent: NDArray[np.float32]) -> NDArray[np.int32]:
    """Return the score of latent means, shape (latent variables, crossings): 16 times their squares' sum.

    It is rounded down, and at most `MAX_SCORE`.
    """
    total = np.square(latent, dtype=np.float64).sum(axis=0)
    return np.asarray(np.minimum(np.floor(STEPS_PER_UNIT * total), MAX_SCORE), np.int32)


@dataclass(frozen=True, order=True)
class ScoreThreshold:
    """A threshold on the score, as the model's card states it.

    Parameters
    ----------
    hw_score : int
        Crossings with a higher score are above it.
    fraction : float
        Of the validation crossings that were above it when the model was trained.
    rate_hz : float
        Of crossings above it, in the data that the model was trained on; NaN if the card does not state it.
    """

    hw_score: int
    fraction: float
    rate_hz: float


def score_thresholds(card: Card) -> tuple[ScoreThreshold, ...]:
    """Return the thresholds of an anomaly model, rising; none if its card states none.

    Raises
    ------
    InputError
        If what the card states is not thresholds, or more than `MAX_THRESHOLDS`.
    """
    stated = card.scores.get("score_exceeded_by_fraction", {})
    per_orbit = card.scores.get("crossings_per_orbit")
    try:
        crossing_hz = math.nan if per_orbit is None else float(per_orbit) * ORBIT_FREQUENCY_HZ
        found = sorted(
            ScoreThreshold(int(score), float(fraction), float(fraction) * crossing_hz)
            for fraction, score in dict(stated).items()
        )
    except (TypeError, ValueError, OverflowError):
        found = [ScoreThreshold(-1, math.nan, math.nan)]
    good = all(0 <= t.hw_score <= MAX_SCORE and 0 < t.fraction < 1 and t.rate_hz != math.inf for t in found)
    if not good or len(found) > MAX_THRESHOLDS:
        msg = (
            f"{card.name}: score_exceeded_by_fraction of the card is not up to {MAX_THRESHOLDS} scores by "
            "fraction; train the model again"
        )
        raise InputError(msg)
    return tuple(found)


class AnomalyScorer:
    """A model that scores crossings; a `l1scout.core.flow.Stage` that adds the stream ``anomaly``.

    Every crossing with an object in one of the model's places has a score; others have none.

    Parameters
    ----------
    model : Model
    engine : Engine
        Of the model.

    Attributes
    ----------
    model
        As given.
    crossings : int
        Scored so far.
    """

    def __init__(self, model: Model, engine: Engine) -> None:
        if model.card.anomaly is None:
            msg = f"{model.name}: corrects muons, and gives no anomaly score"
            raise InputError(msg)
        self.model, self._engine = model, engine
        self.inputs: AnomalyInputs = model.card.anomaly
        self.crossings = 0

    @classmethod
    def load(cls, directory: str | Path, *, engine: str | None = None, threads: int = 1) -> "AnomalyScorer":
        """Load a model directory and make an engine of it.

        Raises
        ------
        InputError
            If it is not an anomaly model, or is damaged; or the engine cannot be made.
        """
        model = load_model(directory, anomaly=True)
        return cls(model, create_engine(engine or default_engine(model), model, threads=threads))

    @classmethod
    def load_fast(cls, directory: str | Path) -> "AnomalyScorer":
        """Load a model directory with the fastest engine that takes no preparation, for scores as data come.

        Raises
        ------
        InputError
            As `load`.
        """
        model = load_model(directory, anomaly=True)
        name = FAST_ENGINE if FAST_ENGINE in available_engines(model) else default_engine(model)
        return cls(model, create_engine(name, model))

    @property
    def model_id(self) -> int:
        """What names the model in a word: the first 12 bits of its hash."""
        return int(self.model.sha256[:3], 16)

    def scores(self, hardware: NDArray[np.int16]) -> NDArray[np.int32]:
        """Return the hardware score of crossings laid out by `AnomalyInputs`, shape (inputs, crossings)."""
        return hardware_score(self._engine.correct(hardware))

    def __call__(self, data: OrbitData) -> OrbitBatch:
        """Score the crossings of data.

        Returns
        -------
        OrbitBatch
            Of the stream ``anomaly``: a score per crossing that has an object in a place of the model.

        Raises
        ------
        InputError
            If the data lack a stream or a column that the model takes.
        """
        crossings, hardware = self.inputs(data)
        n = len(crossings)
        columns: dict[str, NDArray[Any]] = {
            "hwScore": self.scores(hardware),
            "level": np.full(n, LEVELS.index(self.inputs.level), np.int32),
            "modelId": np.full(n, self.model_id, np.int32),
        }
        self.crossings += n
        return replace(crossings, offsets=np.arange(n + 1), columns=columns)

    def step(self, item: OrbitData) -> Iterator[OrbitData]:
        """Add the scores of some orbits to those in the data.

        Raises
        ------
        InputError
            As for a call; or if the data have scores of this model: each crossing would count twice.
        """
        if STREAM in item.streams and np.any(item.streams[STREAM]["modelId"] == self.model_id):
            msg = (
                f"{item.source}: has scores of model {self.model_id} ({self.model.name}) already; give the "
                "data without them, and name each model once"
            )
            raise InputError(msg)
        made = self(item)
        if STREAM in item.streams:
            made = _together(item.streams[STREAM], made)
        yield replace(item, streams={**item.streams, STREAM: made})

    def finish(self) -> Iterator[OrbitData]:
        """Return nothing: nothing is held back."""
        return iter(())


def _together(before: OrbitBatch, more: OrbitBatch) -> OrbitBatch:
    """Return the scores of two batches in one, crossing by crossing."""
    if before.n_orbits != more.n_orbits:
        msg = "the anomaly scores in the data are of other orbits than those of this model: leave them out"
        raise InputError(msg)
    rows = joint_rows([before, more])
    parts = [on_rows(batch, rows) for batch in (before, more)]
    row = np.concatenate([part.row for part in parts])
    order = np.argsort(row, kind="stable")
    columns = {n: np.concatenate([part[n] for part in parts])[order] for n in more.columns}
    return replace(parts[1], offsets=np.searchsorted(row[order], np.arange(len(rows) + 1)), columns=columns)
