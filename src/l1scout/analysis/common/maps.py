"""Where muons are: by BX and lumisection, by eta, phi and track finder; what is hot, dead or not foreseen."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from l1scout.analysis.common.background import fit_background
from l1scout.analysis.common.bunch_luminosity import rate_counting
from l1scout.analysis.common.counts import CrossingCounts
from l1scout.analysis.common.live_time import LiveTime
from l1scout.analysis.common.muons import FINDERS, OfOrigin, final, finder, need
from l1scout.analysis.common.regions import ALPHA, Region, find_regions
from l1scout.analysis.common.schemes import Scheme
from l1scout.core.orbit_batch import OrbitBatch
from l1scout.formats.streams.muon import ETA_LSB, PHI_BINS, PROCESSORS, TRACK_FINDERS
from l1scout.lhc import BX_PER_ORBIT, ORBIT_FREQUENCY_HZ
from l1scout.statistics import proportion

if TYPE_CHECKING:
    from hist import Hist

PROCESSOR_FINDER = np.repeat(np.arange(len(FINDERS)), [len(r) // 3 for r in TRACK_FINDERS.values()])
ETA_STEP, PHI_STEP = 16, 8
"""Hardware units of a cell: 0.174 and 5 degrees."""
ETA_CELLS, PHI_CELLS = 2 * 256 // ETA_STEP, PHI_BINS // PHI_STEP
ETA_EDGES = (np.arange(ETA_CELLS + 1) * ETA_STEP - 256) * ETA_LSB
MAX_SATELLITES = 50


@dataclass(frozen=True)
class Satellite:
    """A BX without foreseen collisions that has muons: luminosity relative to a mean bunch."""

    bx: int
    muons: int
    expected: float
    relative: float
    error: float
    p_value: float


@dataclass
class Occupancy(OfOrigin):
    """State: add batches, then ask for results.

    Data without a number of orbits (triggered events) give maps of the muons of all their crossings, but no
    rates and no satellites.

    Parameters
    ----------
    scheme : Scheme, optional
        For rates of the classes of BX, and satellites.
    live : LiveTime
    min_hw_pt, min_quality : int

    Attributes
    ----------
    cells : ndarray of int64, shape (5, 32, 72)
        Muons by track finder, eta and phi, at the second station where the data have it.
    processors : ndarray of int64, shape (36,)
    other : int
        Muons whose tfMuonIndex is that of no track finder.
    """

    scheme: Scheme | None = None
    live: LiveTime = field(default_factory=LiveTime)
    min_hw_pt: int = 1
    min_quality: int = 0

    def __post_init__(self) -> None:
        self.counts = CrossingCounts(self.live, self.min_hw_pt, self.min_quality)
        self.cells = np.zeros((len(FINDERS), ETA_CELLS, PHI_CELLS), np.int64)
        self.processors = np.zeros(PROCESSORS, np.int64)
        self.bx = np.zeros(BX_PER_ORBIT + 1, np.int64)
        self.muons = self.other = 0
        self.rates = True

    def add(self, batch: OrbitBatch, prescale: float = 1.0) -> None:
        """Take in a batch (InputError if muons lack columns)."""
        self.origins |= batch.origins
        self.rates &= batch.n_orbits is not None
        if self.rates:
            self.counts.add(batch, prescale)
        muons = final(batch, self.min_hw_pt, self.min_quality, in_time=False)
        names = (
            ("hwEta", "hwPhi") if {"hwEta", "hwPhi"} <= set(muons.columns) else ("hwEtaAtVtx", "hwPhiAtVtx")
        )
        need(muons, "tfMuonIndex", *names)
        which, index = finder(muons), muons["tfMuonIndex"].astype(np.int64)
        eta, phi = (muons[n].astype(np.int64) for n in names)
        good = (which >= 0) & (eta >= -256) & (eta < 256) & (phi >= 0) & (phi < PHI_BINS)
        at = (which * ETA_CELLS + (eta + 256) // ETA_STEP) * PHI_CELLS + phi // PHI_STEP
        self.cells += np.bincount(at[good], minlength=self.cells.size).reshape(self.cells.shape)
        self.processors += np.bincount(index[which >= 0] // 3, minlength=PROCESSORS)
        self.bx += np.bincount(muons.bx[muons.row], minlength=self.bx.size)
        self.muons += muons.n_objects
        self.other += int(np.count_nonzero(which < 0))

    def merge(self, other: "Occupancy") -> None:
        """Add data that follow these."""
        self.counts.merge(other.counts)
        self.origins |= other.origins
        for name in ("cells", "processors", "bx"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.muons, self.other = self.muons + other.muons, self.other + other.other
        self.rates &= other.rates

    def processor_regions(
        self, reference: NDArray[np.int64] | None = None, tolerance: float = 0.0
    ) -> list[Region]:
        """Processors that count otherwise than the rest of their track finder, or than a reference."""
        return find_regions(self.processors, PROCESSOR_FINDER, reference, tolerance)

    def cell_regions(
        self, reference: NDArray[np.int64] | None = None, tolerance: float = 0.0
    ) -> list[Region]:
        """Cells that count otherwise than the rest of their ring in phi, or than a reference."""
        rings = np.repeat(np.arange(len(FINDERS) * ETA_CELLS), PHI_CELLS)
        flat = None if reference is None else reference.reshape(-1)
        return find_regions(self.cells.reshape(-1), rings, flat, tolerance)

    def satellites(self) -> list[Satellite]:
        """BX outside the scheme with more muons than early and late ones and afterglow explain.

        None if there are `MAX_SATELLITES` or more: the background is not described then.
        """
        from scipy.stats import poisson

        if self.scheme is None or not self.rates or not self.scheme.bx.size:
            return []
        n, weight = self.counts.all_muons[1:].astype(np.float64), self.live.weight
        empty = self.scheme.empty() - 1
        found: dict[int, float] = {}
        expected = n
        in_time = np.where(self.scheme.mask[1:], n / weight, 0.0)
        for _ in range(MAX_SATELLITES):
            fitted = fit_background(n, weight, self.scheme, [b + 1 for b in found])
            if fitted is None:
                return []
            expected = fitted.expected(in_time) * weight
            left = np.setdiff1d(empty, list(found))
            p = poisson.sf(n[left] - 1, np.maximum(expected[left], 1e-9)) * empty.size
            worst = int(np.argmin(p)) if left.size else -1
            if worst < 0 or p[worst] >= ALPHA:
                break
            # neighbours of a satellite have its early and late muons: take the strongest first
            close = left[p < ALPHA]
            strongest = int(close[np.argmax((n - expected)[close])])
            found[strongest] = float(p[left == strongest][0])
            in_time[strongest] = (n - expected)[strongest] / weight
        bunch = (n - expected)[self.scheme.bx - 1].mean()
        if len(found) == MAX_SATELLITES or bunch <= 0:
            return []
        return [
            Satellite(
                b + 1,
                int(n[b]),
                float(expected[b]),
                float((n - expected)[b] / bunch),
                float(np.sqrt(n[b]) / bunch),
                found[b],
            )
            for b in sorted(found)
        ]

    def classes(self) -> list[dict[str, Any]]:
        """Muons per crossing and second in the first, inner and last BX of trains and in the others."""
        if self.scheme is None or not self.rates:
            return []
        n, weight = self.counts.all_muons, self.live.weight
        rows = []
        for name, bx in self.scheme.classes.items():
            if bx.size:
                count, crossings = int(n[bx].sum()), weight * bx.size
                mu, error = rate_counting(np.array([count]), crossings)
                hz = ORBIT_FREQUENCY_HZ * bx.size
                rows.append(
                    {
                        "bx_class": name,
                        "bx": int(bx.size),
                        "muons": count,
                        "muons_per_crossing": float(mu[0]),
                        "muons_per_crossing_stat": float(error[0]),
                        "rate_hz": count / crossings * hz,
                        "rate_hz_stat": np.sqrt(count) / crossings * hz,
                    }
                )
        return rows

    def finders(self) -> list[dict[str, Any]]:
        """Return muons and share of each track finder, with the interval of Clopper and Pearson."""
        total = self.muons - self.other
        rows = []
        for k, name in enumerate(FINDERS):
            n = int(self.processors[k == PROCESSOR_FINDER].sum())
            share = proportion(n, total)
            rows.append(
                {"finder": name, "muons": n, "share": share.value, "low": share.low, "high": share.high}
            )
        return rows

    @property
    def histograms(self) -> "dict[str, Hist[Any]]":
        """Muons by eta and phi for each track finder and in all, by processor, and by BX (and section).

        Axes: ``eta`` and ``phi`` (radians, 0 to 2 pi), at the second muon station where the data have it.
        """
        from hist import Hist, axis

        eta = axis.Variable(ETA_EDGES, name="eta", label="eta", overflow=False, underflow=False)
        phi = axis.Regular(PHI_CELLS, 0, 2 * np.pi, name="phi", label="phi [rad]", flow=False)
        made = {"all": self.cells.sum(axis=0)} | dict(zip(FINDERS, self.cells, strict=True))
        found: dict[str, Hist[Any]] = {}
        for name, counts in made.items():
            plain = name.replace("+", "_plus").replace("-", "_minus")
            found[f"eta_phi_{plain}"] = _histogram(counts, eta, phi)
        processor = axis.Integer(0, PROCESSORS, name="processor", label="tfMuonIndex // 3", flow=False)
        bx = axis.Integer(1, BX_PER_ORBIT + 1, name="bx", label="BX", flow=False)
        if self.rates and self.counts.muons:
            keys = sorted(self.counts.muons)
            names = [f"{at.run}/{at.number}" for at in keys]
            section = axis.StrCategory(names, name="section", label="run/lumisection or slice", flow=False)
            rows = np.stack([self.counts.muons[at][1:] for at in keys])
            found["section_bx"] = _histogram(rows, section, bx)
        found |= {"processor": _histogram(self.processors, processor), "bx": _histogram(self.bx[1:], bx)}
        return found

    def result(self, reference: "Occupancy | None" = None, tolerance: float = 0.0) -> dict[str, Any]:
        """Gather what is printed and written.

        Parameters
        ----------
        reference : Occupancy, optional
            Of other data; without it, processors and cells are tested by symmetry in phi.
        tolerance : float
            Relative difference that is nothing to report.
        """
        processors = self.processor_regions(reference.processors if reference else None, tolerance)
        cells = self.cell_regions(reference.cells if reference else None, tolerance)
        return {
            "muons": self.muons,
            "of_no_track_finder": self.other,
            "orbits": self.live.orbits if self.rates else None,
            "live_s": self.live.seconds if self.rates else None,
            "finders": self.finders(),
            "classes": self.classes(),
            "satellites": [vars(s) for s in self.satellites()],
            "processors": [
                {"finder": FINDERS[PROCESSOR_FINDER[r.cell]], "processor": r.cell} | _numbers(r)
                for r in processors
            ],
            "cells": [_where(r.cell) | _numbers(r) for r in cells],
        }


def _histogram(counts: NDArray[np.int64], *axes: Any) -> "Hist[Any]":
    from hist import Hist, storage

    histogram: Hist[Any] = Hist(*axes, storage=storage.Double(), label="muons")
    histogram[...] = counts
    return histogram


def _numbers(region: Region) -> dict[str, Any]:
    return {n: v for n, v in vars(region).items() if n != "cell"}


def _where(cell: int) -> dict[str, Any]:
    """Track finder of a cell, and its centre in eta and phi (degrees)."""
    which, eta, phi = np.unravel_index(cell, (len(FINDERS), ETA_CELLS, PHI_CELLS))
    centre = float(ETA_EDGES[eta] + ETA_EDGES[eta + 1]) / 2
    return {
        "finder": FINDERS[which],
        "eta": round(centre, 3),
        "phi_deg": float(360 / PHI_CELLS * (phi + 0.5)),
    }
