"""What a study found: means and spreads over folds and seeds, beside the published rows and the limit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from l1scout import __version__
from l1scout.dataset.paper import SELECTION
from l1scout.dataset.split import fraction
from l1scout.evaluate.limit import Limit, limit
from l1scout.evaluate.metrics import KINDS, Scores
from l1scout.evaluate.published import PUBLISHED, SOURCE
from l1scout.model.quantities import VARIABLES
from l1scout.statistics import Measured
from l1scout.training.recipes import Recipe
from l1scout.training.study import Study, handles


@dataclass(frozen=True)
class RecipeResults:
    """A recipe's results.

    Parameters
    ----------
    recipe : Recipe
    scores : Scores
        Means over all runs; the uncertainty is the spread (standard deviation) over folds, which holds
        that of the folds' muons and that of the training.
    by_seed : mapping of str to mapping
        By kind and variable: spread over seeds in the same fold; NaN for one seed.
    objective : Measured
        Mean of the three RMS ratios, and its spread over folds.
    without_floor : Scores
        As `scores`, without the muons of hwPt 6.
    """

    recipe: Recipe
    scores: Scores
    by_seed: Mapping[str, Mapping[str, float]]
    objective: Measured
    without_floor: Scores


@dataclass(frozen=True)
class Summary:
    """Results of a study: entries with the best objective first, except that named ones keep their order.

    `limit` was estimated with the first fold as test muons.
    """

    study: Study
    search: str
    raw: Scores
    raw_without_floor: Scores
    entries: Sequence[RecipeResults]
    limit: Limit | None

    def as_dict(self) -> dict[str, Any]:
        """For JSON; nothing in it depends on when or how fast it was made."""
        plan = self.study.plan
        return {
            "version": __version__,
            "data": {"file": self.study.data.name, "sha256": self.study.data.sha256, **self.study.data.about},
            "muons": len(self.study.data),
            "selection": SELECTION,
            "search": self.search,
            "folds": plan.folds,
            "seeds": plan.seeds,
            "uncertainty": "spread over folds",
            "raw": self.raw.as_dict(),
            "raw_without_hwpt_6": self.raw_without_floor.as_dict(),
            "models": {
                e.recipe.name: {
                    **handles(e.recipe),
                    "epochs": e.recipe.epochs,
                    "batch": e.recipe.batch,
                    "scores": e.scores.as_dict(),
                    "scores_without_hwpt_6": e.without_floor.as_dict(),
                    "spread_over_seeds": {
                        k: {v: x if x == x else None for v, x in row.items()} for k, row in e.by_seed.items()
                    },
                    "objective": e.objective.as_dict(),
                }
                for e in self.entries
            },
            "limit": None
            if self.limit is None
            else {
                "inputs": list(self.limit.inputs),
                "reached": self.limit.reached.as_dict(),
                "optimistic": self.limit.optimistic.as_dict(),
            },
            "published": {"source": SOURCE, "scores": {n: s.as_dict() for n, s in PUBLISHED.items()}},
        }


def summarise(study: Study, search: str, recipes: Sequence[Recipe], *, with_limit: bool = True) -> Summary:
    """Gather the runs of recipes."""
    entries = [_results_of(study, r) for r in recipes]
    if search != "models":
        entries.sort(key=lambda e: (e.objective.value, e.recipe.name))
    runs = [study.result(r) for r in study.plan.runs(recipes[:1])]
    raw, above = (
        _spread(np.array([_flat(r[n]) for r in runs]), study.plan.seeds)[0]
        for n in ("raw", "raw_without_hwpt_6")
    )
    return Summary(study, search, raw, above, entries, _limit(study) if with_limit else None)


def _limit(study: Study) -> Limit:
    folds = np.floor(study.plan.folds * fraction(study.data.identity)).astype(np.int64)
    learn = study.data.select(folds > 1)
    return limit(learn, study.data.select(folds == 1), study.data.select(folds == 0))


def _flat(numbers: Mapping[str, Mapping[str, float]]) -> list[float]:
    return [numbers[k][v] for k in KINDS for v in VARIABLES]


def _results_of(study: Study, recipe: Recipe) -> RecipeResults:
    results = [study.result(r) for r in study.plan.runs([recipe])]
    scores, by_seed = _spread(np.array([_flat(r["model"]) for r in results]), study.plan.seeds)
    above, _ = _spread(np.array([_flat(r["model_without_hwpt_6"]) for r in results]), study.plan.seeds)
    objective = np.array([r["objective"] for r in results]).reshape(study.plan.seeds, -1).mean(axis=0)
    ours = study.plan.runs([recipe])[0].recipe
    spread = Measured(float(objective.mean()), float(objective.std(ddof=1)))
    return RecipeResults(ours, scores, by_seed, spread, above)


def _spread(values: np.ndarray, seeds: int) -> tuple[Scores, dict[str, dict[str, float]]]:
    """Mean and spreads of values of shape (seeds x folds, 9)."""
    table = values.reshape(seeds, -1, values.shape[1])
    mean, over_folds = table.mean(axis=(0, 1)), table.mean(axis=0).std(axis=0, ddof=1)
    nan = np.full(values.shape[1], np.nan)
    over_seeds = np.sqrt(table.var(axis=0, ddof=1).mean(axis=0)) if seeds > 1 else nan
    names = [(k, v) for k in KINDS for v in VARIABLES]
    out = {k: dict.fromkeys(VARIABLES, 0.0) for k in KINDS}
    for (k, v), x in zip(names, over_seeds.tolist(), strict=True):
        out[k][v] = x
    rows = [
        {v: Measured(float(mean[i]), float(over_folds[i])) for i, (kk, v) in enumerate(names) if kk == k}
        for k in KINDS
    ]
    return Scores(*rows), out
