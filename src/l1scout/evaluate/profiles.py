"""Bias, resolution and tail of a muon measurement in bins of what the muon is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.dataset.matched import Dataset
from l1scout.evaluate.metrics import TAIL
from l1scout.model.quantities import VARIABLES, Residuals
from l1scout.statistics import Measured, half_width, mean, paired_ratio, rms, rms_ratio, share

QUANTITIES = ("bias", "rms", "width", "tail")
"""Mean, RMS about zero, half-width of the central 68 %, share of the tail.

The mean in phi is that of charge times residual, as the field bends the charges apart; in bins of
charge it is that of the residual itself.
"""
MIN_MUONS = 50
"""Bins with fewer muons are left out: their widths say nothing."""
SIGNIFICANT = 2.0
"""A model is called worse in a bin if it is so by more than this many standard deviations."""


@dataclass(frozen=True)
class Axis:
    """What the bins are in: a column of the data set, and edges. The last bin includes its upper edge."""

    name: str
    column: str
    label: str
    edges: tuple[float, ...]
    log: bool = False


AXES = (
    Axis(
        "pt",
        "recoPt",
        "offline pT [GeV]",
        (2.0, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 100.0, 250.0),
        log=True,
    ),
    Axis(
        "eta",
        "recoEta",
        "offline eta",
        (-2.4, -1.8, -1.2, *(round(0.15 * k, 2) for k in range(-6, 7)), 1.2, 1.8, 2.4),
    ),
    Axis("charge", "recoCharge", "charge", (-1.5, 0.0, 1.5)),
)
"""Bins of offline quantities: reported in full, but a model cannot know in which of them a muon is."""

HW_PT_AXIS = Axis(
    "hw_pt",
    "hwPt",
    "hwPt: 1 + 2 x L1 pT / GeV",
    (
        *(1, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 20, 23, 26, 30, 35),
        *(41, 51, 61, 71, 81, 91, 121, 161, 201, 256, 321, 401, 512),
    ),
    log=True,
)
HW_ETA_AXIS = Axis(
    "hw_eta",
    "hwEtaAtVtx",
    "hwEtaAtVtx: L1 eta / 0.010875",
    (-256, -190, -150, -115, *range(-80, 81, 8), 115, 150, 190, 256),
)
HARDWARE_AXES = (HW_PT_AXIS, HW_ETA_AXIS)
"""Bins of what is known of a muon at run time: those that `l1scout.training.guard` protects."""

Numbers = Mapping[str, Mapping[str, Sequence[Measured]]]
"""By variable and quantity: one number a bin, NaN where the muons are too few."""


@dataclass(frozen=True)
class Profile:
    """Numbers in the bins of an axis.

    Parameters
    ----------
    axis : Axis
    muons : ndarray of int, shape (bins,)
    raw : Numbers
        Of the trigger's own values.
    models : mapping of str to Numbers
    worse : mapping of str to mapping
        By model, variable and quantity (``rms``, ``width``, ``tail``): mask of the bins in which the
        model is worse than the raw trigger by more than `SIGNIFICANT` standard deviations.
    outside : int
        Muons in no bin.
    """

    axis: Axis
    muons: NDArray[np.int64]
    raw: Numbers
    models: Mapping[str, Numbers]
    worse: Mapping[str, Mapping[str, Mapping[str, NDArray[np.bool_]]]]
    outside: int = 0

    @property
    def offline(self) -> bool:
        """Whether the bins are of what the trigger does not see."""
        return self.axis not in HARDWARE_AXES

    @property
    def judged(self) -> tuple[float, float] | None:
        """Lower end of the first and upper end of the last bin with `MIN_MUONS`; None if there is none."""
        full = np.flatnonzero(self.muons >= MIN_MUONS)
        return (self.axis.edges[full[0]], self.axis.edges[full[-1] + 1]) if full.size else None

    @property
    def not_judged(self) -> int:
        """Muons in no bin, or in one with fewer than `MIN_MUONS`: nothing is claimed of them."""
        return self.outside + int(self.muons[self.muons < MIN_MUONS].sum())

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""

        def plain(numbers: Numbers) -> dict[str, Any]:
            return {
                v: {q: [m.as_dict() for m in series] for q, series in row.items()}
                for v, row in numbers.items()
            }

        return {
            "axis": self.axis.name,
            "column": self.axis.column,
            "edges": list(self.axis.edges),
            "muons": self.muons.tolist(),
            "judged": list(self.judged) if self.judged else None,
            "muons_not_judged": self.not_judged,
            "raw": plain(self.raw),
            "models": {name: plain(numbers) for name, numbers in self.models.items()},
            "worse": {
                name: {v: {q: mask.tolist() for q, mask in row.items()} for v, row in by.items()}
                for name, by in self.worse.items()
            },
        }


def profile(data: Dataset, axis: Axis, raw: Residuals, models: Mapping[str, Residuals]) -> Profile:
    """Compare models with the raw trigger in the bins of an axis.

    Parameters
    ----------
    data : Dataset
    axis : Axis
    raw : Residuals
        Of the muons of `data`, in their order; the same for each of `models`.
    models : mapping of str to Residuals
    """
    edges = np.asarray(axis.edges)
    x = data[axis.column]
    at = np.where(x == edges[-1], edges.size - 2, np.searchsorted(edges, x, side="right") - 1)
    members = [np.flatnonzero(at == k) for k in range(edges.size - 1)]
    used = [m if m.size >= MIN_MUONS else None for m in members]
    charge = data["recoCharge"] if axis.column != "recoCharge" else np.ones(len(data))
    worse = {
        name: {
            v: {
                q: np.array([m is not None and _worse(q, v, r[v][m], raw[v][m]) for m in used])
                for q in ("rms", "width", "tail")
            }
            for v in VARIABLES
        }
        for name, r in models.items()
    }
    return Profile(
        axis,
        np.array([m.size for m in members]),
        _numbers(raw, charge, used),
        {name: _numbers(r, charge, used) for name, r in models.items()},
        worse,
        len(data) - sum(m.size for m in members),
    )


def _numbers(
    residuals: Residuals, charge: NDArray[Any], members: Sequence[NDArray[np.int64] | None]
) -> Numbers:
    nan = Measured(float("nan"))
    signed = {**residuals, "phi": residuals["phi"] * charge}
    return {
        v: {
            q: [
                nan if m is None else _measure(q, v, (signed if q == "bias" else residuals)[v][m])
                for m in members
            ]
            for q in QUANTITIES
        }
        for v in VARIABLES
    }


def _measure(quantity: str, variable: str, x: NDArray[np.float64]) -> Measured:
    if quantity == "tail":
        return share(np.abs(x) > TAIL[variable])
    return {"bias": mean, "rms": rms, "width": half_width}[quantity](x)


def _worse(quantity: str, variable: str, model: NDArray[np.float64], raw: NDArray[np.float64]) -> bool:
    """Whether the model is worse; RMS and tail count the correlation, the width does not."""
    if quantity == "width":
        a, b = half_width(model), half_width(raw)
        return a.value - b.value > SIGNIFICANT * float(np.hypot(a.error, b.error))
    if quantity == "rms":
        ratio = rms_ratio(model, raw)
    else:
        ratio = paired_ratio(np.abs(model) > TAIL[variable], np.abs(raw) > TAIL[variable])
        if np.isnan(ratio.value):  # the raw trigger has no tail at all: the model has a significant one?
            new = share(np.abs(model) > TAIL[variable])
            return new.value > SIGNIFICANT * new.error
    return ratio.value - 1 > SIGNIFICANT * ratio.error
