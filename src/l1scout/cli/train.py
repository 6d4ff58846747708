"""``l1scout train``: a recalibration network from a data set."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from l1scout.cli.output import Json, print_json, print_table, progress

if TYPE_CHECKING:
    from l1scout.dataset.matched import Dataset
    from l1scout.training.epochs import MuonFiles
    from l1scout.training.fit import Trained

IN_MEMORY = 10_000_000
"""Muons held in memory by default: about 2 GB while a network is trained."""


def train(
    data: Annotated[
        list[Path],
        typer.Option(help="Data set, as `l1scout dataset` writes it, or a folder of such; several allowed."),
    ],
    target: Annotated[Path, typer.Option("--out", help="Model directory to write.")],
    model: Annotated[
        str,
        typer.Option(
            help="Recipe: A to F, the paper's; default, guarded against being worse than the trigger; "
            "balanced or rms, without that guard; small, with the paper's 3 x 32 and without symmetries."
        ),
    ] = "default",
    inputs: Annotated[
        str | None,
        typer.Option(
            help="More input columns besides hwEta, hwPt and hwCharge (A to F: hwPhiAtVtx, hwEtaAtVtx, hwPt, "
            "hwCharge): hwPhi, hwQual or others, separated by commas."
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs; by default the recipe's.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Muons a step; by default the recipe's.")] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="The same seed gives the same weights.")
    ] = 1,
    patience: Annotated[
        int | None,
        typer.Option(min=1, help="Epochs without a better validation loss after which to stop (A to F)."),
    ] = None,
    guard_price: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Also give more weight to muons of bins of offline pT, eta and charge that are worse than "
            "the trigger, until one of the nine metrics is worse by this share (0.03: 3 %).",
        ),
    ] = None,
    in_memory: Annotated[
        int, typer.Option(min=0, help="Muons to hold in memory; more are read again in every epoch.")
    ] = IN_MEMORY,
    json: Json = False,
) -> None:
    """Train a network, write it as a model directory, and print its validation beside published numbers."""
    from l1scout.dataset.matched import files_of
    from l1scout.model.quantities import REFERENCES, model_inputs
    from l1scout.report.result_tables import guard_lines, offline_guard_lines, ratio_rows, score_rows
    from l1scout.report.terminal_tables import metrics_table
    from l1scout.training.recipes import recipe
    from l1scout.training.save_model import check_target, save
    from l1scout.training.symmetries import described

    check_target(target)
    more = [n.strip() for n in inputs.split(",")] if inputs else []
    trained = fit_with_bar(
        _muons(files_of(data), in_memory, paper=recipe(model).papers_part),
        model,
        inputs=model_inputs(more, recipe(model).inputs),
        epochs=epochs,
        batch=batch,
        seed=seed,
        patience=patience,
        guard_price=guard_price,
    )
    card = save(trained, target)
    if json:
        about: dict[str, Any] = {"model": str(target), "name": card.name, "trained_on": card.origin}
        about |= {"simulated": card.simulated}
        print_json({**about, "training": card.training, **card.scores})
        return
    validation = trained.validation
    kept = f"epoch {card.training['epoch_kept']} of {card.training['epochs_run']} kept"
    print(f"Validation part, {validation.muons:,} muons ({kept}); RMS about zero, overflows counted\n")
    print_table(metrics_table(score_rows({"GMT": validation.raw, model: validation.model})))
    print("\nRatio model / GMT\n")
    print_table(metrics_table(ratio_rows({model: validation.ratio})))
    if "offline_guard" in card.training:
        print("\n" + "\n".join(offline_guard_lines(card.training["offline_guard"])))
    if trained.guard:
        print("\nPrice of the guard, which limits corrections: ratio with / without it\n")
        print_table(metrics_table(ratio_rows({"price": trained.guard.price})))
        print("\n" + "\n".join(guard_lines(trained.guard)))
    print(f"\nInputs: {', '.join(q.name for q in card.inputs)}")
    phi, eta = REFERENCES[card.reference]
    print(f"Corrects {phi}, {eta} and hwPt")
    if card.reference != recipe(model).reference:
        print("hwPhi or hwEta has one value for all muons, so phi and eta are corrected at the vertex")
    print(described(card.recipe["symmetries"], card.training["differences"]))
    print(f"Model {model}, trained on {card.origin}, is in {target}")


def _muons(files: Sequence[Path], in_memory: int, *, paper: bool) -> "Dataset | MuonFiles":
    from l1scout.dataset.matched import opened, read_datasets
    from l1scout.training.epochs import read_stream

    total = 0
    for path in files:
        with opened(path) as file:
            total += file.muons
    if total <= in_memory:
        return read_datasets(files)
    with progress() as bar:
        task = bar.add_task("data, muons", total=total)
        return read_stream(files, lambda done, of: bar.update(task, completed=done, total=of), paper=paper)


def fit_with_bar(
    data: "Dataset | MuonFiles",
    model: str,
    *,
    inputs: Sequence[str] | None = None,
    epochs: int | None = None,
    batch: int | None = None,
    seed: int = 1,
    patience: int | None = None,
    guard_price: float | None = None,
) -> "Trained":
    """Train under a progress bar."""
    from l1scout.training.fit import fit
    from l1scout.training.recipes import recipe

    with progress() as bar:
        task = bar.add_task(f"model {model}, epochs", total=epochs or recipe(model).epochs)
        return fit(
            data,
            recipe(model),
            inputs=inputs,
            epochs=epochs,
            batch=batch,
            seed=seed,
            patience=patience,
            guard_price=guard_price,
            on_epoch=lambda epoch, _loss: bar.update(task, completed=epoch),
        )
