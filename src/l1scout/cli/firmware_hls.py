"""``l1scout firmware hls``: a Vitis HLS project of a firmware model."""

from pathlib import Path
from typing import Annotated

import typer

from l1scout.cli.firmware_build import CLOCK
from l1scout.cli.output import Json, activity, print_json


def hls(
    model: Annotated[Path, typer.Argument(help="Firmware model.", metavar="FW")],
    target: Annotated[Path, typer.Option("--out", help="Folder to write.")],
    clock: Annotated[float, typer.Option(min=1, max=1500, help="MHz for the project.")] = CLOCK,
    part: Annotated[str | None, typer.Option(help="Xilinx part; by default a VU9P.")] = None,
    emulated: Annotated[
        bool, typer.Option("--emulate/--no-emulate", help="Compile its C++ with g++ and compare.")
    ] = True,
    json: Json = False,
) -> None:
    """Write the network as a Vitis HLS project with hls4ml, for those who have the vendor's tools.

    Its C++ is emulated with g++ and compared with the integer network, bit for bit. Exit status 1 if
    they differ.
    """
    from l1scout.firmware.hls import PART, emulate, export
    from l1scout.model.card import made_from
    from l1scout.model.directory import load_model

    loaded = load_model(model)
    with activity("hls4ml"):
        project = export(loaded, target, clock=clock, part=part or PART)
    inputs = differ = None
    if emulated:
        with activity("g++: half a minute"):
            inputs, differ = emulate(loaded, project)
    if json:
        about = {"folder": target, "part": part or PART, "inputs": inputs, "mismatches": differ}
        print_json({**about, "provenance": made_from(loaded.card).as_dict()})
    else:
        print(f"{target}: Vitis HLS project for {part or PART}, {clock:g} MHz")
        if inputs is not None:
            print(f"emulated with g++: {inputs:,} inputs, {differ:,} differ from the integer network")
    raise typer.Exit(int(bool(differ)))
