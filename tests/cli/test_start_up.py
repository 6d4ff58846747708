"""A help imports the command line and nothing of what commands compute with."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from l1scout.cli import COMMANDS, make_app

LIGHT = {"l1scout", "typer", "annotated_doc", "shellingham", "rich", "markdown_it", "mdurl"} | {
    "pygments",
    "attr",
}
"""All that a help may import besides Python's own library: typer, rich and what these need or look for."""

HELP_OF_EVERY_COMMAND = """
import contextlib, io, json, os, sys
from l1scout.cli import COMMANDS, load_command, main

LIGHT = {*sys.argv[1].split(","), *sys.stdlib_module_names}

def show(*arguments):
    sys.argv = ["l1scout", *arguments]
    with contextlib.redirect_stdout(io.StringIO()) as text, contextlib.suppress(SystemExit):
        main()
    libraries = {n.split(".")[0] for n in sys.modules if not n.startswith("_")} - LIGHT
    print(json.dumps([" ".join(arguments), sorted(libraries), text.getvalue()]), flush=True)

for name in ("--version", "--help", *COMMANDS):
    child = os.fork()  # so that none sees what another imported
    if not child:
        show(name, *["--help"] * (name in COMMANDS))
        for below in getattr(load_command(name), "commands", ()) if name in COMMANDS else ():
            show(name, below, "--help")
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit(name)
"""


@pytest.fixture(scope="module")
def helps():
    """Return the libraries that each command's help imports, and its text."""
    code = [sys.executable, "-c", HELP_OF_EVERY_COMMAND, ",".join(LIGHT)]
    done = subprocess.run(code, capture_output=True, text=True, check=True)
    return {path: (libraries, text) for path, libraries, text in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("name", ["--version", "--help", *COMMANDS])
def test_help_imports_no_library_of_the_commands(helps, name):
    own = {path: libraries for path, (libraries, _) in helps.items() if path.split()[0] == name}
    assert own
    assert own == {path: [] for path in own}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_help_with_an_example(helps, name):
    own = {path: text for path, (_, text) in helps.items() if path.split()[0] == name}
    for path, text in own.items():
        command = path.removesuffix(" --help")
        assert f"l1scout {command}" in text
        if len(own) == 1 or path != f"{name} --help":  # the help of a group lists its commands
            assert f"Example: l1scout {command}" in text


def test_a_wrong_name_suggests_the_right_one():
    for arguments, right in ((["insect"], "inspect"), (["firmware", "bild"], "build")):
        done = CliRunner().invoke(make_app(), arguments)
        assert done.exit_code == 2
        assert f"Did you mean '{right}'?" in done.output
