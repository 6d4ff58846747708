"""Matched muons a second of the simulation on one core, and what each step takes.

    python benchmarks/simulation.py [millions of pairs]

Times are of the processor, not of the wall, so that other programs matter little. The peer is the
prototype of the project's study: 4.5e4 matched pairs a second on a machine of this kind (it is not
public, so that it cannot run beside this). The target is 1e5.
"""

import time

import numpy as np

from l1scout.cli.script import Parser, positive_float, run_script
from l1scout.dataset.cuts import CutFlow, MuonSelection, select_pairs
from l1scout.simulate.bmtf import assign
from l1scout.simulate.chain import simulate_events
from l1scout.simulate.generator import Generator
from l1scout.simulate.offline import reconstruct
from l1scout.simulate.stubs import stubs
from l1scout.simulate.tables import own_bmtf
from l1scout.simulate.transport import transport

TARGET, PROTOTYPE = 1e5, 4.5e4


def main() -> int:
    """Print the rate; exit status 1 if it is below the target."""
    parser = Parser(__doc__)
    parser.add_argument("millions", nargs="?", type=positive_float, default=1.0, help="millions of pairs")
    wanted = parser.parse_args().millions * 1e6
    chunks, selection, flow, pairs = simulate_events(1), MuonSelection(), CutFlow(), 0
    select_pairs(next(chunks), selection, flow)  # compiles
    start = time.process_time()
    while pairs < wanted:
        pairs += select_pairs(next(chunks), selection, flow)["hwPt"].size
    rate = pairs / (time.process_time() - start)
    print(f"{pairs:,} matched pairs: {rate:,.0f} a second and core ({rate / PROTOTYPE:.1f} x the prototype)")

    random, n = np.random.default_rng(1), 200_000
    at = [time.process_time()]
    particles = Generator().draw(random, n)
    at.append(time.process_time())
    reconstruct(particles, random)
    at.append(time.process_time())
    crossings = transport(particles.start, random)
    at.append(time.process_time())
    found = stubs(crossings, random)
    at.append(time.process_time())
    assign(found, own_bmtf(), random)
    at.append(time.process_time())
    for name, seconds in zip(("generate", "offline", "transport", "stubs", "BMTF"), np.diff(at), strict=True):
        print(f"  {name:10} {seconds / n * 1e9:6.0f} ns a particle")
    return int(rate < TARGET)


if __name__ == "__main__":
    run_script(main)
