"""``l1scout jets``: jets clustered from the towers of the calorimeter trigger."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from l1scout.cli.output import AcceptDamaged, Json, print_json, print_line, progress, warn
from l1scout.core.provenance import data_label

if TYPE_CHECKING:
    from l1scout.core.orbit_data import OrbitData


def jets(
    sources: Annotated[
        list[Path], typer.Argument(help="Files or folders with towers, in order of time.", metavar="IN...")
    ],
    target: Annotated[
        Path, typer.Argument(help="File of jets, or folder of a Parquet data set.", metavar="OUT")
    ],
    radius: Annotated[float, typer.Option(min=0.05, max=3.0, help="Of the jets, in eta and phi.")] = 0.4,
    min_pt: Annotated[
        float, typer.Option(min=0.5, help="Smallest pT of a jet in GeV, before corrections.")
    ] = 10.0,
    corrections: Annotated[
        Path | None, typer.Option(help="Correctionlib JSON with a correction of the jets' energy.")
    ] = None,
    correction: Annotated[
        str | None, typer.Option(help="Name of the correction in that file; needed if it has several.")
    ] = None,
    keep: Annotated[str, typer.Option(help="Other streams of the input to write, too: muon,etsum.")] = "",
    to: Annotated[
        str | None,
        typer.Option(
            help="Format of OUT; by default that of its suffix: .root scouting-nano, .parquet flat-table, "
            "none (a folder) parquet-dataset. Also scouting-nano-rntuple.",
            metavar="FORMAT",
        ),
    ] = None,
    objects: Annotated[
        str | None, typer.Option(help="Flat table: streams and objects of each in a row.", metavar="jet=6")
    ] = None,
    drop: Annotated[
        bool, typer.Option("--drop", help="Leave out what the format of OUT cannot hold.")
    ] = False,
    accept_damaged: AcceptDamaged = False,
    json: Json = False,
) -> None:
    """Cluster jets from towers by the anti-kt algorithm, correct them, and write them to a file.

    OUT has them as stream jet (nano: L1Jet), with pt and mass in GeV, eta, phi in rad and the number of
    towers; with corrections also the factor. They take the place of the trigger's own jets. OUT stands for
    all orbits of IN. Needs FastJet, of the extra jets (see docs/jets.md).
    """
    from l1scout.analysis.common.tower_jets import TowerJets
    from l1scout.errors import InputError
    from l1scout.io.batches import read_batches
    from l1scout.io.folder import expand, refuse_input
    from l1scout.io.format_writer import write_data, writer_of
    from l1scout.io.quality import ReadQuality

    if correction and not corrections:
        msg = "--correction names one of the file that --corrections gives: give that, too"
        raise InputError(msg)
    kept = tuple(name.strip() for name in keep.split(",") if name.strip())
    clustered = TowerJets(radius, min_pt, corrections, correction, kept)
    files, skipped = expand(sources)
    refuse_input(target, files)
    quality = ReadQuality()
    writer = writer_of(target, to or ("flat-table" if target.suffix == ".parquet" else None))
    options: dict[str, Any] = {"hardware": True} if "hardware" in writer.options else {}
    options |= {"objects": objects}
    with progress() as bar, _banner_on_stderr():
        task = bar.add_task("orbits", total=None)

        def chunks() -> "Iterator[OrbitData]":
            for data in map(clustered, read_batches(files, quality=quality)):
                yield data
                bar.advance(task, data.main.n_orbits or 0)

        done = write_data(chunks(), target, writer.name, drop=drop, **options)
    quality.check(allow_damaged=accept_damaged)
    warn([*(f"skipped: {reason}" for reason in skipped), *quality.warnings()])
    facts = {"correction": clustered.correction, "radius": radius, "min_pt_gev": min_pt}
    if json:
        counts = {"orbits": done.orbits, "crossings": done.crossings, "objects": done.objects}
        print_json(
            {"in": sources if len(sources) > 1 else sources[0], "out": target, "format": done.format}
            | {"simulated": done.simulated, "lost": done.lost, **counts, **facts}
        )
        return
    orbits = "" if done.orbits is None else f", {done.orbits:,} orbits"
    print_line(
        f"{target}: {done.format}, {data_label(done.simulated)} data: {done.objects['jet']:,} jets in "
        f"{done.crossings:,} crossings{orbits}"
    )
    if clustered.correction:
        print_line(f"  corrected by {clustered.correction} of {corrections}")
    if done.lost:
        print_line(f"  left out: {', '.join(done.lost)}")


@contextmanager
def _banner_on_stderr() -> Iterator[None]:
    """Send what FastJet prints of itself, on standard output, to standard error."""
    sys.stdout.flush()
    saved = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)
