"""``l1scout convert``: files of scouting data to another format."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from l1scout.cli.output import Flavour, Json, print_json, print_line, progress, warn
from l1scout.core.provenance import data_label
from l1scout.errors import InputError


def convert(
    sources: Annotated[
        list[Path],
        typer.Argument(
            help="Files or folders, in order of time; with --run, the folder of a store.", metavar="IN..."
        ),
    ],
    target: Annotated[Path, typer.Argument(help="File, or folder of a Parquet data set.", metavar="OUT")],
    to: Annotated[
        str | None,
        typer.Option(
            help="Format of OUT; by default that of its suffix: .raw raw, .dat records, .root scouting-nano, "
            ".parquet archive, none (a folder) parquet-dataset, .packets packets, .native64 native64, "
            ".native64mu native64-tkmuon. Also scouting-nano-rntuple, flat-table.",
            metavar="FORMAT",
        ),
    ] = None,
    drop: Annotated[
        bool, typer.Option("--drop", help="Leave out what the format of OUT cannot hold.")
    ] = False,
    empty_crossings: Annotated[
        bool,
        typer.Option("--empty-crossings", help="Nano, tables: also write crossings without an object."),
    ] = False,
    hardware: Annotated[
        bool, typer.Option("--hardware", help="Nano: all hardware columns, not only CMS's branches.")
    ] = False,
    exact_phi: Annotated[
        bool,
        typer.Option("--exact-phi", help="Nano: exact phi of calorimeter objects, not CMSSW's."),
    ] = False,
    zstd: Annotated[
        bool, typer.Option("--zstd", help="Nano: compress by zstd, which is faster, not by CMS's ZLIB 9.")
    ] = False,
    physics: Annotated[
        bool, typer.Option("--physics", help="Parquet: add columns with pt, eta, phi... in GeV and rad.")
    ] = False,
    plain: Annotated[
        bool,
        typer.Option("--plain", help="Archive: keep hwEta and hwPhi as columns; a third larger."),
    ] = False,
    run: Annotated[int | None, typer.Option(help="Convert this run of the store IN.", min=0)] = None,
    source_id: Annotated[
        int | None, typer.Option("--source", help="With --run: one source id of several.", min=0)
    ] = None,
    run_number: Annotated[
        int | None,
        typer.Option("--run-number", help="Number of the run, where the input does not state it.", min=0),
    ] = None,
    objects: Annotated[
        str | None,
        typer.Option(help="Flat table: streams and objects of each in a row.", metavar="muon=2,jet=4"),
    ] = None,
    flavour: Flavour = None,
    accept_damaged: Annotated[
        bool, typer.Option("--accept-damaged", help="Convert files of which half or more cannot be read.")
    ] = False,
    json: Json = False,
) -> None:
    """Convert files of scouting data to another format; several inputs become one.

    If OUT cannot hold all that the input has, nothing is written, and what would be lost is listed; --drop
    accepts that. A .raw file or records become a compact archive, and an archive becomes these, byte by
    byte (compressed ones come back decompressed). With --run, IN is the folder of a store: several sources
    of the run become one. See docs/convert.md.
    """
    from l1scout.io.convert import convert as convert_files
    from l1scout.io.quality import ReadQuality
    from l1scout.store.convert_run import convert_run
    from l1scout.store.stored_run import stored_run

    if run is None and source_id is not None:
        msg = "--source needs --run: a run in the store IN"
        raise InputError(msg)
    if run is not None and len(sources) > 1:
        msg = f"--run {run}: name one store, not {len(sources)} inputs"
        raise InputError(msg)
    notes: list[str] = []
    quality = ReadQuality()
    options: dict[str, Any] = {"hardware": hardware, "exact_phi": exact_phi}
    options |= {"zstd": zstd, "physics": physics}
    options |= {"plain": plain, "run_number": run_number, "objects": objects}
    options |= {"drop": drop, "empty_crossings": empty_crossings, "accept_damaged": accept_damaged}
    options |= {"flavour": flavour, "quality": quality}
    with progress() as bar:
        task = bar.add_task("bytes", total=None)
        options["progress"] = lambda n, of: bar.update(task, completed=n, total=of)
        if run is None:
            done = convert_files(sources, target, to, **options)
        else:
            stored = stored_run(sources[0], run, source_id)
            notes = stored.notes
            done = convert_run(stored, target, to, **options)
    warn([*notes, *quality.warnings()])
    copied = None if done.copied is None else asdict(done.copied)
    if json:
        result = asdict(done) | {"copied": copied}
        print_json(
            {"in": sources if len(sources) > 1 else sources[0], "out": target, **result, **(copied or {})}
        )
        return
    counts = [f"{n:,} {name}s" for name, n in done.objects.items()]
    if done.crossings is not None:
        counts.append(f"{done.crossings:,} crossings")
    if done.orbits is not None:
        counts.append(f"{done.orbits:,} orbits")
    print_line(f"{target}: {done.format}, {data_label(done.simulated)} data: {', '.join(counts)}")
    if copied:
        print_line(f"  {copied['bytes_in']:,} bytes to {copied['bytes_out']:,}, compared by checksum")
    if copied and copied["verbatim"]:
        print_line(f"  {copied['verbatim']:,} bytes are no muons and were kept as they are")
    if done.lost:
        print_line(f"  left out: {', '.join(done.lost)}")
