"""Tables of the Kalman filter: from propagation, scattering and resolution, or from the official gains."""

from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from l1scout.errors import InputError
from l1scout.simulate.kalman import CURVATURE_LSB, LARGEST_CURVATURE, PATTERNS, KalmanTables

_OWN = "kalman.npz"
LOWEST_PT, HIGHEST_PT = 8, 511
"""hwPt; the filter's largest curvature gives 9"""
SEED_LIMIT = (511, 127, 30, 15)
"""Seed's direction (steps of 1/512 rad) from which the first curvature stays the same, MB1 to MB4"""
_FIRST_SIGMA = 512.0
"""Spread of the curvature that is assumed before the first residual"""
_PAIRS = (3, 5, 6, 9, 10, 12)
_Float = NDArray[np.floating[Any]]


class Parameters(NamedTuple):
    """What the filter knows of the detector; index s leads from MB(s + 1) to the next station further in.

    Units: curvature in `CURVATURE_LSB`, azimuth and bending angle in 1/4096 rad.

    Parameters
    ----------
    initial : ndarray, shape (4, 2)
        First curvature of a seed of direction x: size of the first number times x / (1 + second times x).
    a_phi, b_phi, a_bend, b_bend : ndarray, shape (4,)
        phi' = phi + a_phi k - b_phi bend and bend' = a_bend k + b_bend bend; index 0 leads to the beam, where
        the bending angle becomes the impact parameter and the curvature counts in steps of two.
    curved, loss : ndarray, shape (1,)
        Second order on the way to the beam: k a_bend becomes k a_bend / (1 + curved |k| / 2), and k becomes
        k / (1 + loss |k| / 2).
    to_second : ndarray, shape (1,)
        Azimuth in MB2 is that in MB1 plus this times the bending angle.
    turn : ndarray, shape (4,)
        phi + bend, minus that in MB1, is this times the curvature.
    direction : ndarray, shape (4, 3)
        Direction (1/512 rad) is the first number times curvature / 16, within second + third x its size.
    scatter_phi, scatter_bend : ndarray, shape (4,)
        Variance by scattering on the way, over the squared curvature.
    phi_variance, vertex_variance : ndarray, shape (1,)
        Of a stub, and of the beam line.
    bend_variance : ndarray, shape (2, 4)
        Of stubs of one superlayer and of two, by station: tracks of two stubs.
    seed_variance : ndarray, shape (1,)
        Of the seed's bending angle: tracks of three and four stubs.
    pt : ndarray, shape (2048,)
        hwPt against curvature.
    """

    initial: _Float
    a_phi: _Float
    b_phi: _Float
    a_bend: _Float
    b_bend: _Float
    curved: _Float
    loss: _Float
    to_second: _Float
    turn: _Float
    direction: _Float
    scatter_phi: _Float
    scatter_bend: _Float
    phi_variance: _Float
    vertex_variance: _Float
    bend_variance: _Float
    seed_variance: _Float
    pt: NDArray[np.int64]


def published_pt() -> NDArray[np.int64]:
    """Return hwPt against curvature 0..2047 by the published formula, without its offset of alignment."""
    k = np.clip(np.arange(2048), 26, None) * CURVATURE_LSB
    return np.clip(np.floor(2 * 1.17 * (1 + 0.1144 * k) / (0.8569 * k)), LOWEST_PT, HIGHEST_PT).astype(
        np.int64
    )


