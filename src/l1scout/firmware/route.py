"""The clock of a design on a Lattice ECP5 after place and route: a lower bound from open tools.

No open tool places and routes for UltraScale+. The ECP5 is an older, slower family: what reaches a clock
there says that the logic has no hidden long path, and nothing more about another device.
"""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from l1scout.firmware.yosys import copy_sources, find_tool, run_tool

_DEVICE = ("--85k", "--package", "CABGA756", "--speed", "6")
DEVICE = "ECP5-85, speed grade 6"


def have_nextpnr() -> bool:
    """Return whether Yosys and nextpnr for the ECP5 are installed."""
    return all(find_tool(name) for name in ("yosys", "nextpnr-ecp5"))


def ecp5_clock(sources: Sequence[Path], top: str) -> float:
    """Return the largest clock in MHz after place and route, of one seed of the placer.

    Raises
    ------
    InputError
        If Yosys or nextpnr is missing, or refuses the design.
    """
    with tempfile.TemporaryDirectory() as folder:
        read = copy_sources(sources, folder)
        run_tool("yosys", ["-p", f"{read}; synth_ecp5 -top {top} -json design.json"], folder)
        options = ("--json", "design.json", "--report", "report.json", "--freq", "250", "--seed", "1")
        run_tool("nextpnr-ecp5", [*_DEVICE, *options, "--timing-allow-fail"], folder)
        clocks = json.loads((Path(folder) / "report.json").read_text())["fmax"]
    return float(min(clock["achieved"] for clock in clocks.values()))
