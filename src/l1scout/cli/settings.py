"""``l1scout settings``: the settings file of the live chain."""

from pathlib import Path
from typing import Annotated

import typer

from l1scout.cli.live import Set, SettingsFile, load
from l1scout.cli.output import out
from l1scout.errors import InputError

_STYLES = {"ok": "green", "warning": "yellow", "error": "red"}


def settings(
    file: Annotated[Path | None, typer.Argument(help="TOML file; the same as --settings.")] = None,
    settings: SettingsFile = None,
    over: Set = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Print what is right and wrong with them; exit with 2 on errors."),
    ] = False,
    role: Annotated[
        list[str] | None,
        typer.Option(help="With --check: what this machine runs: board, readout or store; repeatable."),
    ] = None,
) -> None:
    """Print the settings of the live chain as a TOML file: each with its meaning, unit and value.

    What is printed is in force: defaults, over them the file, the environment and --set. Keep it with
    `l1scout settings > chain.toml`. The setting readout.listen is L1SCOUT_READOUT_LISTEN in the
    environment. The token is never printed.

    --check tries all that can be tried without a start: names and values, addresses and free ports, TLS files
    and their dates, folders and space, the model. Exit status: 0 good, warnings or not; 2 errors.
    """
    from l1scout.settings import as_toml

    if file and settings:
        msg = f"{file}, {settings}: give the settings file once"
        raise InputError(msg)
    if check:
        _check(file or settings, over, role)
    else:
        print(as_toml(load(file or settings, over)), end="")


def _check(path: Path | None, over: list[str] | None, roles: list[str] | None) -> None:
    from l1scout.control.check_settings import ROLES, CheckLine, check_settings
    from l1scout.settings import SettingsError

    if unknown := set(roles or ()) - set(ROLES):
        msg = f"--role {min(unknown)}: board, readout or store expected"
        raise InputError(msg)
    try:
        lines = list(check_settings(load(path, over), tuple(roles or ROLES)))
    except SettingsError as error:
        lines = [CheckLine("error", fault) for fault in error.faults]
    except InputError as error:
        lines = [CheckLine("error", str(error))]
    for line in lines:
        out.print(f"{line.level:8}", style=_STYLES[line.level], end="")
        out.print(line.text, markup=False, soft_wrap=True)
    if any(line.level == "error" for line in lines):
        raise typer.Exit(2)
