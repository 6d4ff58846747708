"""Algorithms on muons as Verilog: a module that decides on a crossing per clock, as the emulator does.

It is here and not in `firmware`, which knows nothing of menus: menus are above hardware in the order of
imports, and this module needs both.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations, product

from l1scout.errors import InputError, printable
from l1scout.formats.layout import Field
from l1scout.formats.streams.muon import MUON_RUN3
from l1scout.trigger.candidate_rows import same_list
from l1scout.trigger.expression import ConditionText, Expression
from l1scout.trigger.menu import Algorithm, Leg, LegCut, MenuCondition
from l1scout.trigger.menu_error import UnsupportedError
from l1scout.trigger.verilog_pairs import (
    SLOTS,
    PairVector,
    pair_test,
    sum_of_masses_test,
    vector_of,
    write_pairs,
)

MODULE = "muon_trigger"
REACH = 2
MAX_LEGS = 4
TYPES = ("single", "comb", "dist", "mass-inv", "mass-inv-3", "mass-inv-upt")
"""Types of conditions that become Verilog."""
_FIELDS: dict[str, Field] = {field.name: field for field in MUON_RUN3.fields}
_FUNCTIONS = {
    "pt": "hwPt",
    "eta": "hwEtaAtVtx",
    "phi": "hwPhiAtVtx",
    "quality": "hwQual",
    "iso": "hwIso",
    "charge": "hwCharge",
    "charge_valid": "hwChargeValid",
    "index": "tfMuonIndex",
    "upt": "hwPtUnconstrained",
    "dxy": "hwDXY",
}
"""Verilog functions that take a value out of a muon's word, and the column it is."""
_MASKS = {"QLTY": "quality", "ISO": "iso", "IP": "dxy", "CHG": "charge"}
_WINDOWS = {"ETA": "eta", "PHI": "phi", "INDEX": "index", "UPT": "upt"}
_TRUE, _FALSE = "1'b1", "1'b0"
_OPERATORS = {"AND": " & ", "OR": " | ", "XOR": " ^ "}


@dataclass(frozen=True)
class TriggerVerilog:
    """Algorithms as Verilog.

    Parameters
    ----------
    text : str
        Of the module `MODULE`.
    algorithms : tuple of Algorithm
        Bit ``fired[index]`` of its output is that of the algorithm with this index.
    late : int
        Crossings that a decision comes after its own: as many as an algorithm looks ahead.
    """

    text: str
    algorithms: tuple[Algorithm, ...]
    late: int


def why_not_verilog(algorithm: Algorithm) -> str:
    """Explain why an algorithm does not become Verilog; empty if it does."""
    if algorithm.problem or algorithm.expression is None:
        return algorithm.problem or "its expression could not be read"
    for text, condition in algorithm.conditions.items():
        others = sorted({leg.kind for leg in condition.legs if leg.kind != "MU"})
        if others:
            return f"{printable(text, 60)}: looks at {', '.join(others)}; only muons become Verilog"
        if condition.type not in TYPES:
            return f"{printable(text, 60)}: conditions of the type {condition.type} do not become Verilog"
        if len(condition.legs) > MAX_LEGS:
            return f"{printable(text, 60)}: more than {MAX_LEGS} muons do not become Verilog"
    return ""


def write_verilog(algorithms: Iterable[Algorithm]) -> TriggerVerilog:
    """Write algorithms on muons as one Verilog module.

    In each clock with ``valid`` it takes the words of the eight muons of a crossing (64 bits each, as on the
    links of the Global Muon Trigger; 0 where there is none); crossings follow each other. One clock after the
    crossing that is `TriggerVerilog.late` later, ``fired`` has the crossing's bits, and ``decided`` is 1.

    Raises
    ------
    InputError
        If one cannot become Verilog, with the reason; or there is none.
    """
    chosen = tuple(algorithms)
    if not chosen:
        msg = "no algorithm to write as Verilog"
        raise InputError(msg)
    for algorithm in chosen:
        if why := why_not_verilog(algorithm):
            msg = f"{algorithm.name}: {why}"
            raise InputError(msg)
    parts = _Parts()
    for algorithm in chosen:
        parts.add(algorithm)
    late = max(0, *(offset for a in chosen for offset in (0, *a.offsets)))
    return TriggerVerilog("\n".join(_module(parts, chosen, late)) + "\n", chosen, late)


