"""Pairs of muons: resonances and a continuum, both muons through detector, trigger and reconstruction."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from l1scout import lhc
from l1scout.core.orbit_data import OrbitData
from l1scout.formats.streams.muon import MUON_MASS
from l1scout.simulate.chain import pairs_through, trigger_tables
from l1scout.simulate.finders import FinderTables
from l1scout.simulate.generator import Generated, Spectrum
from l1scout.simulate.gmt import Extrapolation
from l1scout.simulate.kinds import HEAVY_FLAVOUR
from l1scout.simulate.transport import Start


class Resonance(NamedTuple):
    """Mass and natural width in GeV (PDG)."""

    mass: float
    width: float


RESONANCES = {
    "phi": Resonance(1.01946, 0.00425),
    "J/psi": Resonance(3.09690, 0.0000926),
    "psi(2S)": Resonance(3.68610, 0.000294),
    "Upsilon(1S)": Resonance(9.46040, 0.000054),
    "Upsilon(2S)": Resonance(10.02340, 0.000032),
    "Upsilon(3S)": Resonance(10.35510, 0.00002),
    "Z": Resonance(91.1880, 2.4955),
}
CONTINUUM = "continuum"
KINDS = (*RESONANCES, CONTINUUM)
_CHUNK = 50_000
"""Pairs made at a time."""


DEFAULT_SHARES = {
    "phi": 0.02,
    "J/psi": 0.12,
    "psi(2S)": 0.004,
    "Upsilon(1S)": 0.03,
    "Upsilon(2S)": 0.01,
    "Upsilon(3S)": 0.006,
    "Z": 0.01,
    CONTINUUM: 0.8,
}
"""Of the pairs that pass the cuts: plausible, not measured."""


@dataclass(frozen=True)
class Pairs:
    """What pairs there are.

    Parameters
    ----------
    shares : mapping of str to float
        Of `KINDS`, among the pairs that pass the cuts on both muons.
    power, mass_range : float, tuple of float
        dN/dm ~ m^power of the continuum before those cuts, in GeV.
    pair_pt : tuple of float
        (p0, largest) in GeV of dN/dpT ~ pT (1 + (pT / p0)^2)^-3.
    min_pt, max_eta : float
        Of both muons; GeV.
    """

    shares: Mapping[str, float]
    power: float = -1.4
    mass_range: tuple[float, float] = (0.5, 240.0)
    pair_pt: tuple[float, float] = (8.0, 80.0)
    min_pt: float = 3.5
    max_eta: float = 0.83

    def __post_init__(self) -> None:
        if not self.shares or set(self.shares) - set(KINDS) or min(self.shares.values()) < 0:
            msg = f"shares are of {', '.join(KINDS)}, 0 or more: not {dict(self.shares)}"
            raise ValueError(msg)


def simulate_dimuons(seed: int, pairs: int, settings: Pairs) -> Iterator[OrbitData]:
    """Simulate pairs, two muons per row, up to 50,000 pairs at a time.

    Both come from one point and are back to back in the rest frame of the pair, in any direction. Offline
    columns have ``kind`` too: index into `KINDS`.

    Parameters
    ----------
    seed : int
        Same seed, same pairs, bit for bit.
    pairs : int
        Number of pairs.
    settings : Pairs
    """
    random = np.random.default_rng(seed)
    tables: tuple[FinderTables, Extrapolation] = trigger_tables()
    names = list(settings.shares)
    weights = np.array([settings.shares[n] for n in names])
    for first in range(0, pairs, _CHUNK):
        n = min(_CHUNK, pairs - first)
        counts = random.multinomial(n, weights / weights.sum())
        muons = np.concatenate(
            [_draw(random, settings, name, int(k)) for name, k in zip(names, counts, strict=True)], axis=1
        )
        kind = np.repeat([KINDS.index(name) for name in names], counts)
        order = random.permutation(n)
        muons, kind = muons[:, order], kind[order]
        pt, eta, phi = (muons[k : k + 2].T.reshape(-1) for k in (0, 2, 4))
        charge = np.tile([1.0, -1.0], n)
        z = np.repeat(random.normal(0, Spectrum().vertex_z, n), 2)
        zero = np.zeros(2 * n)
        start = Start(pt, phi, eta, z, charge, zero, zero + 1, zero, zero)
        rows = lhc.orbit_and_bx(np.arange(first, first + n))
        source = f"l1scout simulation of muon pairs, seed {seed}"
        particles = Generated(start, np.full(2 * n, HEAVY_FLAVOUR))
        yield pairs_through(particles, rows, np.repeat(kind, 2), tables, random, source)


def _draw(random: np.random.Generator, settings: Pairs, name: str, n: int) -> NDArray[np.float64]:
    """Draw pairs whose muons pass the cuts: rows pT of both, eta of both, phi of both."""
    found: list[NDArray[np.float64]] = [np.zeros((6, 0))]
    while sum(f.shape[1] for f in found) < n:
        size = max(4 * n, 20_000)
        made = _decay(random, _mass(random, settings, name, size), _pair_pt(random, settings, size), settings)
        good = np.all((made[:2] > settings.min_pt) & (np.abs(made[2:4]) < settings.max_eta), axis=0)
        found.append(made[:, good])
    return np.concatenate(found, axis=1)[:, :n]


def _mass(random: np.random.Generator, settings: Pairs, name: str, n: int) -> NDArray[np.float64]:
    low, high = settings.mass_range
    u = random.random(n)
    if name == CONTINUUM:
        k = settings.power + 1
        return np.asarray((low**k + u * (high**k - low**k)) ** (1 / k))
    mass, width = RESONANCES[name]
    ends = np.arctan((np.array([max(low, mass - 20 * width), mass + 20 * width]) - mass) * 2 / width)
    return np.asarray(mass + width / 2 * np.tan(ends[0] + u * (ends[1] - ends[0])))


def _pair_pt(random: np.random.Generator, settings: Pairs, n: int) -> NDArray[np.float64]:
    p0, top = settings.pair_pt
    most = 1 - (1 + (top / p0) ** 2) ** -2
    return np.asarray(p0 * np.sqrt((1 - random.random(n) * most) ** -0.5 - 1))


def _decay(
    random: np.random.Generator, mass: NDArray[np.float64], pt: NDArray[np.float64], settings: Pairs
) -> NDArray[np.float64]:
    """Momenta of the muons: pT of both, eta of both, phi of both."""
    n = mass.size
    rapidity = random.uniform(-settings.max_eta - 0.5, settings.max_eta + 0.5, n)
    phi = random.uniform(-np.pi, np.pi, n)
    transverse = np.hypot(mass, pt)
    pair = np.stack([pt * np.cos(phi), pt * np.sin(phi), transverse * np.sinh(rapidity)])
    energy = transverse * np.cosh(rapidity)
    cosine, around = random.uniform(-1, 1, n), random.uniform(-np.pi, np.pi, n)
    sine = np.sqrt(1 - cosine**2)
    momentum = np.sqrt(np.maximum(mass**2 / 4 - MUON_MASS**2, 0))
    rest = momentum * np.stack([sine * np.cos(around), sine * np.sin(around), cosine])
    along = (rest * pair).sum(axis=0)
    moved = []
    for sign in (1, -1):  # boost along the pair's momentum
        p = sign * rest + pair / mass * (sign * along / (energy + mass) + mass / 2)
        moved.append(p)
    pts = np.stack([np.hypot(p[0], p[1]) for p in moved])
    etas = np.stack([np.arcsinh(p[2] / np.maximum(t, 1e-9)) for p, t in zip(moved, pts, strict=True)])
    phis = np.stack([np.arctan2(p[1], p[0]) for p in moved])
    return np.concatenate([pts, etas, phis])
