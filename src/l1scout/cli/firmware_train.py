"""``l1scout firmware train``: a firmware model from a float one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from l1scout.cli.output import Json, print_json, print_table, progress, write_json
from l1scout.errors import InputError

if TYPE_CHECKING:
    from l1scout.dataset.matched import Dataset
    from l1scout.model.directory import Model

BETA = 3e-6


def train(
    model: Annotated[Path, typer.Option("--model", "-m", help="Float model to start from.")],
    data: Annotated[Path, typer.Option(help="Data set, as `l1scout dataset` writes it.")],
    target: Annotated[Path, typer.Option("--out", help="Firmware model to write; of a sweep, a folder.")],
    beta: Annotated[
        float, typer.Option(min=0, help="Area penalty: what a bit operation is worth in units of the loss.")
    ] = BETA,
    sweep: Annotated[
        str | None,
        typer.Option(help="Penalties to try one after the other, with commas: 1e-6,3e-6,1e-5."),
    ] = None,
    neurons: Annotated[
        int | None, typer.Option(min=1, help="Neurons to leave in each hidden layer; by default 20.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="By default 240.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1)] = 1,
    json: Json = False,
) -> None:
    """Teach a float model's answers to one with as few bits as the penalty leaves, for logic.

    Prints the nine metrics beside the float model's, on muons of the validation part. A sweep writes a
    model a penalty, pareto.json, and pareto.svg: area against all nine.
    """
    from l1scout.dataset.matched import read_dataset
    from l1scout.firmware.fit_quantised import EPOCHS, NEURONS
    from l1scout.model.directory import load_model
    from l1scout.report.result_tables import ratio_rows, score_rows
    from l1scout.report.terminal_tables import metrics_table

    loaded, muons = load_model(model), read_dataset(data)
    settings = {"neurons": neurons or NEURONS, "epochs": epochs or EPOCHS, "seed": seed}
    if sweep:
        _sweep(loaded, muons, target, _betas(sweep), settings, json)
        return
    found, against = _one(loaded, muons, target, beta, settings)
    if json:
        about = {"model": target, **(found.card.firmware or {}), "simulated": muons.simulated}
        print_json({**about, **against.as_dict()})
        return
    about = found.card.firmware or {}
    print(f"Validation part, {against.muons:,} muons; RMS about zero, overflows counted\n")
    print_table(
        metrics_table(score_rows({loaded.card.name: against.float_model, "firmware": against.firmware}))
    )
    print("\nRatio firmware / float\n")
    print_table(metrics_table(ratio_rows({"firmware": against.ratio})))
    print(f"\n{about['ebops']:,.0f} bit operations; the furthest ratio is {against.worst:.4f} from 1")
    print(f"Firmware model, trained on {found.card.origin}, is in {target}")


def _one(
    loaded: "Model", data: "Dataset", target: Path, beta: float, settings: dict[str, Any]
) -> tuple[Any, Any]:
    from l1scout.firmware.against import against
    from l1scout.firmware.export import save
    from l1scout.firmware.fit_quantised import fit
    from l1scout.training.save_model import check_target

    check_target(target)
    with progress() as bar:
        task = bar.add_task(f"beta {beta:g}, epochs", total=settings["epochs"])
        trained = fit(loaded, data, beta, **settings, on_epoch=lambda n: bar.update(task, completed=n))
    made = save(trained, loaded, target, {**settings, "beta": beta, "data": data.sha256})
    return made, against(loaded, made, data.part("validation"))


def _sweep(
    loaded: "Model", data: "Dataset", target: Path, betas: list[float], settings: dict[str, Any], json: bool
) -> None:
    from l1scout.files import write_text
    from l1scout.firmware.build import network_of
    from l1scout.firmware.logic import trace
    from l1scout.report.firmware_figures import Point, pareto_figure, pareto_rows
    from l1scout.report.terminal_tables import records_table

    points = []
    for beta in betas:
        made, found = _one(loaded, data, target / f"beta-{beta:g}", beta, settings)
        logic = trace(network_of(made), made.domain)
        ebops = float((made.card.firmware or {})["ebops"])
        points.append(Point(beta, ebops, logic.estimate, found))
    about = f"{loaded.card.name}, validation part of {data.name}"
    result: dict[str, Any] = {"float_model": loaded.card.name, "simulated": data.simulated}
    result |= {"points": [p.as_dict() for p in points]}
    write_json(target / "pareto.json", result)
    write_text(target / "pareto.svg", pareto_figure(points, about, data.simulated))
    if json:
        print_json(result)
        return
    print_table(records_table(pareto_rows(points)))
    print(f"\nModels, pareto.json and pareto.svg are in {target}")


def _betas(text: str) -> list[float]:
    try:
        betas = sorted({float(part) for part in text.split(",")})
    except ValueError:
        betas = [-1.0]
    if betas[0] < 0 or not all(b < 1 for b in betas):
        msg = f"--sweep {text}: not numbers from 0 to 1 with commas between, as 3e-6,1e-5,3e-5"
        raise InputError(msg)
    return betas
