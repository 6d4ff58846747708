"""How far a network's numbers carry: the same model on several samples, side by side."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l1scout.evaluate.evaluation import Evaluation
from l1scout.evaluate.metrics import KINDS, Scores
from l1scout.model.quantities import VARIABLES
from l1scout.statistics import Measured

RECORD = Path(__file__).with_name("carried.json")
"""The published default network on other samples, as ``validation/carry_over.py --record`` measured it."""


@dataclass(frozen=True)
class Carried:
    """A model on one sample.

    Parameters
    ----------
    name : str
        Of the sample.
    muons, without_floor, recalibrated : int
        Of the sample; of these the ones with hwPt above 6, and the ones that the model recalibrates: the
        others count with the trigger's values.
    ratios, ratios_without_floor : Scores
        Model / raw trigger.
    pulls, pulls_without_floor : mapping of str to Measured
        Pull widths of the predicted uncertainties by variable; empty if there are none.
    """

    name: str
    muons: int
    without_floor: int
    recalibrated: int
    ratios: Scores
    ratios_without_floor: Scores
    pulls: Mapping[str, Measured]
    pulls_without_floor: Mapping[str, Measured]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "sample": self.name,
            "muons": self.muons,
            "muons_without_hwpt_6": self.without_floor,
            "muons_recalibrated": self.recalibrated,
            "ratio_to_raw": self.ratios.as_dict(),
            "ratio_to_raw_without_hwpt_6": self.ratios_without_floor.as_dict(),
            "pull_width": {v: m.as_dict() for v, m in self.pulls.items()},
            "pull_width_without_hwpt_6": {v: m.as_dict() for v, m in self.pulls_without_floor.items()},
        }


def carried(evaluation: Evaluation, model: str, name: str) -> list[Carried]:
    """Return a model on the evaluation's own sample, under this name, and on its others."""
    samples = {name: evaluation, **evaluation.also}
    return [_of(name, found, model) for name, found in samples.items()]


def _of(name: str, found: Evaluation, model: str) -> Carried:
    rest = found.without_floor
    nothing = Scores(*(dict.fromkeys(VARIABLES, Measured(float("nan"))) for _ in KINDS))
    own, few = found.coverage.get(model), found.coverage_without_floor.get(model)
    return Carried(
        name,
        len(found.data),
        rest.muons,
        len(found.data) - sum(found.left_as_is[model].values()),
        found.ratios[model],
        rest.ratios.get(model, nothing),
        own.width if own else {},
        few.width if few else {},
    )


def recorded(path: Path = RECORD) -> tuple[dict[str, Any], list[Carried]]:
    """Read a record: what was measured how and when, and the samples' numbers."""
    content = json.loads(path.read_text("utf-8"))
    return {k: v for k, v in content.items() if k != "samples"}, [_read(s) for s in content["samples"]]


def record(about: Mapping[str, Any], samples: Sequence[Carried]) -> None:
    """Write the record."""
    content = {**about, "samples": [s.as_dict() for s in samples]}
    RECORD.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


def _read(entry: Mapping[str, Any]) -> Carried:
    def measured(row: Mapping[str, Any]) -> dict[str, Measured]:
        nan = float("nan")
        return {
            v: Measured(nan if m["value"] is None else m["value"], nan if m["error"] is None else m["error"])
            for v, m in row.items()
        }

    ratios, rest = (
        Scores(*(measured(entry[n][k]) for k in KINDS))
        for n in ("ratio_to_raw", "ratio_to_raw_without_hwpt_6")
    )
    pulls = (measured(entry[n]) for n in ("pull_width", "pull_width_without_hwpt_6"))
    return Carried(
        entry["sample"],
        entry["muons"],
        entry["muons_without_hwpt_6"],
        entry["muons_recalibrated"],
        ratios,
        rest,
        *pulls,
    )
