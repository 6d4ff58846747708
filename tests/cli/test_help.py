"""Help of every command: what is written in the source is what the user reads, brackets and all."""

import re
import shlex

import pytest
from rich.text import Text
from typer.testing import CliRunner

from l1scout.cli import COMMANDS, load_command, make_app
from l1scout.cli.simulate import FAULT_NAMES, running
from l1scout.simulate.faults import FaultRates
from l1scout.simulate.planted import CONDITIONS
from l1scout.simulate.run import Running


def commands(*path):
    command = load_command(*path)
    for name in getattr(command, "commands", ()):
        yield from commands(*path, name)
    if not hasattr(command, "commands"):
        yield path, command


ALL = {path: command for name in COMMANDS for path, command in commands(name)}


def test_every_example_is_a_command_line_that_is_understood():
    """The parser takes its options and arguments; files need not exist."""
    for path, command in ALL.items():
        program, *arguments = shlex.split((command.epilog or "").removeprefix("Example: "))
        assert program == "l1scout", path
        assert tuple(arguments[: len(path)]) == path
        arguments = arguments[len(path) :]
        end = arguments.index(">") if ">" in arguments else None  # of what the shell takes
        command.make_context(" ".join(path), arguments[:end])


def test_names_that_a_help_repeats_are_those_of_the_library():
    assert tuple(FaultRates.__dataclass_fields__) == FAULT_NAMES


def squeezed(text):
    """Text without what depends on the width of the terminal."""
    return re.sub(r"[\s│]+", "", text)


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_no_help_loses_text_to_markup(path):
    texts = [ALL[path].help, *(p.help for p in ALL[path].params if getattr(p, "help", None))]
    shown = CliRunner().invoke(make_app(), [*path, "--help"], env={"COLUMNS": "100"}).output
    lines = squeezed(shown)
    for text in texts:
        literal = text.replace("\\[", "[")
        assert Text.from_markup(text).plain == literal
        words = [w for w in literal.split() if re.search(r"[\[\]{}]", w)]
        assert [w for w in words if w not in lines] == []


def test_the_format_of_a_scan_is_in_its_help():
    result = CliRunner().invoke(make_app(), ["analyse", "calibrate", "--help"], env={"COLUMNS": "80"})
    assert '{"x":[[firstorbit,lastorbit,separationinmm],...]' in squeezed(result.output)


def test_every_condition_is_listed_with_an_example_that_works():
    assert [c.name for c in CONDITIONS] == list(Running.__dataclass_fields__)
    text = CliRunner().invoke(make_app(), ["simulate", "conditions"]).output
    for condition in CONDITIONS:
        assert condition.example in text
        assert condition.name in text
        assert running("2018", 0.05, [condition.example]) != Running()
