"""How far a network's numbers carry: own simulation, official tables, real muons, side by side in Markdown.

    python validation/carry_over.py MODEL --shared DIR [--real FILE] [--pairs 500000] [--record]

DIR holds ``bmtf-luts`` and ``ugmt-luts``, the official look-up tables of the trigger, and ``real-cms`` with
real L1 muons (an L1-DPG nano of 2024); all three can be named by themselves. Both simulated samples have a
seed that no network was trained with. Real muons are paired as `l1scout dataset` does: offline muons of a
nano file are propagated to the second station through our detector. With --record the numbers become those
that reports of `l1scout demo` show, and those of docs/study.md.
"""

import datetime
import tempfile
from collections.abc import Iterable
from pathlib import Path

from l1scout import __version__
from l1scout.cli.dataset import collect_with_bar
from l1scout.cli.script import Parser, positive, run_script
from l1scout.core.orbit_data import OrbitData
from l1scout.dataset.matched import Dataset, read_dataset
from l1scout.deploy.recalibrate import Recalibrator
from l1scout.evaluate.carried import carried, record
from l1scout.evaluate.evaluation import evaluate
from l1scout.io import read_events
from l1scout.io.conditions import Conditions, simulation
from l1scout.report.sample_tables import samples_markdown
from l1scout.simulate.chain import simulate_events

SEED = 2001
REAL = "real-cms/l1nano_run380963_2024_100ev.root"
NAMES = ("own simulation", "official tables", "real muons, 2024")
DOCS = Path(__file__).parents[1] / "docs" / "study.md"
BEGIN, END = "<!-- carry_over: begin -->", "<!-- carry_over: end -->"


def sample(
    folder: Path,
    name: str,
    chunks: Iterable[OrbitData],
    pairs: int | None = None,
    seed: int | None = None,
    made: Conditions | None = None,
) -> Dataset:
    """Collect a sample and read it."""
    path = folder / f"{name}.parquet"
    collect_with_bar(chunks, path, pairs, seed=seed, conditions=made)
    return read_dataset(path)


def main() -> int:
    """Print the table, and keep it where that is asked for."""
    parser = Parser(__doc__)
    parser.add_argument("model", type=Path, help="model directory")
    parser.add_argument("--shared", type=Path, required=True, help="folder of tables and real muons")
    parser.add_argument("--bmtf-luts", type=Path, help="by default in the folder")
    parser.add_argument("--gmt-luts", type=Path, help="by default in the folder")
    parser.add_argument(
        "--real", type=Path, help="file of real L1 and offline muons; by default in the folder"
    )
    parser.add_argument("--pairs", type=positive, default=500_000, help="of each simulated sample")
    parser.add_argument("--record", action="store_true", help="into the package and docs/study.md")
    a = parser.parse_args()
    luts = {
        "bmtf_luts": a.bmtf_luts or a.shared / "bmtf-luts",
        "gmt_luts": a.gmt_luts or a.shared / "ugmt-luts",
    }
    model = Recalibrator.load(a.model)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        real = sample(work, NAMES[2], read_events(a.real or a.shared / REAL))
        own = sample(work, NAMES[0], simulate_events(SEED), a.pairs, SEED, simulation())
        official = sample(work, NAMES[1], simulate_events(SEED, **luts), a.pairs, SEED, simulation(**luts))
    name = model.card.name
    found = evaluate(own, {name: model}, every=True, also={NAMES[1]: official, NAMES[2]: real})
    samples = carried(found, name, NAMES[0])
    low, high = model.card.domain["hwPt"]
    about = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": f"python validation/carry_over.py MODEL --shared DIR --pairs {a.pairs}",
        "version": __version__,
        "model": {
            "name": name,
            "training_muons": model.card.training.get("muons"),
            "trained_on": str(model.card.conditions),
            "hw_pt": [low, high],
        },
    }
    muons, conditions = about["model"]["training_muons"], about["model"]["trained_on"]
    text = (
        f"Model `{name}`, {muons:,} training muons ({conditions}), for hwPt {low} to {high}. "
        f"Ratios model / raw trigger, pull widths; {about['date']}, "
        f"`{about['command']}`.\n\n{samples_markdown(samples)}"
    )
    print(text)
    if a.record:
        record(about, samples)
        before, _, rest = DOCS.read_text("utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        DOCS.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", "utf-8")
    return 0


if __name__ == "__main__":
    run_script(main)
