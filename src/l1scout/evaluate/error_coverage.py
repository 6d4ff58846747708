"""Whether predicted uncertainties are what they say: pulls of muons that the network has not seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.dataset.matched import Dataset
from l1scout.evaluate.profiles import AXES, MIN_MUONS
from l1scout.model.quantities import VARIABLES, Residuals
from l1scout.model.resolution import ONE_SIGMA, Resolution
from l1scout.statistics import Measured, half_width, share

NOMINAL = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, ONE_SIGMA, 0.8, 0.9, 0.9545, 0.9973)
"""Shares of a Gaussian within +- z standard deviations: what coverage is compared with."""
PT_EDGES = AXES[0].edges
MIN_PULLS = 20
"""Of a sample as a whole: small samples of real muons have widths, too, with large uncertainties."""


@dataclass(frozen=True)
class ErrorCoverage:
    """Pulls of recalibrated muons: residual over predicted uncertainty.

    Parameters
    ----------
    muons : int
    width : mapping of str to Measured
        Half of the central 68 % of the pulls, by variable: 1 if all is well.
    observed : mapping of str to sequence of Measured
        Share of muons within the z of each of `NOMINAL`.
    by_pt : mapping of str to mapping
        Pull widths in the bins of `PT_EDGES` of the ``recalibrated`` and of the ``offline`` pT; NaN
        where the muons are too few. The prediction knows only the former.
    """

    muons: int
    width: Mapping[str, Measured]
    observed: Mapping[str, Sequence[Measured]]
    by_pt: Mapping[str, Mapping[str, Sequence[Measured]]]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "muons": self.muons,
            "pull_width": {v: m.as_dict() for v, m in self.width.items()},
            "coverage": {
                "nominal": list(NOMINAL),
                **{v: [m.as_dict() for m in row] for v, row in self.observed.items()},
            },
            "pull_width_by_pt": {
                "edges": list(PT_EDGES),
                **{
                    which: {v: [m.as_dict() for m in row] for v, row in by.items()}
                    for which, by in self.by_pt.items()
                },
            },
        }


def coverage(
    data: Dataset, resolution: Resolution, after: Residuals, recalibrated: NDArray[np.bool_]
) -> ErrorCoverage | None:
    """Compare predicted uncertainties with residuals.

    Parameters
    ----------
    data : Dataset
    resolution : Resolution
    after : Residuals
        Of the muons of `data`, after recalibration.
    recalibrated : ndarray of bool, shape (muons,)
        The others have no uncertainty, and are left out.

    Returns
    -------
    ErrorCoverage or None
        None if fewer than `MIN_PULLS` are recalibrated.
    """
    from scipy.special import ndtri

    kept = data.select(recalibrated)
    if len(kept) < MIN_PULLS:
        return None
    residuals = {v: r[recalibrated] for v, r in after.items()}
    pulls = resolution.pulls(kept.columns, residuals)
    z = ndtri((1 + np.array(NOMINAL)) / 2)
    pts = {"recalibrated": kept["recoPt"] * (1 + residuals["pt"]), "offline": kept["recoPt"]}
    return ErrorCoverage(
        len(kept),
        {v: half_width(pulls[v]) for v in VARIABLES},
        {v: [share(np.abs(pulls[v]) < edge) for edge in z] for v in VARIABLES},
        {which: {v: _widths(pulls[v], pt) for v in VARIABLES} for which, pt in pts.items()},
    )


def _widths(pulls: NDArray[np.float64], pt: NDArray[Any]) -> list[Measured]:
    at = np.searchsorted(PT_EDGES, pt, side="right") - 1
    members = (pulls[at == k] for k in range(len(PT_EDGES) - 1))
    return [half_width(x) if x.size >= MIN_MUONS else Measured(float("nan")) for x in members]
