"""Count orbits, live time and prescale of every lumisection: what all rates are divided by."""

from dataclasses import dataclass
from typing import Annotated

from l1scout.analysis import ANALYSES, TIME, Analysis, Doc, Needs, NoOptions, Number, Part, Result


@dataclass(kw_only=True)
class LiveTimeRow(Part):
    """A lumisection, or another slice of time."""

    run: int
    section: int
    orbits: Annotated[int, Doc("orbits that were looked at, empty ones too")]
    lost_orbits: Annotated[int, Doc("orbits that board, readout or store are known to have lost")]
    prescale: Annotated[Number, Doc("one crossing in this many was kept")]
    live_s: Annotated[Number, Doc("live time")]
    live_fraction: Annotated[Number, Doc("orbits seen, of those there were")]


@dataclass(kw_only=True)
class LiveTimeResult(Part):
    """Orbits and live time."""

    orbits: Annotated[int, Doc("orbits seen")]
    live_s: Annotated[Number, Doc("live time")]
    unplaced_orbits: Annotated[int, Doc("empty orbits that may belong to a neighbouring section")]
    sections: list[LiveTimeRow]


@ANALYSES.register("livetime")
class LiveTimeAnalysis(Analysis[NoOptions]):
    """Orbits by section."""

    needs = Needs("none", shared=TIME)
    schema = LiveTimeResult

    def start(self) -> object:
        """Return an empty state."""
        from l1scout.analysis.common.counts import CrossingCounts
        from l1scout.analysis.common.live_time import LiveTime

        return CrossingCounts(LiveTime(self.setup.section_orbits))

    def result(self) -> Result:
        """Return the orbits of each section."""
        live = self.state.live
        numbers = {"orbits": live.orbits, "live_s": live.seconds, "unplaced_orbits": live.unplaced}
        return Result(numbers, {"sections": live.table()})
