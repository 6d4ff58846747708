"""``l1scout skim``: crossings that a trigger expression selects, in a file of any format."""

import signal
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, Any

import typer

from l1scout.cli.menu_show import Cabling
from l1scout.cli.output import AcceptDamaged, Flavour, Json, print_json, print_line, progress, warn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from l1scout.core.orbit_data import OrbitData
    from l1scout.trigger.skim import SkimCounts


def skim(
    source: Annotated[
        Path, typer.Argument(help="File or folder; with --run, the folder of a store.", metavar="IN")
    ],
    target: Annotated[
        Path, typer.Argument(help="What is kept: .root, .raw, .parquet, a folder...", metavar="OUT")
    ],
    when: Annotated[
        str | None,
        typer.Option(
            "--when",
            help="Expression, such as 'comb{MU5[QLTY>=12], MU3}[OS]'; may name algorithms of --menu.",
        ),
    ] = None,
    stubs: Annotated[
        str | None,
        typer.Option(
            "--stubs",
            help="Instead: stubs in several BX, as of slow particles, such as track,window=4,min_stubs=3; "
            "see `analyse slow`.",
        ),
    ] = None,
    crossings: Annotated[
        str | None,
        typer.Option(
            "--crossings",
            help="Instead: crossings by orbit and BX, such as 120044:3342,120051:17; the monitor lists those "
            "of the highest anomaly scores.",
        ),
    ] = None,
    window: Annotated[
        int, typer.Option(min=0, help="Crossings kept before and after each selected one.")
    ] = 0,
    menu: Annotated[
        Path | None, typer.Option("--menu", help="Menu whose algorithms and cuts the expression names.")
    ] = None,
    cabling: Cabling = None,
    name: Annotated[str, typer.Option(help="Name of the flag of selected crossings.")] = "SelBx_Skim",
    to: Annotated[
        str | None, typer.Option(help="Format of OUT; by default that of its suffix, see `convert`.")
    ] = None,
    drop: Annotated[
        bool, typer.Option("--drop", help="Leave out what the format of OUT cannot hold.")
    ] = False,
    intermediate: Annotated[
        bool, typer.Option("--intermediate", help="Keep intermediate muons of kept crossings, too.")
    ] = False,
    run: Annotated[int | None, typer.Option(min=0, help="Skim this run of a store.")] = None,
    source_id: Annotated[
        int | None, typer.Option("--source", min=0, help="Source id, if the run has several.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="With --run: go on as segments arrive, until the run ends.")
    ] = False,
    flavour: Flavour = None,
    accept_damaged: AcceptDamaged = False,
    json: Json = False,
) -> None:
    """Keep the crossings that an expression selects (or a list), and windows around them, on files or live.

    With --follow it ends with the run, or on Ctrl-C, and OUT appears then.

    OUT stands for all orbits of IN, so that a number of selected crossings divided by them is a rate; where
    the format has flags, SelBx_... tells the selected crossings from those of a window.
    """
    from l1scout.errors import InputError
    from l1scout.io.quality import ReadQuality
    from l1scout.trigger.crossing_skim import CrossingSkim, parse_crossings
    from l1scout.trigger.load_menu import load_menu
    from l1scout.trigger.multi_bx_stubs import StubSelection
    from l1scout.trigger.skim import Skim
    from l1scout.trigger.skim_expression import skim_menu
    from l1scout.trigger.skim_files import write_skim
    from l1scout.trigger.stub_skim import StubSkim

    if follow and run is None:
        msg = "--follow needs --run: a run in the store IN"
        raise InputError(msg)
    if [when, stubs, crossings].count(None) != 2:
        msg = "say what to keep: --when with an expression, or --stubs, or --crossings"
        raise InputError(msg)
    chosen: Skim
    if crossings is not None:
        chosen = CrossingSkim(parse_crossings(crossings), window, name)
    elif stubs is not None:
        chosen = StubSkim(StubSelection.parse(stubs), window, name)
    else:
        chosen = Skim(skim_menu(when or "", load_menu(menu, cabling) if menu else None), window, name)
    quality = ReadQuality()
    options = {"intermediate": intermediate, "flavour": flavour}
    with progress() as bar:
        task = bar.add_task("orbits", total=None)

        def chunks() -> "Iterator[OrbitData]":
            for data in _read(source, run, source_id, follow, target, quality, options):
                yield data
                bar.advance(task, data.main.n_orbits or 0)

        written = write_skim(chosen, chunks(), target, to, drop=drop)
    quality.check(allow_damaged=accept_damaged)
    warn([*quality.warnings(), *_notes(chosen.counts)])
    if json:
        counts = chosen.counts.as_dict()
        print_json(
            {"in": source, "out": target, "when": when, "stubs": stubs, "crossings": crossings}
            | {"window": window, **counts}
            | {"lost": written.lost, "simulated": written.simulated}
        )
        return
    _print(chosen.counts, target, written.format)
    if written.lost:
        print_line(f"  left out: {', '.join(written.lost)}")


def _read(
    source: Path,
    run: int | None,
    source_id: int | None,
    follow: bool,
    target: Path,
    quality: Any,
    options: dict[str, Any],
) -> "Iterator[OrbitData]":
    """Read files, which `target` must not be, a stored run, or a run as it arrives."""
    from l1scout.io.batches import read_batches
    from l1scout.io.folder import expand, refuse_input, refuse_stored
    from l1scout.store.follow_run import follow_run
    from l1scout.store.losses import with_losses
    from l1scout.store.stored_run import stored_run

    if run is None:
        files, skipped = expand([source])
        refuse_input(target, files)
        warn([f"skipped: {reason}" for reason in skipped])
    elif follow:
        refuse_stored(target, source)
        with _ended_by_signals() as stop:
            arriving = follow_run(source, run, source_id, stop=stop)
            yield from with_losses(read_batches(arriving, quality=quality, **options))
        return
    else:
        refuse_stored(target, source)
        stored = stored_run(source, run, source_id)
        warn(stored.notes)
        yield from stored.read(quality, **options)
        return
    yield from with_losses(read_batches(files, quality=quality, **options))


@contextmanager
def _ended_by_signals() -> "Iterator[Event]":
    """Give an event that Ctrl-C and SIGTERM set, instead of ending the process."""
    stop, numbers = Event(), (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: stop.set()) for number in numbers]
    try:
        yield stop
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _notes(counts: "SkimCounts") -> list[str]:
    """Return what a user must know of the numbers."""
    notes = []
    if counts.selected_without_object:
        notes.append(
            f"{counts.selected_without_object:,} selected crossings have no object of their own, and so are "
            "not in the file: --window keeps those at which the expression looks, and the numbers printed "
            "here count all"
        )
    if counts.uncertain:
        notes.append(
            f"{counts.uncertain:,} crossings lie beside orbits that were not seen, at which the expression "
            "looks: nothing was assumed there"
        )
    return notes


def _print(counts: "SkimCounts", target: Path, format_: str) -> None:
    numbers = counts.as_dict()
    print_line(f"{target}: {format_}, {counts.kept:,} of {counts.crossings:,} crossings with objects kept")
    rate = ""
    if counts.orbits:
        rate = f" in {counts.orbits:,} orbits: {numbers['selected_rate_hz']:,.0f} "
        rate += f"+- {numbers['selected_rate_uncertainty_hz']:,.0f} Hz"
    print_line(f"  {counts.selected:,} selected{rate}")
