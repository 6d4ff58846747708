"""``l1scout run``: the whole chain on this machine."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from l1scout.cli.live import Set, load
from l1scout.cli.output import err
from l1scout.errors import InputError

if TYPE_CHECKING:
    from l1scout.control.messages import ChainStatus


def run(
    config: Annotated[
        Path | None,
        typer.Argument(help="TOML file of settings; `l1scout settings` prints one with all defaults."),
    ] = None,
    over: Set = None,
    wait: Annotated[bool, typer.Option("--wait", help="Come up configured; `l1scout start` starts.")] = False,
) -> None:
    """Run board, readout and store, start again what dies, and show one table.

    The board runs only if board.packets or board.simulate say what it sends; without, boards connect to
    readout. Ctrl-C drains the chain and ends; a second one does not wait, a third one kills. From another
    shell, `l1scout start`, `stop` and `status` speak to it. Logs and status files are in the run folder.
    """
    from rich.live import Live

    from l1scout.control.services import logger, on_signals
    from l1scout.control.status_table import table
    from l1scout.control.supervisor import Supervisor

    settings = load(config, over)
    hint = f"Ctrl-C drains and ends; logs in {settings.run.folder}"
    if not sys.stderr.isatty():
        work = Supervisor(settings, logger("control"))
        on_signals(work.signal)
        error = work.run(lambda _: None, wait=wait)
    else:
        settings.run.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (settings.run.folder / "control.log").open("a", buffering=1) as file:
            work = Supervisor(settings, logger("control", file))
            on_signals(work.signal)
            with Live(console=err, auto_refresh=False) as live:

                def show(status: "ChainStatus") -> None:
                    live.update(table(status, hint if status.state != "idle" else ""), refresh=True)

                error = work.run(show, wait=wait)
    if error:
        raise InputError(error)
