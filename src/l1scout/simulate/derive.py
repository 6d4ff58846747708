"""Make the track finder's and the GMT's tables from simulated muons.

``python -m l1scout.simulate.derive`` makes those that the package ships, nominal and variants (two minutes
of processor time). `Convention` lists what is a choice; ``docs/simulation.md`` says why, and how the result
compares with the official tables.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from l1scout.formats.streams.muon import ETA_LSB, PHI_BINS, PHI_LSB
from l1scout.simulate import stubs as dt
from l1scout.simulate.bmtf import (
    BEND_STATIONS,
    HIGHEST_PT,
    LOWEST_PT,
    PAIRS,
    REFERENCE,
    BmtfTables,
    Candidates,
)
from l1scout.simulate.chain import candidates_and_tracks
from l1scout.simulate.generator import Generator
from l1scout.simulate.gmt import ADDRESSES, PHI_SHIFT, PT_LIMIT, Extrapolation
from l1scout.simulate.offline import Tracks, to_second_station
from l1scout.simulate.stubs import Stubs, stubs
from l1scout.simulate.tables import write_own
from l1scout.simulate.transport import Start, transport

LIMITS = (180, 160, 94, 66, 65, 140)
"""Reference direction from which the "low" table holds: settings of the trigger"""
CONSISTENT = 0.8
"""Quantile of |dphi(MB1, MB2)| at the limit; steep muons below it bend too little to be believed: a choice"""
SOFTEST = 8
"""hwPt of 3.5 GeV: below, few muons reach the second station"""
ETA_ROWS = 11
"""Barrel rows of the GMT's tables: up to |hwEta| 87; settings of the trigger"""
WINDOW_TAIL = 0.005
"""Share of clean muons lost on either side of an extrapolation window: a choice"""
_PT_EDGES = np.geomspace(2.2, 160.0, 61)
_FEW = 200


@dataclass(frozen=True)
class Convention:
    """How a table's pT, and the address of a GMT table, follow from simulated muons: choices.

    Parameters
    ----------
    quantile : float
        Share of the muons of one pT that bend less than where the table says this pT.
    direction_quantile : float
        The same for the tables of the stubs' direction.
    scale : float
        The table holds the whole number of half GeV in `scale` times that pT.
    soft_branch : bool
        Steep muons that bend less than their direction says get the pT that this share of such muons do not
        exceed, times `scale` (MB1-MB2: the lowest code); False: the lowest code for every pair.
    by_l1_pt : bool
        GMT tables hold the mean correction of matched muons with some L1 pT; False: the correction of a
        muon whose true pT is that of the code.
    """

    quantile: float = 0.7
    direction_quantile: float = 0.8
    scale: float = 1.04
    soft_branch: bool = True
    by_l1_pt: bool = False


VARIANTS = (
    Convention(),
    Convention(by_l1_pt=True),
    Convention(0.5, 0.6),
    Convention(0.5, 0.6, 1.15, soft_branch=False),
    Convention(0.85, 0.85, 1.0, by_l1_pt=True),
    Convention(0.95, 0.95, 1.0, soft_branch=False, by_l1_pt=True),
)
"""Nominal, and plausible others; in the last, 95 % of the clean muons get at least their pT."""


class Singles(NamedTuple):
    """Single muons and their stubs."""

    start: Start
    stubs: Stubs


def single_muons(random: np.random.Generator, n: int) -> Start:
    """Muons of either charge, flat in log pT (2.2-160 GeV), eta and phi: what the tables are made with."""
    zero, one = np.zeros(n), np.ones(n)
    pt = np.exp(random.uniform(np.log(_PT_EDGES[0]), np.log(_PT_EDGES[-1]), n))
    phi, eta = random.uniform(-np.pi, np.pi, n), random.uniform(-0.9, 0.9, n)
    z, charge = random.normal(0, 0.036, n), np.where(random.random(n) < 0.5, -1.0, 1.0)
    return Start(pt, phi, eta, z, charge, zero, one, zero, zero)


