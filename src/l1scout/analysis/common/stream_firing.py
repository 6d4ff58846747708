"""Pre- and post-firing of objects of any stream, by eta or station."""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.analysis.common.bunch_edges import BunchEdges, Fired
from l1scout.analysis.common.chosen_objects import ChosenObjects
from l1scout.analysis.common.live_time import LiveTime
from l1scout.analysis.common.muons import OfOrigin
from l1scout.analysis.common.schemes import Scheme
from l1scout.analysis.common.wrong_bx import shares_of
from l1scout.core.orbit_data import OrbitData
from l1scout.lhc import BX_PER_ORBIT

ETA_EDGES = (-5.2, -3.0, -2.5, -1.5, -0.8, 0.0, 0.8, 1.5, 2.5, 3.0, 5.2)
"""Bins of eta: barrel, endcap and forward parts of the calorimeters."""
STATIONS = 4


@dataclass
class StreamFiring(OfOrigin):
    """State: add data, then ask for results.

    Objects of a crossing are not independent of each other, so the variance of counts is that of the sum of
    crossings, each with its own number of objects.

    Parameters
    ----------
    scheme : Scheme
    kind : ChosenObjects
    """

    scheme: Scheme
    kind: ChosenObjects
    live: LiveTime = field(default_factory=LiveTime)

    def __post_init__(self) -> None:
        self.bunches = BunchEdges(self.scheme)
        shape = (max(len(ETA_EDGES) - 1, STATIONS) + 1, BX_PER_ORBIT + 1)
        self.counts, self.squares = np.zeros(shape, np.int64), np.zeros(shape, np.int64)

    def add(self, data: OrbitData, prescale: float = 1.0) -> None:
        """Take in data (InputError if they lack the objects, or do not count their orbits)."""
        batch, keep, values = self.kind.choose(data.streams)
        self.live.add(batch, prescale)
        self.origins |= batch.origins
        part = self._part(values | self.kind.physics(batch), batch.n_objects)
        row, part = batch.row[keep], part[keep]
        for k in range(len(self.counts)):
            own = row if k == len(self.counts) - 1 else row[part == k]
            n = np.bincount(own, minlength=len(batch))
            for into, weight in ((self.counts, n), (self.squares, n * n)):
                into[k] += np.bincount(batch.bx, weight, BX_PER_ORBIT + 1).astype(np.int64)

    def _part(self, values: dict[str, Any], n: int) -> NDArray[np.int64]:
        """Return the bin of eta of each object, or its station; -1 where it has none."""
        if "station" in values:
            return np.asarray(values["station"], np.int64) - 1
        if "eta" not in values:
            return np.full(n, -1, np.int64)
        part = np.searchsorted(ETA_EDGES, values["eta"], side="right") - 1
        return np.where(part < len(ETA_EDGES) - 1, part, -1)

    @property
    def names(self) -> list[str]:
        """Names of the parts, of which the last has all objects."""
        if self.kind.stream == "stub":
            parts = [f"station MB{k + 1}" for k in range(STATIONS)]
        else:
            parts = [f"eta {low:+.1f} to {high:+.1f}" for low, high in pairwise(ETA_EDGES)]
        return [*parts, *[""] * (len(self.counts) - 1 - len(parts)), "all"]

    def merge(self, other: "StreamFiring") -> None:
        """Add data that follow these."""
        self.live.merge(other.live)
        self.origins |= other.origins
        self.counts = self.counts + other.counts
        self.squares = self.squares + other.squares

    def edges(self, k: int) -> tuple[Fired, Fired]:
        """Measure early and late objects of a part."""
        n, orbits = self.counts[k], self.live.orbits
        variance = self.squares[k].astype(np.float64)
        if orbits > 1:  # of the sum over the crossings of a BX
            variance = (variance - n.astype(np.float64) ** 2 / orbits) * orbits / (orbits - 1)
        return self.bunches.measure(n, np.maximum(variance, 0.0))

    def result(self) -> dict[str, Any]:
        """Gather what is printed and written."""
        rows = []
        for k, name in enumerate(self.names):
            n = int(self.counts[k].sum())
            if not name or not n:
                continue
            row: dict[str, Any] = {"objects_of": name, "objects": n}
            for what, fired in zip(("early", "late"), self.edges(k), strict=True):
                row |= shares_of(what, fired.share, fired.syst)
                row[f"{what}_sigma"] = fired.significance
            rows.append(row)
        return {
            "orbits": self.live.orbits,
            "live_s": self.live.seconds,
            "first_bunches": int(self.bunches.first.size),
            "last_bunches": int(self.bunches.last.size),
            "shares": rows,
            "beyond_chance": [],
        }
