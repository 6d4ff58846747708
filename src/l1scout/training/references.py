"""Which L1 phi and eta a network corrects: those of the second station, or the trigger's at the vertex."""

import dataclasses

import numpy as np

from l1scout.dataset.matched import Dataset
from l1scout.evaluate.targets import targets
from l1scout.model.quantities import REFERENCES
from l1scout.statistics import wrap
from l1scout.training.gains import size
from l1scout.training.recipes import Recipe


def with_reference(train: Dataset, recipe: Recipe) -> Recipe:
    """Return the recipe, or one that corrects at the vertex.

    That is if the muons have no values of station 2 (the same hwPhi or hwEta for all), their phi there does
    not lead to the vertex, or the network is to see eta at the vertex alone.
    """
    station, vertex = REFERENCES["station 2"], REFERENCES["vertex"]
    seen = station[1] in recipe.inputs or vertex[1] not in recipe.inputs
    usable = all(np.ptp(train[n]) > 0 for n in station) and _leads_to_vertex(train)
    if recipe.reference == "vertex" or (seen and usable):
        return recipe
    instead = dict(zip(station, vertex, strict=True))
    inputs = tuple(dict.fromkeys(instead.get(n, n) for n in recipe.inputs))
    return dataclasses.replace(recipe, inputs=inputs, reference="vertex")


def _leads_to_vertex(train: Dataset) -> bool:
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
