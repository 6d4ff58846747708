"""The limit: how good any model with given inputs could be in each of the nine metrics.

All inputs are integers, so the best answer to each can be read off the training muons: the conditional
mean for an RMS, the densest window for a core, the one that leaves least outside for a tail. No single
model has all nine, as these differ. The azimuth itself is left out (the simulation has no sectors), and
muons are folded at eta = 0.

Cells with few muons borrow from the cells of the same pT (and charge, in phi): the prior counts as a number
of muons, and that number is the one that is best on the validation part. The limit is what these answers
reach on muons that they were not read off, so it can be reached; that of the muons they *were* read off is
better than any model can be. The truth lies between the two.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from l1scout.dataset.matched import Dataset
from l1scout.evaluate.metrics import CORE, KINDS, TAIL, Scores
from l1scout.evaluate.targets import raw_residuals, targets
from l1scout.model.quantities import REFERENCES, VARIABLES, Reference, Residuals
from l1scout.statistics import Measured, rms, share, wrap

_PRIORS = (3.0, 10.0, 30.0, 100.0)
_GRIDS = {"phi": (-1.2, 1.2, 0.001), "eta": (-0.4, 0.4, 0.0005), "pt": (0.5, 5.0, 0.002)}
"""Lowest and highest residual and step; for pT the logarithm of the offline pT in GeV."""
_CHUNK = 512


@dataclass(frozen=True)
class Limit:
    """Best values of the nine metrics.

    Parameters
    ----------
    reached : Scores
        On muons that the answers were not read off: a model can have this.
    optimistic : Scores
        On those that they were read off: no model has this.
    residuals : mapping of str to Residuals
        By kind (``rms``, ``core``, ``tail``): residuals of the test muons with the best answers for it.
    inputs : sequence of str
    """

    reached: Scores
    optimistic: Scores
    residuals: Mapping[str, Residuals]
    inputs: Sequence[str]


def limit(
    learn: Dataset,
    tune: Dataset,
    test: Dataset,
    extra: Sequence[str] = (),
    reference: Reference = "vertex",
) -> Limit:
    """Estimate the limit.

    Parameters
    ----------
    learn, tune : Dataset
        Answers are read off `learn`; `tune` says how much cells borrow; then they are read off both.
    test : Dataset
        On which they are scored.
    extra : sequence of str
        More input columns, besides hwPt, hwCharge and the reference's eta.
    reference : {"vertex", "station 2"}
        Which L1 phi and eta the answers correct.
    """
    names = ("hwPt", REFERENCES[reference][1], "hwCharge", *extra)
    both = Dataset({n: np.concatenate([learn[n], tune[n]]) for n in learn.columns})
    best: dict[str, dict[str, NDArray[np.float64]]] = {k: {} for k in KINDS}
    seen: dict[str, dict[str, NDArray[np.float64]]] = {k: {} for k in KINDS}
    for v in VARIABLES:
        first, whole = (_Cells(data, names, v, reference) for data in (learn, both))
        for kind in KINDS:
            # where the window is narrow and cells are small, the mean makes the better guess of its place
            ways = [(how, p) for how in dict.fromkeys((kind, "rms")) for p in _PRIORS]
            cost = [_cost(kind, v, first.residual(tune, first.answers(*way))) for way in ways]
            best[kind][v] = whole.residual(test, whole.answers(*ways[int(np.argmin(cost))]))
            seen[kind][v] = whole.residual(both, whole.answers(kind, 1e-3))
    return Limit(_scores(best), _scores(seen), best, names)


def _scores(residuals: Mapping[str, Residuals]) -> Scores:
    return Scores(*({v: _number(kind, v, residuals[kind][v]) for v in VARIABLES} for kind in KINDS))


def _number(kind: str, variable: str, x: NDArray[np.float64]) -> Measured:
    if kind == "rms":
        return rms(x)
    return share(np.abs(x) < CORE[variable] if kind == "core" else np.abs(x) > TAIL[variable])


def _cost(kind: str, variable: str, x: NDArray[np.float64]) -> float:
    value = _number(kind, variable, x).value
    return -value if kind == "core" else value


class _Cells:
    """Residuals of one variable, as histograms by cell; the last bin of an axis holds the overflow."""

    def __init__(self, data: Dataset, names: Sequence[str], variable: str, reference: Reference) -> None:
        self.names, self.variable, self.reference = names, variable, reference
        low, high, self.step = _GRIDS[variable]
        self.bins = round((high - low) / self.step)
        self.middle = low + self.step * (np.arange(self.bins) + 0.5)
        key, self.pt = self._key(data), data["hwPt"].astype(np.int64)
        if variable == "phi":
            self.pt += 512 * (data["hwCharge"] == 1)
        self.keys, cell = np.unique(key, return_inverse=True)
        self.cell_pt = np.zeros(self.keys.size, np.int64)
        self.cell_pt[cell] = self.pt
        x = self._value(data)
        at = np.clip(((x - low) / self.step).astype(np.int64), 0, self.bins - 1)
        shape = self.keys.size, self.bins
        self.counts = np.bincount(cell * self.bins + at, minlength=shape[0] * shape[1]).reshape(shape)
        self.by_pt = np.zeros((1024, self.bins))
        np.add.at(self.by_pt, self.cell_pt, self.counts)

    def _key(self, data: Dataset) -> NDArray[np.int64]:
        """Return a number a cell: the charge matters for phi only, as the field turns the two apart."""
        key = np.zeros(len(data), np.int64)
        for name in self.names:
            if name == "hwCharge" and self.variable != "phi":
                continue
            column = data[name].astype(np.int64)
            key = key * 1024 + (np.abs(column) if name in ("hwEta", "hwEtaAtVtx") else column)
        return key

    def _sign(self, data: Dataset) -> NDArray[np.float64]:
        fold = self.variable == "eta"
        return np.where(fold & (data[REFERENCES[self.reference][1]] < 0), -1.0, 1.0)

    def _value(self, data: Dataset) -> NDArray[np.float64]:
        """Return what is to be guessed: phi and eta of the correction, the logarithm of the offline pT."""
        if self.variable == "pt":
            return np.log(data["recoPt"].astype(np.float64))
        return targets(data, self.reference)[:, VARIABLES.index(self.variable)] * self._sign(data)

    def residual(self, data: Dataset, answers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Residuals of muons with an answer a cell; the raw ones where a cell is not known."""
        key = self._key(data)
        at = np.minimum(np.searchsorted(self.keys, key), self.keys.size - 1)
        known, raw = self.keys[at] == key, raw_residuals(data)[self.variable]
        if self.variable == "pt":
            reco = data["recoPt"].astype(np.float64)
            return np.where(known, np.exp(answers[at]) / reco - 1, raw)
        before = raw_residuals(data, self.reference)[self.variable]
        after = before - self._sign(data) * answers[at]
        return np.where(known, wrap(after) if self.variable == "phi" else after, raw)

    def answers(self, kind: str, prior: float) -> NDArray[np.float64]:
        """Best answer of every cell for a number (`KINDS`), with a prior of that number of muons."""
        out = np.empty(self.keys.size)
        share = self.by_pt / np.maximum(self.by_pt.sum(axis=1, keepdims=True), 1)
        for start in range(0, out.size, _CHUNK):
            piece = slice(start, start + _CHUNK)
            counts = self.counts[piece] + prior * share[self.cell_pt[piece]]
            out[piece] = self._mean(counts) if kind == "rms" else self._window(kind, counts)
        return out

    def _mean(self, counts: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.variable != "pt":
            return np.asarray(counts @ self.middle / counts.sum(axis=1))
        inverse = np.exp(-self.middle)  # least mean square of answer / offline pT - 1
        return np.asarray(np.log((counts @ inverse) / (counts @ inverse**2)))

    def _window(self, kind: str, counts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Middle of the window that holds most."""
        half = (CORE if kind == "core" else TAIL)[self.variable]
        if self.variable == "pt":  # |answer / offline - 1| < half
            below, above = np.log1p(half), -np.log1p(-half)
        else:
            below = above = half
        total = np.pad(np.cumsum(counts, axis=1), ((0, 0), (1, 0)))
        low = np.clip(np.arange(self.bins) - round(below / self.step - 0.5), 0, self.bins)
        high = np.clip(np.arange(self.bins) + round(above / self.step + 0.5), 0, self.bins)
        inside = total[:, high] - total[:, low]
        # of windows that hold equally many, the middle one
        most = inside >= inside.max(axis=1, keepdims=True) - 1e-9
        return np.asarray((most * self.middle).sum(axis=1) / most.sum(axis=1))
