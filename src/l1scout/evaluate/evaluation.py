"""Models against the raw trigger on muons that none of them has seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout import __version__
from l1scout.dataset import plausibility
from l1scout.dataset.matched import Dataset
from l1scout.dataset.paper import SELECTION, paper_part
from l1scout.deploy.recalibrate import Recalibrator
from l1scout.errors import InputError
from l1scout.evaluate.error_coverage import ErrorCoverage, coverage
from l1scout.evaluate.metrics import Scores, ratios, residuals, scores
from l1scout.evaluate.profiles import AXES, HARDWARE_AXES, Profile, profile
from l1scout.evaluate.published import PUBLISHED, SOURCE, published_ratios
from l1scout.evaluate.slices import FLOOR, Slice, outside, part_of, without_floor
from l1scout.evaluate.targets import raw_residuals
from l1scout.evaluate.turn_on import TurnOn, turn_on
from l1scout.formats.streams.muon import PT
from l1scout.io.conditions import differences, of_metadata
from l1scout.model.quantities import Residuals


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
    coverage : mapping of str to ErrorCoverage
        Of the models that predict uncertainties.
    coverage_without_floor : mapping of str to ErrorCoverage
        The same without the muons of hwPt 6.
    turn_on : sequence of TurnOn
    also : mapping of str to Evaluation
        The same models on other data sets, by the names that those were given.
    warnings : sequence of str
        In what the muons differ from those that the models were trained on.
    """

    data: Dataset
    part: str
    raw: Residuals
    models: Mapping[str, Residuals]
    cards: Mapping[str, Mapping[str, Any]]
    left_as_is: Mapping[str, Mapping[str, int]]
    profiles: Sequence[Profile]
    coverage: Mapping[str, ErrorCoverage] = field(default_factory=dict)
    coverage_without_floor: Mapping[str, ErrorCoverage] = field(default_factory=dict)
    turn_on: Sequence[TurnOn] = ()
    also: Mapping[str, "Evaluation"] = field(default_factory=dict)
    warnings: Sequence[str] = ()

    @cached_property
    def compared(self) -> NDArray[np.bool_]:
        """Which muons the nine metrics are of: the paper's part of the data; all if it has none."""
        part = paper_part(self.data.columns)
        return part if np.count_nonzero(part) > 1 else np.ones_like(part)

    @property
    def selection(self) -> str:
        """Say which muons the nine metrics are of."""
        n, total = int(np.count_nonzero(self.compared)), len(self.data)
        if not paper_part(self.data.columns).any():
            return f"all {total:,} muons, none of {SELECTION}"
        every = "all muons, " if n == total else ""
        return f"{every}{n:,} of {total:,} muons, {SELECTION}"

    @cached_property
    def _compared(self) -> tuple[Residuals, dict[str, Residuals]]:
        keep = self.compared
        of: dict[str, Residuals] = {
            name: {v: r[keep] for v, r in row.items()} for name, row in self.models.items()
        }
        return {v: r[keep] for v, r in self.raw.items()}, of

    @property
    def raw_scores(self) -> Scores:
        """The nine metrics of the raw trigger."""
        return scores(self._compared[0])

    @property
    def model_scores(self) -> dict[str, Scores]:
        """The nine metrics of every model."""
        return {name: scores(r) for name, r in self._compared[1].items()}

    @property
    def ratios(self) -> dict[str, Scores]:
        """The nine ratios model / raw trigger of every model."""
        raw, models = self._compared
        return {name: ratios(r, raw) for name, r in models.items()}

    @cached_property
    def without_floor(self) -> Slice:
        """Metrics of the same muons without those of hwPt 6."""
        return without_floor(self.data.select(self.compared), *self._compared)

    @cached_property
    def outside(self) -> list[Slice]:
        """Metrics of all muons if the paper's are a part, and of muons outside the bins of the profiles."""
        found = outside(self.data, self.raw, self.models)
        if self.compared.all():
            return found
        every = np.ones_like(self.compared)
        return [part_of("all muons of the data set", every, self.raw, self.models), *found]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "version": __version__,
            **self._results(),
            "published": {
                "source": SOURCE,
                "scores": {name: row.as_dict() for name, row in PUBLISHED.items()},
                "ratio_to_gmt": {n: published_ratios(n).as_dict() for n in PUBLISHED if n != "GMT"},
            },
            "profiles": [p.as_dict() for p in self.profiles],
            "turn_on": [t.as_dict() for t in self.turn_on],
            "also": {name: other._results() for name, other in self.also.items()},
        }

    def _results(self) -> dict[str, Any]:
        return {
            "data": {"file": self.data.name, "sha256": self.data.sha256, **self.data.about},
            "part": self.part,
            "muons": len(self.data),
            "warnings": list(self.warnings),
            "selection": self.selection,
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
            "without_hwpt_6": {
                **self.without_floor.as_dict(),
                "pull_width": {
                    name: {v: m.as_dict() for v, m in c.width.items()}
                    for name, c in self.coverage_without_floor.items()
                },
            },
            "outside_range": [s.as_dict() for s in self.outside],
        }


