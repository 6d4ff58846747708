"""An integer network as logic: the one place that knows the compilers, da4ml and alkaid."""

import re
import tempfile
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.deploy.domain import Domain
from l1scout.deploy.integers import IntegerNetwork
from l1scout.errors import InputError

COMPILERS = ("da4ml", "alkaid")
CORE = "recalibrate_core"


@dataclass(frozen=True)
class Written:
    """Verilog of a core.

    Parameters
    ----------
    verilog : str
        All modules; the top one is `CORE`, with ports ``clk``, ``model_inp`` and ``model_out``.
    licence : str
        Of the compiler, some of whose modules are in it.
    stages : int
        Pipeline stages: clock edges from the core's input register to its output register.
    register_bits : int
    """

    verilog: str
    licence: str
    stages: int
    register_bits: int


@dataclass(frozen=True)
class Logic:
    """Traced logic of an integer network.

    Parameters
    ----------
    compiler : str
    comb : object
        The compiler's own form of it.
    input_bits, output_bits : tuple of int
        Widths of the ports, first input lowest. An input that nothing looks at may have none.
    output_signs : tuple of int
        1 where an output has a sign bit, 0 where it is never negative and has none.
    """

    compiler: str
    comb: Any
    input_bits: tuple[int, ...]
    output_bits: tuple[int, ...]
    output_signs: tuple[int, ...]

    @property
    def estimate(self) -> float:
        """The compiler's own estimate of LUTs."""
        return float(self.comb.cost)

    @cached_property
    def version(self) -> str:
        """Compiler and version."""
        return f"{self.compiler} {version(self.compiler)}"

    def integers(self, hardware: NDArray[Any]) -> NDArray[np.int32]:
        """Evaluate the traced logic, shape (inputs, muons) to (outputs, muons)."""
        rows = np.ascontiguousarray(hardware.T, np.float64)
        return np.asarray(self.comb.predict(rows)).T.astype(np.int32)

    def write(self, cutoff: float) -> Written:
        """Write Verilog with a register after at most `cutoff` adders in a row."""
        module = import_module(f"{self.compiler}.codegen")
        with tempfile.TemporaryDirectory() as part:
            if self.compiler == "da4ml":
                made = module.VerilogModel(self.comb, CORE, part, latency_cutoff=cutoff, print_latency=False)
                stages, registers = len(made._pipe.solutions), int(made._pipe.reg_bits)
            else:
                made = module.RTLModel(self.comb, part, CORE, latency_cutoff=cutoff, print_latency=False)
                stages, registers = len(made.fsm.logic), int(made.reg_bits)
            made.write()
            text = _sources(Path(part) / "src")
        licence = (Path(module.__file__ or "").parents[1] / "LICENSE").read_text("utf-8")
        return Written(text, licence, stages, registers)


def _sources(folder: Path) -> str:
    """Join the modules of a core, and those of the compiler's own that they are made of."""
    files = [p for p in sorted(folder.glob("*.v")) if p.stem != f"{CORE}_wrapper"]
    text = "\n".join(p.read_text("utf-8") for p in files)
    text = re.sub(r"\blogic(\d+)\b", rf"{CORE}_logic\1", text)  # alkaid's names could be anybody's
    static = [p for p in sorted((folder / "static").glob("*.v")) if re.search(rf"\b{p.stem} #", text)]
    return "\n".join([text, *(p.read_text("utf-8") for p in static)])


def trace(network: IntegerNetwork, domain: Domain, compiler: str = "da4ml") -> Logic:
    """Trace a network on its domain into shift-and-add logic.

    Raises
    ------
    InputError
        If there is no such compiler, it is not installed, or an answer never needs its lowest bit.
    """
    if compiler not in COMPILERS:
        msg = f"no compiler {compiler!r}: choose one of {', '.join(COMPILERS)}"
        raise InputError(msg)
    try:
        module = import_module(f"{compiler}.trace")
    except ImportError as error:
        msg = f"{compiler} is not installed ({error}); pip install 'l1scout[firmware]'"
        raise InputError(msg) from error
    if compiler == "da4ml":
        array, record = module.FixedVariableArray, module.comb_trace
    else:
        array, record = module.FVArray, module.trace
    low, high = (np.array(ends, np.float64) for ends in (domain.low, domain.high))
    given = x = array.from_lhs(low, high, np.ones(low.size), module.HWConfig(1, -1, -1), 0.0)
    for layer in network.layers[:-1]:
        y = x @ layer.weights.astype(np.float64) + layer.bias.astype(np.float64)
        kept = [
            _relu(v, int(i), int(f))
            for v, i, f in zip(y, layer.bits + layer.shift, -layer.shift, strict=True)
        ]
        x = array(np.array(kept)) * 2.0**-layer.shift
    last = network.layers[-1]
    y = x @ last.weights.astype(np.float64) + last.bias.astype(np.float64)
    x = y.quantize(np.ones_like(last.shift), last.bits + last.shift - 1, -last.shift) * 2.0**-last.shift
    comb = record(given, x, keep_dead_inputs=True)
    sign, _, point = np.asarray(comb.out_kifs, np.int64)
    bits = _bits(comb.out_kifs)
    if point.any() or not all(bits):
        msg = f"an answer of the network is always even, or always 0 (bits {list(bits)}); train it again"
        raise InputError(msg)
    return Logic(compiler, comb, _bits(comb.inp_kifs), bits, tuple(sign.tolist()))


def _relu(sum_: Any, integer: int, fraction: int) -> Any:
    """Return the ReLU of a sum with so many bits before and after the point.

    Of a negated sum that is never negative da4ml 0.6.0 writes Verilog that takes the highest bit for a
    sign, so where there is nothing to clip, bits are dropped instead.
    """
    if sum_.low >= 0:
        return sum_.quantize(0, integer, fraction)
    if sum_.high <= 0:
        return sum_.from_const(0.0, sum_.hwconf)
    return sum_.relu(integer, fraction)


def _bits(kifs: Any) -> tuple[int, ...]:
    return tuple(int(b) for b in np.asarray(kifs, np.int64).sum(axis=0))