@dataclass
class _Parts:
    """Legs, conditions and what they look up, each once, and the logic of the algorithms."""

    legs: list[Leg] = field(default_factory=list)
    conditions: list[MenuCondition] = field(default_factory=list)
    logic: dict[int, str] = field(default_factory=dict)
    vectors: set[PairVector] = field(default_factory=set)
    charged: set[int] = field(default_factory=set)

    def add(self, algorithm: Algorithm) -> None:
        """Add what an algorithm needs."""
        assert algorithm.expression is not None
        for condition in algorithm.conditions.values():
            self.conditions += [condition] if condition not in self.conditions else []
            self.legs += [leg for leg in dict.fromkeys(condition.legs) if leg not in self.legs]
            self._add_pairs(condition)
        self.logic[algorithm.index] = self._logic(algorithm.expression, algorithm)

    def _add_pairs(self, condition: MenuCondition) -> None:
        """Add what the cuts of a condition look up."""
        crossings = [_bx(leg.offset) for leg in condition.legs]
        for cut in condition.cuts:
            if cut.type == "CHGCOR":
                self.charged |= {leg.offset for leg in condition.legs}
            else:
                self.vectors |= {vector_of(cut, a, b) for a, b in combinations(crossings, 2)}

    def _logic(self, expression: Expression, algorithm: Algorithm) -> str:
        if isinstance(expression, ConditionText):
            return f"condition{self.conditions.index(algorithm.conditions[str(expression)])}"
        inputs = [self._logic(part, algorithm) for part in expression.inputs]
        if expression.operator == "NOT":
            return f"~{inputs[0]}"
        return f"({_OPERATORS[expression.operator].join(inputs)})"


def _module(parts: _Parts, algorithms: Sequence[Algorithm], late: int) -> Iterator[str]:
    yield "// Algorithms of the Global Trigger on muons, written by l1scout: a crossing per clock."
    for a in algorithms:
        yield f"//   {a.index} {_comment(a.name)}: {_comment(a.text)}"
    yield f"module {MODULE} ("
    yield "    input  wire         clk,"
    yield "    input  wire         reset,"
    yield "    input  wire         valid,    // a crossing comes in this clock"
    yield "    input  wire [511:0] muons,    // word of its muon k in bits 64 k + 63 to 64 k, 0 if absent"
    yield f"    output reg          decided,  // a decision: on the crossing {late} before the last one"
    yield "    output reg  [511:0] fired     // bit k: algorithm k"
    yield ");"
    depth = late + REACH + 1
    yield "    // crossings: bx0 is the one that is decided on, bx_p1 the next, bx_m1 the one before"
    for k in range(1, depth):
        yield f"    reg [511:0] before{k};"
    for offset in range(-REACH, late + 1):
        place = late - offset
        yield f"    wire [511:0] {_bx(offset)} = {'muons' if place == 0 else f'before{place}'};"
    yield f"    reg [{max(late, 1) - 1}:0] begun;"
    yield from _functions()
    yield from write_pairs(parts.vectors)
    for offset in sorted(parts.charged):
        yield from _charges(offset)
    for k, leg in enumerate(parts.legs):
        yield from _leg(k, leg)
    for k, condition in enumerate(parts.conditions):
        yield from _condition(k, condition, parts)
    yield ""
    yield "    reg [511:0] decision;"
    yield "    always @* begin"
    yield "        decision = 512'd0;"
    for index, logic in parts.logic.items():
        yield f"        decision[{index}] = {logic};"
    yield "    end"
    yield "    always @(posedge clk)"
    yield "        if (reset) begin"
    for k in range(1, depth):
        yield f"            before{k} <= 512'd0;"
    yield f"            begun <= {max(late, 1)}'d0;"
    yield "            decided <= 1'b0;"
    yield "            fired <= 512'd0;"
    yield "        end else begin"
    seen = f"begun[{late - 1}]" if late else _TRUE
    yield f"            decided <= valid & {seen};"
    yield "            if (valid) begin"
    for k in range(1, depth):
        yield f"                before{k} <= {'muons' if k == 1 else f'before{k - 1}'};"
    yield f"                begun <= {f'{{begun[{late - 2}:0], {_TRUE}}}' if late > 1 else _TRUE};"
    yield "                fired <= decision;"
    yield "            end"
    yield "        end"
    yield "endmodule"


