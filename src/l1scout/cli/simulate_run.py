"""``l1scout simulate run``: a run of the LHC on eight fibres, with its truth."""

from pathlib import Path
from typing import Annotated

import typer

from l1scout.cli.format_option import FORMATS_HELP
from l1scout.cli.output import Json, print_json, progress
from l1scout.cli.simulate import CONDITION_HELP, FAULTS, fault_rates, one_of, running


def run(
    orbits: Annotated[int, typer.Option(min=1, help="Orbits of 3564 BX.")],
    target: Annotated[Path, typer.Option("--out", help="Directory for links.l1l, truth.parquet, run.json.")],
    seed: Annotated[int, typer.Option(min=0)] = 1,
    form: Annotated[str, typer.Option("--format", help=FORMATS_HELP)] = "run3",
    scheme: Annotated[str, typer.Option(help="Filling scheme: 2018 or 2024.")] = "2018",
    occupancy: Annotated[float, typer.Option(help="Part of the BX with a muon.")] = 0.05,
    crc: Annotated[str, typer.Option(help="CRC on the links.")] = "CRC-32/ISO-HDLC",
    condition: Annotated[list[str] | None, typer.Option(help=CONDITION_HELP)] = None,
    fault: Annotated[list[str] | None, typer.Option(help=FAULTS)] = None,
    json: Json = False,
) -> None:
    """Write a simulated run as it comes from the fibres, and the muons that were sent.

    Links have different skew and padding. About 0.8 MB an orbit.
    """
    from l1scout.formats.block_format import board_format
    from l1scout.link.frames import CRCS
    from l1scout.simulate.run import simulate_run
    from l1scout.simulate.write import Fibres, write_run

    wire_format = board_format(form)
    one_of("--crc", crc, dict(CRCS))
    planted, rates = running(scheme, occupancy, condition or ()), fault_rates(fault or [])
    fibres = Fibres(wire_format, seed, CRCS[crc], rates)
    pieces = simulate_run(seed, orbits, running=planted, form=wire_format, origin=True)
    with progress() as bars:
        task = bars.add_task("orbits", total=orbits)
        result = write_run(target, pieces, fibres, planted, lambda n: bars.update(task, completed=n))
    if json:
        print_json(result)
        return
    counts = (
        f"simulated: {result['final_muons']:,} final and {result['intermediate_muons']:,} intermediate muons"
    )
    print(f"{counts} in {result['orbits']:,} orbits in {target}: {result['faults']} faults")
