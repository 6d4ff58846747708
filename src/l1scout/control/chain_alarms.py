"""What an operator must look at now: alarms of the processes, and what only run control sees."""

import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping

from l1scout.control.chain_processes import ChainProcesses
from l1scout.control.messages import GROWING, ProcessRow
from l1scout.control.process import Process

LOSS_S = 10.0
"""Losses that have grown within this time are an alarm."""
SILENT_S = 30.0
"""A process that has not reported for this time is one."""
SPOOL_FULL_S, DISK_FULL_S = 30.0, 2 * 3600.0
"""A spool, and a disk, that will be full within this time at the present rate are one."""


class Alarms:
    """The alarms that are up; each is logged once when it appears, and once when it has ended.

    Parameters
    ----------
    processes : ChainProcesses
    log : callable
        ``log(event, **values)``.
    """

    def __init__(self, processes: ChainProcesses, log: Callable[..., None]) -> None:
        self._processes, self._log = processes, log
        self._up: dict[str, str] = {}
        self._lost: deque[tuple[float, dict[str, int]]] = deque()

    @property
    def up(self) -> list[str]:
        """Alarms: ``process: what``."""
        return list(self._up.values())

    def reset(self) -> None:
        """Forget the last run."""
        self._up.clear()
        self._lost.clear()

    def update(self, now: float, rows: Mapping[str, ProcessRow]) -> None:
        """Look at all processes, and log what is new and what has ended."""
        up = {_kind(text): text for text in self._present(now, rows)}
        logged = {f"{process.name}: {process.refusal}" for process in self._processes}  # when it ended
        for kind, text in up.items():
            if kind not in self._up and text not in logged:
                self._log("alarm", level="error", what=text)
        for kind, text in self._up.items():
            if kind not in up:
                self._log("alarm has ended", what=text)
        self._up = up

    def _present(self, now: float, rows: Mapping[str, ProcessRow]) -> Iterator[str]:
        for process in self._processes:
            for text in (*_of_process(process, now), *_forecast(process, rows[process.name])):
                yield f"{process.name}: {text}"
        yield from self._losing(now)

    def _losing(self, now: float) -> Iterator[str]:
        self._lost.append((now, self._processes.lost))
        while now - self._lost[0][0] > LOSS_S:
            self._lost.popleft()
        before, lost = self._lost[0][1], self._lost[-1][1]
        for name, count in lost.items():
            if count > before[name]:
                yield f"{GROWING}{name} {count - before[name]:,} more in the last {LOSS_S:.0f} s"


def _of_process(process: Process, now: float) -> Iterator[str]:
    if last := process.last:
        yield from last.alarms
        yield from (f"thread {name} has ended: start the process again" for name in last.dead_threads)
    if process.restarts:
        yield f"has died, and was started again {process.restarts} times: see {process.log}"
    if process.state in ("dead", "refuses"):
        yield process.refusal or f"{process.state}: see {process.log}"
    if process.silent_s(now) > SILENT_S:
        yield f"has not reported for {process.silent_s(now):.0f} s"


def _forecast(process: Process, row: ProcessRow) -> Iterator[str]:
    limit, what = (DISK_FULL_S, "disk") if process.kind == "store" else (SPOOL_FULL_S, "spool")
    if row.full_in_s is not None and row.full_in_s < limit:
        yield f"its {what} is full soon"


def _kind(text: str) -> str:
    """Return what stays of an alarm while its numbers change."""
    name, colon, what = text.partition(": ")
    return name + colon + re.sub(r"\d[\d.,]*", "#", what)
