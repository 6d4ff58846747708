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
Prescales = Annotated[
    Path | None, typer.Option(help="Prescales of the menu: CSV, or XML of run settings; also as .gz.")
]
Column = Annotated[
    str | None, typer.Option(help="Column of the prescales; by default the one that the file says is in use.")
]
MaskFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--masks", help="XML of run settings with finorMask or vetoMask; can be given several times."
    ),
]
MenuFile = Annotated[
    Path, typer.Argument(help="Menu: XML, JSON of derived facts, or TOML in the short form; also as .gz.")
]


def show(
    menu: MenuFile,
    algorithm: Annotated[str | None, typer.Option(help="Only this one, by its name or index.")] = None,
    cabling: Cabling = None,
    prescales: Prescales = None,
    column: Column = None,
    masks: MaskFiles = None,
    json: Json = False,
) -> None:
    """Show the algorithms of a menu with their limits in physics units and in hardware integers."""
    from l1scout.trigger.describe_menu import describe_lines, describe_menu
    from l1scout.trigger.describe_prescales import run_settings, run_settings_lines
    from l1scout.trigger.load_menu import load_menu
    from l1scout.trigger.prescale_files import read_masks, read_prescales

    loaded = load_menu(menu, cabling)
    chosen = (loaded.select(algorithm),) if algorithm else loaded.algorithms
    table = read_prescales(prescales) if prescales else None
    mask = read_masks(*masks) if masks else None
    settings = run_settings(loaded, table, column, mask)
    warn([note for one in (table, mask) if one for note in one.notes(loaded)])
    document = describe_menu(loaded, chosen)
    for entry in document["algorithms"]:
        entry |= settings[entry["name"]]
    if json:
        print_json(document)
        return
    print_line(f"{loaded.name}: {len(loaded.algorithms)} algorithms, grammar {loaded.grammar}")
    print_line(f"overlap removal: {document['overlap_removal']}")
    print_line(f"external signals: {loaded.signals_from or 'not stated'}")
    for one in chosen:
        print_line("")
        for line in [*describe_lines(one), *run_settings_lines(settings[one.name])]:
            print_line(line)
    if table and (column or table.active) and (large := table.too_large(loaded, column)):
        warn([f"{table.source}: prescales of {', '.join(large)} have more than the firmware's 24 bits"])
    if document["not_emulated"]:
        warn([f"{len(document['not_emulated'])} of these algorithms cannot be emulated exactly; see above"])