def singles(random: np.random.Generator, n: int) -> Singles:
    """Simulate `n` single muons up to their stubs."""
    start = single_muons(random, n)
    return Singles(start, stubs(transport(start, random), random))


def bmtf_tables(muons: Singles, convention: Convention) -> BmtfTables:
    """Derive the tables of the barrel track finder from single muons."""
    s, pt, charge = muons.stubs, muons.start.pt, muons.start.charge
    shape = len(PAIRS), 4096
    high, low = np.zeros(shape, np.int16), np.zeros(shape, np.int16)
    window = np.zeros((len(PAIRS), 1024, 2), np.int16)
    for m, (a, b) in enumerate(PAIRS):
        ref, other = REFERENCE[m], a + b - REFERENCE[m]
        use = (s.quality[:, a] > 0) & (s.quality[:, b] > 0) & s.clean[:, a] & s.clean[:, b]
        bend = s.phi[:, b] - s.phi[:, a]
        curve = _pt_curve(pt[use], (bend * charge)[use], convention.quantile, convention, 2049)
        window[m] = _window(s.bend[use, ref], s.phi[use, other] - s.phi[use, ref])
        use &= s.quality[:, ref] == dt.CORRELATED
        direction = np.abs(s.bend[:, ref])
        steep = use & (direction >= LIMITS[m])
        soft = np.full(2049, LOWEST_PT, np.int16)
        if convention.soft_branch and m:
            soft = _soft_pt(pt[steep], np.abs(bend[steep]), convention)
        at_limit = use & (np.abs(direction - LIMITS[m]) <= LIMITS[m] // 20)
        least = np.quantile(np.abs(bend[at_limit]), CONSISTENT)
        if convention.soft_branch and m:
            least = np.argmax(soft >= curve)
        known = np.where(np.arange(2049) >= least, curve, soft)
        distance = np.abs(np.arange(-2048, 2048))
        high[m], low[m] = curve[distance], known[distance]
    bends = [_direction_curve(muons, station, convention) for station in BEND_STATIONS]
    to_second = np.stack([_to_second(s, k) for k in (0, 3)])
    return BmtfTables(high, low, np.array(LIMITS, np.int16), np.stack(bends), window, to_second)


def _direction_curve(muons: Singles, station: int, convention: Convention) -> NDArray[np.int16]:
    """Return hwPt against the direction + 512 of a well measured stub."""
    s = muons.stubs
    use = (s.quality[:, station] == dt.CORRELATED) & s.clean[:, station]
    turned = (s.bend[:, station] * muons.start.charge)[use]
    curve = _pt_curve(muons.start.pt[use], turned, convention.direction_quantile, convention, 513)
    return curve[np.abs(np.arange(-512, 512))]


def _pt_curve(
    pt: NDArray[np.float64],
    bend: NDArray[np.float64],
    quantile: float,
    convention: Convention,
    size: int,
) -> NDArray[np.int16]:
    """Return hwPt against |bend| (0..size - 1), from the bend (signed by charge) of muons in bins of pT."""
    bend = bend * np.sign(np.median(bend[pt > 10]))
    bend = bend + (np.arange(bend.size) % 101 - 50) / 101  # whole counts, spread over their width
    cell = np.digitize(pt, _PT_EDGES) - 1
    at, reach = [], []
    for k in range(len(_PT_EDGES) - 1):
        here = bend[cell == k]
        if here.size >= _FEW:
            at.append(np.sqrt(_PT_EDGES[k] * _PT_EDGES[k + 1]))
            reach.append(np.quantile(here, quantile))
    # a softer muon bends more, down to where the yoke bends it back
    softest = int(np.argmax(reach))
    bends = np.maximum.accumulate(reach[softest:][::-1])
    address = np.arange(size)
    log_pt = np.interp(address, bends, np.log(at[softest:][::-1]))
    hw = _code(np.exp(log_pt), convention)
    hw[address < bends[0]] = HIGHEST_PT
    hw[address > bends[-1]] = LOWEST_PT + 1
    return hw


def _soft_pt(pt: NDArray[np.float64], bend: NDArray[np.int64], convention: Convention) -> NDArray[np.int16]:
    """Return hwPt against |bend| (0..2048), from the pT of the muons with about this bend."""
    edges = np.arange(0, 401, 16)
    cell = np.digitize(bend, edges) - 1
    cells = np.flatnonzero(np.bincount(cell[cell < edges.size - 1]) >= _FEW // 4)
    reached = [np.quantile(pt[cell == k], convention.quantile) for k in cells]
    return _code(np.interp(np.arange(2049), edges[cells] + 8, reached), convention)


def _code(pt: NDArray[np.float64], convention: Convention) -> NDArray[np.int16]:
    hw = np.floor(2 * convention.scale * pt)
    return np.asarray(np.clip(hw, LOWEST_PT + 1, HIGHEST_PT), np.int16)


def _window(direction: NDArray[np.int64], difference: NDArray[np.int64]) -> NDArray[np.int16]:
    """Find smallest and largest difference of azimuth against the direction + 512, symmetric in charge."""
    sign = np.where(direction < 0, -1, 1)
    edges = np.r_[np.arange(0, 256, 8), 256, 320, 513]
    cell = np.digitize(np.abs(direction), edges) - 1
    rows = np.zeros((len(edges) - 1, 2))
    for k in range(len(edges) - 1):
        here = (difference * sign)[cell == k]
        if here.size >= _FEW:
            rows[k] = np.quantile(here, (WINDOW_TAIL, 1 - WINDOW_TAIL))
        elif k:
            rows[k] = rows[k - 1]
    half = rows[np.digitize(np.arange(513), edges) - 1].round().astype(np.int16)
    negative = -half[512:0:-1, ::-1]
    return np.concatenate([negative, half[:512]])


def _to_second(s: Stubs, station: int) -> NDArray[np.int16]:
    """Mean azimuth of MB2's stub against another station's, in GMT phi, by that station's direction + 512."""
    use = (
        (s.quality[:, station] == dt.CORRELATED) & (s.quality[:, 1] > 0) & s.clean[:, station] & s.clean[:, 1]
    )
    direction, sign = np.abs(s.bend[use, station]), np.where(s.bend[use, station] < 0, -1, 1)
    difference = (s.phi[use, 1] - s.phi[use, station]) * sign * (dt.STUB_PHI_LSB / PHI_LSB)
    cell = np.minimum(direction // 8, 63)
    counts = np.bincount(cell, minlength=64)
    mean = np.bincount(cell, difference, minlength=64) / np.maximum(counts, 1)
    last = int(np.flatnonzero(counts >= 100)[-1])
    mean[last + 1 :] = mean[last]
    half = mean[np.minimum(np.arange(513) // 8, 63)].round().astype(np.int16)
    return np.concatenate([-half[512:0:-1], half[:512]])


def gmt_tables() -> Extrapolation:
    """Derive the GMT's barrel tables: the extrapolation of a muon whose true pT is that of the code.

    Phi is that of the code's middle, rounded, eta that of its upper edge, rounded down: choices.
    """
    eta = np.linspace(0.0, 1.3, 261)[1:]
    hw = np.maximum(np.arange(PT_LIMIT), SOFTEST)
    tables: list[NDArray[np.int16]] = []
    for pt, rounding in (((hw - 0.5) / 2, np.round), (hw / 2, np.floor)):
        pts, etas = (grid.ravel() for grid in np.meshgrid(pt, eta, indexing="ij"))
        zero = np.zeros(pts.size)
        at_eta, at_phi = to_second_station(pts, etas, zero, zero + 1)
        cell = np.floor(at_eta / ETA_LSB + 0.5).astype(np.int64) >> 3
        address = cell << 7 | np.repeat(np.arange(PT_LIMIT), eta.size)
        shift = (at_eta - etas) / ETA_LSB if tables else -at_phi / PHI_LSB / (1 << PHI_SHIFT)
        mean = np.bincount(address, shift, ADDRESSES) / np.maximum(
            np.bincount(address, minlength=ADDRESSES), 1
        )
        mean.reshape(32, PT_LIMIT)[ETA_ROWS:] = 0
        tables.append(np.asarray(np.clip(rounding(mean), 0, 15), np.int16))
    return Extrapolation({"B": tables[0]}, {"B": tables[1]})


def gmt_tables_by_l1_pt(candidates: Candidates, tracks: Tracks) -> Extrapolation:
    """Derive the GMT's barrel tables from candidates and the offline muons matched to them.

    They are addressed by the *L1* pT, so that the mean correction of the muons with some address is
    right, mismeasured ones included. The lowest pT code takes the correction of the code above.
    """
    hw_pt, hw_eta = candidates.hwPt.astype(np.int64), candidates.hwEta.astype(np.int64)
    address = ((np.abs(hw_eta) >> 3) & 31) << 7 | np.minimum(hw_pt, PT_LIMIT - 1)
    sign = np.where(candidates.hwCharge == 1, -1, 1)
    half = PHI_BINS // 2
    phi_shift = ((tracks.phi / PHI_LSB - candidates.hwPhi + half) % PHI_BINS - half) * sign
    eta_shift = (hw_eta - tracks.eta / ETA_LSB) * np.sign(hw_eta)

    # an address that hardly occurs takes the mean of its pT code
    counts = np.bincount(address, minlength=ADDRESSES).reshape(32, PT_LIMIT)
    shifts = np.bincount(address, phi_shift, minlength=ADDRESSES).reshape(32, PT_LIMIT)
    of_code = shifts.sum(0) / np.maximum(counts.sum(0), 1)
    phi = np.where(counts >= 100, shifts / np.maximum(counts, 1), of_code)
    # a bent track is longer by some share: eta shifts by tanh(eta) times it, fitted for each pT code
    lever = np.tanh(np.abs(hw_eta) * ETA_LSB)
    pt = np.minimum(hw_pt, PT_LIMIT - 1)
    longer = np.bincount(pt, eta_shift * lever, PT_LIMIT) / np.maximum(np.bincount(pt, lever**2, PT_LIMIT), 1)
    eta = np.tanh((8 * np.arange(32)[:, None] + 4) * ETA_LSB) * longer
    return Extrapolation({"B": _gmt_table(phi / (1 << PHI_SHIFT))}, {"B": _gmt_table(eta)})


def _gmt_table(mean: NDArray[np.float64]) -> NDArray[np.int16]:
    mean[:, : LOWEST_PT + 1] = mean[:, LOWEST_PT + 1 : LOWEST_PT + 2]
    return np.clip(np.round(mean), 0, 15).astype(np.int16).ravel()


def matched(random: np.random.Generator, bmtf: BmtfTables, n: int) -> tuple[Candidates, Tracks]:
    """Candidates and matched offline muons of `n` generated particles."""
    generator = Generator()
    found = [
        candidates_and_tracks(generator.draw(random, min(500_000, n - first)), bmtf, random)
        for first in range(0, n, 500_000)
    ]
    candidates, tracks = (
        type(parts[0])(*map(np.concatenate, zip(*parts, strict=True))) for parts in zip(*found, strict=True)
    )
    return candidates, tracks


def variants(
    random: np.random.Generator, n: int = 4_000_000, conventions: tuple[Convention, ...] = VARIANTS
) -> list[tuple[BmtfTables, Extrapolation]]:
    """Derive the tables of several conventions from the same `n` single muons."""
    muons, found = singles(random, n), []
    for convention in conventions:
        bmtf = bmtf_tables(muons, convention)
        gmt = gmt_tables_by_l1_pt(*matched(random, bmtf, n)) if convention.by_l1_pt else gmt_tables()
        found.append((bmtf, gmt))
    return found


if __name__ == "__main__":
    write_own(variants(np.random.default_rng(20180501)))
