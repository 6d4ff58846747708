"""Scripts of `benchmarks/` and `validation/`: help, bad input in one line, and nothing left behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from chain import PATIENCE_S

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(
    str(p.relative_to(ROOT)) for p in (*ROOT.glob("benchmarks/*.py"), *ROOT.glob("validation/*.py"))
)
BAD = {
    "benchmarks/engines.py": ["nowhere"],
    "benchmarks/readout.py": ["--seconds", "-1"],
    "validation/masses.py": ["--model", "nowhere"],
    "validation/chaos.py": ["--minutes", "-1"],
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_ends_as_commands_do(script):
    text = (ROOT / script).read_text("utf-8")
    assert "    run_script(main)\n" in text
    assert "sys.argv" not in text
    assert "argparse" not in text


@pytest.mark.parametrize("script", BAD)
def test_bad_input_is_one_line_and_exit_status_2(script):
    done = subprocess.run([sys.executable, ROOT / script, *BAD[script]], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    last = done.stderr.splitlines()
    assert len(last) == 1, done.stderr
    assert last[0].startswith(Path(script).name + ": ")


def test_help():
    script = ROOT / "benchmarks" / "decode.py"
    done = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "Bandwidth of decoding 64-bit muon words" in done.stdout


HOLDING = """
import signal, subprocess, sys, tempfile, time
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background jobs of shells
from l1scout.cli.script import run_script
def main():
    with tempfile.TemporaryDirectory(dir=sys.argv[1]) as folder:
        (Path(folder) / "big").write_text("x")
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
        try:
            print(child.pid, flush=True)
            while True:  # a signal just before a long sleep would be handled after it
                time.sleep(0.1)
        finally:
            child.kill()
            child.wait()
run_script(main)
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_script_leaves_no_folder_and_no_process(tmp_path, number, status):
    script = subprocess.Popen([sys.executable, "-c", HOLDING, tmp_path], stdout=subprocess.PIPE, text=True)
    child = int(script.stdout.readline())
    script.send_signal(number)
    script.communicate(timeout=PATIENCE_S)
    assert script.returncode == status
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
