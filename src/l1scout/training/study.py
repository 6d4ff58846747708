"""The reference paper's study: networks of many recipes, cross-validated.

A run is one training: recipe, fold and seed. Runs are kept in Optuna's journal, one trial each, so that a
study that was stopped goes on where it was, and another search uses what an earlier one found. Tables
follow from the runs alone: the same command and seed give the same bytes, however often it was stopped.
"""

import dataclasses
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from l1scout.core.flow import Progress
from l1scout.dataset.matched import Dataset, read_dataset
from l1scout.dataset.paper import SELECTION, paper_part
from l1scout.dataset.split import fraction
from l1scout.errors import InputError
from l1scout.evaluate.metrics import KINDS, Scores
from l1scout.evaluate.slices import FLOOR
from l1scout.model.quantities import VARIABLES
from l1scout.training import workers
from l1scout.training.recipes import PAPER, RECIPES, Recipe

if TYPE_CHECKING:
    from l1scout.training.fit import Trained

HANDLES: dict[str, tuple[Any, ...]] = {
    "loss": ("mse", "msle", "logcosh"),
    "optimizer": ("adam", "sgd", "adadelta", "adagrad"),
    "regularization": ("none", *(f"{kind} {w}" for kind in ("L1", "L2") for w in ("1e-5", "1e-7", "1e-9"))),
    "hidden": ("relu", "softmax"),
    "output": ("linear", "relu"),
}
"""What the reference paper varied."""
_LOSSES = tuple(dict.fromkeys((*HANDLES["loss"], *(r.loss for r in RECIPES.values()))))
RATES = {"adam": 0.001, "sgd": 0.01, "adadelta": 1.0, "adagrad": 0.01}
"""Learning rates of Keras at the paper's time; it does not give its own."""
_FIRST = {"loss": "mse", "optimizer": "adam", "regularization": "none", "hidden": "relu", "output": "linear"}
"""Where the incremental search starts."""

_ASTRAY = 1e3

Numbers = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Run:
    """One training."""

    recipe: Recipe
    fold: int
    folds: int
    seed: int

    @property
    def key(self) -> str:
        """The run as text, without the recipe's name: what makes two runs the same."""
        recipe = {**self.recipe.as_dict(), "name": ""}
        return json.dumps([recipe, self.fold, self.folds, self.seed], sort_keys=True)


Group = tuple[Run, ...]
"""Runs that are trained together: all folds of a recipe and seed."""


@dataclass(frozen=True)
class Plan:
    """How every recipe is judged: cross validation with a number of folds and of seeds."""

    folds: int = 5
    seeds: int = 1
    epochs: int | None = None

    def runs(self, recipes: Sequence[Recipe]) -> list[Run]:
        """Return the runs of recipes."""
        chosen = [dataclasses.replace(r, epochs=self.epochs or r.epochs) for r in recipes]
        return [
            Run(r, fold, self.folds, seed)
            for seed, fold, r in itertools.product(range(1, self.seeds + 1), range(self.folds), chosen)
        ]

    def groups(self, recipes: Sequence[Recipe]) -> list[Group]:
        """Return the runs of recipes, those of one recipe and seed together; each once."""
        groups: dict[str, list[Run]] = {}
        for run in self.runs(recipes):
            groups.setdefault(dataclasses.replace(run, fold=0).key, []).append(run)
        return [tuple({r.key: r for r in g}.values()) for g in groups.values()]


def from_handles(handles: dict[str, Any]) -> Recipe:
    """Make a recipe of handles; it has the paper's name for it, if it has one."""
    kind, _, weight = handles["regularization"].partition(" ")
    optimizer = handles["optimizer"]
    made = Recipe(
        ", ".join(str(handles[h]) for h in HANDLES),
        handles["loss"],
        optimizer,
        RATES[optimizer],
        l2=float(weight) if kind == "L2" else 0.0,
        hidden=handles["hidden"],
        l1=float(weight) if kind == "L1" else 0.0,
        output=handles["output"],
    )
    known = [n for n, r in PAPER.items() if r == dataclasses.replace(made, name=n)]
    return dataclasses.replace(made, name=known[0]) if known else made


