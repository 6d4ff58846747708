"""``l1scout status``: how a running chain is."""

import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from l1scout.cli.live import LOSSES, Set, SettingsFile, load
from l1scout.cli.output import Json, out, print_json, print_line, print_problem

_EVERY_S = 0.5


def status(
    settings: SettingsFile = None,
    over: Set = None,
    json: Json = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="Show it until Ctrl-C; with --json, a line of JSON each time.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Exit with 3 if orbits were lost or alarms are up, and say which.")
    ] = False,
    health: Annotated[
        Path | None,
        typer.Option(
            help="Status file of one process instead: exit with 1 if it is not fresh, or a thread has died."
        ),
    ] = None,
) -> None:
    """Show the state of `l1scout run`: rates, buffers, lag, losses, alarms and restarts of every process."""
    from l1scout.control.local import command
    from l1scout.control.messages import finding
    from l1scout.control.status_table import table

    if health:
        _check_health(health)
        return
    folder = load(settings, over).run.folder
    if follow:
        with suppress(KeyboardInterrupt):
            _follow(folder, json=json)
        return
    chain = command(folder, do="status")
    if json:
        print_json(chain.model_dump(mode="json"))
    elif not check:
        out.print(table(chain))
    if check and (found := finding(chain) or chain.error):
        print_problem(found)
        raise typer.Exit(LOSSES)


def _follow(folder: Path, *, json: bool) -> None:
    from rich.live import Live

    from l1scout.control.local import command
    from l1scout.control.messages import line
    from l1scout.control.status_table import table

    if json or not out.is_terminal:
        while True:
            chain = command(folder, do="status")
            print(chain.model_dump_json() if json else line(chain), flush=True)
            time.sleep(_EVERY_S)
    with Live(console=out, auto_refresh=False) as live:
        while True:
            live.update(table(command(folder, do="status"), "Ctrl-C ends"), refresh=True)
            time.sleep(_EVERY_S)


def _check_health(path: Path) -> None:
    from l1scout.control.health import unhealthy

    if why := unhealthy(path):
        print_problem(f"{path}: {why}")
        raise typer.Exit(1)
    print_line(f"{path}: healthy")
