"""Every type of condition of the trigger menu beside a separate interpreter in plain Python.

    python validation/trigger_conditions.py [--crossings 100000] [--per-condition 250] [--seed 1]

Random crossings, a new random condition every few hundred. Exit status 1 if any crossing differs.
"""

import sys
import time
from pathlib import Path

import numpy as np

from l1scout.cli.script import Parser, positive, run_script
from l1scout.trigger.condition_type import CONDITIONS
from l1scout.trigger.menu import Leg, MenuCondition

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from menu_interpreter import STREAMS, as_signal, fulfilled
from random_triggers import as_objects, evaluate, random_condition, random_inputs

SIGNALS = {"external": 256, "centrality": 8, "muon-shower": 8, "cicada": 1 << 16}
"""Types that are a signal, and the number of their thresholds."""


def compare(type_: str, crossings: int, per_condition: int, seed: int) -> tuple[int, int, int]:
    """Return the numbers of crossings, of those that are fulfilled, and of those that differ."""
    rng = np.random.default_rng([seed, sum(type_.encode())])
    done = fulfilled_ = different = 0
    while done < crossings:
        wrap = bool(rng.integers(0, 2))
        inputs = random_inputs(rng, per_condition, wrap)
        if type_ in SIGNALS:
            threshold, offset = int(rng.integers(0, SIGNALS[type_])), int(rng.integers(-2, 3))
            condition = MenuCondition(type_, (Leg(type_, type_, threshold, offset=offset),))
            data = as_objects(inputs, ("muon", "etsum"))
            wanted = [as_signal(data, inputs, k, condition) for k in range(per_condition)]
        else:
            condition = random_condition(rng, type_)
            data = as_objects(inputs, {STREAMS.get(leg.kind, "etsum") for leg in condition.legs})
            wanted = [fulfilled(data, k, condition, wrap) for k in range(per_condition)]
        got = evaluate(condition, inputs)
        done += per_condition
        fulfilled_ += int(got.sum())
        different += int((got != np.array(wanted)).sum())
    return done, fulfilled_, different


def main() -> int:
    """Compare all types and print a line each."""
    parser = Parser(__doc__)
    parser.add_argument("--crossings", type=positive, default=100_000)
    parser.add_argument("--per-condition", type=positive, default=250)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    wrong = 0
    for type_ in CONDITIONS:
        start = time.process_time()
        done, some, different = compare(type_, arguments.crossings, arguments.per_condition, arguments.seed)
        seconds = time.process_time() - start
        print(
            f"{type_:13} {done:,} crossings, {some:,} fulfilled, {different} differ, {seconds:.0f} s of CPU",
            flush=True,
        )
        wrong += different
    return int(wrong > 0)


if __name__ == "__main__":
    run_script(main)
