"""Starting the command line imports what the command needs, and nothing else."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from l1scout.cli import COMMANDS, make_app

HEAVY = {
    "numpy",
    "numba",
    "awkward",
    "uproot",
    "pyarrow",
    "keras",
    "jax",
    "onnx",
    "matplotlib",
    "scipy",
}


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["no-such-command"]])
def test_help_imports_no_library_of_the_commands(arguments):
    code = (
        "import sys\nfrom l1scout.cli import main\n"
        f"sys.argv = ['l1scout', *{arguments}]\n"
        "try:\n main()\nexcept SystemExit:\n pass\n"
        "print(*{name.split('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = HEAVY & set(done.stderr.splitlines()[-1].split())
    assert not loaded


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_list_has_a_help(name):
    done = CliRunner().invoke(make_app(), [name, "--help"])
    assert done.exit_code == 0, done.output
    assert f"l1scout {name}" in done.stdout


def test_a_wrong_name_suggests_the_right_one():
    done = CliRunner().invoke(make_app(), ["insect"])
    assert done.exit_code == 2
    assert "Did you mean 'inspect'?" in done.output
