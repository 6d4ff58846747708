"""Which muons there are: heavy flavour, decays in flight, punch-through; hard ones; or open-data muons.

Parameters follow the study in which the raw GMT row of the reference paper was approached (see
``docs/simulation.md``): few, defensible, and none fitted to a single number of that row.
"""

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from l1scout.formats.streams.muon import MUON_MASS
from l1scout.simulate.detector import CALORIMETER_RADIUS
from l1scout.simulate.kinds import HARD, HEAVY_FLAVOUR, IN_FLIGHT, PUNCH_THROUGH
from l1scout.simulate.transport import Start

HARD_PT = (3.0, 300.0)
"""GeV; the hard component is flat in log pT between these: beyond the largest hwPt, 511 or 255 GeV."""

PION_MASS, KAON_MASS = 0.13957, 0.49368
"""GeV"""
PION_DECAY, KAON_DECAY = PION_MASS / 7.8045, KAON_MASS / 3.712
"""m c tau of charged pions and kaons: decays a metre, times momentum in GeV (PDG)"""


@dataclass(frozen=True)
class Spectrum:
    """Generator settings; momenta in GeV, lengths in m.

    Parameters
    ----------
    generated : tuple of float
        Shares of heavy flavour, decays in flight and punch-through among generated muons, such that
        61, 33 and 6 % of the *selected* (identified, matched) muons are of these kinds.
    heavy_flavour, hadron : tuple of float
        (n, p0) of dN/dpT ~ pT (1 + pT/p0)^-n.
    kaon_to_pion, kaon_branching : float
        At equal pT; of K -> mu nu.
    """

    generated: tuple[float, float, float] = (0.346, 0.551, 0.103)
    heavy_flavour: tuple[float, float] = (5.3, 1.3)
    hadron: tuple[float, float] = (7.0, 1.2)
    kaon_to_pion: float = 0.45
    kaon_branching: float = 0.636
    pt_range: tuple[float, float] = (2.6, 100.0)
    max_eta: float = 0.95
    vertex_z: float = 0.036
    remnant: tuple[float, float] = (0.3, 1.0)
    remnant_angle: float = 0.05


class Generated(NamedTuple):
    """Particles to be tracked, what they are, and what the tracker sees of a kinked one.

    Parameters
    ----------
    start : Start
    kind : ndarray of int64
        See `l1scout.simulate.kinds`.
    """

    start: Start
    kind: NDArray[np.int64]


