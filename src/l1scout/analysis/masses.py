"""Make spectra of the masses of muon pairs: raw, recalibrated, and offline where there is any.

Pairs of a model that predicts uncertainties also in four categories, best measured first.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from l1scout.analysis import ANALYSES, Analysis, Doc, Needs, Number, Option, Part, Result
from l1scout.errors import InputError

if TYPE_CHECKING:
    from l1scout.core.orbit_data import OrbitData


@dataclass(frozen=True, kw_only=True)
class MassesOptions:
    """Options of the spectra."""

    pairs: Annotated[
        int | None,
        Option("Simulate this number of pairs: resonances and a continuum.", low=1, flag="--simulate"),
    ] = None
    muons: Annotated[
        Path | None, Option("Send these offline pairs (open-data CSV) through the simulated trigger.")
    ] = None
    model: Annotated[tuple[Path, ...], Option("Model directory; several allowed.", flag="--model,-m")] = ()
    share: Annotated[
        tuple[str, ...], Option('Simulation: share of a resonance, such as "J/psi=0.2"; several allowed.')
    ] = ()
    min_pair_pt: Annotated[float, Option("Smallest pT of the pair in GeV.", unit="GeV", low=0)] = 8.0
    max_eta: Annotated[float, Option("Largest |eta| of each muon.", low=0)] = 0.83
    bins: Annotated[int | None, Option("Bins of the figure's spectrum.", low=1)] = None
    span: Annotated[
        str | None, Option("Lowest and highest mass of the figure in GeV, such as 2,5.", flag="--range")
    ] = None
    log: Annotated[
        bool,
        Option(
            "Mass axis and bins: logarithmic (bins of 2.5 % of the mass) or linear.", flag="--log/--linear"
        ),
    ] = True
    all_track_finders: Annotated[
        bool, Option("Muons of all track finders, not of the barrel only.", flag="--all")
    ] = False

    def __post_init__(self) -> None:
        if self.pairs is not None and self.muons is not None:
            msg = "give one of: files to read or --run, --simulate, --muons"
            raise InputError(msg)
        _ = self.masses_shown

    @property
    def masses_shown(self) -> tuple[float, float] | None:
        """Lowest and highest mass of the figure in GeV (InputError if they are not two numbers)."""
        if self.span is None:
            return None
        try:
            low, high = (float(text) for text in self.span.split(","))
        except ValueError:
            msg = f"--range {self.span}: lowest and highest mass in GeV expected, such as 2,5"
            raise InputError(msg) from None
        return low, high


@dataclass(kw_only=True)
class LineRow(Part):
    """A line in a spectrum: its shape is that of simulated pairs, the yields of its neighbours are free."""

    muons: Annotated[str, Doc("raw, offline, or the name of a model")]
    line: str
    status: Annotated[str, Doc("peak, no peak or not fitted")]
    note: Annotated[str, Doc("why it is no peak or was not fitted; of a peak, which lines are in its yield")]
    entries: Annotated[Number, Doc("0 or more")]
    entries_stat: Number
    entries_syst: Annotated[
        Number, Doc("of the choice of the background and of the share of lines that are not separated")
    ]
    entries_below_95: Annotated[Number, Doc("upper limit at 95 % confidence (CLs)")]
    significance: Annotated[Number, Doc("standard deviations; of the yield, at the simulated position")]
    position_gev: Annotated[Number, Doc("median of the fitted peak")]
    position_error_gev: Number
    simulated_position_gev: Annotated[Number, Doc("median of simulated pairs of the line")]
    width_gev: Annotated[Number, Doc("half of the range of the middle 68 %")]
    width_error_gev: Number
    simulated_width_gev: Number
    window_gev: Annotated[list[float] | None, Doc("lowest and highest mass of the fit; null without a fit")]
    background: Annotated[str, Doc("family and degree that describe the spectrum best")]
    valid: Annotated[bool, Doc("the fit was made and converged")]
    goodness: Annotated[Number, Doc("deviance over degrees of freedom")]
    p_value: Number


@dataclass(kw_only=True)
class PairsRow(Part):
    """Pairs below 240 GeV."""

    muons: str
    sign: Annotated[str, Doc("opposite or same")]
    pairs: int


@dataclass(kw_only=True)
class MassesResult(Part):
    """Spectra and the known lines in them."""

    sample: Annotated[str, Doc("given with --muons")] = ""
    rows: Annotated[int, Doc("crossings or events")]
    l1_muons_without_charge: Annotated[int, Doc("their charge was not measured: they make no pairs")]
    peaks: list[LineRow]
    not_detected: list[LineRow]
    pairs: list[PairsRow]
    by_predicted_mass_error: Annotated[
        dict[str, Any], Doc("edges of the categories over what is typical; pairs by category and mass")
    ]
    spectra: Annotated[
        dict[str, dict[str, dict[str, list[int]]]], Doc("pairs by mass: by name, sign and range")
    ]
    edges_gev: Annotated[dict[str, list[float]], Doc("edges of the bins of both ranges")]


@ANALYSES.register("masses")
class MassesAnalysis(Analysis[MassesOptions]):
    """Spectra of muon pairs."""

    Options = MassesOptions
    needs = Needs("none", counted_orbits=False, shared=("min_pt", "min_quality"), simulated_run=False)
    schema = MassesResult

    def start(self) -> Any:
        """Return an empty state (InputError if a model or the bins of the figure are not possible)."""
        from l1scout.analysis.common.pair_masses import Masses, PairCuts

        o, s = self.options, self.setup
        if o.bins is not None or o.span is not None:
            _ = self._edges  # refused before anything is read
        cuts = PairCuts(s.min_pt, s.min_quality, o.max_eta, o.min_pair_pt, not o.all_track_finders)
        return Masses({f"model {name}": model for name, model in self._models.items()}, cuts)

    @cached_property
    def _models(self) -> Mapping[str, Any]:
        from l1scout.deploy.recalibrate import Recalibrator
        from l1scout.evaluate.evaluation import name_models

        return name_models([Recalibrator.load(m, errors=True) for m in self.options.model])

    @cached_property
    def _edges(self) -> Any:
        from l1scout.analysis.figures.mass_spectra import mass_edges

        return mass_edges(self.options.bins, self.options.masses_shown, log=self.options.log)

    def __getstate__(self) -> dict[str, Any]:
        """Return what is kept of a piece that is sent elsewhere: networks are read there again."""
        return {n: v for n, v in vars(self).items() if n != "_models"}

    def __setstate__(self, kept: dict[str, Any]) -> None:
        vars(self).update(kept)
        self.state.models = {f"model {name}": model for name, model in self._models.items()}

    def add(self, data: "OrbitData") -> None:
        """Take in data, offline muons too."""
        self.needs.check(data)
        self.state.add(data)

    def result(self) -> Result:
        """Return spectra and lines, with a figure."""
        found, o = self.state.result(), self.options
        if o.muons:
            found = {"sample": f"{o.muons.name}, real pairs through the simulated trigger"} | found
        tables = {n: found[n] for n in ("pairs", "peaks", "not_detected")}
        rows = "real offline pairs, simulated trigger" if o.muons else "crossings or events"
        return Result(found, tables, partial(self._draw, rows), self.state.histograms, rows_shown=20)

    def _draw(self, rows: str) -> Any:
        from l1scout.analysis.figures import mass_spectra

        return mass_spectra.masses(self.state, rows, self._edges, log=self.options.log)

    @classmethod
    def own_data(
        cls, options: MassesOptions, seed: int
    ) -> "tuple[Iterator[OrbitData], Mapping[str, Any]] | None":
        """Return simulated pairs, or real ones through the simulated trigger."""
        if options.muons is not None:
            from l1scout.simulate.chain import simulate_events

            what = f"pairs of {options.muons.name} through the simulated trigger"
            return simulate_events(seed, muons=options.muons), {"simulation": what, "seed": seed}
        if options.pairs is None:
            return None
        from l1scout.simulate.dimuons import DEFAULT_SHARES, Pairs, simulate_dimuons

        shares = dict(DEFAULT_SHARES)
        try:
            shares |= {name: float(value) for name, _, value in (s.rpartition("=") for s in options.share)}
            settings = Pairs(shares)
        except ValueError as error:
            msg = f"--share: {error}"
            raise InputError(msg) from None
        about = {"simulation": f"{options.pairs} muon pairs", "seed": seed}
        return simulate_dimuons(seed, options.pairs, settings), about

    def check_files(self, files: Sequence[Path]) -> list[str]:
        """Return where the conditions of files differ from those that a model was trained for."""
        from l1scout.io import conditions_of
        from l1scout.io.conditions import differences

        return [
            line
            for file in (files if self._models else ())
            for name, model in self._models.items()
            for line in differences(
                conditions_of(file, flavour=self.setup.flavour), model.card.conditions, str(file), name
            )
        ]

    def model(self) -> Mapping[str, Any] | None:
        """Name the networks, with the checksums of their files."""
        if not self._models:
            return None
        sums = [m.card.sha256 for m in self._models.values()]
        return {"name": ", ".join(self._models), "sha256": sums}
