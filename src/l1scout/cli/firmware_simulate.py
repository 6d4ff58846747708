"""``l1scout firmware simulate``: the Verilog beside the integer network, bit for bit."""

import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from l1scout.cli.output import Json, activity, print_json, progress, write_json


def simulate(
    model: Annotated[Path, typer.Argument(help="Firmware model.", metavar="FW")],
    folder: Annotated[Path, typer.Argument(help="Folder of `firmware build`.", metavar="RTL")],
    muons: Annotated[int, typer.Option(min=1, help="Muons through Verilator.")] = 1_000_000,
    exhaustive: Annotated[
        bool, typer.Option(help="Compare the traced logic and the table at every input of the domain.")
    ] = True,
    sample: Annotated[
        int | None,
        typer.Option(min=1, help="Compare logic and table at this number of random inputs instead of all."),
    ] = None,
    build: Annotated[
        Path | None, typer.Option(help="Folder for built simulators; your cache if not given.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of muons, gaps and sample.")] = 1,
    json: Json = False,
) -> None:
    """Simulate the streaming module, and compare with the integer network, bit for bit.

    Muons go through Verilator with random gaps, 2,000 through the folder's test bench in Icarus Verilog.
    The logic that the Verilog was written from is compared at every possible input, with the network and
    with its table; with --sample at some of them, and with the table only if the model directory has one.
    Exit status 1 if anything differs. What was found is also in RTL/simulation.json.
    """
    from l1scout.deploy.engines.table import TABLE_FILE
    from l1scout.firmware.build import SIMULATION_FILE, network_of, read_built
    from l1scout.firmware.logic import trace
    from l1scout.firmware.simulate import check_core, exhaust, in_icarus, in_verilator, table_of
    from l1scout.firmware.verilator import have_icarus, have_verilator, program_folder
    from l1scout.model.card import made_from
    from l1scout.model.directory import load_model

    loaded, programs = load_model(model), build or program_folder()
    built = read_built(folder, loaded)
    found: dict[str, Any] = {"network": loaded.sha256, "latency": built.latency, "seconds": {}}
    found["provenance"] = made_from(loaded.card).as_dict()
    wrong = False

    def timed(name: str, start: float) -> None:
        found["seconds"][name] = time.perf_counter() - start

    start = time.perf_counter()
    if have_verilator():
        with activity("Verilator: half a minute to build the simulator, the first time"):
            compared = in_verilator(loaded, built, muons, programs, seed=seed)
        found["verilator"] = asdict(compared)
        wrong |= bool(compared.mismatches) or compared.latency != built.latency
        timed("verilator", start)
    start = time.perf_counter()
    if have_icarus():
        with activity("Icarus Verilog"):
            found["icarus"] = in_icarus(loaded, built, 2000, programs, seed=seed + 1)
        wrong |= f"latency {built.latency} " not in found["icarus"] or "PASS" not in found["icarus"]
        timed("icarus", start)
    if exhaustive:
        start = time.perf_counter()
        logic = trace(network_of(loaded), loaded.domain, str(built.about["compiler"]).split()[0])
        check_core(built, logic)
        own = (loaded.directory or Path()) / TABLE_FILE
        with progress() as bar, ExitStack() as held:
            table = own if own.exists() else None
            if table is None and sample is None:
                task = bar.add_task("table", total=None)
                table = held.enter_context(
                    table_of(loaded, lambda n, of: bar.update(task, completed=n, total=of))
                )
            inputs = bar.add_task("inputs of the logic", total=sample or loaded.domain.entries)
            every_input = exhaust(
                loaded,
                logic,
                table,
                sample=sample,
                seed=seed,
                progress=lambda n, _of: bar.update(inputs, completed=n),
            )
        found["exhaustive"] = asdict(every_input)
        wrong |= bool(every_input.logic or every_input.table or every_input.overflows)
        timed("exhaustive", start)
    found["identical"] = not wrong
    write_json(folder / SIMULATION_FILE, found)
    if json:
        print_json(found)
    else:
        _show(found)
    raise typer.Exit(int(wrong))


def _show(found: dict[str, Any]) -> None:
    if v := found.get("verilator"):
        print(
            f"Verilator: {v['muons']:,} muons with random gaps, {v['recalibrated']:,} in the domain: "
            f"{v['mismatches']:,} mismatches, latency {v['latency']} clock edges"
        )
        if v["first"]:
            print(v["first"])
    else:
        print("Verilator: not installed, so skipped (apt-get install verilator g++ make)")
    print(f"Icarus: {found.get('icarus', 'not installed, so skipped (apt-get install iverilog)')}")
    if e := found.get("exhaustive"):
        which = "A RANDOM SAMPLE of the domain" if e["sampled"] else "Every input of the domain"
        table = "table not compared" if e["table"] is None else f"{e['table']:,} of the table"
        print(
            f"{which}, {e['inputs']:,}: {e['logic']:,} mismatches of the traced logic, "
            f"{table}, {e['overflows']:,} values that lost bits, "
            f"{e['saturated']:,} with a pT beyond its field"
        )
    seconds = ", ".join(f"{n} {s:.0f} s" for n, s in found["seconds"].items())
    print(f"({seconds}) Verilog and integer network: " + ("identical" if found["identical"] else "DIFFERENT"))
