"""Options that all analyses share; those that an analysis does not use keep their default."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated

import typer

from l1scout.cli.output import Flavour, Json
from l1scout.cli.simulate import CONDITION_HELP
from l1scout.errors import InputError
from l1scout.lhc import ORBITS_PER_LUMISECTION

_SELECTION, _SIMULATION = "Selection of data", "Simulation"
_MUONS, _OUTPUT = "Muons and rates", "Output"

Files = Annotated[
    list[Path] | None,
    typer.Argument(help="DMA packets, .raw, records, archives, nano, L1Ntuple, or folders with such files."),
]
Simulate = Annotated[
    int | None, typer.Option(min=1, help="Simulate this number of orbits.", rich_help_panel=_SIMULATION)
]
Seed = Annotated[int, typer.Option(min=0, help="Random seed.", rich_help_panel=_SIMULATION)]
SimulatedScheme = Annotated[
    str, typer.Option(help="Filling scheme to simulate: 2018, 2024 or none.", rich_help_panel=_SIMULATION)
]
SimulatedOccupancy = Annotated[
    float, typer.Option(help="Fraction of the simulated BX with a muon.", rich_help_panel=_SIMULATION)
]
Condition = Annotated[list[str] | None, typer.Option(help=CONDITION_HELP, rich_help_panel=_SIMULATION)]
SchemeName = Annotated[
    str,
    typer.Option(
        "--scheme",
        help="Filling scheme: auto (found in the data), 2018, 2024, none (no beam), or a JSON file.",
    ),
]
Runs = Annotated[
    str | None,
    typer.Option(help="Runs to take, such as 380963,381000-381010.", rich_help_panel=_SELECTION),
]
Lumisections = Annotated[
    str | None, typer.Option(help="Lumisections to take, such as 12-40.", rich_help_panel=_SELECTION)
]
Golden = Annotated[
    Path | None,
    typer.Option(help="Golden JSON: good lumisections of each run.", rich_help_panel=_SELECTION),
]
MaskedOrbits = Annotated[
    Path | None,
    typer.Option(
        help="JSON of orbits to leave out: first and last of stretches, by run.", rich_help_panel=_SELECTION
    ),
]
StoredRun = Annotated[
    int | None,
    typer.Option("--run", min=0, help="Read this run from the store's folder.", rich_help_panel=_SELECTION),
]
StoreFolder = Annotated[
    Path | None,
    typer.Option("--store", help="Folder of the store, for --run.", rich_help_panel=_SELECTION),
]
StoredSource = Annotated[
    int | None,
    typer.Option(
        "--source", min=0, help="Source id, for --run, if the run has several.", rich_help_panel=_SELECTION
    ),
]
AcceptDamaged = Annotated[
    bool,
    typer.Option(
        "--accept-damaged", help="Go on if most of the data are damaged.", rich_help_panel=_SELECTION
    ),
]
Section = Annotated[
    int,
    typer.Option(min=1, help="Orbits per slice of time; 2^18 is a lumisection.", rich_help_panel=_MUONS),
]
MinPt = Annotated[
    float,
    typer.Option(min=0, max=255, help="Smallest pT of a muon in GeV.", rich_help_panel=_MUONS),
]
MinHwPt = Annotated[
    int | None,
    typer.Option(min=1, max=511, help="The same as hwPt: pT = 0.5 (hwPt - 1) GeV.", rich_help_panel=_MUONS),
]
MinQuality = Annotated[int, typer.Option(min=0, max=15, help="Smallest hwQual.", rich_help_panel=_MUONS)]
Prescale = Annotated[
    float,
    typer.Option(min=1, help="Prescale factor: one crossing in N was kept.", rich_help_panel=_MUONS),
]
Out = Annotated[
    Path | None,
    typer.Option("--out", help="Directory for figures, NAME-*.csv and NAME.json.", rich_help_panel=_OUTPUT),
]
FigureFormat = Annotated[
    str,
    typer.Option(help="Formats of figures: png, svg, pdf; several with commas.", rich_help_panel=_OUTPUT),
]
BxRange = Annotated[
    str | None, typer.Option(help="BX that figures show, such as 1-400.", rich_help_panel=_OUTPUT)
]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of an analysis; each field becomes one of the command line (`l1scout.cli.job`)."""

    files: Files = None
    scheme: SchemeName = "auto"
    runs: Runs = None
    lumisections: Lumisections = None
    golden: Golden = None
    masked_orbits: MaskedOrbits = None
    run: StoredRun = None
    store: StoreFolder = None
    source: StoredSource = None
    simulate: Simulate = None
    seed: Seed = 1
    simulated_scheme: SimulatedScheme = "2018"
    simulated_occupancy: SimulatedOccupancy = 0.05
    condition: Condition = None
    section: Section = ORBITS_PER_LUMISECTION
    prescale: Prescale = 1.0
    flavour: Flavour = None
    accept_damaged: AcceptDamaged = False
    min_pt: MinPt = 0.0
    min_hw_pt: MinHwPt = None
    min_quality: MinQuality = 0
    out: Out = None
    figure_format: FigureFormat = "png"
    bx_range: BxRange = None
    json: Json = False

    @cached_property
    def lowest_hw_pt(self) -> int:
        """Smallest hwPt that the cut in GeV or in hardware units leaves (InputError if both are given)."""
        if self.min_hw_pt is not None and self.min_pt:
            msg = "give --min-pt (GeV) or --min-hw-pt, not both"
            raise InputError(msg)
        from l1scout.formats.streams.muon import lowest_hw_pt

        return self.min_hw_pt or lowest_hw_pt(self.min_pt)
