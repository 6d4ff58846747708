"""The command line: one small file a command, and no logic here.

A command is the function (or the group of commands) of its name in the module of its name; only the
one that is asked for is imported, so that starting is quick.
"""

import sys
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from typing import Any

import typer

from l1scout import __version__
from l1scout.errors import InputError
from l1scout.provenance import recording

_FILES, _LIVE, _NETWORK, _PHYSICS = "Files and simulation", "Live chain", "Networks", "Physics"
_HARDWARE = "Hardware"
COMMANDS = {
    "demo": _FILES,
    "inspect": _FILES,
    "convert": _FILES,
    "simulate": _FILES,
    "board": _LIVE,
    "run": _LIVE,
    "start": _LIVE,
    "stop": _LIVE,
    "status": _LIVE,
    "settings": _LIVE,
    "source": _LIVE,
    "readout": _LIVE,
    "store": _LIVE,
    "runs": _LIVE,
    "account": _LIVE,
    "transfer": _LIVE,
    "dataset": _NETWORK,
    "train": _NETWORK,
    "study": _NETWORK,
    "evaluate": _NETWORK,
    "recalibrate": _NETWORK,
    "compile": _NETWORK,
    "verify": _NETWORK,
    "bench": _NETWORK,
    "analyse": _PHYSICS,
    "firmware": _HARDWARE,
}
"""Name of each command, and its place in the help."""


def _version(asked: bool) -> None:
    if asked:
        print(f"l1scout {__version__}")
        raise typer.Exit


def _root(version: bool = typer.Option(False, "--version", callback=_version, is_eager=True)) -> None: ...


def _recorded(path: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a command state itself, so that everything it writes can name it (`l1scout.provenance`)."""

    @wraps(function)
    def command(*args: Any, **arguments: Any) -> Any:
        with recording(path, arguments):
            return function(*args, **arguments)

    return command


def make_app(only: str = "") -> typer.Typer:
    """Make the command line; with `only` the name of a command, with that one alone."""
    app = typer.Typer(
        name="l1scout",
        help="CMS Level-1 40 MHz scouting: from the bits on the trigger's fibres to physics-quality muons.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for name in [only] if only in COMMANDS else COMMANDS:
        command = getattr(import_module(f"l1scout.cli.{name}"), name)
        if isinstance(command, typer.Typer):
            for info in command.registered_commands:
                own = info.callback
                if own is not None and not hasattr(own, "__wrapped__"):
                    info.callback = _recorded(f"{name} {info.name or own.__name__}", own)
            app.add_typer(command, name=name, rich_help_panel=COMMANDS[name])
        else:
            app.command(name, rich_help_panel=COMMANDS[name])(_recorded(name, command))
    return app


def main() -> None:
    """Run the command line; bad input is one line on standard error and exit status 2."""
    try:
        make_app(sys.argv[1] if len(sys.argv) > 1 else "")()
    except InputError as error:
        print(f"l1scout: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    except OSError as error:
        print(f"l1scout: {error.filename or 'standard output'}: {error.strerror or error}", file=sys.stderr)
        sys.exit(2)
