"""Random muons as the Global Trigger could get them: over the full ranges of all fields."""

import numpy as np

from l1scout.formats.streams.muon import MUON_RUN3, PHI_BINS, TRACK_FINDERS
from l1scout.trigger.trigger_inputs import SLOTS, StreamObjects, TriggerInputs

_SOFT = 60
"""Half of the muons have at most this hwPt, as most thresholds are there."""
_ETA = 225
"""Largest eta of a muon in bins: 2.45."""


def random_muons(crossings: int, seed: int = 1) -> TriggerInputs:
    """Return crossings with none to eight random muons; half of the crossings have them near each other.

    Parameters
    ----------
    crossings, seed : int
    """
    rng = np.random.default_rng(seed)
    shape = (crossings, SLOTS["muon"])
    present = np.arange(shape[1]) < rng.integers(0, shape[1] + 1, (crossings, 1))
    columns = {f.name: rng.integers(f.low, f.high + 1, shape) for f in MUON_RUN3.fields}
    columns["hwPt"] = np.where(
        rng.random(shape) < 0.5, rng.integers(1, _SOFT + 1, shape), columns["hwPt"].clip(1)
    )
    spread = rng.choice([1, 8], (crossings, 1))
    columns["hwEtaAtVtx"] = rng.integers(-_ETA, _ETA + 1, shape) // spread
    columns["hwPhiAtVtx"] = rng.integers(0, PHI_BINS, shape) // spread
    columns["tfMuonIndex"] = rng.integers(0, max(r.stop for r in TRACK_FINDERS.values()), shape)
    return TriggerInputs(
        crossings,
        {
            "muon": StreamObjects.of_slots(
                {n: np.where(present, v, 0).astype(np.int16) for n, v in columns.items()}
            )
        },
    )
