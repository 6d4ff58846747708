"""``l1scout recalibrate``: a file with a network's answer for each L1 muon."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from l1scout.cli.engine_option import ENGINES_HELP
from l1scout.cli.output import Flavour, Json, print_json, print_line, progress, warn
from l1scout.core.provenance import current
from l1scout.errors import InputError

if TYPE_CHECKING:
    from l1scout.io.reader import Columns


def recalibrate(
    source: Annotated[Path, typer.Argument(help="Nano, L1Ntuple or Parquet file.", metavar="IN")],
    target: Annotated[Path, typer.Argument(help="The same with the new columns.", metavar="OUT")],
    model: Annotated[Path, typer.Option("--model", "-m", help="Model directory.")],
    engine: Annotated[
        str | None,
        typer.Option(
            help=f"Inference engine: {ENGINES_HELP} By default onnx; firmware for a firmware model."
        ),
    ] = None,
    table: Annotated[
        Path | None, typer.Option(help="Table of the table engine, if not in the model directory.")
    ] = None,
    errors: Annotated[
        bool,
        typer.Option(
            "--errors", help="Add predicted uncertainties: L1Mu_ptRecalErr (GeV), etaRecalErr, phiRecalErr."
        ),
    ] = False,
    flavour: Flavour = None,
    json: Json = False,
) -> None:
    """Recalibrate the L1 muons of a file: L1Mu_ptRecal, etaRecal, phiRecal and isRecal in a copy of it.

    Muons outside the range of the model keep the trigger's values, and have isRecal false. Warns where era,
    trigger or look-up tables of the file are not those that the model was trained on.
    """
    import numpy as np

    from l1scout.deploy.recalibrate import Recalibrator
    from l1scout.formats.streams.muon import describe_finders
    from l1scout.io import InputFile, conditions_of
    from l1scout.io.conditions import differences
    from l1scout.io.rewrite import add_columns
    from l1scout.model.card import model_record

    recalibrator = Recalibrator.load(model, engine=engine, table=table, errors=errors)
    card = recalibrator.card
    if errors and not card.resolution:
        msg = f"{model}: predicts no uncertainties; train it again, or leave out --errors"
        raise InputError(msg)
    recalibrated, reasons = 0, dict[str, int]()

    def compute(columns: "Columns") -> "Columns":
        nonlocal recalibrated
        answer = recalibrator(columns)
        recalibrated += int(np.count_nonzero(answer.recalibrated))
        for reason, n in answer.reasons.items():
            reasons[reason] = reasons.get(reason, 0) + n
        return answer.branches()

    with InputFile(source, flavour=flavour) as file, progress() as bar:
        muons = conditions_of(file)
        record = current(simulated=muons.simulated, model=model_record(card))
        task = bar.add_task("rows", total=None)
        done = add_columns(
            file,
            target,
            compute,
            progress=lambda n, of: bar.update(task, completed=n, total=of),
            made=record,
        )
    warnings = differences(muons, card.conditions, str(source), card.name)
    warn(warnings)
    if json:
        counts = {"rows": done.rows, "muons": done.muons, "recalibrated": recalibrated}
        model_about: dict[str, Any] = {"name": card.name, "sha256": card.sha256, "data": card.data}
        model_about |= {"trained_on": card.conditions.as_dict(), "domain": card.domain}
        model_about["finders"] = card.finders
        print_json(
            {
                "provenance": record.as_dict(),
                "model": model_about,
                "in": source,
                "out": target,
                "format": done.format,
                "tree": done.tree or None,
                "conditions": muons.as_dict(),
                "warnings": warnings,
                **counts,
                "unchanged": reasons,
            }
        )
        return
    print_line(f"model {card.name}, trained on {card.conditions}")
    low, high = card.domain["hwPt"]
    print_line(f"holds for hwPt {low} to {high}, {describe_finders(card.finders)}")
    where = f" of {done.tree}" if done.tree else ""
    print_line(f"{source}: {muons}")
    counts_text = f"{done.rows} rows{where}, {done.muons} L1 muons, {recalibrated} recalibrated"
    print_line(f"{target}: {counts_text}")
    for reason, n in reasons.items():
        if n:
            print_line(f"  {n} unchanged: {reason}")
