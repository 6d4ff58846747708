"""Options of the commands of ``l1scout anomaly``, and the data that they name."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from l1scout.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from l1scout.core.orbit_data import OrbitData
    from l1scout.io.quality import ReadQuality

AnomalyFiles = Annotated[
    list[Path] | None, typer.Argument(help="Files or folders of scouting data.", metavar="[IN]...")
]
StoredRun = Annotated[int | None, typer.Option("--run", min=0, help="Read this run from the store's folder.")]
StoreFolder = Annotated[Path | None, typer.Option("--store", help="Folder of the store, for --run.")]


def anomaly_data(
    files: "Sequence[Path] | None",
    run: int | None,
    store: Path | None,
    quality: "ReadQuality",
    target: Path | None = None,
) -> "Iterator[OrbitData]":
    """Read files, those of several boards together, or a run of a store.

    Raises
    ------
    InputError
        If not one of both is named, they cannot be read, or `target` is one of the files or in the store.
    """
    from l1scout.cli.live import load
    from l1scout.cli.output import warn
    from l1scout.io.batches import read_batches
    from l1scout.io.folder import expand, refuse_input, refuse_stored
    from l1scout.store.losses import with_losses
    from l1scout.store.stored_run import stored_run

    if bool(files) == (run is not None):
        msg = "give either files or folders to read, or --run"
        raise InputError(msg)
    if run is not None:
        stored = stored_run(store or load(None, None).store.folder, run)
        if target is not None:
            refuse_stored(target, stored.folder)
        warn(stored.notes)
        yield from stored.read(quality)
        return
    found, skipped = expand(files or ())
    if target is not None:
        refuse_input(target, found)
    warn([f"skipped: {reason}" for reason in skipped])
    yield from with_losses(read_batches(found, quality=quality))
