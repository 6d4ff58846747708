"""Range of hwPt in which a model is used: as far as its training data can check it.

At every high hwPt, soft muons that were measured wrong outnumber those that are as hard as the trigger says.
A network learns from the former, so it must not be asked about the latter before they were checked. What is
known at run time is hwPt alone. So a model's range ends where the validation part has too few muons of that
*offline* pT for the checks of `l1scout.training.bin_guard`, or where its RMS is worse than that of the raw
trigger. Muons beyond keep the trigger's values.

This is for recipes with the guard. The others, the paper's among them, claim nothing bin by bin: their range
is that of their training muons.
"""

import numpy as np

from l1scout.dataset.matched import Dataset
from l1scout.evaluate.profiles import AXES, MIN_MUONS, SIGNIFICANT
from l1scout.formats.streams.muon import PT
from l1scout.model.quantities import VARIABLES, Residuals
from l1scout.statistics import rms_ratio

MAX_LOSS = 0.05
"""An RMS that is larger by less than this share is not called a loss here; reports call it one."""
MAX_CUT = 0.05
"""Share of the muons that losses may take from the range: a model that loses more widely is a bad one, and
its validation says so."""


def checked_hw_pt(validation: Dataset, hw_pt: tuple[int, int]) -> tuple[int, int]:
    """Return the range of hwPt that ends where the checked range of offline pT does.

    Parameters
    ----------
    validation : Dataset
        Muons that the model is not trained on.
    hw_pt : tuple of int
        Smallest and largest hwPt of the training part, both included; so is what is returned.
    """
    low, high = hw_pt
    checked = checked_pt(validation)
    if checked:
        high = max(low, min(high, int(np.ceil(PT.to_hardware(checked[1]))) - 1))
    return low, high


def without_loss(
    validation: Dataset, after: Residuals, raw: Residuals, hw_pt: tuple[int, int]
) -> tuple[tuple[int, int], list[list[int]]]:
    """Remove the highest values from a range of hwPt while the RMS there is worse than the raw trigger's.

    Parameters
    ----------
    validation : Dataset
        Muons that the model was not trained on.
    after, raw : Residuals
        Of these muons with the model's corrections, and of the trigger's own values.
    hw_pt : tuple of int
        Smallest and largest hwPt.

    Returns
    -------
    range : tuple of int
        What is left.
    lost : list of [int, int]
        First and last code of what was taken out.
    """
    low, high = hw_pt
    at, lost, top = validation["hwPt"].astype(np.int64), list[list[int]](), high
    while top > low and np.count_nonzero((at > top) & (at <= high)) <= MAX_CUT * at.size:
        counts = np.bincount(at[at <= top], minlength=top + 1)
        enough = np.flatnonzero(np.cumsum(counts[::-1]) >= MIN_MUONS)
        if not enough.size:
            break
        start = top - int(enough[0])
        these = (at >= start) & (at <= top)
        ratios = [rms_ratio(after[v][these], raw[v][these]) for v in VARIABLES]
        if not any(r.value - 1 > max(MAX_LOSS, SIGNIFICANT * r.error) for r in ratios):
            return (low, top), lost
        lost.append([start, top])
        top = start - 1
    return (low, high), []


def checked_pt(data: Dataset) -> tuple[float, float] | None:
    """Range of offline pT in GeV, of the bins that have `MIN_MUONS` muons; None if none has."""
    edges = np.asarray(AXES[0].edges)
    full = np.flatnonzero(np.histogram(data["recoPt"], edges)[0] >= MIN_MUONS)
    return (float(edges[full[0]]), float(edges[full[-1] + 1])) if full.size else None
