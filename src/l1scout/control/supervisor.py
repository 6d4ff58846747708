"""Run control: starts store, readout and board, starts again what dies, and drains them in their order."""

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from l1scout.access import parse_address, parse_addresses
from l1scout.control.chain_alarms import Alarms
from l1scout.control.chain_processes import ChainProcesses
from l1scout.control.child import REFUSED
from l1scout.control.draining import Drain
from l1scout.control.local import LocalServer
from l1scout.control.messages import ChainStatus, Command, ProcessRow, finding
from l1scout.control.overview import overview
from l1scout.control.process import Process
from l1scout.control.states import Event, State, after
from l1scout.core.provenance import joint_label
from l1scout.errors import InputError, first_fault
from l1scout.files import complete_or_nothing, lock_folder
from l1scout.readout.object_counts import sum_counts
from l1scout.readout.readout import chosen_format
from l1scout.readout.status import ReadoutStatus, StoreStatus
from l1scout.settings import Settings, as_toml

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
        for name in settings.sources or ("",):
            own = settings.of_source(name)
            first = parse_addresses(own.readout.store)[0]
            if parse_address(first)[1] != parse_address(settings.store.listen)[1]:
                msg = f"readout sends to {first}, but the store listens at {settings.store.listen}"
                raise InputError(msg)
            chosen_format(own)
        taken = "another `l1scout run`, or what it left, is at work there; see `l1scout status`"
        self._lock = lock_folder(self._folder, "run folder", taken)
        with complete_or_nothing(self._folder / _SETTINGS_FILE) as path:
            path.write_text(as_toml(settings), "utf-8")
        self._processes = ChainProcesses(settings, self._folder, environment, self._lock)
        self._alarms = Alarms(self._processes, log)
        self._drain = Drain(self._processes, settings, log)
        self._guard = threading.RLock()
        self._state = after(State.IDLE, Event.CONFIGURE)
        self._run = settings.run.number - 1
        self._began = time.monotonic()
        self._lasted = 0.0
        self._ended, self._up, self._error = True, False, ""
        self._was_up = False  # in any run
        self._signals = self._acted = 0
        self._now = self._leave = self._stay = False
        self.findings: list[str] = []
        self._server = LocalServer(self._folder, self.answer)
        self._log("configured", folder=str(self._folder), processes=" ".join(p.name for p in self._processes))

    # what others may ask for

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Carry out a command from the socket; return the status (InputError if that is not possible)."""
        try:
            command = Command.model_validate(request)
        except ValidationError as error:
            msg = f"not a command: {first_fault(error)}"
            raise InputError(msg) from error
        with self._guard:
            if command.do == "start":
                self.start(command.run)
            elif command.do == "stop":
                self.stop(now=command.now)
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
                self._alarms.reset()
                for process in self._processes:
                    process.reset()
            elif run not in (None, self._run):
                msg = f"run {self._run} has not ended; `l1scout stop` ends it"
                raise InputError(msg)
            for process in self._processes:
                if process.refusal:
                    process.refusal, process.ended = "", False
            self._ended, self._error = False, ""
            self._to(Event.START)

    def stop(self, *, now: bool = False) -> None:
        """Drain: no new orbits, what is in the buffers goes to the store (InputError: not in this state).

        `now` does not wait for what is slow, also if the chain is draining already.
        """
        with self._guard:
            if not now or self._state != State.DRAINING:
                self._to(Event.STOP)
                self._error = ""
            else:
                self._log("stop at once", level="warning")
            self._now = now  # not where there is nothing to stop: it would hold for the next run

    def signal(self) -> None:
        """Drain and leave; a second time, do not wait for what is slow; a third time, kill."""
        self._signals += 1

    def status(self) -> ChainStatus:
        """Return the status of the chain."""
        with self._guard:
            readouts = [source.readout for source in self._processes.sources]
            store = self._processes.store.last
            rows = self._rows()
            return ChainStatus(
                state=self._state,
                run=self._run,
                data=joint_label(r.last.data for r in readouts if isinstance(r.last, ReadoutStatus)),
                seconds=self._lasted if self._ended else time.monotonic() - self._began,
                up=self._up,
                error=self._error,
                folder=str(self._folder.absolute()),
                pid=os.getpid(),
                orbits=sum(r.total("orbits") for r in readouts),
                objects=sum_counts(*(r.objects() for r in readouts)),
                lost=self._processes.lost,
                duplicates=sum(r.total("duplicate") for r in readouts),
                alarms=self._alarms.up,
                waiting_for=self._drain.waits_for() if self._state == State.DRAINING else "",
                warnings=store.warnings if isinstance(store, StoreStatus) else [],
                processes=rows,
            )

    def _rows(self) -> dict[str, ProcessRow]:
        return overview(self._processes, self._settings)

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
        os.close(self._lock)
        self._processes.close()

    def _to(self, event: Event) -> None:
        self._state = after(self._state, event)
        why = {"why": self._error} if event == Event.FAIL else {}
        level = "error" if self._state == State.ERROR else "info"
        self._log(str(self._state), level=level, run=self._run, **why)

    def step(self, now: float) -> None:
        """Look after all processes once: start what is due, drain in order, react to signals."""
        with self._guard:
            for process in self._processes:
                code = process.poll(now)
                if code is not None:
                    self._died(process, code)
            self._handle_signals()
            force, kill = self._now or self._acted > 1, self._acted > 2
            if self._state == State.DRAINING and self._drain.step(now, at_once=force, kill=kill):
                self._conclude(now)
            if not self._ended:
                self._launch_due(now)
                self._alarms.update(now, self._rows())
            self._up = self._up or all(p.latest for p in self._processes)
            self._was_up = self._was_up or self._up
            if self._state == State.ERROR and not self._was_up and not self._stay:
                self._leave = True  # as any command whose input cannot be used
            if self._leave and not self._ended and self._state != State.DRAINING:
                self._to(Event.STOP)

    def _launch_due(self, now: float) -> None:
        try:
            for process in self._processes.launch_due(now, self._run, self._folder / _SETTINGS_FILE):
                self._log("started", name=process.name, pid=process.pid, restarts=process.restarts)
        except OSError as error:  # no memory, no process: perhaps later
            self._log("cannot start", level="error", why=str(error))

    def _handle_signals(self) -> None:
        if self._signals != self._acted:
            self._acted, self._leave = self._signals, True
            if self._acted > 1:
                self._log("stop forced", level="warning", signals=self._acted)

    def _died(self, process: Process, code: int) -> None:
        limited = [s.board for s in self._processes.sources if s.settings.board.orbits]
        finished = code == 0 and process in limited
        if code == REFUSED:
            process.ended = True
            self._error = self._error or f"{process.name}: {process.refusal}"
            self._log("refuses", level="error", name=process.name, why=process.refusal)
            if self._state == State.RUNNING:
                self._to(Event.FAIL)
        elif finished or (code == 0 and process.asked):
            process.ended = True
            self._log("ended", name=process.name)
            if self._state == State.RUNNING and all(s.finished for s in self._processes.sources):
                self._to(Event.STOP)
                self._leave = not self._stay
        else:
            how = signal.Signals(-code).name if code < 0 else f"status {code}"
            self._log("died", level="error", name=process.name, how=how, log=str(process.log))
            if self._drain.is_forced and process.kind == "readout" and not self._error:
                self._error = (
                    f"{process.name}: ended by {how}; what it has not sent is in its spool: "
                    "`l1scout readout --drain` sends it later"
                )

    def _conclude(self, now: float) -> None:
        """End the run: all processes have ended."""
        self._ended, self._lasted, self._now = True, now - self._began, False
        self._drain = Drain(self._processes, self._settings, self._log)
        self._alarms.update(now, self._rows())
        if found := finding(self.status()):
            self.findings.append(found)
            self._log("run ended with losses or alarms", level="error", run=self._run, what=found)
        self._to(Event.FAIL if self._error else Event.DRAINED)
