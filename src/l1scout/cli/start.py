"""``l1scout start``: start a run of a chain that waits."""

import time
from typing import Annotated

import typer

from l1scout.cli.live import Set, SettingsFile, load
from l1scout.cli.output import activity, print_line
from l1scout.errors import InputError


def start(
    settings: SettingsFile = None,
    over: Set = None,
    run: Annotated[
        int | None, typer.Option("--run", min=0, help="Run number; by default the next one.")
    ] = None,
) -> None:
    """Tell `l1scout run` to start a run, and wait until all its processes are up.

    In state error it starts what refused to work again, and the run goes on.
    """
    from l1scout.control.local import command

    folder = load(settings, over).run.folder
    status = command(folder, do="start", run=run)
    with activity("starting"):
        while status.state == "running" and not status.up:
            time.sleep(0.1)
            status = command(folder, do="status")
    if status.error:
        raise InputError(status.error)
    print_line(f"run {status.run}: {status.state}")
