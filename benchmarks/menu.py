"""Speed of the trigger's emulator: 50 muon algorithms on simulated orbits, a real menu on its test vector.

    python benchmarks/menu.py [--orbits 400] [--shared DIR]

Muons are simulated, 5 % of all crossings having one or more; time is processor time of one core, from the
columns of a batch to the bits of all algorithms, the best of many rounds. The bits of some orbits are
compared with those of the tests' interpreter in plain Python. With the folder of shared data, the menu of
2024 is measured on all objects of its ttbar vector: as a whole, and each algorithm on its own, when the
object requirements that it shares with others are known; of the slowest ten, what they look at is printed.

The exit status is 1 if bits differ or the target is missed.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from l1scout.cli.script import Parser, positive, run_script
from l1scout.core.orbit_batch import OrbitBatch, concatenate
from l1scout.core.orbit_data import OrbitData
from l1scout.lhc import BX_PER_ORBIT
from l1scout.simulate.run import Running, simulate_run
from l1scout.trigger.candidate_rows import candidates
from l1scout.trigger.condition_type import CONDITIONS
from l1scout.trigger.emulator import emulate
from l1scout.trigger.load_menu import load_menu
from l1scout.trigger.menu import Algorithm, Menu, MenuCondition
from l1scout.trigger.orbit_inputs import inputs_of_orbits
from l1scout.trigger.passing_objects import PassingObjects
from l1scout.trigger.short_form import menu_of, parse_algorithm
from l1scout.trigger.trigger_inputs import SLOTS, TriggerInputs
from l1scout.trigger.vector_file import read_vector
from menu_interpreter import fulfilled

OCCUPANCY, TARGET, ROUNDS = 0.05, 20e6, 15
COMPARED_ORBITS = 2
SINGLE = [f"MU{pt}[QLTY>={quality}{eta}]" for pt, quality, eta in (
    (22, 12, ""), (25, 12, ""), (20, 12, ""), (18, 12, ", |ETA|<=1.5"), (15, 12, ""), (12, 8, ""),
    (7, 12, ""), (5, 12, ""), (3, 12, ""), (0, 4, ""), (0, 12, ", INDEX=36..71"), (0, 12, ", INDEX=0..17"),
    (0, 8, ", |ETA|<=1.2"), (10, 12, ", ETA=0.8..2.4"), (6, 12, ", ETA=-2.4..-0.8"), (9, 12, ", PHI=1..2"),
    (16, 12, ", |ETA|<=0.8"), (0, 12, ", UPT>=20"))]  # fmt: skip
DOUBLE = [f"comb{{MU{a}[QLTY>={q}], MU{b}[QLTY>={q}]}}{charges}" for a, b, q, charges in (
    (15, 7, 8, ""), (15, 5, 12, ""), (12, 5, 8, ""), (18, 0, 4, ""), (8, 8, 12, ""), (0, 0, 12, "[OS]"),
    (0, 0, 4, ""), (5, 3, 12, "[OS]"), (4, 4, 12, "[LS]"), (10, 0, 8, ""))]  # fmt: skip
TRIPLE = [f"comb{{MU{a}[QLTY>={q}], MU{b}[QLTY>={q}], MU{c}[QLTY>={q}]}}" for a, b, c, q in (
    (5, 3, 3, 12), (5, 5, 3, 8), (3, 3, 3, 12), (0, 0, 0, 4))]  # fmt: skip
PAIRS = [f"{what}{{MU{a}[QLTY>=12{eta}], MU{b}[QLTY>=12{eta}]}}[{cuts}]" for what, a, b, eta, cuts in (
    ("dist", 0, 0, ", |ETA|<=1.5", "DR<=1.4, OS"), ("dist", 4, 4, ", |ETA|<=2", "DR<=1.2, OS"),
    ("dist", 0, 0, ", |ETA|<=1.4", "DR<=1.4, OS"), ("dist", 3, 3, "", "DETA<=1.8"),
    ("dist", 0, 0, "", "DPHI>=2.6"),
    ("mass_inv", 4.5, 4.5, ", |ETA|<=2", "MASS=7..18, OS"), ("mass_inv", 0, 0, "", "MASS=5..17, OS"),
    ("mass_inv", 3, 3, ", |ETA|<=1.6", "MASS>=1, OS"), ("mass_inv", 18, 18, "", "MASS=60..120, OS"),
    ("mass_inv", 0, 0, ", |ETA|<=1.5", "MASS=2..4, OS, DR<=1.6"), ("mass_inv", 5, 3, "", "MASS<=9, OS"),
    ("mass_inv", 0, 0, "", "MASS>=8, LS"))]  # fmt: skip
OTHER = [
    "mass_inv_3{MU5[QLTY>=12], MU3[QLTY>=12], MU0[QLTY>=12]}[MASS<=12]",
    "mass_inv_3{MU0[QLTY>=12], MU0[QLTY>=12], MU0[QLTY>=12]}[MASS<=9]",
    "comb{MU3, MU3, MU0, MU0}[OS]",
    "comb{MU5, MU5} AND mass_inv{MU0, MU0}[MASS=1..60, OS]",
    "MU10 AND NOT comb{MU0, MU0}",
    "MU5[QLTY>=12] OR comb{MU3, MU3}",
]


def muon_menu() -> Menu:
    """Return 50 algorithms such as those of real menus."""
    texts = [t.replace("4.5", "4p5") for t in (*SINGLE, *DOUBLE, *TRIPLE, *PAIRS, *OTHER)]
    return menu_of([parse_algorithm(t, f"L1_{k}", index=k) for k, t in enumerate(texts)])


def best_of(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Return the smallest processor time of a call, in s."""
    best = float("inf")
    for _ in range(rounds):
        begun = time.process_time()
        work()
        best = min(best, time.process_time() - begun)
    return best


