"""One way to make a command of an analysis: the shared options, reading, and giving the results."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, get_type_hints

import typer

from l1scout.analysis.filling import Scheme, load_scheme
from l1scout.cli.output import progress
from l1scout.cli.results import Tables, give
from l1scout.cli.sources import Options, events_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class State(Protocol):
    """An analysis of a run: takes batches in order of time."""

    def add(self, batch: Any, prescale: float = 1.0) -> None:
        """Take in a batch."""


S = TypeVar("S", bound=State)


class Job:
    """One run of an analysis: its options, its data and its output.

    Parameters
    ----------
    name : str
        Of the analysis.
    options : Options
    """

    def __init__(self, name: str, options: Options) -> None:
        self.name, self.options = name, options

    def analyse(self, make: Callable[[Scheme], S]) -> S:
        """Make the state of an analysis for the filling scheme, and give it all data."""
        state = make(load_scheme(self.options.scheme))
        with progress() as bars:
            task = bars.add_task("orbits", total=self.options.simulate)
            for events in events_of(self.options):
                state.add(events.l1, self.options.prescale)
                bars.advance(task, events.l1.n_orbits or 0)
        return state

    def give(
        self,
        result: Mapping[str, Any],
        tables: Tables,
        figure: "Callable[[], Figure] | None" = None,
        *,
        simulated: bool | None,
        shown: int = 12,
    ) -> None:
        """Print the result, and write it to the directory of ``--out``."""
        options = self.options
        give(
            self.name,
            result,
            tables,
            figure,
            options.out,
            simulated=simulated,
            json=options.json,
            shown=shown,
        )


def analysis(app: typer.Typer, *without: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a command of a function whose first argument is a `Job`; its others are options of its own.

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
            function(Job(function.__name__, options), **given)

        kind = inspect.Parameter.KEYWORD_ONLY
        own = [p.replace(kind=kind) for p in inspect.signature(function, eval_str=True).parameters.values()]
        ours = [inspect.Parameter(f.name, kind, default=f.default, annotation=hints[f.name]) for f in shared]
        command.__signature__ = inspect.Signature(own[1:] + ours)  # type: ignore[attr-defined]
        command.__doc__ = function.__doc__
        app.command(function.__name__)(command)
        return function

    return register
