"""``l1scout firmware build``: Verilog of a firmware model."""

from pathlib import Path
from typing import Annotated

import typer

from l1scout.cli.output import Json, activity, print_json

CLOCK = 250.0


def build(
    model: Annotated[Path, typer.Argument(help="Firmware model.", metavar="FW")],
    target: Annotated[Path, typer.Option("--out", help="Folder to write.")],
    clock: Annotated[
        float, typer.Option(min=1, max=1500, help="MHz to aim at: sets the cutoff by a rule of thumb.")
    ] = CLOCK,
    cutoff: Annotated[
        float | None, typer.Option(min=1, max=1000, help="Largest number of adders between registers.")
    ] = None,
    compiler: Annotated[str, typer.Option(help="da4ml or alkaid.")] = "da4ml",
    json: Json = False,
) -> None:
    """Write Verilog: the network as look-ups and adders, a streaming module round it, a test bench, a README.

    One muon a clock in and out, no DSP, no block RAM. The clock is a wish: only place and route of your
    device tells what it reaches. A smaller cutoff is more stages and a faster clock.
    """
    from l1scout.firmware.build import build as write
    from l1scout.firmware.build import cutoff_for
    from l1scout.model.directory import load_model

    with activity(f"{compiler}: seconds to a minute"):
        built = write(load_model(model), target, cutoff=cutoff or cutoff_for(clock), compiler=compiler)
    about = built.about
    if json:
        print_json({"folder": target, **about})
        return
    print(f"{target}: {about['compiler']}, at most {about['cutoff']:g} adders between registers")
    print(
        f"{about['stages']} stages, {about['latency']} clock edges from muon to recalibrated muon, "
        "one muon a clock"
    )
    print(f"{about['estimated_luts']:,.0f} LUTs for the core by the compiler's estimate; ports in README.md")
