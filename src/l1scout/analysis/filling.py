"""Find the filling scheme and its offset in data."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from l1scout.analysis import ANALYSES, Analysis, Doc, Needs, NoOptions, Number, Part, Result


@dataclass(kw_only=True)
class TrainRow(Part):
    """BX without a gap that collide."""

    first: int
    last: int
    bunches: int


@dataclass(kw_only=True)
class FillingResult(Part):
    """The filling scheme that the data show."""

    orbits: int
    colliding: Annotated[int, Doc("colliding BX")]
    known: Annotated[str, Doc("known scheme that is most like it; empty if none is")]
    offset: Annotated[int, Doc("BX by which the numbers of the data are larger than the known scheme's")]
    missing: Annotated[int, Doc("BX that collide only in the known scheme")]
    extra: Annotated[int, Doc("BX that collide only in the data")]
    differing_bx_of_next_best: Annotated[int, Doc("BX that differ with any other offset or scheme, at least")]
    undecided: Annotated[list[int], Doc("BX that could be of either kind")]
    muons_per_empty_crossing: Number
    muons_per_colliding_crossing: Number
    ranges: Annotated[list[list[int]], Doc("first and last BX of each train")]
    trains: list[TrainRow]


@ANALYSES.register("filling")
class FillingAnalysis(Analysis[NoOptions]):
    """Colliding BX."""

    needs = Needs("found", shared=("bx_range",))
    schema = FillingResult

    def start(self) -> Any:
        """Return an empty state."""
        from l1scout.analysis.common.counts import CrossingCounts

        return CrossingCounts()

    def result(self) -> Result:
        """Return the scheme, with a figure."""
        from l1scout.analysis.common.schemes import find_scheme

        state = self.state
        found = find_scheme(state.all_muons, state.live.orbits)
        numbers = {
            "orbits": state.live.orbits,
            "colliding": int(found.scheme.bx.size),
            "known": found.known,
            "offset": found.offset,
            "missing": found.missing,
            "extra": found.extra,
            "differing_bx_of_next_best": found.next_best,
            "undecided": found.undecided.tolist(),
            "muons_per_empty_crossing": found.level[0],
            "muons_per_colliding_crossing": found.level[1],
            "ranges": found.scheme.ranges,
        }
        trains = [{"first": a, "last": b, "bunches": b - a + 1} for a, b in found.scheme.ranges]
        return Result(numbers, {"trains": trains}, partial(_draw, state, found))


def _draw(state: Any, found: Any) -> Any:
    from l1scout.analysis.figures import rates

    return rates.filling(state, found)
