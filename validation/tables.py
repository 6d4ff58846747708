"""Our tables of the trigger beside the official ones, cell by cell, weighted by muons, in Markdown.

    python validation/tables.py --shared DIR [--muons 1000000]

DIR holds ``bmtf-luts`` and ``ugmt-luts``, the official look-up tables. Identified simulated muons that the
track finder finds with the official tables weight the cells: each muon counts at the address at which it
reads a table. Windows are in units of the stubs' azimuth (1/4096 rad); "same decision" is the share of
pairs of stubs that both tables accept or both refuse.
"""

from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from l1scout.cli.output import print_table
from l1scout.cli.script import Parser, positive, run_script
from l1scout.report.terminal_tables import plain_table
from l1scout.simulate import stubs as dt
from l1scout.simulate.bmtf import LOWEST_PT, PAIRS, REFERENCE, BmtfTables, Candidates, assign
from l1scout.simulate.chain import trigger_tables
from l1scout.simulate.generator import Generator
from l1scout.simulate.gmt import PT_LIMIT
from l1scout.simulate.offline import reconstruct
from l1scout.simulate.stubs import Stubs, stubs
from l1scout.simulate.tables import OFFICIAL_PAIRS, Tables, own_variants
from l1scout.simulate.transport import Start, transport

SEED = 4001
MOST_ETA = 78
"""|hwEta| of 0.85"""


class Difference(NamedTuple):
    """Own minus official values of one table, one per muon that reads it."""

    table: str
    values: NDArray[np.int64]


def sample(n: int) -> tuple[Stubs, NDArray[np.float64]]:
    """Stubs of the identified ones among `n` generated particles, and their offline pT (GeV)."""
    random = np.random.default_rng(SEED)
    particles = Generator().draw(random, n)
    tracks = reconstruct(particles, random)
    start = Start(*(column[tracks.identified] for column in particles.start))
    return stubs(transport(start, random), random), tracks.pt[tracks.identified]


def track_finder_differences(
    s: Stubs, found: Candidates, own: BmtfTables, official: BmtfTables
) -> list[Difference]:
    """Compare the tables of the track finder where muons read them."""
    out = []
    two = np.sum(s.quality > 0, axis=1) == 2
    for m, (name, (a, b), ref) in enumerate(zip(OFFICIAL_PAIRS, PAIRS, REFERENCE, strict=True)):
        here = found.pair == m
        direction = s.bend[:, ref] + 512
        bend = np.clip(s.phi[:, b] - s.phi[:, a], -2048, 2047) + 2048
        steep = np.abs(s.bend[:, ref]) >= official.limit[m]
        for kind, muons in (("high", here & ~steep), ("low", here & steep)):
            ours, theirs = getattr(own, kind)[m], getattr(official, kind)[m]
            out.append(_difference(f"pT {name} {kind}", ours, theirs, bend[muons]))
        read = here & two & ~steep & (s.quality[:, ref] == dt.CORRELATED)
        out.append(_difference(f"pT of direction, {name}", own.bend[m], official.bend[m], direction[read]))
    for k, (name, station) in enumerate((("MB1", 0), ("MB4", 3))):
        read = (found.hwPt > 0) & (s.quality[:, 1] == 0) & ((s.quality[:, 0] > 0) == (station == 0))
        address = s.bend[read, station] + 512
        out.append(_difference(f"phi {name} to MB2", own.to_second[k], official.to_second[k], address))
    return out


def _difference(
    name: str, own: NDArray[np.int16], official: NDArray[np.int16], at: NDArray[np.int64]
) -> Difference:
    return Difference(name, own[at].astype(np.int64) - official[at])


def gmt_differences(found: Candidates, own: Tables, official: Tables) -> list[Difference]:
    """Compare the tables of the GMT where muons read them, up to the |eta| of the paper's selection."""
    eta = np.abs(found.hwEta.astype(np.int64)) >> 3 & 31
    pt = found.hwPt.astype(np.int64)
    read = (pt > 0) & (pt < PT_LIMIT) & (np.abs(found.hwEta) <= MOST_ETA)
    address = (eta << 7 | pt)[read]
    return [
        _difference(f"GMT {kind}", getattr(own[1], kind)["B"], getattr(official[1], kind)["B"], address)
        for kind in ("phi", "eta")
    ]


