"""``l1scout run``: the whole chain on this machine."""

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from l1scout.cli.live import LOSSES, Set, load
from l1scout.cli.output import err, print_problem
from l1scout.errors import InputError

if TYPE_CHECKING:
    from l1scout.control.messages import ChainStatus


def run(
    config: Annotated[
        Path | None,
        typer.Argument(help="TOML file of settings; `l1scout settings` prints one with all defaults."),
    ] = None,
    over: Set = None,
    streams: Annotated[
        str | None,
        typer.Option(help="Simulate boards of all streams, or of some: gmt,calo,bmtf,gt,towers."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Come up configured; `l1scout start` starts.")] = False,
) -> None:
    """Run board, readout and store, start again what dies, and show one table.

    The board runs only if board.packets or board.simulate say what it sends; without, boards connect to
    readout; with settings of several sources, there is one pair for each. Ctrl-C
    drains the chain and ends; a second one does not wait, a third one kills. From another shell, `l1scout
    start`, `stop` and `status` speak to it. Logs and status files are in the run folder.

    Exit status: 0 all is stored; 2 it could not work, and says why; 3 orbits were lost, or alarms were up
    when a run ended.
    """
    from rich.live import Live

    from l1scout.control.logs import logger
    from l1scout.control.messages import line
    from l1scout.control.metrics_server import metrics_served
    from l1scout.control.sd_notify import notify
    from l1scout.control.services import on_signals
    from l1scout.control.status_table import table
    from l1scout.control.supervisor import Supervisor
    from l1scout.files import own_folder

    settings = load(config, over)
    if streams:
        from l1scout.control.all_streams_settings import settings_of_streams

        settings = load(config, [*settings_of_streams(streams.split(","), settings), *(over or [])])
    folder, terminal = settings.run.folder, sys.stderr.isatty()
    hint = f"Ctrl-C drains and ends; logs in {folder}"
    if terminal:
        own_folder(folder, "run folder")
    log = logger("control", folder / "control.log" if terminal else None)
    work = Supervisor(settings, log)
    on_signals(work.signal)
    with Live(console=err, auto_refresh=False) if terminal else nullcontext() as live:

        def show(status: "ChainStatus") -> None:
            up = ["READY=1"] if status.up or wait else ["STOPPING=1"] if status.state == "draining" else []
            notify(*up, "WATCHDOG=1", f"STATUS={line(status)}")
            if live:
                live.update(table(status, hint if status.state != "idle" else ""), refresh=True)

        address, access = settings.run.metrics, settings.access.access
        with metrics_served("control", address, access, log, show) as told:
            error = work.run(told, wait=wait)
    for text in work.findings:
        print_problem(text)
    if error:
        raise InputError(error)
    if work.findings:
        raise typer.Exit(LOSSES)
