"""``l1scout menu verilog``: algorithms on muons as Verilog, compared with the emulator."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from l1scout.cli.menu_show import Cabling
from l1scout.cli.output import Json, activity, print_json, print_line, print_problem, warn
from l1scout.errors import InputError

if TYPE_CHECKING:
    from l1scout.trigger.menu import Algorithm
    from l1scout.trigger.verilog_simulation import VerilogCheck


def verilog(
    menu: Annotated[
        Path | None, typer.Argument(help="Menu: XML, JSON of derived facts, or TOML; also as .gz.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for muon_trigger.v and what simulates it.")
    ] = None,
    algorithm: Annotated[
        list[str] | None,
        typer.Option(
            help="Algorithm, by name or index; may be given several times. By default all on muons."
        ),
    ] = None,
    when: Annotated[
        str | None, typer.Option("--when", help="An expression instead, such as 'comb{MU5, MU3}[OS]'.")
    ] = None,
    vector: Annotated[
        Path | None, typer.Option(help="Test vector: simulate its crossings, and compare all bits.")
    ] = None,
    random: Annotated[
        int, typer.Option(min=0, max=1_000_000, help="Random crossings to simulate and compare.")
    ] = 0,
    simulator: Annotated[str, typer.Option(help="Simulator: verilator or icarus.")] = "verilator",
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 1,
    cabling: Cabling = None,
    json: Json = False,
) -> None:
    """Write algorithms on muons as Verilog, and compare it with the emulator; exit 1 if any bit differs.

    The module takes the eight muons of a crossing per clock, and gives the bits of the algorithms. It was
    simulated, not synthesised.
    """
    from l1scout.trigger.random_muons import random_muons
    from l1scout.trigger.vector_file import read_vector
    from l1scout.trigger.verilog import MODULE, write_verilog
    from l1scout.trigger.verilog_simulation import check_verilog

    if out is None:
        msg = "--out: name the folder for the Verilog"
        raise InputError(msg)
    chosen, left_out = _chosen(menu, cabling, algorithm or (), when)
    made = write_verilog(chosen)
    out.mkdir(parents=True, exist_ok=True)
    source = out / f"{MODULE}.v"
    source.write_text(made.text, "utf-8")
    checks: dict[str, VerilogCheck] = {}
    with activity("simulate the Verilog"):
        if vector:
            checks[vector.name] = check_verilog(made, read_vector(vector).inputs, out, simulator, seed=seed)
        if random:
            inputs = random_muons(random, seed)
            checks["random crossings"] = check_verilog(made, inputs, out, simulator, seed=seed)
    if json:
        print_json(
            {
                "out": source,
                "algorithms": {a.name: a.index for a in made.algorithms},
                "late_crossings": made.late,
                "not_written": left_out,
                "simulator": simulator if checks else None,
                "checks": {name: {**c.__dict__, "agrees": c.agrees} for name, c in checks.items()},
            }
        )
    else:
        warn([f"{len(left_out)} algorithms are not on muons alone and were left out"] if left_out else [])
        print_line(f"{source}: {len(made.algorithms)} algorithms, decided {made.late} crossings late")
        for name, found in checks.items():
            _print(name, found, simulator)
    if not all(check.agrees for check in checks.values()):
        raise typer.Exit(1)


def _chosen(
    menu: Path | None, cabling: Path | None, names: "list[str] | tuple[str, ...]", when: str | None
) -> "tuple[list[Algorithm], dict[str, str]]":
    """Return the algorithms that were asked for, and of a whole menu those that are left out, and why."""
    from l1scout.trigger.load_menu import load_menu
    from l1scout.trigger.skim_expression import skim_menu
    from l1scout.trigger.verilog import why_not_verilog

    loaded = load_menu(menu, cabling) if menu else None
    if when:
        return list(skim_menu(when, loaded).algorithms), {}
    if loaded is None:
        msg = "name a menu, or give an expression with --when"
        raise InputError(msg)
    if names:
        return [loaded.select(name) for name in names], {}
    reasons = {a.name: why_not_verilog(a) for a in loaded.algorithms}
    return [a for a in loaded.algorithms if not reasons[a.name]], {
        n: why for n, why in reasons.items() if why
    }


def _print(name: str, found: "VerilogCheck", simulator: str) -> None:
    different = sum(found.different.values())
    print_line(
        f"{name}: {found.crossings:,} crossings in {simulator}, {sum(found.fired.values()):,} bits set, "
        f"{different:,} different"
    )
    for algorithm, n in found.different.items():
        if n:
            print_problem(f"{algorithm}: the Verilog differs from the emulator in {n:,} crossings")
