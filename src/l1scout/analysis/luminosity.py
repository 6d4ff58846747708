"""Measure the luminosity of every bunch and lumisection by zero and rate counting, without background.

Without a visible cross section (see `l1scout analyse calibrate`): muons per crossing and per orbit.
"""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from l1scout.analysis import (
    ANALYSES,
    MUON_CUTS,
    TIME,
    Analysis,
    Doc,
    Needs,
    Number,
    Option,
    Part,
    Result,
    Value,
)
from l1scout.analysis.common.counting_methods import Method
from l1scout.errors import InputError


@dataclass(frozen=True, kw_only=True)
class LuminosityOptions:
    """Options of the luminosity."""

    method: Method = "zero"
    sigma_vis: Annotated[
        str | None, Option("Visible cross section and uncertainty in microbarn: 50,1.", unit="ub")
    ] = None

    def __post_init__(self) -> None:
        _ = self.cross_section

    @property
    def cross_section(self) -> tuple[float, float] | None:
        """Visible cross section and its uncertainty in microbarn (InputError if it is not that)."""
        if self.sigma_vis is None:
            return None
        try:
            value, error = (float(text) for text in self.sigma_vis.split(","))
        except ValueError:
            value = error = -1.0
        if not (0 < value < float("inf") and 0 <= error < float("inf")):
            msg = f"--sigma-vis {self.sigma_vis}: a value above 0 and its uncertainty expected, such as 50,1"
            raise InputError(msg)
        return value, error


@dataclass(kw_only=True)
class Sums(Part):
    """Muons and luminosity of all colliding BX together."""

    muons_per_orbit: Number
    muons_per_orbit_stat: Number
    muons_per_orbit_syst: Annotated[Number, Doc("of the background")]
    muons_per_colliding_crossing: Number = None
    muons_per_colliding_crossing_stat: Number = None
    muons_per_colliding_crossing_syst: Number = None
    hz_per_ub: Annotated[Number, Doc("luminosity, with --sigma-vis")] = None
    hz_per_ub_stat: Number = None
    hz_per_ub_syst: Annotated[Number, Doc("of the background and the calibration")] = None
    integrated_per_ub: Annotated[Number, Doc("luminosity times live time, in 1/ub")] = None


@dataclass(kw_only=True)
class SectionRow(Sums):
    """A lumisection, or another slice of time; without muons it has no luminosity."""

    run: int
    section: int
    orbits: int
    live_s: Number
    live_fraction: Number
    muons_per_orbit: Number = None
    muons_per_orbit_stat: Number = None
    muons_per_orbit_syst: Number = None


@dataclass(kw_only=True)
class BunchRow(Part):
    """A colliding BX; background subtracted."""

    bx: int
    muons_per_crossing_rate: Number
    muons_per_crossing_rate_stat: Number
    muons_per_crossing_zero: Number
    muons_per_crossing_zero_stat: Number
    background_per_crossing: Number
    background_per_crossing_syst: Number
    hz_per_ub: Number = None
    hz_per_ub_stat: Number = None
    hz_per_ub_syst: Number = None


@dataclass(kw_only=True)
class BackgroundFit(Part):
    """Muons that are not of their BX: a constant, and fractions of the muons in time."""

    constant_muons_per_crossing: Value
    early_fraction: Value
    late_fraction: Value
    glow_fraction_in_next_bx: Value
    glow_length_bx: Number


@dataclass(kw_only=True)
class LuminosityResult(Part):
    """Luminosity by bunch and by section."""

    method: str
    orbits: int
    live_s: Number
    total: Sums
    rate_over_zero: Annotated[Value, Doc("1 if muons are Poisson distributed; empty without muons")]
    background: Annotated[BackgroundFit | None, Doc("null if no BX is empty")]
    sections: list[SectionRow]
    bunches: list[BunchRow]


@ANALYSES.register("luminosity")
class LuminosityAnalysis(Analysis[LuminosityOptions]):
    """Luminosity by bunch and by section."""

    Options = LuminosityOptions
    needs = Needs("needed", shared=(*MUON_CUTS, *TIME, "bx_range"))
    schema = LuminosityResult

    def start(self) -> Any:
        """Return an empty state."""
        from l1scout.analysis.common.bunch_luminosity import Luminosity
        from l1scout.analysis.common.live_time import LiveTime

        s = self.setup
        assert s.scheme is not None
        return Luminosity(s.scheme, LiveTime(s.section_orbits), s.min_hw_pt, s.min_quality)

    def result(self) -> Result:
        """Return the luminosity, with a figure."""
        from l1scout.statistics import Measured

        known = self.options.cross_section
        found = self.state.result(Measured(*known) if known else None, self.options.method)
        tables = {"total": [found["total"]], "sections": found["sections"], "bunches": found["bunches"]}
        return Result(found, tables, partial(_draw, self.state, found))


def _draw(state: Any, found: dict[str, Any]) -> Any:
    from l1scout.analysis.figures import rates

    return rates.luminosity(state, found)
