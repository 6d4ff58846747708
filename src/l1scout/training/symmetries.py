"""Symmetries of a detector, and whether the training muons have them.

A muon of the other charge, or at -eta, is corrected by as much as its mirror image, and turning the detector
changes nothing: the network need not see the charge, nor the sign of eta, nor phi, and learns from more muons
of each kind. But detectors are not quite symmetric, and some inputs (phi, directions of stubs) have no mirror
image that the network could know. So a symmetry is used only where all inputs have it, and where correcting
both sides apart would not explain more than `BROKEN` of the variance of the trigger's residuals in phi, eta
or pT. Otherwise the network sees the difference: the charge, the sign of eta, or phi.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from l1scout.dataset.matched import Dataset
from l1scout.evaluate.targets import raw_residuals
from l1scout.model.quantities import REFERENCES, VARIABLES
from l1scout.training.loss_functions import WIDTH
from l1scout.training.recipes import Recipe

BROKEN = 0.01
"""Share of the variance; the RMS gains about half of it."""
MIN_MUONS = 50_000
"""Training muons that tell a difference from chance; with fewer, symmetries are taken for granted."""
_CLIP = 5.0
"""Of the widths of the losses: what is further off counts as this."""
_ODD = {
    "charge": ("hwPhiAtVtx", "hwPhi", "stubPhiB1", "stubPhiB2", "stubBend12"),
    "eta": (),
    "phi": ("hwPhiAtVtx", "hwPhi"),
}
"""Inputs that have no mirror image, or tell phi."""


def adapted(recipe: Recipe, found: Mapping[str, float]) -> Recipe:
    """Return a recipe without the symmetries that the muons or the inputs do not have.

    Parameters
    ----------
    recipe : Recipe
    found : mapping of str to float
        The `differences` of the training muons; empty if they are too few.
    """
    kept = {s for s in recipe.symmetries if found.get(s, 0.0) <= BROKEN}
    inputs, (phi, eta) = recipe.inputs, REFERENCES[recipe.reference]
    if "phi" in recipe.symmetries and "phi" not in kept and phi not in inputs:
        inputs = (*inputs, phi)
    kept -= {s for s, odd in _ODD.items() if set(odd) & set(inputs)}
    if eta not in recipe.embedded_inputs:  # a plain number is not tied to its mirror image
        kept = set()
    return replace(recipe, inputs=inputs, symmetries=tuple(s for s in recipe.symmetries if s in kept))


def described(symmetries: Sequence[str], found: Mapping[str, float]) -> str:
    """Say in a line which symmetries a network has, and how far its training muons are from each."""
    line = f"Symmetries: {', '.join(symmetries) or 'none'}"
    shares = ", ".join(f"{name} {100 * max(share, 0):.2f} %" for name, share in found.items())
    return f"{line} (differences explain {shares} of the residuals' variance)" if found else line


def differences(train: Dataset, offset: NDArray[np.float64]) -> dict[str, float]:
    """Return by how much of its variance a residual differs between mirror images, and over phi.

    Parameters
    ----------
    train : Dataset
    offset : ndarray of float64, shape (outputs,)
        What does not change sign; see `l1scout.training.gains`.

    Returns
    -------
    dict of str to float
        For ``charge``, ``eta`` and ``phi``: the largest share of the variance of phi, eta or pT that
        correcting each side (or each of 144 ranges of phi) apart would explain, beyond what chance does.
    """
    eta, charge = train["hwEtaAtVtx"].astype(np.int64), 1 - 2 * train["hwCharge"].astype(np.int64)
    raw = raw_residuals(train)
    signed = [(raw["phi"] - offset[0]) * charge, (raw["eta"] - offset[1]) * np.sign(eta), raw["pt"]]
    limits = [_CLIP * WIDTH[v] for v in VARIABLES]
    residuals = [np.clip(x, -limit, limit) for x, limit in zip(signed, limits, strict=True)]
    pt_code, eta_code = train["hwPt"].astype(np.int64), np.abs(eta)
    pt_bin, eta_bin = _quantiles(pt_code, 4), _quantiles(eta_code, 6)
    cells = [pt_code * 6 + eta_bin, eta_code * 4 + pt_bin]
    phi = ((train["hwPhiAtVtx"].astype(np.int64) // 4) * 2 + train["hwCharge"]) * 4 + pt_bin
    sides = {"charge": train["hwCharge"].astype(np.int64), "eta": (eta > 0).astype(np.int64)}
    found = {
        s: max(_explained(x, c, 2 * c + side) for x in residuals for c in cells) for s, side in sides.items()
    }
    by_charge = 2 * cells[0] + sides["charge"]
    return found | {"phi": max(_explained(x, by_charge, phi) for x in residuals)}


def _explained(x: NDArray[np.float64], cell: NDArray[np.int64], group: NDArray[np.int64]) -> float:
    """Return the share of the variance within cells that means of groups explain.

    Means of every second muon are multiplied by those of the others: chance is not in both.
    """
    _, group = np.unique(group, return_inverse=True)
    left, n = np.empty_like(x), int(group.max()) + 1
    means = []
    for half in (slice(0, None, 2), slice(1, None, 2)):
        left[half] = x[half] - _means(x[half], cell[half], int(cell.max()) + 1)[cell[half]]
        means.append(_means(left[half], group[half], n))
    return float((np.bincount(group, minlength=n) * means[0] * means[1]).sum() / (left**2).sum())


def _means(x: NDArray[np.float64], group: NDArray[np.int64], n: int) -> NDArray[np.float64]:
    return np.bincount(group, x, n) / np.maximum(np.bincount(group, minlength=n), 1)


def _quantiles(x: NDArray[np.int64], bins: int) -> NDArray[np.int64]:
    return np.asarray(np.searchsorted(np.quantile(x, np.arange(1, bins) / bins), x, side="left"), np.int64)