def handles(recipe: Recipe) -> dict[str, Any]:
    """Return what the paper varied, of a recipe."""
    regularization = f"L1 {recipe.l1:.0e}" if recipe.l1 else f"L2 {recipe.l2:.0e}" if recipe.l2 else "none"
    return {
        "loss": recipe.loss,
        "optimizer": recipe.optimizer,
        "regularization": regularization.replace("e-0", "e-"),
        "hidden": recipe.hidden,
        "output": recipe.output,
    }


def grid() -> list[Recipe]:
    """Return all combinations of the handles."""
    return [from_handles(dict(zip(HANDLES, c, strict=True))) for c in itertools.product(*HANDLES.values())]


class Study:
    """Runs, done and kept, on the paper's part of a data set.

    Parameters
    ----------
    data : str or Path
        Data set.
    journal : Path
        Optuna's journal; it is made if there is none.
    plan : Plan
    processes : int
        That train here; each has its own processor.
    scheduler : str, optional
        Address of a Dask scheduler, whose workers train instead.
    progress : callable
        Told runs done and runs in all, of those asked for last.

    Raises
    ------
    InputError
        If the data set or the journal cannot be used.
    """

    def __init__(
        self,
        data: str | Path,
        journal: Path,
        plan: Plan,
        *,
        processes: int = 1,
        scheduler: str | None = None,
        progress: Progress = lambda _done, _of: None,
    ) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.plan, self.progress = plan, progress
        self.processes, self.scheduler = processes, scheduler
        self.data = _paper_part(read_dataset(data))
        try:
            journal.parent.mkdir(parents=True, exist_ok=True)
            _cut_torn_line(journal)
            backend = optuna.storages.journal.JournalFileBackend(str(journal))
            self._trials = optuna.create_study(
                storage=optuna.storages.JournalStorage(backend),
                study_name=f"l1scout {self.data.sha256}",
                load_if_exists=True,
            )
        except Exception as error:  # a damaged journal raises anything
            msg = f"{journal}: not a usable journal of Optuna ({str(error).splitlines()[0]}); name another"
            raise InputError(msg) from error
        attributes = (t.user_attrs for t in self._trials.get_trials(deepcopy=False))
        self._done = {
            a["run"]: a["result"]
            for a in attributes
            if "run" in a and "model_without_hwpt_6" in a.get("result", {})
        }

    def result(self, run: Run) -> dict[str, Any]:
        """Return what a run gave: `train_runs`."""
        return dict(self._done[run.key])

    def run(self, recipes: Sequence[Recipe]) -> None:
        """Do the runs of recipes that have not been done.

        The folds of a recipe and seed are always trained together, so that results do not depend on what was
        done before: if any is missing, all are trained again, and the missing ones are kept.
        """
        groups = self.plan.groups(recipes)
        total = len(groups) * self.plan.folds
        wanted = [g for g in groups if any(r.key not in self._done for r in g)]
        done = total - sum(r.key not in self._done for g in wanted for r in g)
        self.progress(done, total)
        for group, results in self._results(wanted):
            for run, result in zip(group, results, strict=True):
                if run.key not in self._done:
                    self._keep(run, result)
                    done += 1
            self.progress(done, total)

    def _results(self, groups: Sequence[Group]) -> Iterator[tuple[Group, list[dict[str, Any]]]]:
        if self.scheduler and groups:
            return workers.dask(train_runs, self.data, groups, self.scheduler)
        number = min(self.processes, len(groups))
        if number < 2:
            return workers.here(train_runs, self.data, groups)
        return workers.processes(train_runs, self.data, groups, number)

    def objective(self, recipe: Recipe) -> float:
        """Return the mean of the three RMS ratios to the raw trigger, over folds and seeds."""
        return float(np.mean([self.result(r)["objective"] for r in self.plan.runs([recipe])]))

    def incremental(self) -> list[Recipe]:
        """Vary one handle after the other, as the paper did: the best value of each is kept."""
        now, seen = dict(_FIRST), list[Recipe]()
        for handle, values in HANDLES.items():
            candidates = [from_handles({**now, handle: value}) for value in values]
            self.run(candidates)
            now = handles(min(candidates, key=self.objective))
            seen += [c for c in candidates if c not in seen]
        return seen

    def search(self, trials: int, seed: int = 1) -> list[Recipe]:
        """Let Optuna's TPE choose; the same seed chooses the same, so it can be stopped and go on."""
        import optuna

        chooser = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
        seen: list[Recipe] = []
        for _ in range(trials):
            trial = chooser.ask()
            chosen = from_handles({h: trial.suggest_categorical(h, v) for h, v in HANDLES.items()})
            self.run([chosen])
            chooser.tell(trial, self.objective(chosen))
            seen += [chosen] if chosen not in seen else []
        return seen

    def _keep(self, run: Run, result: dict[str, Any]) -> None:
        from optuna.distributions import CategoricalDistribution, IntDistribution
        from optuna.trial import create_trial

        values = {**HANDLES, "loss": _LOSSES}
        trial = create_trial(
            params={**handles(run.recipe), "fold": run.fold, "seed": run.seed},
            distributions={
                **{h: CategoricalDistribution(v) for h, v in values.items()},
                **{n: IntDistribution(0, 1 << 16) for n in ("fold", "seed")},
            },
            value=result["objective"],
            user_attrs={"run": run.key, "result": result},
        )
        self._trials.add_trial(trial)
        self._done[run.key] = result


