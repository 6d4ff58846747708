"""How much each stream holds: objects, crossings, orbits seen, occupancy."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import OrbitData
from l1scout.lhc import BX_PER_ORBIT


@dataclass
class _Count:
    objects: int = 0
    crossings: int = 0
    orbits: int | None = 0
    lost_orbits: int = 0
    most: int = 0

    def add(self, batch: OrbitBatch) -> None:
        counts = batch.counts
        self.objects += batch.n_objects
        self.crossings += int(np.count_nonzero(counts))
        self.most = max(self.most, int(counts.max(initial=0)))
        self.lost_orbits += batch.lost_orbits
        known = self.orbits is not None and batch.n_orbits is not None
        self.orbits = (self.orbits or 0) + (batch.n_orbits or 0) if known else None


class StreamCounts:
    """Counts of every stream of some data."""

    def __init__(self) -> None:
        self._counts: dict[str, _Count] = {}

    def add(self, data: OrbitData) -> None:
        """Take in a chunk, with final muons only."""
        for name, batch in data.streams.items():
            self._counts.setdefault(name, _Count()).add(batch)

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each stream.

        Returns
        -------
        list of dict
            ``stream``, ``objects``, ``crossings`` with an object, ``most`` objects in one; ``orbits`` that
            were seen, and ``lost_orbits``; ``objects_per_orbit``, and ``occupancy``, the fraction of
            crossings with an object, which are None where the orbits are not known.
        """
        made = []
        for name, count in self._counts.items():
            orbits = count.orbits
            made.append(
                {
                    "stream": name,
                    "objects": count.objects,
                    "crossings": count.crossings,
                    "most": count.most,
                    "orbits": orbits,
                    "lost_orbits": count.lost_orbits,
                    "objects_per_orbit": count.objects / orbits if orbits else None,
                    "occupancy": count.crossings / (orbits * BX_PER_ORBIT) if orbits else None,
                }
            )
        return made
