"""Measure prefiring and postfiring: muons seen a BX early, a BX late or twice, by finder and eta."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from l1scout.analysis import ANALYSES, Analysis, Doc, Needs, NoOptions, Number, Part, Result


@dataclass(kw_only=True)
class ShareRow(Part):
    """Muons of a track finder, of all, or of a range of eta: fractions that are seen in a wrong BX.

    Each with the interval of 68 % confidence, and the statistical and systematic part of its uncertainty.
    """

    muons_of: str
    muons: int
    early: Annotated[Number, Doc("seen a BX early")]
    early_low: Number
    early_high: Number
    early_stat: Number
    early_syst: Number
    early_sigma: Annotated[Number, Doc("standard deviations from 0")]
    late: Annotated[Number, Doc("seen a BX late")]
    late_low: Number
    late_high: Number
    late_stat: Number
    late_syst: Number
    late_sigma: Number
    doubled: Annotated[Number, Doc("seen in two adjacent BX; of track finders")] = None
    doubled_low: Number = None
    doubled_high: Number = None
    doubled_stat: Number = None


@dataclass(kw_only=True)
class BeyondChanceRow(Part):
    """Pairs of muons of a track finder, some BX apart, beyond chance."""

    finder: str
    distance_bx: int
    pairs: Number
    error: Number


@dataclass(kw_only=True)
class FiringResult(Part):
    """Muons in a wrong BX."""

    orbits: int
    live_s: Number
    first_bunches: Annotated[int, Doc("trains with five empty BX before them")]
    last_bunches: Annotated[int, Doc("trains with five empty BX after them")]
    shares: list[ShareRow]
    beyond_chance: list[BeyondChanceRow]


@ANALYSES.register("firing")
class FiringAnalysis(Analysis[NoOptions]):
    """Muons in a wrong BX."""

    needs = Needs("needed", columns=("hwPt", "tfMuonIndex"))
    schema = FiringResult

    def start(self) -> Any:
        """Return an empty state (InputError if no train has empty BX beside it)."""
        from l1scout.analysis.common.wrong_bx import Firing

        s = self.setup
        assert s.scheme is not None
        return Firing(s.scheme, min_hw_pt=s.min_hw_pt, min_quality=s.min_quality)

    def result(self) -> Result:
        """Return the shares, with a figure."""
        found = self.state.result()
        tables = {"shares": found["shares"], "beyond_chance": found["beyond_chance"]}
        return Result(found, tables, partial(_draw, self.state, found), rows_shown=20)


def _draw(state: Any, found: dict[str, Any]) -> Any:
    from l1scout.analysis.figures import muon_maps

    return muon_maps.firing(state, found)
