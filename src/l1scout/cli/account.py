"""``l1scout account``: where every orbit of a run went."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from l1scout.cli.live import Set, SettingsFile, load
from l1scout.cli.output import Json, print_json, print_line, print_problem, print_table, progress
from l1scout.core.provenance import current, is_simulated
from l1scout.errors import InputError

if TYPE_CHECKING:
    from l1scout.store.account import StageAccount

Stores = Annotated[
    list[Path] | None,
    typer.Option("--store", help="Folder of a store; repeat it if the readout used several."),
]


def account(
    run: Annotated[int, typer.Argument(min=0, help="Run number.")],
    settings: SettingsFile = None,
    over: Set = None,
    store: Stores = None,
    verify: Annotated[bool, typer.Option("--verify", help="Read every file and compare checksums.")] = False,
    json: Json = False,
) -> None:
    """Check for every stage that orbits in = orbits out + orbits counted as lost, and say where not.

    Reads the catalogues of the stores, the spool and the status of the boards that `l1scout run` started, as
    far as they are on this machine. Exits 1 if something does not fit; what was lost and counted is shown in
    red.
    """
    from l1scout.core.provenance import joint_label
    from l1scout.readout.spool import default_folder
    from l1scout.store.account import account as make

    chosen = load(settings, over)
    stores = store or [chosen.store.folder]
    with progress() as bar:
        task = bar.add_task("segments", total=None)
        stages = make(
            run,
            stores,
            spool=chosen.readout.spool or default_folder(),
            boards=chosen.run.folder,
            verify=verify,
            progress=lambda done, of: bar.update(task, completed=done, total=of),
        )
    if not stages:
        msg = f"run {run} is not in {', '.join(map(str, stores))} (see `l1scout runs`)"
        raise InputError(msg)
    wrong = [f"{s.name}: {w}" for s in stages for w in s.wrong]
    readouts = [s for s in stages if s.name.startswith("readout")]
    data = joint_label(s.data for s in readouts if s.out)
    if json:
        result: dict[str, Any] = {"run": run, "data": data, "balanced": not wrong, "lost": _lost(stages)}
        result |= {"stages": [asdict(s) for s in stages]}
        print_json(result | {"provenance": current(simulated=is_simulated(data)).as_dict()})
    else:
        _print(run, data, stages, wrong)
        if not wrong:
            print_line("balances" + (", all files read" if verify else ""))
    raise typer.Exit(bool(wrong))


def _lost(stages: "list[StageAccount]") -> dict[str, int]:
    """Return the orbits lost, by kind, over all sources."""
    from l1scout.store.account import LOSSES

    return {kind: sum(s.counted.get(kind, 0) for s in stages) for kind in LOSSES}


def _print(run: int, data: str, stages: "list[StageAccount]", wrong: list[str]) -> None:
    """Print the table, and in red what was lost and what is wrong."""
    from l1scout.readout.object_counts import objects_line

    table = Table("stage", "orbits in", "orbits out", "counted", "objects", title=f"Run {run}, {data} data")
    for s in stages:
        counted = ", ".join(f"{n.replace('_', ' ')} {k:,}" for n, k in s.counted.items() if k) or "-"
        shown = f"[red]{escape(counted)}[/red]" if s.lost else escape(counted)
        table.add_row(escape(s.name), f"{s.into:,}", f"{s.out:,}", shown, objects_line(s.objects) or "-")
    print_table(table)
    for line in (f"{s.name}: {a}" for s in stages for a in s.alarms):
        print_problem(line)
    for line in wrong:
        print_problem(line)
    if wrong:
        print_problem("does not balance")
