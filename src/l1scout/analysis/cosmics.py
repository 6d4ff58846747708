"""Find cosmic muons in empty BX: rate, angles, delay and efficiency of each leg."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from l1scout.analysis import ANALYSES, Analysis, Doc, Fraction, Needs, NoOptions, Number, Part, Result, Value


@dataclass(kw_only=True)
class EfficiencyRow(Part):
    """A bin in phi of the probed leg: tags, and the efficiency with its interval of 68 % confidence."""

    leg: str
    low_deg: Number
    high_deg: Number
    status: Annotated[str, Doc("live, dead, edge, control, or no tags")]
    tags: int
    with_partner: int
    by_chance: int
    efficiency: Number
    low: Number
    high: Number


@dataclass(kw_only=True)
class ZenithRow(Part):
    """A bin in the cosine of the zenith angle: pairs, chance subtracted."""

    low: Number
    high: Number
    pairs: int
    error: Number


@dataclass(kw_only=True)
class AzimuthRow(Part):
    """A bin in phi of the upper leg: pairs, chance subtracted."""

    low_deg: Number
    pairs: int
    error: Number


@dataclass(kw_only=True)
class CosmicsResult(Part):
    """Cosmic muons with both legs in the barrel."""

    orbits: int
    live_s: Number
    searched_bx: Annotated[int, Doc("BX of an orbit that are far enough from collisions")]
    pairs: Annotated[int, Doc("upper leg first")]
    pairs_in_wrong_order: Annotated[int, Doc("lower leg first: chance")]
    rate_hz: Value
    purity: Fraction
    delay_bx: Annotated[Value, Doc("mean BX from the upper to the lower leg")]
    delay_ns: Value
    dead_phi_deg: Annotated[list[list[float]], Doc("ranges of phi in which the barrel sees nothing")]
    efficiency_lower: Annotated[Fraction, Doc("of the lower leg, in live regions")]
    efficiency_upper: Annotated[Fraction, Doc("of the upper leg, in live regions")]
    efficiency_lower_with_dead: Fraction
    efficiency_upper_with_dead: Fraction
    efficiency: list[EfficiencyRow]
    cos_zenith: list[ZenithRow]
    phi: list[AzimuthRow]
    purity_of_truth: Annotated[Number, Doc("of a simulation with its truth")] = None


@ANALYSES.register("cosmics")
class CosmicsAnalysis(Analysis[NoOptions]):
    """Cosmic muons."""

    needs = Needs("needed", columns=("hwPt", "tfMuonIndex"))
    schema = CosmicsResult

    def start(self) -> Any:
        """Return an empty state."""
        from l1scout.analysis.common.cosmic_legs import Cosmics, Cuts

        s = self.setup
        assert s.scheme is not None
        return Cosmics(s.scheme, cuts=Cuts(min_hw_pt=s.min_hw_pt, min_quality=s.min_quality))

    def result(self) -> Result:
        """Return rates and efficiencies, with a figure."""
        found = self.state.result()
        tables = {n: found[n] for n in ("cos_zenith", "phi", "efficiency")}
        return Result(found, tables, partial(_draw, self.state, found), rows_shown=20)


def _draw(state: Any, found: dict[str, Any]) -> Any:
    from l1scout.analysis.figures import muon_maps

    return muon_maps.cosmics(state, found)
