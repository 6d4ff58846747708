"""Measure prefiring and postfiring: objects of any stream seen a BX early or late; muons also twice."""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from l1scout.analysis import ANALYSES, Analysis, Doc, Needs, Number, Option, Part, Result

if TYPE_CHECKING:
    pass

MUONS = "muon"
"""The objects that are taken by default: muons by track finder."""


@dataclass(frozen=True, kw_only=True)
class FiringOptions:
    """Options of prefiring and postfiring."""

    objects: Annotated[
        str,
        Option(
            "Muons by track finder, or another stream with cuts: jet[pt>=30] or egamma by eta, stub by "
            "station."
        ),
    ] = MUONS


@dataclass(kw_only=True)
class ShareRow(Part):
    """Objects of a track finder, a station or a range of eta, or all: fractions seen in a wrong BX.

    Each with the interval of 68 % confidence, and the statistical and systematic part of its uncertainty.
    """

    objects_of: str
    objects: int
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
    """Objects in a wrong BX."""

    kind: Annotated[str, Doc("of objects")]
    orbits: int
    live_s: Number
    first_bunches: Annotated[int, Doc("trains with five empty BX before them")]
    last_bunches: Annotated[int, Doc("trains with five empty BX after them")]
    shares: list[ShareRow]
    beyond_chance: Annotated[list[BeyondChanceRow], Doc("of muons")]


@ANALYSES.register("firing")
class FiringAnalysis(Analysis[FiringOptions]):
    """Objects in a wrong BX."""

    Options = FiringOptions
    needs = Needs("needed", columns=("hwPt", "tfMuonIndex"))
    schema = FiringResult

    @classmethod
    def needs_of(cls, options: FiringOptions) -> Needs:
        """Return what it needs for the objects that are named."""
        from l1scout.analysis.common.chosen_objects import ChosenObjects

        if options.objects == MUONS:
            return cls.needs
        return Needs(
            "needed", streams=(ChosenObjects.parse(options.objects).stream,), columns=(), all_streams=True
        )

    def start(self) -> Any:
        """Return an empty state (InputError if no train has empty BX beside it)."""
        from l1scout.analysis.common.chosen_objects import ChosenObjects
        from l1scout.analysis.common.muons import refuse_muon_cuts
        from l1scout.analysis.common.stream_firing import StreamFiring
        from l1scout.analysis.common.wrong_bx import Firing

        s = self.setup
        assert s.scheme is not None
        if self.options.objects == MUONS:
            return Firing(s.scheme, min_hw_pt=s.min_hw_pt, min_quality=s.min_quality)
        refuse_muon_cuts(s)
        return StreamFiring(s.scheme, ChosenObjects.parse(self.options.objects))

    def result(self) -> Result:
        """Return the shares, with a figure."""
        found = {"kind": self.options.objects} | self.state.result()
        tables = {name: found[name] for name in ("shares", "beyond_chance") if found[name]}
        draw = partial(_draw, self.state, found, self.options.objects == MUONS)
        return Result(found, tables, draw, rows_shown=20)


def _draw(state: Any, found: dict[str, Any], of_muons: bool) -> Any:
    from l1scout.analysis.figures import muon_maps, stream_figures

    return muon_maps.firing(state, found) if of_muons else stream_figures.firing(found, state.simulated)
