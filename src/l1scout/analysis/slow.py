"""Select stubs in successive BX, as slow heavy particles leave them, across orbits: rate beside chance."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from l1scout.analysis import ANALYSES, Analysis, Doc, Fraction, Needs, Number, Option, Part, Result, Value


@dataclass(frozen=True, kw_only=True)
class SlowOptions:
    """Options of the selection of stubs."""

    stubs: Annotated[
        str,
        Option(
            "Condition and its numbers: track,window=4,min_stubs=3,min_bx=2,sectors=1 (BX, stations, "
            "different BX, sectors apart); or wheel or simple, as CMS has them, with window and min_stubs."
        ),
    ] = "track"


@dataclass(kw_only=True)
class SlowBxRow(Part):
    """Windows that end in a BX."""

    bx: int
    selected: int
    expected: Annotated[Number, Doc("from mixed orbits, of those that were compared")]
    expected_stat: Number


@dataclass(kw_only=True)
class SlowResult(Part):
    """Windows of BX with stubs that may be of one slow particle."""

    condition: str
    window_bx: int
    min_stubs: int
    min_bx: Annotated[int | None, Doc("different BX with these stubs")]
    sectors: Annotated[int | None, Doc("how far apart sectors may be")]
    orbits: int
    live_s: Number
    unplaced_orbits: Annotated[int, Doc("seen without it being known which they are: not looked at")]
    stubs: int
    selected: Annotated[int, Doc("windows")]
    rate_hz: Value
    compared_orbits: Annotated[int, Doc("with others near them, so that they could be mixed")]
    compared: Annotated[int, Doc("windows selected in these")]
    expected: Annotated[Value, Doc("windows selected in mixed orbits: by chance")]
    excess: Value
    excess_share: Annotated[Fraction, Doc("of the windows that were compared, 0 or more")]
    by_bx: list[SlowBxRow]


@ANALYSES.register("slow")
class SlowAnalysis(Analysis[SlowOptions]):
    """Stubs of slow heavy particles."""

    Options = SlowOptions
    needs = Needs(
        "none",
        streams=("stub",),
        columns=("station", "wheel", "sector"),
        shared=("bx_range",),
    )
    schema = SlowResult

    def start(self) -> Any:
        """Return an empty state (InputError if the selection makes no sense)."""
        from l1scout.analysis.common.stub_windows import StubWindows
        from l1scout.trigger.multi_bx_stubs import StubSelection

        return StubWindows(StubSelection.parse(self.options.stubs))

    def result(self) -> Result:
        """Return the rate and what chance gives, with a figure (InputError if no orbit was seen)."""
        s, found = self.state.selection, self.state.result()
        is_track = s.condition == "track"
        found = {
            "condition": s.condition,
            "window_bx": s.window,
            "min_stubs": s.min_stubs,
            "min_bx": s.min_bx if is_track else None,
            "sectors": s.sectors if is_track else None,
        } | found
        warnings = [] if self.independent else ["the data repeat: uncertainties are too small"]
        tables = {"by_bx": found["by_bx"]}
        draw = partial(_draw, found, self.state.simulated)
        return Result(found, tables, draw, warnings=warnings)


def _draw(found: dict[str, Any], simulated: bool | None) -> Any:
    from l1scout.analysis.figures import stream_figures

    return stream_figures.slow(found, simulated)