PUBLISHED = Parameters(
    initial=np.array([(-1.196, -3.26e-4), (-1.581, -7.165e-4), (-2.133, 2.305e-3), (-2.263, -5.63e-3)]),
    a_phi=np.array([1.942, 0.01511, 0.01476, 0.009799]),
    b_phi=np.array([-1, 0.18245, 0.20898, 0.17286]),
    a_bend=np.array([-1.508, -0.1237, -0.1496, -0.1333]),
    b_bend=np.array([-1, 1.18245, 1.20898, 1.17286]),
    curved=np.array([0.000331]),
    loss=np.array([0.000765]),
    to_second=np.array([0.15918]),
    turn=np.array([0.0, 0.109375, 0.234375, 0.359375]),
    direction=np.array([(1.75, 2, 0.21875), (1.25, 2, 0.21875), (0.625, 2, 0.21875), (0.25, 2, 0.3125)]),
    scatter_phi=np.array([2.49e-3, 5.47e-5, 3.49e-5, 1.37e-5]),
    scatter_bend=np.array([7.22e-3, 3.461e-3, 4.447e-3, 4.12e-3]),
    phi_variance=np.ones(1),
    vertex_variance=np.ones(1),
    bend_variance=np.array([(17866.0, 19306.0, 23984.0, 23746.0), (151.0, 173.0, 155.0, 153.0)]),
    seed_variance=np.array([500.0]),
    pt=published_pt(),
)
"""The public settings (CMSSW, simKBmtfDigis), to which the official gains belong"""


def own_parameters() -> Parameters:
    """Load what was measured in our own simulation (`l1scout.simulate.kalman_derive`)."""
    with (files("l1scout.simulate") / "tables" / _OWN).open("rb") as file, np.load(file) as arrays:
        return Parameters(**arrays)


def write_own(parameters: Parameters) -> None:
    """Write parameters where `own_parameters` looks for them."""
    np.savez_compressed(Path(str(files("l1scout.simulate"))) / "tables" / _OWN, **parameters._asdict())


def own_kalman() -> KalmanTables:
    """Make the tables of our own simulation."""
    parameters = own_parameters()
    return tables(parameters, *gains(parameters))


def tables(p: Parameters, several: _Float, pair: _Float, vertex: _Float) -> KalmanTables:
    """Make the filter's integers of parameters and gains (of `gains`), rounded down like the hardware's."""
    half = np.arange(2048)
    x = 8 * np.minimum(np.arange(513)[None, :], np.array(SEED_LIMIT)[:, None])
    initial = np.abs(p.initial[:, :1]) * x / (1 + p.initial[:, 1:] * x)
    limits = [(63.875, 15.96875), (-128, 0, 0, 0), (127.9375, 15.99609375, 15.99609375, 0.999755859375)]
    return KalmanTables(
        _down(np.minimum(initial, LARGEST_CURVATURE)),
        np.stack([_down(p.a_phi * 8192), _down(-p.b_phi * 8192)], 1),
        np.stack([_down(p.a_bend * 8192), _down(p.b_bend * 16384)], 1),
        2 * half - _down(2 * half / (1 + p.loss * half)),
        _down(np.abs(p.a_bend[0]) * half / (1 + p.curved * half)) & 2047,
        _down(np.clip(several, 0, limits[0]) * (8, 32)),
        _down(np.clip(pair, limits[1], limits[2]) * (16, 256, 256, 4096)),
        _down(np.clip(np.abs(vertex), 0, 7.984375) * 64),
        _down(p.to_second * 8192),
        _down(p.turn * 256),
        _down(p.direction * (16, 1, 32)),
        p.pt.astype(np.int64),
    )


def _down(values: _Float) -> NDArray[np.int64]:
    return np.asarray(np.floor(values + 1e-9), np.int64)


