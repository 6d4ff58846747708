"""Distances and masses of pairs of muons in Verilog, with the emulator's own tables as constants."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from l1scout.formats.streams.muon import PHI_BINS
from l1scout.trigger import fixed_point as fp
from l1scout.trigger.menu import PairCut

SLOTS = 8
"""Muons of a crossing."""
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
_QUANTITIES = {
    "deta": (13, "delta_eta(eta_bins(a, b))"),
    "dphi": (12, "delta_phi(phi_bins(a, b))"),
    "distance": (_DR_BITS, "distance(a, b)"),
    "mass": (_MASS_BITS, "mass(a, b)"),
    "mass_upt": (_MASS_BITS, "mass_upt(a, b)"),
}
"""Bits of a quantity of two muons, and how it is computed."""


@dataclass(frozen=True, order=True)
class PairVector:
    """A quantity of all pairs of muons of two crossings: one Verilog vector.

    Parameters
    ----------
    quantity : str
        Name of the function, such as ``mass``.
    first, second : str
        Names of the crossings.
    """

    quantity: str
    first: str
    second: str

    @property
    def name(self) -> str:
        """Name of the vector."""
        return f"{self.quantity}_{self.first}_{self.second}"

    @property
    def bits(self) -> int:
        """Bits of an entry."""
        return _QUANTITIES[self.quantity][0]

    def entry(self, a: str, b: str) -> str:
        """Return the entry of the muons at two places."""
        return f"{self.name}[{self.bits}*({SLOTS}*{a} + {b}) +: {self.bits}]"


def write_pairs(vectors: Iterable[PairVector]) -> Iterator[str]:
    """Write the vectors, and the functions of two muons' words that they need."""
    wanted = sorted(vectors)
    quantities = {vector.quantity for vector in wanted}
    if not wanted:
        return
    yield from _DIFFERENCES.format(turn=PHI_BINS).splitlines()
    masses = quantities & {"mass", "mass_upt"}
    tables = ["cosh_eta", "cos_phi"] if masses else []
    tables += ["delta_eta"] if quantities & {"deta", "distance"} else []
    tables += ["delta_phi"] if quantities & {"dphi", "distance"} else []
    for name in tables:
        yield from _table(name)
    if "distance" in quantities:
        yield from _DISTANCE.splitlines()
    for function, pt, step, half in (("mass", "pt", 5, 3), ("mass_upt", "upt", 10, 5)):
        if function in masses:
            yield from _MASS.format(function=function, pt=pt, step=step, half=half).splitlines()
    for vector in wanted:
        yield from _vector(vector)


def _vector(vector: PairVector) -> Iterator[str]:
    call = _QUANTITIES[vector.quantity][1]
    size = vector.bits * SLOTS * SLOTS
    yield ""
    yield f"    reg [{size - 1}:0] {vector.name};"
    yield f"    always @* begin : of_{vector.name}"
    yield "        integer i, j;"
    yield "        reg [63:0] a, b;"
    yield f"        for (i = 0; i < {SLOTS}; i = i + 1)"
    yield f"            for (j = 0; j < {SLOTS}; j = j + 1) begin"
    yield f"                a = muon({vector.first}, i);"
    yield f"                b = muon({vector.second}, j);"
    yield f"                {vector.entry('i', 'j')} = {call};"
    yield "            end"
    yield "    end"


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
    yield "        /* verilator no_inline_task */"
    yield "        input [8:0] entry;"
    yield f"        {name} = {name.upper()}[{bits} * entry +: {bits}];"
    yield "    endfunction"


_DIFFERENCES = """\
    // differences in bins; codes of phi beyond a full turn of {turn} wrap
    function [8:0] eta_bins;
        /* verilator no_inline_task */
        input [63:0] a, b;
        reg signed [9:0] d;
        begin
            d = eta(a) - eta(b);
            eta_bins = d < 0 ? -d : d;
        end
    endfunction
    function [8:0] phi_bins;
        /* verilator no_inline_task */
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
        /* verilator no_inline_task */
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
        /* verilator no_inline_task */
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


_OF_CUTS = {"MASS": "mass", "MASSUPT": "mass_upt", "DR": "distance", "DETA": "deta", "DPHI": "dphi"}
_SCALES = {"MASS": _MASS_SCALE, "MASSUPT": _MASS_SCALE, "DR": 1000, "DETA": 1, "DPHI": 1}


def vector_of(cut: PairCut, first: str, second: str) -> PairVector:
    """Return the vector of which a cut on muons of two crossings takes entries."""
    return PairVector(_OF_CUTS[cut.type], first, second)


def pair_test(cut: PairCut, vector: PairVector, a: str, b: str) -> str:
    """Return the test of a cut on the muons at two places."""
    return _within(vector.entry(a, b), cut, vector.bits)


def sum_of_masses_test(cut: PairCut, entries: Sequence[str]) -> str:
    """Return the test of a cut on the mass of three muons, given those of their pairs."""
    return _within(f"({' + '.join(entries)})", cut, _MASS_BITS)


def _within(value: str, cut: PairCut, bits: int) -> str:
    """Return the test that a value of a given number of bits is within the limits of a cut."""
    scale, most = _SCALES[cut.type], (1 << bits) - 1
    low, high = cut.low * scale, cut.high * scale
    if low > most:
        return "1'b0"
    tests = [f"{value} >= {bits}'d{low}"] * (low > 0) + [f"{value} <= {bits}'d{high}"] * (high < most)
    return f"({' && '.join(tests)})" if tests else "1'b1"
