"""Whether a process is alive and whole, by its status file: for the health check of a container."""

import time
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from l1scout.errors import first_fault
from l1scout.readout.status import BoardStatus, MonitorStatus, ProcessStatus, ReadoutStatus, StoreStatus

FRESH_S = 30.0
"""A status is written 4 times a second; a process that has written none for this time hangs."""
_ANY: TypeAdapter[BoardStatus | ReadoutStatus | StoreStatus | MonitorStatus] = TypeAdapter(
    BoardStatus | ReadoutStatus | StoreStatus | MonitorStatus
)


def unhealthy(path: Path) -> str:
    """Say what is wrong with the process that writes a status file; empty if nothing is.

    Losses and other alarms do not make a process unhealthy: to start it again would not help.
    """
    try:
        status = _ANY.validate_json(path.read_bytes())
    except OSError as error:
        return f"no status there ({error.strerror or error}): has the process been started with --status?"
    except ValidationError as error:
        return f"not the status of a process: {first_fault(error)}"
    return fault_of(status)


def fault_of(status: ProcessStatus) -> str:
    """Say what is wrong with a process by its newest status; empty if nothing is."""
    if status.state == "idle":
        return f"{status.process} has ended"
    if status.dead_threads:
        return f"{status.process}: a thread has died: {', '.join(status.dead_threads)}"
    age = time.time() - status.time
    return f"{status.process}: no status for {age:.0f} s" if age > FRESH_S else ""
