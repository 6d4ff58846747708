"""Map objects of any stream by BX, eta and phi, muons by track finder; find hot and dead regions."""

from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from l1scout.analysis import (
    ANALYSES,
    MUON_CUTS,
    Analysis,
    Doc,
    Needs,
    Number,
    Option,
    Part,
    Result,
)

if TYPE_CHECKING:
    pass

MUONS = "muon"
"""The objects that are taken by default: muons by track finder."""


@dataclass(frozen=True, kw_only=True)
class OccupancyOptions:
    """Options of the maps."""

    objects: Annotated[
        str,
        Option("Muons by track finder, or another stream with cuts, such as jet[pt>=30], tower or stub."),
    ] = MUONS
    reference: Annotated[tuple[Path, ...], Option("Data to compare with; without it: symmetry in phi.")] = ()
    tolerance: Annotated[float, Option("Relative difference to ignore.", low=0, high=1)] = 0.05


@dataclass(kw_only=True)
class FinderRow(Part):
    """A track finder, and its share of the muons with the interval of 68 % confidence."""

    finder: str
    muons: int
    share: Number
    low: Number
    high: Number


@dataclass(kw_only=True)
class ClassRow(Part):
    """A class of BX, by their place in the trains."""

    bx_class: Annotated[str, Doc("first of train, inner, last of train, isolated, empty beside one, empty")]
    bx: Annotated[int, Doc("number of BX")]
    muons: int
    muons_per_crossing: Number
    muons_per_crossing_stat: Number
    rate_hz: Number
    rate_hz_stat: Number


@dataclass(kw_only=True)
class RegionRow(Part):
    """Of a hot or dead region: counted and expected muons."""

    count: int
    expected: Number
    ratio: Number
    error: Annotated[Number, Doc("of the ratio")]
    p_value: Annotated[Number, Doc("times the number of regions that were tested")]


@dataclass(kw_only=True)
class ProcessorRow(RegionRow):
    """A hot or dead processor."""

    finder: str
    processor: Annotated[int, Doc("tfMuonIndex // 3")]


@dataclass(kw_only=True)
class CellRow(RegionRow):
    """A hot or dead cell; eta and phi are those of its centre."""

    finder: str
    eta: Number
    phi_deg: Number


@dataclass(kw_only=True)
class SatelliteRow(Part):
    """A BX outside the scheme with more muons than the background explains."""

    bx: int
    muons: int
    expected: Number
    relative: Annotated[Number, Doc("luminosity over that of a mean bunch")]
    error: Annotated[Number, Doc("of it")]
    p_value: Number


@dataclass(kw_only=True)
class ObjectClassRow(Part):
    """A class of BX, by their place in the trains: objects, and crossings with any."""

    bx_class: str
    bx: Annotated[int, Doc("number of BX")]
    objects: int
    objects_per_crossing: Number
    objects_per_crossing_stat: Number
    occupied: Annotated[Number, Doc("share of crossings with an object")]
    occupied_low: Number
    occupied_high: Number
    occupied_rate_hz: Number


@dataclass(kw_only=True)
class MultiplicityRow(Part):
    """Crossings by number of objects."""

    objects: Annotated[int, Doc("64: or more")]
    crossings: int


@dataclass(kw_only=True)
class ObjectCellRow(RegionRow):
    """A hot or dead cell, or chamber, with its centre."""

    part: Annotated[str, Doc("station of stubs, or all")]
    eta_of: Annotated[str, Doc("eta, or wheel of stubs, or ring of towers")]
    eta: Number
    phi_of: Annotated[str, Doc("phi in degrees, or sector of stubs")]
    phi: Number


@dataclass(kw_only=True)
class OccupancyResult(Part):
    """Where objects are."""

    kind: Annotated[str, Doc("of objects; muon: all that follows but for objects")] = MUONS
    orbits: Annotated[int | None, Doc("null for triggered data")]
    live_s: Number
    muons: int | None = None
    of_no_track_finder: Annotated[int | None, Doc("muons whose tfMuonIndex is that of no track finder")] = (
        None
    )
    finders: list[FinderRow] | None = None
    classes: list[ClassRow] | None = None
    satellites: list[SatelliteRow] | None = None
    processors: list[ProcessorRow] | None = None
    cells: list[CellRow] | None = None
    objects: Annotated[int | None, Doc("of another kind than muons, as what follows")] = None
    outside_map: Annotated[int | None, Doc("objects beyond the map")] = None
    object_classes: list[ObjectClassRow] | None = None
    multiplicity: list[MultiplicityRow] | None = None
    object_cells: list[ObjectCellRow] | None = None


