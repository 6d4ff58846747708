"""No bin of what the trigger sees is worse than the trigger's own values: factors that limit corrections.

A network that is best on average can be worse than no correction at some values of hwPt or eta: where nearly
all muons were measured well, or training muons were few. Each correction is therefore multiplied by a factor
from 0 to 1 for the muon's hwPt and one for its abs(hwEtaAtVtx), chosen for each variable on validation muons:
the largest with which neither the RMS nor the tail is worse than the raw trigger's. With 0, the trigger's own
value is left. Factors multiply the gains of the network (`l1scout.model.network.Gain`), so every engine has
them. Nothing is promised of bins of *offline* quantities: only what the trigger sees can be acted upon.

Networks that correct phi and eta at the second station have others: a correction of 0 would not leave the
trigger's phi at the vertex, but one that is not extrapolated. The trigger extrapolates less than the best
correction does, as that saves tails at the cost of the core; so factors of phi, for hwPt alone, are from
0.7 to 1. Eta has none. Its bins are compared and reported as all are.

Neighbouring values with few muons are judged together, and their factors averaged, so that factors change
slowly where chance is large; where no muons are near, the factor is 0. How surely a bin must not be worse,
`CAUTION`, is as much as `MAX_PRICE` allows: with more caution, chance alone limits good corrections. A value
whose factor alone would cost more, such as the largest pT that the trigger assigns, keeps its correction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from l1scout.dataset.matched import Dataset
from l1scout.evaluate.metrics import CORE, TAIL, Scores, ratios
from l1scout.evaluate.profiles import HARDWARE_AXES, Profile, profile
from l1scout.model.quantities import REFERENCES, VARIABLES, Reference, Residuals
from l1scout.statistics import paired_ratio, rms_ratio, wrap

CAUTION = tuple(float(c) for c in np.arange(1.0, -2.01, -0.25))
"""Standard deviations by which RMS and tail must be better than the raw trigger's; if negative, may be worse.
The first one is taken whose price, and its standard deviation, are at most `MAX_PRICE`; or the last."""
MAX_PRICE = 0.02
"""Share by which RMS, core or tail of a variable may become worse on all muons, compared with no guard."""
ENOUGH = 500
"""Muons from which a value is judged by itself; with fewer, its neighbours join."""
FEW = 100
"""With fewer muons, neighbours included, the factor goes down to 0 in proportion."""
_SURELY = 2.0
"""Standard deviations by which the price of a value must be above `MAX_PRICE` to be too much."""
_CHECKED = ("rms", "tail")

Factors = dict[str, tuple[int, NDArray[np.float64]]]
"""By input: the first value, and factors of shape (values, 3) for that and the next ones."""


class _Axis(NamedTuple):
    """An input whose sizes have factors, and how far neighbours may be that are judged with a value.

    Parameters
    ----------
    name : str
    low, high : int
        Smallest and largest value.
    nearest, farthest : ndarray of int64, shape (sizes,)
        Half-width of the window of neighbours, for each size from 0 on.
    """

    name: str
    low: int
    high: int
    nearest: NDArray[np.int64]
    farthest: NDArray[np.int64]


_PT = np.arange(512)
HW_PT = _Axis("hwPt", 0, 511, _PT // 15, _PT // 4)
"""By itself below 15, with 7 to 25 % of pT on each side above."""
HW_ETA: Mapping[Reference, _Axis] = {
    reference: _Axis(eta, -256, 255, np.zeros(257, np.int64), np.full(257, 8))
    for reference, (_, eta) in REFERENCES.items()
}
"""Eta is a lattice: neighbours differ."""
_DOWN_TO_NONE = np.linspace(0.0, 1.0, 11)
STEPS: Mapping[Reference, Mapping[str, NDArray[np.float64]]] = {
    "vertex": dict.fromkeys(VARIABLES, _DOWN_TO_NONE),
    "station 2": {"phi": np.linspace(0.7, 1.0, 7), "pt": _DOWN_TO_NONE},
}
"""Factors to choose from, of variables that have any, rising."""


@dataclass(frozen=True)
class Guard:
    """Factors of corrections, what they cost, and what they leave.

    Parameters
    ----------
    factors : Factors
    price : Scores
        The nine metrics with the guard, divided by those without it.
    caution : mapping of str to float
        By variable, the one of `CAUTION` that was taken.
    limited : mapping of str to float
        By variable, the share of the muons whose correction is less than it would be.
    dear : mapping of str to list of int
        By variable, values of hwPt that keep their corrections, as less would cost too much.
    profiles : tuple of Profile
        Raw trigger and guarded network ("model") in bins of hwPt and of hwEtaAtVtx.
    """

    factors: Factors
    price: Scores
    caution: Mapping[str, float]
    limited: Mapping[str, float]
    dear: Mapping[str, list[int]]
    profiles: tuple[Profile, ...]

    @property
    def checks(self) -> int:
        """Number of comparisons with the raw trigger: of RMS and tail of each variable in each bin."""
        bins = sum(int(np.isfinite([m.value for m in p.raw["phi"]["rms"]]).sum()) for p in self.profiles)
        return bins * len(VARIABLES) * len(_CHECKED)

    @property
    def worse(self) -> list[dict[str, Any]]:
        """Comparisons in which the model is worse by more than two standard deviations."""
        found = []
        for p in self.profiles:
            for v in VARIABLES:
                for q in _CHECKED:
                    for k in np.flatnonzero(p.worse["model"][v][q]).tolist():
                        raw, model = p.raw[v][q][k].value, p.models["model"][v][q][k].value
                        ends = {"low": int(p.axis.edges[k]), "high": int(p.axis.edges[k + 1]) - 1}
                        about = {"input": p.axis.column, **ends, "muons": int(p.muons[k])}
                        ratio = model / raw if raw else None
                        found.append({**about, "variable": v, "metric": q, "ratio_to_raw": ratio})
        return found

    def as_dict(self) -> dict[str, Any]:
        """For the card."""
        worse = [{**w, "reason": self._reason(w)} for w in self.worse]
        return {
            "price": self.price.as_dict(),
            "caution": dict(self.caution),
            "limited": {v: round(x, 4) for v, x in self.limited.items()},
            "too_dear_hw_pt": dict(self.dear),
            "checks": self.checks,
            "worse": worse,
        }

    def _reason(self, w: Mapping[str, Any]) -> str:
        """Say why a bin is left that is worse."""
        variable = w["variable"]
        price = f"more than {100 * MAX_PRICE:g} % in RMS, core or tail of all muons"
        dear = [size for size in self.dear.get(variable, ()) if w["low"] <= size <= w["high"]]
        if variable not in self.caution:
            return (
                "corrected from the second station, without a guard: chance, or too few muons to learn from"
            )
        if dear and w["input"] == HW_PT.name:
            return f"left on purpose: smaller corrections at hwPt {dear[0]} alone would cost {price}"
        if self.caution[variable] < 0:
            return f"a stricter guard would cost {price}; chance, if the neighbouring bins are better"
        return "not worse together with its neighbours: chance, or too few muons to tell"


def find(
    data: Dataset, raw: Residuals, least: Residuals, full: Residuals, reference: Reference = "vertex"
) -> Guard:
    """Choose the factors.

    Parameters
    ----------
    data : Dataset
        Validation muons.
    raw : Residuals
        Of the trigger's own values.
    least, full : Residuals
        With the factors 0 and 1: with the network's offset alone, and with the whole correction.
    reference : {"vertex", "station 2"}
        Which L1 phi and eta are corrected.
    """
    axes = HW_PT, HW_ETA[reference]
    sizes = [np.abs(data[axis.name].astype(np.int64)) for axis in axes]
    tables = [np.ones((axis.nearest.size, len(VARIABLES))) for axis in axes]
    caution, limited, dear, after = {}, {}, {}, dict(full)
    for v, steps in STEPS[reference].items():
        k, muons = VARIABLES.index(v), _Checked(v, raw[v], least[v], full[v], steps)
        cheap, costly = len(CAUTION) - 1, -1
        while cheap - costly > 1:
            middle = (cheap + costly) // 2
            if _price(muons, _chosen(muons, axes, sizes, CAUTION[middle])[0], sizes) <= MAX_PRICE:
                cheap = middle
            else:
                costly = middle
        found, dear[v] = _chosen(muons, axes, sizes, CAUTION[cheap])
        for table, column in zip(tables, found, strict=True):
            table[:, k] = column
        factor = _of_muons(found, sizes)
        after[v], caution[v], limited[v] = muons.after(factor), CAUTION[cheap], float(np.mean(factor < 1))
    values = [np.abs(np.arange(axis.low, axis.high + 1)) for axis in axes]
    factors = {axis.name: (axis.low, t[at]) for axis, t, at in zip(axes, tables, values, strict=True)}
    bins = tuple(profile(data, axis, raw, {"model": after}) for axis in HARDWARE_AXES)
    return Guard(factors, ratios(after, full), caution, limited, dear, bins)


@dataclass(frozen=True)
class _Checked:
    """Residuals of a variable: of the raw trigger, and with the factors 0 and 1; and its factors."""

    variable: str
    raw: NDArray[np.float64]
    least: NDArray[np.float64]
    full: NDArray[np.float64]
    steps: NDArray[np.float64]

    @property
    def trusted(self) -> bool:
        """Whether a correction is left as it is where nothing can be checked, or nothing helps.

        That is if none would not leave the trigger's own value.
        """
        return bool(self.steps[0] > 0)

    def after(self, factor: NDArray[np.float64] | float) -> NDArray[np.float64]:
        """Return residuals with these factors."""
        if self.variable == "phi":
            return wrap(self.least + factor * wrap(self.full - self.least))
        return self.least + factor * (self.full - self.least)

    def excess(self, factor: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return what each muon adds to squares and tail, less what it adds with the trigger's own value."""
        x, tail = self.after(factor), TAIL[self.variable]
        return x * x - self.raw**2, (np.abs(x) > tail) - (np.abs(self.raw) > tail).astype(np.float64)


