"""``l1scout status`` and ``stop`` as a shell or a script sees them; run control is a stand-in."""

import json
import os
import signal
import subprocess

import pytest
from typer.testing import CliRunner

from chain import COMMAND, PATIENCE_S
from l1scout.cli import make_app
from l1scout.control.local import LocalServer
from l1scout.control.messages import ChainStatus


class RunControl:
    """Answers with a status that the test changes."""

    def __init__(self, folder) -> None:
        self.status = {
            "state": "running", "run": 7, "data": "unknown", "seconds": 1.0, "up": True, "error": "",
            "folder": str(folder), "pid": 1, "orbits": 100, "objects": {}, "lost": {"missed": 0},
            "duplicates": 0, "alarms": [], "waiting_for": "", "warnings": [], "processes": {},
        }  # fmt: skip
        self.asked: list[dict] = []
        self.then: list[dict] = []

    def answer(self, request: dict) -> dict:
        self.asked.append(request)
        if self.then:
            self.status |= self.then.pop(0)
        return ChainStatus(**self.status).model_dump(mode="json")


@pytest.fixture
def control(tmp_path):
    control = RunControl(tmp_path)
    server = LocalServer(tmp_path, control.answer)
    control.folder = f"--set=run.folder={tmp_path}"
    yield control
    server.close()


def call(control, *words: str):
    return CliRunner().invoke(make_app(), [*words, control.folder])


def test_check_says_what_was_lost_and_what_is_wrong(control):
    assert call(control, "status", "--check").exit_code == 0
    control.status |= {"lost": {"missed": 1200}, "alarms": ["store: disk full", "orbits: missed 3 more"]}
    done = call(control, "status", "--check")
    assert done.exit_code == 3
    assert done.output == "run 7: orbits lost: 1,200 missed; run 7: store: disk full\n"
    assert json.loads(call(control, "status", "--json").stdout)["alarms"] == control.status["alarms"]


def test_stop_tells_losses_and_what_it_waits_for(control):
    draining = {"state": "draining", "waiting_for": "store (3 segments to compress); at most 60 s"}
    control.then = [draining, draining, {"state": "configured", "lost": {"missed": 5}}]
    done = call(control, "stop", "--now")
    assert control.asked[0] == {"do": "stop", "now": True}
    assert done.exit_code == 3
    assert done.stdout == "run 7: drained\n"
    assert "run 7: orbits lost: 5 missed" in done.stderr


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_follow_goes_on_until_ctrl_c(control, form):
    # shells let their background jobs ignore Ctrl-C
    start = f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler); {COMMAND[2]}"
    command = [*COMMAND[:2], start, "status", "--follow", *form, control.folder]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) as process:
        lines = [process.stdout.readline() for _ in range(3)]
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0
    if form:
        assert [json.loads(line)["orbits"] for line in lines] == [100] * 3
    else:
        assert lines == ["run 7: running, 100 orbits written, 0 lost\n"] * 3
