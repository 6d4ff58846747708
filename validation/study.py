"""Ours, the paper's networks A to F and the limit: nine metrics on the standard sample, and elsewhere.

    python validation/study.py [--pairs 2000000] [--work DIR] [--out validation/study.md]

The standard sample is simulated with seed 1; three fifths train, one validates, one tests. Networks that
are in the work directory already are not trained again. "Elsewhere" are samples with other settings, with
another seed, which no network was trained with: how far the results carry.
"""

import dataclasses
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from l1scout.cli.output import progress
from l1scout.cli.script import Parser, positive, run_script
from l1scout.cli.train import fit_with_bar
from l1scout.dataset.collect import collect
from l1scout.dataset.cuts import MuonSelection
from l1scout.dataset.matched import Dataset, read_dataset
from l1scout.deploy.recalibrate import Recalibrator
from l1scout.evaluate.evaluation import Evaluation, evaluate
from l1scout.evaluate.limit import limit
from l1scout.evaluate.metrics import CORE, KINDS, TAIL
from l1scout.evaluate.published import published_ratios
from l1scout.io.conditions import simulation
from l1scout.io.parquet import STUBS
from l1scout.model.quantities import VARIABLES, model_inputs
from l1scout.report.figures import profile_figure
from l1scout.report.result_tables import judged, number, worse_bins
from l1scout.simulate.chain import simulate_events
from l1scout.simulate.generator import Spectrum
from l1scout.statistics import Measured, paired_ratio, rms_ratio
from l1scout.training.recipes import PAPER, RECIPES, recipe
from l1scout.training.save_model import save

PAPER_EPOCHS = 20
"""1,200,000 muons in batches of 256: more steps than 60 epochs of the demo's sample."""
OURS = ("rms", "balanced", "default", "small")
SHOWN = ("B", "default")
"""In the figure."""
MORE = {"default, hwQual": ["hwQual"], "default, stubs": ["hwQual", *STUBS]}
"""The default with more inputs."""
WANTED = {"rms": 0.02, "core": 0.03, "tail": 0.03}
"""How close to the limit a network should be."""
ELSEWHERE: Mapping[str, Mapping[str, Any]] = {
    "same settings": {},
    "harder spectrum": {"spectrum": Spectrum(heavy_flavour=(4.3, 3.0))},
    "material +4 %": {"material": 1.04 * 1.04},
    "stations off by 0.3 mrad": {"alignment": (3e-4, -3e-4, 3e-4, -3e-4)},
}
NAMES = [(k, v) for k in KINDS for v in VARIABLES]


def sample(path: Path, pairs: int, seed: int, settings: Mapping[str, Any]) -> Dataset:
    """Simulate a sample, unless it is there."""
    if not path.exists():
        with progress() as bar:
            task = bar.add_task(path.stem, total=pairs)
            chunks = simulate_events(seed, **settings)
            collect(
                chunks,
                path,
                max_pairs=pairs,
                seed=seed,
                selection=MuonSelection(paper=True),
                conditions=simulation(),
                on_pairs=lambda n: bar.update(task, completed=n),
            )
    return read_dataset(path)


def models(data: Dataset, work: Path) -> dict[str, Recalibrator]:
    """Train what is not there."""
    out = {}
    for name in (*PAPER, *OURS, *MORE):
        place = work / f"model-{name.replace(', ', '-')}"
        if not (place / "card.json").exists():
            kind = name.split(",")[0]
            inputs = model_inputs(MORE.get(name, ()), recipe(kind).inputs)
            epochs = PAPER_EPOCHS if name in PAPER else None
            trained = fit_with_bar(data, kind, inputs=inputs, epochs=epochs)
            card = dataclasses.replace(trained.card, name=name)
            save(dataclasses.replace(trained, card=card), place)
        out[name] = Recalibrator.load(place)
    return out


def ratio(kind: str, variable: str, ours: Any, theirs: Any) -> Measured:
    """Ratio of one of the nine metrics of the same muons, with their correlation."""
    a, b = ours[variable], theirs[variable]
    if kind == "rms":
        return rms_ratio(a, b)
    if kind == "core":
        return paired_ratio(abs(a) < CORE[variable], abs(b) < CORE[variable])
    return paired_ratio(abs(a) > TAIL[variable], abs(b) > TAIL[variable])


def line(name: str, cells: list[str]) -> str:
    """Line of a table in Markdown."""
    return f"| {' | '.join([name, *cells])} |"


HEADER = [
    line("", [f"{k} {v}" for k, v in NAMES]),
    line("---", ["---"] * 9),
]


def value(kind: str, m: Measured) -> str:
    """Return a number as printed: shares in percent."""
    return f"{m.value:.4f}" if kind == "rms" else f"{100 * m.value:.2f}"


def nine(name: str, scores: Any) -> str:
    """Line of nine metrics."""
    return line(name, [value(k, getattr(scores, k)[v]) for k, v in NAMES])


