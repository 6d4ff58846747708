"""``l1scout source``: a board for readout that never ends."""

from typing import TYPE_CHECKING, Annotated

import typer

from l1scout.cli.live import Set, SettingsFile, StatusPath, load, status_writer

if TYPE_CHECKING:
    from l1scout.readout.status import BoardStatus


def source(
    settings: SettingsFile = None,
    over: Set = None,
    status: StatusPath = None,
    first_orbit: Annotated[
        int | None, typer.Option(min=0, help="Number of the first orbit, over board.first_orbit.")
    ] = None,
) -> None:
    """Send packets of a file or a simulation to readout, again and again, at the pace of the LHC.

    What is sent is set by board.packets or board.simulate. Orbit numbers go on rising; when readout is too
    slow, orbits are dropped and counted, as a board does.
    """
    from l1scout.control.logs import logger
    from l1scout.control.services import run_board

    first = [] if first_orbit is None else [f"board.first_orbit={first_orbit}"]
    run_board(load(settings, [*(over or ()), *first]), logger("board"), status_writer(status, _line))


def _line(s: "BoardStatus") -> str:
    return f"{s.state}: {s.delivered:,} orbits sent, {s.dropped:,} dropped, {s.real_time_factor:.2f} x LHC"
