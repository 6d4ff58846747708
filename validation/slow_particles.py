"""Slow particles planted in simulated stubs: efficiency of selections by velocity, and their rates.

``python validation/slow_particles.py [--orbits 512]`` prints what docs/analyses.md states. All is simulation.
"""

from itertools import pairwise

import numpy as np

from l1scout.analysis.common.stub_windows import StubWindows
from l1scout.cli.script import Parser, positive, run_script
from l1scout.lhc import crossing
from l1scout.simulate.activity import Activity
from l1scout.simulate.all_streams import of_streams
from l1scout.simulate.collisions import simulate_orbits
from l1scout.statistics import proportion
from l1scout.trigger.multi_bx_stubs import StubSelection

SELECTIONS = (
    "track",
    "track,min_stubs=4",
    "track,min_bx=3",
    "wheel,window=3,min_stubs=3",
    "simple,window=3,min_stubs=5",
)
BETAS = (0.2, 0.3, 0.4, 0.5, 0.6)


def measure(orbits: int, per_orbit: float, seed: int) -> None:
    """Print efficiencies and rates of all selections."""
    states = {text: StubWindows(StubSelection.parse(text)) for text in SELECTIONS}
    passed: dict[str, list[np.ndarray]] = {text: [] for text in SELECTIONS}
    beta = []
    activity = Activity(slow=per_orbit, slow_beta=(BETAS[0], BETAS[-1]))
    for made in simulate_orbits(seed, orbits, activity=activity, chunk=8):
        stubs, truth = of_streams(made, ("stub",)).streams["stub"], made.slow_particles
        time = crossing(stubs.orbit - made.first, stubs.bx)[stubs.row]
        beta.append(truth.beta)
        for text, state in states.items():
            state.add(stubs)
            ends = state.selection.select(time, stubs.columns)
            passed[text].append(np.isin(truth.crossing + truth.late.max(axis=1), ends))
    velocity = np.concatenate(beta)
    print(f"{orbits} orbits, pile-up {activity.pile_up:g}, {velocity.size} slow particles planted")
    for text, state in states.items():
        result = state.result()
        row = []
        if per_orbit:
            of_all = np.concatenate(passed[text])
            for low, high in pairwise(BETAS):
                inside = (velocity >= low) & (velocity < high)
                e = proportion(int(of_all[inside].sum()), int(inside.sum()))
                row.append(
                    f"{low:g}-{high:g}: {e.value:.3f} (+{e.high - e.value:.3f} -{e.value - e.low:.3f})"
                )
        chance, rate = result["expected"], result["rate_hz"]
        print(
            f"{text}: selected {result['compared']}, mixed {chance['value']:.1f} +- {chance['error']:.1f}, "
            f"rate {rate['value'] / 1e3:.2f} +- {rate['error'] / 1e3:.2f} kHz; {', '.join(row)}"
        )


def main() -> None:
    """Measure without slow particles, and with some."""
    parser = Parser(__doc__)
    parser.add_argument("--orbits", type=positive, default=512)
    orbits = parser.parse_args().orbits
    measure(orbits, 0.0, seed=11)
    measure(orbits, 5.0, seed=12)


if __name__ == "__main__":
    run_script(main)
