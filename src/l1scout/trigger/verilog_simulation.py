"""The Verilog of algorithms on muons, simulated crossing by crossing, beside the emulator."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from l1scout.errors import InputError
from l1scout.firmware.verilator import build_icarus, build_verilator, run_program
from l1scout.formats.layout import Layout
from l1scout.formats.streams.muon import MUON_RUN3
from l1scout.trigger.emulator import emulate
from l1scout.trigger.menu import Menu
from l1scout.trigger.trigger_inputs import TriggerInputs
from l1scout.trigger.verilog import MODULE, REACH, TriggerVerilog
from l1scout.trigger.verilog_pairs import SLOTS

RTL = Path(__file__).parent / "rtl"
_WORDS = 512 // 32
SIMULATORS = ("verilator", "icarus")


@dataclass(frozen=True)
class VerilogCheck:
    """The decisions of the Verilog beside those of the emulator.

    Parameters
    ----------
    crossings : int
    fired : dict of str to int
        Crossings in which each algorithm is fulfilled, by the emulator.
    different : dict of str to int
        Crossings in which the Verilog differs.
    """

    crossings: int
    fired: dict[str, int]
    different: dict[str, int]

    @property
    def agrees(self) -> bool:
        """Whether all bits are equal."""
        return not any(self.different.values())


def check_verilog(
    verilog: TriggerVerilog,
    inputs: TriggerInputs,
    folder: Path,
    simulator: str = "verilator",
    *,
    layout: Layout = MUON_RUN3,
    seed: int = 1,
) -> VerilogCheck:
    """Simulate algorithms on muons and compare every bit with the emulator's.

    Parameters
    ----------
    verilog : TriggerVerilog
    inputs : TriggerInputs
        With muons; if they are an orbit that closes on itself (`wrap`), the simulation sees it so, too.
    folder : Path
        For the sources and the simulator.
    simulator : {"verilator", "icarus"}
    layout : Layout
        Of the muons' words.
    seed : int
        Of the clocks in which no crossing comes, one in four.

    Raises
    ------
    InputError
        If the simulator is missing or refuses the Verilog, or the inputs have no muons.
    """
    got = simulate_verilog(
        verilog, muon_words(inputs, layout), folder, simulator, wrap=inputs.wrap, seed=seed
    )
    menu = Menu("verilog", "0.13", verilog.algorithms, "verilog")
    decisions = emulate(menu, inputs)
    for name, why in decisions.problems.items():
        msg = f"{name}: {why}"
        raise InputError(msg)
    wanted = {a.name: np.asarray(decisions.bits[a.name]) for a in verilog.algorithms}
    return VerilogCheck(
        inputs.crossings,
        {name: int(bits.sum()) for name, bits in wanted.items()},
        {a.name: int((got[:, a.index] != wanted[a.name]).sum()) for a in verilog.algorithms},
    )


def muon_words(inputs: TriggerInputs, layout: Layout = MUON_RUN3) -> NDArray[np.uint64]:
    """Return the words of the muons of each crossing: shape (crossings, 8)."""
    if "muon" not in inputs.streams:
        msg = "the inputs have no muons"
        raise InputError(msg)
    muons, n = inputs.streams["muon"], inputs.crossings
    columns = {name: muons.in_slots(name, n, SLOTS) for name in muons.columns}
    nothing = np.zeros((n, SLOTS), np.int64)
    values = {f.name: columns.get(f.name, nothing).ravel() for f in layout.fields}
    return layout.encode(values).reshape(-1, SLOTS).astype(np.uint64)


def simulate_verilog(
    verilog: TriggerVerilog,
    words: NDArray[np.uint64],
    folder: Path,
    simulator: str = "verilator",
    *,
    wrap: bool = False,
    seed: int = 1,
) -> NDArray[np.bool_]:
    """Send crossings through the Verilog, and return its bits: shape (crossings, 512).

    Parameters
    ----------
    verilog, folder, simulator, seed
        See `check_verilog`.
    words : ndarray of uint64, shape (crossings, 8)
    wrap : bool
        Whether the crossing after the last is the first.

    Raises
    ------
    InputError
        If the simulator is missing, refuses the Verilog, or does not give a decision per crossing.
    """
    n, none = len(words), np.zeros((REACH, SLOTS), np.uint64)
    every = np.concatenate([words[-REACH:], words, words[:REACH]] if wrap else [none, words, none])
    rng = np.random.default_rng(seed)
    place = np.arange(len(every)) + np.cumsum(rng.random(len(every)) < 0.25)
    clocks = rng.integers(0, 1 << 32, (int(place[-1]) + 1, 1 + _WORDS), np.uint32)
    clocks[:, 0] = 0
    clocks[place, 0] = 1
    clocks[place, 1:] = np.ascontiguousarray(every).view(np.uint32)
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / f"{MODULE}.v"
    source.write_text(verilog.text, "utf-8")
    run = {"verilator": _in_verilator, "icarus": _in_icarus}.get(simulator)
    if run is None:
        msg = f"no simulator {simulator!r}: choose one of {', '.join(SIMULATORS)}"
        raise InputError(msg)
    made = run(source, clocks, folder)
    late = len(every) - len(made)
    if late != verilog.late:
        wanted = len(every) - verilog.late
        msg = f"{source}: gave {len(made)} decisions about {len(every)} crossings, not {wanted}"
        raise InputError(msg)
    bits = np.unpackbits(made.view(np.uint8), axis=1, bitorder="little").astype(np.bool_)
    return bits[REACH : REACH + n]


def _in_verilator(source: Path, clocks: NDArray[np.uint32], folder: Path) -> NDArray[np.uint32]:
    program = build_verilator([source], MODULE, RTL / f"{MODULE}_main.cpp", folder, optimise="-O0")
    return np.frombuffer(run_program(program, clocks.tobytes()), np.uint32).reshape(-1, _WORDS)


def _in_icarus(source: Path, clocks: NDArray[np.uint32], folder: Path) -> NDArray[np.uint32]:
    bench = RTL / f"{MODULE}_tb.v"
    program = build_icarus([source, bench], f"{MODULE}_tb", folder, {"CLOCKS": len(clocks)})
    with tempfile.TemporaryDirectory() as part:
        path = Path(part) / "crossings.hex"
        lines = ("".join(f"{int(w):08x}" for w in row[:0:-1]) for row in clocks)
        with path.open("w") as file:
            file.writelines(f"{int(row[0]):x}{line}\n" for row, line in zip(clocks, lines, strict=True))
        said = run_program(program, arguments=[f"+crossings={path}"]).decode(errors="replace").split()
    rows = [bytes.fromhex(line)[::-1] for line in said if len(line) == 128 and "x" not in line]
    return np.frombuffer(b"".join(rows), np.uint32).reshape(-1, _WORDS)
