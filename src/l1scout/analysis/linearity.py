"""Check the linearity of the muon rate against the luminosity of another luminometer."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
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


@dataclass(frozen=True, kw_only=True)
class LinearityOptions:
    """Options of the linearity."""

    reference: Annotated[
        Path, Option("CSV with columns section or bx, and reference: luminosity by another luminometer.")
    ]
    method: Method = "zero"


@dataclass(kw_only=True)
class PointRow(Part):
    """A section or a bunch that both luminometers have."""

    section: int | None = None
    bx: int | None = None
    reference: Annotated[Number, Doc("luminosity of the reference, in its unit")]
    muons_per_colliding_crossing: Number
    muons_per_colliding_crossing_stat: Number


@dataclass(kw_only=True)
class LinearityResult(Part):
    """A straight line through measured over reference luminosity."""

    warning: Annotated[str, Doc("given if a straight line does not describe the response")] = ""
    method: str
    orbits: int
    level: Annotated[Value, Doc("measured over reference luminosity at the centre")]
    slope: Annotated[Value, Doc("relative, per unit of the reference")]
    centre: Annotated[Number, Doc("reference luminosity at which the level is given")]
    chi2: Number
    dof: int
    p_value: Number
    points: list[PointRow]


@ANALYSES.register("linearity")
class LinearityAnalysis(Analysis[LinearityOptions]):
    """Measured over reference luminosity."""

    Options = LinearityOptions
    needs = Needs("needed", shared=(*MUON_CUTS, *TIME))
    schema = LinearityResult

    def start(self) -> Any:
        """Return an empty state, once the reference was read (InputError)."""
        from l1scout.analysis.common.bunch_luminosity import Luminosity
        from l1scout.analysis.common.live_time import LiveTime
        from l1scout.analysis.common.response import read_reference

        self._reference = read_reference(self.options.reference)
        s = self.setup
        assert s.scheme is not None
        return Luminosity(s.scheme, LiveTime(s.section_orbits), s.min_hw_pt, s.min_quality)

    def result(self) -> Result:
        """Return the line and its points, with a figure (InputError if there are too few)."""
        from l1scout.analysis.common.response import against

        found = against(self.state, self._reference, self.options.method)
        return Result(found, {"points": found["points"]}, partial(_draw, found, self.state.counts.simulated))


def _draw(found: dict[str, Any], simulated: bool | None) -> Any:
    from l1scout.analysis.figures import rates

    return rates.linearity(found, simulated)
