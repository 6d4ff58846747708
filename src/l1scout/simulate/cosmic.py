"""Cosmic muons as the barrel trigger sees them: an upper leg, and a lower one a BX or two later."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.formats.streams.muon import BMTF_INDEX, ETA, PHI, PHI_BINS, PT
from l1scout.simulate.detector import STATION_RADII

MAX_ETA = 0.83
FLIGHT_BX = 2 * STATION_RADII[1] / 0.299792458 / 24.951
"""BX from MB2 above to MB2 below, through the centre: 34.2 ns."""
SPREAD = 0.03
"""Between the legs' directions: rad, and units of eta."""
PT_SPREAD = 0.15

Leg = tuple[NDArray[np.int64], dict[str, NDArray[Any]]]


def legs(random: np.random.Generator, n: int) -> tuple[Leg, Leg]:
    """Draw the legs of n cosmic muons through the centre of the barrel.

    The flux falls as the squared cosine of the zenith angle. The trigger takes each leg for a muon
    from the centre, so that the upper one gets the wrong charge.

    Returns
    -------
    upper, lower : tuple
        Delay in BX and the columns in which they differ from muons of collisions.
    """
    direction = np.zeros((3, 0))
    while direction.shape[1] < n:
        up = random.random(n) ** (1 / 3)
        around, across = random.uniform(0, 2 * np.pi, n), np.sqrt(1 - up**2)
        more = np.stack([across * np.cos(around), up, across * np.sin(around)])
        inside = np.abs(more[2]) < np.sinh(MAX_ETA) * np.hypot(more[0], more[1])
        direction = np.concatenate([direction, more[:, inside]], axis=1)
    x, y, z = direction[:, :n]
    phi, eta = np.arctan2(y, x), np.arcsinh(z / np.hypot(x, y))
    pt = 5.0 + random.pareto(2.0, n) * 10.0
    charge = random.integers(0, 2, n)
    delay = np.floor(random.random(n) + FLIGHT_BX).astype(np.int64)
    upper = _leg(phi, eta, pt * random.normal(1, PT_SPREAD, n), 1 - charge)
    lower_phi, lower_eta = phi + np.pi + random.normal(0, SPREAD, n), random.normal(-eta, SPREAD)
    lower = _leg(lower_phi, lower_eta, pt * random.normal(1, PT_SPREAD, n), charge)
    return (np.zeros(n, np.int64), upper), (delay, lower)


def _leg(
    phi: NDArray[np.float64], eta: NDArray[np.float64], pt: NDArray[np.float64], charge: NDArray[np.int64]
) -> dict[str, NDArray[Any]]:
    hw_phi, hw_eta = PHI.to_hardware(phi), ETA.to_hardware(eta)
    columns = {
        "hwPt": PT.to_hardware(np.maximum(pt, 1.0)),
        "hwQual": np.full(phi.size, 12),
        "hwPhi": hw_phi,
        "hwPhiAtVtx": hw_phi,
        "hwEta": hw_eta,
        "hwEtaAtVtx": hw_eta,
        "hwCharge": charge,
        "tfMuonIndex": BMTF_INDEX.start + 3 * (hw_phi * 12 // PHI_BINS),
    }
    return {name: values.astype(np.int16) for name, values in columns.items()}
