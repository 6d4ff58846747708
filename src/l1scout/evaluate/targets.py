"""What a network has to learn, and residuals before and after a correction."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.dataset.matched import Dataset
from l1scout.evaluate.metrics import residuals
from l1scout.formats.streams.muon import FIELDS, PT
from l1scout.model.quantities import REFERENCES, Reference, Residuals
from l1scout.statistics import wrap


def targets(data: Dataset, reference: Reference = "vertex") -> NDArray[np.float64]:
    """L1 minus offline, shape (muons, 3): phi (rad, wrapped), eta, pT (GeV).

    Parameters
    ----------
    data : Dataset
    reference : {"vertex", "station 2"}
        Where L1 phi and eta are taken.
    """
    phi, eta = (FIELDS[name].to_physical(data[name]) for name in REFERENCES[reference])
    return np.stack(
        [
            wrap(phi - data["recoPhi"]),
            eta - data["recoEta"],
            PT.to_physical(data["hwPt"]) - data["recoPt"],
        ],
        axis=1,
    )


def raw_residuals(data: Dataset, reference: Reference = "vertex") -> Residuals:
    """Residuals of the trigger's own values: at the vertex, or what corrections from station 2 begin with."""
    phi, eta = (FIELDS[name].to_physical(data[name]) for name in REFERENCES[reference])
    return residuals(PT.to_physical(data["hwPt"]), eta, phi, data.columns)


def corrected(raw: Residuals, correction: NDArray[np.float64], reco_pt: NDArray[Any]) -> Residuals:
    """Residuals after a correction (shape (muons, 3): rad, 1, GeV) is taken off the L1 values.

    `raw` has the residuals at the correction's reference; see `raw_residuals`.
    """
    return {
        "phi": wrap(raw["phi"] - correction[:, 0]),
        "eta": raw["eta"] - correction[:, 1],
        "pt": raw["pt"] - correction[:, 2] / reco_pt,
    }
