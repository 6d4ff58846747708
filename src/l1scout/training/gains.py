"""What is known of corrections before any training: their signs, their sizes, and where nothing is known.

The track finder bends negative muons as it bends positive ones, and its two halves in eta are alike. So phi
corrections have the sign of the charge, and eta corrections that of eta. Errors of pT grow with pT, those of
phi fall with it. Recipes with `gains` have this in factors by which the answers of the layers are multiplied
(`l1scout.model.network.Gain`): the layers need not learn it, and cannot get it wrong. What does not change
sign, such as the half step of a rounding, is the offset.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.dataset.matched import Dataset
from l1scout.evaluate.targets import targets
from l1scout.formats.streams.muon import PT_LSB
from l1scout.model.network import Gain
from l1scout.model.quantities import OUTPUTS, REFERENCES, Reference
from l1scout.statistics import half_width, wrap
from l1scout.training.recipes import Recipe

FADE = 2.0
"""Beyond the training muons corrections fall to 0: they are 0 where pT is this many times more, or less. But
phi and eta at the second station are not those at the vertex: there, the bend goes on falling with pT."""
_CELL = 100
"""Muons on each side of a cell from which the offset is read."""


@dataclass(frozen=True)
class Gains:
    """From the answers of the layers to L1 minus offline (rad, 1, GeV).

    Parameters
    ----------
    inputs : tuple of str
        Of the network.
    gains : tuple of Gain
    offset : ndarray of float64, shape (outputs,)
    reference : {"vertex", "station 2"}
        Which L1 phi and eta are meant.
    """

    inputs: tuple[str, ...]
    gains: tuple[Gain, ...] = ()
    offset: NDArray[np.float64] = field(default_factory=lambda: np.zeros(len(OUTPUTS)))
    reference: Reference = "vertex"

    def factors(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
        """Return the product of the factors of each muon, shape (muons, outputs)."""
        out = np.ones((np.size(columns[self.inputs[0]]), len(OUTPUTS)))
        for gain in self.gains:
            out *= gain(columns[self.inputs[gain.column]])
        return out

    def corrections(
        self, columns: Mapping[str, NDArray[Any]], answers: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return L1 minus offline from answers of the layers, both of shape (muons, outputs)."""
        return np.asarray(answers * self.factors(columns) + self.offset, np.float64)

    def answers(self, data: Dataset) -> NDArray[np.float64]:
        """Return the answers that would be right, shape (muons, outputs); 0 where the factor is 0."""
        factors, wanted = self.factors(data.columns), targets(data, self.reference) - self.offset
        return np.divide(wanted, factors, out=np.zeros_like(factors), where=factors != 0)

    def times(self, factors: Mapping[str, tuple[int, NDArray[np.float64]]]) -> "Gains":
        """Return gains with more factors: by input, the first value and factors of shape (values, outputs).

        Values before the first have the factors of the first, those after the last the ones of the last.
        """
        found = {gain.column: gain for gain in self.gains}
        for name, (low, more) in factors.items():
            column = self.inputs.index(name)
            new = Gain(column, low, np.asarray(more, np.float64))
            old = found.get(column)
            if old:
                first = min(low, old.low)
                last = max(low + len(more), old.low + len(old.factors))
                values = np.arange(first, last)
                new = Gain(column, first, old(values) * new(values))
            found[column] = new
        return replace(self, gains=tuple(found[k] for k in sorted(found)))


