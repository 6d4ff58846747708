"""``l1scout evaluate``: models beside the raw trigger and published results, as a page."""

import json as json_text
from pathlib import Path
from typing import Annotated

import typer

from l1scout.cli.output import Json, print_json
from l1scout.deploy.recalibrate import Recalibrator
from l1scout.provenance import recorded
from l1scout.report.tables import columns, ratio_rows, score_rows
from l1scout.training.dataset import read_dataset
from l1scout.training.evaluation import Evaluation, name_models
from l1scout.training.evaluation import evaluate as evaluate_models


def evaluate(
    data: Annotated[Path, typer.Option(help="Data set; its test part is used, unless --all is given.")],
    model: Annotated[list[Path], typer.Option(help="Model directory; can be given several times.")],
    target: Annotated[
        Path | None, typer.Option("--out", help="Page (.html), or a directory for page and metrics.json.")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Use all muons of a data set that no model was trained with.")
    ] = False,
    json: Json = False,
) -> None:
    """Compare models with the raw trigger on muons that no model has seen."""
    models = name_models([Recalibrator.load(path) for path in model])
    evaluation = evaluate_models(read_dataset(data), models, every=every)
    page = write_results(evaluation, target) if target else None
    if json:
        print_json(evaluation.as_dict())
        return
    print_results(evaluation)
    if page:
        print(f"\nReport: {page}")


def write_results(evaluation: Evaluation, target: Path, notes: tuple[str, ...] = ()) -> Path:
    """Write the page, and metrics.json beside it if a directory is asked for; return the page's path."""
    from l1scout.report.page import write_page, write_text

    if target.suffix.lower() in (".html", ".htm"):
        page = target
    else:
        page = target / "report.html"
        write_text(target / "metrics.json", json_text.dumps(recorded(evaluation.as_dict()), indent=1) + "\n")
    write_page(evaluation, page, notes)
    return page


def print_results(evaluation: Evaluation) -> None:
    """Print nine numbers and nine ratios beside the published ones."""
    muons = f"{evaluation.part.capitalize()}: {len(evaluation.data):,}"
    print(f"{muons} muons; RMS about zero, overflows counted\n")
    print(columns(score_rows({"GMT": evaluation.raw_scores, **evaluation.model_scores})))
    print("\nRatio model / GMT\n")
    print(columns(ratio_rows(evaluation.ratios)))
    for name, covered in evaluation.coverage.items():
        widths = ", ".join(f"{v} {m.value:.3f} ± {m.error:.3f}" for v, m in covered.width.items())
        print(f"\nPull width of the uncertainties of {name} (1 is right): {widths}")
    if evaluation.data.simulated:
        print("\nSimulated muons. The phi and pT cores of the simulation do not reach the published ones.")
