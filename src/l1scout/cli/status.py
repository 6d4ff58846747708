"""``l1scout status``: how a running chain is."""

from l1scout.cli.live import Set, SettingsFile, load
from l1scout.cli.output import Json, out, print_json


def status(settings: SettingsFile = None, over: Set = None, json: Json = False) -> None:
    """Show the state of `l1scout run`: rates, buffers, lag, losses and restarts of every process."""
    from l1scout.control.local import command
    from l1scout.control.status_table import table

    told = command(load(settings, over).run.folder, do="status")
    if json:
        print_json(told.model_dump(mode="json"))
    else:
        out.print(table(told))
