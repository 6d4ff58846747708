"""The raw GMT row of the simulation beside the published one (reference paper, Tables 1 and 2).

Muons are those of the paper's selection, without the hard component of training samples.

    python validation/gmt_row.py [--pairs 1000000] [--luts DIR]

Limits that the simulation keeps to: RMS within 10 %, tails within 12 %, eta core within 15 %. The phi
and pT cores do not reach the published values and are shown as they are. With --luts (a directory that
holds ``bmtf-luts`` and ``ugmt-luts``), there is a row with the official tables of the trigger too.
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
from l1scout.simulate.chain import simulate_events

LIMITS = (
    {("rms", v): 0.10 for v in VARIABLES} | {("tail", v): 0.12 for v in VARIABLES} | {("core", "eta"): 0.15}
)


def row(pairs: int, **kwargs: Path) -> dict[str, Scores]:
    """Nine metrics of the raw trigger, with and without the lowest pT code."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pairs.parquet"
        chunks, selection = simulate_events(1, **kwargs), MuonSelection(paper=True)
        collect(chunks, path, selection=selection, max_pairs=pairs, seed=1)
        data = read_dataset(path)
    above = data.select(data["hwPt"] > 6)
    return {"all": scores(raw_residuals(data)), "hwPt > 6": scores(raw_residuals(above))}


def main() -> int:
    """Print the rows; exit status 1 if a limit is passed."""
    parser = Parser(__doc__)
    parser.add_argument("--pairs", type=positive, default=1_000_000)
    parser.add_argument("--luts", type=Path)
    arguments = parser.parse_args()
    rows = row(arguments.pairs)
    if arguments.luts:
        official = {"bmtf_luts": arguments.luts / "bmtf-luts", "gmt_luts": arguments.luts / "ugmt-luts"}
        rows |= {f"official tables, {k}": v for k, v in row(arguments.pairs, **official).items()}
    published, ours = PUBLISHED["GMT"], rows["all"]
    head, lines, failed = ["", "published", *rows, "deviation", "limit"], [], False
    for kind in KINDS:
        for v in VARIABLES:
            expected = getattr(published, kind)[v].value
            deviation = getattr(ours, kind)[v].value / expected - 1
            limit = LIMITS.get((kind, v))
            failed |= limit is not None and abs(deviation) > limit
            numbers = [f"{getattr(s, kind)[v].value:.4f}" for s in (published, *rows.values())]
            lines.append([f"{kind} {v}", *numbers, f"{deviation:+.1%}", f"{limit:.0%}" if limit else "none"])
    print(f"{arguments.pairs:,} simulated matched pairs, seed 1; RMS about zero, overflows counted\n")
    print_table(plain_table(head, lines))
    print("\nOutside its limit: see above" if failed else "\nEvery number with a limit is inside it")
    return int(failed)


if __name__ == "__main__":
    run_script(main)
