"""Where an analysis gets its data: the options that its commands share, and what they mean."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer

from l1scout.cli.output import progress
from l1scout.cli.simulate import CONDITIONS, running
from l1scout.errors import InputError
from l1scout.io.batches import read_batches
from l1scout.orbits import Events
from l1scout.simulate.run import simulate_run
from l1scout.store.losses import with_losses

Files = Annotated[
    list[Path] | None, typer.Argument(help="DMA packets, .raw, records, archives, nano, L1Ntuple.")
]
Simulate = Annotated[int | None, typer.Option("--simulate", min=1, help="Simulate so many orbits instead.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the simulation.")]
SchemeName = Annotated[
    str, typer.Option("--scheme", help="Filling scheme: 2018, 2024, none (no beam), or a JSON file.")
]
Occupied = Annotated[float, typer.Option("--occupancy", help="Simulation: part of the BX with a muon.")]
Condition = Annotated[list[str] | None, typer.Option(help=f"Simulation: {CONDITIONS}")]
Section = Annotated[int, typer.Option(min=1, help="Orbits of a slice of time; 2^18 is a lumisection.")]
MinPt = Annotated[int, typer.Option(min=1, max=511, help="Smallest hwPt of a muon.")]
MinQuality = Annotated[int, typer.Option(min=0, max=15, help="Smallest hwQual of a muon.")]
Prescale = Annotated[float, typer.Option(min=1, help="One in so many crossings was kept.")]
Out = Annotated[Path | None, typer.Option("--out", help="Directory for NAME.png, NAME-*.csv and NAME.json.")]

CHUNK = 100
"""Orbits simulated at a time."""


class State(Protocol):
    """What all analyses of a run are."""

    def add(self, batch: Any, prescale: float = 1.0) -> None:
        """Take in a batch."""


def read(
    state: State,
    files: Sequence[Path] | None,
    orbits: int | None,
    seed: int,
    scheme: str,
    occupancy: float,
    condition: Sequence[str] | None,
    prescale: float = 1.0,
) -> None:
    """Give a state all data, under a progress bar."""
    if bool(files) == (orbits is not None):
        msg = "give either files to read or --simulate with a number of orbits"
        raise InputError(msg)
    if files and condition:
        msg = "--condition is for --simulate"
        raise InputError(msg)
    with progress() as bars:
        task = bars.add_task("orbits", total=orbits)
        for events in events_of(files, orbits, seed, scheme, occupancy, condition):
            state.add(events.l1, prescale)
            bars.advance(task, events.l1.n_orbits or 0)


def events_of(
    files: Sequence[Path] | None,
    orbits: int | None,
    seed: int,
    scheme: str,
    occupancy: float,
    condition: Sequence[str] | None,
) -> Iterator[Events]:
    """Give the chunks of files, or of a simulated run."""
    if files:
        yield from with_losses(read_batches(files))
        return
    beam = scheme != "none"
    conditions = running(scheme if beam else "2018", occupancy if beam else 0.0, condition or ())
    for piece in simulate_run(seed, orbits or 0, running=conditions, chunk=CHUNK, origin=True):
        yield Events(piece.muons, source=f"l1scout simulation, seed {seed}")
