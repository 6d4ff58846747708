"""Anomaly models on planted signals: efficiency at fixed rates of simulated minimum bias, beside simple cuts.

All of it is simulated, background and signals: toys, and no claim about real data. Models are trained on one
sample; thresholds and efficiencies are of another one that is used once. Uncertainties are standard
deviations of bootstrap samples of background and signal.

    python validation/anomaly.py --out FOLDER [--orbits 300] [--seed 301]
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.analysis.figures.canvas import COLOURS, canvas, label, titles
from l1scout.cli.script import Parser, positive, run_script
from l1scout.core.joint_rows import joint_rows
from l1scout.core.orbit_batch import OrbitBatch, final_muons
from l1scout.core.orbit_data import OrbitData
from l1scout.core.provenance import recorded
from l1scout.deploy.anomaly_score import AnomalyScorer
from l1scout.lhc import BX_FREQUENCY_HZ, BX_PER_ORBIT, order_of_time
from l1scout.simulate.all_streams import simulate_streams
from l1scout.simulate.planted_signals import SIGNALS, filled_crossings, plant
from l1scout.training.anomaly_fit import collect_crossings, fit_encoder, save_anomaly_model

STREAMS = ("muon", "jet", "egamma", "etsum")
FRACTIONS = (1e-3, 1e-4)
"""Of all crossings, empty ones too: 40 and 4 kHz."""
EVERY = 25
"""One filled crossing in this number gets a signal event."""
REPLICAS = 200
TRAINING_SEED, TRAINING_ORBITS, MUON_ORBITS = 101, 100, 1500
Values = dict[str, NDArray[np.float64]]


def highest(batch: OrbitBatch, rows: OrbitBatch, values: NDArray[Any], rank: int = 0) -> NDArray[np.float64]:
    """Return the largest value of the objects of each crossing, or the next ones; -1 where there is none."""
    order = np.lexsort([-values.astype(np.float64), batch.row])
    row, values = batch.row[order], values[order]
    place = np.arange(row.size) - np.searchsorted(row, row)
    at = np.searchsorted(order_of_time(rows.orbit, rows.bx), order_of_time(batch.orbit, batch.bx))
    found = np.full(len(rows), -1.0)
    found[at[row[place == rank]]] = values[place == rank]
    return found


def counted(batch: OrbitBatch, rows: OrbitBatch) -> NDArray[np.float64]:
    """Return the number of objects in each crossing."""
    at = np.searchsorted(order_of_time(rows.orbit, rows.bx), order_of_time(batch.orbit, batch.bx))
    found = np.zeros(len(rows))
    found[at] = batch.counts
    return found


def discriminants(data: OrbitData, scorers: Mapping[str, AnomalyScorer]) -> Values:
    """Return what selects among the crossings of data: scores of models, and simple cuts."""
    rows = joint_rows(list(data.streams.values()))
    muons, jets, sums = final_muons(data.muons), data.streams["jet"], data.streams["etsum"]
    displaced = muons.select(muons["hwDXY"] >= 2)
    found = {
        "objects": sum(counted(b, rows) for b in (muons, jets, data.streams["egamma"])),
        "total Et": highest(sums, rows, sums["hwTotalEt"]),
        "Ht": highest(sums, rows, sums["hwTotalHt"]),
        "jet pT": highest(jets, rows, jets["hwPt"]),
        "muon pT": highest(muons, rows, muons["hwPt"]),
        "second muon pT": highest(muons, rows, muons["hwPt"], 1),
        "displaced muon pT": highest(displaced, rows, displaced["hwPt"]),
    }
    for name, scorer in scorers.items():
        scores = scorer(data)
        found[name] = highest(scores, rows, scores["hwScore"])
    return found


def joined(parts: list[Values]) -> Values:
    """Join values of several pieces of a sample."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def background_and_signals(
    seed: int, orbits: int, scorers: Mapping[str, AnomalyScorer]
) -> tuple[Values, dict[str, Values]]:
    """Return what selects crossings of minimum bias, and other such crossings with a signal event."""
    pieces = simulate_streams(seed, orbits, STREAMS, chunk=20)
    background = [discriminants(data, scorers) for data in pieces]
    signals: dict[str, list[Values]] = {name: [] for name in SIGNALS}
    for data in simulate_streams(seed + 1, max(orbits // 4, 1), STREAMS, chunk=20):
        crossings = filled_crossings(data, EVERY)
        for k, name in enumerate(SIGNALS):
            planted = plant(data, name, crossings, seed + 1000 * k + int(crossings.orbit[0]))
            signals[name].append(discriminants(planted, scorers))
    return joined(background), {name: joined(parts) for name, parts in signals.items()}


def threshold_for(values: NDArray[np.float64], most: float) -> float:
    """Return the smallest threshold that at most so many values reach: ties are left out together."""
    ordered = np.sort(values)[::-1]
    k = int(most)
    return float(ordered[k]) if k < ordered.size else -np.inf


def efficiencies(
    background: NDArray[np.float64], signal: NDArray[np.float64], crossings: int, random: np.random.Generator
) -> list[dict[str, float]]:
    """Return signal efficiencies at `FRACTIONS` of background, with bootstrap uncertainties."""
    rows = []
    for fraction in FRACTIONS:
        most = fraction * crossings
        cut = threshold_for(background, most)
        # of the background, only what is near the threshold matters: how many of it a sample has above it
        drawn = [threshold_for(background, n) for n in random.poisson(most, REPLICAS)]
        replicas = [float((random.choice(signal, signal.size) > c).mean()) for c in drawn]
        rows.append(
            {
                "fraction": fraction,
                "rate_khz": fraction * BX_FREQUENCY_HZ / 1e3,
                "background_khz": float((background > cut).sum()) / crossings * BX_FREQUENCY_HZ / 1e3,
                "threshold": cut,
                "efficiency": float((signal > cut).mean()),
                "error": float(np.std(replicas)),
            }
        )
    return rows


def area(background: NDArray[np.float64], signal: NDArray[np.float64]) -> float:
    """Return the area under the ROC curve over crossings with an object; ties count half."""
    ordered = np.sort(background)
    below = np.searchsorted(ordered, signal, "left") + np.searchsorted(ordered, signal, "right")
    return float(below.mean() / 2 / ordered.size)


def draw(background: Values, signals: dict[str, Values], crossings: int, names: list[str]) -> Any:
    """Draw ROC curves: efficiency of each signal against the rate of minimum bias, on logarithmic axes."""
    with canvas((18, 10)) as figure:
        axes = figure.subplots(2, 3).ravel()
        for ax, (title, signal) in zip(axes, signals.items(), strict=False):
            for k, name in enumerate(names):
                ordered = np.sort(background[name])[::-1]
                counts = np.unique(np.geomspace(3, ordered.size - 1, 200).astype(int))
                cuts = ordered[counts]
                passed = np.array([(signal[name] > c).mean() for c in cuts])
                real = np.array([(background[name] > c).sum() for c in cuts])
                rate = real / crossings * BX_FREQUENCY_HZ / 1e3
                error = np.sqrt(passed * (1 - passed) / signal[name].size)
                style = "-" if name.startswith("score") else ":"
                colour = COLOURS[k % len(COLOURS)]
                ax.plot(rate, passed, style, color=colour, label=name)
                ax.fill_between(rate, passed - error, passed + error, color=colour, alpha=0.2)
            ax.set_xscale("log")
            ax.set_ylim(0, 1.02)
            titles(ax, "rate of minimum bias [kHz]", "efficiency")
            ax.set_title(title.replace("_", " "), loc="center")
        legend_of = axes[len(signals)]
        legend_of.axis("off")
        handles, labels = axes[0].get_legend_handles_labels()
        legend_of.legend(handles, labels, frameon=False, loc="center")
        label([axes[0], axes[2]], True, "planted signals")
        return figure


def trained(folder: Path) -> dict[str, AnomalyScorer]:
    """Return the models of a folder, trained now if they are not there."""
    for level, streams, orbits in (("all", STREAMS, TRAINING_ORBITS), ("muon", ("muon",), MUON_ORBITS)):
        if not (folder / level / "card.json").exists():
            sample = collect_crossings(simulate_streams(TRAINING_SEED, orbits, streams, chunk=20), level)
            save_anomaly_model(fit_encoder(sample, seed=1), folder / level)
    return {
        f"score, {name}": AnomalyScorer.load(folder / k)
        for k, name in (("all", "all objects"), ("muon", "muons"))
    }


def main() -> None:
    """Train, evaluate, and write table and figure."""
    parser = Parser(__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--orbits", type=positive, default=300)
    parser.add_argument("--seed", type=int, default=301)
    given = parser.parse_args()
    scorers = trained(given.out)
    background, signals = background_and_signals(given.seed, given.orbits, scorers)
    crossings, random = given.orbits * BX_PER_ORBIT, np.random.default_rng(given.seed)
    rows: list[dict[str, Any]] = []
    for signal, values in signals.items():
        for name in background:
            for row in efficiencies(background[name], values[name], crossings, random):
                more = {"events": int(values[name].size), "area": area(background[name], values[name])}
                rows.append({"signal": signal, "discriminant": name, **row, **more})
    result = {"simulated": True, "orbits": given.orbits, "seed": given.seed, "rows": rows}
    (given.out / "anomaly.json").write_text(json.dumps(recorded(result), indent=1) + "\n")
    draw(background, signals, crossings, list(background)).savefig(given.out / "anomaly.svg")
    print(table(rows))


def table(rows: list[dict[str, Any]]) -> str:
    """Return efficiencies as a Markdown table: a line per discriminant and fraction, a column per signal."""
    names = list(SIGNALS)
    lines = ["| selects | rate [kHz] | " + " | ".join(n.replace("_", " ") for n in names) + " |"]
    lines.append("|---" * (len(names) + 2) + "|")
    for fraction in FRACTIONS:
        for name in dict.fromkeys(row["discriminant"] for row in rows):
            own = {r["signal"]: r for r in rows if (r["discriminant"], r["fraction"]) == (name, fraction)}
            cells = [f"{100 * own[s]['efficiency']:.1f} +- {100 * own[s]['error']:.1f}" for s in names]
            rate = next(iter(own.values()))["background_khz"]
            lines.append(f"| {name} | {rate:.1f} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    run_script(main)
