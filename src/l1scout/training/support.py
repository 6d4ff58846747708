"""Up to which hwPt a model may be asked: as far as its training data could check it.

At every high hwPt, soft muons that were measured wrong outnumber those that are as hard as the trigger says.
A network learns from the former, so it must not be asked about the latter before they were checked. What is
known at run time is hwPt alone. So a model's range ends where the validation part has too few muons of that
*offline* pT for the checks of `l1scout.training.guard`, or where its RMS is worse than that of the raw
trigger. Muons beyond keep the trigger's values.
"""

from typing import Any

import numpy as np

from l1scout.formats.muon import PT
from l1scout.training.dataset import Dataset
from l1scout.training.metrics import VARIABLES, Residuals, rms_ratio
from l1scout.training.profiles import AXES, MIN_MUONS, SIGNIFICANT

MAX_LOSS = 0.05
"""An RMS that is larger by less than this share is not called a loss here; reports call it one."""
MAX_CUT = 0.05
"""Share of the muons that losses may take from the range: a model that loses more widely is a bad one, and
its validation says so."""


def supported(
    validation: Dataset, after: Residuals, raw: Residuals, hw_pt: tuple[int, int]
) -> tuple[tuple[int, int], dict[str, Any]]:
    """Return the range of hwPt in which a model is supported.

    Parameters
    ----------
    validation : Dataset
        Muons that the model was not trained on.
    after, raw : Residuals
        Of these muons with the model's corrections, and of the trigger's own values.
    hw_pt : tuple of int
        Smallest and largest hwPt of the training part.

    Returns
    -------
    range : tuple of int
        Smallest and largest hwPt, both included.
    about : dict
        For the card: ``offline_pt_gev``, the offline pT up to which there are `MIN_MUONS` in a bin (None if
        there are nowhere), ``min_muons`` and ``hw_pt_with_loss``, the ranges of hwPt that were left out for
        their RMS.
    """
    low, high = hw_pt
    checked = checked_pt(validation)
    if checked:
        high = max(low, min(high, int(np.ceil(PT.to_hardware(checked[1]))) - 1))
    at, lost = validation["hwPt"].astype(np.int64), []
    top = high
    while np.count_nonzero(at > top) <= MAX_CUT * at.size:
        counts = np.bincount(at[at <= top], minlength=top + 1)
        enough = np.flatnonzero(np.cumsum(counts[::-1]) >= MIN_MUONS)
        if not enough.size:
            break
        start = top - int(enough[0])
        these = (at >= start) & (at <= top)
        ratios = [rms_ratio(after[v][these], raw[v][these]) for v in VARIABLES]
        if not any(r.value - 1 > max(MAX_LOSS, SIGNIFICANT * r.error) for r in ratios):
            high = top
            break
        lost.append([start, top])
        top = start - 1
    else:
        lost = []
    about = {
        "offline_pt_gev": list(checked) if checked else None,
        "min_muons": MIN_MUONS,
        "hw_pt_with_loss": lost,
    }
    return (low, high), about


def checked_pt(data: Dataset) -> tuple[float, float] | None:
    """Range of offline pT in GeV, of the bins that have `MIN_MUONS` muons; None if none has."""
    edges = np.asarray(AXES[0].edges)
    full = np.flatnonzero(np.histogram(data["recoPt"], edges)[0] >= MIN_MUONS)
    return (float(edges[full[0]]), float(edges[full[-1] + 1])) if full.size else None
