"""``l1scout runs``: what the store has."""

from typing import Annotated, Any

import typer
from rich.table import Table

from l1scout.cli.live import Set, SettingsFile, load
from l1scout.cli.output import Json, out, print_json
from l1scout.errors import InputError


def runs(
    run: Annotated[int | None, typer.Argument(min=0, help="Its lumisections, one by one.")] = None,
    settings: SettingsFile = None,
    over: Set = None,
    json: Json = False,
) -> None:
    """List the runs of the store's catalogue, or the lumisections of one: orbits, muons, losses, bytes."""
    from l1scout.store.catalogue import Catalogue
    from l1scout.store.losses import lumisections_with_losses, runs_with_losses

    chosen = load(settings, over)
    folder, boards = chosen.store.folder, chosen.run.folder
    catalogue = Catalogue(folder)
    try:
        rows = (
            runs_with_losses(catalogue, boards)
            if run is None
            else lumisections_with_losses(catalogue, boards, run)
        )
    finally:
        catalogue.close()
    if not rows:
        msg = f"{folder}: nothing there" + (f" of run {run}" if run is not None else " yet")
        raise InputError(msg)
    if json:
        print_json({"runs" if run is None else "lumisections": rows})
        return
    names = ("run", "source") if run is None else ("lumisection", "source")
    table = Table(*names, "segments", "orbits", "final muons", "lost", "dropped", "MB", "MB stored", "")
    for row in rows:
        table.add_row(*(str(row[n]) for n in names), *_sums(row))
    out.print(table)


def _sums(row: dict[str, Any]) -> tuple[str, ...]:
    lost = row["corrupt"] + row["missed"]
    counts = (f"{n:,}" for n in (row["segments"], row["orbits"], row["final_muons"], lost, row["dropped"]))
    megabytes = (f"{row[n] / 1e6:,.1f}" for n in ("size", "stored_size"))
    return (*counts, *megabytes, "not ended" if row.get("ended") == 0 else "")
