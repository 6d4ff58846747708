"""Turn-on curves: share of muons passing a threshold on the L1 pT, against offline pT."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

THRESHOLDS_GEV = (5.0, 10.0, 20.0)
EDGES_GEV = (2.0, 3.0, 3.5, 4.0, 4.5, 5.0, 5.5, 6.0, 7.0, 8.0, 9.0, 10.0, 12.0, 14.0, 17.0, 20.0, 24.0,
             30.0, 45.0)  # fmt: skip


@dataclass(frozen=True)
class Efficiency:
    """Share of muons that pass, with Clopper and Pearson's central 68 % interval; all within 0 and 1.

    Parameters
    ----------
    value, low, high : ndarray, shape (bins,)
        NaN where there are no muons.
    """

    value: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    def as_dict(self) -> dict[str, list[float | None]]:
        """For JSON, which knows no NaN."""
        return {
            n: [x if x == x else None for x in getattr(self, n).tolist()] for n in ("value", "low", "high")
        }


@dataclass(frozen=True)
class TurnOn:
    """Efficiency of a threshold against offline pT.

    Parameters
    ----------
    threshold_gev : float
        Muons with an L1 pT of this or more pass.
    muons : ndarray of int, shape (bins,)
        In the bins of `EDGES_GEV`.
    curves : mapping of str to Efficiency
        "GMT" for the trigger's own values, and models by name.
    """

    threshold_gev: float
    muons: NDArray[np.int64]
    curves: Mapping[str, Efficiency]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "threshold_gev": self.threshold_gev,
            "offline_pt_edges_gev": list(EDGES_GEV),
            "muons": self.muons.tolist(),
            "interval": "Clopper-Pearson, 68 %",
            "efficiency": {name: curve.as_dict() for name, curve in self.curves.items()},
        }


def efficiency(passed: NDArray[np.int64], of: NDArray[np.int64]) -> Efficiency:
    """Return efficiencies of counts of muons that pass, of counts of all."""
    from hist.intervals import clopper_pearson_interval

    low, high = np.full((2, of.size), np.nan)
    some = of > 0
    low[some], high[some] = clopper_pearson_interval(passed[some], of[some])
    value = np.divide(passed, of, out=np.full(of.size, np.nan), where=some)
    return Efficiency(value, low, high)


def turn_on(offline_pt: NDArray[Any], l1_pt: Mapping[str, NDArray[Any]]) -> Sequence[TurnOn]:
    """Return turn-on curves of matched muons for each of `THRESHOLDS_GEV`.

    Parameters
    ----------
    offline_pt : ndarray, shape (muons,)
        In GeV.
    l1_pt : mapping of str to ndarray, each of shape (muons,)
        The trigger's own and recalibrated values, in GeV.
    """
    of = np.histogram(offline_pt, EDGES_GEV)[0]
    return [
        TurnOn(
            threshold,
            of,
            {
                name: efficiency(np.histogram(offline_pt[pt >= threshold], EDGES_GEV)[0], of)
                for name, pt in l1_pt.items()
            },
        )
        for threshold in THRESHOLDS_GEV
    ]
