"""The command line: one small file per command, and no logic here.

A command is the function (or the group of commands) of its name in the module of its name, with an underscore
behind if that is a keyword of Python. Only the command that runs is imported: the list below is all that
``l1scout --help`` needs.
"""

import io
import sys
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from keyword import iskeyword
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from l1scout import __version__
from l1scout.core.provenance import recording
from l1scout.errors import InputError, printable


class Entry(NamedTuple):
    """A command in the help: its panel and its description."""

    panel: str
    help: str


_FILES, _LIVE, _NETWORK, _PHYSICS = "Files and simulation", "Live chain", "Networks", "Physics"
_HARDWARE = "Hardware"
COMMANDS = {
    "demo": Entry(_FILES, "Simulate muons, train networks, compare them, recalibrate a file."),
    "inspect": Entry(_FILES, "Describe a file: format, era, runs, orbits, muons, columns."),
    "convert": Entry(_FILES, "Archive .raw files or records as Parquet, and restore them."),
    "simulate": Entry(_FILES, "Simulate a run of the LHC on eight fibres, with its truth."),
    "board": Entry(_LIVE, "Decode and align eight links, suppress empty BX, write packets."),
    "run": Entry(_LIVE, "Run board, readout and store under a supervisor."),
    "start": Entry(_LIVE, "Start a run under a waiting `l1scout run`."),
    "stop": Entry(_LIVE, "End the run of `l1scout run`, and drain it to the store."),
    "status": Entry(_LIVE, "Show rates, buffers, lag, losses and restarts of the chain."),
    "settings": Entry(_LIVE, "Print every setting of the live chain as a TOML file."),
    "source": Entry(_LIVE, "Send packets to the readout at the pace of the LHC."),
    "readout": Entry(_LIVE, "Apply fine zero suppression, spool and forward segments."),
    "store": Entry(_LIVE, "Receive, acknowledge, compress and catalogue segments."),
    "runs": Entry(_LIVE, "List the runs in the store: orbits, muons, losses, bytes."),
    "account": Entry(_LIVE, "Show where every orbit of a run went."),
    "transfer": Entry(_LIVE, "Copy stored segments elsewhere and verify every copy."),
    "dataset": Entry(_NETWORK, "Match L1 with offline muons, from files or simulated."),
    "train": Entry(_NETWORK, "Train a network and write it as a model directory."),
    "import": Entry(_NETWORK, "Make a model of a network trained elsewhere: an ONNX file."),
    "study": Entry(_NETWORK, "Cross-validate networks and compare them."),
    "evaluate": Entry(_NETWORK, "Compare models with the raw trigger on muons they never saw."),
    "recalibrate": Entry(_NETWORK, "Copy a file and add corrected pT, eta and phi of its L1 muons."),
    "compile": Entry(_NETWORK, "Tabulate a model's answer to every possible input."),
    "export": Entry(_NETWORK, "Write a model as an ONNX file, for other programs and accelerators."),
    "verify": Entry(_NETWORK, "Compare engines with the network over every possible input."),
    "bench": Entry(_NETWORK, "Measure throughput and latency of the engines."),
    "analyse": Entry(_PHYSICS, "Luminosity, occupancy, filling scheme, prefiring, cosmics, masses."),
    "firmware": Entry(_HARDWARE, "Train for, build, simulate and synthesise logic in Verilog."),
}
"""Every command, in the order of the help."""


class _Deferred(TyperCommand):
    """A command that is imported when it runs."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Parse the arguments with the command itself."""
        return load_command(self.name or "").make_context(*arguments, **options)


class _Commands(TyperGroup):
    """The commands of `COMMANDS`."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, entry in COMMANDS.items():
            self.add_command(_Deferred(name, help=entry.help, rich_help_panel=entry.panel))


def load_command(name: str) -> Any:
    """Import a command."""
    identifier = f"{name}_" if iskeyword(name) else name
    command = getattr(import_module(f"l1scout.cli.{identifier}"), identifier)
    if not isinstance(command, typer.Typer):
        app = _app(add_completion=False)
        app.command(name)(_recorded(name, command))
        return typer.main.get_command(app)
    for info in command.registered_commands:
        own = info.callback
        if own is not None and not hasattr(own, "__wrapped__"):
            info.callback = _recorded(f"{name} {info.name or own.__name__}", own)
    return typer.main.get_command(command)


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


def _app(**options: Any) -> typer.Typer:
    return typer.Typer(
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        **options,
    )


def make_app() -> typer.Typer:
    """Make the command line."""
    app = _app(
        name="l1scout",
        cls=_Commands,
        help="CMS Level-1 40 MHz scouting: from the bits on the trigger's fibres to physics-quality muons.",
        no_args_is_help=True,
    )
    app.callback()(_root)
    return app


def main() -> None:
    """Run the command line; bad input is one line on standard error and exit status 2."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # what its encoding lacks is written as an escape
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        make_app()()
    except InputError as error:
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
