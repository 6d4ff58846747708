"""The raw GMT row of the simulation beside the published one (reference paper, Tables 1 and 2).

Muons are those of the paper's selection, without the hard component of training samples.

    python validation/gmt_row.py [--pairs 1000000] [--luts DIR]

Nothing in the simulation is tuned to that row. With --luts (a directory that holds ``bmtf-luts`` and
``ugmt-luts``), there is a row with the official tables of the trigger too. Then the share of hwPt 6.
"""

import tempfile
from pathlib import Path

from l1scout.cli.output import print_table
from l1scout.cli.script import Parser, positive, run_script
from l1scout.dataset.collect import collect
from l1scout.dataset.cuts import MuonSelection
from l1scout.dataset.matched import read_dataset
from l1scout.evaluate.metrics import KINDS, Scores, scores
from l1scout.evaluate.published import PUBLISHED
from l1scout.evaluate.targets import raw_residuals
from l1scout.model.quantities import VARIABLES
from l1scout.report.terminal_tables import plain_table
from l1scout.simulate.bmtf import LOWEST_PT
from l1scout.simulate.chain import simulate_events


def row(pairs: int, **kwargs: Path) -> tuple[dict[str, Scores], float]:
    """Nine metrics of the raw trigger, with and without the lowest pT code, and the share of that code."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pairs.parquet"
        chunks, selection = simulate_events(1, **kwargs), MuonSelection(paper=True)
        collect(chunks, path, selection=selection, max_pairs=pairs, seed=1)
        data = read_dataset(path)
    lowest = data["hwPt"] == LOWEST_PT
    above = data.select(~lowest)
    rows = {"all": scores(raw_residuals(data)), "hwPt > 6": scores(raw_residuals(above))}
    return rows, float(lowest.mean())


def main() -> int:
    """Print the rows."""
    parser = Parser(__doc__)
    parser.add_argument("--pairs", type=positive, default=1_000_000)
    parser.add_argument("--luts", type=Path)
    arguments = parser.parse_args()
    found = {"own tables": row(arguments.pairs)}
    if arguments.luts:
        luts = {"bmtf_luts": arguments.luts / "bmtf-luts", "gmt_luts": arguments.luts / "ugmt-luts"}
        found["official tables"] = row(arguments.pairs, **luts)
    columns = {f"{name}, {k}": v for name, (rows, _) in found.items() for k, v in rows.items()}
    published = PUBLISHED["GMT"]
    lines = []
    for kind in KINDS:
        for v in VARIABLES:
            numbers = [getattr(s, kind)[v].value for s in (published, *columns.values())]
            deviation = f"{numbers[1] / numbers[0] - 1:+.1%}"
            lines.append([f"{kind} {v}", *(f"{x:.4f}" for x in numbers), deviation])
    print(f"{arguments.pairs:,} simulated matched pairs, seed 1; RMS about zero, overflows counted\n")
    print_table(plain_table(["", "published", *columns, "own, all / published"], lines))
    print("\nhwPt 6: " + ", ".join(f"{share:.1%} with {name}" for name, (_, share) in found.items()))
    return 0


if __name__ == "__main__":
    run_script(main)
