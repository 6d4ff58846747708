"""Templates of the lines in spectra of muon pairs: what detector, trigger and selection make of a resonance.

Pairs of each resonance are simulated (seconds of computing, once per process) and pass the same selection and
the same models as the data. So a template is that of the values it is used for: raw, recalibrated or offline.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from l1scout.core.orbit_data import OrbitData

PAIRS = 40_000
"""Simulated for each line."""
SEED = 4_000_000_019
"""Of the simulation; not one that samples are made with."""
FEWEST = 500
"""Simulated pairs in a template."""
_QUANTILES = np.r_[0.0, 0.003, 0.01, np.linspace(0.04, 0.96, 24), 0.99, 0.997, 1.0]


@dataclass(frozen=True)
class Template:
    """Shape of a line in a spectrum.

    Parameters
    ----------
    masses : ndarray
        Knots in GeV, rising.
    below : ndarray
        Share of the entries below each knot, from 0 to 1; in between monotone cubic (PCHIP).
    entries : float
        Simulated pairs that it is made of.
    """

    masses: NDArray[np.float64]
    below: NDArray[np.float64]
    entries: float

    @classmethod
    def of_counts(cls, edges: NDArray[np.float64], counts: NDArray[Any]) -> "Template":
        """Make a template of a spectrum: knots are the edges of bins nearest to 30 quantiles."""
        total = float(counts.sum())
        below = np.r_[0.0, np.cumsum(counts)] / max(total, 1.0)
        ends = np.flatnonzero(counts > 0)
        if total < FEWEST:
            return cls(edges[[0, -1]], np.array([0.0, 1.0]), total)
        at = np.unique([np.abs(below - q).argmin() for q in _QUANTILES[1:-1]])
        at = np.unique(np.r_[ends[0], at[(at > ends[0]) & (at < ends[-1] + 1)], ends[-1] + 1])
        return cls(edges[at], below[at], total)

    @classmethod
    def gaussian(cls, position: float, width: float) -> "Template":
        """Make a Gaussian of given mean and standard deviation (GeV)."""
        from scipy.special import ndtr

        z = np.linspace(-5, 5, 81)
        return cls(position + width * z, np.r_[0.0, ndtr(z)[1:-1], 1.0], np.inf)

    @classmethod
    def mixture(cls, templates: "Sequence[Template]", shares: Sequence[float]) -> "Template":
        """Add up templates with these shares."""
        knots = np.unique(np.concatenate([t.masses for t in templates]))
        below = [share * t.below_mass(knots) for t, share in zip(templates, shares, strict=True)]
        return cls(knots, np.sum(below, axis=0) / sum(shares), min(t.entries for t in templates))

    @cached_property
    def _interpolation(self) -> Any:
        from scipy.interpolate import PchipInterpolator

        return PchipInterpolator(self.masses, self.below)

    def below_mass(self, mass: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the share of the entries below a mass in GeV."""
        return np.asarray(self._interpolation(np.clip(mass, self.masses[0], self.masses[-1])))

    def quantile(self, share: float) -> float:
        """Return the mass (GeV) that this share of the entries is below."""
        return float(np.interp(share, self.below, self.masses))

    @cached_property
    def position(self) -> float:
        """Median in GeV."""
        return self.quantile(0.5)

    @cached_property
    def width(self) -> float:
        """Half of the range of the middle 68 % in GeV; of a Gaussian, its standard deviation."""
        return (self.quantile(0.841345) - self.quantile(0.158655)) / 2

    def share(
        self, edges: NDArray[np.float64], scale: float = 1.0, stretch: float = 1.0
    ) -> NDArray[np.float64]:
        """Return the share of the entries in each bin.

        Parameters
        ----------
        edges : ndarray
            GeV, rising.
        scale, stretch : float
            Factors of the position and of the width.
        """
        return np.diff(self.below_mass((edges - scale * self.position) / stretch + self.position))

    def slopes(
        self, edges: NDArray[np.float64], scale: float = 1.0, stretch: float = 1.0
    ) -> NDArray[np.float64]:
        """Return the derivatives of `share` by scale and stretch, shape (2, bins)."""
        from_position = (edges - scale * self.position) / stretch
        mass = from_position + self.position
        inside = (mass > self.masses[0]) & (mass < self.masses[-1])
        density = np.where(inside, self._interpolation(mass, 1), 0.0)
        return np.asarray(np.diff([-density * self.position / stretch, -density * from_position / stretch]))


@lru_cache(maxsize=16)
def simulated_line(kind: str, pairs: int = PAIRS) -> "tuple[OrbitData, ...]":
    """Simulate pairs of one resonance of `l1scout.simulate.dimuons`; kept in memory for the next call."""
    from l1scout.simulate.dimuons import Pairs, simulate_dimuons

    return tuple(simulate_dimuons(SEED, pairs, Pairs({kind: 1.0})))
