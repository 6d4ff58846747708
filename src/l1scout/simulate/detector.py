"""The barrel as a muon sees it: shells of material and field from the interaction point to MB4.

Radii, thicknesses and fields are the few numbers of the CMS barrel that matter for a muon of some
GeV (CMS detector paper, JINST 3 S08004); material constants are from the PDG's tables of atomic
and nuclear properties. The field of the yoke's two outer layers is such that a muon is deflected as much as
the trigger's Kalman filter expects (``aPhiB`` of CMSSW's simKBmtfDigis_cfi).
"""

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from l1scout.formats.streams.muon import MUON_MASS

ELECTRON_MASS = 0.00051099895
"""GeV"""
STATION_RADII = (4.311, 5.124, 6.179, 7.200)
"""MB1..MB4, m"""
CALORIMETER_RADIUS = 1.29
"""m; inside of it there is field and no material"""
SOLENOID_FIELD = 3.80
"""T"""
MATERIAL_SCALE = 1.04
"""All thicknesses: what cables, absorber structure and supports add."""
HARD_COLLISION = 0.020
"""GeV; energy transfers above it are drawn one by one, those below as a Gaussian."""
BETHE = 0.0307075
"""Bethe's constant, 0.307075 MeV cm^2/mol, in GeV/m for a density in g/cm^3."""

_MOMENTUM_GRID = np.geomspace(0.25, 300.0, 256)
GRID_LOW = float(np.log(_MOMENTUM_GRID[0]))
GRID_STEP = float(np.log(_MOMENTUM_GRID[1] / _MOMENTUM_GRID[0]))


@dataclass(frozen=True)
class Material:
    """Constants of a material (PDG; density effect after Sternheimer).

    Parameters
    ----------
    density : float
        g/cm^3.
    z_over_a, excitation_ev, radiation_length :
        Mean Z/A, mean excitation energy in eV, radiation length in m.
    density_effect : tuple
        a, k, x0, x1, C, delta0.
    """

    density: float
    z_over_a: float
    excitation_ev: float
    radiation_length: float
    density_effect: tuple[float, float, float, float, float, float]


MATERIALS = {
    "PbWO4": Material(8.300, 0.41315, 600.7, 0.0089, (0.22758, 3.0, 0.4068, 3.0023, 5.8528, 0.0)),
    "Al": Material(2.699, 0.48181, 166.0, 0.08897, (0.08024, 3.6345, 0.1708, 3.0127, 4.2395, 0.12)),
    "brass": Material(8.530, 0.45636, 322.0, 0.0149, (0.14339, 2.9044, -0.0254, 3.2792, 4.4190, 0.08)),
    "Fe": Material(7.874, 0.46557, 286.0, 0.01757, (0.14680, 2.9632, -0.0012, 3.1531, 4.2911, 0.12)),
}


class Shell(NamedTuple):
    """Radii in m, material and its thickness in m at normal incidence, field in T.

    `steps` is the number of equal parts in which a muon crosses it; `projective` material has the
    same thickness at every polar angle; beyond |z| = `half_length` there is neither material nor field.
    """

    inner: float
    outer: float
    material: str = ""
    thickness: float = 0.0
    field: float = 0.0
    steps: int = 1
    projective: bool = False
    half_length: float = np.inf


_B = SOLENOID_FIELD
SHELLS = (
    Shell(1.29, 1.52, "PbWO4", 0.23, _B, projective=True),
    Shell(1.52, 1.80, "Al", 0.04, _B),
    Shell(1.80, 2.88, "brass", 0.85, _B, 4),
    Shell(2.88, 3.12, "Fe", 0.02, _B),
    # the coil's winding, where the field falls to zero linearly
    Shell(3.12, 3.28, "Al", 0.16, _B * 0.75),
    Shell(3.28, 3.44, "Al", 0.16, _B * 0.25),
    Shell(3.44, 3.83, "Fe", 0.03),
    Shell(3.83, 4.02, "Fe", 0.19, -1.4, half_length=1.27),  # tail catcher
    Shell(4.02, 4.311),
    Shell(4.311, 4.56),
    Shell(4.56, 4.855, "Fe", 0.295, -1.75),
    Shell(4.855, 5.124),
    Shell(5.124, 5.345),
    Shell(5.345, 5.975, "Fe", 0.63, -1.2, 2),
    Shell(5.975, 6.179),
    Shell(6.179, 6.375),
    Shell(6.375, 7.005, "Fe", 0.63, -1.0, 2),
    Shell(7.005, 7.200),
)


