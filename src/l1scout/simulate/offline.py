"""What offline reconstruction makes of a particle, and where its track would cross MB2."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from l1scout.simulate.detector import SOLENOID_FIELD, STATION_RADII, step_table
from l1scout.simulate.generator import Generated
from l1scout.simulate.transport import CURVATURE, Start, transport


@dataclass(frozen=True)
class Tracker:
    """Resolution of the tracker and turn-on of muon identification; GeV, rad, m."""

    pt_sigma: tuple[float, float] = (0.01, 1.5e-4)
    """relative: constant, and per GeV"""
    phi_sigma: tuple[float, float] = (0.6e-3, 1e-3)
    """constant, and times 1 GeV / pT"""
    eta_sigma: float = 6e-4
    kink_radius: tuple[float, float] = (0.3, 0.9)
    """a kink inside the first radius leaves the daughter's track, outside the second the parent's"""
    kink_sigma: float = 0.10
    turn_on: float = 3.45
    """not published, and the most influential unknown: see docs/simulation.md"""
    turn_on_width: float = 0.25


class Tracks(NamedTuple):
    """Offline muons, float64 of shape (n,): GeV, rad at the vertex; `identified` is bool."""

    pt: NDArray[np.float64]
    eta: NDArray[np.float64]
    phi: NDArray[np.float64]
    charge: NDArray[np.float64]
    identified: NDArray[np.bool_]


def reconstruct(particles: Generated, random: np.random.Generator, tracker: Tracker | None = None) -> Tracks:
    """Measure particles as the tracker does, and identify some of them as muons."""
    from scipy.special import erf  # slow to import, and only simulation needs it

    t = tracker or Tracker()
    s = particles.start
    n = s.pt.size
    inner, outer = t.kink_radius
    # share of the track that belongs to the parent
    parent = np.clip((s.kink_radius - inner) / (outer - inner), 0, 1)
    parent[s.kink_radius == 0] = 1
    daughter_pt = s.pt * s.kink_fraction
    pt = 1 / (parent / s.pt + (1 - parent) / daughter_pt)
    spans = (parent > 0) & (parent < 1)
    pt_sigma = np.hypot(np.hypot(t.pt_sigma[0], t.pt_sigma[1] * pt), np.where(spans, t.kink_sigma, 0))
    # the daughter's track, followed back to the beam with the daughter's curvature
    turn = CURVATURE * SOLENOID_FIELD * s.charge * s.kink_radius
    daughter_phi = s.phi + turn / s.pt + s.kink_phi - turn / daughter_pt
    daughter_eta = np.arcsinh(np.sinh(s.eta) + s.kink_theta * np.cosh(s.eta) ** 2)
    phi = parent * s.phi + (1 - parent) * daughter_phi
    eta = parent * s.eta + (1 - parent) * daughter_eta
    pt = pt * np.clip(random.normal(1, pt_sigma), 0.2, None)
    phi = phi + random.normal(0, np.hypot(t.phi_sigma[0], t.phi_sigma[1] / pt))
    eta = eta + random.normal(0, t.eta_sigma, n)
    efficiency = 0.5 * (1 + erf((pt - t.turn_on) / (np.sqrt(2) * t.turn_on_width)))
    wrapped = np.mod(phi + np.pi, 2 * np.pi) - np.pi
    return Tracks(pt, eta, wrapped, s.charge, random.random(n) < efficiency)


def to_second_station(
    pt: NDArray[np.float64], eta: NDArray[np.float64], phi: NDArray[np.float64], charge: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Propagate offline tracks to MB2 with the mean energy loss.

    Parameters
    ----------
    pt, eta, phi, charge : ndarray
        GeV and rad at the vertex.

    Returns
    -------
    eta, phi : ndarray
        Of the crossing as seen from the origin (rad, in [-pi, pi)); NaN where the track does not
        reach MB2.
    """
    zero, one = np.zeros_like(pt), np.ones_like(pt)
    start = Start(pt, phi, eta, zero, charge, zero, one, zero, zero)
    at = transport(start, None, step_table(last_station=1))
    return np.arcsinh(at.z[:, 1] / STATION_RADII[1]), np.mod(at.phi[:, 1] + np.pi, 2 * np.pi) - np.pi
