"""``l1scout evaluate``: models beside the raw trigger and published results, as a page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from l1scout.cli.output import Json, print_json, print_table, warn, write_json
from l1scout.core.provenance import Provenance, current
from l1scout.errors import InputError, printable

if TYPE_CHECKING:
    from l1scout.deploy.recalibrate import Recalibrator
    from l1scout.evaluate.evaluation import Evaluation


def evaluate(
    data: Annotated[Path, typer.Option(help="Data set; its test part is used, unless --all is given.")],
    model: Annotated[list[Path], typer.Option(help="Model directory; can be given several times.")],
    target: Annotated[
        Path | None, typer.Option("--out", help="Page (.html), or a directory for page and metrics.json.")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Use all muons of a data set that no model was trained with.")
    ] = False,
    also: Annotated[
        list[str] | None,
        typer.Option(
            help="Further data set to show beside it, as NAME=FILE; can be given several times. All its "
            "muons are used, unless a model was trained with it."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Compare models with the raw trigger on muons that no model has seen."""
    from l1scout.dataset.matched import read_dataset
    from l1scout.deploy.recalibrate import Recalibrator
    from l1scout.evaluate.evaluation import evaluate as evaluate_models
    from l1scout.evaluate.evaluation import name_models

    models = name_models([Recalibrator.load(path) for path in model])
    others = {name: read_dataset(path) for name, path in named_files(also or ()).items()}
    evaluation = evaluate_models(read_dataset(data), models, every=every, also=others)
    for found in (evaluation, *evaluation.also.values()):
        warn(found.warnings)
    record = provenance_of(evaluation, models)
    page = write_results(evaluation, target, record) if target else None
    if json:
        print_json({"provenance": record.as_dict(), **evaluation.as_dict()})
        return
    print_results(evaluation)
    if page:
        print(f"\nReport: {page}")


def named_files(texts: Sequence[str]) -> dict[str, Path]:
    """Return files by name from texts NAME=FILE (InputError if malformed, or if a name occurs twice)."""
    named: dict[str, Path] = {}
    for text in texts:
        name, equals, path = text.partition("=")
        name = printable(name.strip())
        if not (name and equals and path):
            msg = f"--also {text}: NAME=FILE expected, such as --also 'official tables=official.parquet'"
            raise InputError(msg)
        if name in named:
            msg = f"--also {text}: there is another data set with this name; choose a different one"
            raise InputError(msg)
        named[name] = Path(path)
    return named


def provenance_of(evaluation: "Evaluation", models: "Mapping[str, Recalibrator]") -> Provenance:
    """Return the record of the command that runs, with its data and models."""
    from l1scout.model.card import model_record

    about = {name: model_record(m.card) for name, m in models.items()}
    return current(simulated=evaluation.data.simulated, model=about)


def write_results(
    evaluation: "Evaluation", target: Path, record: Provenance, notes: tuple[str, ...] = ()
) -> Path:
    """Write the page, and metrics.json beside it if a directory is asked for; return the page's path."""
    from l1scout.report.evaluation_page import write_evaluation_page

    if target.suffix.lower() in (".html", ".htm"):
        page = target
    else:
        page = target / "report.html"
        result = {"provenance": record.as_dict(), **evaluation.as_dict()}
        write_json(target / "metrics.json", result)
    write_evaluation_page(evaluation, page, notes, record)
    return page


def print_results(evaluation: "Evaluation") -> None:
    """Print the nine metrics and ratios beside the published ones, and the range in which they hold."""
    from l1scout.analysis.figures.canvas import origin
    from l1scout.evaluate.carried import carried
    from l1scout.report.result_tables import judged, ratio_rows, score_rows, worse_count
    from l1scout.report.terminal_tables import metrics_table, samples_table, slices_table

    muons = f"{evaluation.part.capitalize()}: {len(evaluation.data):,}"
    print(f"{muons} muons ({origin(evaluation.data.simulated)}); RMS about zero, overflows counted\n")
    print(f"The nine metrics are of {evaluation.selection}\n")
    print_table(metrics_table(score_rows({"GMT": evaluation.raw_scores, **evaluation.model_scores})))
    print("\nRatio model / GMT\n")
    print_table(metrics_table(ratio_rows(evaluation.ratios)))
    for name in evaluation.models:
        print(f"\nRatio {name} / GMT without hwPt 6, and outside the range that is compared bin by bin\n")
        print_table(slices_table([evaluation.without_floor, *evaluation.outside], name))
        found = (worse_count([p for p in evaluation.profiles if p.offline is o], name) for o in (False, True))
        inside, offline = (f"{worse} of {seen} bins" for worse, seen in found)
        low, high = evaluation.cards[name].get("domain", {}).get("hwPt", (None, None))
        print(
            f"\n{name} recalibrates hwPt {low} to {high}; in some respect worse than GMT in {inside} of hwPt "
            f"and L1 eta, and in {offline} of offline pT, eta and charge"
        )
    print("Bins of " + "; ".join(judged(evaluation.profiles)))
    for name, covered in evaluation.coverage.items():
        widths = [f"{v} {m.value:.3f} ± {m.error:.3f}" for v, m in covered.width.items()]
        print(f"\nPull width of the uncertainties of {name} (1 is right): {', '.join(widths)}")
        rest = evaluation.coverage_without_floor.get(name)
        if rest:
            widths = [f"{v} {m.value:.3f} ± {m.error:.3f}" for v, m in rest.width.items()]
            print(f"  without hwPt 6: {', '.join(widths)}")
    for name in evaluation.models if evaluation.also else ():
        print(f"\nRatio {name} / GMT and pull widths, sample by sample\n")
        print_table(samples_table(carried(evaluation, name, Path(evaluation.data.name).stem)))
    if evaluation.data.simulated:
        print("\nSimulated muons. The phi and pT cores of the simulation do not reach the published ones.")
        print('How the default network does on other muons: docs/study.md, "How far it carries".')
