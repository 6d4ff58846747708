"""``l1scout study``: networks of many recipes, cross-validated, beside the reference paper's tables."""

import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from l1scout.cli.output import Json, err, print_json, print_table, progress, write_json

RECIPE_NAMES = "A, B, C, D, E, F, default, balanced, rms, small"
"""Names of `l1scout.training.recipes.RECIPES`, whose import takes too long for a help."""

if TYPE_CHECKING:
    from l1scout.training.study_summary import Summary


class Search(StrEnum):
    """Which networks are trained."""

    models = "models"
    incremental = "incremental"
    grid = "grid"
    tpe = "tpe"


def study(
    data: Annotated[Path, typer.Option(help="Data set, as `l1scout dataset` writes it.")],
    target: Annotated[
        Path, typer.Option("--out", help="Directory for study.html, study.json and the journal of runs.")
    ],
    search: Annotated[
        Search,
        typer.Option(
            help="models: those named; incremental: one handle after the other, as the paper did; grid: all "
            "336 combinations; tpe: Optuna chooses."
        ),
    ] = Search.models,
    models: Annotated[
        str, typer.Option(help=f"Recipes for --search models, among {RECIPE_NAMES}; by default the paper's.")
    ] = "A,B,C,D,E,F",
    folds: Annotated[int, typer.Option(min=3, max=20, help="Of the cross validation.")] = 5,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each network in each fold.")] = 1,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Of each training; by default each recipe's.")
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="Networks that tpe tries.")] = 40,
    workers: Annotated[int, typer.Option(min=1, help="Processes that train, a processor each.")] = 1,
    scheduler: Annotated[
        str | None,
        typer.Option(
            help="Train on the workers of this Dask scheduler instead, tcp://host:8786; each needs this "
            "l1scout. They get the data from here, and results are kept here."
        ),
    ] = None,
    no_limit: Annotated[
        bool, typer.Option("--no-limit", help="Leave out the limit of any model with these inputs.")
    ] = False,
    json: Json = False,
) -> None:
    """Train networks fold by fold and compare them. Stop it when you like: the same command goes on."""
    from l1scout.files import write_text
    from l1scout.report.study_page import study_page
    from l1scout.training.recipes import recipe
    from l1scout.training.study import Plan, Study, grid
    from l1scout.training.study_summary import summarise

    chosen = [recipe(name.strip()) for name in models.split(",")]
    start = time.perf_counter()
    with progress() as bar:
        task = bar.add_task("trainings", total=None)
        work = Study(
            data,
            target / "study.journal",
            Plan(folds, seeds, epochs),
            processes=workers,
            scheduler=scheduler,
            progress=lambda done, of: bar.update(task, completed=done, total=of),
        )
        if search is Search.incremental:
            chosen = work.incremental()
        elif search is Search.tpe:
            chosen = work.search(trials)
        else:
            chosen = grid() if search is Search.grid else chosen
            work.run(chosen)
    summary = summarise(work, search.value, chosen, with_limit=not no_limit)
    result = summary.as_dict()
    write_json(target / "study.json", result)
    said = f"l1scout study --search {search.value} --folds {folds} --seeds {seeds}"
    said += f" --epochs {epochs}" if epochs else ""
    write_text(target / "study.html", study_page(summary, said))
    err.print(f"{len(chosen)} networks in {time.perf_counter() - start:.0f} s")
    if json:
        print_json(result)
        return
    _print(summary)
    print(f"\nReport: {target / 'study.html'}")


def _print(summary: "Summary") -> None:
    from l1scout.analysis.figures.canvas import origin
    from l1scout.report.study_tables import limit_rows, study_rows, study_rows_without_floor
    from l1scout.report.terminal_tables import metrics_by_row

    muons = (
        f"{len(summary.study.data):,} muons of the paper's selection ({origin(summary.study.data.simulated)})"
    )
    print(f"{muons}\nMean over folds, spread over folds in units of the last digit; shares in percent\n")
    print_table(metrics_by_row(study_rows(summary)))
    print("\nThe same without hwPt 6\n")
    print_table(metrics_by_row(study_rows_without_floor(summary)))
    if summary.limit:
        print("\nOurs / limit\n")
        print_table(metrics_by_row(limit_rows(summary)))