def _chosen(
    muons: _Checked, axes: Sequence[_Axis], sizes: Sequence[NDArray[np.int64]], careful: float
) -> tuple[list[NDArray[np.float64]], list[int]]:
    """Return a table of factors for each axis: each twice, as the other may have mended a loss.

    The second is the list of hwPt that are too dear.
    """
    found = [np.ones(axis.nearest.size) for axis in axes]
    for _ in range(2):
        for k, axis in enumerate(axes[:1] if muons.trusted else axes):
            found[k] = np.ones(axis.nearest.size)
            found[k] = _table(muons, _of_muons(found, sizes), axis, sizes[k], careful)
    dear = _dear(muons, _of_muons(found, sizes), sizes[0], found[0].size)
    found[0][dear] = 1.0
    return found, np.flatnonzero(dear).tolist()


def _dear(muons: _Checked, factor: NDArray[np.float64], size: NDArray[np.int64], n: int) -> NDArray[np.bool_]:
    """Return at which sizes of an input the factors alone would cost more than `MAX_PRICE`."""
    x, y, v = np.abs(muons.after(factor)), np.abs(muons.full), muons.variable
    losses = (
        (x * x - y * y, 2 * float(np.sum(y * y))),
        ((x > TAIL[v]) - (y > TAIL[v]).astype(np.float64), float(np.sum(y > TAIL[v]))),
        ((y < CORE[v]) - (x < CORE[v]).astype(np.float64), float(np.sum(y < CORE[v]))),
    )
    costly = np.zeros(n, np.bool_)
    for loss, total in losses:
        error = np.sqrt(np.bincount(size, loss**2, n))
        costly |= np.bincount(size, loss, n) - _SURELY * error > MAX_PRICE * total
    return costly


