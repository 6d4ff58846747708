"""``l1scout runs``: what the store has."""

from typing import Annotated, Any

import typer
from rich.table import Table

from l1scout.cli.live import Set, SettingsFile, load
from l1scout.cli.output import Json, print_json, print_table
from l1scout.core.provenance import current, is_simulated
from l1scout.errors import InputError


def runs(
    run: Annotated[int | None, typer.Argument(min=0, help="Its lumisections, one by one.")] = None,
    settings: SettingsFile = None,
    over: Set = None,
    json: Json = False,
) -> None:
    """List the runs of the store's catalogue, or the lumisections of one: orbits, objects, losses, bytes."""
    from l1scout.core.provenance import joint_label
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
        which = " yet" if run is None else f" of run {run} (see `l1scout runs`)"
        msg = f"{folder}: this store has no segments{which}"
        raise InputError(msg)
    if json:
        data = joint_label(row["data"] for row in rows if row["orbits"])
        record = current(simulated=is_simulated(data)).as_dict()
        name = "runs" if run is None else "lumisections"
        print_json({name: rows, "data": data, "provenance": record})
        return
    names = ("run", "source") if run is None else ("lumisection", "source")
    table = Table(*names, "data", "segments", "orbits", "objects", "lost", "dropped", "MB", "MB stored", "")
    for row in rows:
        table.add_row(*(str(row[n]) for n in names), *_sums(row))
    print_table(table)


def _sums(row: dict[str, Any]) -> tuple[str, ...]:
    lost = row["corrupt"] + row["missed"]
    objects = [f"{kind.replace('_', ' ')} {n:,}" for kind, n in row["objects"].items()]
    counts = (f"{row['segments']:,}", f"{row['orbits']:,}", "\n".join(objects), f"{lost:,}")
    megabytes = (f"{row[n] / 1e6:,.1f}" for n in ("size", "stored_size"))
    return (
        row["data"],
        *counts,
        f"{row['dropped']:,}",
        *megabytes,
        "not ended" if row.get("ended") == 0 else "",
    )
