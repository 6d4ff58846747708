"""Steps of training a second: networks together and alone, beside Keras' own loop and the matrix products.

    python benchmarks/study.py [--rounds 5] [--study DATA]

Networks of the paper (three hidden layers of 32) on batches of 256 made-up muons, on one processor. Rounds
are interleaved, so that all see the same machine; of each the least processor time counts, compiling not. The
peer is Keras' ``Model.fit`` as it was used before: one network after the other, 32 steps an execution. The
limit are the matrix products of a step by the BLAS of SciPy, and nothing else. From the steps follows what
the paper's study (A to F, five folds, 60 epochs, 500,000 muons) and its full grid (336 recipes) would take:
an extrapolation. ``--study DATA`` measures a part of it, the five folds of A, B and F on that data set.
"""

import dataclasses
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import sgemm

from l1scout.cli.script import Parser, positive, run_script
from l1scout.model.keras_backend import load_keras
from l1scout.training.recipes import HIDDEN, PAPER, Recipe, build, optimizer, quiet_copies
from l1scout.training.study import HANDLES, Plan, Study, from_handles
from l1scout.training.together import Training, train_together

FOLDS, EPOCHS, MUONS = 5, 60, 500_000
BATCH, STEPS, MEASURED_EPOCHS = 256, 256, 3
GOAL_S, BEFORE_S = 150, 631
"""Of the study of A to F: on two processors, and processor time with Keras' loop. That was measured on a
quiet machine, so the goal is a ratio here: 2.1 times Keras' speed, in the same run."""


class Muons:
    """Made-up muons of one network."""

    steps = STEPS

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.x = rng.random((BATCH * STEPS, 4), np.float32)
        self.y = rng.random((BATCH * STEPS, 3), np.float32)

    def epoch(self, number: int, size: int) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        """Go through all muons once, mixed anew."""
        order = np.random.default_rng(number).permutation(len(self.x))
        for k in range(0, len(order), size):
            yield self.x[order[k : k + size]], self.y[order[k : k + size]]


def together(recipe: Recipe, networks: int) -> Callable[[], None]:
    """Return a function that trains new networks for a few epochs, on the same muons."""
    few = dataclasses.replace(recipe, epochs=MEASURED_EPOCHS, batch=BATCH)
    muons = [Muons(seed) for seed in range(networks)]
    models = [build(recipe) for _ in muons]

    def run() -> None:
        train_together([Training(model, few, m) for model, m in zip(models, muons, strict=True)])

    return run


def by_keras(recipe: Recipe) -> Callable[[], None]:
    """Return a function that trains a network for a few epochs by Keras' loop."""
    keras, model, muons = load_keras(), build(recipe), Muons(0)
    model.compile(optimizer=optimizer(recipe), loss=keras.losses.LogCosh(), steps_per_execution=32)

    def run() -> None:
        model.fit(muons.x, muons.y, batch_size=BATCH, epochs=MEASURED_EPOCHS, verbose=0)

    return run


def products() -> Callable[[], None]:
    """Return a function that does the matrix products of a few epochs: forward, and two backward."""
    rng, widths = np.random.default_rng(0), (4, *HIDDEN, 3)
    work = []
    for a, b in pairwise(widths):
        given, weights, slope = (
            np.asfortranarray(rng.random(s, np.float32)) for s in ((a, BATCH), (b, a), (b, BATCH))
        )
        work.append((weights, given, False, False))
        work.append((slope, given, False, True))
        if a != widths[0]:
            work.append((weights, slope, True, False))

    def run() -> None:
        for _ in range(STEPS * MEASURED_EPOCHS):
            for one, other, first, second in work:
                sgemm(1.0, one, other, trans_a=first, trans_b=second)

    return run


