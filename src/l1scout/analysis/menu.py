"""Measure the rates of a trigger menu: alone, together, pure and prescaled, also with recalibrated muons.

All algorithms that can be emulated exactly are; the others are listed with the reason.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from l1scout.analysis import ANALYSES, TIME, Analysis, Doc, Needs, Number, Option, Part, Result, Value
from l1scout.errors import InputError

if TYPE_CHECKING:
    from l1scout.core.orbit_data import OrbitData


@dataclass(frozen=True, kw_only=True)
class MenuOptions:
    """Options of the rates of a menu."""

    menu: Annotated[Path, Option("Menu: XML, JSON of derived facts, or TOML in the short form.")]
    cabling: Annotated[Path | None, Option("XML with the bits of external signals.")] = None
    prescales: Annotated[Path | None, Option("Prescales: CSV, or XML of run settings.")] = None
    column: Annotated[str | None, Option("Column of the prescales; by default the one in use.")] = None
    masks: Annotated[tuple[Path, ...], Option("XML with finorMask; several allowed.")] = ()
    pile_up: Annotated[
        Path | None, Option("CSV with columns section or bx, and reference: the pile-up of each.")
    ] = None
    model: Annotated[
        Path | None, Option("Model directory: also with recalibrated muons.", flag="--model,-m")
    ] = None
    pairs: Annotated[
        Path | None, Option("Matched muons (l1scout dataset): turn-on curves at equal rate.")
    ] = None

    def __post_init__(self) -> None:
        if self.pairs and not self.model:
            msg = "--pairs compares muons with recalibrated ones: give --model, too"
            raise InputError(msg)
        if (self.column or self.masks) and not self.prescales:
            msg = "--column and --masks need --prescales"
            raise InputError(msg)


@dataclass(kw_only=True)
class AlgorithmRow(Part):
    """An algorithm. Intervals are of 68 %; with a model, those with recalibrated muons, too."""

    index: int
    algorithm: str
    crossings: Annotated[int, Doc("in which it fires, before prescales")]
    rate_hz: Number
    rate_low_hz: Number
    rate_high_hz: Number
    pure_rate_hz: Annotated[Number, Doc("of crossings in which no other algorithm fires")]
    pure_rate_low_hz: Number
    pure_rate_high_hz: Number
    prescale: Annotated[Number, Doc("0 if off")] = None
    prescaled_rate_hz: Number = None
    prescaled_rate_stat_hz: Number = None
    prescaled_pure_rate_hz: Annotated[Number, Doc("expected: no other one passes its prescale")] = None
    recalibrated_rate_hz: Number = None
    recalibrated_rate_stat_hz: Number = None
    change_hz: Annotated[Number, Doc("recalibrated minus raw")] = None
    change_stat_hz: Annotated[Number, Doc("of crossings in which only one of both fires")] = None


@dataclass(kw_only=True)
class MenuSectionRow(Part):
    """A lumisection, or another slice of time: crossings in which any algorithm fires."""

    run: int
    section: int
    orbits: int
    crossings: int
    rate_hz: Number
    rate_stat_hz: Number


@dataclass(kw_only=True)
class PileUpRow(Part):
    """An algorithm, or "any", in a bin of pile-up."""

    pile_up: Annotated[Number, Doc("mean of the bin")]
    pile_up_low: Number
    pile_up_high: Number
    crossings: int
    algorithm: str
    fired: int
    per_crossing: Number
    per_crossing_stat: Number


@dataclass(kw_only=True)
class EqualRateRow(Part):
    """Thresholds of equal rate on the L1 pT and the recalibrated pT, of muons that the model knows.

    Of quality 12 or more. The muons of a simulated run have no physical spectrum: look at `turn_on` then.
    """

    threshold_gev: Number
    crossings: Annotated[int, Doc("whose leading muon has that L1 pT or more")]
    recalibrated_crossings_at_same_threshold: int
    recalibrated_threshold_gev: Annotated[Number, Doc("smallest at which the rate is not above")]
    recalibrated_threshold_low_gev: Annotated[Number, Doc("for one standard deviation of the crossings")]
    recalibrated_threshold_high_gev: Number
    recalibrated_crossings: int


@dataclass(kw_only=True)
class MenuResult(Part):
    """Rates of a menu."""

    menu: str
    orbits: int
    live_s: Number
    unplaced_orbits: Annotated[int, Doc("empty orbits that may belong to a neighbouring section")]
    prescale_column: str | None
    total_rate_hz: Annotated[Value, Doc("of crossings in which any algorithm fires")]
    prescaled_total_rate_hz: Annotated[Value | None, Doc("after prescales and masks, as expected")] = None
    recalibrated_total_rate_hz: Value | None = None
    not_emulated: Annotated[dict[str, str], Doc("algorithms, and why")]
    algorithms: list[AlgorithmRow]
    sections: list[MenuSectionRow]
    by_section: Annotated[dict[str, list[int]], Doc("crossings of each algorithm in these sections")]
    by_bx: Annotated[dict[str, Any], Doc("BX in which each algorithm fires, and in how many crossings")]
    overlap: Annotated[dict[str, Any], Doc("crossings in which both of two algorithms fire")]
    pile_up: list[PileUpRow]
    equal_rate: Annotated[list[EqualRateRow], Doc("with a model")]
    turn_on: Annotated[
        list[dict[str, Any]], Doc("with matched muons: curves where their validation part has equal rates")
    ]


@ANALYSES.register("menu")
class MenuAnalysis(Analysis[MenuOptions]):
    """Rates of a menu."""

    Options = MenuOptions
    needs = Needs("none", streams=(), columns=(), shared=TIME)
    schema = MenuResult

    def start(self) -> Any:
        """Return an empty state (InputError if the menu, the prescales or the model cannot be used)."""
        import numpy as np

        from l1scout.analysis.common.equal_rate import LeadingMuons
        from l1scout.analysis.common.live_time import LiveTime
        from l1scout.analysis.common.menu_rates import MenuRates
        from l1scout.trigger.decider import Decider
        from l1scout.trigger.load_menu import load_menu

        menu = load_menu(self.options.menu, self.options.cabling)
        self._factors, self._column, masked = self._prescales(menu)
        factors = self._factors or {a.name: 100 for a in menu.algorithms}
        passes = [
            100 / factors[a.name] if factors[a.name] and a.index not in masked else 0.0
            for a in menu.algorithms
        ]
        self._leading = LeadingMuons()
        _ = self._model, self._pile_up
        return MenuRates(Decider(menu), LiveTime(self.setup.section_orbits), np.array(passes))

    def _prescales(self, menu: Any) -> tuple[dict[str, int] | None, str | None, set[int]]:
        from l1scout.trigger.prescale_files import read_masks, read_prescales

        self._notes: list[str] = []
        if not self.options.prescales:
            return None, None, set()
        table = read_prescales(self.options.prescales)
        self._notes += table.notes(menu)
        column = table.columns[table.column(self.options.column)]
        masks = read_masks(*self.options.masks) if self.options.masks else None
        if masks and any(masks.veto.values()):
            msg = "--masks: vetoes are not part of expected rates; give the mask of the decision only"
            raise InputError(msg)
        self._notes += masks.notes(menu) if masks else []
        masked = {index for index, counts in masks.finor.items() if not counts} if masks else set()
        return table.of_menu(menu, column), column, masked

    @cached_property
    def _model(self) -> Any:
        from l1scout.deploy.recalibrate import Recalibrator

        return Recalibrator.load(self.options.model) if self.options.model else None

    @cached_property
    def _pile_up(self) -> Any:
        from l1scout.analysis.common.response import read_reference

        return read_reference(self.options.pile_up) if self.options.pile_up else None

    def __getstate__(self) -> dict[str, Any]:
        """Return what is kept of a piece that is sent elsewhere: networks are read there again."""
        return {n: v for n, v in vars(self).items() if n != "_model"}

    def add(self, data: "OrbitData") -> None:
        """Take in data that follow those before."""
        from l1scout.analysis.common.equal_rate import with_recalibrated_codes
        from l1scout.core.orbit_batch import final_muons
        from l1scout.core.orbit_data import MUON
        from l1scout.formats.streams.muon import of_finders

        self.needs.check(data)
        changed = None
        if self._model is not None and MUON in self.state.decider.streams & data.streams.keys():
            muons = final_muons(data.muons)
            answer = self._model({n: c for n, c in muons.columns.items() if c.dtype.kind in "iu"})
            changed = with_recalibrated_codes(muons, answer)
            self._leading.add(muons, answer, of_finders(muons["tfMuonIndex"], self._model.card.finders))
        self.state.add(data, self.setup.prescale, recalibrated=changed)

    def merge(self, other: "Analysis[MenuOptions]") -> None:
        """Add a piece that follows in time."""
        super().merge(other)
        if isinstance(other, MenuAnalysis):
            self._leading.merge(other._leading)

    def result(self) -> Result:
        """Return rates, with a figure (InputError if no orbit was seen)."""
        from l1scout.analysis.common import menu_tables
        from l1scout.analysis.common.menu_rates import RAW

        skipped = self.state.skipped()
        state, (counts, both) = self.state, self.state.all_counts()
        raw, menu = counts[RAW], state.decider.menu
        found: dict[str, Any] = {
            "menu": menu.name,
            "orbits": state.live.orbits,
            "live_s": state.live.seconds,
            "unplaced_orbits": state.live.unplaced,
            "prescale_column": self._column,
            **menu_tables.total_rates(state, counts, self._factors is not None),
            "not_emulated": dict(sorted({**menu.problems, **state.problems}.items())),
            "algorithms": menu_tables.algorithm_rows(state, counts, both, self._factors),
            "sections": menu_tables.section_rows(state, raw),
            "by_section": menu_tables.by_section(state, raw),
            "by_bx": menu_tables.by_bx(state, raw),
            "overlap": menu_tables.overlap(state, raw),
            "pile_up": menu_tables.pile_up_rows(state, raw, self._pile_up) if self._pile_up else [],
            "equal_rate": self._leading.equal_thresholds() if self._model is not None else [],
        }
        found["turn_on"] = self._turn_on()
        shown = sorted(found["algorithms"], key=lambda row: -row["crossings"])
        tables = {
            "algorithms": shown,
            **{n: found[n] for n in ("sections", "pile_up", "equal_rate") if found[n]},
        }
        return Result(
            found,
            tables,
            partial(_draw, found, state.simulated),
            {},
            [*skipped, *self._warnings()],
            rows_shown=20,
        )

    def _warnings(self) -> list[str]:
        state, warnings = self.state, list(self._notes)
        if state.left_out:
            warnings.append(
                f"{state.left_out:,} orbits are left out in which not all streams of the menu were seen"
            )
        if state.problems:
            warnings.append(
                f"{len(state.problems)} of {len(state.names)} algorithms were not emulated: see not_emulated"
            )
        if self.setup.prescale != 1 and state.reach:
            warnings.append(
                "with a prescale of the data, algorithms that look at other crossings miss objects there"
            )
        return warnings

    def _turn_on(self) -> list[dict[str, Any]]:
        """Return turn-on curves of the test part of matched muons at equal rates of the validation part."""
        from l1scout.analysis.common.equal_rate import LeadingMuons, turn_on_at_equal_rate

        if not self.options.pairs or self._model is None:
            return []
        from l1scout.dataset.matched import read_dataset
        from l1scout.formats.streams.muon import PT

        pairs = read_dataset(self.options.pairs)
        test, validation = (pairs.part(name) for name in ("test", "validation"))
        rows = LeadingMuons.of_sample(validation.columns, self._model(validation.columns)).equal_thresholds()
        answer = self._model(test.columns)
        return turn_on_at_equal_rate(rows, test["recoPt"], PT.to_physical(test["hwPt"]), answer.pt)

    def model(self) -> Mapping[str, Any] | None:
        """Name the network, with the checksum of its files."""
        if self._model is None:
            return None
        return {"name": self._model.card.name, "sha256": self._model.card.sha256}


def _draw(found: dict[str, Any], simulated: bool | None) -> Any:
    from l1scout.analysis.figures import menu_figure

    return menu_figure.menu(found, simulated)
