"""What more inputs bring: networks for the RMS on the standard sample, beside boosted trees.

    python validation/inputs.py [--pairs 2000000] [--work DIR] [--trees] [--out validation/inputs.md]

Trees are scikit-learn's, which is no dependency: `pip install scikit-learn` for `--trees`. Without it the
networks stand beside the trees of the first prototype of the simulation alone.
"""

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from study import sample

from l1scout.cli.script import Parser, positive, run_script
from l1scout.cli.train import fit_with_bar
from l1scout.dataset.matched import Dataset
from l1scout.deploy.recalibrate import Recalibrator
from l1scout.evaluate.evaluation import evaluate
from l1scout.evaluate.targets import targets
from l1scout.model.quantities import VARIABLES, model_inputs
from l1scout.training.save_model import save

STEPS = {
    "the paper's four": [],
    "+ station 2 (instead of the stubs below)": ["hwEta", "hwPhi"],
    "+ hwQual, stubEtaFine": ["hwQual", "stubEtaFine"],
    "+ stubStations": ["hwQual", "stubEtaFine", "stubStations"],
    "+ stubPhiB1, stubPhiB2": ["hwQual", "stubEtaFine", "stubStations", "stubPhiB1", "stubPhiB2"],
    "+ stubBend12": ["hwQual", "stubEtaFine", "stubStations", "stubPhiB1", "stubPhiB2", "stubBend12"],
}
PROTOTYPE = (
    (0.114, 0.028, 0.146),
    (0.113, 0.028, 0.146),
    (0.084, 0.0275, 0.122),
    (0.068, 0.027, 0.112),
    (0.054, 0.027, 0.096),
    (0.053, 0.027, 0.095),
)
"""RMS of phi, eta and pT of boosted trees on muons of the prototype of the simulation, same steps."""


def networks(data: Dataset, work: Path) -> list[list[float]]:
    """RMS of a network for each step, on the test part; networks that are there are not trained again."""
    models = {}
    for k, more in enumerate(STEPS.values()):
        place = work / f"inputs-{k}"
        if not (place / "card.json").exists():
            trained = fit_with_bar(data, "rms", inputs=model_inputs(more))
            save(dataclasses.replace(trained, card=dataclasses.replace(trained.card, name=str(k))), place)
        models[str(k)] = Recalibrator.load(place)
    found = evaluate(data, models)
    return [[s.rms[v].value for v in VARIABLES] for s in found.model_scores.values()]


def trees(data: Dataset, more: Sequence[str]) -> list[float]:
    """RMS of boosted trees on the test part."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    def columns(part: Dataset) -> NDArray[Any]:
        return np.stack([part[n] for n in ("hwEtaAtVtx", "hwPt", "hwCharge", *more)], axis=1)

    learn, test = data.part("train"), data.part("test")
    x, x_test = columns(learn), columns(test)
    y, y_test = targets(learn), targets(test)
    out = []
    for k, v in enumerate(VARIABLES):
        model = HistGradientBoostingRegressor(
            max_iter=150, learning_rate=0.15, max_leaf_nodes=63, random_state=0
        )
        if v == "pt":  # least mean square of answer / offline pT - 1
            pt = learn["recoPt"].astype(np.float64)
            answer = model.fit(x, pt, sample_weight=1 / pt**2).predict(x_test)
            residual = answer / test["recoPt"] - 1
        else:
            residual = y_test[:, k] - model.fit(x, y[:, k]).predict(x_test)
        out.append(float(np.sqrt(np.mean(residual**2))))
    return out


def share(
    ours: Sequence[float], first: Sequence[float], theirs: Sequence[float], base: Sequence[float]
) -> str:
    """Gain in RMS, in percent of what the trees gain."""
    gains = zip(ours, first, theirs, base, strict=True)
    return " / ".join(
        f"{100 * (1 - a / b) / (1 - c / d):.0f}" if c < 0.995 * d else "-" for a, b, c, d in gains
    )


def main() -> int:
    """Write the table."""
    parser = Parser(__doc__)
    parser.add_argument("--pairs", type=positive, default=2_000_000)
    parser.add_argument("--work", type=Path, help="directory for the sample and the networks")
    parser.add_argument("--trees", action="store_true", help="train boosted trees, too (scikit-learn)")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = arguments.work or Path(folder)
        data = sample(work / "standard.parquet", arguments.pairs, 1, {})
        ours = networks(data, work)
        theirs = [trees(data, more) for more in STEPS.values()] if arguments.trees else None
        text = [
            "# What more inputs bring",
            "",
            (
                f"`python validation/inputs.py --pairs {arguments.pairs}{' --trees' if theirs else ''}`: "
                f"simulated muons, {len(data.part('test')):,} of the test part; RMS phi / eta / pT."
            ),
            "",
            "| inputs | network `rms` | trees | share of their gain, % | prototype, trees | share, % |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        for k, name in enumerate(STEPS):
            cells = [name, " / ".join(f"{x:.4f}" for x in ours[k])]
            cells.append(" / ".join(f"{x:.4f}" for x in theirs[k]) if theirs else "not run")
            cells.append(share(ours[k], ours[0], theirs[k], theirs[0]) if theirs and k else "-")
            cells.append(" / ".join(f"{x:g}" for x in PROTOTYPE[k]))
            cells.append(share(ours[k], ours[0], PROTOTYPE[k], PROTOTYPE[0]) if k else "-")
            text.append(f"| {' | '.join(cells)} |")
        text += ["", "A dash: the trees gain less than half a percent."]
        arguments.out.write_text("\n".join(text) + "\n")
    print("\n".join(text))
    return 0


if __name__ == "__main__":
    run_script(main)
