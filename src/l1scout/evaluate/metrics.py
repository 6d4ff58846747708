"""How good a muon measurement is: the nine metrics of the reference paper, and the same in bins.

Residuals are L1 minus offline: phi in rad, eta, and pT relative to the offline pT. The RMS is about
zero, not about the mean, and no residual is left out however large it is ("overflows counted").
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from l1scout.model.quantities import VARIABLES, Residuals
from l1scout.statistics import Measured, paired_ratio, rms, rms_ratio, share, wrap

CORE = {"phi": 0.008, "eta": 0.0015, "pt": 0.01}
"""A muon is in the core if its residual is smaller (reference paper, Table 1): rad, 1, relative."""
TAIL = {"phi": 0.1, "eta": 0.05, "pt": 0.15}
"""A muon is in the tail if its residual is larger (reference paper, Table 1): rad, 1, relative."""
KINDS = ("rms", "core", "tail")


def residuals(pt: ArrayLike, eta: ArrayLike, phi: ArrayLike, reco: Mapping[str, NDArray[Any]]) -> Residuals:
    """L1 minus offline.

    Parameters
    ----------
    pt, eta, phi : array_like of float, shape (muons,)
        L1 values at the vertex: GeV, 1, rad.
    reco : mapping
        ``recoPt`` (GeV), ``recoEta``, ``recoPhi`` (rad) of the same muons.
    """
    offline_pt = reco["recoPt"].astype(np.float64)
    return {
        "phi": wrap(np.asarray(phi, np.float64) - reco["recoPhi"]),
        "eta": np.asarray(eta, np.float64) - reco["recoEta"],
        "pt": (np.asarray(pt, np.float64) - offline_pt) / offline_pt,
    }


@dataclass(frozen=True)
class Scores:
    """The nine metrics: RMS, share of the core and share of the tail of each variable.

    Each is a mapping from ``phi``, ``eta`` and ``pt``; shares are from 0 to 1. The same class holds
    the nine ratios of a model and the raw trigger.
    """

    rms: Mapping[str, Measured]
    core: Mapping[str, Measured]
    tail: Mapping[str, Measured]

    def __iter__(self) -> Iterator[tuple[str, str, Measured]]:
        """Go through kind, variable and number: the order of the published tables."""
        for kind in KINDS:
            for variable in VARIABLES:
                yield kind, variable, getattr(self, kind)[variable]

    def as_dict(self) -> dict[str, dict[str, dict[str, float | None]]]:
        """For JSON."""
        return {k: {v: getattr(self, k)[v].as_dict() for v in VARIABLES} for k in KINDS}


def scores(residuals: Residuals) -> Scores:
    """Nine metrics of a sample of at least one muon."""
    return Scores(
        {v: rms(residuals[v]) for v in VARIABLES},
        {v: share(np.abs(residuals[v]) < CORE[v]) for v in VARIABLES},
        {v: share(np.abs(residuals[v]) > TAIL[v]) for v in VARIABLES},
    )


def ratios(model: Residuals, raw: Residuals) -> Scores:
    """Nine ratios model / raw trigger on the same muons: below 1 is better for RMS and tail, above for core.

    Uncertainties count the correlation of the two.
    """
    return Scores(
        {v: rms_ratio(model[v], raw[v]) for v in VARIABLES},
        {v: paired_ratio(np.abs(model[v]) < CORE[v], np.abs(raw[v]) < CORE[v]) for v in VARIABLES},
        {v: paired_ratio(np.abs(model[v]) > TAIL[v], np.abs(raw[v]) > TAIL[v]) for v in VARIABLES},
    )
