"""``l1scout monitor``: the live page."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from l1scout.cli.live import Set, SettingsFile, StatusPath, load, status_writer
from l1scout.cli.output import print_line

if TYPE_CHECKING:
    from l1scout.readout.status import MonitorStatus


def monitor(
    data: Annotated[
        list[str] | None,
        typer.Argument(help="Run of the store, or files or folders; without any, the spool of the readout."),
    ] = None,
    model: Annotated[
        Path | None, typer.Option("--model", "-m", help="Model directory, to show recalibrated muons.")
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(help="Run to compare with, which the monitor has saved; or its file of histograms."),
    ] = None,
    anomaly_models: Annotated[
        list[Path] | None,
        typer.Option(
            "--anomaly-model",
            "-a",
            help="Anomaly model (`l1scout anomaly train`) to score all crossings with; several allowed.",
        ),
    ] = None,
    settings: SettingsFile = None,
    over: Set = None,
    status: StatusPath = None,
) -> None:
    """Show live histograms, rates, losses and alarms on a page, and save the histograms of each run.

    Without data it follows the segments that a readout on this machine writes, orbit by orbit, and shows what
    `l1scout run` reports. With the number of a run it follows that run in the store. The page only reads.
    """
    from l1scout.control.logs import logger
    from l1scout.control.services import on_signals
    from l1scout.monitor.monitor import Monitor

    changes = list(over or ())
    if model:
        changes.append(f"recalibrate.model={model}")
    if reference:
        changes.append(f"monitor.reference={reference}")
    if anomaly_models:
        changes.append(f"monitor.anomaly_models={','.join(map(str, anomaly_models))}")
    work = Monitor(load(settings, changes), data or [], logger("monitor"), status_writer(status, _line))
    on_signals(work.stop)
    print_line(f"http://{work.address}/ (Ctrl-C ends)")
    work.run()


def _line(s: "MonitorStatus") -> str:
    run = "no run yet" if s.run is None else f"run {s.run}, {s.orbits:,} orbits ({s.data} data)"
    return f"{s.state}: {run}, {s.clients} pages; segments left out {s.skipped_segments}"
