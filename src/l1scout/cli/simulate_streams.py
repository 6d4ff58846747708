"""``l1scout simulate streams``: packets of all streams of the same collisions, with their truth."""

from pathlib import Path
from typing import Annotated

import typer

from l1scout.cli.output import Json, print_json, progress


def streams(
    orbits: Annotated[int, typer.Option(min=1, help="Orbits of 3564 BX.")],
    target: Annotated[Path, typer.Option("--out", help="Folder for a file of packets per board.")],
    boards: Annotated[
        str, typer.Option(help="Boards: all, or some of gmt,calo,bmtf,gt,towers; commas between.")
    ] = "all",
    like: Annotated[str, typer.Option(help="Year whose collisions they resemble: 2018 or 2024.")] = "2018",
    pile_up: Annotated[
        float | None, typer.Option(min=0, max=999, help="Interactions in a BX, on average.")
    ] = None,
    plant: Annotated[
        list[str] | None,
        typer.Option(
            help="What to plant: NAME=NUMBER, such as clusters_early=0.01, clusters_late=0.005, slow=2 "
            "(slow heavy particles per orbit) or slow_beta=0.2,0.5; several allowed.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0)] = 1,
    json: Json = False,
) -> None:
    """Write simulated packets of boards, all of the same collisions: a toy, and labelled so.

    Muons are packets of run3, the others those of the format `objects`; `l1scout readout`, `inspect` and
    `analyse` take both. Towers are of all orbits. About 4 MB an orbit at the pile-up of 2018, 3.1 of them
    towers.
    """
    from dataclasses import asdict, replace

    from l1scout.cli.simulate import one_of
    from l1scout.control.all_streams_settings import BOARDS, chosen_boards
    from l1scout.simulate.activity import ACTIVITIES, planted
    from l1scout.trigger.board_files import write_board_files

    one_of("--like", like, dict(ACTIVITIES))
    activity = ACTIVITIES[like] if pile_up is None else replace(ACTIVITIES[like], pile_up=pile_up)
    activity = planted(activity, plant or ())
    chosen = {name: BOARDS[name] for name in chosen_boards(boards.split(","), "--boards")}
    sources = {
        name: None if board.wire_format == "run3" else range(board.source, board.source + board.source_count)
        for name, board in chosen.items()
    }
    with progress() as bars:
        task = bars.add_task("orbits", total=orbits)
        sizes = write_board_files(
            target, sources, orbits, activity, seed, lambda n: bars.update(task, completed=n)
        )
    if json:
        print_json({"orbits": orbits, "simulated": True, "activity": asdict(activity), "bytes": sizes})
        return
    for name, size in sizes.items():
        print(f"{target / name}.dat: simulated, {size:,} bytes")