def gains(p: Parameters) -> tuple[_Float, _Float, _Float]:
    """Work out the gains by propagating covariances along every pattern, for every size of the curvature.

    Returns
    -------
    several, pair, vertex : ndarray
        As in `KalmanTables`, not scaled.
    """
    several, pair = np.zeros((4, 16, 1024, 2)), np.zeros((4, 4, 4, 512, 4))
    vertex = np.zeros((16, 1024))
    for pattern in PATTERNS:
        stations = [s for s in (3, 2, 1, 0) if pattern >> s & 1]
        if len(stations) == 2:
            outer, inner = stations
            for code in range(4):
                k = 8 * np.arange(512) + 4.0
                cov = _propagated(p, _first(p, k, p.bend_variance[code >> 1, outer]), k, outer, inner)
                noise = np.diag([p.phi_variance[0], p.bend_variance[code & 1, inner]])
                gain, _ = _updated(cov, (1, 2), noise)
                pair[inner, outer, code] = np.stack(
                    [gain[:, 0, 0], -gain[:, 0, 1], -gain[:, 2, 0], gain[:, 2, 1]], 1
                )
        for k, last in ((4 * np.arange(1024) + 2.0, False), (2 * np.arange(1024) + 1.0, True)):
            cov, hits = _first(p, k, p.seed_variance[0]), 1 << stations[0]
            for outer, inner in pairwise(stations):
                cov = _propagated(p, cov, k, outer, inner)
                gain, cov = _updated(cov, (1,), np.diag(p.phi_variance))
                if not last and len(stations) > 2:
                    several[inner, hits] = np.stack([gain[:, 0, 0], -gain[:, 2, 0]], 1)
                hits |= 1 << inner
            if last:
                cov = _propagated(p, cov, k, stations[-1], -1)
                vertex[pattern] = _updated(cov, (2,), np.diag(p.vertex_variance))[0][:, 0, 0]
    return several, pair, vertex


def _first(p: Parameters, k: _Float, bend_variance: float) -> _Float:
    return np.broadcast_to(np.diag([_FIRST_SIGMA**2, p.phi_variance[0], bend_variance]), (k.size, 3, 3))


def _propagated(p: Parameters, cov: _Float, k: _Float, outer: int, inner: int) -> _Float:
    """Carry covariances of curvature, azimuth and bending angle inwards; station -1 is the beam."""
    for s in range(outer, inner, -1):
        bend = p.a_bend[s] / (2 if s == 0 else 1)
        step = np.array([(1, 0, 0), (p.a_phi[s], 1, -p.b_phi[s]), (bend, 0, p.b_bend[s])])
        cov = step @ cov @ step.T
        cov[:, 1, 1] += p.scatter_phi[s] * k**2
        cov[:, 2, 2] += p.scatter_bend[s] * k**2
    return cov


def _updated(cov: _Float, measured: tuple[int, ...], noise: _Float) -> tuple[_Float, _Float]:
    """Gain and covariance after a measurement of some components."""
    rows = list(measured)
    gain = cov[:, :, rows] @ np.linalg.inv(cov[:, rows][:, :, rows] + noise)
    return gain, cov - gain @ cov[:, rows]


def read_gains(path: Path) -> KalmanTables:
    """Read the official gains (``kalmanLUTs_v302.root``), and make the tables with the public settings.

    Raises
    ------
    InputError
        If the file cannot be read or lacks a histogram.
    """
    import uproot  # slow to import, and only official gains need it

    several, pair = np.zeros((4, 16, 1024, 2)), np.zeros((4, 4, 4, 512, 4))
    vertex = np.zeros((16, 1024))

    def values(name: str) -> _Float:
        found = np.asarray(file[name].values(), np.float64)
        if found.shape != (2048,):
            msg = f"{name} has {found.size} bins, not 2048"
            raise ValueError(msg)
        return found

    try:
        with uproot.open(path) as file:
            for station, hits in ((2, 8), (1, 8), (1, 12), (1, 4), (0, 12), (0, 10), (0, 6), (0, 14)):
                several[station, hits] = values(f"gain_{hits}_{station + 1}").reshape(2, 1024).T
            for pattern in PATTERNS:
                vertex[pattern] = values(f"gain_{pattern}_0")[:1024]
            for pattern in _PAIRS:
                outer, inner = (s for s in (3, 2, 1, 0) if pattern >> s & 1)
                for code, name in enumerate(("LL", "LH", "HL", "HH")):
                    found = values(f"gain2_{1 << outer}_{inner + 1}_{name}")
                    pair[inner, outer, code] = found.reshape(4, 512).T
    except (OSError, ValueError, KeyError, AttributeError) as error:
        msg = f"{path}: not a file of gains of the Kalman filter ({str(error).splitlines()[0]})"
        raise InputError(msg) from error
    return tables(PUBLISHED, several, pair, vertex)
