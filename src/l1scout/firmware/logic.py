"""An integer network as logic: the one place that knows the compilers, da4ml and alkaid."""

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.errors import InputError
from l1scout.model.domain import Domain
from l1scout.model.integers import IntegerGain, IntegerGains, IntegerLookUp, IntegerNetwork, Neurons

COMPILERS = ("da4ml", "alkaid")
CORE = "recalibrate_core"


@dataclass(frozen=True)
class Written:
    """Verilog of a core.

    Parameters
    ----------
    verilog : str
        All modules; the top one is named as was asked, with ports ``clk``, ``model_inp`` and ``model_out``.
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

    def write(self, cutoff: float, name: str = CORE) -> Written:
        """Write Verilog of a module `name`, with a register after at most `cutoff` adders in a row."""
        module = import_module(f"{self.compiler}.codegen")
        with tempfile.TemporaryDirectory() as part:
            if self.compiler == "da4ml":
                made = module.VerilogModel(self.comb, name, part, latency_cutoff=cutoff, print_latency=False)
                stages, registers = len(made._pipe.solutions), int(made._pipe.reg_bits)
            else:
                made = module.RTLModel(self.comb, part, name, latency_cutoff=cutoff, print_latency=False)
                stages, registers = len(made.fsm.logic), int(made.reg_bits)
            made.write()
            text = _sources(Path(part) / "src", name)
        licence = (Path(module.__file__ or "").parents[1] / "LICENSE").read_text("utf-8")
        return Written(text, licence, stages, registers)


def _sources(folder: Path, core: str) -> str:
    """Join the modules of a core, and those of the compiler's own that they are made of."""
    files = [p for p in sorted(folder.glob("*.v")) if p.stem != f"{core}_wrapper"]
    text = "\n".join(p.read_text("utf-8") for p in files)
    text = _tables(text, folder / "memfiles", core)
    text = re.sub(r"\b(logic\d+|table_\w+)\b", rf"{core}_\1", text)  # alkaid's names could be anybody's
    static = [p for p in sorted((folder / "static").glob("*.v")) if re.search(rf"\b{p.stem} #", text)]
    return "\n".join([text, *(p.read_text("utf-8") for p in static)])


def _tables(text: str, folder: Path, core: str) -> str:
    """Put da4ml's tables, which are files to it, into modules of the core: sources alone then say it all."""
    modules: dict[str, str] = {}

    def module(found: re.Match[str]) -> str:
        bits, wide, name = int(found[1]), int(found[2]), found[3]
        if name not in modules:
            values = (folder / name).read_text("ascii").split()
            ports = f"(input [{bits - 1}:0] in, output reg [{wide - 1}:0] out)"
            cases = [f"    {bits}'d{k}: out = {wide}'h{value};" for k, value in enumerate(values)]
            head = f"module {core}_table_{len(modules)} {ports};\n  always @(*) case (in)"
            modules[name] = "\n".join([head, *cases, "  endcase\nendmodule"])
        return f"{core}_table_{list(modules).index(name)}"

    text = re.sub(r'\blookup_table #\((\d+), (\d+), "(.*?)"\)', module, text)
    return "\n".join([text, *modules.values()])


def trace(network: IntegerNetwork, domain: Domain, compiler: str = "da4ml") -> Logic:
    """Trace a network on its domain into logic that looks up, shifts and adds.

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
    gains = network.gains.gains if network.gains else ()
    asked = [c for at in network.look_ups for c in at.columns] + [gain.column for gain in gains]
    low, high = _whole(domain, asked)
    ends = (np.array(e, np.float64) for e in (low, high, [1] * len(low)))
    given = x = array.from_lhs(*ends, module.HWConfig(1, -1, -1), 0.0)
    tables = _Tables(network, given, low, high)
    for k, layer in enumerate(network.layers):
        y = x @ layer.weights.astype(np.float64) + layer.bias.astype(np.float64)
        for at in network.look_ups:
            if at.layer == k:
                y = y + array(np.array(tables.look_up(at)))
        if k < len(network.layers) - 1:
            pairs = zip(y, layer.bits + layer.shift, -layer.shift, strict=True)
            kept = [_relu(v, int(i), int(f)) for v, i, f in pairs]
            x = array(np.array(kept)) * 2.0**-layer.shift
    x = _rounded(y, network.layers[-1])
    if network.gains:
        for gain in gains:
            factors = gain.factors[tables.rows(gain)].T
            products = [_product(v, given[gain.column], f, array) for v, f in zip(x, factors, strict=True)]
            x = array(np.array(products))
        x = _rounded(x + network.gains.bias.astype(np.float64), network.gains)
    comb = record(given, x, keep_dead_inputs=True)
    sign, _, point = np.asarray(comb.out_kifs, np.int64)
    bits = _bits(comb.out_kifs)
    if point.any() or not all(bits):
        msg = f"an answer of the network is always even, or always 0 (bits {list(bits)}); train it again"
        raise InputError(msg)
    return Logic(compiler, comb, _bits(comb.inp_kifs), bits, tuple(sign.tolist()))


def _whole(domain: Domain, columns: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return the ends of a domain; of columns that are looked up, of all that their bits can hold.

    alkaid asks for values beyond the domain, too, and logic is not larger with them.
    """
    low, high = list(domain.low), list(domain.high)
    for k in columns:
        bits = max(high[k], -low[k] - 1).bit_length()
        low[k], high[k] = -(1 << bits) if low[k] < 0 else 0, (1 << bits) - 1
    return low, high


