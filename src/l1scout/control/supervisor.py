"""Run control: starts store, readout and board, starts again what dies, and drains them in their order."""

import fcntl
import itertools
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from pydantic import ValidationError

from l1scout.access import parse_address, parse_addresses
from l1scout.control.child import REFUSED
from l1scout.control.local import LocalServer
from l1scout.control.messages import ChainStatus, Command
from l1scout.control.overview import losses, overview
from l1scout.control.process import Process
from l1scout.control.services import SERVICES
from l1scout.control.states import Event, State, after
from l1scout.errors import InputError, first_fault
from l1scout.files import complete_or_nothing
from l1scout.lhc import ORBIT_FREQUENCY_HZ
from l1scout.readout.readout import chosen_format
from l1scout.readout.status import BoardStatus, ReadoutStatus, StoreStatus
from l1scout.settings import PREFIX, Settings, as_toml

_TICK_S = 0.05
_SHOW_S = 0.25
_MAX_RUN = (1 << 32) - 1
_SETTINGS_FILE = "settings.toml"


class Supervisor:
    """The chain on one machine.

    Parameters
    ----------
    settings : Settings
    log : callable
        ``log(event, **values)``.
    environment : mapping of str to str
        For the processes; settings in it are left out, since `settings` has them.

    Raises
    ------
    InputError
        If another run control, or a process that it left, is at work in the run folder, or the
        settings do not fit together.
    """

    def __init__(
        self, settings: Settings, log: Callable[..., None], environment: Mapping[str, str] = os.environ
    ) -> None:
        self._settings, self._log, self._folder = settings, log, settings.run.folder
        first_store = parse_addresses(settings.readout.store)[0]
        if parse_address(first_store)[1] != parse_address(settings.store.listen)[1]:
            msg = (
                f"readout sends to {settings.readout.store}, but the store listens at {settings.store.listen}"
            )
            raise InputError(msg)
        chosen_format(settings)
        self._lock = _take(self._folder)
        with complete_or_nothing(self._folder / _SETTINGS_FILE) as path:
            path.write_text(as_toml(settings), "utf-8")
        self._processes = self._chain(environment)
        self._guard = threading.RLock()
        self._state = after(State.IDLE, Event.CONFIGURE)
        self._run = settings.run.number - 1
        self._began = self._orbits_since = time.monotonic()
        self._lasted = 0.0
        self._first_orbit = 0
        self._ended, self._up, self._error = True, False, ""
        self._signals = self._acted = 0
        self._leave, self._stay = False, False
        self._server = LocalServer(self._folder, self.answer)
        self._log("configured", folder=str(self._folder), processes=" ".join(self._processes))

    def _chain(self, environment: Mapping[str, str]) -> dict[str, Process]:
        env = {n: v for n, v in environment.items() if not n.startswith(PREFIX)}
        if self._settings.access.token:
            env[f"{PREFIX}ACCESS_TOKEN"] = self._settings.access.token
        board = self._settings.board
        names = [n for n in SERVICES if n != "board" or board.packets or board.simulate]
        chain: dict[str, Process] = {}
        self._pipes: list[int] = []
        holds = [self._lock.fileno()]  # the folder is free when all are gone
        for name in reversed(names):
            end, hold = os.pipe()
            self._pipes += (end, hold)
            chain[name] = Process(name, self._folder, env, end, holds)
            holds = [self._lock.fileno(), hold]
        return {name: chain[name] for name in names}

    # what others may ask for

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Obey a line on the socket; return the status (InputError if that is not possible)."""
        try:
            command = Command.model_validate(request)
        except ValidationError as error:
            msg = f"not a command: {first_fault(error)}"
            raise InputError(msg) from error
        with self._guard:
            if command.do == "start":
                self.start(command.run)
            elif command.do == "stop":
                self.stop()
            return self.status().model_dump(mode="json")

    def start(self, run: int | None = None) -> None:
        """Start the next run, or that number; in state error, go on with the run that is.

        Raises
        ------
        InputError
            If the state or the number does not allow it.
        """
        with self._guard:
            after(self._state, Event.START)
            if self._ended:
                number = self._run + 1 if run is None else run
                if not 0 <= number <= _MAX_RUN:
                    msg = f"run {number} is not possible: run numbers are 0 to {_MAX_RUN}"
                    raise InputError(msg)
                self._run, self._began, self._up = number, time.monotonic(), False
                for process in self._processes.values():
                    process.reset()
            elif run not in (None, self._run):
                msg = f"run {self._run} has not ended; `l1scout stop` ends it"
                raise InputError(msg)
            for process in self._processes.values():
                if process.refusal:
                    process.refusal, process.ended = "", False
            self._ended, self._error = False, ""
            self._to(Event.START)

    def stop(self) -> None:
        """Drain: no new orbits, what is in the buffers goes to the store (InputError: not in this state)."""
        with self._guard:
            self._to(Event.STOP)
            self._error = ""

    def signal(self) -> None:
        """Drain and leave; a second time, do not wait for what is slow; a third time, kill."""
        self._signals += 1

    def status(self) -> ChainStatus:
        """Return the status of the chain."""
        with self._guard:
            readout, store = self._processes["readout"], self._processes["store"]
            return ChainStatus(
                state=self._state,
                run=self._run,
                data=readout.last.data if isinstance(readout.last, ReadoutStatus) else "unknown",
                seconds=self._lasted if self._ended else time.monotonic() - self._began,
                up=self._up,
                error=self._error,
                folder=str(self._folder.absolute()),
                pid=os.getpid(),
                orbits=readout.total("orbits"),
                objects=readout.objects(),
                lost=losses(self._processes),
                warnings=store.last.warnings if isinstance(store.last, StoreStatus) else [],
                processes=overview(self._processes, self._settings),
            )

    # the loop

    def run(self, show: Callable[[ChainStatus], None], *, wait: bool = False) -> str:
        """Work until asked to leave.

        Parameters
        ----------
        show : callable
            Gets the status 4 times a second.
        wait : bool
            Wait for the command to start, and stay when the board has sent all it should.

        Returns
        -------
        str
            What went wrong; empty if all is drained.
        """
        self._stay = wait
        if not wait:
            self.start()
        next_show = 0.0
        while not (self._leave and self._ended):
            now = time.monotonic()
            self.step(now)
            if now >= next_show:
                next_show = now + _SHOW_S
                show(self.status())
            time.sleep(_TICK_S)
        self.close()
        show(self.status())
        return self._error

    def close(self) -> None:
        """Leave the run folder, when no process is there."""
        with self._guard:
            self._to(Event.LEAVE)
        self._server.close()
        self._lock.close()
        for descriptor in self._pipes:
            os.close(descriptor)

    def _to(self, event: Event) -> None:
        self._state = after(self._state, event)
        why = {"why": self._error} if event == Event.FAIL else {}
        self._log(str(self._state), run=self._run, **why)

    def step(self, now: float) -> None:
        """Look after all processes once: start what is due, drain in order, react to signals."""
        with self._guard:
            for process in self._processes.values():
                code = process.poll(now)
                if code is not None:
                    self._died(process, code)
            self._handle_signals()
            if self._state == State.DRAINING:
                self._drain(now)
            if not self._ended:
                self._launch_due(now)
            self._up = self._up or all(p.latest for p in self._processes.values())
            if self._state == State.ERROR and not self._up and not self._stay:
                self._leave = True  # as any command whose input cannot be used
            if self._leave and not self._ended and self._state != State.DRAINING:
                self._to(Event.STOP)

    def _launch_due(self, now: float) -> None:
        """Start the processes that are due, each when the next one of the chain is up."""
        below = None
        for process in reversed(self._processes.values()):
            if process.is_due(now) and (below is None or below.last):
                self._launch(process, now)
            below = process

    def _handle_signals(self) -> None:
        if self._signals == self._acted:
            return
        self._acted, self._leave = self._signals, True
        if self._acted > 1:
            self._log("stop forced", signals=self._acted)
            for process in self._processes.values():
                process.signal(signal.SIGTERM if self._acted == 2 else signal.SIGKILL)

    def _launch(self, process: Process, now: float) -> None:
        changed, status = [f"run.number={self._run}"], self._folder / f"{process.name}.json"
        if process.name == "board":
            first, orbits = self._next_orbit(process, now), self._settings.board.orbits
            changed.append(f"board.first_orbit={first}")
            if orbits:
                changed.append(f"board.orbits={max(orbits - first, 1)}")
            paths = (self._folder / f"board-{k}.json" for k in itertools.count())
            status = next(path for path in paths if not path.exists())
        try:
            process.start(now, self._folder / _SETTINGS_FILE, changed, status)
        except OSError as error:  # no memory, no process: perhaps later
            self._log("cannot start", name=process.name, why=str(error))
        else:
            self._log("started", name=process.name, pid=process.pid, restarts=process.restarts)

    def _next_orbit(self, board: Process, now: float) -> int:
        """Return the orbit from which a board goes on: the LHC has not waited for it."""
        readout, last = self._processes["readout"].last, board.last
        written = readout.last_orbit + 1 if isinstance(readout, ReadoutStatus) else 0
        if not board.lives:
            self._first_orbit, self._orbits_since = written, now
            return written
        pace = self._settings.board.pace
        passed = self._first_orbit + (now - self._orbits_since) * ORBIT_FREQUENCY_HZ * pace
        sent = 0.0
        if isinstance(last, BoardStatus):
            sent = float(last.first_orbit + last.delivered + last.dropped)
            if pace == 0:  # its last status may be a second old
                sent += last.real_time_factor * ORBIT_FREQUENCY_HZ
        return math.ceil(max(passed, sent, written))

    def _died(self, process: Process, code: int) -> None:
        finished = process.name == "board" and code == 0 and self._settings.board.orbits > 0
        if code == REFUSED:
            process.ended = True
            self._error = self._error or f"{process.name}: {process.refusal}"
            self._log("refuses", name=process.name, why=process.refusal)
            if self._state == State.RUNNING:
                self._to(Event.FAIL)
        elif finished or (code == 0 and process.asked):
            process.ended = True
            self._log("ended", name=process.name)
            if finished and self._state == State.RUNNING:
                self._to(Event.STOP)
                self._leave = not self._stay
        else:
            how = signal.Signals(-code).name if code < 0 else f"status {code}"
            self._log("died", name=process.name, how=how, log=str(self._folder / f"{process.name}.log"))

    def _drain(self, now: float) -> None:
        """Ask the first of the chain that is still there to stop."""
        for process in self._processes.values():
            at_once = process.name == "board"
            given_up = at_once or self._acted > 1 or not process.lives
            if process.ended or (given_up and not process.alive):
                process.ended = True
                continue
            process.ask(now, at_once=at_once)
            return
        self._ended, self._lasted = True, now - self._began
        self._to(Event.FAIL if self._error else Event.DRAINED)


def _take(folder: Path) -> IO[str]:
    """Make the run folder ours; return the file that holds the lock (InputError if it is somebody's)."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = (folder / "lock").open("a")
    except OSError as error:
        msg = f"{folder}: cannot be the run folder ({error.strerror or error})"
        raise InputError(msg) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        msg = f"{folder}: another `l1scout run`, or what it left, is at work there; see `l1scout status`"
        raise InputError(msg) from error
    return file
