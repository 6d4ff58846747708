"""Options that all analyses share, and the data that they name: files, a stored run, or a simulated run."""

import math
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import typer

from l1scout.cli.live import load
from l1scout.cli.output import Flavour, Json
from l1scout.cli.simulate import CONDITION_HELP, one_of, running
from l1scout.core.orbit_data import OrbitData
from l1scout.core.provenance import file_inputs
from l1scout.errors import InputError, printable
from l1scout.formats.streams.muon import PT_LSB
from l1scout.io.batches import read_batches
from l1scout.io.folder import expand
from l1scout.io.ntuple import EMULATED_NOTE
from l1scout.io.quality import ReadQuality
from l1scout.io.selection import Selection, Selector, parse_ranges, read_golden
from l1scout.lhc import FILLING_SCHEMES, ORBITS_PER_LUMISECTION
from l1scout.simulate.run import simulate_run
from l1scout.store.losses import with_losses

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
StoredRun = Annotated[
    int | None,
    typer.Option("--run", min=0, help="Read this run from the store's folder.", rich_help_panel=_SELECTION),
]
StoreFolder = Annotated[
    Path | None,
    typer.Option("--store", help="Folder of the store, for --run.", rich_help_panel=_SELECTION),
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

CHUNK = 100
"""Orbits simulated at a time."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of an analysis; each field becomes one of the command line (`l1scout.cli.job`)."""

    files: Files = None
    scheme: SchemeName = "auto"
    runs: Runs = None
    lumisections: Lumisections = None
    golden: Golden = None
    run: StoredRun = None
    store: StoreFolder = None
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
        return self.min_hw_pt or math.ceil(self.min_pt / PT_LSB + 1 - 1e-9)


class Data:
    """The data of an analysis, and notes about them.

    Parameters
    ----------
    options : Options
    simulated : iterable of OrbitData, optional
        Data that an analysis simulates itself.
    about : mapping
        Of these data, for the provenance.

    Attributes
    ----------
    inputs : tuple of dict
        What was read, for the provenance.
    notes : list of str
        Warnings for the user, once all data were read.

    Raises
    ------
    InputError
        If the options name no data, or contradict each other.
    """

    def __init__(
        self,
        options: Options,
        simulated: Iterable[OrbitData] | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        self.options, self._simulated = options, simulated
        self.files: list[Path] = []
        self.notes: list[str] = []
        self.quality = ReadQuality()
        self.inputs: tuple[Mapping[str, Any], ...] = ()
        if options.condition and options.simulate is None:
            msg = "--condition needs --simulate"
            raise InputError(msg)
        given = (
            bool(options.files),
            options.run is not None,
            options.simulate is not None,
            simulated is not None,
        )
        if sum(given) != 1:
            msg = "give either files or folders to read, --run, or --simulate with a number of orbits"
            raise InputError(msg)
        self.selector = Selector(
            Selection(
                parse_ranges("--runs", options.runs) if options.runs else None,
                parse_ranges("--lumisections", options.lumisections) if options.lumisections else None,
                read_golden(options.golden) if options.golden else None,
            )
        )
        if about is not None:
            self.inputs = (about,)
            return
        if options.simulate is not None:
            one_of("--simulated-scheme", options.simulated_scheme, {**FILLING_SCHEMES, "none": ""})
            what = f"{options.simulate} orbits, scheme {options.simulated_scheme}"
            about = {"simulation": what, "occupancy": options.simulated_occupancy, "seed": options.seed}
            self.inputs = (about | ({"conditions": options.condition} if options.condition else {}),)
            return
        if options.run is not None:
            from l1scout.store.stored_run import stored_run

            folder = options.store or load(None, None).store.folder
            self.files, self.notes = stored_run(folder, options.run)
        else:
            self.files, skipped = expand(options.files or ())
            self.notes = [f"skipped: {reason}" for reason in skipped]
        self.inputs = file_inputs(self.files)

    def __iter__(self) -> Iterator[OrbitData]:
        """Yield the selected muons in batches, in order of the files."""
        yield from self.selector.apply(self._all())
        self.quality.check(allow_damaged=self.options.accept_damaged)
        self.notes += self.quality.warnings()
        s = self.selector
        if s.uncertain:
            self.notes.append(
                f"{s.uncertain} empty orbits lie in partly selected batches that do not state which "
                "orbits were seen: they were assigned in proportion"
            )

    def _all(self) -> Iterator[OrbitData]:
        o = self.options
        if self._simulated is not None:
            yield from self._simulated
            return
        if o.simulate is None:
            emulated = set()
            for events in with_losses(read_batches(self.files, quality=self.quality, flavour=o.flavour)):
                if events.source.endswith(EMULATED_NOTE):
                    emulated.add(events.source)
                yield events
            self.notes += sorted(emulated)
            return
        beam = o.simulated_scheme != "none"
        conditions = running(
            o.simulated_scheme if beam else "2018",
            o.simulated_occupancy if beam else 0.0,
            o.condition or (),
        )
        for piece in simulate_run(o.seed, o.simulate, running=conditions, chunk=CHUNK, origin=True):
            yield OrbitData.of_muons(piece.muons, source=f"l1scout simulation, seed {o.seed}")

    def warn(self) -> None:
        """Write the notes to standard error."""
        for note in self.notes:
            print(f"l1scout: {printable(note, 2000)}", file=sys.stderr)
