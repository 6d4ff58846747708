"""Measure the parameters of the Kalman filter in simulated muons.

``python -m l1scout.simulate.kalman_derive`` makes those that the package ships (a minute).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.simulate import stubs as dt
from l1scout.simulate.derive import single_muons
from l1scout.simulate.detector import STATION_RADII
from l1scout.simulate.kalman import CURVATURE_LSB, find
from l1scout.simulate.kalman_tables import (
    HIGHEST_PT,
    LOWEST_PT,
    PUBLISHED,
    SEED_LIMIT,
    Parameters,
    gains,
    tables,
    write_own,
)
from l1scout.simulate.stubs import Stubs, stubs
from l1scout.simulate.transport import Crossings, Start, transport

SCALE = 1 / 0.8569
"""Of the curvature: the filter's largest is that of the same muons as in the hardware (its formula for pT)"""
QUANTILE = 0.90
"""Of the muons of some pT get at least this pT"""
_UNIT = 1 / dt.STUB_PHI_LSB
_PT_EDGES = np.geomspace(4.5, 40.0, 25)

_Float = NDArray[np.floating[Any]]


def parameters(random: np.random.Generator, n: int = 1_000_000) -> Parameters:
    """Measure the parameters in `n` simulated single muons."""
    start = single_muons(random, n)
    crossings = transport(start, random)
    digits = stubs(crossings, random)
    at_beam = start.charge * SCALE / (CURVATURE_LSB * start.pt)
    loss = _loss(crossings, at_beam, start)
    k = at_beam / (1 - 0.5 * loss * np.abs(at_beam))
    a_phi, b_phi, a_bend, b_bend, scatter_phi, scatter_bend = (np.zeros(4) for _ in range(6))
    usable = np.isfinite(crossings.phi).all(axis=1) & (start.pt > _PT_EDGES[0]) & (start.pt < _PT_EDGES[-1])
    phi, bend = (c[usable] * _UNIT for c in (crossings.phi, crossings.bend))
    k, pt = k[usable], start.pt[usable]
    for s in (1, 2, 3):
        # a straight line; scattering would bias a fit of it
        b_phi[s] = STATION_RADII[s] / STATION_RADII[s - 1] - 1
        b_bend[s] = 1 + b_phi[s]
        a_phi[s], scatter_phi[s] = _slope(phi[:, s - 1] - phi[:, s] + b_phi[s] * bend[:, s], k)
        a_bend[s], scatter_bend[s] = _slope(bend[:, s - 1] - b_bend[s] * bend[:, s], k)
    offset, curved = _saturating(np.abs(k) / 2, np.abs(bend[:, 0]), pt)
    impact = np.abs(bend[:, 0]) - offset * np.abs(k) / 2 / (1 + curved * np.abs(k) / 2)
    a_bend[0], b_bend[0], scatter_bend[0] = -offset, -1.0, _variance(impact / k)
    seen = (digits.quality > 0) & digits.clean
    # MB4's direction says hardly anything of the curvature: the yoke has nearly undone the solenoid's bend
    initial = np.array(
        [*(_seed(digits.bend[usable, s], seen[usable, s], k, pt, s) for s in range(3)), (0, 0)]
    )
    direction = phi + bend
    turn = [0.0, *(_slope(direction[:, s] - direction[:, 0], k)[0] for s in (1, 2, 3))]
    bend_variance = np.array(
        [
            [_bend_variance(digits, crossings, s, q) for s in range(4)]
            for q in (dt.UNCORRELATED, dt.CORRELATED)
        ]
    )
    phi_error = (digits.phi * 1.0 - crossings.phi * _UNIT)[seen]
    measured = PUBLISHED._replace(
        initial=initial,
        a_phi=a_phi,
        b_phi=b_phi,
        a_bend=a_bend,
        b_bend=b_bend,
        curved=np.array([curved]),
        loss=np.array([loss]),
        to_second=np.array(
            _saturating(bend[:, 0] * np.sign(k), (phi[:, 1] - phi[:, 0]) * np.sign(k), pt)[:1]
        ),
        turn=np.array(turn),
        scatter_phi=scatter_phi,
        scatter_bend=scatter_bend,
        phi_variance=np.array([np.mean(phi_error**2)]),
        bend_variance=bend_variance,
        seed_variance=np.array([bend_variance[1].mean()]),
    )
    return measured._replace(pt=_pt(measured, digits, start))