@ANALYSES.register("occupancy")
class OccupancyAnalysis(Analysis[OccupancyOptions]):
    """Maps of muons."""

    Options = OccupancyOptions
    needs = Needs(
        "optional",
        counted_orbits=False,
        columns=("hwPt", "tfMuonIndex"),
        shared=(*MUON_CUTS, "section", "bx_range"),
    )
    schema = OccupancyResult

    @classmethod
    def needs_of(cls, options: OccupancyOptions) -> Needs:
        """Return what it needs for the objects that are named."""
        from l1scout.analysis.common.chosen_objects import ChosenObjects

        if options.objects == MUONS:
            return cls.needs
        return Needs(
            "optional", streams=(ChosenObjects.parse(options.objects).stream,), columns=(), all_streams=True
        )

    def start(self) -> Any:
        """Return an empty state."""
        from l1scout.analysis.common.chosen_objects import ChosenObjects
        from l1scout.analysis.common.live_time import LiveTime
        from l1scout.analysis.common.maps import Occupancy
        from l1scout.analysis.common.muons import refuse_muon_cuts
        from l1scout.analysis.common.stream_maps import StreamOccupancy

        s = self.setup
        if self.options.objects != MUONS:
            refuse_muon_cuts(s)
            kind = ChosenObjects.parse(self.options.objects)
            return StreamOccupancy(kind, s.scheme, LiveTime(s.section_orbits))
        return Occupancy(s.scheme, LiveTime(s.section_orbits), s.min_hw_pt, s.min_quality)

    @cached_property
    def _reference(self) -> tuple[Any, list[str]]:
        """Maps of the reference data, and warnings about them; None without them (InputError)."""
        from l1scout.analysis.common.chosen_objects import ChosenObjects
        from l1scout.analysis.common.maps import Occupancy
        from l1scout.analysis.common.stream_maps import StreamOccupancy
        from l1scout.io.batches import read_batches
        from l1scout.io.folder import expand
        from l1scout.io.quality import ReadQuality

        if not self.options.reference:
            return None, []
        of_muons = self.options.objects == MUONS
        before: Any = StreamOccupancy(ChosenObjects.parse(self.options.objects))
        if of_muons:
            before = Occupancy(None, min_hw_pt=self.setup.min_hw_pt, min_quality=self.setup.min_quality)
        quality = ReadQuality()
        for data in read_batches(
            expand(self.options.reference)[0], quality=quality, flavour=self.setup.flavour
        ):
            before.add(data.muons if of_muons else data)
        quality.check(allow_damaged=self.setup.accept_damaged)
        return before, [f"--reference: {warning}" for warning in quality.warnings()]

    def result(self) -> Result:
        """Return maps and what is hot, dead or not foreseen, with a figure."""
        before, warnings = self._reference
        found = {"kind": self.options.objects} | self.state.result(before, self.options.tolerance)
        if self.options.objects != MUONS:
            shown = {n: found[n] for n in ("object_classes", "multiplicity", "object_cells")}
            draw = partial(_draw_stream, self.state, found)
            return Result(found, shown, draw, self.state.histograms, warnings)
        if not self.independent:
            found |= {"satellites": []}  # each pass of a loop has the same muons: chance proves nothing
            warnings = [*warnings, "satellites are not sought: the data repeat"]
        tables = {n: found[n] for n in ("finders", "classes", "processors", "satellites", "cells")}
        return Result(found, tables, partial(_draw, self.state, found), self.state.histograms, warnings)


def _draw(state: Any, found: dict[str, Any]) -> Any:
    from l1scout.analysis.figures import muon_maps

    return muon_maps.occupancy(state, found)


def _draw_stream(state: Any, found: dict[str, Any]) -> Any:
    from l1scout.analysis.figures import stream_figures

    return stream_figures.occupancy(state, found)
