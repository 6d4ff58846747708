"""``l1scout quality``: data quality by lumisection."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from l1scout.cli.analysis_options import StoredRun, StoredSource, StoreFolder
from l1scout.cli.output import (
    AcceptDamaged,
    Flavour,
    Json,
    print_json,
    print_line,
    print_table,
    progress,
    warn,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from l1scout.core.orbit_data import OrbitData
    from l1scout.io.quality import ReadQuality
    from l1scout.quality.histogram_file import SavedHistograms
    from l1scout.quality.quality_run import QualityRun

SHOWN = 50
"""Alarms that are printed."""


def quality(
    files: Annotated[list[Path] | None, typer.Argument(help="Files or folders, in order of time.")] = None,
    run: StoredRun = None,
    store: StoreFolder = None,
    source: StoredSource = None,
    false_alarms: Annotated[
        float,
        typer.Option("--false-alarms", help="False alarms per day that are allowed on good data, all tests."),
    ] = 1.0,
    reference: Annotated[
        Path | None,
        typer.Option(
            help="Run to compare shapes with, which the monitor has saved; or its file of histograms."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for golden.json, alarms.jsonl and shift_report.html.")
    ] = None,
    flavour: Flavour = None,
    accept_damaged: AcceptDamaged = False,
    json: Json = False,
) -> None:
    """Compare each lumisection with earlier good ones; exit 1 if any is flagged.

    Bins of maps and spectra are compared with the last 16 good lumisections; rates, timing and the mean pT
    are followed for lasting shifts. All tests together give at most --false-alarms per day on good data. The
    first four lumisections of a run are its first reference, and are not checked themselves, unless another
    run is given as --reference.
    """
    from l1scout.core.provenance import current
    from l1scout.errors import InputError
    from l1scout.files import write_text
    from l1scout.io.quality import ReadQuality
    from l1scout.quality.quality_run import QualityRun
    from l1scout.report.quality_page import quality_page

    if bool(files) == (run is not None):
        msg = "give either files or folders to read, or --run"
        raise InputError(msg)
    read, found = ReadQuality(), QualityRun(false_alarms, _saved(reference))
    with progress() as bar:
        task = bar.add_task("orbits", total=None)
        for data in found.read(_read(files or [], run, store, source, read, flavour)):
            bar.advance(task, data.main.n_orbits or 0)
    read.check(allow_damaged=accept_damaged)
    warn([*read.warnings(), *_notes(found)])
    if out:
        record = current(simulated=found.histograms.simulated)
        found.write(out)
        write_text(out / "shift_report.html", quality_page(found, record))
    if json:
        print_json(found.as_dict())
    else:
        _print(found)
    raise typer.Exit(bool(found.flags))


def _saved(reference: Path | None) -> "SavedHistograms | None":
    from l1scout.cli.live import load
    from l1scout.quality.histogram_file import read_histograms, saved_file

    return read_histograms(saved_file(reference, load(None, None).monitor.folder)) if reference else None


def _read(
    files: list[Path],
    run: int | None,
    store: Path | None,
    source: int | None,
    quality: "ReadQuality",
    flavour: str | None,
) -> "Iterator[OrbitData]":
    from l1scout.cli.live import load
    from l1scout.io.batches import read_batches
    from l1scout.io.folder import expand
    from l1scout.store.losses import with_losses
    from l1scout.store.stored_run import stored_run

    if run is not None:
        stored = stored_run(store or load(None, None).store.folder, run, source)
        warn(stored.notes)
        yield from stored.read(quality, flavour=flavour)
        return
    named, skipped = expand(files)
    warn([f"skipped: {reason}" for reason in skipped])
    yield from with_losses(read_batches(named, quality=quality, flavour=flavour))


def _notes(found: "QualityRun") -> list[str]:
    from l1scout.quality.quality_checks import MIN_SECTIONS

    notes = []
    if len(found.checked) <= MIN_SECTIONS:
        notes.append(
            f"only {len(found.checked)} lumisections with counted orbits: more than {MIN_SECTIONS} are "
            "needed before one can be compared"
        )
    if found.unchecked:
        notes.append(f"{found.unchecked:,} lumisections were not checked")
    return notes


def _print(found: "QualityRun") -> None:
    from l1scout.report.terminal_tables import records_table

    result: dict[str, Any] = found.as_dict()
    alarms = result["alarms"]
    if alarms:
        print_table(records_table(alarms[:SHOWN]))
    if len(alarms) > SHOWN:
        print_line(f"... and {len(alarms) - SHOWN:,} more alarms")
    good = sum(last - first + 1 for parts in result["golden"].values() for first, last in parts)
    raised = f"{len(alarms):,} {'alarm' if len(alarms) == 1 else 'alarms'}"
    limit = f"at most {found.quality.false_alarms_per_day:g} false alarms a day"
    print_line(
        f"{raised}; {good:,} of {len(found.checked):,} lumisections are good "
        f"({result['data']} data, {result['tests']} tests, {limit})"
    )
