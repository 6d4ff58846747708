"""``l1scout runs``: what the store has."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from l1scout.cli.account import Stores
from l1scout.cli.live import Set, SettingsFile, load
from l1scout.cli.output import Json, print_json, print_line, print_table
from l1scout.core.provenance import current, is_simulated
from l1scout.errors import InputError


def runs(
    run: Annotated[int | None, typer.Argument(min=0, help="Its lumisections, one by one.")] = None,
    settings: SettingsFile = None,
    over: Set = None,
    store: Stores = None,
    logbook: Annotated[
        bool, typer.Option("--logbook", help="Summary of the run for the logbook, as Markdown.")
    ] = False,
    json: Json = False,
) -> None:
    """List the runs of the store's catalogue, or the lumisections of one: times, orbits, losses, bytes.

    With --logbook the summary of a run: times, losses by kind, rates, settings, and whether it balances.
    """
    chosen = load(settings, over)
    stores, boards = store or [chosen.store.folder], chosen.run.folder
    if logbook:
        if run is None:
            msg = "--logbook needs a run: l1scout runs 42 --logbook"
            raise InputError(msg)
        _logbook(run, stores, chosen.readout.spool, boards, json=json)
        return
    if len(stores) > 1:
        msg = "name one --store; several are for --logbook and `l1scout account`"
        raise InputError(msg)
    _list(run, stores[0], boards, json=json)


def _list(run: int | None, folder: Path, boards: Path, *, json: bool) -> None:
    from l1scout.core.provenance import joint_label
    from l1scout.store.catalogue import Catalogue
    from l1scout.store.losses import lumisections_with_losses, runs_with_losses

    catalogue = Catalogue(folder)
    try:
        catalogue.check()
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
    columns = ("start (UTC)", "stop", "data", "segments", "orbits", "objects", "lost", "dropped")
    table = Table(*names, *columns, "MB", "MB stored", "")
    for row in rows:
        table.add_row(*(str(row[n]) for n in names), *_sums(row))
    print_table(table)


def _logbook(run: int, stores: list[Path], spool: Path | None, boards: Path, *, json: bool) -> None:
    from l1scout.core.provenance import joint_label
    from l1scout.readout.spool import default_folder
    from l1scout.store.run_summary import as_markdown, summarise_run

    sources = summarise_run(run, stores, spool=spool or default_folder(), boards=boards)
    if not json:
        print_line(as_markdown(run, sources))
        return
    data = joint_label(s.data for s in sources if s.orbits)
    found = {"run": run, "data": data, "balanced": not any(s.wrong for s in sources)}
    record = current(simulated=is_simulated(data)).as_dict()
    print_json(found | {"sources": [s.as_dict() for s in sources], "provenance": record})


def _time(seconds: float | None, pattern: str) -> str:
    return "-" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime(pattern)


def _sums(row: dict[str, Any]) -> tuple[str, ...]:
    lost = row["corrupt"] + row["missed"]
    objects = [f"{kind.replace('_', ' ')} {n:,}" for kind, n in row["objects"].items()]
    counts = (f"{row['segments']:,}", f"{row['orbits']:,}", "\n".join(objects), _red(lost))
    megabytes = (f"{row[n] / 1e6:,.1f}" for n in ("size", "stored_size"))
    remarks = ["not ended"] * (row.get("ended") == 0) + ["see `l1scout account`"] * bool(row["faulty"])
    return (
        _time(row["start_time"], "%Y-%m-%d %H:%M:%S"),
        _time(row["stop_time"], "%H:%M:%S"),
        row["data"],
        *counts,
        _red(row["dropped"] + row["unsent"]),
        *megabytes,
        ", ".join(remarks),
    )


def _red(orbits: int) -> str:
    return f"[red]{orbits:,}[/red]" if orbits else "0"
