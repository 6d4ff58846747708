"""Energy in the calorimeters, a toy: clusters with falling spectra, what balances muons, and soft towers.

Clusters of pile-up are flat in eta and phi, with dN/dE ~ E^-4.5 from 4 GeV (hadrons) and 2 GeV (photons and
electrons) on. A muon of a collision is in a jet more often than not, as one of a heavy quark is; what is left
of the momentum of all muons and such jets of a crossing is balanced by one more jet: the recoil. Muons
themselves leave nothing in the calorimeters, so that missing energy points along a muon pair.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.formats.calo_objects import ET_LSB
from l1scout.formats.streams.muon import MUON_RUN3 as _MUON
from l1scout.formats.streams.tower import MAX_RING, NO_RING, PHI_BINS, eta_centres
from l1scout.simulate.activity import Activity

HADRONIC, ELECTROMAGNETIC = 0, 1
HADRONIC_GEV, ELECTROMAGNETIC_GEV = 4.0, 2.0
"""Least energies."""
MAX_ET_GEV = 1000.0
_SLOPE = 3.5
"""The number of clusters above an energy falls with this power of it."""
MAX_ETA = 4.7, 2.9
_IN_JET, _JET_SPREAD, _RECOIL_ETA, _RESOLUTION = 0.6, 0.12, 1.3, 0.15
_EARLY_ETA = 2.25
_RINGS = np.delete(np.arange(1, MAX_RING + 1), NO_RING - 1)
_EDGES = (eta_centres(_RINGS)[1:] + eta_centres(_RINGS)[:-1]) / 2
_WIDTHS = np.diff(np.r_[0.0, _EDGES, 5.2])
_SOFT_GEV = 0.6
"""Mean energy of a soft tower above the least one, 0.5 GeV."""
FORWARD = 30
"""First ring of the forward calorimeter, in which towers are four values of phi wide."""
_SHAPES = {  # parts of a cluster's energy by tower: steps in ring and phi, and share
    HADRONIC: ((0, 0, 0.5), (1, 0, 0.125), (-1, 0, 0.125), (0, 1, 0.125), (0, -1, 0.125)),
    ELECTROMAGNETIC: ((0, 0, 0.85), (0, 1, 0.15)),
}
_TOWERS = 2 * _RINGS.size * PHI_BINS
MAX_TOWER = 511


@dataclass(frozen=True)
class Clusters:
    """Clusters in order of time and, within a crossing, of energy.

    Parameters
    ----------
    crossing : ndarray of int64
        From 0 at the first orbit.
    et, eta, phi : ndarray of float64
        GeV and rad.
    kind : ndarray of int64
        `HADRONIC` or `ELECTROMAGNETIC`.
    """

    crossing: NDArray[np.int64]
    et: NDArray[np.float64]
    eta: NDArray[np.float64]
    phi: NDArray[np.float64]
    kind: NDArray[np.int64]

    def select(self, keep: NDArray[np.bool_]) -> "Clusters":
        """Keep some of the clusters."""
        return Clusters(self.crossing[keep], self.et[keep], self.eta[keep], self.phi[keep], self.kind[keep])


@dataclass(frozen=True)
class TowerHits:
    """Towers with energy, in order of time and, within a crossing, of ring and phi.

    Parameters
    ----------
    crossing : ndarray of int64
    ring : ndarray of int64
        -41..41, as the column ``hwEta`` of towers.
    phi : ndarray of int64
        1..72, as their column ``hwPhi``.
    et : ndarray of int64
        0.5 GeV, 1..511.
    """

    crossing: NDArray[np.int64]
    ring: NDArray[np.int64]
    phi: NDArray[np.int64]
    et: NDArray[np.int64]


def draw_clusters(
    random: np.random.Generator,
    collisions: tuple[NDArray[np.int64], NDArray[np.int64]],
    activity: Activity,
    muon_crossing: NDArray[np.int64],
    muons: Mapping[str, NDArray[Any]],
) -> Clusters:
    """Draw the clusters of pile-up, and those that belong to muons."""
    crossing, interactions = collisions
    parts: list[tuple[NDArray[Any], ...]] = []
    for kind, rate, least in (
        (HADRONIC, activity.hadronic, HADRONIC_GEV),
        (ELECTROMAGNETIC, activity.electromagnetic, ELECTROMAGNETIC_GEV),
    ):
        time = np.repeat(crossing, random.poisson(rate * interactions))
        et = least * random.random(time.size) ** (-1 / _SLOPE)
        eta = random.uniform(-MAX_ETA[kind], MAX_ETA[kind], time.size)
        if kind == ELECTROMAGNETIC and activity.early:
            is_early = (np.abs(eta) > _EARLY_ETA) & (random.random(time.size) < activity.early)
            time = time - is_early
        phi = random.uniform(-np.pi, np.pi, time.size)
        parts.append((time, et, eta, phi, np.full(time.size, kind)))
    parts += _with_muons(random, muon_crossing, muons)
    time, et, eta, phi, kind_of = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    if activity.clusters_early or activity.clusters_late:
        u, early = random.random(time.size), activity.clusters_early
        time = time - (u < early) + ((u >= early) & (u < early + activity.clusters_late))
    order = np.lexsort((-et, time))
    return Clusters(time[order], np.minimum(et[order], MAX_ET_GEV), eta[order], phi[order], kind_of[order])


def _with_muons(
    random: np.random.Generator, crossing: NDArray[np.int64], muons: Mapping[str, NDArray[Any]]
) -> list[tuple[NDArray[Any], ...]]:
    """Return the jets around muons, and those that balance all of a crossing."""
    n = crossing.size
    pt, phi = _MUON["hwPt"].to_physical(muons["hwPt"]), _MUON["hwPhiAtVtx"].to_physical(muons["hwPhiAtVtx"])
    eta = _MUON["hwEtaAtVtx"].to_physical(muons["hwEtaAtVtx"])
    in_jet = random.random(n) < _IN_JET
    et = np.where(in_jet, pt * (0.5 + random.exponential(1.0, n)), 0.0)
    jet_eta, jet_phi = eta + random.normal(0, _JET_SPREAD, n), phi + random.normal(0, _JET_SPREAD, n)
    where, place = np.unique(crossing, return_inverse=True)
    x, y = (np.bincount(place, pt * turn(phi) + et * turn(jet_phi), where.size) for turn in (np.cos, np.sin))
    recoil = np.hypot(x, y) * np.maximum(random.normal(1, _RESOLUTION, where.size), 0.1)
    recoil_eta = random.normal(0, _RECOIL_ETA, where.size).clip(-MAX_ETA[HADRONIC], MAX_ETA[HADRONIC])
    near = et > HADRONIC_GEV
    far = recoil > HADRONIC_GEV
    return [
        (crossing[near], et[near], jet_eta[near], jet_phi[near], np.full(near.sum(), HADRONIC)),
        (where[far], recoil[far], recoil_eta[far], np.arctan2(-y, -x)[far], np.full(far.sum(), HADRONIC)),
    ]


def draw_towers(
    random: np.random.Generator,
    collisions: tuple[NDArray[np.int64], NDArray[np.int64]],
    activity: Activity,
    clusters: Clusters,
) -> TowerHits:
    """Draw soft towers, and share the energy of clusters among the towers around them."""
    crossing, interactions = collisions
    time = np.repeat(crossing, random.poisson(activity.towers * interactions))
    both = np.r_[_WIDTHS[::-1], _WIDTHS]
    ring = np.searchsorted(np.cumsum(both)[:-1] / both.sum(), random.random(time.size))
    phi = random.integers(0, PHI_BINS, time.size)
    et = 1 + np.floor(random.exponential(_SOFT_GEV / ET_LSB, time.size)).astype(np.int64)
    parts = [(time, ring, phi, et)]
    centre = np.searchsorted(np.r_[-_EDGES[::-1], 0.0, _EDGES], clusters.eta)
    turn = np.floor(clusters.phi / (2 * np.pi) * PHI_BINS).astype(np.int64)
    for kind, shape in _SHAPES.items():
        own = clusters.kind == kind
        for by_ring, by_phi, share in shape:
            at = (centre[own] + by_ring).clip(0, both.size - 1)
            energy = np.floor(clusters.et[own] * share / ET_LSB).astype(np.int64)
            parts.append((clusters.crossing[own], at, (turn[own] + by_phi) % PHI_BINS, energy))
    time, ring, phi, et = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return _merged(time, ring, phi, et)


def _merged(
    time: NDArray[np.int64], ring: NDArray[np.int64], phi: NDArray[np.int64], et: NDArray[np.int64]
) -> TowerHits:
    """Add up the energies of each tower in a crossing; `ring` counts from 0, from one end to the other."""
    signed = np.r_[-_RINGS[::-1], _RINGS]
    phi = np.where(np.abs(signed)[ring] >= FORWARD, phi // 4 * 4, phi)
    filled = et > 0
    # one number to sort by: crossing (from -1 on), tower, energy
    key = ((time + 1) * _TOWERS + ring * PHI_BINS + phi)[filled]
    packed = np.sort(key << 12 | np.minimum(et[filled], 4095))
    key, et = packed >> 12, packed & 4095
    first = np.flatnonzero(np.r_[True, np.diff(key) != 0]) if key.size else np.zeros(0, np.int64)
    total = np.minimum(np.add.reduceat(et, first), MAX_TOWER) if key.size else et
    time, tower = np.divmod(key[first], _TOWERS)
    return TowerHits(time - 1, signed[tower // PHI_BINS], tower % PHI_BINS + 1, total)
