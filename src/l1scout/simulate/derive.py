"""Make the track finder's and the GMT's tables from simulated muons.

``python -m l1scout.simulate.derive`` makes those that the package ships (half a minute). The track
finder's convention: of the muons of some pT, 90 % shall get at least this pT.
"""

import numpy as np
from numpy.typing import NDArray

from l1scout.formats.streams.muon import ETA_LSB, PHI_BINS, PHI_LSB
from l1scout.simulate import stubs as dt
from l1scout.simulate.bmtf import HIGHEST_PT, LOWEST_PT, PAIRS, REFERENCE, BmtfTables, Candidates
from l1scout.simulate.chain import candidates_and_tracks
from l1scout.simulate.generator import Generator
from l1scout.simulate.gmt import ADDRESSES, PHI_SHIFT, PT_LIMIT, Extrapolation
from l1scout.simulate.offline import Tracks
from l1scout.simulate.stubs import Stubs, stubs
from l1scout.simulate.tables import write_own
from l1scout.simulate.transport import Start, transport

LIMITS = (180, 160, 94, 66, 65, 140)
"""Reference direction from which the "low" table holds: the official tables' own first lines"""
QUANTILE = 0.95
"""Of clean muons; with disturbed ones 0.90-0.93 of the muons above 8 GeV get at least their pT"""
WINDOW_TAIL = 0.005
"""Share of clean muons lost on either side of an extrapolation window"""
_PT_EDGES = np.geomspace(2.2, 160.0, 61)


def single_muons(random: np.random.Generator, n: int) -> Start:
    """Muons of either charge, flat in log pT (2.2-160 GeV), eta and phi: what the tables are made with."""
    zero, one = np.zeros(n), np.ones(n)
    pt = np.exp(random.uniform(np.log(_PT_EDGES[0]), np.log(_PT_EDGES[-1]), n))
    phi, eta = random.uniform(-np.pi, np.pi, n), random.uniform(-0.9, 0.9, n)
    z, charge = random.normal(0, 0.036, n), np.where(random.random(n) < 0.5, -1.0, 1.0)
    return Start(pt, phi, eta, z, charge, zero, one, zero, zero)


def bmtf_tables(random: np.random.Generator, n: int = 4_000_000) -> BmtfTables:
    """Derive the tables of the barrel track finder from `n` simulated single muons."""
    start = single_muons(random, n)
    crossings = transport(start, random)
    s = stubs(crossings, random)
    shape = len(PAIRS), 4096
    high, low = np.zeros(shape, np.int16), np.full(shape, LOWEST_PT, np.int16)
    bend = np.zeros((len(PAIRS), 1024), np.int16)
    window = np.zeros((len(PAIRS), 1024, 2), np.int16)
    for m, (a, b) in enumerate(PAIRS):
        ref, other = REFERENCE[m], a + b - REFERENCE[m]
        use = (s.quality[:, a] > 0) & (s.quality[:, b] > 0) & s.clean[:, a] & s.clean[:, b]
        difference = np.abs(s.phi[use, b] - s.phi[use, a])
        direction = np.abs(s.bend[use, ref])
        curve = _pt_curve(start.pt[use], difference)
        high[m] = curve[np.abs(np.arange(-2048, 2048))]
        # a muon just at the limit bends less than this by the convention: less still, and direction
        # and bend of a steep muon disagree
        at_limit = np.abs(direction - LIMITS[m]) <= LIMITS[m] // 20
        least = np.quantile(difference[at_limit], QUANTILE)
        low[m] = np.where(np.abs(np.arange(-2048, 2048)) >= least, high[m], LOWEST_PT)
        bend[m] = _pt_curve(start.pt[use], direction)[np.abs(np.arange(-512, 512))]
        window[m] = _window(s.bend[use, ref], s.phi[use, other] - s.phi[use, ref])
    to_second = np.stack([_to_second(s, k) for k in (0, 3)])
    return BmtfTables(high, low, np.array(LIMITS, np.int16), bend, window, to_second)


def _pt_curve(pt: NDArray[np.float64], bend: NDArray[np.int64]) -> NDArray[np.int16]:
    """Return hwPt against |bend| (0..2048) such that `QUANTILE` of the muons of a pT get at least it."""
    cell = np.digitize(pt, _PT_EDGES) - 1
    at, reach = [], []
    for k in range(len(_PT_EDGES) - 1):
        here = bend[cell == k]
        if here.size >= 200:
            at.append(np.sqrt(_PT_EDGES[k] * _PT_EDGES[k + 1]))
            reach.append(np.quantile(here, QUANTILE))
    # a softer muon bends more: from the hardest down, never less than the one before
    bends = np.maximum.accumulate(np.array(reach[::-1]) + 0.5)
    log_pt = np.interp(np.arange(2049), bends, np.log(np.array(at[::-1])))
    # beyond the hardest muons' bend resolution everything is straight
    hw = np.floor(2 * np.exp(log_pt)).astype(np.int64) + 1
    hw[: int(bends[0])] = HIGHEST_PT
    return np.asarray(np.clip(hw, LOWEST_PT + 1, HIGHEST_PT), np.int16)


def _window(direction: NDArray[np.int64], difference: NDArray[np.int64]) -> NDArray[np.int16]:
    """Find smallest and largest difference of azimuth against the direction + 512, symmetric in charge."""
    sign = np.where(direction < 0, -1, 1)
    edges = np.r_[np.arange(0, 256, 8), 256, 320, 513]
    cell = np.digitize(np.abs(direction), edges) - 1
    rows = np.zeros((len(edges) - 1, 2))
    for k in range(len(edges) - 1):
        here = (difference * sign)[cell == k]
        if here.size >= 200:
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


def gmt_tables(candidates: Candidates, tracks: Tracks) -> Extrapolation:
    """Derive the GMT's barrel tables from candidates and the offline muons matched to them.

    They are addressed by the *L1* pT, so that the mean correction of the muons with some address is
    right, mismeasured ones included. The lowest pT code only marks candidates whose bend and direction
    disagree; it takes the correction of the code above, as in the official tables, where corrections
    only grow towards low pT.
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


def main() -> None:
    """Derive the tables that the package ships, and write them where it looks for them."""
    random = np.random.default_rng(20180501)
    bmtf = bmtf_tables(random)
    generator = Generator()
    found = [candidates_and_tracks(generator.draw(random, 1_000_000), bmtf, random) for _ in range(8)]
    gmt = gmt_tables(
        *(
            type(parts[0])(*map(np.concatenate, zip(*parts, strict=True)))
            for parts in zip(*found, strict=True)
        )
    )
    write_own(bmtf, gmt)


if __name__ == "__main__":
    main()