def _paper_part(data: Dataset) -> Dataset:
    chosen = data.select(paper_part(data.columns))
    if not len(chosen):
        msg = f"{data.name}: holds no muon of {SELECTION}, which a study is about"
        raise InputError(msg)
    return chosen


def _cut_torn_line(journal: Path) -> None:
    """Take off a last line that was never finished, or Optuna would append to it."""
    if journal.exists():
        with journal.open("r+b") as file:
            content = file.read()
            if content.startswith(b"{"):
                file.truncate(content.rfind(b"\n") + 1)


def train_runs(data: Dataset, runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Train networks of one recipe together, on all folds but two each: one validates, the run's fold tests.

    Returns
    -------
    list of dict
        Of each run ``raw`` and ``model``: the nine metrics on the test fold; ``raw_without_hwpt_6`` and
        ``model_without_hwpt_6``: the same without these muons; ``objective``: mean of the three RMS ratios.
    """
    from l1scout.training.fit import Parts, fit_together

    folds = runs[0].folds
    at = np.floor(folds * fraction(data.identity)).astype(np.int64)
    parts = []
    for run in runs:
        validation = (run.fold + 1) % folds
        learn = data.select((at != run.fold) & (at != validation))
        parts.append(Parts(learn, data.select(at == validation), 1000 * run.seed + run.fold))
    trained = fit_together(parts, runs[0].recipe)
    return [_result(t, data.select(at == run.fold)) for t, run in zip(trained, runs, strict=True)]


def _result(trained: "Trained", test: Dataset) -> dict[str, Any]:
    from l1scout.training.fit import score

    raw, model = score(trained, test)
    above = test.select(test["hwPt"] > FLOOR)
    raw_above, model_above = score(trained, above) if len(above) else (None, None)
    objective = float(np.mean([model.rms[v].value / raw.rms[v].value for v in VARIABLES]))
    if not np.isfinite(objective):  # the training went astray: the worst of all, which Optuna can keep
        objective = _ASTRAY
    return {
        "raw": _plain(raw),
        "model": _plain(model),
        "raw_without_hwpt_6": _plain(raw_above),
        "model_without_hwpt_6": _plain(model_above),
        "objective": objective,
    }


def _plain(scores: Scores | None) -> Numbers:
    if scores is None:
        return {k: dict.fromkeys(VARIABLES, float("nan")) for k in KINDS}
    return {k: {v: getattr(scores, k)[v].value for v in VARIABLES} for k in KINDS}