def _bx(offset: int) -> str:
    return "bx0" if not offset else f"bx_{'p' if offset > 0 else 'm'}{abs(offset)}"


def _comment(text: str) -> str:
    """Return text that ends no comment and is short."""
    return printable(" ".join(text.split()), 160).replace("\\", "/")


def _functions() -> Iterator[str]:
    """Write the functions that take values out of a muon's word."""
    yield "    // values in a muon's word; the ones after the first take part of it only"
    yield "    /* verilator lint_off UNUSED */"
    yield "    function integer number;  // of bits that are set"
    yield f"        input [{SLOTS - 1}:0] bits;"
    yield f"        number = {' + '.join(f'bits[{k}]' for k in range(SLOTS))};"
    yield "    endfunction"
    yield "    function [63:0] muon;"
    yield "        input [511:0] crossing;"
    yield "        input integer k;"
    yield "        muon = crossing[64*k +: 64];"
    yield "    endfunction"
    for name, column in _FUNCTIONS.items():
        where = _FIELDS[column]
        sign = "signed " if where.signed else ""
        yield f"    function {sign}[{where.width - 1}:0] {name};"
        yield "        input [63:0] word;"
        yield f"        {name} = word[{where.start + where.width - 1}:{where.start}];"
        yield "    endfunction"


def _leg(k: int, leg: Leg) -> Iterator[str]:
    yield ""
    yield f"    // {_comment(leg.name)} {' '.join(_comment(c.name) for c in leg.cuts)}".rstrip()
    yield f"    reg [{SLOTS - 1}:0] leg{k};"
    yield f"    always @* begin : of_leg{k}"
    yield "        integer i;"
    yield "        reg [63:0] w;"
    yield f"        for (i = 0; i < {SLOTS}; i = i + 1) begin"
    yield f"            w = muon({_bx(leg.offset)}, i);"
    tests = [f"pt(w) {'==' if leg.equal else '>='} 9'd{min(leg.threshold, 511)}"]
    if leg.threshold > 511:
        tests = [_FALSE]
    for type_ in dict.fromkeys(cut.type for cut in leg.cuts):
        any_of = " || ".join(_cut(cut) for cut in leg.cuts if cut.type == type_)
        tests.append(f"({any_of})")
    yield f"            leg{k}[i] = {' && '.join(tests)};"
    yield "        end"
    yield "    end"


def _cut(cut: LegCut) -> str:
    """Return the test of a cut on the word ``w`` of the muon at place ``i``."""
    if cut.type == "SLICE":
        return f"(i >= {cut.low} && i <= {cut.high})"
    if cut.type in _MASKS:
        name = _MASKS[cut.type]
        bits = 1 << _FIELDS[_FUNCTIONS[name]].width
        table = (
            " || ".join(f"{name}(w) == {value}" for value in range(bits) if cut.mask >> value & 1) or _FALSE
        )
        return f"(charge_valid(w) && ({table}))" if cut.type == "CHG" else f"({table})"
    if cut.type not in _WINDOWS:
        msg = f"the cut {cut.type} does not become Verilog"
        raise UnsupportedError(msg)
    name = _WINDOWS[cut.type]
    where = _FIELDS[_FUNCTIONS[name]]
    low, high = (_literal(value, where) for value in (cut.low, cut.high))
    if cut.low > cut.high:
        return f"({name}(w) >= {low} || {name}(w) <= {high})"
    tests = [f"{name}(w) >= {low}"] * (cut.low > where.low) + [f"{name}(w) <= {high}"] * (
        cut.high < where.high
    )
    if cut.low > where.high or cut.high < where.low:
        return _FALSE
    return f"({' && '.join(tests) or _TRUE})"


def _literal(value: int, where: Field) -> str:
    value = min(max(value, where.low), where.high)
    if where.signed:
        return f"-{where.width}'sd{-value}" if value < 0 else f"{where.width}'sd{value}"
    return f"{where.width}'d{value}"


def _condition(k: int, condition: MenuCondition, parts: _Parts) -> Iterator[str]:
    """Write whether a condition is fulfilled."""
    names = [f"leg{parts.legs.index(leg)}" for leg in condition.legs]
    yield ""
    yield f"    // {condition.type} {', '.join(_comment(leg.name) for leg in condition.legs)}"
    if condition.type in ("single", "comb"):
        yield f"    wire condition{k} = {_assignment(condition, names)};"
        return
    yield f"    reg condition{k};"
    yield from _search(k, condition, names)