def first_gains(
    train: Dataset,
    recipe: Recipe,
    domain: Mapping[str, tuple[int, int]],
    inputs: Sequence[str],
    known: tuple[int, int],
) -> Gains:
    """Return the gains of a recipe before its training.

    Parameters
    ----------
    train : Dataset
    recipe : Recipe
    domain : mapping of str to (int, int)
        Of the model.
    inputs : sequence of str
        Of the network.
    known : tuple of int
        Smallest and largest hwPt of which there are enough training muons.
    """
    none = Gains(tuple(inputs), reference=recipe.reference)
    if not recipe.gains:
        return none
    eta_column = REFERENCES[recipe.reference][1]
    eta, hw_pt = (np.arange(domain[n][0], domain[n][1] + 1) for n in (eta_column, "hwPt"))
    pt, fade = size(hw_pt), fading(hw_pt, known)
    position = fade if recipe.reference == "vertex" else np.ones_like(fade)
    sign = np.sign(eta) if "eta" in recipe.symmetries else np.where(eta < 0, -1, 1)
    gains = none.times(
        {
            "hwCharge": (0, _factors(2, phi=np.array([1.0, -1.0]))),
            eta_column: (int(eta[0]), _factors(eta.size, eta=sign.astype(np.float64))),
            "hwPt": (int(hw_pt[0]), np.stack([position / pt, position, fade * pt], axis=1)),
        }
    )
    return replace(gains, offset=unsigned(train, recipe.reference))


def size(hw_pt: NDArray[Any]) -> NDArray[np.float64]:
    """Return the pT (GeV) in the middle of the step that a code stands for; it is never 0."""
    return np.asarray(PT_LSB * (hw_pt - 0.5), np.float64)


def fading(hw_pt: NDArray[Any], known: tuple[int, int]) -> NDArray[np.float64]:
    """Return 1 for known codes; beyond, it falls with the logarithm of pT to 0 at `FADE` times their pT."""
    low, high = np.log(size(np.array(known)))
    pt = np.log(size(hw_pt))
    beyond = np.maximum(np.maximum(pt - high, low - pt), 0)
    return np.asarray(np.maximum(1 - beyond / np.log(FADE), 0))


def _factors(n: int, **of: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([of.get(v, np.ones(n)) for v in ("phi", "eta", "pt")], axis=1)


def unsigned(train: Dataset, reference: Reference) -> NDArray[np.float64]:
    """Return what is the same on both sides: of charge, in phi, and of eta, in eta. None of pT is."""
    y, positive = targets(train, reference), train["hwCharge"] == 0
    eta = train[REFERENCES[reference][1]].astype(np.int64)
    return np.array(
        [
            _middle(y[:, 0], positive, train["hwPt"].astype(np.int64)),
            _middle(y[:, 1], eta > 0, np.abs(eta)),
            0.0,
        ]
    )


def _middle(y: NDArray[np.float64], side: NDArray[np.bool_], cell: NDArray[np.int64]) -> float:
    """Return the middle between the medians of both sides, averaged over cells by its uncertainty there."""
    total = weights = 0.0
    order = np.argsort(cell, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(cell[order])) + 1):
        here = side[rows]
        if min(here.sum(), (~here).sum()) < _CELL:
            continue
        a, b = y[rows[here]], y[rows[~here]]
        variance = sum(half_width(x - np.median(x)).value ** 2 / x.size for x in (a, b))
        if variance > 0:
            total += float(np.median(a) + np.median(b)) / 2 / variance
            weights += 1 / variance
    return total / weights if weights else 0.0


def leads_to_vertex(train: Dataset) -> bool:
    """Return whether hwPhi, hwPt and hwCharge tell offline phi better than the trigger's phi at the vertex.

    They do not where charges are missing or are not those with which the trigger extrapolated. What is
    compared is the RMS with the median bend in ranges of hwPt a tenth wide.
    """
    bend, raw = (targets(train, reference)[:, 0] for reference in ("station 2", "vertex"))
    sign = np.where(train["hwCharge"] == 0, 1.0, -1.0)
    ranges = np.round(10 * np.log(size(train["hwPt"]))).astype(np.int64)
    ranges -= ranges.min()
    median = np.zeros(ranges.max() + 1)
    for k in np.unique(ranges):
        median[k] = np.median((sign * bend)[ranges == k])
    return bool(np.mean(wrap(bend - sign * median[ranges]) ** 2) < np.mean(raw**2))
