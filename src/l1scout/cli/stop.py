"""``l1scout stop``: drain a running chain."""

import time

from l1scout.cli.live import Set, SettingsFile, load
from l1scout.cli.output import activity, print_line
from l1scout.errors import InputError


def stop(settings: SettingsFile = None, over: Set = None) -> None:
    """Tell `l1scout run` to end the run, and wait until all is stored.

    It stays, configured, for the next `l1scout start`.
    """
    from l1scout.control.local import command

    folder = load(settings, over).run.folder
    status = command(folder, do="stop")
    with activity("draining"):
        while status.state == "draining":
            time.sleep(0.1)
            status = command(folder, do="status")
    if status.error:
        raise InputError(status.error)
    print_line(f"run {status.run}: drained")
