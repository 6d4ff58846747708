"""How far a network's numbers carry: the same models on several samples, side by side."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.evaluate.evaluation import Evaluation
from l1scout.evaluate.metrics import KINDS, Scores
from l1scout.model.quantities import VARIABLES, Residuals
from l1scout.statistics import Measured, rms_ratio

RECORD = Path(__file__).with_name("carried.json")
"""The published networks on other samples, as ``validation/carry_over.py --record`` measured them."""
_TRIALS = 4000
_MAX_MUONS = 2000
"""Of a sample for which the combined gain is computed: larger ones need no test."""


@dataclass(frozen=True)
class CombinedGain:
    """A model against the raw trigger in phi, eta and pT at once.

    Parameters
    ----------
    ratio : Measured
        Geometric mean of the three RMS ratios model / raw; below 1 is better. Its uncertainty is the spread
        over bootstrap samples of the muons, each of which keeps all its residuals.
    p_value : float
        Probability of a ratio at most as large if model and trigger were equally good: its share of trials in
        which for each muon by itself, with even odds, the two are exchanged.
    """

    ratio: Measured
    p_value: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"ratio": self.ratio.as_dict(), "p_value": self.p_value}


def combined_gain(model: Residuals, raw: Residuals, seed: int = 1) -> CombinedGain:
    """Compare a model with the raw trigger in all variables at once, for samples of few muons."""
    before = np.stack([raw[v] ** 2 for v in VARIABLES], axis=1)  # (muons, variables)
    after = np.stack([model[v] ** 2 for v in VARIABLES], axis=1)
    random = np.random.default_rng(seed)
    n = len(before)
    observed = float(_log_gain(after.sum(0), before.sum(0)))
    times = random.multinomial(n, np.full(n, 1 / n), _TRIALS).astype(np.float64)
    resampled = _log_gain(times @ after, times @ before)
    moved = (random.random((_TRIALS, n)) < 0.5) @ (before - after)
    exchanged = _log_gain(after.sum(0) + moved, before.sum(0) - moved)
    ratio = float(np.exp(observed))
    spread = float(np.std(resampled[np.isfinite(resampled)]))
    as_small = int(np.count_nonzero(exchanged <= observed + 1e-12))
    return CombinedGain(Measured(ratio, ratio * spread), (as_small + 1) / (_TRIALS + 1))


def _log_gain(after: NDArray[np.float64], before: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over variables of the logarithm of RMS ratios, from sums of squares."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(0.5 * np.log(after / before).mean(-1))


@dataclass(frozen=True)
class Carried:
    """A model on one sample.

    Parameters
    ----------
    name : str
        Of the sample.
    muons, compared, without_floor, recalibrated : int
        Of the sample; of these the ones that ratios and pulls are of (the paper's selection), of which some
        have hwPt above 6; and the ones that the model recalibrates: others count with the trigger's values.
    ratios, ratios_without_floor : Scores
        Model / raw trigger.
    pulls, pulls_without_floor : mapping of str to Measured
        Pull widths of the predicted uncertainties by variable; empty if there are none.
    to_reference : mapping of str to Measured
        RMS of the model over that of a network that was trained on muons of this kind, by variable; empty
        without one.
    combined : CombinedGain, optional
        Of samples of real muons: of all of them.
    """

    name: str
    muons: int
    compared: int
    without_floor: int
    recalibrated: int
    ratios: Scores
    ratios_without_floor: Scores
    pulls: Mapping[str, Measured]
    pulls_without_floor: Mapping[str, Measured]
    to_reference: Mapping[str, Measured] = field(default_factory=dict)
    combined: CombinedGain | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "sample": self.name,
            "muons": self.muons,
            "muons_compared": self.compared,
            "muons_without_hwpt_6": self.without_floor,
            "muons_recalibrated": self.recalibrated,
            "ratio_to_raw": self.ratios.as_dict(),
            "ratio_to_raw_without_hwpt_6": self.ratios_without_floor.as_dict(),
            "pull_width": _as_dict(self.pulls),
            "pull_width_without_hwpt_6": _as_dict(self.pulls_without_floor),
            "rms_to_reference": _as_dict(self.to_reference),
            "combined": self.combined.as_dict() if self.combined else None,
        }


@dataclass(frozen=True)
class CarriedModel:
    """A model on several samples: its name, what it was trained on, for which hwPt it is, and results."""

    name: str
    training_muons: int | None
    trained_on: str
    hw_pt: tuple[int, int]
    samples: Sequence[Carried]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.name,
            "training_muons": self.training_muons,
            "trained_on": self.trained_on,
            "hw_pt": list(self.hw_pt),
            "samples": [s.as_dict() for s in self.samples],
        }


def carried(
    evaluation: Evaluation, model: str, name: str, references: Mapping[str, str] | None = None
) -> list[Carried]:
    """Return a model on the evaluation's own sample, under this name, and on its others.

    Parameters
    ----------
    evaluation : Evaluation
    model, name : str
    references : mapping of str to str, optional
        By sample: the model of the evaluation that was trained on muons of this kind.
    """
    samples = {name: evaluation, **evaluation.also}
    return [_of(n, found, model, (references or {}).get(n)) for n, found in samples.items()]


def _of(name: str, found: Evaluation, model: str, reference: str | None) -> Carried:
    rest = found.without_floor
    nothing = Scores(*(dict.fromkeys(VARIABLES, Measured(float("nan"))) for _ in KINDS))
    own, few = found.coverage.get(model), found.coverage_without_floor.get(model)
    after = found.models[model]
    real = found.data.simulated is not True and 1 < len(found.data) <= _MAX_MUONS
    return Carried(
        name,
        len(found.data),
        int(np.count_nonzero(found.compared)),
        rest.muons,
        len(found.data) - sum(found.left_as_is[model].values()),
        found.ratios[model],
        rest.ratios.get(model, nothing),
        own.width if own else {},
        few.width if few else {},
        {v: rms_ratio(after[v], found.models[reference][v]) for v in VARIABLES} if reference else {},
        combined_gain(after, found.raw) if real else None,
    )


def recorded(path: Path = RECORD) -> tuple[dict[str, Any], list[CarriedModel]]:
    """Read a record: what was measured how and when, and the models' numbers."""
    content = json.loads(path.read_text("utf-8"))
    models = [
        CarriedModel(
            m["name"],
            m["training_muons"],
            m["trained_on"],
            tuple(m["hw_pt"]),
            [_read(s) for s in m["samples"]],
        )
        for m in content["models"]
    ]
    return {k: v for k, v in content.items() if k != "models"}, models


def record(about: Mapping[str, Any], models: Sequence[CarriedModel], path: Path = RECORD) -> None:
    """Write a record."""
    content = {**about, "models": [m.as_dict() for m in models]}
    path.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


def _as_dict(row: Mapping[str, Measured]) -> dict[str, dict[str, float | None]]:
    return {v: m.as_dict() for v, m in row.items()}


def _number(entry: Mapping[str, float | None]) -> Measured:
    value, error = (float("nan") if entry[n] is None else entry[n] for n in ("value", "error"))
    return Measured(value, error)  # type: ignore[arg-type]


def _read(entry: Mapping[str, Any]) -> Carried:
    def measured(row: Mapping[str, Any]) -> dict[str, Measured]:
        return {v: _number(m) for v, m in row.items()}

    ratios, rest = (
        Scores(*(measured(entry[n][k]) for k in KINDS))
        for n in ("ratio_to_raw", "ratio_to_raw_without_hwpt_6")
    )
    gain = entry["combined"]
    return Carried(
        entry["sample"],
        entry["muons"],
        entry["muons_compared"],
        entry["muons_without_hwpt_6"],
        entry["muons_recalibrated"],
        ratios,
        rest,
        measured(entry["pull_width"]),
        measured(entry["pull_width_without_hwpt_6"]),
        measured(entry["rms_to_reference"]),
        CombinedGain(_number(gain["ratio"]), gain["p_value"]) if gain else None,
    )