def _of_muons(
    tables: Sequence[NDArray[np.float64]], sizes: Sequence[NDArray[np.int64]]
) -> NDArray[np.float64]:
    """Return the product of the factors of each muon."""
    return np.asarray(np.prod([t[size] for t, size in zip(tables, sizes, strict=True)], axis=0))


def _table(
    muons: _Checked, factor: NDArray[np.float64], axis: _Axis, size: NDArray[np.int64], careful: float
) -> NDArray[np.float64]:
    """Return a factor for each size of an input, where the muons already have other factors."""
    n = axis.nearest.size
    low, high = _windows(np.bincount(size, minlength=n), axis)
    within = _sums(np.ones(size.size), size, low, high)
    otherwise = float(muons.trusted)
    best = np.full(n, otherwise)
    for step in muons.steps:
        safe = np.ones(n, np.bool_)
        for excess in muons.excess(step * factor):
            mean = _sums(excess, size, low, high) / np.maximum(within, 1)
            square = _sums(excess**2, size, low, high) / np.maximum(within, 1)
            error = np.sqrt(np.maximum(square - mean**2, 0) / np.maximum(within, 1))
            safe &= mean + careful * error <= 0
        best[safe] = step
    some = within > 0
    near = np.where(some, best - otherwise, 0.0)
    every = np.arange(n)
    count = np.maximum(_sums(some.astype(np.float64), every, low, high), 1)
    return np.asarray(otherwise + _sums(near, every, low, high) / count * np.minimum(within / FEW, 1))


def _windows(counts: NDArray[np.int64], axis: _Axis) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return first and last size that are judged with each: as far as it takes to have `ENOUGH` muons."""
    before = np.concatenate([[0], np.cumsum(counts)])
    at, half = np.arange(counts.size), axis.nearest.copy()
    while True:
        low, high = np.maximum(at - half, 0), np.minimum(at + half, counts.size - 1)
        grows = (before[high + 1] - before[low] < ENOUGH) & (half < axis.farthest)
        if not grows.any():
            return low, high
        half += grows


def _sums(
    values: NDArray[np.float64], at: NDArray[np.int64], low: NDArray[np.int64], high: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return sums of values over windows of where they are."""
    before = np.concatenate([[0.0], np.cumsum(np.bincount(at, values, low.size))])
    return np.asarray(before[high + 1] - before[low])


def _price(
    muons: _Checked, tables: Sequence[NDArray[np.float64]], sizes: Sequence[NDArray[np.int64]]
) -> float:
    """Return the largest share by which RMS, core or tail become worse, plus its standard deviation."""
    v, x, y = muons.variable, muons.after(_of_muons(tables, sizes)), muons.full
    core = paired_ratio(np.abs(x) < CORE[v], np.abs(y) < CORE[v])
    more = rms_ratio(x, y), paired_ratio(np.abs(x) > TAIL[v], np.abs(y) > TAIL[v])
    return float(np.nanmax([1 - core.value + core.error, *(m.value - 1 + m.error for m in more), 0.0]))
