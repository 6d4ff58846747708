"""``l1scout menu show``: the algorithms of a trigger menu."""

from pathlib import Path
from typing import Annotated

import typer

from l1scout.cli.output import Json, print_json, print_line, warn

Cabling = Annotated[
    Path | None,
    typer.Option(
        help="XML with the bits of external signals, for a menu of derived facts; by default the one "
        "L1Menu_cabling_YEAR_*.xml beside the menu."
    ),
]
MenuFile = Annotated[Path, typer.Argument(help="Menu: XML, or JSON of derived facts; also as .gz.")]


def show(
    menu: MenuFile,
    algorithm: Annotated[str | None, typer.Option(help="Only this one, by its name or index.")] = None,
    cabling: Cabling = None,
    json: Json = False,
) -> None:
    """Show the algorithms of a menu with their limits in physics units and in hardware integers."""
    from l1scout.trigger.describe_menu import describe_lines, describe_menu
    from l1scout.trigger.load_menu import load_menu

    loaded = load_menu(menu, cabling)
    chosen = (loaded.select(algorithm),) if algorithm else loaded.algorithms
    document = describe_menu(loaded, chosen)
    if json:
        print_json(document)
        return
    print_line(f"{loaded.name}: {len(loaded.algorithms)} algorithms, grammar {loaded.grammar}")
    print_line(f"overlap removal: {document['overlap_removal']}")
    print_line(f"external signals: {loaded.signals_from or 'not stated'}")
    for one in chosen:
        print_line("")
        for line in describe_lines(one):
            print_line(line)
    if document["not_emulated"]:
        warn([f"{len(document['not_emulated'])} of these algorithms cannot be emulated exactly; see above"])
