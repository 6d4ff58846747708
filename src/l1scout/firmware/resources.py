"""What the streaming core takes, and what its latency is at a clock that is assumed."""

import json
import math
from typing import Any

from l1scout.firmware.build import SIMULATION_FILE, Built
from l1scout.firmware.logic import CORE
from l1scout.firmware.route import DEVICE, ecp5_clock, have_nextpnr
from l1scout.firmware.yosys import synthesise

MUONS_PER_BX = 8
BX_MHZ = 40.0
"""Eight muons a bunch crossing at 40 MHz: 320 M/s."""
NUMBERS = ("luts", "inverters", "flip_flops", "carries", "dsps", "block_rams")


def resources(built: Built, *, clock: float, route: bool = True) -> dict[str, Any]:
    """Synthesise core and streaming module, and count; place and route the core if asked for.

    Parameters
    ----------
    built : Built
    clock : float
        MHz, an assumption: nothing here finds out whether a device reaches it.
    route : bool
        On the ECP5, if nextpnr is there.

    Returns
    -------
    dict
        ``core`` and ``module`` (`NUMBERS`, and the parts of each device), ``timing`` at the clock,
        ``ecp5_mhz`` (None if not routed), ``build`` and ``simulation`` (None if there was none).

    Raises
    ------
    InputError
        If Yosys is missing or refuses the Verilog.
    """
    core = _counted(synthesise([built.sources[1]], CORE, flatten=True))
    module = _counted(synthesise(built.sources, "recalibrate", flatten=True))
    routed = ecp5_clock([built.sources[1]], CORE) if route and have_nextpnr() else None
    return {
        "build": built.about,
        "core": core,
        "module": module,
        "timing": timing(built, clock),
        "ecp5": {"device": DEVICE, "mhz": routed},
        "simulation": simulation(built),
    }


def timing(built: Built, clock: float) -> dict[str, Any]:
    """Latency and throughput at an assumed clock in MHz, and how many cores eight muons a BX need."""
    needed = MUONS_PER_BX * BX_MHZ
    return {
        "assumed_clock_mhz": clock,
        "latency_edges": built.latency,
        "latency_ns": 1000 * built.latency / clock,
        "core_ns": 1000 * built.about["stages"] / clock,
        "initiation_interval": 1,
        "million_muons_per_s": clock,
        "needed_million_per_s": needed,
        "cores": math.ceil(needed / clock),
    }


def simulation(built: Built) -> dict[str, Any] | None:
    """Return what `l1scout firmware simulate` last found of this folder's model, if it has run."""
    try:
        found = json.loads((built.folder / SIMULATION_FILE).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    same = isinstance(found, dict) and found.get("network") == built.about["network"]
    return found if same else None


def _counted(found: dict[str, Any]) -> dict[str, Any]:
    """Count inverters apart: Yosys leaves them to the placer, which puts most of them into LUTs there are."""
    found = {**found, "inverters": found["cells"].get("INV", 0)}
    return {**{n: found[n] for n in NUMBERS}, "parts": found["parts"]}
