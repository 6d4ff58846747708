"""Time of a training step: fused, by JAX and by Keras' own loop, beside its matrix products by BLAS.

    python benchmarks/study.py [--rounds 5] [--study DATA]

Networks of the paper (three hidden layers of 32) on batches of 256 made-up muons, on one processor. Rounds
are interleaved, so that all see the same machine; of each the least processor time counts, without
compilation. The peer is Keras' ``Model.fit``, one network after the other, 32 steps an execution. The matrix
products of a step by the BLAS of SciPy, and nothing else, were taken for the limit of the step by JAX; the
fused step makes its own, which are faster. From the steps follows what the paper's study (A to F, five folds,
60 epochs, the paper's part of 500,000 pairs) and its full grid (336 recipes) would take: an extrapolation,
without what a training needs before and after its steps. ``--study DATA`` measures the study of A to F on
that data set, in two processes, and extrapolates the grid from it.
"""

import dataclasses
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import sgemm

from l1scout.cli.script import Parser, positive, run_script
from l1scout.model.keras_backend import load_keras
from l1scout.training import fused_step
from l1scout.training.recipes import HIDDEN, PAPER, Recipe, build, optimizer, quiet_copies
from l1scout.training.study import HANDLES, Plan, Study, from_handles
from l1scout.training.together import Training, train_together

FOLDS, EPOCHS, MUONS = 5, 60, 413_000
BATCH, STEPS, MEASURED_EPOCHS = 256, 256, 3
GOAL_S, BEFORE_S, PROCESSES = 150, 631, 2
"""The study of A to F is to take 150 s on two processors. By Keras' loop it took 631 s of processor time on a
quiet machine. As machines differ, the goal is a ratio here: 2.1 times Keras' speed, in the same run."""
GRID = 336


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
            at = order[k : k + size]
            yield self.x.take(at, axis=0), self.y.take(at, axis=0)


def together(recipe: Recipe, networks: int) -> Callable[[], None]:
    """Return a function that trains new networks for a few epochs, on the same muons."""
    few = dataclasses.replace(recipe, epochs=MEASURED_EPOCHS, batch=BATCH)
    muons = [Muons(seed) for seed in range(networks)]
    models = [build(recipe) for _ in muons]

    def run() -> None:
        train_together([Training(model, few, m) for model, m in zip(models, muons, strict=True)])

    return run


def by_jax(recipe: Recipe, networks: int) -> Callable[[], None]:
    """Return the same function with the step of networks that the fused one is not for."""
    run = together(recipe, networks)

    def run_by_jax() -> None:
        with patch.object(fused_step, "does", return_value=False):
            run()

    return run_by_jax


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
    """Train the five folds of A to F as `l1scout study --workers 2` does, and print what that takes."""
    with tempfile.TemporaryDirectory() as folder:
        start, before = time.perf_counter(), spent()
        work = Study(data, Path(folder) / "journal", Plan(FOLDS), processes=PROCESSES)
        work.run([*PAPER.values()])
        wall, processor = time.perf_counter() - start, spent() - before
        for name, recipe in PAPER.items():
            print(f"{name}: mean RMS ratio {work.objective(recipe):.4f}")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    print(
        f"A to F on {len(work.data):,} muons in {PROCESSES} processes: {wall:.0f} s (goal {GOAL_S}), "
        f"{processor:.0f} s of processor time; peak memory of a process {peak:.2f} GB"
    )
    grid = GRID / len(PAPER) / 3600
    print(f"grid, extrapolated from that: {grid * wall:.1f} h, {grid * processor:.1f} h of processor time")


def spent() -> float:
    """Return processor time of this process and of those that it waited for, in s."""
    return sum(os.times()[:4])


def main() -> int:
    """Print the table, and what follows from it."""
    parser = Parser(__doc__)
    parser.add_argument("--rounds", type=positive, default=5)
    parser.add_argument("--study", type=Path, help="data set: also train the folds of A to F on it")
    arguments = parser.parse_args()
    processors = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(processors)})  # a worker of a study has one processor, too
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
        "5 together by JAX, adam, relu": (by_jax(PAPER["A"], FOLDS), FOLDS),
        "5 together by JAX, adam, softmax": (by_jax(PAPER["F"], FOLDS), FOLDS),
        "Keras, adam, relu": (by_keras(PAPER["A"]), 1),
        "matrix products by BLAS": (products(), 1),
    }
    with quiet_copies():
        found = measured(work, arguments.rounds)
    peer = found["Keras, adam, relu"]
    print("one step of one network, 256 muons:   us of processor time, times Keras' speed")
    for name, t in found.items():
        print(f"{name:34}{t:10.1f}{peer / t:10.1f}")
    models = [found[f"5 together, {PAPER[n].optimizer}, {PAPER[n].hidden}"] for n in PAPER]
    paper = sum(hours(t, FOLDS) for t in models) * 3600
    grid = sum(hours(found[f"5 together, {k}"], FOLDS * GRID // len(kinds)) for k in kinds)
    limit = hours(found["matrix products by BLAS"], FOLDS * len(PAPER)) * 3600
    print("extrapolated:                             processor time      on two processors")
    print(f"A to F x 5 folds                 {paper:10.0f} s       {paper / 2:10.0f} s")
    print(f"matrix products of these by BLAS {limit:10.0f} s       {limit / 2:10.0f} s")
    print(f"grid, {GRID} x 5 folds              {grid:10.1f} h       {grid / 2:10.1f} h")
    print(f"A to F by Keras' loop, quiet machine: {BEFORE_S} s of processor time (docs/study.md)")
    if arguments.study:
        os.sched_setaffinity(0, processors)
        study(arguments.study)
    ratio, wanted = peer / (sum(models) / len(models)), BEFORE_S / (PROCESSES * GOAL_S)
    print(
        f"A to F together / Keras, one after the other = {ratio:.1f}: "
        f"{'reaches' if ratio >= wanted else 'BELOW'} {wanted:.1f}"
    )
    return 0 if ratio >= wanted else 1


if __name__ == "__main__":
    run_script(main)
