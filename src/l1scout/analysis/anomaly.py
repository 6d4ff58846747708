"""Measure rates of anomaly scores at thresholds, their spectrum, and list the crossings of highest score.

Scores come with the data (`l1scout anomaly score`), or are made of them with a model. A high score says that
a crossing is unlike what the model was trained on, as rare noise is, too: it is no evidence of new physics.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from l1scout.analysis import ANALYSES, TIME, Analysis, Doc, Needs, Number, Option, Part, Result

if TYPE_CHECKING:
    from l1scout.core.orbit_data import OrbitData


@dataclass(frozen=True, kw_only=True)
class AnomalyOptions:
    """Options of the analysis of anomaly scores."""

    model: Annotated[
        Path | None,
        Option("Anomaly model to score the data with; without it, they have scores.", flag="--model,-m"),
    ] = None
    engine: Annotated[str | None, Option("Inference engine for --model, as of `anomaly score`.")] = None
    threshold: Annotated[
        tuple[int, ...], Option("hwScore from which on to count; by default powers of two.", low=0)
    ] = ()
    top: Annotated[int, Option("Crossings of highest score to list.", low=0, high=10_000)] = 20


@dataclass(kw_only=True)
class ScoredRow(Part):
    """A model whose scores were found."""

    level: Annotated[str, Doc("muon or all")]
    model_id: Annotated[int, Doc("first 12 bits of the hash of its network")]
    crossings: Annotated[int, Doc("with a score")]
    highest_hw_score: int


@dataclass(kw_only=True)
class ThresholdRow(Part):
    """A threshold on the scores of a model; the interval is of 68 %."""

    level: str
    model_id: int
    hw_score: Annotated[int, Doc("in sixteenths")]
    crossings: Annotated[int, Doc("with this score or a higher one")]
    rate_hz: Number
    rate_low_hz: Number
    rate_high_hz: Number


@dataclass(kw_only=True)
class ScoreBinRow(Part):
    """A bin of the spectrum of the scores of a model."""

    level: str
    model_id: int
    low: Annotated[int, Doc("smallest hwScore")]
    high: Annotated[int, Doc("largest hwScore")]
    crossings: int


@dataclass(kw_only=True)
class TopRow(Part):
    """A crossing of high score."""

    level: str
    model_id: int
    run: int
    lumisection: int
    orbit: int
    bx: int
    hw_score: int
    objects: Annotated[str, Doc("the hardest of each stream")]


@dataclass(kw_only=True)
class AnomalyResult(Part):
    """Anomaly scores of crossings."""

    orbits: Annotated[int, Doc("in which scores were made")]
    live_s: Number
    models: list[ScoredRow]
    thresholds: list[ThresholdRow]
    spectrum: list[ScoreBinRow]
    top: list[TopRow]


@ANALYSES.register("anomaly")
class AnomalyAnalysis(Analysis[AnomalyOptions]):
    """Anomaly scores."""

    Options = AnomalyOptions
    example_data = "scored"
    needs = Needs("none", streams=(), columns=(), shared=TIME)
    schema = AnomalyResult

    def start(self) -> Any:
        """Return an empty state (InputError if the model cannot be used)."""
        from l1scout.analysis.common.anomaly_counts import AnomalyCounts
        from l1scout.analysis.common.live_time import LiveTime

        _ = self._scorer
        return AnomalyCounts(self.options.top, LiveTime(self.setup.section_orbits))

    @cached_property
    def _scorer(self) -> Any:
        from l1scout.deploy.anomaly_score import AnomalyScorer

        if self.options.model is None:
            return None
        return AnomalyScorer.load(self.options.model, engine=self.options.engine)

    def __getstate__(self) -> dict[str, Any]:
        """Return what is kept of a piece that is sent elsewhere: the model is read there again."""
        return {n: v for n, v in vars(self).items() if n != "_scorer"}

    def add(self, data: "OrbitData") -> None:
        """Take in data that follow those before (InputError if they have no scores and no model is given)."""
        from l1scout.deploy.anomaly_score import STREAM
        from l1scout.errors import InputError

        self.needs.check(data)
        if self._scorer is None and STREAM not in data.streams:
            msg = f"{data.source}: has no anomaly scores; give --model, or `l1scout anomaly score` adds them"
            raise InputError(msg)
        scores = data.streams[STREAM] if self._scorer is None else self._scorer(data)
        self.state.add(scores, self.setup.prescale, objects=data)

    def result(self) -> Result:
        """Return rates at thresholds, spectrum and the crossings of highest score, with a figure."""
        state = self.state
        found: dict[str, Any] = {
            "orbits": state.live.orbits,
            "live_s": state.live.seconds,
            "models": state.models(),
            "thresholds": state.thresholds(self.options.threshold),
            "spectrum": state.spectrum(),
            "top": state.highest(),
        }
        tables = {name: found[name] for name in ("models", "thresholds", "spectrum", "top")}
        return Result(found, tables, partial(_draw, found, state.simulated), rows_shown=20)

    def model(self) -> Mapping[str, Any] | None:
        """Name the network, with the checksum of its files."""
        if self._scorer is None:
            return None
        card = self._scorer.model.card
        return {"name": card.name, "sha256": card.sha256, "trained_on": card.origin}


def _draw(found: dict[str, Any], simulated: bool | None) -> Any:
    from l1scout.analysis.figures import anomaly_figure

    return anomaly_figure.anomaly(found, simulated)
