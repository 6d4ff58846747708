"""``l1scout menu check``: a trigger menu against a test vector."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from l1scout.cli.menu_show import Cabling, MenuFile
from l1scout.cli.output import Json, print_json, print_line, print_problem, print_table, warn

if TYPE_CHECKING:
    from l1scout.trigger.check_vector import VectorCheck
    from l1scout.trigger.menu import Menu


def check(
    menu: MenuFile,
    vector: Annotated[Path, typer.Argument(help="Test vector of the Global Trigger; also as .gz.")],
    cabling: Cabling = None,
    board: Annotated[int | None, typer.Option(help="Board of the Global Trigger; by default all.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="List equal algorithms, too.")] = False,
    json: Json = False,
) -> None:
    """Emulate a menu on a test vector and compare all bits; exit 1 if any differs for no known reason."""
    from l1scout.lhc import BX_PER_ORBIT
    from l1scout.trigger.check_vector import check_vector
    from l1scout.trigger.load_menu import load_menu
    from l1scout.trigger.vector_file import read_vector

    loaded, read = load_menu(menu, cabling), read_vector(vector)
    if board is not None:  # of a vector of all boards, its bits alone are compared
        loaded = loaded.of_board(board)
        read = replace(read, algorithms=read.algorithms & loaded.own_bits)
    found = check_vector(loaded, read)
    if read.inputs.crossings != BX_PER_ORBIT:
        warn([f"{vector}: {read.inputs.crossings} crossings, not the {BX_PER_ORBIT} of an orbit: cut off?"])
    if json:
        print_json(_document(loaded, found, vector))
    else:
        _print(loaded, found, all_)
    if found.unexplained or found.unused_bits:
        raise typer.Exit(1)


def _document(menu: "Menu", found: "VectorCheck", vector: Path) -> dict[str, object]:
    return {
        "menu": menu.name,
        "vector": vector,
        "algorithms": [a.as_dict() for a in found.algorithms],
        "not_emulated": found.skipped,
        "bits_set_without_algorithm": found.unused_bits,
    }


def _print(menu: "Menu", found: "VectorCheck", all_: bool) -> None:
    from rich.markup import escape
    from rich.table import Table

    titles = ("index", "algorithm", "set", "emulated", "equal", "different", "crossings that differ")
    table = Table(*titles, box=None, padding=(0, 2, 0, 0))
    for a in found.algorithms:
        if a.different or all_:
            numbers = (a.set_in_vector, a.set_by_emulator, a.equal, a.different)
            crossings = ", ".join(map(str, a.crossings)) + ", ..." * (a.different > len(a.crossings))
            table.add_row(str(a.index), escape(a.name), *(f"{n:,}" for n in numbers), crossings)
    if table.row_count:
        print_table(table)
    for a in found.algorithms:
        if a.different and a.reason:
            print_line(f"{a.name}: {a.reason}")
    for name, reason in found.skipped.items():
        print_line(f"{name}: not emulated: {reason}")
    counts = [sum(getattr(a, n) for a in found.algorithms) for n in ("set_in_vector", "equal", "different")]
    print_line(
        f"{menu.name}: {len(found.algorithms)} of {len(menu.algorithms)} algorithms emulated, "
        f"{counts[0]:,} bits set, {counts[1]:,} equal, {counts[2]:,} different"
    )
    for a in found.unexplained:
        print_problem(f"{a.name}: {a.different} bits differ without a known reason")
    if found.unused_bits:
        print_problem(f"{found.unused_bits} bits of the vector are set that no algorithm of the menu has")
