"""Toys of lumisections: histograms with Poisson counts, clean or with a planted fault; simulated, of course.

They have muons, jets and decisions of the Global Trigger, with the 2018 filling scheme. Shapes are rough
sketches of the real ones: checks compare a run with itself, and so only need the numbers of entries to be of
the right size.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from l1scout.analysis.common.live_time import Section
from l1scout.lhc import LUMISECTION_S, ORBITS_PER_LUMISECTION, colliding
from l1scout.quality.histogram_definitions import definitions
from l1scout.quality.quality_flag import QualityFlag
from l1scout.quality.section_quality import SectionQuality
from l1scout.quality.stream_histograms import Counts

Shapes = Mapping[str, Mapping[str, NDArray[np.float64]]]
"""Expected entries per lumisection by stream and histogram."""
LIFETIME_S = 15 * 3600.0
"""Of the luminosity."""


@dataclass(frozen=True)
class ToyConditions:
    """What is expected of a lumisection.

    Parameters
    ----------
    muons, jets, decisions : float
        Entries per lumisection at the start.
    pt_scale : float
        Of muons.
    shift_bx : int
        By which all muons are late.
    luminosity : float
        Relative to that at the start.
    dead_sector : int, optional
        Twelfth of phi, from 0, without muons of the BMTF.
    hot_cell : float
        Entries that a cell of the map of jets has in excess.
    stuck_bit : float
        Entries that an algorithm of the trigger has in excess.
    """

    muons: float = 200_000
    jets: float = 100_000
    decisions: float = 100_000
    pt_scale: float = 1.0
    shift_bx: int = 0
    luminosity: float = 1.0
    dead_sector: int | None = None
    hot_cell: float = 0.0
    stuck_bit: float = 0.0

    def shapes(self) -> Shapes:
        """Return the expected entries, without the decay of the luminosity."""
        by_bx = np.full(3565, 0.02)
        by_bx[0] = 0.0
        bx = colliding("2018")
        by_bx[bx - 1] += 0.3
        by_bx[bx + 1] += 0.2
        by_bx[bx] = 100.0
        muon = {
            "occupied_bx": np.roll(by_bx, self.shift_bx) * self.muons / by_bx.sum(),
            "pt": _spectrum("muon", "pt", 6.0 * self.pt_scale) * self.muons,
            "finder_eta_phi": self._map() * self.muons,
            "quality": np.r_[np.zeros(4), 1, 1, 1, 0, 3, 0, 0, 0, 4, 0, 0, 0] * self.muons / 10,
            "charge": np.full(2, self.muons / 2),
        }
        jet_map = np.ones(next(d.shape for d in definitions("jet") if d.name == "eta_phi"))
        jet_map *= self.jets / jet_map.size
        jet_map[20, 30] += self.hot_cell
        jet = {"occupied_bx": by_bx * self.jets / by_bx.sum(), "eta_phi": jet_map}
        rates = np.zeros(512)
        rates[::8] = np.geomspace(1, 1000, 64)
        rates *= self.decisions / rates.sum()
        rates[80] += self.stuck_bit
        gt = {"occupied_bx": by_bx * self.decisions / by_bx.sum(), "algorithm": rates}
        return {
            stream: {name: content * self.luminosity for name, content in shapes.items()}
            for stream, shapes in {"muon": muon, "jet": jet, "gt": gt}.items()
        }

    def _map(self) -> NDArray[np.float64]:
        """Return the share of each bin of the map: finders in the order of `TRACK_FINDERS`, eta, phi."""
        definition = next(d for d in definitions("muon") if d.name == "finder_eta_phi")
        edges = definition.axes[1].edges
        finder = np.digitize((edges[1:] + edges[:-1]) / 2, [-1.2, -0.8, 0.8, 1.2])
        density = np.zeros(definition.shape)
        density[4 - finder, np.arange(finder.size)] = 1
        if self.dead_sector is not None:
            step = density.shape[2] // 12
            density[2, :, step * self.dead_sector : step * (self.dead_sector + 1)] = 0
        return np.asarray(density / density.sum())


def _spectrum(stream: str, name: str, scale: float) -> NDArray[np.float64]:
    """Return the bins of a falling spectrum: (1 + pT / scale)^-4, from pT 0."""
    edges = next(d for d in definitions(stream) if d.name == name).axes[0].edges
    beyond = (1 + np.maximum(edges, 0) / scale) ** -3.0
    beyond[-1] = 0.0
    return -np.diff(beyond)


FAULTS: Mapping[str, tuple[str, Callable[[ToyConditions], ToyConditions]]] = {
    "hot cell of the jet map": (
        "0.1 % of the jets in excess",
        lambda c: replace(c, hot_cell=1e-3 * c.jets),
    ),
    "dead sector": ("1/12 of the BMTF", lambda c: replace(c, dead_sector=5)),
    "timing": ("all muons 1 BX late", lambda c: replace(c, shift_bx=1)),
    "pT scale": ("+2 %", lambda c: replace(c, pt_scale=1.02 * c.pt_scale)),
    "luminosity step": ("-10 %", lambda c: replace(c, luminosity=0.9 * c.luminosity)),
    "stuck trigger bit": (
        "1 % of the decisions in excess",
        lambda c: replace(c, stuck_bit=1e-2 * c.decisions),
    ),
}
"""What can be planted: its size, and the conditions with it."""


class ToyRun:
    """Lumisections drawn one after the other.

    Parameters
    ----------
    seed : int
    conditions : ToyConditions
    lifetime_s : float
        Of the luminosity; infinite for a constant one.
    scatter : float
        Relative systematic scatter of each bin, and of the luminosity, from lumisection to lumisection.
    run : int
    only : mapping of str to collection of str, optional
        Histograms by stream; all if None.
    """

    def __init__(
        self,
        seed: int,
        conditions: ToyConditions | None = None,
        lifetime_s: float = LIFETIME_S,
        scatter: float = 0.0,
        run: int = 1,
        only: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        self._random = np.random.default_rng(seed)
        self._lifetime, self._run, self._number = lifetime_s, run, 0
        self._scatter = scatter
        self._only = only
        self.set(conditions or ToyConditions())

    def set(self, conditions: ToyConditions) -> None:
        """Go on under other conditions."""
        self.conditions = conditions
        self._shapes: Shapes = conditions.shapes()
        if self._only is not None:
            self._shapes = {
                stream: {name: self._shapes[stream][name] for name in names}
                for stream, names in self._only.items()
            }

    def draw(self, quality: SectionQuality, sections: int) -> list[QualityFlag]:
        """Draw lumisections and check each; return all flags."""
        found = []
        for _ in range(sections):
            decay = float(np.exp(-self._number * LUMISECTION_S / self._lifetime)) * self._scattered(())
            self._number += 1
            streams: dict[str, Counts] = {
                stream: {
                    name: self._random.poisson(decay * content * self._scattered(content.shape))
                    for name, content in shapes.items()
                }
                for stream, shapes in self._shapes.items()
            }
            orbits = dict.fromkeys(streams, ORBITS_PER_LUMISECTION)
            found += quality.check(Section(self._run, self._number), streams, orbits)
        return found

    def _scattered(self, shape: tuple[int, ...]) -> NDArray[np.float64] | float:
        """Return factors near 1."""
        if not self._scatter:
            return 1.0
        return np.maximum(1.0 + self._scatter * self._random.standard_normal(shape), 0.0)
