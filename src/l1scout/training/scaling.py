"""Normalisation of inputs and answers, and the domain of a model."""

from collections.abc import Sequence

import numpy as np

from l1scout.dataset.matched import COLUMNS, Dataset
from l1scout.formats.streams.muon import PHI_BINS
from l1scout.model.card import Scaled
from l1scout.model.quantities import OUTPUT_UNITS, OUTPUTS
from l1scout.statistics import half_width
from l1scout.training.gains import Gains
from l1scout.training.recipes import Recipe

_HW_PT = next((int(c.low), int(c.high)) for c in COLUMNS if c.name == "hwPt")
_FINE = {
    "hwPhiAtVtx": (PHI_BINS / 2, 256.0),
    "hwEtaAtVtx": (0.0, 8.0),
    "hwEta": (0.0, 8.0),
    "hwPhi": (PHI_BINS / 2, 256.0),
    "hwPt": (10.0, 8.0),
    "hwCharge": (0.5, 1.0),
    "stubPhiB1": (0.0, 64.0),
    "stubPhiB2": (0.0, 64.0),
    "stubBend12": (0.0, 256.0),
}
"""Offset and scale of the default preset: neighbours in pT and eta, where answers change from code to
code, lie further apart than on [0, 1]. All are exact in Q8.8."""


def domain(train: Dataset, recipe: Recipe, inputs: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Return the ends of the inputs in the training data, but always all phi and both charges.

    A recipe with gains answers for all hwPt, one with their symmetry for eta of both signs alike.
    """
    whole = {"hwPhiAtVtx": (0, PHI_BINS - 1), "hwPhi": (0, PHI_BINS - 1), "hwCharge": (0, 1)}
    if recipe.gains:
        whole["hwPt"] = _HW_PT
    if "eta" in recipe.symmetries:
        for name in ("hwEtaAtVtx", "hwEta"):
            largest = int(np.abs(train[name].astype(np.int64)).max())
            whole[name] = -largest, largest
    return {n: whole.get(n, (int(train[n].min()), int(train[n].max()))) for n in inputs}


def scaling(
    train: Dataset, recipe: Recipe, inputs: Sequence[str], gains: Gains
) -> tuple[tuple[Scaled, ...], tuple[Scaled, ...]]:
    """Normalisation of inputs and answers of the layers: to [0, 1] for the paper's recipes, else robust."""
    ends = domain(train, recipe, inputs)
    unit = {n: (float(a), float(max(b - a, 1))) for n, (a, b) in ends.items()}
    y = gains.answers(train)
    if recipe.targets == "unit":
        low, high = y.min(axis=0), y.max(axis=0)
        offset, scale = low, high - low
    else:
        unit |= {n: _FINE[n] for n in inputs if n in _FINE}
        offset = np.median(y, axis=0)
        scale = np.array([half_width(column).value for column in y.T])
    scale = np.where(scale > 0, scale, 1.0)
    outputs = zip(OUTPUTS, OUTPUT_UNITS, offset.tolist(), scale.tolist(), strict=True)
    return (
        tuple(Scaled(n, "hardware", *unit[n]) for n in inputs),
        tuple(Scaled(*o) for o in outputs),
    )
