"""``l1scout source``: a board for readout that never ends."""

from typing import Annotated, Any

import typer

from l1scout.cli.live import Set, SettingsFile, StatusFile, StatusWriter, load, logger, on_signals


def source(
    settings: SettingsFile = None,
    over: Set = None,
    status: StatusFile = None,
    first_orbit: Annotated[int, typer.Option(min=0, help="Number of the first orbit.")] = 0,
) -> None:
    """Send packets of a file or a simulation to readout, again and again, at the pace of the LHC.

    What is sent is set by board.packets or board.simulate. Orbit numbers go on rising; when readout is too
    slow, orbits are dropped and counted, as a board does.
    """
    from l1scout.simulate.live_board import LiveBoard

    work = LiveBoard(load(settings, over), first_orbit, logger("board"))
    on_signals(work.stop)
    work.run(StatusWriter(status, _line))


def _line(s: dict[str, Any]) -> str:
    rate = f"{s['real_time_factor']:.2f} x LHC"
    return f"{s['state']}: {s['delivered']:,} orbits sent, {s['dropped']:,} dropped, {rate}"
