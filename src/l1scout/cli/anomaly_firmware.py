"""``l1scout anomaly firmware``: an anomaly model in integers and as Verilog."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from l1scout.cli.firmware_build import CLOCK
from l1scout.cli.output import Json, activity, print_json, print_line

if TYPE_CHECKING:
    from l1scout.firmware.anomaly_core import AnomalyBuild
    from l1scout.model.directory import Model


def firmware(
    model: Annotated[Path, typer.Argument(help="Anomaly model, as `l1scout anomaly train` writes it.")],
    target: Annotated[Path, typer.Option("--out", help="Folder to write: model/ and rtl/.")],
    weight_bits: Annotated[int, typer.Option(min=2, max=12, help="Of the largest weight of a layer.")] = 8,
    clock: Annotated[
        float, typer.Option(min=1, max=1500, help="MHz to aim at: sets the cutoff by a rule of thumb.")
    ] = CLOCK,
    compiler: Annotated[str, typer.Option(help="da4ml or alkaid.")] = "da4ml",
    crossings: Annotated[
        int, typer.Option(min=0, help="Random crossings to simulate in Verilator and compare, bit for bit.")
    ] = 0,
    resources: Annotated[
        bool, typer.Option("--resources", help="Synthesise by Yosys for UltraScale+, and count cells.")
    ] = False,
    build: Annotated[Path | None, typer.Option(help="Folder for built simulators.")] = None,
    json: Json = False,
) -> None:
    """Write an anomaly model in integers, which `l1scout anomaly score` takes, and its Verilog.

    Weights are rounded after the training: compare its scores with those of the model before it is used.
    """
    from l1scout.errors import InputError
    from l1scout.firmware.anomaly_core import build_anomaly, save_anomaly_firmware
    from l1scout.firmware.build import cutoff_for
    from l1scout.model.directory import load_model

    loaded = load_model(model, anomaly=True)
    if loaded.integers:
        msg = f"{model}: is in integers already; give the model that was trained"
        raise InputError(msg)
    made = save_anomaly_firmware(loaded, target / "model", weight_bits)
    with activity(f"{compiler}: seconds to minutes"):
        built = build_anomaly(made, target / "rtl", cutoff=cutoff_for(clock), compiler=compiler)
    found = _found(made, built, crossings, resources, build)
    if json:
        print_json({"folder": target, **found, "simulated": made.card.simulated})
    else:
        for name, value in found.items():
            print_line(f"{name.replace('_', ' ')}: {value}")
        print_line(f"{target}: model in integers, and Verilog; trained on {made.card.origin}")
    if found.get("mismatches"):
        raise typer.Exit(1)


def _found(
    made: "Model", built: "AnomalyBuild", crossings: int, resources: bool, build: Path | None
) -> dict[str, Any]:
    from l1scout.firmware.anomaly_core import random_crossings, simulate_anomaly
    from l1scout.firmware.verilator import program_folder
    from l1scout.firmware.yosys import synthesise

    found: dict[str, Any] = {
        "stages": built.stages,
        "latency_clock_edges": built.latency,
        "estimated_core_luts": built.logic.estimate,
    }
    if crossings:
        with activity("Verilator: a minute or more"):
            compared = simulate_anomaly(
                made, built, random_crossings(made, crossings), build or program_folder()
            )
        found |= {"crossings": compared.crossings, "mismatches": compared.mismatches}
        found |= {"latency_in_simulation": compared.latency}
    if resources:
        with activity("Yosys: minutes"):
            cells = synthesise(built.sources, "anomaly")
        found |= {name: cells[name] for name in ("luts", "flip_flops", "carries", "dsps", "block_rams")}
    return found
