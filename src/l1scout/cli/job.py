"""Make commands from analyses: the shared options, the reading of data and the output of results."""

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin, get_type_hints

import typer
from rich.markup import escape

from l1scout.analysis import ANALYSES, Analysis, Needs, Setup
from l1scout.analysis._analysis import OwnOption, own_options
from l1scout.analysis._run import run_analysis
from l1scout.cli.analysis_options import Options
from l1scout.cli.output import progress
from l1scout.core.provenance import Provenance, recording
from l1scout.errors import InputError

if TYPE_CHECKING:
    from l1scout.analysis.common.scheme_watch import SchemeWatch
    from l1scout.core.orbit_data import OrbitData

_MEANING = {
    "runs": "runs",
    "lumisections": "lumisections",
    "golden": "golden_json",
    "masked_orbits": "masked_orbits",
    "run": "stored_run",
    "source": "source",
    "section": "section_orbits",
    "prescale": "prescale",
    "min_quality": "min_hw_qual",
}
"""Names, in the provenance, of shared options that influence a result."""
_SIMULATION = ("simulate", "simulated_scheme", "simulated_occupancy", "condition")
_CHOSEN = ("min_pt", "min_hw_pt", "min_quality", "section", "prescale", "bx_range")
"""Shared options that an analysis names in `Needs.shared` if it uses them."""


def _plain(value: Any) -> Any:
    """Return names of files without their folders, as in the list of inputs."""
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value.name if isinstance(value, Path) else value


def shared_options(needs: Needs) -> list[str]:
    """Return the names of the shared options that an analysis has."""
    without = {name for name in _CHOSEN if name not in needs.shared}
    if needs.scheme in ("found", "none"):
        without.add("scheme")
    if not needs.simulated_run:
        without |= set(_SIMULATION)
    return [f.name for f in fields(Options) if f.name not in without]


class Job:
    """One run of an analysis: its options, its data and its output.

    Parameters
    ----------
    name : str
    analysis : type of Analysis
    options : Options
        Shared options.
    own : object
        Options of the analysis.
    """

    def __init__(self, name: str, analysis: type[Analysis[Any]], options: Options, own: Any) -> None:
        from l1scout.cli.results import formats_of
        from l1scout.cli.sources import AnalysisInput
        from l1scout.io.selection import parse_ranges

        self._formats = formats_of(options.figure_format)
        self._bx = parse_ranges("--bx-range", options.bx_range)[0] if options.bx_range else None
        self.name, self.analysis, self.options, self.own = name, analysis, options, own
        self._needs = analysis.needs_of(own)
        self._lowest_hw_pt = options.lowest_hw_pt  # bad options are refused before anything is read
        simulated = analysis.own_data(own, options.seed)
        named = bool(options.files) or options.run is not None
        if not analysis.needs.simulated_run and named == (simulated is not None):
            msg = "give one of: files to read or --run, --simulate, --muons"
            raise InputError(msg)
        data, about = simulated or (None, None)
        self.data = AnalysisInput(options, data, about, self._needs.streams)
        self._scheme: dict[str, Any] | None = None
        self._origins: set[bool | None] = set()

    def _read(self) -> "Iterator[OrbitData]":
        """Yield all data, with a progress bar."""
        with progress() as bars:
            task = bars.add_task("orbits", total=self.options.simulate)
            for data in self.data:
                self._origins |= data.origins
                yield data
                bars.advance(task, data.main.n_orbits or 0)

    def _start(self, scheme: Any) -> Analysis[Any]:
        o = self.options
        setup = Setup(
            scheme=scheme,
            section_orbits=o.section,
            prescale=o.prescale,
            min_pt=o.min_pt,
            min_hw_pt=self._lowest_hw_pt,
            min_quality=o.min_quality,
            flavour=o.flavour,
            accept_damaged=o.accept_damaged,
        )
        return self.analysis(self.own, setup)

    def run(self) -> Analysis[Any]:
        """Pass all data to the analysis.

        Raises
        ------
        InputError
            If the data lack what it needs, are too few to find a filling scheme that is needed, or contradict
            the one that is given.
        """
        from l1scout.analysis.common.schemes import load_scheme

        named, quality = self.options.scheme, self.data.quality
        given = None if self._needs.scheme == "none" or named == "auto" else load_scheme(named)
        state, watch = run_analysis(self._needs, self._start, self._read(), given, lambda: quality.repetition)
        if watch is not None:
            if watch.differing_bx:
                self.data.notes.append(f"{watch.differing_bx} BX differ from the filling scheme")
            self._scheme = _about(watch)
        self.data.notes += state.check_files(self.data.files)
        state.independent = quality.independent
        return state

    def provenance(self, model: Mapping[str, Any] | None) -> Provenance:
        """Return where the result comes from."""
        from l1scout.core.provenance import joint_origin
        from l1scout.formats.streams.muon import PT_LSB

        o, shared = self.options, shared_options(self.analysis.needs)
        options: dict[str, Any] = {}
        for name in shared:
            if name in _MEANING and getattr(o, name) is not None:
                options[_MEANING[name]] = _plain(getattr(o, name))
        if "min_hw_pt" in shared:
            options |= {"min_hw_pt": self._lowest_hw_pt, "min_pt_gev": (self._lowest_hw_pt - 1) * PT_LSB}
        elif "min_pt" in shared:
            options |= {"min_pt_gev": o.min_pt}
        for own in own_options(self.analysis):
            value = getattr(self.own, own.field.name)
            if value not in (None, ()):
                options[own.provenance_key] = _plain(value)
        if self.data.selector.selection:
            options |= {"orbits_left_out": self.data.selector.left_out}
        simulated, inputs = joint_origin(self._origins), self.data.inputs
        return Provenance(f"analyse {self.name}", simulated, inputs, options, self._scheme, model)

    def give(self, state: Analysis[Any]) -> None:
        """Print the result, and write it to the directory of ``--out``."""
        from l1scout.cli.results import Output

        result, o = state.result(), self.options
        self.data.notes += result.warnings
        self.data.warn()
        found = result.as_dict() | ({"warnings": self.data.notes} if self.data.notes else {})
        if self.data.files:
            found |= {"read": self.data.quality.summary(), "data_quality": self.data.quality.as_dict()}
        output = Output(self.name, found, result, self.provenance(state.model()))
        if o.out:
            output.write(o.out, self._formats, self._bx)
        if o.json:
            output.print_json()
        else:
            output.print_text(o.out, result.rows_shown)


