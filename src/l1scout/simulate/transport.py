"""Muons on their way out: helix, energy loss, straggling and multiple scattering, shell by shell.

In a uniform field b = r sin(alpha), with alpha the angle between direction and radius in the
transverse plane, grows by kappa (r2^2 - r1^2) / 2 exactly, so that a step needs no trigonometry.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from l1scout.formats.streams.muon import MUON_MASS
from l1scout.jit import kernel
from l1scout.simulate.detector import (
    CALORIMETER_RADIUS,
    ELECTRON_MASS,
    GRID_LOW,
    GRID_STEP,
    HARD_COLLISION,
    SOLENOID_FIELD,
    StepTable,
    step_table,
)

CURVATURE = -0.299792458
"""Direction change in rad a metre of path, for charge 1, field 1 T, transverse momentum 1 GeV."""
SCATTERING = 0.86 * 0.0136 * (1 + 0.038 * np.log(90.0))
"""GeV; Highland's formula, its logarithm taken for all the material before MB1 (90 radiation lengths),
as the PDG recommends, and scaled within its accuracy of 11 %"""
WIDE_SCATTER = 0.003, 4.0
"""Share of steps that scatter wider, and by how much (single large-angle scatters)."""
STOPPED = 0.26
"""GeV; below this momentum a muon is taken as stopped."""
RADIATION_PER_X0 = (ELECTRON_MASS / MUON_MASS) ** 2 * 4 / 3
"""Radiative losses per radiation length and unit of ln(v), v the fraction of energy lost."""
RADIATION_SOFTEST = 0.01


class Start(NamedTuple):
    """Where particles start, one row each: columns of float64.

    Parameters
    ----------
    pt, phi, eta, z : ndarray
        GeV and rad at the vertex (m along the beam), which lies on the beam axis.
    charge : ndarray
        -1 or 1.
    kink_radius : ndarray
        m; at this radius (below 1.29 m) the particle becomes another: a decay in flight, or a
        hadron's remnant. 0: nothing happens.
    kink_fraction : ndarray
        Momentum after the kink over momentum before.
    kink_phi, kink_theta : ndarray
        Angles of the kink, rad: in the plane across the beam, and towards the beam.
    """

    pt: NDArray[np.float64]
    phi: NDArray[np.float64]
    eta: NDArray[np.float64]
    z: NDArray[np.float64]
    charge: NDArray[np.float64]
    kink_radius: NDArray[np.float64]
    kink_fraction: NDArray[np.float64]
    kink_phi: NDArray[np.float64]
    kink_theta: NDArray[np.float64]


class Crossings(NamedTuple):
    """Where particles cross the stations MB1..MB4, each of shape (n, 4).

    Parameters
    ----------
    phi, bend, z : ndarray of float64
        Azimuth (rad, not wrapped), angle between direction and radius across the beam (rad), and m
        along the beam; NaN where the particle does not get.
    """

    phi: NDArray[np.float64]
    bend: NDArray[np.float64]
    z: NDArray[np.float64]


@kernel
def _inner(b: Any, kappa: Any, r1: Any, r2: Any) -> Any:
    """Cross empty uniform field from r1 to r2: new b, azimuth gained, path length; NaN if it curls back."""
    b2 = b + 0.5 * kappa * (r2 * r2 - r1 * r1)
    if abs(b2) >= 0.98 * r2:
        return b2, np.nan, np.nan
    alpha2 = np.arcsin(b2 / r2)
    alpha1 = np.arcsin(b / r1) if r1 > 0 else 0.0
    # direction turns by kappa s; the chord gives s
    turned = 0.0
    path = r2 - r1
    for _ in range(3):
        turned = 0.5 * kappa * path
        sinc = 1 - turned * turned / 6 + turned**4 / 120
        dphi = kappa * path - alpha2 + alpha1
        chord = np.sqrt(r1 * r1 + r2 * r2 - 2 * r1 * r2 * np.cos(dphi))
        path = chord / sinc
    return b2, kappa * path - alpha2 + alpha1, path


@kernel
def _transport(
    start: Any, steps: Any, random: Any, noise: Any, phi_out: Any, bend_out: Any, z_out: Any
) -> None:
    """Carry each particle through all steps; with `noise` False only mean losses act."""
    n_steps = steps.r.size
    for i in range(start.pt.size):
        charge = start.charge[i]
        tan_dip = np.sinh(start.eta[i])
        p = start.pt[i] * np.sqrt(1 + tan_dip * tan_dip)
        z = start.z[i]
        azimuth = start.phi[i]
        b = 0.0
        r = 0.0
        kink = start.kink_radius[i]
        if kink > 0:
            b, dphi, path = _inner(b, CURVATURE * charge * SOLENOID_FIELD / start.pt[i], 0.0, kink)
            if np.isnan(dphi):
                continue
            azimuth += dphi
            z += tan_dip * path
            r = kink
            alpha = np.arcsin(b / r) + start.kink_phi[i]
            b = r * np.sin(alpha)
            tan_dip += start.kink_theta[i] * (1 + tan_dip * tan_dip)
            p *= start.kink_fraction[i]
        cos_dip = 1 / np.sqrt(1 + tan_dip * tan_dip)
        if r < CALORIMETER_RADIUS:
            b, dphi, path = _inner(
                b, CURVATURE * charge * SOLENOID_FIELD / (p * cos_dip), r, CALORIMETER_RADIUS
            )
            if np.isnan(dphi):
                continue
            azimuth += dphi
            z += tan_dip * path
            r = CALORIMETER_RADIUS
        for k in range(n_steps):
            r2 = steps.r[k]
            dr = r2 - r
            inside = abs(z) < steps.half_length[k]
            curl = CURVATURE * charge * steps.field[k] if inside else 0.0
            middle = r + 0.5 * dr
            area = middle * middle - r * r
            sine = (b + 0.5 * curl / (p * cos_dip) * area) / middle
            if abs(sine) > 0.95:
                break
            kick = 0.0
            dip_kick = 0.0
            p_middle = p
            if steps.thickness[k] > 0 and inside:
                slant = 1 / np.sqrt(1 - sine * sine)
                if not steps.projective[k]:
                    slant /= cos_dip
                energy = np.sqrt(p * p + MUON_MASS * MUON_MASS)
                beta2 = p * p / (energy * energy)
                at = (np.log(p) - GRID_LOW) / GRID_STEP
                cell = min(max(int(at), 0), steps.loss.shape[1] - 2)
                at -= cell
                if noise:
                    lost = slant * (steps.loss[k, cell] * (1 - at) + steps.loss[k, cell + 1] * at)
                    hard = slant * (steps.hard[k, cell] * (1 - at) + steps.hard[k, cell + 1] * at)
                    gamma = energy / MUON_MASS
                    tmax = (
                        2
                        * ELECTRON_MASS
                        * beta2
                        * gamma
                        * gamma
                        / (1 + 2 * gamma * ELECTRON_MASS / MUON_MASS)
                    )
                    lost += random.standard_normal() * np.sqrt(steps.spread[k] * slant / beta2)
                    left = random.standard_exponential()
                    while left < hard:
                        left += random.standard_exponential()
                        u = random.random()
                        t = HARD_COLLISION * tmax / (tmax - u * (tmax - HARD_COLLISION))
                        if random.random() < 1 - beta2 * t / tmax:
                            lost += t
                    x = steps.radiation_lengths[k] * slant
                    theta = steps.scattering * SCATTERING / (beta2 * energy) * np.sqrt(x)
                    rare = random.random()
                    if rare < WIDE_SCATTER[0]:
                        theta *= WIDE_SCATTER[1]
                    elif 1 - rare < x * RADIATION_PER_X0 * -np.log(RADIATION_SOFTEST):
                        lost += energy * RADIATION_SOFTEST ** random.random()
                    kick = random.standard_normal() * theta / cos_dip
                    dip_kick = random.standard_normal() * theta / (cos_dip * cos_dip)
                else:
                    lost = slant * (steps.mean[k, cell] * (1 - at) + steps.mean[k, cell + 1] * at)
                half = energy - 0.5 * lost
                energy -= lost
                if energy < STOPPED:
                    break
                p = np.sqrt(energy * energy - MUON_MASS * MUON_MASS)
                p_middle = np.sqrt(half * half - MUON_MASS * MUON_MASS)
            # the field acts at the mean momentum of the step, a kick over its second half
            bending = 0.5 * curl / (p_middle * cos_dip)
            sine = (b + bending * area) / middle
            cosine = np.sqrt(1 - min(sine * sine, 0.95))
            slope = sine / cosine
            b += bending * (r2 * r2 - r * r) + r2 * cosine * kick
            slope += 0.5 * kick * (1 + slope * slope)
            tan_middle = tan_dip + 0.5 * dip_kick
            tan_dip += dip_kick
            cos_dip = 1 / np.sqrt(1 + tan_dip * tan_dip)
            azimuth += slope / middle * dr
            z += tan_middle * dr / cosine
            r = r2
            if abs(b) > 0.97 * r:
                break
            station = steps.station[k]
            if station >= 0:
                phi_out[i, station] = azimuth
                bend_out[i, station] = np.arcsin(b / r)
                z_out[i, station] = z


def transport(start: Start, random: np.random.Generator | None, steps: StepTable | None = None) -> Crossings:
    """Carry particles from the vertex to the muon stations.

    Parameters
    ----------
    start : Start
    random : numpy.random.Generator or None
        None: mean energy loss and no scattering, the propagation of an offline track.
    steps : StepTable, optional
        Material and field; the nominal ones if not given.
    """
    shape = start.pt.size, 4
    out = Crossings(np.full(shape, np.nan), np.full(shape, np.nan), np.full(shape, np.nan))
    _transport(start, steps or step_table(), random or np.random.default_rng(0), random is not None, *out)
    return out