def comparison(found: Evaluation, best: Any) -> list[str]:
    """Ours against the best of A to F in each number, and against the limit."""
    out = ["", "Ours / best of A to F in that number (statistical uncertainty, same muons):", "", *HEADER]
    lost: dict[str, list[str]] = {}
    for name in (*OURS, *MORE):
        cells = []
        for k, v in NAMES:
            each = [ratio(k, v, found.models[name], found.models[p]) for p in PAPER]
            m = min(each, key=lambda m: m.value) if k == "core" else max(each, key=lambda m: m.value)
            good = m.value > 1 if k == "core" else m.value < 1
            cells.append(f"{m.value:.3f} ± {m.error:.3f}" if good else f"**{m.value:.3f} ± {m.error:.3f}**")
            if not good:
                lost.setdefault(name, []).append(f"{k} {v}")
        out.append(line(name, cells))
    out += ["", "Bold: not better. " + "; ".join(f"{n}: {', '.join(w)}" for n, w in lost.items())]
    out += [
        "",
        "Ours / limit with hwPt, hwEta and charge (statistical uncertainty, same muons):",
        "",
        *HEADER,
    ]
    for name in (*PAPER, *OURS):
        cells = []
        for k, v in NAMES:
            m = ratio(k, v, found.models[name], best.residuals[k])
            off = 1 - m.value if k == "core" else m.value - 1
            text = f"{m.value:.3f} ± {m.error:.3f}"
            cells.append(text if off <= WANTED[k] else f"**{text}**")
        out.append(line(name, cells))
    return [*out, "", "Bold: further off than 2 % in RMS, 3 % in core and tail.", *improvement(found)]


def improvement(found: Evaluation) -> list[str]:
    """Ratios to the raw trigger beside the published ones, and without hwPt 6."""
    out = ["", "Network / raw trigger, and the same of the published networks (CMS data):", "", *HEADER]
    for name in (*PAPER, *OURS, *MORE):
        ours = found.ratios[name]
        out.append(line(name, [f"{getattr(ours, k)[v].value:.3f}" for k, v in NAMES]))
        if name in PAPER:
            said = published_ratios(name)
            out.append(line(f"{name}, published", [f"{getattr(said, k)[v].value:.2f}" for k, v in NAMES]))
    for part in (found.without_floor, *found.outside):
        out += ["", f"The same {part.name}, {part.muons:,} muons (statistical uncertainty):", "", *HEADER]
        for name, ratios in part.ratios.items():
            cells = [getattr(ratios, k)[v] for k, v in NAMES]
            out.append(line(name, [number(m) for m in cells]))
    return out


def main() -> int:
    """Write the tables."""
    parser = Parser(__doc__)
    parser.add_argument("--pairs", type=positive, default=2_000_000)
    parser.add_argument("--elsewhere", type=positive, default=500_000, help="pairs of each other sample")
    parser.add_argument("--work", type=Path, help="directory for samples and networks")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = arguments.work or Path(folder)
        data = sample(work / "standard.parquet", arguments.pairs, 1, {})
        trained = models(data, work)
        found = evaluate(data, trained)
        learn, tune, test = (data.part(p) for p in ("train", "validation", "test"))
        best, with_quality = (limit(learn, tune, test, more, "station 2") for more in ((), ("hwQual",)))
        text = [
            "# The study on the standard sample",
            "",
            (
                f"`python validation/study.py --pairs {arguments.pairs} --elsewhere {arguments.elsewhere}`: "
                f"simulated muons, "
                f"{len(found.data):,} of the test part. RMS about zero, overflows counted; shares in percent."
            ),
            "",
            *HEADER,
            nine("raw trigger", found.raw_scores),
            *(nine(n, s) for n, s in found.model_scores.items()),
            nine("limit", best.reached),
            nine("limit, optimistic", best.optimistic),
            nine("limit with hwQual", with_quality.reached),
            *comparison(found, best),
        ]
        text += where(found)
        shown = evaluate(data, {n: trained[n] for n in SHOWN})
        figure = arguments.out.with_suffix(".svg")
        figure.write_text(profile_figure(shown, shown.profiles[0]))
        text += ["", f"![bias, resolution and tail against offline pT]({figure.name})"]
        text += [
            "",
            "# Elsewhere",
            "",
            f"The same networks on {arguments.elsewhere:,} muons of other settings.",
        ]
        for seed, (name, settings) in enumerate(ELSEWHERE.items(), 101):
            other = sample(work / f"{name.replace(' ', '-')}.parquet", arguments.elsewhere, seed, settings)
            chosen = {n: trained[n] for n in ("B", *OURS)}
            there = evaluate(other, chosen, every=True)
            text += ["", f"## {name}", "", *HEADER, nine("raw trigger", there.raw_scores)]
            text += [nine(n, s) for n, s in there.model_scores.items()]
            text += where(there, ("default",))
        arguments.out.write_text("\n".join(text) + "\n")
        about = {n: m.card.training for n, m in trained.items() if n in RECIPES}
        (work / "training.json").write_text(json.dumps(about, indent=1) + "\n")
    print("\n".join(text))
    return 0


def where(found: Evaluation, names: tuple[str, ...] = (*OURS, *MORE)) -> list[str]:
    """Bins in which a network is worse than the raw trigger, and which bins those were."""
    span = "; ".join(judged(found.profiles))
    out = ["", f"Worse than the raw trigger by more than two standard deviations (bins of {span}):", ""]
    for name in names:
        bins = worse_bins(found.profiles, name)
        out.append(f"- {name}: {'; '.join(bins) or 'nowhere'}")
    return out


if __name__ == "__main__":
    run_script(main)
