"""Domain randomisation: detector, trigger tables and spectrum drawn anew for each block of simulated muons.

A network that is trained on one simulated detector learns that detector. Nobody knows the real one exactly,
so each block of muons is given another one, drawn from the ranges within which it is known.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from l1scout.simulate.finders import FinderTables
from l1scout.simulate.generator import Spectrum
from l1scout.simulate.gmt import Extrapolation
from l1scout.simulate.offline import Tracker
from l1scout.simulate.stubs import Chambers

_STEPS = 9
"""Values of material and scattering within their ranges: tables of energy loss are made once for each."""
_SPECTRA = 5
"""Values of the spectrum's parameters within their ranges, for the same reason."""


Tables = tuple[FinderTables, Extrapolation]


class Setting(NamedTuple):
    """Everything with which some muons are simulated.

    Parameters
    ----------
    tables : tuple
        Of the track finder and of the GMT.
    spectrum : Spectrum
    tracker : Tracker
    chambers : Chambers
    material, scattering : float
        Scale of all thicknesses, and of the angles of multiple scattering.
    alignment : tuple of float
        Azimuth, in rad, by which MB1 to MB4 really stand elsewhere than the trigger believes.
    """

    tables: Tables
    spectrum: Spectrum
    tracker: Tracker
    chambers: Chambers
    material: float
    scattering: float
    alignment: tuple[float, ...]


@dataclass(frozen=True)
class Randomisation:
    """Ranges from which each block of muons draws; all uniform but the alignment.

    The ranges say how well each parameter is known, none was chosen for a result. Trigger and offline
    propagation know nothing of what was drawn: they keep the nominal detector.

    Parameters
    ----------
    block : int
        Particles generated with the same draw: about 1,200 matched muons. A choice: a data set of 500,000
        muons then has 400 draws, and drawing takes less time than simulating.
    tables : bool
        Draw one of `l1scout.simulate.tables.own_variants`, track finder and GMT together. Official tables
        are never varied.
    material : tuple of float
        Factor of the nominal material. +-4 % are the variations of ``docs/study.md``: a choice.
    scattering : tuple of float
        Factor of multiple scattering: Highland's formula is good to 11 % (PDG review, "Passage of particles
        through matter").
    alignment : float
        rad; standard deviation of each station's azimuth. 0.3 mrad, 1.3 mm at MB1, is more than the accuracy
        of the offline alignment: a choice.
    heavy_flavour : tuple of (float, float)
        First and last (n, p0 in GeV) of the spectrum of heavy flavour, drawn together: the nominal and the
        harder one of ``docs/study.md``. A choice.
    in_flight : tuple of float
        Factor of the share of decays in flight (log-uniform), whose rate is not measured for this selection.
        A choice.
    turn_on : tuple of float
        GeV; of muon identification, which is not published and the most influential unknown. A choice.
    resolution : tuple of float
        Factor of the chambers' resolutions of azimuth and direction. A choice.
    efficiency : tuple of float
        Of the chambers, in phi and theta, each by itself. A choice about the nominal 0.94.
    contaminated : tuple of float
        Share of stubs that showers disturb. A choice: half to one and a half times the nominal 8 %.
    crosstalk : tuple of float
        Share of theta bins that are those of a neighbour: real muons of 2024 have a coarser eta at MB2
        (RMS 0.0205 +- 0.0023) than the nominal simulation (0.015). A choice.
    """

    block: int = 5000
    tables: bool = True
    material: tuple[float, float] = (0.96, 1.04)
    scattering: tuple[float, float] = (0.89, 1.11)
    alignment: float = 0.3e-3
    heavy_flavour: tuple[tuple[float, float], tuple[float, float]] = ((5.3, 1.3), (4.3, 3.0))
    in_flight: tuple[float, float] = (0.5, 2.0)
    turn_on: tuple[float, float] = (3.0, 3.8)
    resolution: tuple[float, float] = (0.8, 1.3)
    efficiency: tuple[float, float] = (0.90, 0.98)
    contaminated: tuple[float, float] = (0.04, 0.12)
    crosstalk: tuple[float, float] = (0.0, 0.05)

    def __str__(self) -> str:
        """Describe what is drawn, and from which ranges: for metadata, cards and reports."""

        def span(what: str, ends: tuple[float, float], unit: str = "") -> str:
            return f"{what} {ends[0]:g} to {ends[1]:g}{unit}"

        (n1, p1), (n2, p2) = self.heavy_flavour
        parts = [
            *(["the trigger's tables"] if self.tables else []),
            span("material x", self.material),
            span("scattering x", self.scattering),
            f"stations +-{1e3 * self.alignment:g} mrad",
            f"heavy flavour n, p0 {n1:g}, {p1:g} to {n2:g}, {p2:g}",
            span("decays in flight x", self.in_flight),
            span("identification from", self.turn_on, " GeV"),
            span("chamber resolution x", self.resolution),
            span("efficiency", self.efficiency),
            span("disturbed stubs", self.contaminated),
            span("theta cross-talk", self.crosstalk),
        ]
        return f"for each {self.block:,} particles: {', '.join(parts)}"

    def draw(
        self,
        random: np.random.Generator,
        nominal: Setting,
        variants: Sequence[Tables] = (),
    ) -> Setting:
        """Draw the setting of a block.

        Parameters
        ----------
        random : numpy.random.Generator
        nominal : Setting
            What is not drawn stays as it is here; factors are of its values.
        variants : tuple of pairs of tables
            One of which is drawn, if any are given and `tables` is set.
        """
        flight = np.exp(random.uniform(*np.log(self.in_flight)))
        prompt, decays, punch = nominal.spectrum.generated
        n, p0 = random.choice(np.linspace(*self.heavy_flavour, _SPECTRA)).tolist()
        spectrum = replace(
            nominal.spectrum, heavy_flavour=(n, p0), generated=(prompt, decays * float(flight), punch)
        )
        chambers = replace(
            nominal.chambers.coarser(random.uniform(*self.resolution)),
            phi_efficiency=random.uniform(*self.efficiency),
            theta_efficiency=random.uniform(*self.efficiency),
            contaminated=random.uniform(*self.contaminated),
            crosstalk=random.uniform(*self.crosstalk),
        )
        chosen = int(random.integers(len(variants))) if self.tables and variants else None
        return Setting(
            tables=nominal.tables if chosen is None else variants[chosen],
            spectrum=spectrum,
            tracker=replace(nominal.tracker, turn_on=random.uniform(*self.turn_on)),
            chambers=chambers,
            material=nominal.material * float(random.choice(np.linspace(*self.material, _STEPS))),
            scattering=nominal.scattering * float(random.choice(np.linspace(*self.scattering, _STEPS))),
            alignment=tuple(a + random.normal(0, self.alignment) for a in nominal.alignment),
        )
