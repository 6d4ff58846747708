"""``l1scout firmware report``: area, time, proof and nine metrics of a firmware model."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from l1scout.cli.firmware_build import CLOCK
from l1scout.cli.output import Json, activity, print_json, print_table, write_json
from l1scout.errors import InputError


def report(
    model: Annotated[Path, typer.Argument(help="Firmware model.", metavar="FW")],
    folder: Annotated[Path, typer.Argument(help="Folder of `firmware build`.", metavar="RTL")],
    target: Annotated[
        Path | None, typer.Option("--out", help="Folder for firmware.html and firmware.json.")
    ] = None,
    float_model: Annotated[
        Path | None, typer.Option("--model", "-m", help="Float model to compare the nine metrics with.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Data set for that; its test part is used.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Use all muons of a data set of no training.")] = False,
    clock: Annotated[float, typer.Option(min=1, max=1500, help="MHz that are assumed.")] = CLOCK,
    route: Annotated[bool, typer.Option(help="Place and route on an ECP5, if nextpnr is there.")] = True,
    json: Json = False,
) -> None:
    """Count LUTs, flip-flops, carries and DSPs with Yosys, and say what the clock edges mean.

    The clock is assumed: Yosys does not place. The ECP5's clock after place and route is a lower bound
    from an older, slower family. What `firmware simulate` found of the folder is repeated.
    """
    from l1scout.analysis.figures.canvas import origin
    from l1scout.dataset.matched import read_dataset
    from l1scout.files import write_text
    from l1scout.firmware.against import against
    from l1scout.firmware.build import read_built
    from l1scout.firmware.resources import resources
    from l1scout.model.card import made_from
    from l1scout.model.directory import load_model
    from l1scout.report.firmware_page import (
        area_head,
        area_rows,
        ecp5_line,
        firmware_page,
        proof_lines,
        time_rows,
    )
    from l1scout.report.result_tables import ratio_rows
    from l1scout.report.terminal_tables import metrics_table, plain_table

    if (float_model is None) != (data is None):
        msg = "give both --model and --data, or neither"
        raise InputError(msg)
    loaded = load_model(model)
    built, scores, muons, record = read_built(folder, loaded), None, "", made_from(loaded.card)
    if float_model and data:
        read = read_dataset(data)
        muons = f"{'All muons' if every else 'Test part'} of {read.name}, {origin(read.simulated)}"
        record = replace(record, simulated=read.simulated)
        scores = against(load_model(float_model), loaded, read if every else read.part("test"))
    with activity("Yosys, then place and route: some minutes"):
        found = resources(built, clock=clock, route=route)
    result = {**found, "scores": scores.as_dict() if scores else None, "muons": muons}
    result |= {"provenance": record.as_dict()}
    if target:
        page = firmware_page(loaded.card.name, found, scores, muons, record)
        write_text(target / "firmware.html", page)
        write_json(target / "firmware.json", result)
    if json:
        print_json(result)
        return
    print_table(plain_table(area_head(found), area_rows(found)))
    print_table(plain_table(["", "timing"], time_rows(found)))
    print("\n".join([ecp5_line(found), *proof_lines(found["simulation"])]))
    if scores:
        print(f"\n{muons}, {scores.muons:,}: ratio firmware / float\n")
        print_table(metrics_table(ratio_rows({"firmware": scores.ratio})))
        print(f"\nThe furthest is {scores.worst:.4f} from 1")
    if target:
        print(f"\nPage: {target / 'firmware.html'}")
