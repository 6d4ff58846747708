"""Faults of the trigger's firmware, one bit of one limit: whether they are found and named.

    python validation/planted_faults.py MENU [--orbits 8] [--seed 1]

Simulated muons and objects of the calorimeter at the occupancy of 2024 are decided on by a menu in which half
of the algorithms have one random bit of one limit changed, and compared with the menu as it is. Exit status 1
if a fault that changes a bit is not found, an algorithm without a fault differs, or none of the explanations
of an algorithm is the planted one although they are few enough to be listed.
"""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from l1scout.cli.script import Parser, positive, run_script
from l1scout.core.orbit_batch import concatenate
from l1scout.core.orbit_data import OrbitData, final_only
from l1scout.simulate.activity import ACTIVITIES
from l1scout.simulate.all_streams import simulate_streams
from l1scout.trigger.cross_check import CrossChecker
from l1scout.trigger.cross_check_faults import MAX_EXPLANATIONS, single_bit_faults
from l1scout.trigger.emulator import emulate
from l1scout.trigger.load_menu import load_menu
from l1scout.trigger.menu import Menu
from l1scout.trigger.orbit_inputs import inputs_of_orbits
from l1scout.trigger.simulate_decisions import decisions

STREAMS = ("muon", "jet", "egamma", "tau", "etsum")


def simulated(orbits: int, seed: int) -> OrbitData:
    """Return consecutive orbits of all streams that the trigger reads."""
    parts = list(simulate_streams(seed, orbits, streams=STREAMS, activity=ACTIVITIES["2024"], chunk=orbits))
    return final_only(OrbitData({n: concatenate([p.streams[n] for p in parts]) for n in parts[0].streams}))


def with_faults(menu: Menu, names: set[str], rng: np.random.Generator) -> tuple[Menu, dict[str, str]]:
    """Return a menu in which some algorithms have a random single fault, and which."""
    planted, algorithms = {}, []
    for algorithm in menu.algorithms:
        faults = list(single_bit_faults(algorithm)) if algorithm.name in names else []
        if faults and rng.random() < 0.5:
            planted[algorithm.name], changed = faults[int(rng.integers(len(faults)))]
            algorithms.append(changed)
        else:
            algorithms.append(algorithm)
    return replace(menu, algorithms=tuple(algorithms)), planted


def main() -> int:
    """Plant faults, cross-check, and print what was found."""
    parser = Parser(__doc__)
    parser.add_argument("menu", type=Path)
    parser.add_argument("--orbits", type=positive, default=8)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    menu, data = load_menu(arguments.menu), simulated(arguments.orbits, arguments.seed)
    inputs = inputs_of_orbits(data, data.main.first_orbit or 0, arguments.orbits)
    right = emulate(menu, inputs)
    faulty, planted = with_faults(menu, set(right.bits), np.random.default_rng(arguments.seed))
    wrong = emulate(faulty, inputs)
    changed = {n for n in planted if not np.array_equal(right.bits[n], wrong.bits[n])}
    start = time.process_time()
    found = CrossChecker(menu).run([OrbitData({**data.streams, "gt": decisions(data, faulty)})])
    seconds = time.process_time() - start
    differing = {a.name: a.explanations for a in found.differing}
    named = [n for n in changed if planted[n] in differing.get(n, ())]
    alone = [n for n in named if len(differing[n]) == 1]
    missed, false = changed - set(differing), set(differing) - changed
    print(
        f"{menu.name}: {len(right.bits)} algorithms, {arguments.orbits} orbits; {len(planted)} faults "
        f"planted, of which {len(changed)} change a bit"
    )
    print(
        f"{len(changed) - len(missed)} found, {len(missed)} missed, {len(false)} algorithms wrongly accused; "
        f"{len(named)} faults among the explanations, {len(alone)} as the only one; {seconds:.1f} s of CPU"
    )
    wrongly = [n for n in sorted(changed - set(named)) if len(differing.get(n, ())) < MAX_EXPLANATIONS]
    for name in wrongly:
        print(f"not named: {name}: planted {planted[name]}; explained by {differing.get(name)}")
    return int(bool(missed or false or wrongly))


if __name__ == "__main__":
    run_script(main)
