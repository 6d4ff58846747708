"""The page of a study."""

from l1scout.analysis.figures.canvas import origin
from l1scout.core.provenance import current
from l1scout.evaluate.published import SOURCE
from l1scout.report.render import render
from l1scout.report.result_tables import KIND_NAMES, RATIO_NAMES
from l1scout.report.study_figures import metric_figure, parallel_figure
from l1scout.report.study_tables import limit_rows, seed_rows, study_rows, study_rows_without_floor
from l1scout.training.study_summary import Summary


def study_page(summary: Summary, command: str) -> str:
    """Make the page; it is the same for the same study, however often that was stopped.

    Parameters
    ----------
    summary : Summary
    command : str
        Command line that makes the study.
    """
    study = summary.study
    return render(
        "study.html",
        networks=len(summary.entries),
        runs=study.plan.folds * study.plan.seeds,
        folds=study.plan.folds,
        seeds=study.plan.seeds,
        muons=len(study.data),
        provenance=current(simulated=study.data.simulated).as_json(),
        origin=origin(study.data.simulated),
        simulated=study.data.simulated,
        kinds=KIND_NAMES,
        ratio_kinds=RATIO_NAMES,
        rows=study_rows(summary),
        rows_without_floor=study_rows_without_floor(summary),
        limit_rows=limit_rows(summary),
        seed_rows=seed_rows(summary),
        metric_figure=metric_figure(summary),
        parallel_figure=parallel_figure(summary),
        command=command,
        data=[
            ("Data set", f"{study.data.name}, sha256 {study.data.sha256[:16]}…"),
            ("Era", str(study.data.about.get("era") or "not stated")),
            ("Search", summary.search),
        ],
        source=SOURCE,
    )
