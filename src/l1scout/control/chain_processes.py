"""The processes of a chain: a board and a readout for each source, one store for all."""

import itertools
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from l1scout.control.process import Process
from l1scout.control.sd_notify import VARIABLES
from l1scout.lhc import ORBIT_FREQUENCY_HZ
from l1scout.readout.spool import default_folder
from l1scout.readout.status import BoardStatus, ReadoutStatus
from l1scout.settings import Settings
from l1scout.settings.given_values import PREFIX

LOST = ("missed", "corrupt", "dropped", "unsent")
"""What can become of orbits that are not written."""


class SourceProcesses:
    """A source: its readout and, if run control starts one, its board.

    Parameters
    ----------
    name : str
        Empty if there is only one source.
    settings : Settings
        Of this source (`Settings.of_source`).
    board : Process or None
    readout : Process
    """

    def __init__(self, name: str, settings: Settings, board: Process | None, readout: Process) -> None:
        self.name, self.settings, self.board, self.readout = name, settings, board, readout
        self._first_orbit, self._since = 0, 0.0

    @property
    def finished(self) -> bool:
        """Whether its board has sent all that it should."""
        return self.board is not None and self.board.ended and self.settings.board.orbits > 0

    def lost(self) -> dict[str, int]:
        """Return the orbits of the run that are not in the files, by what became of them."""
        lost = {name: self.readout.total(name) for name in LOST}
        if self.board:  # readout hears of what was dropped with the next packet, and of the others never
            lost["dropped"] = max(lost["dropped"], self.board.total("dropped"))
            lost["unsent"] = self.board.total("unsent")
        return lost

    def changes(self, process: Process, run: int, now: float) -> list[str]:
        """Return the settings, as ``section.name=value``, that a life of one of its processes gets."""
        prefix = f"sources.{self.name}." if self.name else ""
        changed = [f"run.number={run}"]
        if process is self.board:
            first, board = self._next_orbit(now), self.settings.board
            changed.append(f"{prefix}board.first_orbit={first}")
            if board.orbits:
                left = board.orbits - (first - board.first_orbit)
                changed.append(f"{prefix}board.orbits={max(left, 1)}")
        elif prefix and self.settings.readout.spool is None:
            changed.append(f"{prefix}readout.spool={default_folder() / self.name}")
        return changed

    def _next_orbit(self, now: float) -> int:
        """Return the orbit from which the board goes on: the LHC has not waited for it."""
        assert self.board
        readout, last = self.readout.last, self.board.last
        written = readout.last_orbit + 1 if isinstance(readout, ReadoutStatus) else 0
        if not self.board.lives:
            self._first_orbit, self._since = max(written, self.settings.board.first_orbit), now
            return self._first_orbit
        pace = self.settings.board.pace
        passed = self._first_orbit + (now - self._since) * ORBIT_FREQUENCY_HZ * pace
        sent = 0.0
        if isinstance(last, BoardStatus):
            sent = float(last.first_orbit + last.delivered + last.dropped)
            if pace == 0:  # its last status may be a second old
                sent += last.real_time_factor * ORBIT_FREQUENCY_HZ
        return math.ceil(max(passed, sent, written))


class ChainProcesses:
    """All processes, in the order in which data flow.

    Parameters
    ----------
    settings : Settings
    folder : Path
        Of the run.
    environment : mapping of str to str
        For the processes; settings in it are left out, since `settings` has them.
    lock : int
        File descriptor that all processes keep open: the folder is free when all are gone.
    """

    def __init__(self, settings: Settings, folder: Path, environment: Mapping[str, str], lock: int) -> None:
        env = {n: v for n, v in environment.items() if not n.startswith(PREFIX) and n not in VARIABLES}
        if settings.access.token:
            env[f"{PREFIX}ACCESS_TOKEN"] = settings.access.token
        self._pipes: list[int] = []
        self._folder = folder

        def add(name: str, *holds: int) -> tuple[Process, int]:
            """Return a process, and what the process that feeds it holds."""
            end, hold = os.pipe()
            self._pipes += (end, hold)
            return Process(name, folder, env, end, (lock, *holds)), hold

        self.store, store = add("store")
        self.sources: list[SourceProcesses] = []
        for source in settings.sources or ("",):
            own, suffix = settings.of_source(source), f".{source}" if source else ""
            readout, hold = add(f"readout{suffix}", store)
            sends = own.board.packets or own.board.simulate
            board = add(f"board{suffix}", hold)[0] if sends else None
            self.sources.append(SourceProcesses(source, own, board, readout))

    @property
    def stages(self) -> tuple[list[Process], ...]:
        """Boards, readouts, store: each stage feeds the next."""
        boards = [source.board for source in self.sources if source.board]
        return boards, [source.readout for source in self.sources], [self.store]

    def __iter__(self) -> Iterator[Process]:
        return itertools.chain(*self.stages)

    @property
    def lost(self) -> dict[str, int]:
        """Orbits of the run that are not in the files, by what became of them, over all restarts."""
        lost: Counter[str] = Counter(dict.fromkeys(LOST, 0))
        for source in self.sources:
            lost.update(source.lost())
        return dict(lost)

    def launch_due(self, now: float, run: int, settings: Path) -> Iterator[Process]:
        """Start what is to be started now, each when the next of the chain is up; return what was.

        Parameters
        ----------
        now : float
        run : int
        settings : Path
            File of settings.

        Raises
        ------
        OSError
            If the machine can start no process at this moment.
        """
        if self.store.is_due(now):
            self.store.start(now, settings, [f"run.number={run}"], self._folder / "store.json")
            yield self.store
        for source in self.sources:
            for process, below in ((source.readout, self.store), (source.board, source.readout)):
                if process and process.is_due(now) and below.last:
                    process.start(now, settings, source.changes(process, run, now), self._status(process))
                    yield process

    def _status(self, process: Process) -> Path:
        """Return the file for a life's status: the account needs those of all boards."""
        if process.kind != "board":
            return self._folder / f"{process.name}.json"
        stem = process.name.replace(".", "-")
        paths = (self._folder / f"{stem}-{k}.json" for k in itertools.count())
        return next(path for path in paths if not path.exists())

    def close(self) -> None:
        """Close what tells the processes that run control is there."""
        for descriptor in self._pipes:
            os.close(descriptor)
