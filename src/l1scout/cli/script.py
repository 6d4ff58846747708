"""Run scripts of `benchmarks/` and `validation/` as commands: one-line errors, and clean-up."""

import argparse
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from l1scout.errors import InputError, printable


class Parser(argparse.ArgumentParser):
    """A parser of options: the script's docstring is the description, an error is one line."""

    def __init__(self, doc: str | None) -> None:
        super().__init__(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)

    def error(self, message: str) -> NoReturn:
        """Raise `InputError`."""
        msg = f"{message}; see --help"
        raise InputError(msg)


def positive(text: str) -> int:
    """Read a whole number of at least 1."""
    return int(_above_zero(int(text)))


def positive_float(text: str) -> float:
    """Read a number above 0."""
    return _above_zero(float(text))


def _above_zero(value: float) -> float:
    if not 0 < value < float("inf"):
        msg = f"{value:g} is not a number above 0"
        raise argparse.ArgumentTypeError(msg)
    return value


def run_script(main: Callable[[], int | None]) -> NoReturn:
    """Run a script and return its exit status: 2, after one line, if the input is bad.

    SIGTERM ends it as Ctrl-C does, so that temporary folders and child processes go: scripts hold them in
    ``with`` and ``try``.
    """
    name = Path(sys.argv[0]).name
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        sys.exit(main())
    except InputError as error:
        message = str(error)
    except ModuleNotFoundError as error:
        message = f"needs the package {error.name}, which is not installed"
    except subprocess.CalledProcessError as error:
        message = (
            f"stopped: `{' '.join(map(str, error.cmd[-6:]))}` failed with exit status {error.returncode}"
        )
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except OSError as error:
        message = f"{error.filename or 'files'}: {error.strerror or error}"
    print(f"{name}: {printable(message, 2000)}", file=sys.stderr)
    sys.exit(2)
