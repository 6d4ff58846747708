"""Progress where standard error is a log: plain lines with fraction and remaining time."""

import io

import pytest
from rich.console import Console

from chain import wait_for
from l1scout import cli
from l1scout.cli import output
from l1scout.cli.output import ProgressLines, activity, progress, warn
from l1scout.errors import InputError


@pytest.fixture
def log(monkeypatch):
    """Return what is written to a standard error that is a file: lines at once, and a clock that stands."""
    written = io.StringIO()
    monkeypatch.setattr(output, "err", Console(file=written, width=40, get_time=lambda: 0.0))
    monkeypatch.setattr(output, "FIRST_LINE_S", 0.001)
    return written


def test_lines_say_how_far_and_how_long_still(log):
    with progress() as bar:
        assert isinstance(bar, ProgressLines)
        task = bar.add_task("inputs of a long description", total=2000)
        bar.update(task, completed=500)
        wait_for(lambda: "500 of 2,000 (25 %), about 0 s left\n" in log.getvalue())
        bar.update(task, completed=2000)
    lines = log.getvalue().splitlines()
    assert all(line[2] == line[5] == ":" for line in lines)  # a time, then one line, however long
    assert lines[-1].endswith("inputs of a long description: done after 0 s")


def test_lines_come_while_nothing_moves_and_stop_at_the_end(log):
    with progress() as bar:
        bar.add_task("[data] without a total", total=None)
        wait_for(lambda: log.getvalue().count("[data] without a total: after 0 s") > 1)
    assert "done" not in log.getvalue()
    assert not bar._writer.is_alive()


def test_an_activity_is_named_at_once_and_can_change(log):
    with activity("building") as shown:
        assert log.getvalue().splitlines()[0].endswith(" building")
        shown.update("testing")
        wait_for(lambda: "testing: after" in log.getvalue())


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (99, "99 s"), (120, "2 min"), (5999, "100 min"), (9000, "2.5 h")]
)
def test_durations(seconds, text):
    assert output._duration(seconds) == text


def test_intervals_grow_to_a_minute():
    assert (output.FIRST_LINE_S, output.SLOWEST_LINES_S) == (5.0, 60.0)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (InputError("a\nb\x1b[31m: not right"), r"a\nb\x1b[31m: not right"),
        (OverflowError("int too large"), "a number is too large (int too large)"),
        (MemoryError("7 TiB"), "not enough memory (7 TiB)"),
        (FileNotFoundError(2, "no such file", "a\nb"), r"a\nb: no such file"),
    ],
)
def test_what_goes_wrong_is_one_printable_line(monkeypatch, capsys, error, message):
    def fail():
        raise error

    monkeypatch.setattr(cli, "make_app", lambda: fail)
    with pytest.raises(SystemExit, match="2"):
        cli.main()
    line, rest = capsys.readouterr().err.split("\n", 1)
    assert line.startswith(f"l1scout: {message}")
    assert (line.isprintable(), rest) == (True, "")


def test_warnings_are_printable_lines(capsys):
    warn(["a\nb\x1b[31m"])
    assert r"warning: a\nb\x1b[31m" in capsys.readouterr().err


def test_lines_that_cannot_be_written_end_nothing(monkeypatch):
    tried = []

    class Full(io.StringIO):
        def write(self, text):
            tried.append(text)
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(output, "err", Console(file=Full()))
    with activity("long work") as now:
        now.update("still at work")
    assert tried
