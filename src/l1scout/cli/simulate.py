"""``l1scout simulate run``: a run of the LHC on eight fibres, with its truth."""

import json as json_text
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from l1scout.cli.output import Json, print_json, progress
from l1scout.errors import InputError
from l1scout.formats.block_format import board_format
from l1scout.link.frames import CRCS
from l1scout.simulate.faults import FaultRates
from l1scout.simulate.planted import CONDITIONS
from l1scout.simulate.run import Running, simulate_run
from l1scout.simulate.write import Fibres, write_run

simulate = typer.Typer(help="Simulated data.", no_args_is_help=True)

FAULTS = "Fault and its probability, such as flips=1e-6; may be given several times. " + ", ".join(
    name for name in FaultRates.__dataclass_fields__
)


CONDITION_HELP = escape(
    "What to plant: NAME=JSON, such as cosmics=0.5 or 'noise=[[3,0.5]]'; may be given several times. "
    "`l1scout simulate conditions` lists all."
)


def running(scheme: str, occupancy: float, conditions: Sequence[str] = ()) -> Running:
    """Return the conditions of a simulation (InputError if they are not possible)."""
    asked: dict[str, Any] = {"scheme": scheme, "occupancy": occupancy}
    for text in conditions:
        name, _, value = text.partition("=")
        try:
            asked[name] = _tuples(json_text.loads(value))
        except ValueError:
            msg = f"--condition {text}: name=value expected, the value as JSON"
            raise InputError(msg) from None
    try:
        return Running(**asked)
    except KeyError:
        msg = f"--scheme {scheme}: 2018 and 2024 are known"
        raise InputError(msg) from None
    except ValueError as error:
        msg = f"--occupancy, --condition: {error}"
        raise InputError(msg) from None
    except TypeError:
        msg = (
            f"--condition {' '.join(conditions)}: unknown name, or a value of the wrong form; "
            "`l1scout simulate conditions` lists all with examples"
        )
        raise InputError(msg) from None


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value


def fault_rates(given: list[str]) -> FaultRates:
    """Return the faults asked for as name=probability (InputError if they cannot be)."""
    rates: dict[str, float | int] = {}
    for text in given:
        name, _, value = text.partition("=")
        try:
            rates[name] = int(value) if name == "dead_orbits" else float(value)
        except ValueError:
            rates[name] = -1
    try:
        return FaultRates(**rates)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        known = ", ".join(FaultRates.__dataclass_fields__)
        msg = f"--fault {' '.join(given)}: name=probability expected, of {known}"
        raise InputError(msg) from None


def one_of(option: str, name: str, known: dict[str, object]) -> None:
    """Refuse a name that is not known (InputError)."""
    if name not in known:
        msg = f"{option} {name}: not one of {', '.join(known)}"
        raise InputError(msg)


@simulate.command()
def conditions(json: Json = False) -> None:
    """List what --condition can plant in a simulated run: form, unit, default and an example of each."""
    rows = [{**asdict(c), "default": c.default} for c in CONDITIONS]
    if json:
        print_json({"conditions": rows})
        return
    for c in CONDITIONS:
        unit = f" ({c.unit})" if c.unit else ""
        print(f"{c.name}: {c.meaning}")
        print(f"    {c.form}{unit}; default {json_text.dumps(c.default)}")
        print(f"    --condition '{c.example}'")


@simulate.command()
def run(
    orbits: Annotated[int, typer.Option(min=1, help="Orbits of 3564 BX.")],
    target: Annotated[Path, typer.Option("--out", help="Directory for links.l1l, truth.parquet, run.json.")],
    seed: Annotated[int, typer.Option(min=0)] = 1,
    form: Annotated[str, typer.Option("--format", help="Wire format, such as run2 or run3.")] = "run3",
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
    counts = f"{result['final_muons']:,} final and {result['intermediate_muons']:,} intermediate muons"
    print(f"{counts} in {result['orbits']:,} orbits in {target}: {result['faults']} faults")
