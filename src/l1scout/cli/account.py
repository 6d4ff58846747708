"""``l1scout account``: where every orbit of a run went."""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from l1scout.cli.live import Set, SettingsFile, load
from l1scout.cli.output import Json, print_json, print_line, print_problem, print_table, progress
from l1scout.core.provenance import current, is_simulated
from l1scout.errors import InputError


def account(
    run: Annotated[int, typer.Argument(min=0, help="Run number.")],
    settings: SettingsFile = None,
    over: Set = None,
    verify: Annotated[bool, typer.Option("--verify", help="Read every file and compare checksums.")] = False,
    json: Json = False,
) -> None:
    """Check for every stage that orbits in = orbits out + orbits counted as lost, and say where not.

    Reads the store's catalogue, the spool and the status of the boards that `l1scout run` started, as
    far as they are on this machine. Exits 1 if something does not fit.
    """
    from l1scout.core.provenance import joint_label
    from l1scout.readout.object_counts import objects_line
    from l1scout.readout.spool import default_folder
    from l1scout.store.account import account as make

    chosen = load(settings, over)
    with progress() as bar:
        task = bar.add_task("segments", total=None)
        stages = make(
            run,
            chosen.store.folder,
            spool=chosen.readout.spool or default_folder(),
            boards=chosen.run.folder,
            verify=verify,
            progress=lambda done, of: bar.update(task, completed=done, total=of),
        )
    if not stages:
        msg = f"run {run} is not in {chosen.store.folder} (see `l1scout runs`)"
        raise InputError(msg)
    wrong = [f"{s.name}: {w}" for s in stages for w in s.wrong]
    readouts = [s for s in stages if s.name.startswith("readout")]
    data = joint_label(s.data for s in readouts if s.out)
    if json:
        result = {"run": run, "data": data, "balanced": not wrong, "stages": [asdict(s) for s in stages]}
        print_json(result | {"provenance": current(simulated=is_simulated(data)).as_dict()})
    else:
        title = f"Run {run}, {data} data"
        table = Table("stage", "orbits in", "orbits out", "counted", "objects", title=title)
        for s in stages:
            counted = ", ".join(f"{n.replace('_', ' ')} {k:,}" for n, k in s.counted.items() if k)
            objects = objects_line(s.objects)
            table.add_row(escape(s.name), f"{s.into:,}", f"{s.out:,}", counted or "-", objects or "-")
        print_table(table)
        for line in wrong:
            print_problem(line)
        if wrong:
            print_problem("does not balance")
        else:
            print_line("balances" + (", all files read" if verify else ""))
    raise typer.Exit(bool(wrong))