def _slope(target: _Float, k: _Float) -> tuple[float, float]:
    """Target over curvature: mean (that of muons that scatter little), and variance of the core."""
    ratio = target / k
    low, high = np.quantile(ratio, (0.1587, 0.8413))
    core = ratio[(ratio > low - (high - low)) & (ratio < high + (high - low))]
    return float(core.mean()), _variance(ratio)


def _variance(values: _Float) -> float:
    """Variance of the core, from the central 68 %."""
    low, high = np.quantile(values, (0.1587, 0.8413))
    return float((0.5 * (high - low)) ** 2)


def _medians(pt: _Float, *values: _Float) -> tuple[_Float, ...]:
    cell = np.digitize(pt, _PT_EDGES) - 1
    return tuple(np.array([np.median(v[cell == i]) for i in range(_PT_EDGES.size - 1)]) for v in values)


def _loss(crossings: Crossings, k: _Float, start: Start) -> float:
    """Loss of curvature between MB1 and the beam, from 1 / (turn in the yoke) against 1 / curvature."""
    turn = (crossings.phi + crossings.bend)[:, 2] - (crossings.phi + crossings.bend)[:, 0]
    use = np.isfinite(turn) & (start.pt > _PT_EDGES[0]) & (start.pt < _PT_EDGES[-1])
    inverse, turned = _medians(start.pt[use], 1 / np.abs(k[use]), turn[use] * start.charge[use])
    slope, constant = np.polyfit(inverse, 1 / turned, 1)
    return float(-2 * constant / slope)


def _saturating(x: _Float, y: _Float, pt: _Float) -> tuple[float, float]:
    """Find a and c of y = a x / (1 + c x), from medians in bins of pT."""
    x, y = _medians(pt, x, y)
    slope, constant = np.polyfit(x, x / y, 1, w=1 / x)
    return float(1 / constant), float(slope / constant)


def _seed(
    bend: NDArray[np.int64], seen: NDArray[np.bool_], k: _Float, pt: _Float, s: int
) -> tuple[float, float]:
    """First curvature against the seed's direction, of muons hard enough that it is below its limit."""
    x, y = _medians(pt[seen], (-8.0 * bend * np.sign(k))[seen], np.abs(k)[seen])
    beyond = np.flatnonzero(x >= 8 * SEED_LIMIT[s])
    first = int(beyond[-1]) + 1 if beyond.size else 0
    slope, constant = np.polyfit(x[first:], x[first:] / y[first:], 1)
    return float(-1 / constant), float(slope / constant)


def _bend_variance(digits: Stubs, crossings: Crossings, s: int, quality: int) -> float:
    use = (digits.quality[:, s] == quality) & digits.clean[:, s]
    return float(np.mean((8 * digits.bend[use, s] - crossings.bend[use, s] * _UNIT) ** 2))


def _pt(p: Parameters, digits: Stubs, start: Start) -> NDArray[np.int64]:
    """Find hwPt against curvature, by a formula of the published form: `QUANTILE` reach their pT."""
    found = find(digits, tables(p, *gains(p)))
    curvature = np.abs(found.curvature.astype(np.float64)) * CURVATURE_LSB
    edges = np.geomspace(5.0, 25.0, 17)
    cell = np.where(found.hwPt > 0, np.digitize(start.pt, edges) - 1, -1)
    k = np.array([np.quantile(curvature[cell == i], QUANTILE) for i in range(edges.size - 1)])
    middle = np.sqrt(edges[1:] * edges[:-1])
    slope, constant = np.polyfit(k, k * middle, 1)
    every = np.clip(np.arange(2048), 26, None) * CURVATURE_LSB
    return np.asarray(np.clip(np.floor(2 * (constant / every + slope)), LOWEST_PT, HIGHEST_PT), np.int64)


def main() -> None:
    """Measure the parameters that the package ships, and write them where it looks for them."""
    write_own(parameters(np.random.default_rng(20240501)))


if __name__ == "__main__":
    main()
