"""Where objects of any stream are: by BX, in a map of the detector, and how many there are in a crossing."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from l1scout.analysis.common.chosen_objects import ChosenObjects
from l1scout.analysis.common.live_time import LiveTime
from l1scout.analysis.common.muons import OfOrigin
from l1scout.analysis.common.regions import Region, find_regions
from l1scout.analysis.common.schemes import Scheme
from l1scout.core.orbit_data import OrbitData
from l1scout.formats.stream import STREAMS
from l1scout.formats.streams.stub import SECTORS
from l1scout.formats.streams.tower import MAX_RING
from l1scout.lhc import BX_PER_ORBIT, ORBIT_FREQUENCY_HZ
from l1scout.statistics import proportion

if TYPE_CHECKING:
    from hist import Hist

MOST = 64
"""Largest number of objects in a crossing that is counted apart; more are counted with it."""
ETA_STEP, PHI_STEP = 0.174, np.radians(5)
"""Size of a cell, about, in whole hardware units."""
MAX_ETA = 5.22
TOWER_PHI_STEP = 4
"""Values of phi of a tower's cell: the forward calorimeter has only one in four."""


@dataclass(frozen=True)
class MapAxes:
    """Cells of a map: hardware values of two columns, for each group.

    Parameters
    ----------
    groups : tuple of str
        Parts of the detector with cells of their own.
    eta, phi : str
        Columns.
    eta_low, eta_step, eta_cells, phi_low, phi_step, phi_cells : int
        In hardware units.
    eta_scale, eta_name, phi_scale, phi_name
        Unit of the hardware value, and what it is called.
    phi_shift : float
        From a hardware value to the lower edge of its unit.
    """

    groups: tuple[str, ...]
    eta: str
    eta_low: int
    eta_step: int
    eta_cells: int
    phi: str
    phi_low: int
    phi_step: int
    phi_cells: int
    eta_scale: float = 1.0
    eta_name: str = "eta"
    phi_scale: float = 1.0
    phi_name: str = "phi_deg"
    phi_shift: float = -0.5

    @property
    def shape(self) -> tuple[int, int, int]:
        """Groups, cells in eta and cells in phi."""
        return len(self.groups), self.eta_cells, self.phi_cells

    @property
    def edges(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Edges of the cells in eta and phi."""
        eta, phi = (
            (self.eta_low - 0.5 + self.eta_step * np.arange(self.eta_cells + 1)) * self.eta_scale,
            (self.phi_low + self.phi_shift + self.phi_step * np.arange(self.phi_cells + 1)) * self.phi_scale,
        )
        return np.asarray(eta, np.float64), np.asarray(phi, np.float64)

    def cells(self, columns: dict[str, Any]) -> NDArray[np.int64]:
        """Return the cell of each object, -1 if it is in none."""
        eta, phi = (columns[name].astype(np.int64) for name in (self.eta, self.phi))
        group = columns["station"].astype(np.int64) - 1 if len(self.groups) > 1 else 0 * eta
        i = (eta - self.eta_low) // self.eta_step
        j = (phi - self.phi_low) // self.phi_step
        inside = (i >= 0) & (i < self.eta_cells) & (j >= 0) & (j < self.phi_cells)
        inside &= (group >= 0) & (group < len(self.groups))
        return np.where(inside, (group * self.eta_cells + i) * self.phi_cells + j, -1)


def axes_of(stream: str) -> MapAxes | None:
    """Return the map of a stream: chambers of stubs, towers in rings, or cells of eta and phi; or None."""
    if stream == "stub":
        stations = tuple(f"MB{k}" for k in range(1, 5))
        names: dict[str, Any] = {"eta_name": "wheel", "phi_name": "sector"}
        return MapAxes(stations, "wheel", -2, 1, 5, "sector", 0, 1, SECTORS, **names)
    if stream == "tower":
        phi: dict[str, Any] = {"phi_scale": 5.0, "eta_name": "ring", "phi_shift": -1.0}
        rings = 2 * MAX_RING + 1
        return MapAxes(("all",), "hwEta", -MAX_RING, 1, rings, "hwPhi", 1, TOWER_PHI_STEP, 18, **phi)
    fields = STREAMS[stream].fields
    eta, angle = (fields.get(n) for n in ("hwEta", "hwPhi"))
    if eta is None or angle is None or eta.scale is None or angle.scale is None:
        return None
    eta_step = max(round(ETA_STEP / eta.scale), 1)
    phi_step = max(round(float(PHI_STEP) / angle.scale), 1)
    side = -(-round(MAX_ETA / eta.scale) // eta_step)
    turn = round(2 * np.pi / angle.scale)
    low = -turn // 2 if angle.signed else 0
    units: dict[str, Any] = {"eta_scale": eta.scale, "phi_scale": float(np.degrees(angle.scale))}
    cells = -(-turn // phi_step)
    return MapAxes(
        ("all",), "hwEta", -side * eta_step, eta_step, 2 * side, "hwPhi", low, phi_step, cells, **units
    )


@dataclass
class StreamOccupancy(OfOrigin):
    """State: add data, then ask for results.

    Parameters
    ----------
    kind : ChosenObjects
    scheme : Scheme, optional
        For rates of the classes of BX.
    """

    kind: ChosenObjects
    scheme: Scheme | None = None
    live: LiveTime = field(default_factory=LiveTime)

    def __post_init__(self) -> None:
        self.axes = axes_of(self.kind.stream)
        self.cells = np.zeros(0 if self.axes is None else int(np.prod(self.axes.shape)), np.int64)
        self.objects, self.occupied, self.squares = (np.zeros(BX_PER_ORBIT + 1, np.int64) for _ in range(3))
        self.multiplicity = np.zeros(MOST + 1, np.int64)
        self.outside = 0

    def add(self, data: OrbitData, prescale: float = 1.0) -> None:
        """Take in data (InputError if they lack the objects, or do not count their orbits)."""
        batch, keep, values = self.kind.choose(data.streams)
        self.live.add(batch, prescale)
        self.origins |= batch.origins
        row = batch.row[keep]
        n = np.bincount(row, minlength=len(batch))
        self.multiplicity += np.bincount(np.minimum(n[n > 0], MOST), minlength=MOST + 1)
        for into, weight in ((self.objects, n), (self.squares, n * n), (self.occupied, n > 0)):
            into += np.bincount(batch.bx, weight, BX_PER_ORBIT + 1).astype(np.int64)
        if self.axes is not None and batch.n_objects:
            cell = self.axes.cells(values)[keep]
            self.cells += np.bincount(cell[cell >= 0], minlength=self.cells.size)
            self.outside += int(np.count_nonzero(cell < 0))

    def merge(self, other: "StreamOccupancy") -> None:
        """Add data that follow these."""
        self.live.merge(other.live)
        self.origins |= other.origins
        for name in ("cells", "objects", "occupied", "squares", "multiplicity", "outside"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def regions(self, reference: "StreamOccupancy | None", tolerance: float) -> list[Region]:
        """Return cells that count otherwise than the rest of their ring in phi, or than a reference."""
        if self.axes is None:
            return []
        groups, eta, phi = self.axes.shape
        rings = np.repeat(np.arange(groups * eta), phi)
        return find_regions(self.cells, rings, None if reference is None else reference.cells, tolerance)

    def classes(self) -> list[dict[str, Any]]:
        """Return objects and occupied crossings of colliding and other BX, by their place in trains."""
        weight = self.live.weight
        parts = {"all": np.arange(1, BX_PER_ORBIT + 1)}
        if self.scheme is not None:
            parts |= self.scheme.classes
        rows = []
        for name, bx in parts.items():
            if not bx.size:
                continue
            n, occupied = int(self.objects[bx].sum()), int(self.occupied[bx].sum())
            crossings = weight * bx.size
            share = proportion(occupied, max(round(crossings), occupied))
            spread = float(np.sqrt(max(self.squares[bx].sum() - n**2 / crossings, 0.0)))
            rows.append(
                {
                    "bx_class": name,
                    "bx": int(bx.size),
                    "objects": n,
                    "objects_per_crossing": n / crossings,
                    "objects_per_crossing_stat": spread / crossings,
                    "occupied": share.value,
                    "occupied_low": share.low,
                    "occupied_high": share.high,
                    "occupied_rate_hz": occupied / weight * ORBIT_FREQUENCY_HZ,
                }
            )
        return rows

    def result(self, reference: "StreamOccupancy | None" = None, tolerance: float = 0.0) -> dict[str, Any]:
        """Gather what is printed and written (InputError if no orbit was seen)."""
        cells = [self._where(r.cell) | vars(r) for r in self.regions(reference, tolerance)]
        return {
            "kind": self.kind.text,
            "objects": int(self.objects.sum()),
            "outside_map": self.outside,
            "orbits": self.live.orbits,
            "live_s": self.live.seconds,
            "object_classes": self.classes(),
            "multiplicity": [
                {"objects": n, "crossings": int(k)} for n, k in enumerate(self.multiplicity.tolist()) if k
            ],
            "object_cells": [{n: v for n, v in row.items() if n != "cell"} for row in cells],
        }

    def _where(self, cell: int) -> dict[str, Any]:
        """Return the group of a cell, and its centre."""
        assert self.axes is not None
        group, i, j = np.unravel_index(cell, self.axes.shape)
        eta, phi = self.axes.edges
        return {
            "part": self.axes.groups[group],
            "eta_of": self.axes.eta_name,
            "eta": round(float(eta[i] + eta[i + 1]) / 2, 3),
            "phi_of": self.axes.phi_name,
            "phi": round(float(phi[j] + phi[j + 1]) / 2, 3),
        }

    @property
    def histograms(self) -> "dict[str, Hist[Any]]":
        """Objects by cell for each group, and by BX."""
        from hist import Hist, axis, storage

        bx = axis.Integer(1, BX_PER_ORBIT + 1, name="bx", label="BX", flow=False)
        found: dict[str, Hist[Any]] = {"bx": Hist(bx, storage=storage.Double(), label=self.kind.text)}
        found["bx"][...] = self.objects[1:]
        if self.axes is not None:
            eta, phi = (
                axis.Variable(edges, name=name, label=name, flow=False)
                for edges, name in zip(self.axes.edges, (self.axes.eta_name, self.axes.phi_name), strict=True)
            )
            for name, cells in zip(self.axes.groups, self.cells.reshape(self.axes.shape), strict=True):
                found[f"map_{name}"] = Hist(eta, phi, storage=storage.Double(), label=self.kind.text)
                found[f"map_{name}"][...] = cells
        return found
