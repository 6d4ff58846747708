"""``l1scout convert``: a stored file to its compact archive, and back to the same bytes."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from l1scout.cli.output import Json, print_json, print_line, progress
from l1scout.core.provenance import data_label


def convert(
    source: Annotated[Path, typer.Argument(help=".raw file, records, or an archive.", metavar="IN")],
    target: Annotated[Path, typer.Argument(help="What becomes of it.", metavar="OUT")],
    plain: Annotated[
        bool,
        typer.Option("--plain", help="Keep hwEta and hwPhi as columns: a third larger, for other readers."),
    ] = False,
    json: Json = False,
) -> None:
    """Archive a .raw file or zero-suppressed records as Parquet, or get the file back from an archive.

    The archive is a row a muon, read by any Parquet reader and by every l1scout command. It is a fifth of
    the size, and gives back the same bytes: that is checked before OUT appears. Files that are zstd or
    bzip2 compressed are archived, and come back, decompressed.
    """
    from l1scout.io.archive import convert as archive

    with progress() as bar:
        task = bar.add_task("bytes", total=None)
        done = archive(
            source, target, plain=plain, progress=lambda n, of: bar.update(task, completed=n, total=of)
        )
    if json:
        print_json({"in": source, "out": target, **asdict(done)})
        return
    sizes = f"{done.bytes_in:,} bytes to {done.bytes_out:,}"
    muons = f"{done.final_muons:,} final muons ({data_label(done.simulated)} data), {done.orbits:,} orbits"
    print_line(f"{target}: {muons}, {sizes}")
    if done.verbatim:
        print_line(f"  {done.verbatim:,} bytes are no muons and were kept as they are")
