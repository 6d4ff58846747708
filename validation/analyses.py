"""What the analyses find of what was planted in a simulated run of 1e8 crossings, and in one without.

    python validation/analyses.py [--orbits 28100]

All analyses see the run at once, chunk by chunk. Prints what was planted, what was found with its
uncertainty, and the difference in standard deviations; time a crossing and memory in each tenth of the run.
Exit status 1 if a difference is above 4, the luminosity is off by more than 0.1 % and 3 standard deviations,
something is found that was not planted or not found that was, or time or memory grow by more than a half.
"""

import resource
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from l1scout.analysis.common.bunch_luminosity import METHODS, Luminosity
from l1scout.analysis.common.cosmic_legs import Cosmics
from l1scout.analysis.common.live_time import LiveTime, Section
from l1scout.analysis.common.maps import Occupancy
from l1scout.analysis.common.muons import FINDERS
from l1scout.analysis.common.schemes import find_scheme, load_scheme
from l1scout.analysis.common.wrong_bx import Firing
from l1scout.cli.output import print_table
from l1scout.cli.script import Parser, positive, run_script
from l1scout.lhc import BX_FREQUENCY_HZ, BX_PER_ORBIT, ORBIT_FREQUENCY_HZ
from l1scout.report.terminal_tables import plain_table
from l1scout.simulate.cosmic import FLIGHT_BX
from l1scout.simulate.run import Running, simulate_run

SCHEME = load_scheme("2018")
CHUNK = 100
SATELLITE = 3450
DEAD, WEAK = 8, 30
"""Processors of OMTF+ and EMTF-."""
SHARES = {"BMTF": 153 / 441, "OMTF+": 38 / 441, "EMTF-": 106 / 441}
"""Of the muons, as the simulation draws them."""
TOLERANCE = 0.05
"""Of symmetry in phi: cosmic muons come from above, and 2 % of the barrel's muons are cosmic here."""
Row = tuple[str, float, float, float]
"""What, planted, found, uncertainty."""


