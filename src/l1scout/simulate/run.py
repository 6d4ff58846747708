"""Running of the LHC as the scouting board sees it: GMT muons by orbit and BX, without end.

Muons are drawn as GMT words, not tracked through a detector: what matters here is where in time and
on which link they are. Their spectra are plausible, not measured.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout import lhc
from l1scout.core.orbit_batch import OrbitBatch, occurrence
from l1scout.formats.block import BlockLayout
from l1scout.formats.streams.muon import PHI_BINS, PROCESSORS, TRACK_FINDERS
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.link.transmit import Piece
from l1scout.simulate.cosmic import legs
from l1scout.simulate.gmt import Extrapolation

SLOTS = 8
"""Final muons of a crossing, and as many intermediate ones: four links of two each."""
TRUTH = ("origin", "true_bx", "bx_shift")
"""Columns that no link carries."""
Draw = Callable[[np.random.Generator, int, BlockLayout], dict[str, NDArray[Any]]]
BEAM, UPPER, LOWER, NOISE = range(4)
"""Column ``origin``: collision, legs of a cosmic muon, noise."""


@dataclass(frozen=True)
class Running:
    """Conditions, and what is planted in a run for an analysis to find.

    Parameters
    ----------
    scheme : str
        Filling scheme, see `lhc.FILLING_SCHEMES`.
    occupancy : float
        Part of all crossings with a muon; about 0.05 in proton running of 2018 (reference paper).
    out_of_time : float
        Part of the muons that are seen one crossing early or late.
    cosmics : float
        Cosmic muons an orbit through the barrel, at any BX. 0.05 is some 500 a second.
    intermediate : float
        Probability that a final muon is among the intermediate ones too.
    bunches : tuple of (BX, factor)
        Luminosity relative to a nominal bunch; a BX outside the scheme becomes a satellite.
    steps : tuple of (orbit, factor)
        From this orbit on, until the next step, all luminosity times the factor.
    afterglow : tuple of float
        Muons that follow those of a bunch: their rate in the next BX relative to the bunch's, and the
        number of BX in which it falls to 1/e.
    firing : tuple of (track finder, early, late, doubled)
        Probabilities that a muon is seen one BX early, one late, and one early *and* in time, instead
        of `out_of_time` for that track finder.
    processors : tuple of (processor, efficiency)
        Processor is tfMuonIndex // 3: 0 to 35. 0 is a dead sector.
    noise : tuple of (processor, muons an orbit)
        Muons at any BX from one processor.
    leg_efficiency : float
        Probability to see each leg of a cosmic muon.
    """

    scheme: str = "2018"
    occupancy: float = 0.05
    out_of_time: float = 0.02
    cosmics: float = 0.05
    intermediate: float = 0.9
    bunches: tuple[tuple[int, float], ...] = ()
    steps: tuple[tuple[int, float], ...] = ()
    afterglow: tuple[float, float] = (0.0, 1.0)
    firing: tuple[tuple[str, float, float, float], ...] = ()
    processors: tuple[tuple[int, float], ...] = ()
    noise: tuple[tuple[int, float], ...] = ()
    leg_efficiency: float = 1.0

    def __post_init__(self) -> None:
        bunches = lhc.colliding(self.scheme).size / lhc.BX_PER_ORBIT
        parts = np.array(
            [
                *(self.out_of_time, self.intermediate, self.leg_efficiency),
                *(p for _, *fires in self.firing for p in (*fires, sum(fires))),
                *(efficiency for _, efficiency in self.processors),
            ]
        )
        rates = [self.cosmics, *self.afterglow, *(r for _, r in (*self.bunches, *self.steps, *self.noise))]
        places = (
            all(1 <= bx <= lhc.BX_PER_ORBIT for bx, _ in self.bunches)
            and all(0 <= processor < PROCESSORS for processor, _ in (*self.processors, *self.noise))
            and all(fire[0] in TRACK_FINDERS and len(fire) == 4 for fire in self.firing)
            and self.afterglow[1] > 0
        )
        numbers = 0 <= self.occupancy < bunches and np.all((parts >= 0) & (parts <= 1)) and min(rates) >= 0
        if not (places and numbers):
            msg = f"occupancy below {bunches:.3f} (colliding BX of {self.scheme}), parts 0 to 1: not {self}"
            raise ValueError(msg)

    @property
    def nominal(self) -> float:
        """Muons that a nominal bunch makes in a crossing, on average."""
        bunches = lhc.colliding(self.scheme).size
        return -float(np.log1p(-self.occupancy * lhc.BX_PER_ORBIT / bunches))

    def luminosity(self) -> NDArray[np.float64]:
        """Muons made in each BX of an orbit before any step, without afterglow; index 0 is BX 1."""
        mean = np.zeros(lhc.BX_PER_ORBIT)
        mean[lhc.colliding(self.scheme) - 1] = 1.0
        for bx, factor in self.bunches:
            mean[bx - 1] = factor
        return mean * self.nominal

    def step(self, orbit: NDArray[np.int64]) -> NDArray[np.float64]:
        """Factor of the luminosity in each orbit."""
        at = np.array([-1, *(o for o, _ in self.steps)])
        factors = np.array([1.0, *(f for _, f in self.steps)])
        order = np.argsort(at, kind="stable")
        return np.asarray(factors[order][np.searchsorted(at[order], orbit, side="right") - 1])


def simulate_run(
    seed: int,
    orbits: int,
    *,
    running: Running | None = None,
    form: BlockLayout = RUN3,
    first: int = 0,
    chunk: int = 20,
    origin: bool = False,
    draw: Draw | None = None,
) -> Iterator[Piece]:
    """Simulate orbits `first` to `first + orbits`, some at a time.

    Parameters
    ----------
    seed : int
        Same seed and chunk, same muons, bit for bit.
    orbits, first, chunk : int
    running : Running, optional
    form : BlockLayout
        Run 2 or Run 3: which fields the muons have.
    origin : bool
        Add the columns of `TRUTH`, which no link carries: ``origin`` (`BEAM`, `UPPER`, `LOWER` or `NOISE`),
        ``true_bx`` (1..3564, to which the muon belongs) and ``bx_shift`` (BX by which it is seen late;
        negative if early).
    draw : callable, optional
        Draws the fields of muons, as `draw_words` does, by default; other columns of it stay.

    Yields
    ------
    Piece
        Muons in the order in which packets give them back: by crossing, first slots by link, then
        second slots; columns of the muon's layout, ``hwEta``, ``link``, ``second``, ``intermediate``.
    """
    running, draw = running or Running(), draw or draw_words
    random = np.random.default_rng(seed)
    last = first + orbits
    while first < last:
        stop = min(first + chunk, last)
        muons = _muons(random, running, form, first, stop, draw)
        if not origin:
            muons = replace(muons, columns={n: c for n, c in muons.columns.items() if n not in TRUTH})
        yield Piece(muons, first, stop)
        first = stop


def _beam(random: np.random.Generator, running: Running, first: int, stop: int) -> NDArray[np.int64]:
    """Crossing (from 0, at the first orbit) of each muon of collisions and their afterglow."""
    mean = running.luminosity()
    amplitude, length = running.afterglow
    if amplitude:
        late = amplitude * np.exp(-np.arange(lhc.BX_PER_ORBIT - 1) / length)
        mean = mean + np.fft.irfft(np.fft.rfft(mean) * np.fft.rfft(np.r_[0.0, late]), mean.size).clip(0)
    step = running.step(np.arange(first, stop))
    n = random.poisson(mean.sum() * step.sum())
    orbit = np.searchsorted(np.cumsum(step), random.random(n) * step.sum(), side="right")
    bx = np.searchsorted(np.cumsum(mean), random.random(n) * mean.sum(), side="right")
    return np.sort(orbit.clip(max=step.size - 1) * lhc.BX_PER_ORBIT + bx.clip(max=mean.size - 1))


def _fire(
    random: np.random.Generator, running: Running, columns: dict[str, NDArray[Any]]
) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
    """Return by how many crossings each muon is seen late, and which are seen in the one before, too."""
    odds = np.zeros((TRACK_FINDERS["EMTF-"].stop, 3))
    odds[:] = running.out_of_time / 2, running.out_of_time / 2, 0.0
    for name, *fires in running.firing:
        odds[TRACK_FINDERS[name]] = fires
    early, late, doubled = np.cumsum(odds, axis=1).T[:, columns["tfMuonIndex"]]
    u = random.random(early.size)
    shift = np.where(u < early, -1, np.where(u < late, 1, 0)).astype(np.int16)
    return shift, (u >= late) & (u < doubled)


def _all(
    random: np.random.Generator, running: Running, form: BlockLayout, first: int, stop: int, draw: Draw
) -> tuple[NDArray[np.int64], dict[str, NDArray[Any]]]:
    """Crossing and columns of every final muon, in order of time."""
    span = (stop - first) * lhc.BX_PER_ORBIT
    time = _beam(random, running, first, stop)
    columns = draw(random, time.size, form)
    columns["origin"] = np.full(time.size, BEAM, np.int16)
    efficiency = np.ones(PROCESSORS)
    for processor, value in running.processors:
        efficiency[processor] = value
    seen = random.random(time.size) < efficiency[columns["tfMuonIndex"] // 3]
    time, columns = time[seen], {n: c[seen] for n, c in columns.items()}
    shift, doubled = _fire(random, running, columns)
    twice = {n: c[doubled] for n, c in columns.items()} | {"bx_shift": np.full(doubled.sum(), -1, np.int16)}
    parts = [(time + shift, columns | {"bx_shift": shift}), (time[doubled] - 1, twice)]
    columns["bx_shift"] = shift
    for processor, rate in running.noise:
        n = random.poisson(rate * (stop - first))
        extra = draw(random, n, form)
        extra["tfMuonIndex"][:], extra["origin"] = 3 * processor, np.full(n, NOISE, np.int16)
        extra["bx_shift"] = np.zeros(n, np.int16)
        parts.append((random.integers(0, span, n), extra))
    n = random.poisson(running.cosmics * (stop - first))
    at = random.integers(0, span, n)
    for leg, (delay, changed) in zip((UPPER, LOWER), legs(random, n), strict=True):
        extra = draw(random, n, form) | changed | {"origin": np.full(n, leg, np.int16)}
        extra["bx_shift"] = np.zeros(n, np.int16)
        seen = random.random(n) < running.leg_efficiency * efficiency[extra["tfMuonIndex"] // 3]
        parts.append(((at + delay)[seen], {name: c[seen] for name, c in extra.items()}))
    time = np.concatenate([t for t, _ in parts])
    order = np.argsort(time, kind="stable")
    order = order[(time[order] >= 0) & (time[order] < span)]
    time = time[order]
    order, time = order[occurrence(time) < SLOTS], time[occurrence(time) < SLOTS]  # the GMT sends no more
    columns = {name: np.concatenate([c[name] for _, c in parts])[order] for name in columns}
    return time, columns | {"true_bx": ((time - columns["bx_shift"]) % lhc.BX_PER_ORBIT + 1).astype(np.int16)}


def _muons(
    random: np.random.Generator, running: Running, form: BlockLayout, first: int, stop: int, draw: Draw
) -> OrbitBatch:
    time, columns = _all(random, running, form, first, stop, draw)
    twin = random.random(time.size) < running.intermediate
    early = {n: c[twin] for n, c in columns.items()}
    early["tfMuonIndex"], early["hwEtaAtVtx"] = np.zeros_like(early["hwPt"]), np.zeros_like(early["hwPt"])
    kind = np.r_[np.zeros(time.size, np.int16), np.ones(np.count_nonzero(twin), np.int16)]
    rank = np.r_[occurrence(time), occurrence(time[twin])]
    time = np.r_[time, time[twin]]
    columns = {n: np.r_[c, early[n]] for n, c in columns.items()}
    columns["link"] = (rank // 2 + 4 * kind).astype(np.int16)
    columns["second"], columns["intermediate"] = (rank % 2).astype(np.int16), kind
    order = np.lexsort((columns["link"], columns["second"], time))
    orbit, bx = lhc.orbit_and_bx(time[order])
    ordered = {n: c[order] for n, c in columns.items()}
    return OrbitBatch.from_objects(
        orbit + first, bx, ordered, n_orbits=stop - first, first_orbit=first, simulated=True
    )


def draw_words(random: np.random.Generator, n: int, form: BlockLayout) -> dict[str, NDArray[Any]]:
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
    fields = {field.name for field in form.muon.fields}
    if "hwPtUnconstrained" in fields:
        columns["hwPtUnconstrained"] = np.minimum(pt, 255)
        columns["shower"] = np.zeros(n)
    if "hwDXY" in fields:
        columns["hwDXY"] = random.choice(4, n, p=[0.86, 0.08, 0.04, 0.02])
    columns["hwPhiAtVtx"], columns["hwEtaAtVtx"] = _gmt().to_vertex(columns)
    return {name: values.astype(np.int16) for name, values in columns.items()}


@cache
def _gmt() -> Extrapolation:
    """Our own tables, which are the barrel's, for all regions: no others are ours to ship."""
    own = Extrapolation.load()
    return Extrapolation(dict.fromkeys("BOE", own.phi["B"]), dict.fromkeys("BOE", own.eta["B"]))
