"""Sums of the calorimeter trigger: of the towers and jets of the same simulation.

Total and missing Et are those of towers up to ring 28, "HF" those of all; Ht is the sum of jets of 30 GeV
or more, up to |eta| 2.4. The electromagnetic part of the total, asymmetries and centrality (of heavy ions)
are 0. Counts of minimum-bias hits are towers of the forward calorimeter, one in eight of them.
"""

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.formats.calo_objects import ET_LSB, PHI_BINS
from l1scout.formats.streams.etsum import COLUMNS
from l1scout.formats.streams.tower import phi_centres
from l1scout.simulate.clusters import FORWARD, HADRONIC, HADRONIC_GEV, Clusters
from l1scout.simulate.collisions import SimulatedOrbits
from l1scout.simulate.stream_simulation import SIMULATIONS, StreamSimulation

MAX_RING, MAX_JET_ETA, JET_GEV = 28, 2.4, 30.0
_MOST, _MOST_TOWERS, _MOST_HITS = 4095, 8191, 15


class SimulatedSums(StreamSimulation):
    """The sums of each crossing with energy."""

    name = "etsum"

    def simulate(self, orbits: SimulatedOrbits) -> OrbitBatch:
        """Return sums."""
        towers, jets = orbits.tower_hits, _jets(orbits.clusters)
        crossing, place = np.unique(towers.crossing, return_inverse=True)
        n, ring = crossing.size, np.abs(towers.ring)
        columns = {name: np.zeros(n, np.int64) for name in COLUMNS}
        et, phi = towers.et.astype(np.float64), phi_centres(towers.phi)
        central = ring <= MAX_RING
        columns["hwTotalEt"] = np.bincount(place, et * central, n)
        _missing(columns, "hwMissEt", place, et * central, phi, n)
        _missing(columns, "hwMissEtHF", place, et, phi, n)
        columns["towerCount"] = np.minimum(np.bincount(place, minlength=n), _MOST_TOWERS)
        at = np.searchsorted(crossing, jets.crossing)
        in_row = (at < n) & (crossing[np.minimum(at, n - 1)] == jets.crossing) if n else at < n
        at, ht, jet_phi = at[in_row], np.floor(jets.et[in_row] / ET_LSB), jets.phi[in_row]
        columns["hwTotalHt"] = np.bincount(at, ht, n)
        _missing(columns, "hwMissHt", at, ht, jet_phi, n)
        _missing(columns, "hwMissHtHF", at, ht, jet_phi, n)
        for side, letter in ((1, "P"), (-1, "M")):
            hits = np.bincount(place[side * towers.ring >= FORWARD], minlength=n) // 8
            columns[f"minBiasHF{letter}0"] = np.minimum(hits, _MOST_HITS)
            columns[f"minBiasHF{letter}1"] = np.minimum(hits // 2, _MOST_HITS)
        made = {name: np.minimum(c, _MOST_TOWERS).astype(np.int16) for name, c in columns.items()}
        for name in ("hwTotalEt", "hwTotalHt"):
            made[name] = np.minimum(made[name], _MOST)
        return orbits.batch(crossing, made)


def _jets(clusters: Clusters) -> Clusters:
    is_jet = (clusters.kind == HADRONIC) | (clusters.et > HADRONIC_GEV)
    return clusters.select(is_jet & (clusters.et >= JET_GEV) & (np.abs(clusters.eta) < MAX_JET_ETA))


def _missing(
    columns: dict[str, NDArray[np.int64]],
    name: str,
    row: NDArray[np.int64],
    et: NDArray[np.float64],
    phi: NDArray[np.float64],
    n: int,
) -> None:
    """Fill a missing energy and its phi, which is 0 where the energy is."""
    x, y = np.bincount(row, et * np.cos(phi), n), np.bincount(row, et * np.sin(phi), n)
    missing = np.minimum(np.floor(np.hypot(x, y)), _MOST).astype(np.int64)
    turn = np.rint(np.arctan2(-y, -x) / (2 * np.pi) * PHI_BINS).astype(np.int64) % PHI_BINS
    columns[name], columns[name + "Phi"] = missing, np.where(missing > 0, turn, 0)


SIMULATIONS.register("etsum")(SimulatedSums())