def planted(orbits: int) -> Running:
    """Conditions with everything in them."""
    return Running(
        bunches=(*((int(b), 0.6 + 0.8 * b / BX_PER_ORBIT) for b in SCHEME.bx), (SATELLITE, 0.02)),
        steps=((orbits // 2, 1.02),),
        afterglow=(0.0002, 20.0),
        firing=(("BMTF", 0.005, 0.002, 0.0),),
        processors=((DEAD, 0.0), (WEAK, 0.7)),
        cosmics=0.5,
        leg_efficiency=0.9,
    )


def analyse(running: Running, orbits: int, seed: int) -> tuple[dict[str, Any], list[tuple[float, float]]]:
    """Run all analyses over a simulated run; return the states, and ns a crossing and GB by tenth of it."""
    states: dict[str, Any] = {
        "luminosity": Luminosity(SCHEME, LiveTime(orbits // 2)),
        "occupancy": Occupancy(SCHEME),
        "firing": Firing(SCHEME),
        "cosmics": Cosmics(SCHEME),
    }
    tenths, spent, crossings = [], 0.0, 0
    for piece in simulate_run(seed, orbits, running=running, chunk=CHUNK, origin=True):
        start = time.process_time()  # of this process only, however busy the machine is
        for state in states.values():
            state.add(piece.muons)
        spent, crossings = spent + time.process_time() - start, crossings + CHUNK * BX_PER_ORBIT
        if crossings >= orbits * BX_PER_ORBIT / 10:
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
            tenths.append((spent / crossings * 1e9, memory))
            spent, crossings = 0.0, 0
    return states, tenths


def luminosity_rows(state: Luminosity, running: Running) -> Iterator[Row]:
    """Compare with the muons that are in time and seen."""
    fires = {name: sum(rest) for name, *rest in running.firing}
    lost = {
        "OMTF+": 1 - dict(running.processors).get(DEAD, 1),
        "EMTF-": 1 - dict(running.processors).get(WEAK, 1),
    }
    seen = (
        1 - running.out_of_time - sum(SHARES[n] * x / 6 * (1 - running.out_of_time) for n, x in lost.items())
    )
    seen += SHARES["BMTF"] * (running.out_of_time - fires.get("BMTF", running.out_of_time))
    orbits = [np.arange(s.first, s.last + 1) for s in state.live.sections.values()]
    true = running.luminosity()[SCHEME.bx - 1] * seen * running.step(np.concatenate(orbits)).mean()
    for method in METHODS:
        fitted = state.background(method)
        found = state.whole(method, fitted)
        total, syst = found.total(SCHEME.bx)
        error = np.hypot(total.error, syst)
        yield f"luminosity over truth, {method} counting", 1.0, total.value / true.sum(), error / true.sum()
        pulls = (found.mu[SCHEME.bx - 1] - true) / np.hypot(found.stat, found.syst)[SCHEME.bx - 1]
        yield f"  width of the pulls of {pulls.size} bunches", 1.0, pulls.std(), (2 * pulls.size) ** -0.5
    halves = [state.section(Section(0, k), "rate", fitted).total(SCHEME.bx)[0] for k in (1, 2)]
    step = halves[1].value / halves[0].value
    error = step * np.hypot(halves[0].error / halves[0].value, halves[1].error / halves[1].value)
    yield "luminosity, second half over first", running.steps[0][1] if running.steps else 1.0, step, error


def firing_rows(state: Firing, running: Running) -> Iterator[Row]:
    """Compare shares of the barrel, in %."""
    k = FINDERS.index("BMTF")
    fires = {name: rest for name, *rest in running.firing}
    true = fires.get("BMTF", (running.out_of_time / 2, running.out_of_time / 2, 0.0))
    for name, share, fired in zip(("early", "late"), true, state.edges(state.by_finder[k]), strict=False):
        error = np.hypot(fired.share.error, fired.syst)
        yield f"BMTF muons seen {name}, %", 100 * share, 100 * fired.share.value, 100 * error
    double = state.doubled(k)
    yield "BMTF muons seen twice, %", 100 * true[2], 100 * double.value, 100 * double.error


def cosmic_rows(state: Cosmics, running: Running) -> Iterator[Row]:
    """Compare rate and legs."""
    rate = ORBIT_FREQUENCY_HZ * running.cosmics * running.leg_efficiency**2
    yield "cosmic muons with both legs, Hz", rate, state.rate.value, state.rate.error
    if running.cosmics:
        for leg in ("lower", "upper"):
            found = state.efficiency(leg)
            error = (found.high - found.low) / 2
            yield f"  efficiency of the {leg} leg", running.leg_efficiency, found.value, error
        yield "  BX between the legs", FLIGHT_BX, state.delay.value, state.delay.error
        pure = state.purity
        yield (
            "  purity, against the truth",
            state.counts.true / state.pairs[0],
            pure.value,
            (pure.high - pure.low) / 2,
        )


def occupancy_rows(state: Occupancy, running: Running) -> Iterator[Row]:
    """Compare what is hot, dead or a satellite."""
    for r in state.processor_regions(tolerance=TOLERANCE):
        true = dict(running.processors).get(r.cell, 1.0)
        yield f"processor {r.cell} over the others of its kind", true, r.ratio, r.error
    bunches = dict(running.bunches)
    level = np.mean([bunches.get(int(b), 1.0) for b in SCHEME.bx])
    for s in state.satellites():
        yield f"satellite at BX {s.bx}, of a mean bunch", bunches.get(s.bx, 0.0) / level, s.relative, s.error


def show(name: str, running: Running, orbits: int, seed: int, expected: tuple[list[int], list[int]]) -> bool:
    """Run, print, and tell whether all is well."""
    start = time.perf_counter()
    states, tenths = analyse(running, orbits, seed)
    occupancy, seconds = states["occupancy"], time.perf_counter() - start
    print(f"\n{name}: {orbits * BX_PER_ORBIT:,} simulated crossings, {occupancy.muons:,} muons;", end=" ")
    print(f"{seconds:.0f} s with the simulation")
    rows = [
        *luminosity_rows(states["luminosity"], running),
        *firing_rows(states["firing"], running),
        *cosmic_rows(states["cosmics"], running),
        *occupancy_rows(occupancy, running),
    ]
    pulls = [(found - true) / error for _, true, found, error in rows]
    lines = [
        [what, f"{true:.5g}", f"{found:.5g}", f"{error:.2g}", f"{pull:+.1f}"]
        for (what, true, found, error), pull in zip(rows, pulls, strict=True)
    ]
    print_table(plain_table(["", "planted", "found", "+-", "pull"], lines))
    found = (
        [r.cell for r in occupancy.processor_regions(tolerance=TOLERANCE)],
        [s.bx for s in occupancy.satellites()],
    )
    scheme = find_scheme(states["luminosity"].counts.all_muons, orbits)
    cells = len(occupancy.cell_regions(tolerance=TOLERANCE))
    print(f"processors {found[0]}, satellites {found[1]}, {cells} cells;", end=" ")
    print(f"scheme {scheme.known}, offset {scheme.offset}: {scheme.missing} missing, {scheme.extra} extra")
    ns, memory = np.array(tenths).T
    print("ns a crossing by tenth: " + " ".join(f"{x:.1f}" for x in ns), end="; ")
    print(f"{1e9 / ns.mean() / BX_FREQUENCY_HZ:.2f} x the LHC, four analyses on one core")
    print("GB at most by then:     " + " ".join(f"{x:.3f}" for x in memory))
    steady = memory[-1] < 1.5 * memory[0] and np.median(ns[5:]) < 1.5 * np.median(ns[:5])
    off = abs(rows[0][2] - 1)
    return (
        max(map(abs, pulls)) < 4 and found == expected and bool(steady) and off < max(0.001, 3 * rows[0][3])
    )


def main() -> int:
    """Print the tables."""
    parser = Parser(__doc__)
    parser.add_argument("--orbits", type=positive, default=28_100)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    good = show("planted", planted(given.orbits), given.orbits, given.seed, ([DEAD, WEAK], [SATELLITE]))
    nothing = Running(cosmics=0.0, out_of_time=0.0)
    good &= show("nothing planted", nothing, given.orbits // 5, given.seed, ([], []))
    print("\nEverything as it should be" if good else "\nOutside: see above")
    return int(not good)


if __name__ == "__main__":
    run_script(main)