def measured(work: dict[str, tuple[Callable[[], None], int]], rounds: int) -> dict[str, float]:
    """Return microseconds of processor time of a step of one network, the least of the rounds."""
    best, steps = dict.fromkeys(work, np.inf), STEPS * MEASURED_EPOCHS
    for round_number in range(rounds + 1):
        for name, (run, networks) in work.items():
            start = time.process_time()
            run()
            if round_number:  # the first one compiles
                best[name] = min(best[name], 1e6 * (time.process_time() - start) / steps / networks)
    return best


def hours(step_us: float, trainings: int) -> float:
    """Return processor hours of `trainings` trainings and of their validations (a third of a step each)."""
    steps = EPOCHS * 0.6 * MUONS / BATCH * (1 + 1 / 9)
    return trainings * steps * step_us / 3.6e9


def study(data: Path) -> None:
    """Train the five folds of A, B and F as the study does, and print what each takes."""
    with tempfile.TemporaryDirectory() as folder:
        work = Study(data, Path(folder) / "journal", Plan(FOLDS))
        total = 0.0
        for name, like in (("A", 2), ("B", 3), ("F", 1)):
            start, wall = time.process_time(), time.perf_counter()
            work.run([PAPER[name]])
            taken = time.process_time() - start
            total += like * taken
            objective = work.objective(PAPER[name])
            elapsed = time.perf_counter() - wall
            print(
                f"{name}: {taken:.0f} s of processor time, {elapsed:.0f} s of wall time; RMS {objective:.4f}"
            )
        print(f"A to F (A and E, B to D alike): {total:.0f} s of processor time on {len(work.data):,} muons")


def main() -> int:
    """Print the table, and what follows from it."""
    parser = Parser(__doc__)
    parser.add_argument("--rounds", type=positive, default=5)
    parser.add_argument("--study", type=Path, help="data set: also train the folds of A, B and F on it")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # a worker of a study has one processor, too
    kinds = {
        f"{o}, {h}": from_handles(
            {
                **dict.fromkeys(HANDLES),
                "loss": "logcosh",
                "optimizer": o,
                "hidden": h,
                "regularization": "none",
                "output": "linear",
            }
        )
        for o in HANDLES["optimizer"]
        for h in HANDLES["hidden"]
    }
    work = {f"5 together, {name}": (together(r, FOLDS), FOLDS) for name, r in kinds.items()}
    work |= {
        "alone, adam, relu": (together(PAPER["A"], 1), 1),
        "Keras, adam, relu": (by_keras(PAPER["A"]), 1),
    }
    work |= {"matrix products": (products(), 1)}
    with quiet_copies():
        found = measured(work, arguments.rounds)
    peer = found["Keras, adam, relu"]
    print("one step of one network, 256 muons:   us of processor time, times Keras' speed")
    for name, t in found.items():
        print(f"{name:32}{t:10.0f}{peer / t:10.1f}")
    models = [found[f"5 together, {PAPER[n].optimizer}, {PAPER[n].hidden}"] for n in PAPER]
    paper = sum(hours(t, FOLDS) for t in models) * 3600
    grid = sum(hours(found[f"5 together, {k}"], FOLDS * 336 // len(kinds)) for k in kinds)
    print("extrapolated:                             processor time      on two processors")
    print(f"A to F x 5 folds                 {paper:10.0f} s       {paper / 2:10.0f} s")
    print(f"grid, 336 x 5 folds              {grid:10.1f} h       {grid / 2:10.1f} h")
    print(f"A to F by Keras' loop, quiet machine: {BEFORE_S} s of processor time (docs/study.md)")
    if arguments.study:
        study(arguments.study)
    ratio, wanted = peer / (sum(models) / len(models)), BEFORE_S / (2 * GOAL_S)
    print(
        f"A to F together / Keras, one after the other = {ratio:.1f}: "
        f"{'reaches' if ratio >= wanted else 'BELOW'} {wanted:.1f}"
    )
    return 0 if ratio >= wanted else 1


if __name__ == "__main__":
    run_script(main)
