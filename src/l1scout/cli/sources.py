"""Options that all analyses share, and the data that they name: files or a simulated run."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from l1scout.cli.output import Json
from l1scout.cli.simulate import CONDITIONS, running
from l1scout.errors import InputError
from l1scout.io.batches import read_batches
from l1scout.lhc import ORBITS_PER_LUMISECTION
from l1scout.orbits import Events
from l1scout.simulate.run import simulate_run

_SIMULATION, _MUONS, _OUTPUT = "Simulation", "Muons and rates", "Output"

Files = Annotated[
    list[Path] | None, typer.Argument(help="DMA packets, .raw, records, archives, nano, L1Ntuple.")
]
Simulate = Annotated[
    int | None, typer.Option(min=1, help="Simulate this number of orbits.", rich_help_panel=_SIMULATION)
]
Seed = Annotated[int, typer.Option(min=0, help="Random seed.", rich_help_panel=_SIMULATION)]
SchemeName = Annotated[
    str, typer.Option("--scheme", help="Filling scheme: 2018, 2024, none (no beam), or a JSON file.")
]
Occupied = Annotated[
    float,
    typer.Option("--occupancy", help="Fraction of the BX with a muon.", rich_help_panel=_SIMULATION),
]
Condition = Annotated[list[str] | None, typer.Option(help=CONDITIONS, rich_help_panel=_SIMULATION)]
Section = Annotated[
    int,
    typer.Option(min=1, help="Orbits per slice of time; 2^18 is a lumisection.", rich_help_panel=_MUONS),
]
MinPt = Annotated[int, typer.Option(min=1, max=511, help="Smallest hwPt.", rich_help_panel=_MUONS)]
MinQuality = Annotated[int, typer.Option(min=0, max=15, help="Smallest hwQual.", rich_help_panel=_MUONS)]
Prescale = Annotated[
    float,
    typer.Option(min=1, help="Prescale factor: one crossing in N was kept.", rich_help_panel=_MUONS),
]
Out = Annotated[
    Path | None,
    typer.Option("--out", help="Directory for NAME.png, NAME-*.csv and NAME.json.", rich_help_panel=_OUTPUT),
]

CHUNK = 100
"""Orbits simulated at a time."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of an analysis; each field becomes one of the command line (`l1scout.cli.job`)."""

    files: Files = None
    scheme: SchemeName = "2018"
    simulate: Simulate = None
    seed: Seed = 1
    occupancy: Occupied = 0.05
    condition: Condition = None
    section: Section = ORBITS_PER_LUMISECTION
    prescale: Prescale = 1.0
    min_pt: MinPt = 1
    min_quality: MinQuality = 0
    out: Out = None
    json: Json = False


def events_of(options: Options) -> Iterator[Events]:
    """Give the muons of the files, or of a simulated run, in batches (InputError)."""
    files, orbits = options.files, options.simulate
    if bool(files) == (orbits is not None):
        msg = "give either files to read or --simulate with a number of orbits"
        raise InputError(msg)
    if files and options.condition:
        msg = "--condition is for --simulate"
        raise InputError(msg)
    if files:
        yield from read_batches(files)
        return
    beam = options.scheme != "none"
    conditions = running(
        options.scheme if beam else "2018", options.occupancy if beam else 0.0, options.condition or ()
    )
    for piece in simulate_run(options.seed, orbits or 0, running=conditions, chunk=CHUNK, origin=True):
        yield Events(piece.muons, source=f"l1scout simulation, seed {options.seed}")