class StepTable(NamedTuple):
    """One row a step of the transport, with the energy loss of its material on a momentum grid.

    Parameters
    ----------
    r, field, half_length, thickness, radiation_lengths, spread : ndarray, shape (steps,)
        Outer radius (m), field (T), thickness at normal incidence (m) and in radiation lengths,
        variance of the soft loss (GeV^2 at beta = 1).
    projective : ndarray of bool, shape (steps,)
    station : ndarray of int64, shape (steps,)
        Station (0..3) that lies at the step's end, or -1.
    loss, hard, mean : ndarray, shape (steps, 256)
        Mean soft loss (GeV), mean number of hard collisions and mean loss in all collisions (GeV)
        over the normal thickness, against log momentum (`GRID_LOW`, `GRID_STEP`).
    scattering : float
        Scale of the angles of multiple scattering.
    """

    r: NDArray[np.float64]
    field: NDArray[np.float64]
    half_length: NDArray[np.float64]
    thickness: NDArray[np.float64]
    radiation_lengths: NDArray[np.float64]
    spread: NDArray[np.float64]
    projective: NDArray[np.bool_]
    station: NDArray[np.int64]
    loss: NDArray[np.float64]
    hard: NDArray[np.float64]
    mean: NDArray[np.float64]
    scattering: float


def energy_loss(m: Material, p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Loss of a muon: in collisions below `HARD_COLLISION` (GeV/m), harder ones (1/m), all (GeV/m).

    Bethe's formula with density effect (PDG review, "Passage of particles through matter").

    Parameters
    ----------
    m : Material
    p : ndarray
        Momentum, GeV.
    """
    gamma = np.hypot(p, MUON_MASS) / MUON_MASS
    bg = p / MUON_MASS
    beta2 = (bg / gamma) ** 2
    ratio = ELECTRON_MASS / MUON_MASS
    tmax = 2 * ELECTRON_MASS * bg**2 / (1 + 2 * gamma * ratio + ratio**2)
    a, k, x0, x1, c, delta0 = m.density_effect
    x = np.log10(bg)
    delta = np.where(
        x >= x0,
        2 * np.log(10) * x - c + a * np.clip(x1 - x, 0, None) ** k,
        delta0 * 10 ** (2 * (np.minimum(x, x0) - x0)),
    )
    xi = 0.5 * BETHE * m.z_over_a * m.density / beta2  # GeV/m
    excitation = m.excitation_ev * 1e-9
    mean = 2 * xi * (0.5 * np.log(2 * ELECTRON_MASS * bg**2 * tmax / excitation**2) - beta2 - delta / 2)
    cut = np.minimum(HARD_COLLISION, tmax)
    hard_loss = xi * (np.log(tmax / cut) - beta2 * (1 - cut / tmax))
    hard_rate = xi * (1 / cut - 1 / tmax - beta2 / tmax * np.log(tmax / cut))
    return np.stack([mean - hard_loss, hard_rate, mean])


@cache
def step_table(scale: float = MATERIAL_SCALE, *, scattering: float = 1.0, last_station: int = 3) -> StepTable:
    """Make the transport's table of steps from `SHELLS`, all material scaled by `scale`.

    Angles of multiple scattering are scaled by `scattering`; it ends at `last_station` (0..3).
    """
    rows: list[tuple[float, ...]] = []
    losses = []
    loss_in = {name: energy_loss(m, _MOMENTUM_GRID) for name, m in MATERIALS.items()}
    loss_in[""] = np.zeros_like(loss_in["Fe"])
    for shell in SHELLS:
        if shell.inner >= STATION_RADII[last_station]:
            break
        for k in range(shell.steps):
            outer = shell.inner + (shell.outer - shell.inner) * (k + 1) / shell.steps
            thick = shell.thickness * scale / shell.steps
            m = MATERIALS.get(shell.material)
            x0 = thick / m.radiation_length if m else 0.0
            spread = 0.5 * BETHE * m.z_over_a * m.density * thick * HARD_COLLISION if m else 0.0
            station = STATION_RADII.index(shell.outer) if shell.outer in STATION_RADII else -1
            rows.append((outer, shell.field, shell.half_length, thick, x0, spread, shell.projective, station))
            losses.append(loss_in[shell.material] * thick)
    columns = np.array(rows, np.float64).T.copy()
    r, field, half_length, thickness, x0s, spreads, projective, stations = columns
    loss, hard, mean = np.array(losses).transpose(1, 0, 2).copy()
    return StepTable(
        r,
        field,
        half_length,
        thickness,
        x0s,
        spreads,
        projective.astype(np.bool_),
        stations.astype(np.int64),
        loss,
        hard,
        mean,
        scattering,
    )
