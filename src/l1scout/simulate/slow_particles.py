"""Slow heavy particles planted in the barrel: straight tracks, whose stubs are late by their time of flight.

Muons of the collision reach a station at distance L after L / c; a particle of velocity beta is late by
L / c (1 / beta - 1). Its stub is in the BX nearest to that. It makes no muon: the track finder would want its
stubs in one crossing.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from l1scout.lhc import BX_FREQUENCY_HZ
from l1scout.simulate.detector import STATION_RADII
from l1scout.simulate.stubs import WHEEL_HALF, WHEEL_PITCH, Chambers

MAX_ETA = 0.8
_LIGHT = 299_792_458.0
NO_STUB = -1


class SlowParticles(NamedTuple):
    """Particles in order of time.

    Parameters
    ----------
    crossing : ndarray of int64, shape (particles,)
        Of their collision, from 0 at the first orbit.
    beta, eta, phi : ndarray of float64, shape (particles,)
    late : ndarray of int64, shape (particles, 4)
        BX by which the stub of each station is late; `NO_STUB` where there is none.
    wheel : ndarray of int64, shape (particles, 4)
    """

    crossing: NDArray[np.int64]
    beta: NDArray[np.float64]
    eta: NDArray[np.float64]
    phi: NDArray[np.float64]
    late: NDArray[np.int64]
    wheel: NDArray[np.int64]


def draw_slow(
    random: np.random.Generator, crossings: NDArray[np.int64], mean: float, beta: tuple[float, float]
) -> SlowParticles:
    """Draw slow particles.

    Parameters
    ----------
    random : Generator
    crossings : ndarray of int64
        Crossings with collisions.
    mean : float
        Particles, on average.
    beta : tuple of float
        Lowest and highest velocity, flat between them.
    """
    n = int(random.poisson(mean)) if crossings.size else 0
    at = np.sort(crossings[random.integers(0, max(crossings.size, 1), n)] if n else crossings[:0])
    velocity, eta = random.uniform(*beta, n), random.uniform(-MAX_ETA, MAX_ETA, n)
    phi = random.uniform(-math.pi, math.pi, n)
    radius = np.array(STATION_RADII)
    z = np.sinh(eta)[:, None] * radius
    wheel = np.floor(z / WHEEL_PITCH + 0.5).astype(np.int64)
    path = np.cosh(eta)[:, None] * radius
    late = path / _LIGHT * (1 / velocity - 1)[:, None] * BX_FREQUENCY_HZ
    inside = (np.abs(wheel) <= 2) & (np.abs(z - wheel * WHEEL_PITCH) <= WHEEL_HALF)
    seen = inside & (random.random(inside.shape) < Chambers().phi_efficiency)
    return SlowParticles(
        at, velocity, eta, phi, np.where(seen, np.floor(late + 0.5).astype(np.int64), NO_STUB), wheel
    )
