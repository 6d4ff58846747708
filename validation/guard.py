"""The guard on muons of new seeds: codes of hwPt and hwEta at which a network is worse than the trigger.

    python validation/guard.py [NAME...] --shared DIR --seed N [--pairs 486000] [--others 250000]

For each data set (all of them without NAME) `balanced` is trained on its training part, the guard chosen on
its validation part, and both are judged on muons of another seed: N + 10 k + 1 makes the data set, N + 10 k
+ 2 the others, for the k-th of `SAMPLES`. A seed that was looked at before a change of the training is no
test of that change: take a new one. DIR holds the trigger's official tables, ``bmtf-luts`` and ``ugmt-luts``.

A comparison is RMS or tail of phi, eta or pT at one hwPt (hwEta) with 50 muons, sparse neighbours pooled.
Worse (better) means by more than two standard deviations. Of comparisons that are neither, chance makes
2.3 % worse.
"""

import dataclasses
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from l1scout.cli.dataset import collect_with_bar
from l1scout.cli.script import Parser, positive, run_script
from l1scout.dataset.cuts import MuonSelection
from l1scout.dataset.matched import Dataset, read_dataset
from l1scout.errors import InputError
from l1scout.evaluate.metrics import TAIL, Scores, ratios
from l1scout.evaluate.profiles import HARDWARE_AXES, MIN_MUONS, SIGNIFICANT, profile
from l1scout.evaluate.targets import raw_residuals
from l1scout.io.conditions import simulation
from l1scout.model.quantities import VARIABLES, Residuals
from l1scout.simulate.chain import simulate_events
from l1scout.simulate.detector import MATERIAL_SCALE
from l1scout.simulate.generator import Spectrum
from l1scout.simulate.stubs import Chambers
from l1scout.statistics import paired_ratio, rms_ratio
from l1scout.training.code_guard import find
from l1scout.training.epoch_loops import answers_of, residuals_after
from l1scout.training.fit import fit
from l1scout.training.recipes import RECIPES

HARD = 0.1
"""Share of the hard component in samples for every hwPt."""
BY_CHANCE = 0.0228
"""Probability of a Gaussian above two standard deviations."""


class Sample(NamedTuple):
    """A data set to train on.

    Parameters
    ----------
    settings : mapping
        Of the simulation.
    official : bool
        With the trigger's official tables.
    paper : bool
        The paper's selection of L1 pT.
    pairs : float
        Share of ``--pairs``, of the data set.
    change : callable
        What is done with the muons.
    """

    settings: Mapping[str, Any]
    official: bool = True
    paper: bool = False
    pairs: float = 1.0
    change: Callable[[Dataset], Dataset] = lambda data: data


def odd_charges(data: Dataset) -> Dataset:
    """Take the charge of a third of the muons away, move negative eta by a code, keep hwPt 8 to 80."""
    columns, random = dict(data.columns), np.random.default_rng(len(data))
    charge, lost = columns["hwCharge"], random.random(len(data)) < 1 / 3
    columns["hwCharge"] = np.where(lost, 0, charge).astype(charge.dtype)
    negative = (columns["hwEta"] < 0) | ((columns["hwEta"] == 0) & (columns["recoEta"] < 0))
    for name in ("hwEta", "hwEtaAtVtx"):
        moved = np.maximum(columns[name].astype(np.int64) - negative, -256)
        columns[name] = moved.astype(columns[name].dtype)
    within = (columns["hwPt"] >= 8) & (columns["hwPt"] <= 80)
    return dataclasses.replace(data, columns=columns).select(within)


OTHER_DETECTOR = {
    "material": 1.04 * MATERIAL_SCALE,
    "alignment": (3e-4, -3e-4, 3e-4, -3e-4),
    "scattering": 1.1,
    "chambers": Chambers().coarser(1.1),
    "hard": HARD,
}
SAMPLES = {
    "hard": Sample({"hard": HARD}),
    "spectrum": Sample({"spectrum": Spectrum(heavy_flavour=(4.3, 3.0))}, paper=True),
    "detector": Sample(OTHER_DETECTOR),
    "kalman": Sample({"trigger": "kbmtf", "hard": HARD}, official=False),
    "odd": Sample({}, paper=True, pairs=300 / 486, change=odd_charges),
    "few": Sample({"hard": HARD}, pairs=20 / 486),
}


def make(sample: Sample, seed: int, pairs: int, luts: Mapping[str, Path]) -> Dataset:
    """Simulate a sample."""
    tables = luts if sample.official else {}
    about = {k: v for k, v in sample.settings.items() if k == "trigger"}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pairs.parquet"
        collect_with_bar(
            simulate_events(seed, **tables, **sample.settings),
            path,
            pairs,
            seed=seed,
            selection=MuonSelection(paper=sample.paper),
            conditions=simulation(**tables, **about),
        )
        return sample.change(read_dataset(path))


