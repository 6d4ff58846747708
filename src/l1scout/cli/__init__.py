"""The command line: one small file per command, and no logic here.

A command is the function of its name in the module of its name, with an underscore for a hyphen, and one
behind if that is a keyword of Python; a command of a group is in the module ``GROUP_COMMAND``. Only the
command that runs is imported: the table `COMMANDS` is all that ``l1scout --help`` needs. The modules of
commands in turn import libraries such as numpy inside their functions, so that their own ``--help`` is quick,
too.
"""

import io
import sys
import warnings
from collections.abc import Callable, Mapping
from functools import wraps
from importlib import import_module
from keyword import iskeyword
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from l1scout import __version__
from l1scout.cli.command_table import COMMANDS, CommandEntry
from l1scout.core.provenance import recording
from l1scout.errors import ScoutingError, ScoutingWarning, printable


class _Deferred(TyperCommand):
    """A command that is imported when it runs."""

    def __init__(self, path: tuple[str, ...], entry: CommandEntry) -> None:
        super().__init__(path[-1], help=entry.help, rich_help_panel=entry.panel)
        self._path = path

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Parse the arguments with the command itself."""
        return load_command(*self._path).make_context(*arguments, **options)


def _group(path: tuple[str, ...], commands: Mapping[str, CommandEntry], **attributes: Any) -> typer.Typer:
    """Return a group of commands that are imported when they run."""

    class ListedCommands(TyperGroup):
        def __init__(self, **attributes: Any) -> None:
            super().__init__(**attributes)
            for name, entry in commands.items():
                self.add_command(_Deferred((*path, name), entry))

        def get_params(self, ctx: Any) -> list[Any]:
            """Return the options; typer imports pydantic, which takes 0.1 s, if a flag is None by default."""
            found = super().get_params(ctx)
            for parameter in found:
                if parameter.default is None:
                    parameter.default = False
            return found

    return _app(cls=ListedCommands, no_args_is_help=True, **attributes)


def load_command(*path: str) -> Any:
    """Import a command, such as ``run`` or ``firmware build``, and return it ready to be called."""
    if path[0] == "analyse" and path[1:]:
        return import_module("l1scout.cli.job").make_command(path[1])
    entry = COMMANDS[path[0]]
    for name in path[1:]:
        entry = entry.commands[name]
    below = entry.commands
    if path == ("analyse",):
        below = import_module("l1scout.cli.analyse").commands()
    if below:
        app = _group(path, below, help=entry.details or entry.help, add_completion=False)
        app.callback()(_nothing)
        return typer.main.get_command(app)
    module, function = "_".join(path).replace("-", "_"), path[-1].replace("-", "_")
    if iskeyword(function):
        module, function = f"{module}_", f"{function}_"
    command = getattr(import_module(f"l1scout.cli.{module}"), function)
    app = _app(add_completion=False)
    app.command(path[-1], epilog=entry.epilog)(_recorded(" ".join(path), command))
    return typer.main.get_command(app)


def _recorded(path: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a command record itself, so that everything it writes can name it (`l1scout.core.provenance`)."""

    @wraps(function)
    def command(*args: Any, **arguments: Any) -> Any:
        with recording(path, arguments):
            return function(*args, **arguments)

    return command


def _version(asked: bool) -> None:
    if asked:
        print(f"l1scout {__version__}")
        raise typer.Exit


def _root(version: bool = typer.Option(False, "--version", callback=_version, is_eager=True)) -> None: ...


def _nothing() -> None: ...


def _app(**options: Any) -> typer.Typer:
    return typer.Typer(
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        **options,
    )


def make_app() -> typer.Typer:
    """Make the command line."""
    text = "CMS Level-1 40 MHz scouting: from the bits on the trigger's fibres to physics-quality muons."
    app = _group((), COMMANDS, name="l1scout", help=text)
    app.callback()(_root)
    return app


def _one_line_warnings() -> None:
    """Print l1scout's own warnings as one line each; the others as Python does."""
    usual = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if issubclass(category, ScoutingWarning):
            print(f"l1scout: {printable(str(message), 2000)}", file=sys.stderr)
        else:
            usual(message, category, *place, **more)

    warnings.showwarning = show


def main() -> None:
    """Run the command line; bad input is one line on standard error and exit status 2."""
    _one_line_warnings()
    if isinstance(sys.stdout, io.TextIOWrapper):  # what its encoding lacks is written as an escape
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        make_app()()
    except ScoutingError as error:
        print(f"l1scout: {printable(str(error), 2000)}", file=sys.stderr)
        sys.exit(2)
    except (OverflowError, MemoryError) as error:  # of a number on the command line, such as --section 1e30
        why = "a number is too large" if isinstance(error, OverflowError) else "not enough memory"
        print(f"l1scout: {why} ({printable(str(error))}); give smaller numbers or less data", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    except OSError as error:
        where = error.filename or "standard output"
        print(f"l1scout: {printable(f'{where}: {error.strerror or error}', 2000)}", file=sys.stderr)
        sys.exit(2)
