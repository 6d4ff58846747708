"""Distances and masses of pairs of muons in Verilog, with the emulator's own tables as constants."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations

from l1scout.formats.streams.muon import PHI_BINS
from l1scout.trigger import fixed_point as fp
from l1scout.trigger.menu import MenuCondition, PairCut

_ETA_ENTRIES = 512
"""Differences of two eta of 9 bits."""
_DR_BITS, _MASS_BITS = 27, 48
_MASS_SCALE = 10 ** (2 + 4 - 1)
"""Of limits of masses: pT has one decimal each, cosh and cos have four, limits have one."""
_TABLES = {
    "delta_eta": ("delta", True, 13),
    "delta_phi": ("delta", False, 12),
    "cosh_eta": ("cosh", True, 21),
    "cos_phi": ("cos", False, 15),
}
"""Tables by the name of the Verilog function: which one, whether of eta, and bits of an entry."""


def pair_functions(conditions: Iterable[MenuCondition]) -> Iterator[str]:
    """Write the functions of two muons' words that the cuts of conditions need."""
    cuts = {cut.type for condition in conditions for cut in condition.cuts}
    if cuts <= {"CHGCOR"}:
        return
    yield from _DIFFERENCES.format(turn=PHI_BINS).splitlines()
    masses = cuts & {"MASS", "MASSUPT"}
    wanted = ["cosh_eta", "cos_phi"] if masses else []
    wanted += ["delta_eta"] if cuts & {"DETA", "DR"} else []
    wanted += ["delta_phi"] if cuts & {"DPHI", "DR"} else []
    for name in wanted:
        yield from _table(name)
    if "DR" in cuts:
        yield from _DISTANCE.splitlines()
    if masses:
        for function, pt, step, half in (("mass", "pt", 5, 3), ("mass_upt", "upt", 10, 5)):
            yield from _MASS.format(function=function, pt=pt, step=step, half=half).splitlines()


def _table(name: str) -> Iterator[str]:
    """Write a table as one constant, of which the function takes an entry; the cosine has a sign."""
    function, eta, bits = _TABLES[name]
    tables = {"cosh": fp.cosh_table, "cos": fp.cos_table}
    values = fp.delta_table(muon=True, eta=eta) if function == "delta" else tables[function](muon=True)
    values = values[: _ETA_ENTRIES if eta else len(values)]
    whole = sum((int(v) & (1 << bits) - 1) << bits * k for k, v in enumerate(values))
    size = bits * len(values)
    signed = "signed " if function == "cos" else ""
    yield f"    localparam [{size - 1}:0] {name.upper()} = {size}'h{whole:x};"
    yield f"    function {signed}[{bits - 1}:0] {name};"
    yield "        input [8:0] entry;"
    yield f"        {name} = {name.upper()}[{bits} * entry +: {bits}];"
    yield "    endfunction"


_DIFFERENCES = """\
    // differences in bins; codes of phi beyond a full turn of {turn} wrap
    function [8:0] eta_bins;
        input [63:0] a, b;
        reg signed [9:0] d;
        begin
            d = eta(a) - eta(b);
            eta_bins = d < 0 ? -d : d;
        end
    endfunction
    function [8:0] phi_bins;
        input [63:0] a, b;
        reg [9:0] d;
        begin
            d = phi(a) > phi(b) ? phi(a) - phi(b) : phi(b) - phi(a);
            if (d >= {turn}) d = d - {turn};
            phi_bins = d > {turn} / 2 ? {turn} - d : d;
        end
    endfunction"""
_DISTANCE = """\
    function [26:0] distance;  // squared, in units of 0.001^2
        input [63:0] a, b;
        reg [26:0] e, p;
        begin
            e = delta_eta(eta_bins(a, b));
            p = delta_phi(phi_bins(a, b));
            distance = e * e + p * p;
        end
    endfunction"""
_MASS = """\
    function [47:0] {function};  // half the squared mass: pT pT (cosh - cos)
        input [63:0] a, b;
        reg [47:0] p, q;
        reg signed [21:0] angles;
        begin
            p = {pt}(a) == 0 ? 0 : {step} * ({pt}(a) - 1) + {half};
            q = {pt}(b) == 0 ? 0 : {step} * ({pt}(b) - 1) + {half};
            angles = $signed({{1'b0, cosh_eta(eta_bins(a, b))}}) - cos_phi(phi_bins(a, b));
            {function} = p * q * {{26'd0, angles}};
        end
    endfunction"""


def pair_test(cut: PairCut, a: str, b: str) -> str:
    """Return the test of a cut on the words of two muons."""
    if cut.type in ("MASS", "MASSUPT"):
        name = "mass" if cut.type == "MASS" else "mass_upt"
        return _within(f"{name}({a}, {b})", cut, _MASS_SCALE, _MASS_BITS)
    if cut.type == "DR":
        return _within(f"distance({a}, {b})", cut, 1000, _DR_BITS)
    angle = {"DETA": "eta", "DPHI": "phi"}[cut.type]
    return _within(f"delta_{angle}({angle}_bins({a}, {b}))", cut, 1, _TABLES[f"delta_{angle}"][2])


def sum_of_masses_test(cut: PairCut, words: Sequence[str]) -> str:
    """Return the test of a cut on the mass of three muons."""
    masses = " + ".join(f"mass({a}, {b})" for a, b in combinations(words, 2))
    return _within(f"({masses})", cut, _MASS_SCALE, _MASS_BITS)


def _within(value: str, cut: PairCut, scale: int, bits: int) -> str:
    """Return the test that a value of so many bits is within a cut's limits."""
    low, high, most = cut.low * scale, cut.high * scale, (1 << bits) - 1
    if low > most:
        return "1'b0"
    tests = [f"{value} >= {bits}'d{low}"] * (low > 0) + [f"{value} <= {bits}'d{high}"] * (high < most)
    return f"({' && '.join(tests)})" if tests else "1'b1"
