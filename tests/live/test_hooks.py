"""What the hooks of `in_child/` take hold of is still there."""

import importlib
import subprocess
import sys

import pytest

from chain import PATIENCE_S, with_hooks
from in_child.hooks import BOARD, LIMITS, POINTS


@pytest.mark.parametrize("module", LIMITS)
def test_limits_can_be_made_longer(module):
    code = (
        "import importlib, sys\n"
        "module = importlib.import_module(sys.argv[1])\n"
        "print(*(getattr(module, name) for name in sys.argv[2:]))"
    )
    for name in LIMITS[module]:
        assert getattr(importlib.import_module(module), name) < PATIENCE_S
    command = [sys.executable, "-c", code, module, *LIMITS[module]]
    said = subprocess.run(command, env=with_hooks({}), capture_output=True, text=True, timeout=PATIENCE_S)
    assert said.stdout.split() == [str(PATIENCE_S)] * len(LIMITS[module]), said.stderr


def test_a_board_can_be_gated():
    assert callable(importlib.import_module(BOARD).RepeatedPackets.run)


def test_a_hook_that_does_not_fit_ends_the_process():
    environment = with_hooks({}, kill="nowhere")
    done = subprocess.run([sys.executable, "-c", "print(1)"], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (97, "")
    assert "nowhere" in done.stderr
    assert "nowhere" not in POINTS
