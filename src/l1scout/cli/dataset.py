"""``l1scout dataset``: matched L1 and offline muons, to train and test on."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from l1scout.cli.output import Flavour, Json, print_json, print_table, progress
from l1scout.errors import InputError

if TYPE_CHECKING:
    from l1scout.core.orbit_data import OrbitData
    from l1scout.dataset.cuts import CutFlow, MuonSelection
    from l1scout.formats.streams.muon import Finder
    from l1scout.io.conditions import Conditions

PAIRS = 500_000
HARD = 0.1
"""Share of the hard component in simulated data sets, by default: docs/simulation.md says why."""


def dataset(
    target: Annotated[Path, typer.Option("--out", help="Parquet file to write.")],
    files: Annotated[
        list[Path] | None, typer.Argument(help="Files with L1 and offline muons. Without any: simulate.")
    ] = None,
    pairs: Annotated[
        int | None, typer.Option(min=1, help=f"Matched pairs to stop at; {PAIRS} when simulating.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of the simulation.")] = 1,
    muons: Annotated[
        Path | None, typer.Option(help="Simulate with these muons: open-data dimuon CSV.")
    ] = None,
    bmtf_luts: Annotated[Path | None, typer.Option(help="Official BMTF tables for the simulation.")] = None,
    gmt_luts: Annotated[Path | None, typer.Option(help="Official GMT tables for the simulation.")] = None,
    trigger: Annotated[
        Literal["bmtf", "kbmtf"],
        typer.Option(help="Simulated barrel track finder: bmtf (2016-2018) or kbmtf (Run 3)."),
    ] = "bmtf",
    kalman_gains: Annotated[
        Path | None, typer.Option(help="Official gains (ROOT) for the simulation of kbmtf.")
    ] = None,
    finder: Annotated[
        Literal["bmtf", "omtf", "emtf", "all"],
        typer.Option(help="Track finder whose muons are taken; the simulation has bmtf, the barrel's, only."),
    ] = "bmtf",
    hard: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=0.99,
            help=f"Share of a hard component (flat in log pT, 3 to 300 GeV) in the simulation; {HARD:g} "
            "unless --paper-selection or --muons is given.",
        ),
    ] = None,
    paper: Annotated[
        bool,
        typer.Option("--paper-selection", help="Take 2.5 <= L1 pT < 45 GeV only, as the reference paper."),
    ] = False,
    randomise: Annotated[
        bool,
        typer.Option(
            "--randomise",
            help="Simulate with detector, tables and spectrum drawn anew for each block of muons.",
        ),
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Leave out hwPt 6 (2.5 GeV) and below.")] = False,
    flavour: Flavour = None,
    json: Json = False,
) -> None:
    """Select and match L1 with offline muons, from files or simulated, and write them as Parquet."""
    from l1scout.dataset.collect import KEPT
    from l1scout.dataset.cuts import MuonSelection
    from l1scout.dataset.matched import Dataset, opened
    from l1scout.formats.streams.muon import FINDERS
    from l1scout.io.conditions import simulation
    from l1scout.report.terminal_tables import cut_flow_table

    simulated_only = (muons, bmtf_luts, gmt_luts, kalman_gains, hard)
    if files and (trigger != "bmtf" or randomise or any(option is not None for option in simulated_only)):
        msg = (
            "--muons, --trigger, --hard, --bmtf-luts, --kalman-gains, --gmt-luts and --randomise are for the "
            "simulation: give them or files, not both"
        )
        raise InputError(msg)
    if not files and finder != "bmtf":
        msg = f"--finder {finder}: the simulation has bmtf, the barrel, only; give files with offline muons"
        raise InputError(msg)
    for source in (*(files or ()), *([muons] if muons else ())):
        if target.exists() and source.exists() and target.samefile(source):
            msg = f"{target}: is an input; name another file for the output"
            raise InputError(msg)
    sources: dict[str, None] = {}
    finders: tuple[Finder, ...] = tuple(FINDERS) if finder == "all" else (finder,)
    selection = MuonSelection(finders=finders, paper=paper, strict=strict)
    if files:
        flow = collect_with_bar(_read(files, flavour, sources), target, pairs, selection=selection)
    else:
        from l1scout.simulate.chain import simulate_events
        from l1scout.simulate.randomisation import Randomisation

        if hard is None:
            hard = 0.0 if paper or muons else HARD
        own = trigger == "bmtf" and not (bmtf_luts or gmt_luts)
        drawn = Randomisation(tables=own) if randomise else None
        chunks = simulate_events(
            seed,
            muons=muons,
            bmtf_luts=bmtf_luts,
            gmt_luts=gmt_luts,
            trigger=trigger,
            kalman_gains=kalman_gains,
            hard=hard,
            randomise=drawn,
        )
        made = simulation(bmtf_luts, gmt_luts, trigger, kalman_gains, str(drawn) if drawn else None)
        number = pairs or PAIRS
        flow = collect_with_bar(
            chunks, target, number, seed=seed, selection=selection, conditions=made, hard=hard
        )
    with opened(target) as made_file:
        simulated = Dataset({}, made_file.about).simulated
    if json:
        about: dict[str, Any] = {"file": str(target), "pairs": flow.l1[KEPT], "simulated": simulated}
        about |= {"source": list(sources)} if files else {}
        print_json({**about, "cuts": flow.as_list()})
        return
    print_table(cut_flow_table(flow))
    for name in sources:
        print(f"read {name}")
    unstated = "matched pairs of unstated origin"
    kind = {True: "simulated matched pairs", False: "real matched pairs", None: unstated}[simulated]
    print(f"{flow.l1[KEPT]:,} {kind} in {target}")


def collect_with_bar(
    chunks: "Iterable[OrbitData]",
    target: Path,
    pairs: int | None,
    *,
    seed: int | None = None,
    selection: "MuonSelection | None" = None,
    conditions: "Conditions | None" = None,
    hard: float = 0.0,
) -> "CutFlow":
    """Collect pairs with a progress bar; `seed`, `conditions` and `hard` are those of the simulation."""
    from l1scout.dataset.collect import collect

    with progress() as bar:
        task = bar.add_task("matched pairs", total=pairs)
        return collect(
            chunks,
            target,
            selection=selection,
            max_pairs=pairs,
            seed=seed,
            conditions=conditions,
            hard=hard,
            on_pairs=lambda n: bar.update(task, completed=n),
        )


def _read(files: Sequence[Path], flavour: str | None, sources: dict[str, None]) -> "Iterator[OrbitData]":
    """Yield the chunks of files, and note what they state of their source."""
    from l1scout.io import read_events

    for file in files:
        for events in read_events(file, flavour=flavour):
            sources[events.source] = None
            yield events
