"""Models against the raw trigger on muons that none of them has seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from l1scout import __version__
from l1scout.deploy.recalibrate import Recalibrator
from l1scout.errors import InputError
from l1scout.training import plausibility
from l1scout.training.coverage import Coverage, coverage
from l1scout.training.dataset import Dataset
from l1scout.training.metrics import Residuals, Scores, ratios, residuals, scores
from l1scout.training.profiles import AXES, Profile, profile
from l1scout.training.published import PUBLISHED, SOURCE, published_ratios
from l1scout.training.targets import raw_residuals


@dataclass(frozen=True)
class Evaluation:
    """Results on a data set.

    Parameters
    ----------
    data : Dataset
        The muons that were compared.
    part : str
        Which those are: "test part" or "all muons".
    raw : Residuals
        Of the trigger's own values.
    models : mapping of str to Residuals
    cards : mapping of str to mapping
        The models' cards, as far as they are worth repeating.
    left_as_is : mapping of str to dict
        By model: muons that it did not recalibrate, by reason. They count with their raw values.
    profiles : sequence of Profile
    coverage : mapping of str to Coverage
        Of the models that predict uncertainties.
    """

    data: Dataset
    part: str
    raw: Residuals
    models: Mapping[str, Residuals]
    cards: Mapping[str, Mapping[str, Any]]
    left_as_is: Mapping[str, Mapping[str, int]]
    profiles: Sequence[Profile]
    coverage: Mapping[str, Coverage] = field(default_factory=dict)

    @property
    def raw_scores(self) -> Scores:
        """Nine numbers of the raw trigger."""
        return scores(self.raw)

    @property
    def model_scores(self) -> dict[str, Scores]:
        """Nine numbers of every model."""
        return {name: scores(r) for name, r in self.models.items()}

    @property
    def ratios(self) -> dict[str, Scores]:
        """Nine ratios model / raw trigger of every model."""
        return {name: ratios(r, self.raw) for name, r in self.models.items()}

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "version": __version__,
            "data": {"file": self.data.name, "sha256": self.data.sha256, **self.data.about},
            "part": self.part,
            "muons": len(self.data),
            "rms": "about zero, overflows counted; pT relative to offline",
            "raw": self.raw_scores.as_dict(),
            "models": {
                name: {
                    "scores": row.as_dict(),
                    "ratio_to_raw": self.ratios[name].as_dict(),
                    "left_as_is": dict(self.left_as_is[name]),
                    "uncertainty": self.coverage[name].as_dict() if name in self.coverage else None,
                    **self.cards[name],
                }
                for name, row in self.model_scores.items()
            },
            "published": {
                "source": SOURCE,
                "scores": {name: row.as_dict() for name, row in PUBLISHED.items()},
                "ratio_to_gmt": {n: published_ratios(n).as_dict() for n in PUBLISHED if n != "GMT"},
            },
            "profiles": [p.as_dict() for p in self.profiles],
        }


def evaluate(data: Dataset, models: Mapping[str, Recalibrator], *, every: bool = False) -> Evaluation:
    """Compare models with the raw trigger on the test part of a data set.

    A muon's part follows from the muon itself, so the test part holds none that a model of this
    package was trained on, even if that was with another file.

    Parameters
    ----------
    data : Dataset
        All parts.
    models : mapping of str to Recalibrator
        By the name that they have in results.
    every : bool
        Compare on all parts: for muons of another kind than the models were trained with.

    Raises
    ------
    InputError
        If the test part is empty or outside a model's domain, or all muons are asked for and a model was
        trained on them.
    """
    for name, model in models.items():
        if every and model.card.data.get("sha256") == data.sha256:
            msg = f"{data.name}: model {name} was trained on these muons; leave out --all"
            raise InputError(msg)
    test = data if every else data.part("test")
    for name, model in models.items():
        plausibility.refuse_outside(test.columns, model.card.domain, data.name, name)
    raw = raw_residuals(test)
    answers = {name: model(test.columns) for name, model in models.items()}
    after = {name: residuals(a.pt, a.eta, a.phi, test.columns) for name, a in answers.items()}
    cards = {
        name: {"recipe": m.card.recipe, "training": m.card.training, "training_data": m.card.data}
        for name, m in models.items()
    }
    left = {name: {why: n for why, n in a.reasons.items() if n} for name, a in answers.items()}
    profiles = [profile(test, axis, raw, after) for axis in AXES]
    pulls = {
        name: coverage(test, m.card.resolution, after[name], answers[name].recalibrated)
        for name, m in models.items()
        if m.card.resolution
    }
    covered = {name: c for name, c in pulls.items() if c}
    part = "all muons" if every else "test part"
    return Evaluation(test, part, raw, after, cards, left, profiles, covered)


def name_models(models: Sequence[Recalibrator]) -> dict[str, Recalibrator]:
    """Names for results: that of the recipe, numbered where it comes up again ("B", "B 2")."""
    named: dict[str, Recalibrator] = {}
    for model in models:
        name, k = model.card.name, 1
        while name in named:
            k += 1
            name = f"{model.card.name} {k}"
        named[name] = model
    return named
