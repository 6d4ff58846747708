"""A firmware model beside the float model that it came from, on the same muons."""

from dataclasses import dataclass
from typing import Any

from l1scout.dataset.matched import Dataset
from l1scout.deploy.engine import create_engine
from l1scout.deploy.recalibrate import Recalibrator
from l1scout.evaluate.metrics import Scores, ratios, residuals, scores
from l1scout.model.directory import Model

WITHIN = 0.01
"""What is asked: every ratio within so much of 1."""


@dataclass(frozen=True)
class Against:
    """Nine metrics of both, and the nine ratios firmware / float with the uncertainty of paired muons."""

    muons: int
    float_model: Scores
    firmware: Scores
    ratio: Scores

    @property
    def worst(self) -> float:
        """Largest distance of a ratio from 1."""
        return max(abs(number.value - 1) for _, _, number in self.ratio)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        names = ("float_model", "firmware", "ratio")
        return {"muons": self.muons, "worst": self.worst, **{n: getattr(self, n).as_dict() for n in names}}


def against(float_model: Model, firmware: Model, data: Dataset) -> Against:
    """Compare two models on all muons of a data set; those that a model leaves as they are count, too."""
    found = []
    for model, engine in ((float_model, "fused"), (firmware, "firmware")):
        answer = Recalibrator(model.card, create_engine(engine, model))(data.columns)
        found.append(residuals(answer.pt, answer.eta, answer.phi, data.columns))
    own, new = found
    return Against(len(data), scores(own), scores(new), ratios(new, own))