def crossings_as_objects(inputs: TriggerInputs) -> list[dict[str, list[dict[str, int]]]]:
    """Return each crossing as the interpreter takes it."""
    muons = inputs.streams["muon"]
    slots = {n: muons.in_slots(n, inputs.crossings, SLOTS["muon"]).tolist() for n in muons.columns}
    return [
        {"muon": [{n: slots[n][k][i] for n in slots} for i in range(SLOTS["muon"])]}
        for k in range(inputs.crossings)
    ]


def differences(menu: Menu, data: OrbitData) -> int:
    """Return the number of conditions and crossings that differ from the interpreter's."""
    inputs = inputs_of_orbits(data, 0, COMPARED_ORBITS)
    rows, objects = inputs.streams["muon"].crossing.tolist(), crossings_as_objects(inputs)
    passing, different = PassingObjects(inputs), 0
    for condition in {c for a in menu.algorithms for c in a.conditions.values()}:
        got = set(CONDITIONS[condition.type].evaluate(condition, passing).tolist())
        wanted = {k for k in rows if fulfilled(objects, k, condition)}
        different += len(got ^ wanted)
    return different


def muons_of(orbits: int) -> OrbitBatch:
    """Return simulated muons."""
    running = Running(occupancy=OCCUPANCY, intermediate=0)
    return concatenate([p.muons for p in simulate_run(1, orbits, running=running, chunk=100)])


