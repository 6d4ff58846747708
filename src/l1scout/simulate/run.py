"""Running of the LHC as the scouting board sees it: GMT muons by orbit and BX, without end.

Muons are drawn as GMT words, not tracked through a detector: what matters here is where in time and
on which link they are. Their spectra are plausible, not measured.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout import lhc
from l1scout.formats.block import RUN3, BlockFormat
from l1scout.formats.muon import PHI_BINS, TRACK_FINDERS
from l1scout.link.transmit import Piece
from l1scout.orbits import OrbitBatch
from l1scout.simulate.gmt import Extrapolation

SLOTS = 8
"""Final muons of a crossing, and as many intermediate ones: four links of two each."""


@dataclass(frozen=True)
class Running:
    """Conditions.

    Parameters
    ----------
    scheme : str
        Filling scheme, see `lhc.FILLING_SCHEMES`.
    occupancy : float
        Part of all crossings with a muon; about 0.05 in proton running of 2018 (seed paper).
    out_of_time : float
        Part of the muons that are seen one crossing early or late.
    cosmics : float
        Cosmic muons an orbit, at any BX, each with two legs. 0.05 is some 500 a second.
    intermediate : float
        Probability that a final muon is among the intermediate ones too.
    """

    scheme: str = "2018"
    occupancy: float = 0.05
    out_of_time: float = 0.02
    cosmics: float = 0.05
    intermediate: float = 0.9

    def __post_init__(self) -> None:
        bunches = lhc.colliding(self.scheme).size / lhc.BX_PER_ORBIT
        parts = self.out_of_time, self.intermediate
        if not 0 <= self.occupancy < bunches or min(parts) < 0 or max(parts) > 1 or self.cosmics < 0:
            msg = f"occupancy below {bunches:.3f} (colliding BX of {self.scheme}), parts 0 to 1: not {self}"
            raise ValueError(msg)


def simulate_run(
    seed: int,
    orbits: int,
    *,
    running: Running | None = None,
    form: BlockFormat = RUN3,
    first: int = 0,
    chunk: int = 20,
) -> Iterator[Piece]:
    """Simulate orbits `first` to `first + orbits`, some at a time.

    Parameters
    ----------
    seed : int
        Same seed and chunk, same muons, bit for bit.
    orbits, first, chunk : int
    running : Running, optional
    form : BlockFormat
        Run 2 or Run 3: which fields the muons have.

    Yields
    ------
    Piece
        Muons in the order in which packets give them back: by crossing, first slots by link, then
        second slots; columns of the muon's layout, ``link``, ``second``, ``intermediate``, in Run 3
        ``hwEta``.
    """
    running = running or Running()
    random = np.random.default_rng(seed)
    last = first + orbits
    while first < last:
        stop = min(first + chunk, last)
        time = np.sort(_times(random, running, stop - first))
        yield Piece(_muons(random, running, form, time, first, stop), first, stop)
        first = stop


def _times(random: np.random.Generator, running: Running, orbits: int) -> NDArray[np.int64]:
    """Crossing (from 0) of each muon."""
    bunches = lhc.colliding(running.scheme) - 1
    mean = -np.log1p(-running.occupancy * lhc.BX_PER_ORBIT / bunches.size)
    beam = np.repeat(
        (np.arange(orbits)[:, None] * lhc.BX_PER_ORBIT + bunches).reshape(-1),
        random.poisson(mean, orbits * bunches.size),
    )
    moved = random.random(beam.size) < running.out_of_time
    beam = beam + np.where(moved, random.choice([-1, 1], beam.size), 0)
    cosmic = random.integers(0, orbits * lhc.BX_PER_ORBIT, random.poisson(running.cosmics * orbits))
    time = np.concatenate([beam, np.repeat(cosmic, 2)])
    return time[(time >= 0) & (time < orbits * lhc.BX_PER_ORBIT)]


def _muons(
    random: np.random.Generator,
    running: Running,
    form: BlockFormat,
    time: NDArray[np.int64],
    first: int,
    stop: int,
) -> OrbitBatch:
    time = time[_rank(time) < SLOTS]  # the GMT sends no more
    columns = _draw(random, time.size, form)
    twin = random.random(time.size) < running.intermediate
    early = {n: c[twin] for n, c in columns.items()}
    early["tfMuonIndex"], early["hwEtaAtVtx"] = np.zeros_like(early["hwPt"]), np.zeros_like(early["hwPt"])
    kind = np.r_[np.zeros(time.size, np.int16), np.ones(np.count_nonzero(twin), np.int16)]
    rank = np.r_[_rank(time), _rank(time[twin])]
    time = np.r_[time, time[twin]]
    columns = {n: np.r_[c, early[n]] for n, c in columns.items()}
    columns["link"] = (rank // 2 + 4 * kind).astype(np.int16)
    columns["second"], columns["intermediate"] = (rank % 2).astype(np.int16), kind
    order = np.lexsort((columns["link"], columns["second"], time))
    orbit, bx = lhc.orbit_and_bx(time[order])
    ordered = {n: c[order] for n, c in columns.items()}
    return OrbitBatch.from_objects(orbit + first, bx, ordered, n_orbits=stop - first, simulated=True)


def _rank(time: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count the muons of each crossing from 0; `time` rises."""
    _, start, counts = np.unique(time, return_index=True, return_counts=True)
    return np.arange(time.size) - np.repeat(start, counts)


def _draw(random: np.random.Generator, n: int, form: BlockFormat) -> dict[str, NDArray[Any]]:
    """Draw the fields of n muons: falling pT, flat phi, eta over all track finders."""
    pt = np.clip(np.floor(2 * (2.0 + random.pareto(2.0, n) * 4.0)) + 1, 1, 511)
    eta = random.integers(-220, 221, n)
    phi = random.integers(0, PHI_BINS, n)
    finder = np.digitize(eta, (-114, -76, 77, 115))  # |eta| 0.83 and 1.24
    starts = np.array([TRACK_FINDERS[k].start for k in ("EMTF-", "OMTF-", "BMTF", "OMTF+", "EMTF+")])
    sectors = np.array([6, 6, 12, 6, 6])[finder]
    columns = {
        "hwPt": pt,
        "hwQual": random.choice([4, 8, 12], n, p=[0.15, 0.25, 0.6]),
        "hwPhi": phi,
        "hwEta": eta,
        "hwIso": np.full(n, 3),  # as all real muons of 2018 and 2024 that we have
        "hwCharge": random.integers(0, 2, n),
        "hwChargeValid": np.ones(n),
        "tfMuonIndex": starts[finder] + 3 * (phi * sectors // PHI_BINS),
    }
    if form.name == "run3":
        columns["hwPtUnconstrained"] = np.minimum(pt, 255)
        columns["hwDXY"] = random.choice(4, n, p=[0.86, 0.08, 0.04, 0.02])
    columns["hwPhiAtVtx"], columns["hwEtaAtVtx"] = _gmt().to_vertex(columns)
    return {name: values.astype(np.int16) for name, values in columns.items()}


@cache
def _gmt() -> Extrapolation:
    """Our own tables, which are the barrel's, for all regions: no others are ours to ship."""
    own = Extrapolation.load()
    return Extrapolation(dict.fromkeys("BOE", own.phi["B"]), dict.fromkeys("BOE", own.eta["B"]))
