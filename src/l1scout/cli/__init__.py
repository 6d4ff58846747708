"""The command line: one small file a command, and no logic here."""

import sys

import typer

from l1scout import __version__
from l1scout.cli.account import account
from l1scout.cli.bench import bench
from l1scout.cli.board import board
from l1scout.cli.compile import compile as compile_model
from l1scout.cli.convert import convert
from l1scout.cli.dataset import dataset
from l1scout.cli.demo import demo
from l1scout.cli.evaluate import evaluate
from l1scout.cli.inspect import inspect
from l1scout.cli.readout import readout
from l1scout.cli.recalibrate import recalibrate
from l1scout.cli.run import run
from l1scout.cli.settings import settings
from l1scout.cli.simulate import simulate
from l1scout.cli.source import source
from l1scout.cli.start import start
from l1scout.cli.status import status
from l1scout.cli.stop import stop
from l1scout.cli.store import store
from l1scout.cli.study import study
from l1scout.cli.train import train
from l1scout.cli.transfer import transfer
from l1scout.cli.verify import verify
from l1scout.errors import InputError

app = typer.Typer(
    name="l1scout",
    help="CMS Level-1 40 MHz scouting: from the bits on the trigger's fibres to physics-quality muons.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        print(f"l1scout {__version__}")
        raise typer.Exit


@app.callback()
def _root(version: bool = typer.Option(False, "--version", callback=_version, is_eager=True)) -> None: ...


COMMANDS = (
    inspect,
    board,
    source,
    readout,
    store,
    run,
    start,
    stop,
    status,
    settings,
    account,
    transfer,
    convert,
    dataset,
    train,
    study,
    evaluate,
    recalibrate,
    verify,
    bench,
    demo,
)
for command in COMMANDS:
    app.command()(command)
app.command("compile")(compile_model)
app.add_typer(simulate, name="simulate")


def main() -> None:
    """Run the command line; bad input is one line on standard error and exit status 2."""
    try:
        app()
    except InputError as error:
        print(f"l1scout: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    except OSError as error:
        print(f"l1scout: {error.filename or 'standard output'}: {error.strerror or error}", file=sys.stderr)
        sys.exit(2)