class _Daughters:
    """Draws a daughter's pT and its share of the parent's momentum from their joint density.

    The daughter comes first, so that no parent is made whose muon would be too soft: the density of
    (pT, x) is that of the parent at pT / x, over x.
    """

    def __init__(self, spectrum: tuple[float, float], pt: tuple[float, float], x_min: float, decays: bool):
        n, p0 = spectrum
        self.pt = np.geomspace(*pt, 1001)
        self.x = np.linspace(x_min, 1.0, 101)
        middle = np.sqrt(self.pt[1:] * self.pt[:-1])[:, None]
        x = 0.5 * (self.x[1:] + self.x[:-1])[None, :]
        parent = middle / x
        density = parent * (1 + parent / p0) ** -n / x
        if decays:  # the chance to decay within the tracker goes as 1 / p
            density = density / parent
        cells = density * np.diff(self.pt)[:, None] * np.diff(self.x)
        self.cumulative = np.cumsum(cells.ravel())
        self.rate = float(self.cumulative[-1]) / (1.0 - x_min)

    def __call__(
        self, random: np.random.Generator, n: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        cell = np.searchsorted(self.cumulative, random.random(n) * self.cumulative[-1], side="right")
        i, j = np.divmod(cell, len(self.x) - 1)
        pt = self.pt[i] + random.random(n) * (self.pt[i + 1] - self.pt[i])
        return pt, self.x[j] + random.random(n) * (self.x[j + 1] - self.x[j])


_daughters = cache(_Daughters)
"""Their densities take longer to make than a block of muons to draw."""


class Generator:
    """Single muons in minimum-bias collisions, drawn so that few are wasted.

    Parameters
    ----------
    settings : Spectrum, optional
    """

    def __init__(self, settings: Spectrum | None = None):
        self.settings = s = settings or Spectrum()
        self._prompt = _daughters(s.heavy_flavour, s.pt_range, 1 - 1e-9, decays=False)
        self._decays = [
            _daughters(s.hadron, s.pt_range, (MUON_MASS / mass) ** 2, decays=True)
            for mass in (PION_MASS, KAON_MASS)
        ]
        self._remnants = _daughters(s.hadron, s.pt_range, s.remnant[0], decays=False)
        pion = PION_DECAY * self._decays[0].rate
        kaon = KAON_DECAY * self._decays[1].rate * s.kaon_to_pion * s.kaon_branching
        self._kaon_share = kaon / (pion + kaon)

    def draw_hard(self, random: np.random.Generator, n: int) -> Generated:
        """Draw `n` muons of the hard component: prompt, and flat in log pT, eta and phi."""
        s, zero, one = self.settings, np.zeros(n), np.ones(n)
        start = Start(
            pt=HARD_PT[0] * (HARD_PT[1] / HARD_PT[0]) ** random.random(n),
            phi=random.uniform(-np.pi, np.pi, n),
            eta=random.uniform(-s.max_eta, s.max_eta, n),
            z=random.normal(0, s.vertex_z, n),
            charge=np.where(random.random(n) < 0.5, -1.0, 1.0),
            kink_radius=zero,
            kink_fraction=one,
            kink_phi=zero,
            kink_theta=zero,
        )
        return Generated(start, np.full(n, HARD))

    def draw(self, random: np.random.Generator, n: int) -> Generated:
        """Draw `n` particles."""
        s = self.settings
        kind = random.choice(3, n, p=np.array(s.generated) / sum(s.generated))
        eta = random.uniform(-s.max_eta, s.max_eta, n)
        pt, x = np.empty(n), np.ones(n)
        radius, kink, mass = np.zeros(n), np.zeros(n), np.full(n, PION_MASS)

        prompt = kind == HEAVY_FLAVOUR
        pt[prompt] = self._prompt(random, int(prompt.sum()))[0]

        rest = kind == PUNCH_THROUGH
        pt[rest], x[rest] = self._remnants(random, int(rest.sum()))
        radius[rest] = CALORIMETER_RADIUS
        kink[rest] = random.rayleigh(s.remnant_angle, int(rest.sum())) / x[rest]

        decay = kind == IN_FLIGHT
        mass[decay & (random.random(n) < self._kaon_share)] = KAON_MASS
        for m, daughters in zip((PION_MASS, KAON_MASS), self._decays, strict=True):
            these = decay & (mass == m)
            pt[these], x[these] = daughters(random, int(these.sum()))
        # 1 / p at given pT: eta goes as 1 / cosh(eta)
        u = random.uniform(-1, 1, n)[decay] * np.arctan(np.sinh(s.max_eta))
        eta[decay] = np.arcsinh(np.tan(u))
        radius[decay] = random.uniform(0, CALORIMETER_RADIUS, int(decay.sum()))
        kink[decay] = _decay_angle(mass[decay], x[decay], pt[decay] * np.cosh(eta[decay]))

        around = random.uniform(0, 2 * np.pi, n)
        start = Start(
            pt=pt / x,
            phi=random.uniform(-np.pi, np.pi, n),
            eta=eta,
            z=random.normal(0, s.vertex_z, n),
            charge=np.where(random.random(n) < 0.5, -1.0, 1.0),
            kink_radius=radius,
            kink_fraction=x,
            kink_phi=kink * np.cos(around) * np.cosh(eta),
            kink_theta=kink * np.sin(around),
        )
        return Generated(start, kind)


def _decay_angle(
    mass: NDArray[np.float64], x: NDArray[np.float64], p: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Angle between parent and muon of momentum p (GeV) that takes the share x, in a two-body decay."""
    momentum = (mass**2 - MUON_MASS**2) / (2 * mass)
    cosine = (x * mass - np.hypot(momentum, MUON_MASS)) / momentum
    return np.asarray(momentum * np.sqrt(np.clip(1 - cosine**2, 0, None)) / p)