def _about(watch: "SchemeWatch") -> dict[str, Any]:
    """Describe the filling scheme for the provenance."""
    if watch.scheme is None:
        return {"name": None, "chosen": "not found: too few muons"}
    return {
        "name": watch.scheme.name,
        "colliding_bx": int(watch.scheme.bx.size),
        "chosen": "found in the data" if watch.found else "given",
        "differing_bx": watch.differing_bx,
    }


def make_command(name: str) -> Any:
    """Import an analysis, and return its command."""
    analysis = ANALYSES[name]
    shared, own = shared_options(analysis.needs), own_options(analysis)

    def command(**given: Any) -> None:
        given.pop("schema")
        with recording(f"analyse {name}", given):
            options = analysis.Options(**{o.field.name: _value(o, given.pop(o.field.name)) for o in own})
            job = Job(name, analysis, Options(**given), options)
            job.give(job.run())

    def print_schema(asked: bool) -> None:
        if asked:
            from l1scout.analysis._schema import schema_text

            print(schema_text(name, analysis))
            raise typer.Exit

    hints = get_type_hints(Options, include_extras=True)
    parameters = [_parameter(o) for o in own]
    parameters += [_keyword(f.name, f.default, hints[f.name]) for f in fields(Options) if f.name in shared]
    schema = typer.Option(
        "--schema",
        help="Print the JSON schema of the result, and exit.",
        is_eager=True,
        callback=print_schema,
        rich_help_panel="Output",
    )
    parameters.append(_keyword("schema", False, Annotated[bool, schema]))
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__doc__ = escape(ANALYSES.describe(name))
    app = typer.Typer(
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.command(name, epilog=_example(name, analysis, own))(command)
    return typer.main.get_command(app)


def _example(name: str, analysis: type[Analysis[Any]], own: list[OwnOption]) -> str:
    """Return a command line: a simulated run where that will do, and the options that must be given."""
    needed = "".join(f" {o.flag} {o.field.name}.file" for o in own if o.field.default is MISSING)
    data = "--simulate 2000" if analysis.needs.simulated_run and not needed else "packets.dat"
    data = analysis.example_data or data
    return f"Example: l1scout analyse {name} {data}{needed} --out {name}"


def _keyword(name: str, default: Any, annotation: Any) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=annotation)


def _parameter(own: OwnOption) -> inspect.Parameter:
    """Make an option of the command line from one of an analysis."""
    about, kind, default = own.about, own.type, own.field.default
    flags = about.flag.split(",") if about.flag else ()
    option = typer.Option(*flags, help=escape(about.help), min=about.low, max=about.high)
    if get_origin(kind) is tuple:  # may be given several times
        kind, default = list[get_args(kind)[0]] | None, default or None  # type: ignore[misc]
    return _keyword(
        own.field.name,
        inspect.Parameter.empty if default is MISSING else default,
        Annotated[kind, option],
    )


def _value(own: OwnOption, value: Any) -> Any:
    """Return the value of an option as its field has it (InputError if it is none of the choices)."""
    if own.about.choices and value not in own.about.choices:
        msg = f"{own.flag} {value}: not one of {', '.join(own.about.choices)}"
        raise InputError(msg)
    return tuple(value or ()) if get_origin(own.type) is tuple else value
