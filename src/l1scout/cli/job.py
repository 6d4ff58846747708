"""Make commands from analyses: the shared options, the reading of data and the output of results."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, get_type_hints

import typer

from l1scout.analysis.filling import load_scheme
from l1scout.analysis.scheme import SchemeWatch
from l1scout.cli.output import progress
from l1scout.cli.results import Output, Tables, formats_of
from l1scout.cli.sources import Data, Options
from l1scout.core.orbit_batch import joint_origin
from l1scout.core.orbit_data import OrbitData
from l1scout.core.provenance import Provenance
from l1scout.formats.streams.muon import PT_LSB
from l1scout.io.selection import parse_ranges

if TYPE_CHECKING:
    from hist import Hist
    from matplotlib.figure import Figure

_MEANING = {
    "runs": "runs",
    "lumisections": "lumisections",
    "golden": "golden_json",
    "run": "stored_run",
    "section": "section_orbits",
    "prescale": "prescale",
    "min_quality": "min_hw_qual",
    "sigma_vis": "sigma_vis_ub",
    "min_pair_pt": "min_pair_pt_gev",
    "every": "all_track_finders",
}
"""Names, in the provenance, of shared options that influence a result."""


SIMULATION = ("simulate", "simulated_scheme", "simulated_occupancy", "condition")
CUTS, TIME = ("min_pt", "min_hw_pt", "min_quality"), ("section", "prescale")
"""Shared options that some analyses leave out."""


class State(Protocol):
    """An analysis of a run: takes batches in order of time."""

    def add(self, batch: Any, prescale: float = 1.0) -> None:
        """Add a batch."""


S = TypeVar("S", bound=State)


def _plain(value: Any) -> Any:
    """Return names of files without their folders, as in the list of inputs."""
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value.name if isinstance(value, Path) else value


class Job:
    """One run of an analysis: its options, its data and its output.

    Parameters
    ----------
    name : str
        Of the analysis.
    options : Options
    shared : sequence of str
        Names of the shared options that this analysis has.
    own : mapping
        Options that only this analysis has, for the provenance.

    Attributes
    ----------
    scheme, model : dict or None
        Filling scheme and network, for the provenance.
    simulated : bool or None
        Whether the data that were read are simulated; None where any does not say.
    """

    def __init__(self, name: str, options: Options, shared: Sequence[str], own: Mapping[str, Any]) -> None:
        formats_of(options.figure_format)
        self._bx = parse_ranges("--bx-range", options.bx_range)[0] if options.bx_range else None
        _ = options.lowest_hw_pt  # bad options are told before anything is read
        self.name, self.options = name, options
        self._shared, self._own = shared, {n: _plain(v) for n, v in own.items()}
        self.scheme: dict[str, Any] | None = None
        self.model: dict[str, Any] | None = None
        self._origins: set[bool | None] = set()

    @cached_property
    def data(self) -> Data:
        """The data that the options name (InputError if they name none)."""
        return Data(self.options)

    @property
    def simulated(self) -> bool | None:
        """Whether the data that were read are simulated."""
        return joint_origin(self._origins)

    def events(self) -> Iterator[OrbitData]:
        """Yield all data, with a progress bar."""
        with progress() as bars:
            task = bars.add_task("orbits", total=self.options.simulate)
            for events in self.data:
                self._origins.add(events.muons.simulated)
                yield events
                bars.advance(task, events.muons.n_orbits or 0)

    def read(self, state: S) -> S:
        """Pass all data to an analysis that needs no filling scheme."""
        for events in self.events():
            state.add(events.muons, self.options.prescale)
        return state

    def analyse(self, make: Callable[[Any], S], *, needs_scheme: bool = True) -> S:
        """Create the state of an analysis for the filling scheme, and pass it all data.

        Parameters
        ----------
        make : callable
            Makes the state for a `Scheme`.
        needs_scheme : bool
            If not, `make` gets None where the data are too few to find the scheme.

        Raises
        ------
        InputError
            If the data are too few to find a scheme that is needed, or contradict the one that is given.
        """
        name = self.options.scheme
        given, quality = None if name == "auto" else load_scheme(name), self.data.quality
        watch = SchemeWatch(given, needed=needs_scheme, repetition=lambda: quality.repetition)
        state: S | None = None
        for ready in chain(map(watch.add, self.events()), map(SchemeWatch.finish, [watch])):
            for events in ready:
                state = state or make(watch.scheme)
                state.add(events.muons, self.options.prescale)
        if watch.differing_bx:
            self.data.notes.append(f"{watch.differing_bx} BX differ from the filling scheme")
        self.scheme = _about(watch)
        return state or make(watch.scheme)

    @property
    def provenance(self) -> Provenance:
        """Where the result comes from."""
        o = self.options
        options: dict[str, Any] = {}
        for name in self._shared:
            if name in _MEANING and getattr(o, name) is not None:
                options[_MEANING[name]] = _plain(getattr(o, name))
        if "min_hw_pt" in self._shared:
            options |= {"min_hw_pt": o.lowest_hw_pt, "min_pt_gev": (o.lowest_hw_pt - 1) * PT_LSB}
        elif "min_pt" in self._shared:
            options |= {"min_pt_gev": o.min_pt}
        options |= {_MEANING.get(n, n): v for n, v in self._own.items() if v is not None}
        if self.data.selector.selection:
            options |= {"orbits_left_out": self.data.selector.left_out}
        inputs = self.data.inputs
        return Provenance(f"analyse {self.name}", self.simulated, inputs, options, self.scheme, self.model)

    def give(
        self,
        result: Mapping[str, Any],
        tables: Tables,
        figure: "Callable[[], Figure] | None" = None,
        *,
        histograms: "Mapping[str, Hist[Any]] | None" = None,
        shown: int = 12,
    ) -> None:
        """Print the result, and write it to the directory of ``--out``."""
        self.data.warn()
        o = self.options
        result = dict(result) | ({"warnings": self.data.notes} if self.data.notes else {})
        if self.data.files:
            result |= {"read": self.data.quality.summary(), "data_quality": self.data.quality.as_dict()}
        parts = Output(self.name, result, tables, figure, histograms or {}, self.provenance)
        if o.out:
            parts.write(o.out, formats_of(o.figure_format), self._bx)
        if o.json:
            parts.print_json()
        else:
            parts.print_text(o.out, shown)


def _about(watch: SchemeWatch) -> dict[str, Any]:
    """Describe the filling scheme for the provenance."""
    if watch.scheme is None:
        return {"name": None, "chosen": "not found: too few muons"}
    return {
        "name": watch.scheme.name,
        "colliding_bx": int(watch.scheme.bx.size),
        "chosen": "found in the data" if watch.found else "given",
        "differing_bx": watch.differing_bx,
    }


def analysis(app: typer.Typer, *without: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a command from a function whose first argument is a `Job`; the others are its own options.

    Parameters
    ----------
    app : typer.Typer
    without : str
        Names of shared options that do not concern this analysis: they keep their default.
    """
    shared = [f for f in fields(Options) if f.name not in without]
    hints = get_type_hints(Options, include_extras=True)

    def register(function: Callable[..., None]) -> Callable[..., None]:
        def command(**given: Any) -> None:
            options = Options(**{f.name: given.pop(f.name) for f in shared})
            function(Job(function.__name__, options, [f.name for f in shared], given), **given)

        kind = inspect.Parameter.KEYWORD_ONLY
        own = [p.replace(kind=kind) for p in inspect.signature(function, eval_str=True).parameters.values()]
        ours = [inspect.Parameter(f.name, kind, default=f.default, annotation=hints[f.name]) for f in shared]
        command.__signature__ = inspect.Signature(own[1:] + ours)  # type: ignore[attr-defined]
        command.__doc__ = function.__doc__
        app.command(function.__name__)(command)
        return function

    return register