def _assignment(condition: MenuCondition, names: Sequence[str]) -> str:
    """Return whether different muons can be given to all legs, with charges as the condition asks."""
    cuts = condition.cuts_of("CHGCOR")
    if not cuts:
        return _distinct(condition.legs, names)
    any_of = []
    for signs in product("pm", repeat=len(names)):
        if (len(set(signs)) == 1) == (cuts[0].low == 0):
            charges = [_bx(leg.offset) for leg in condition.legs]
            signed = [f"({n} & charge_{s}_{bx})" for n, s, bx in zip(names, signs, charges, strict=True)]
            any_of.append(_distinct(condition.legs, signed))
    return " |\n        ".join(any_of)


def _distinct(legs: Sequence[Leg], masks: Sequence[str]) -> str:
    """Return whether all legs can have different muons: each set of n legs has n or more (Hall's theorem)."""
    tests = []
    for size in range(1, len(masks) + 1):
        for chosen in combinations(range(len(masks)), size):
            if size > 1 and not all(same_list(legs[chosen[0]], legs[k]) for k in chosen):
                continue
            together = " | ".join(dict.fromkeys(masks[k] for k in chosen))
            tests.append(f"|({together})" if size == 1 else f"number({together}) >= {size}")
    return f"({' && '.join(dict.fromkeys(tests))})"


def _search(k: int, condition: MenuCondition, names: Sequence[str]) -> Iterator[str]:
    """Write the search for muons that pass cuts: nested loops over the places of the legs."""
    legs, places = condition.legs, "abc"[: len(condition.legs)]
    yield f"    always @* begin : of_condition{k}"
    yield f"        integer {', '.join(places)};"
    yield f"        condition{k} = 1'b0;"
    for n, place in enumerate(places):
        pad = "    " * (n + 2)
        yield f"{pad}for ({place} = 0; {place} < {SLOTS}; {place} = {place} + 1)"
        others = [f"{place} != {places[m]}" for m in range(n) if same_list(legs[m], legs[n])]
        yield f"{pad}    if ({' && '.join([f'{names[n]}[{place}]', *others])})"
    pad = "    " * (len(legs) + 3)
    yield f"{pad}condition{k} = condition{k} | ({' && '.join(_tests(condition, places)) or _TRUE});"
    yield "    end"


def _tests(condition: MenuCondition, places: str) -> Iterator[str]:
    """Yield the tests of a condition's cuts on the muons at some places."""
    crossings = [_bx(leg.offset) for leg in condition.legs]
    for cut in condition.cuts:
        if cut.type == "CHGCOR":
            positive, negative = (
                " && ".join(f"charge_{s}_{bx}[{p}]" for bx, p in zip(crossings, places, strict=True))
                for s in "pm"
            )
            valid = " && ".join(
                f"(charge_p_{bx}[{p}] || charge_m_{bx}[{p}])" for bx, p in zip(crossings, places, strict=True)
            )
            equal = f"({positive} || {negative})"
            yield equal if cut.low == 0 else f"{valid} && !{equal}"
            continue
        pairs = list(combinations(range(len(places)), 2))
        vectors = [vector_of(cut, crossings[m], crossings[n]) for m, n in pairs]
        if condition.type == "mass-inv-3":
            entries = [v.entry(places[m], places[n]) for v, (m, n) in zip(vectors, pairs, strict=True)]
            yield sum_of_masses_test(cut, entries)
        else:
            yield pair_test(cut, vectors[0], *places)


def _charges(offset: int) -> Iterator[str]:
    """Write which muons of a crossing have a valid positive, and which a valid negative charge."""
    bx = _bx(offset)
    yield f"    reg [{SLOTS - 1}:0] charge_p_{bx}, charge_m_{bx};"
    yield f"    always @* begin : of_charges_{bx}"
    yield "        integer i;"
    yield "        reg [63:0] w;"
    yield f"        for (i = 0; i < {SLOTS}; i = i + 1) begin"
    yield f"            w = muon({bx}, i);"
    yield f"            charge_p_{bx}[i] = charge_valid(w) & ~charge(w);"
    yield f"            charge_m_{bx}[i] = charge_valid(w) & charge(w);"
    yield "        end"
    yield "    end"
