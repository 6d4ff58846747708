"""``l1scout stop``: drain a running chain."""

import time
from typing import Annotated

import typer

from l1scout.cli.live import LOSSES, Set, SettingsFile, load
from l1scout.cli.output import activity, print_line, print_problem
from l1scout.errors import InputError


def stop(
    settings: SettingsFile = None,
    over: Set = None,
    now: Annotated[
        bool,
        typer.Option("--now", help="Do not wait for what is slow; what is not sent stays in the spool."),
    ] = False,
) -> None:
    """Tell `l1scout run` to end the run, and wait until all is stored; say what was lost.

    Boards, readouts and store end in this order, each within its bound (readout.drain_seconds,
    store.drain_seconds). Run control stays, configured, for the next `l1scout start`.

    Exit status: 0 all is stored; 2 something is left over; 3 orbits were lost, or alarms are up.
    """
    from l1scout.control.local import command
    from l1scout.control.messages import finding

    folder = load(settings, over).run.folder
    status = command(folder, do="stop", now=now)
    with activity("draining") as shown:
        while status.state == "draining":
            shown.update(f"waits for {status.waiting_for}" if status.waiting_for else "draining")
            time.sleep(0.1)
            status = command(folder, do="status")
    found = finding(status)
    if found:
        print_problem(found)
    if status.error:
        raise InputError(status.error)
    print_line(f"run {status.run}: drained")
    if found:
        raise typer.Exit(LOSSES)
