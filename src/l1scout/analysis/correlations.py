"""Correlate objects of any two streams, k BX apart: coincidences beside those of uncorrelated sources."""

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from l1scout.analysis import ANALYSES, Analysis, Doc, Needs, Number, Option, Part, Result

if TYPE_CHECKING:
    pass


@dataclass(frozen=True, kw_only=True)
class CorrelationOptions:
    """Options of the correlations."""

    objects: Annotated[
        tuple[str, ...],
        Option(
            "Kind of objects: a stream, with cuts: muon[pt>=5] or jet[hwPt>=60,abs(eta)<2.4]; several "
            "allowed. By default all streams of the data."
        ),
    ] = ()
    reach: Annotated[int, Option("Largest distance in BX.", low=1, high=100)] = 5
    angles: Annotated[bool, Option("Also fill histograms of angles between the leading objects.")] = False


@dataclass(kw_only=True)
class KindRow(Part):
    """A kind of objects."""

    kind: str
    crossings: Annotated[int, Doc("with such an object")]


@dataclass(kw_only=True)
class PairRow(Part):
    """Crossings with the first kind of objects that have the second kind some BX later."""

    first: str
    second: str
    offset_bx: Annotated[int, Doc("of the second kind after the first; below 0 before it")]
    observed: int
    expected: Annotated[Number, Doc("if both kinds had nothing to do with each other")]
    expected_spread: Annotated[Number, Doc("standard deviation of the number that is observed then")]
    ratio: Annotated[Number, Doc("observed over expected")]
    ratio_stat: Number
    sigma: Annotated[Number, Doc("standard deviations from 1, without correlation")]


@dataclass(kw_only=True)
class AngleRow(Part):
    """A bin of the angle between the leading objects of both kinds."""

    first: str
    second: str
    offset_bx: int
    angle: Annotated[str, Doc("phi: difference, 0 to pi; eta: second minus first")]
    low: Number
    high: Number
    observed: int
    expected: Annotated[Number, Doc("of objects of two orbits, of the sum that chance gives")]
    expected_stat: Number


@dataclass(kw_only=True)
class CorrelationResult(Part):
    """Coincidences of kinds of objects."""

    orbits: int
    unplaced_orbits: Annotated[int, Doc("seen without it being known which they are: not compared")]
    kinds: list[KindRow]
    correlations: list[PairRow]
    angles: list[AngleRow]


@ANALYSES.register("correlations")
class CorrelationsAnalysis(Analysis[CorrelationOptions]):
    """Coincidences of kinds of objects."""

    Options = CorrelationOptions
    needs = Needs("none", streams=(), columns=(), shared=(), all_streams=True)
    schema = CorrelationResult

    @classmethod
    def needs_of(cls, options: CorrelationOptions) -> Needs:
        """Return what it needs for the objects that are named."""
        from l1scout.analysis.common.stream_correlations import parse_kinds

        streams = tuple(dict.fromkeys(kind.stream for kind in parse_kinds(options.objects)))
        return replace(cls.needs, streams=streams)

    def start(self) -> Any:
        """Return an empty state (InputError if a kind of objects makes no sense)."""
        from l1scout.analysis.common.stream_correlations import StreamCorrelations, parse_kinds

        return StreamCorrelations(
            kinds=parse_kinds(self.options.objects), reach=self.options.reach, angles=self.options.angles
        )

    def result(self) -> Result:
        """Return the coincidences, with a figure."""
        state = self.state
        total = state.all_sums()
        found = {
            "orbits": state.orbits,
            "unplaced_orbits": state.unplaced,
            "kinds": [{"kind": k.text, "crossings": state.crossings.get(k.text, 0)} for k in state.kinds],
            "correlations": state.rows(total),
            "angles": state.angle_rows(total),
        }
        tables = {name: found[name] for name in ("correlations", "kinds", "angles") if found[name]}
        warnings = []
        if not self.independent:
            warnings.append("the data repeat: uncertainties are too small")
        return Result(found, tables, partial(_draw, found, state.simulated), warnings=warnings, rows_shown=40)


def _draw(found: dict[str, Any], simulated: bool | None) -> Any:
    from l1scout.analysis.figures import stream_figures

    return stream_figures.correlations(found, simulated)
