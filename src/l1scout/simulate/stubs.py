"""What the drift tubes report: one stub a station at most, with quantised angles and theta bins."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from l1scout.jit import kernel
from l1scout.simulate.transport import Crossings

STUB_PHI_LSB = 1 / 4096
"""rad; stub azimuth, counted here round the whole barrel"""
BEND_LSB = 1 / 512
"""rad; stub direction against the radius ("phiB")"""
WHEEL_PITCH, WHEEL_HALF = 2.66, 1.255
"""m; distance of the wheels' centres, and the sensitive half-length of a wheel"""
THETA_BIN = 0.334
"""m; seven bins a wheel in MB1, MB2 and MB3"""
NONE, UNCORRELATED, CORRELATED = 0, 1, 2


@dataclass(frozen=True)
class Chambers:
    """Performance of a chamber; angles in rad."""

    phi_efficiency: float = 0.94
    theta_efficiency: float = 0.94
    correlated: float = 0.60
    contaminated: float = 0.08
    phi_sigma: tuple[float, float, float] = (0.30e-3, 1.2e-3, 15e-3)
    bend_sigma: tuple[float, float, float] = (10e-3, 45e-3, 60e-3)
    crosstalk: float = 0.005

    def coarser(self, factor: float) -> "Chambers":
        """Return the same with all resolutions of azimuth and direction times a factor."""
        (a, b, c), (d, e, f) = self.phi_sigma, self.bend_sigma
        return replace(
            self,
            phi_sigma=(factor * a, factor * b, factor * c),
            bend_sigma=(factor * d, factor * e, factor * f),
        )


class Stubs(NamedTuple):
    """Stubs of each particle in MB1..MB4, integers of shape (n, 4).

    Parameters
    ----------
    phi, bend : ndarray of int64
        In units of `STUB_PHI_LSB` and `BEND_LSB`.
    quality : ndarray of int64
        `NONE`, `UNCORRELATED` (one superlayer) or `CORRELATED` (two).
    wheel : ndarray of int64
        -2..2, where there is a stub.
    theta : ndarray of int64
        Bin 0..6 along the wheel, -1 without theta.
    clean : ndarray of bool
        Not disturbed by a shower (truth: the tables are made with clean muons).
    """

    phi: NDArray[np.int64]
    bend: NDArray[np.int64]
    quality: NDArray[np.int64]
    wheel: NDArray[np.int64]
    theta: NDArray[np.int64]
    clean: NDArray[np.bool_]


@kernel
def _stubs(
    crossings: Any,
    random: Any,
    efficiency: Any,
    shares: Any,
    phi_sigma: Any,
    bend_sigma: Any,
    crosstalk: Any,
    out: Any,
) -> None:
    for i in range(crossings.phi.shape[0]):
        for s in range(4):
            out.quality[i, s] = NONE
            out.theta[i, s] = -1
            out.clean[i, s] = True
            phi, z = crossings.phi[i, s], crossings.z[i, s]
            if np.isnan(phi):
                continue
            wheel = int(np.floor(z / WHEEL_PITCH + 0.5))
            along = z - wheel * WHEEL_PITCH
            if abs(wheel) > 2 or abs(along) > WHEEL_HALF:
                continue
            out.wheel[i, s] = wheel
            if s < 3 and random.random() < efficiency[1]:
                cell = int(np.floor(along / THETA_BIN + 3.5))
                u = random.random()
                if u < crosstalk:
                    cell += 1 if u < 0.5 * crosstalk else -1
                out.theta[i, s] = min(max(cell, 0), 6)
            if random.random() >= efficiency[0]:
                continue
            u = random.random()
            grade = 2 if u < shares[0] else 0 if random.random() < shares[1] else 1
            out.clean[i, s] = grade < 2
            out.quality[i, s] = UNCORRELATED if grade == 1 else CORRELATED
            phi += random.standard_normal() * phi_sigma[grade]
            bend = crossings.bend[i, s] + random.standard_normal() * bend_sigma[grade]
            out.phi[i, s] = int(np.floor(phi / STUB_PHI_LSB + 0.5))
            out.bend[i, s] = min(max(int(np.floor(bend / BEND_LSB + 0.5)), -512), 511)


def stubs(crossings: Crossings, random: np.random.Generator, chambers: Chambers | None = None) -> Stubs:
    """Digitise the crossings of the stations."""
    c = chambers or Chambers()
    shape = crossings.phi.shape
    phi, bend, quality, wheel, theta = (np.zeros(shape, np.int64) for _ in range(5))
    out = Stubs(phi, bend, quality, wheel, theta, clean=np.zeros(shape, np.bool_))
    _stubs(
        crossings,
        random,
        (c.phi_efficiency, c.theta_efficiency),
        (c.contaminated, c.correlated),
        c.phi_sigma,
        c.bend_sigma,
        c.crosstalk,
        out,
    )
    return out
