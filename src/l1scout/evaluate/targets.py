"""What a network has to learn, and residuals before and after a correction."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.dataset.matched import Dataset
from l1scout.evaluate.metrics import residuals
from l1scout.formats.streams.muon import ETA_VTX, PHI_VTX, PT
from l1scout.model.quantities import Residuals
from l1scout.statistics import wrap


def targets(data: Dataset) -> NDArray[np.float64]:
    """L1 minus offline, shape (muons, 3): phi (rad, wrapped), eta, pT (GeV)."""
    return np.stack(
        [
            wrap(PHI_VTX.to_physical(data["hwPhiAtVtx"]) - data["recoPhi"]),
            ETA_VTX.to_physical(data["hwEtaAtVtx"]) - data["recoEta"],
            PT.to_physical(data["hwPt"]) - data["recoPt"],
        ],
        axis=1,
    )


def raw_residuals(data: Dataset) -> Residuals:
    """Residuals of the trigger's own values."""
    return residuals(
        PT.to_physical(data["hwPt"]),
        ETA_VTX.to_physical(data["hwEtaAtVtx"]),
        PHI_VTX.to_physical(data["hwPhiAtVtx"]),
        data.columns,
    )


def corrected(raw: Residuals, correction: NDArray[np.float64], reco_pt: NDArray[Any]) -> Residuals:
    """Residuals after a correction (shape (muons, 3): rad, 1, GeV) is taken off the L1 values."""
    return {
        "phi": wrap(raw["phi"] - correction[:, 0]),
        "eta": raw["eta"] - correction[:, 1],
        "pt": raw["pt"] - correction[:, 2] / reco_pt,
    }