def groups(codes: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return first and last of codes that are compared: by itself with `MIN_MUONS` muons, or pooled."""
    found: list[tuple[int, int]] = []
    first, within = 0, 0
    for code, muons in zip(*np.unique(codes, return_counts=True), strict=True):
        if muons >= MIN_MUONS:
            found.append((int(code), int(code)))
            within = 0
            continue
        first = int(code) if not within else first
        within += int(muons)
        if within >= MIN_MUONS:
            found.append((first, int(code)))
            within = 0
    return found


def compared(codes: NDArray[np.int64], raw: Residuals, model: Residuals) -> str:
    """Say in how many comparisons the model is worse than the trigger, and in what."""
    worse: Counter[str] = Counter()
    comparisons = better = 0
    for low, high in groups(codes):
        here = (codes >= low) & (codes <= high)
        for v in VARIABLES:
            ours, theirs = model[v][here], raw[v][here]
            tails = paired_ratio(np.abs(ours) > TAIL[v], np.abs(theirs) > TAIL[v])
            for metric, m in (("rms", rms_ratio(ours, theirs)), ("tail", tails)):
                if not np.isfinite([m.value, m.error]).all():
                    continue
                comparisons += 1
                better += m.value + SIGNIFICANT * m.error < 1
                worse[f"{v} {metric}"] += m.value - SIGNIFICANT * m.error > 1
    number = worse.total()
    chance = BY_CHANCE * (comparisons - number - better)
    what = ", ".join(f"{n} {k}" for k, n in worse.items() if n)
    return f"{number} of {comparisons} ({chance:.1f})" + (f": {what}" if what else "")


def nine(scores: Scores) -> str:
    """Return the nine metrics with their uncertainties."""
    kinds = (getattr(scores, kind) for kind in ("rms", "core", "tail"))
    return "; ".join(" / ".join(f"{k[v].value:.3f}±{k[v].error:.3f}" for v in VARIABLES) for k in kinds)


def judge(data: Dataset, others: Dataset) -> None:
    """Train, and print what the network does on other muons, with the guard and without it."""
    trained = fit(data, dataclasses.replace(RECIPES["default"], guard=False))
    card, validation = trained.card, data.part("validation")

    def after(x: Dataset, answers: NDArray[np.float64], factors: Mapping[str, Any] | None) -> Residuals:
        gains = trained.gains.times(factors) if factors is not None else trained.gains
        return residuals_after(card, gains, answers, x, raw_residuals(x))

    answers = answers_of(trained.model, card, validation.columns)
    none, full = (after(validation, a, None) for a in (np.zeros_like(answers), answers))
    guard = find(validation, raw_residuals(validation), none, full, card.reference)
    answers, raw = answers_of(trained.model, card, others.columns), raw_residuals(others)
    models = {"balanced": after(others, answers, None), "default": after(others, answers, guard.factors)}
    print(f"{len(data):,} muons (60 % trained on), judged on {len(others):,}; corrected at {card.reference}")
    print(f"default over balanced, RMS; core; tail: {nine(ratios(models['default'], models['balanced']))}")
    for name, found in models.items():
        by = [f"{c} {compared(others[c].astype(np.int64), raw, found)}" for c in ("hwPt", "hwEta")]
        wide = [profile(others, axis, raw, {"model": found}).worse["model"] for axis in HARDWARE_AXES]
        bins = sum(int(np.sum(w[v][q])) for w in wide for v in VARIABLES for q in ("rms", "tail"))
        print(f"{name}: over the trigger {nine(ratios(found, raw))}")
        print(f"{name}: worse in {'; '.join(by)}; in wider bins {bins}", flush=True)


def main() -> int:
    """Print the numbers of each data set."""
    parser = Parser(__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(SAMPLES)}")
    parser.add_argument("--shared", type=Path, required=True, help="folder of the official tables")
    parser.add_argument("--seed", type=positive, required=True)
    parser.add_argument("--pairs", type=positive, default=486_000, help="of the largest data sets")
    parser.add_argument("--others", type=positive, default=250_000, help="pairs that are judged")
    a = parser.parse_args()
    for name in a.names:
        if name not in SAMPLES:
            msg = f"{name}: not a data set; there are {', '.join(SAMPLES)}"
            raise InputError(msg)
    luts = {"bmtf_luts": a.shared / "bmtf-luts", "gmt_luts": a.shared / "ugmt-luts"}
    for k, (name, sample) in enumerate(SAMPLES.items()):
        if a.names and name not in a.names:
            continue
        seed = a.seed + 10 * k
        print(f"\n## {name}, seeds {seed + 1} and {seed + 2}", flush=True)
        data = make(sample, seed + 1, round(a.pairs * sample.pairs), luts)
        judge(data, make(sample, seed + 2, a.others, luts))
    return 0


if __name__ == "__main__":
    run_script(main)