def evaluate(
    data: Dataset,
    models: Mapping[str, Recalibrator],
    *,
    every: bool = False,
    also: Mapping[str, Dataset] | None = None,
) -> Evaluation:
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
    also : mapping of str to Dataset
        Further data sets by name. All their muons are compared, but of one that a model was trained on the
        test part.

    Raises
    ------
    InputError
        If the test part is empty or outside a model's domain, or all muons are asked for and a model was
        trained on them.
    """
    for name, model in models.items():
        if every and _trained_on(model, data):
            msg = f"{data.name}: model {name} was trained on these muons; leave out --all"
            raise InputError(msg)
    others = {}
    for name, other in (also or {}).items():
        known = any(_trained_on(m, other) for m in models.values())
        others[name] = _compare(other.part("test") if known else other, models, whole=not known)
    found = _compare(data if every else data.part("test"), models, whole=every)
    return replace(found, also=others)


def _trained_on(model: Recalibrator, data: Dataset) -> bool:
    return bool(data.sha256) and model.card.data.get("sha256") == data.sha256


def _compare(test: Dataset, models: Mapping[str, Recalibrator], *, whole: bool) -> Evaluation:
    for name, model in models.items():
        card = model.card
        plausibility.refuse_outside(test.columns, card.domain, card.finders, test.name, name)
    raw = raw_residuals(test)
    answers = {name: model(test.columns) for name, model in models.items()}
    after = {name: residuals(a.pt, a.eta, a.phi, test.columns) for name, a in answers.items()}
    cards = {
        name: {
            "recipe": m.card.recipe,
            "training": m.card.training,
            "training_data": m.card.data,
            "domain": dict(m.card.domain),
            "finders": m.card.finders,
        }
        for name, m in models.items()
    }
    left = {name: {why: n for why, n in a.reasons.items() if n} for name, a in answers.items()}
    pts: dict[str, Any] = {"GMT": PT.to_physical(test["hwPt"]), **{name: a.pt for name, a in answers.items()}}
    conditions = of_metadata(test.about)
    warnings = [
        line
        for name, m in models.items()
        for line in differences(conditions, m.card.conditions, test.name, name)
    ]
    covered: dict[str, ErrorCoverage] = {}
    rest: dict[str, ErrorCoverage] = {}
    for name, m in models.items():
        for where, keep in ((covered, True), (rest, test["hwPt"] > FLOOR)):
            used = answers[name].recalibrated & keep
            found = coverage(test, m.card.resolution, after[name], used) if m.card.resolution else None
            if found:
                where[name] = found
    return Evaluation(
        test,
        "all muons" if whole else "test part",
        raw,
        after,
        cards,
        left,
        [profile(test, axis, raw, after) for axis in (*AXES, *HARDWARE_AXES)],
        covered,
        rest,
        turn_on(test["recoPt"], pts),
        warnings=warnings,
    )


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
