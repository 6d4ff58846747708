"""Stop the chain stage by stage (boards, readouts, store), and none takes longer than its bound.

Each process has a deadline of its own from the request to stop on (`readout.deadline`). Run control waits for
that and a margin, then requests an end at once, then kills. Decision 19 has the whole of it.
"""

import signal
from collections.abc import Callable

from l1scout.control.chain_processes import ChainProcesses
from l1scout.control.process import Process
from l1scout.readout.status import BoardStatus, ReadoutStatus, StoreStatus
from l1scout.settings import Settings

MARGIN_S = 30.0
"""Time after its own bound until a process is stopped at once."""
FORCED_S = 10.0
"""Time after that until it is killed."""


class Drain:
    """Asks boards, then readouts, then the store to stop.

    Boards and readouts have ``readout.drain_seconds`` each, the store has ``store.drain_seconds``.

    Parameters
    ----------
    processes : ChainProcesses
    settings : Settings
    log : callable
        ``log(event, **values)``.
    """

    def __init__(self, processes: ChainProcesses, settings: Settings, log: Callable[..., None]) -> None:
        self._log = log
        readout_s = max((s.settings.readout.drain_seconds for s in processes.sources), default=0.0)
        bounds = (readout_s + MARGIN_S, readout_s + MARGIN_S, settings.store.drain_seconds + MARGIN_S)
        self._stages = list(zip(processes.stages, bounds, strict=True))
        self._since: float | None = None
        self._forced: float | None = None
        self._now = 0.0

    def step(self, now: float, *, at_once: bool, kill: bool) -> bool:
        """Go on; return whether all processes have ended.

        Parameters
        ----------
        now : float
        at_once : bool
            Do not wait for what is slow.
        kill : bool
            Do not wait at all.
        """
        self._now = now
        while self._stages:
            stage, bound = self._stages[0]
            if self._since is None:
                self._since = now
            late = now - self._since >= bound
            if self._forced is None and (at_once or late or kill):
                self._forced = now
                if late:
                    names = " ".join(p.name for p in stage if not p.ended)
                    self._log("too slow: stopped at once", level="warning", name=names, bound_s=bound)
            ended = [self._ended(process, now, kill=kill) for process in stage]
            if not all(ended):
                return False
            del self._stages[0]
            self._since = self._forced = None
        return True

    def _ended(self, process: Process, now: float, *, kill: bool) -> bool:
        """Ask a process to stop; return whether it has ended, and is not to be started again."""
        is_board = process.kind == "board"
        if not process.alive and (process.ended or is_board or self._forced is not None or not process.lives):
            process.ended = True
            return True
        if self._forced is None:
            process.ask(now, at_once=is_board)
        elif kill or now - self._forced >= FORCED_S:
            process.signal(signal.SIGKILL)
        else:
            process.force(now)
        return False

    @property
    def is_forced(self) -> bool:
        """Whether what is slow is not waited for any more."""
        return self._forced is not None

    def waits_for(self) -> str:
        """Say what is waited for, and how long at most."""
        if not self._stages or self._since is None:
            return ""
        stage, bound = self._stages[0]
        left = self._since + bound + FORCED_S if self._forced is None else self._forced + FORCED_S
        what = ", ".join(f"{process.name}{_backlog(process)}" for process in stage if not process.ended)
        return f"{what}; at most {max(left - self._now, 0):.0f} s"


def _backlog(process: Process) -> str:
    last = process.latest
    if isinstance(last, BoardStatus):
        return f" ({last.waiting} packets to send)"
    if isinstance(last, ReadoutStatus):
        return f" ({last.spool_segments} segments, {last.spool_bytes / 1e6:.1f} MB, to the store)"
    if isinstance(last, StoreStatus):
        return f" ({last.uncompressed} segments to compress)"
    return ""