def _rounded(sums: Any, part: Neurons | IntegerGains) -> Any:
    """Drop the lowest bits of sums, and keep what the network keeps of the rest, with a sign."""
    return sums.quantize(np.ones_like(part.shift), part.bits + part.shift - 1, -part.shift) * 2.0**-part.shift


class _Tables:
    """What inputs look up, with values between `low` and `high`.

    Where many values of an input look up the same everywhere, as with eta and -eta, the input is made a
    number of fewer bits first: each bit less halves the tables.
    """

    def __init__(self, network: IntegerNetwork, given: Any, low: Sequence[int], high: Sequence[int]) -> None:
        self._given, self._low, self._high = given, low, high
        self._codes = {}
        for c in {at.columns[0] for at in network.look_ups if len(at.columns) == 1}:
            found = [at.values[self.rows(at)] for at in network.look_ups if at.columns == (c,)]
            _, first, codes = np.unique(np.hstack(found), axis=0, return_index=True, return_inverse=True)
            rank = np.argsort(np.argsort(first))  # the first value to look a row up gives its number
            if (first.size - 1).bit_length() < (codes.size - 1).bit_length() and first.size > 1:
                shared = given[c].lookup(rank[codes.ravel()].astype(np.float64))
                self._codes[c] = shared, np.sort(first)

    def rows(self, at: IntegerLookUp | IntegerGain) -> NDArray[np.int64]:
        """Return the rows of a table for all values of its inputs, the last one's changing fastest."""
        columns = at.columns if isinstance(at, IntegerLookUp) else (at.column,)
        ends = [np.arange(self._low[c], self._high[c] + 1) for c in columns]
        grid = np.zeros((len(self._low), np.prod([e.size for e in ends])), np.int64)
        grid[list(columns)] = [part.ravel() for part in np.meshgrid(*ends, indexing="ij")]
        return at.row(grid)

    def look_up(self, at: IntegerLookUp) -> list[Any]:
        """Look inputs up: a variable for each neuron."""
        values = at.values[self.rows(at)]
        variable = self._given[at.columns[-1]]
        if len(at.columns) == 1 and at.columns[0] in self._codes:
            variable, first = self._codes[at.columns[0]]
            values = values[first]
        span = self._high[at.columns[-1]] - self._low[at.columns[-1]] + 1
        for c in at.columns[-2::-1]:
            variable = variable + self._given[c] * float(span)
            span *= self._high[c] - self._low[c] + 1
        return [
            variable.lookup(v) if np.ptp(v) else variable.from_const(v[0], variable.hwconf)
            for v in values.T.astype(np.float64)
        ]


def _product(value: Any, variable: Any, factors: NDArray[np.int64], array: Any) -> Any:
    """Multiply a value by an integer that a variable looks up: one addition per bit of the integer.

    So a sign is a subtraction, and no multiplier, whose time the compilers do not know, is asked for.

    Parameters
    ----------
    value, variable : object
        Of the compiler.
    factors : ndarray of int64, shape (values of the variable,)
    array : type
        The compiler's array.
    """
    low, high = min(int(factors.min()), 0), max(int(factors.max()), 0)
    bits = max(high.bit_length(), (-low - 1).bit_length() if low else 0)
    terms, weights = [], []
    for bit in range(bits + (low < 0)):
        wanted = (factors >> bit) & 1
        if wanted.any():
            always = wanted.all()
            term = value if always else variable.lookup(wanted.astype(np.float64)).msb_mux(value, 0.0)
            terms.append(term)
            weights.append(-(2.0**bit) if bit == bits else 2.0**bit)
    if not terms:
        return value.from_const(0.0, value.hwconf)
    return (array(np.array(terms)) @ np.array(weights)[:, np.newaxis])[0]


def _relu(sum_: Any, integer: int, fraction: int) -> Any:
    """Return the ReLU of a sum with given numbers of bits before and after the point.

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