def window_lines(s: Stubs, own: BmtfTables, official: BmtfTables) -> list[list[str]]:
    """Compare the extrapolation windows: edges and decisions, over all pairs of stubs."""
    lines = []
    for m, (name, (a, b), ref) in enumerate(zip(OFFICIAL_PAIRS, PAIRS, REFERENCE, strict=True)):
        use = (s.quality[:, a] > 0) & (s.quality[:, b] > 0)
        direction = s.bend[use, ref] + 512
        step = s.phi[use, a + b - ref] - s.phi[use, ref]
        edges = [t.window[m, direction].astype(np.int64) for t in (own, official)]
        inside = [(step >= e[:, 0]) & (step <= e[:, 1]) for e in edges]
        outward = (edges[0] - edges[1]) * [-1, 1]
        lines.append(
            [name, f"{step.size:,}"]
            + [f"{np.median(outward):+.0f}", f"{np.quantile(np.abs(outward), 0.9):.0f}"]
            + [f"{np.mean(i):.1%}" for i in inside]
            + [f"{np.mean(inside[0] == inside[1]):.1%}"]
        )
    return lines


def main() -> int:
    """Print the comparison."""
    parser = Parser(__doc__)
    parser.add_argument("--shared", type=Path, required=True, help="folder of the official tables")
    parser.add_argument("--muons", type=positive, default=1_000_000, help="generated particles")
    parser.add_argument("--variant", type=int, default=0, help="of our tables; 0: the nominal ones")
    a = parser.parse_args()
    own = own_variants()[a.variant]
    official = trigger_tables(a.shared / "bmtf-luts", a.shared / "ugmt-luts")
    s, _ = sample(a.muons)
    candidates = {
        name: assign(s, tables[0], np.random.default_rng(SEED))
        for name, tables in (("official", official), ("own", own))
    }
    found = candidates["official"]
    rows = track_finder_differences(s, found, own[0], official[0]) + gmt_differences(found, own, official)
    total = np.sum(found.hwPt > 0)
    print(f"{total:,} found of {found.hwPt.size:,} identified muons; own minus official\n")
    head = ["table", "muons", "median", "mean", "equal", "within 1", "within 2"]
    print_table(plain_table(head, [_line(row) for row in rows]))
    print("\nExtrapolation windows (positive: ours is wider), 1/4096 rad\n")
    head = ["pair", "pairs of stubs", "median", "90 % within", "ours accepts", "official", "same decision"]
    print_table(plain_table(head, window_lines(s, own[0], official[0])))
    print()
    print_table(plain_table(["hwPt", *candidates], _spectra(list(candidates.values()))))
    return 0


def _line(row: Difference) -> list[str]:
    if not row.values.size:
        return [row.table, "0", *[""] * 5]
    within = [f"{np.mean(np.abs(row.values) <= k):.1%}" for k in range(3)]
    return [
        row.table,
        f"{row.values.size:,}",
        f"{np.median(row.values):+.0f}",
        f"{row.values.mean():+.2f}",
        *within,
    ]


def _spectra(candidates: list[Candidates]) -> list[list[str]]:
    """Shares of hwPt codes among muons that are found, and the share that is found."""
    edges = [*range(LOWEST_PT, 21), 25, 30, 40, 60, 90, 513]
    lines = []
    for low, high in pairwise(edges):
        name = f"{low}" if high == low + 1 else f"{low} to {high - 1}"
        shares = [np.mean((c.hwPt[c.hwPt > 0] >= low) & (c.hwPt[c.hwPt > 0] < high)) for c in candidates]
        lines.append([name, *(f"{share:.2%}" for share in shares)])
    return [*lines, ["found", *(f"{np.mean(c.hwPt > 0):.2%}" for c in candidates)]]


if __name__ == "__main__":
    run_script(main)
