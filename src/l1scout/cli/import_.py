"""``l1scout import``: a model directory of a network that was trained elsewhere."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from l1scout.cli.output import Json, print_json, print_table, warn

if TYPE_CHECKING:
    from l1scout.training.fit import Validation
    from l1scout.training.imported import Imported


def import_(
    onnx: Annotated[
        Path, typer.Option("--onnx", help="ONNX file: a network, a tree ensemble or any other function.")
    ],
    data: Annotated[
        Path,
        typer.Option(help="Data set: its test part, which the network must not have seen, gives the scores."),
    ],
    target: Annotated[Path, typer.Option("--out", help="Model directory to write.")],
    answers: Annotated[
        str,
        typer.Option(
            help="What the outputs are, in rad, 1 and GeV. subtract: L1 minus offline; add: offline minus "
            "L1; values: the corrected phi, eta and pT themselves."
        ),
    ],
    inputs: Annotated[
        str | None,
        typer.Option(
            help="Columns in the order of the inputs, with commas: hwPhiAtVtx,hwEtaAtVtx,hwPt,hwCharge; the "
            "network gets the integers, not scaled. By default the names of the inputs."
        ),
    ] = None,
    outputs: Annotated[
        str | None,
        typer.Option(
            help="Order of the outputs, among phi, eta and pt, with commas; - ignores one, and what is "
            "missing is not corrected. By default the names of the outputs."
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the model; by default that of the file.")] = None,
    json: Json = False,
) -> None:
    """Make a model directory from your own ONNX file: card, domain, scores and uncertainties."""
    from l1scout.dataset.matched import read_dataset
    from l1scout.deploy.engine import available_engines, engines_left_out
    from l1scout.training.imported import import_network, save_imported
    from l1scout.training.save_model import check_target

    check_target(target)
    found = import_network(
        onnx,
        read_dataset(data),
        answers=answers,
        inputs=_names(inputs),
        outputs=_names(outputs),
        name=name,
    )
    save_imported(found, target)
    warn(_worse(found.validation))
    card, skipped = found.model.card, engines_left_out(found.model)
    if json:
        about: dict[str, Any] = {
            "model": str(target),
            "name": card.name,
            "imported": card.imported,
            "domain": card.domain,
            "finders": card.finders,
        }
        about |= {"simulated": card.simulated}
        left = {"left_as_is": found.left_as_is, "engines": available_engines(found.model)}
        print_json(
            {
                **about,
                **left,
                "left_out": skipped,
                "uncertainties": card.resolution is not None,
                **card.scores,
            }
        )
        return
    _print(found, skipped)
    print(
        f"\nModel {card.name}, {card.origin}, is in {target}; "
        f"outputs taken as {(card.imported or {})['answers']}"
    )


def _print(found: "Imported", skipped: dict[str, str]) -> None:
    from l1scout.report.result_tables import ratio_rows, score_rows
    from l1scout.report.terminal_tables import metrics_table

    card = found.model.card
    validation = found.validation
    print(f"Test part, {validation.muons:,} muons; RMS about zero, overflows counted\n")
    print_table(metrics_table(score_rows({"GMT": validation.raw, card.name: validation.model})))
    print("\nRatio model / GMT\n")
    print_table(metrics_table(ratio_rows({card.name: validation.ratio})))
    for why, n in found.left_as_is.items():
        print(f"{n:,} muons left as they were: {why}")
    if card.resolution is None:
        print("No predicted uncertainties: the validation part has too few muons")
    for why in dict.fromkeys(skipped.values()):
        print(f"Not for engines {', '.join(e for e in skipped if skipped[e] == why)}: {why}")


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",")]


def _worse(validation: "Validation") -> list[str]:
    """Warn of variables whose RMS is above the trigger's by more than two standard deviations."""
    rms = {"pT" if v == "pt" else v: r for v, r in validation.ratio.rms.items()}
    worse = [f"{v} ({r.value:.2f} times)" for v, r in rms.items() if r.value - 2 * r.error > 1]
    if not worse:
        return []
    warning = (
        f"on the test part the RMS is larger than the trigger's in {', '.join(worse)}: check the units and "
        "the order of inputs and outputs"
    )
    return [warning]
