"""The nine metrics on some of the muons: without the lowest hwPt, and outside the range of the claims."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.dataset.matched import Dataset
from l1scout.evaluate.metrics import Scores, ratios, scores
from l1scout.model.quantities import Residuals

FLOOR = 6
"""hwPt of 2.5 GeV, the lowest of the trigger's tables: steep muons whose bend and direction disagree. Its
share depends on a convention of the tables, and it dominates averages."""
HARD_GEV = (30.0, 45.0)
"""Offline pT above which muons are shown by themselves: the simulated samples have few of them."""
MAX_ABS_ETA = 0.9
"""End of the bins of offline eta."""


@dataclass(frozen=True)
class Slice:
    """The nine metrics on some of the muons.

    Parameters
    ----------
    name : str
        Which muons.
    muons : int
    raw : Scores or None
        Of the trigger's own values; None for fewer than two muons.
    models, ratios : mapping of str to Scores
        Of the models, and model / raw trigger; empty for fewer than two muons.
    """

    name: str
    muons: int
    raw: Scores | None
    models: Mapping[str, Scores]
    ratios: Mapping[str, Scores]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "which": self.name,
            "muons": self.muons,
            "raw": self.raw.as_dict() if self.raw else None,
            "models": {
                name: {"scores": row.as_dict(), "ratio_to_raw": self.ratios[name].as_dict()}
                for name, row in self.models.items()
            },
        }


def part_of(name: str, keep: NDArray[np.bool_], raw: Residuals, models: Mapping[str, Residuals]) -> Slice:
    """Return the metrics of the muons of a mask."""
    n = int(np.count_nonzero(keep))
    if n < 2:
        return Slice(name, n, None, {}, {})
    own = {v: r[keep] for v, r in raw.items()}
    after = {m: {v: r[keep] for v, r in row.items()} for m, row in models.items()}
    return Slice(
        name,
        n,
        scores(own),
        {m: scores(row) for m, row in after.items()},
        {m: ratios(row, own) for m, row in after.items()},
    )


def without_floor(data: Dataset, raw: Residuals, models: Mapping[str, Residuals]) -> Slice:
    """Return the metrics without the muons of hwPt 6."""
    return part_of(f"without hwPt {FLOOR}", data["hwPt"] > FLOOR, raw, models)


def outside(data: Dataset, raw: Residuals, models: Mapping[str, Residuals]) -> list[Slice]:
    """Return the metrics of the hard muons, and of those beyond the bins of eta if there are any."""
    found = [part_of(f"offline pT above {gev:g} GeV", data["recoPt"] > gev, raw, models) for gev in HARD_GEV]
    steep = part_of(
        f"|offline eta| above {MAX_ABS_ETA:g}", np.abs(data["recoEta"]) > MAX_ABS_ETA, raw, models
    )
    return [*found, *([steep] if steep.muons else [])]