def measure_muons(orbits: int) -> bool:
    """Print the speed of the muon menu; whether it reaches the target and the bits agree."""
    menu, muons = muon_menu(), muons_of(orbits)
    data = OrbitData.of_muons(muons)
    found = emulate(menu, inputs_of_orbits(data, 0, orbits))
    seconds = best_of(lambda: emulate(menu, inputs_of_orbits(data, 0, orbits)))
    crossings = orbits * BX_PER_ORBIT
    speed, different = crossings / seconds, differences(menu, data)
    fired = sum(int(bits.sum()) for bits in found.bits.values())
    print(
        f"{len(menu.algorithms)} muon algorithms, {crossings / 1e6:.2f} M crossings of {orbits} simulated "
        f"orbits, {100 * len(muons) / crossings:.1f} % with muons, {fired:,} bits set"
    )
    reached = "reached" if speed >= TARGET else "MISSED"
    print(
        f"  {speed / 1e6:.1f} M crossings/s on one core ({TARGET / 1e6:.0f} M: {reached}), best of {ROUNDS}"
    )
    print(
        f"  {different} differences from the interpreter in {COMPARED_ORBITS} orbits, condition by condition"
    )
    return speed >= TARGET and not different and not found.problems


def measure_menu(folder: Path) -> None:
    """Print the time of the menu of 2024 on its vector, and of its slowest algorithms."""
    menu = load_menu(folder / "L1Menu_Collisions2024_v1_3_0-d1.derived.json.gz")
    inputs = read_vector(folder / "L1menu_2024_v1_3_0_ttBar_TestVector_003.txt.gz").inputs
    emulate(menu, inputs)
    whole = best_of(lambda: emulate(menu, inputs), 5)
    emulated = [a for a in menu.algorithms if not a.problem]
    print(
        f"menu of 2024: {len(emulated)} algorithms on all objects of {inputs.crossings} crossings of ttbar:"
    )
    print(f"  {1e3 * whole:.0f} ms, {inputs.crossings / whole / 1e3:.0f} k crossings/s on one core")
    passing = PassingObjects(inputs)
    times = {a.name: best_of(lambda a=a: evaluate(a, passing), 3) for a in emulated}
    slowest = sorted(emulated, key=lambda a: -times[a.name])[:10]
    middle = float(np.median(list(times.values())))
    print(f"  each alone, its object requirements known: median {1e6 * middle:.0f} us, the slowest ten:")
    for algorithm in slowest:
        parts = ", ".join(looked_at(algorithm, passing))
        print(f"  {1e3 * times[algorithm.name]:7.2f} ms {algorithm.name}: {parts}")


def evaluate(algorithm: Algorithm, passing: PassingObjects) -> None:
    """Evaluate the conditions of an algorithm."""
    for condition in algorithm.conditions.values():
        CONDITIONS[condition.type].evaluate(condition, passing)


def looked_at(algorithm: Algorithm, passing: PassingObjects) -> list[str]:
    """Describe the slowest condition of an algorithm: what its loops go through."""

    def seconds(condition: MenuCondition) -> float:
        return best_of(lambda: CONDITIONS[condition.type].evaluate(condition, passing), 2)

    condition = max(algorithm.conditions.values(), key=seconds)
    if not condition.cuts:
        return [condition.type]
    found = candidates(passing, condition.legs)
    counts = [
        np.bitwise_count(passing.places(leg, found.padded)[rows]).astype(np.int64)
        for leg, rows in zip(condition.legs, found.rows, strict=True)
    ]
    combinations = int(np.prod(counts, axis=0).sum())
    kinds = "-".join(leg.kind for leg in condition.legs)
    cuts = "+".join(cut.type for cut in condition.cuts)
    return [
        f"{condition.type} {kinds} {cuts}",
        f"{len(found.crossing)} crossings",
        f"{combinations:,} combinations",
    ]


def main() -> int:
    """Print both parts; exit status 1 if the target is missed or bits differ."""
    parser = Parser(__doc__)
    parser.add_argument("--orbits", type=positive, default=400, help="orbits to simulate, up to 400")
    parser.add_argument("--shared", type=Path, help="folder of shared data, which holds l1-menus")
    given = parser.parse_args()
    good = measure_muons(given.orbits)
    if given.shared:
        measure_menu(given.shared / "l1-menus")
    return 0 if good else 1


if __name__ == "__main__":
    run_script(main)
