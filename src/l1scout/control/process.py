"""A process of the chain as run control sees it: started, read, asked to stop, started again."""

import contextlib
import os
import signal
import subprocess
import sys
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from l1scout.control.child import REFUSED
from l1scout.files import open_own
from l1scout.readout.object_counts import ObjectCounts, sum_counts
from l1scout.readout.status import STATUSES, ProcessStatus, ReadoutStatus

BACKOFF_S = (0.2, 5.0)
"""Wait before a dead process is started again: doubled each time, from the first to the second."""
GOOD_S = 10.0
"""Life of a process after which the wait before its next start is the shortest again."""
_NO_STATUS_S = 30.0
_AGAIN_S = 1.0
_RATE_S, _TREND_S = 3.0, 60.0
_LINE_BYTES = 4096
_MAX_STATUS = 1 << 16


class Process:
    """One process of the chain, over all its lives in a run.

    Parameters
    ----------
    name : str
        One of `l1scout.control.services.SERVICES`, with a point and the name of its source if there are
        several; its log is ``NAME.log``.
    folder : Path
        Of the run.
    environment : mapping of str to str
    lifeline : int
        Pipe whose end tells it to stop.
    holds : sequence of int
        File descriptors that it keeps open: the lifelines of those that it feeds.

    Attributes
    ----------
    restarts : int
    ended : bool
        It is not to be started again.
    asked : bool
        This life was asked to stop.
    refusal : str
        Why it refuses to work, in its own words.
    last : ProcessStatus or None
        Its newest status, of this life or the one before; None before the first.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        environment: Mapping[str, str],
        lifeline: int,
        holds: Sequence[int],
    ) -> None:
        self.name, self.kind = name, name.partition(".")[0]
        self._folder, self._environment = folder, dict(environment)
        self._lifeline, self._holds = lifeline, holds
        self._popen: subprocess.Popen[bytes] | None = None
        self.reset()

    def reset(self) -> None:
        """Forget the last run."""
        self.restarts = self.lives = 0
        self.ended = self.asked = False
        self.refusal = ""
        self._began = self._next = self._heard = self._next_term = 0.0
        self._backoff = BACKOFF_S[0]
        self.last: ProcessStatus | None = None
        self._past: Counter[str] = Counter()
        self._past_objects: ObjectCounts = {}
        self._seen: deque[ProcessStatus] = deque()

    @property
    def log(self) -> Path:
        """File of its log."""
        return self._folder / f"{self.name}.log"

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._popen is not None

    def is_due(self, now: float) -> bool:
        """Say whether it is to be started now."""
        return not self.alive and not self.ended and now >= self._next

    def start(self, now: float, settings: Path, changed: Sequence[str], status: Path) -> None:
        """Start it (OSError if the machine cannot at this moment).

        Parameters
        ----------
        now : float
        settings : Path
            File of settings.
        changed : sequence of str
            ``section.name=value``, over those of the file.
        status : Path
            Where the process writes its status.
        """
        self._status, self._began, self.asked = status, now, False
        self._heard, self._next_term = now, 0.0
        self._next = now + BACKOFF_S[1]
        command = [sys.executable, "-m", "l1scout.control.child", str(self._lifeline), self.name]
        status.unlink(missing_ok=True)
        with open_own(self.log, "ab") as log:  # for what is written before the process opens it itself
            self._popen = subprocess.Popen(
                [*command, str(settings), str(status), str(self.log), *changed],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                pass_fds=(self._lifeline, *self._holds),
                start_new_session=True,  # the terminal's Ctrl-C is not for it
            )
        self.restarts, self.lives = self.restarts + bool(self.lives), self.lives + 1

    def poll(self, now: float) -> int | None:
        """Read its status; return how it ended, once, if it has."""
        code = self._popen.poll() if self._popen else None
        if self._popen:
            self._read(now)
        if code is None:
            return None
        if latest := self.latest:
            self._past.update({n: v for n, v in latest if isinstance(v, int)})
            self._past_objects = sum_counts(self._past_objects, _objects(latest))
        self._seen.clear()
        self.signal(signal.SIGKILL)  # its own workers, if it left any
        self._popen = None
        if now - self._began >= GOOD_S:
            self._backoff = BACKOFF_S[0]
        self._next = now + self._backoff
        self._backoff = min(2 * self._backoff, BACKOFF_S[1])
        if code == REFUSED:
            self.refusal = self._last_line()
        return code

    def ask(self, now: float, *, at_once: bool = False) -> None:
        """Ask it to stop, once; as soon as it listens to that, or at once."""
        if self._popen and not self.asked and (at_once or self.latest or now - self._began > _NO_STATUS_S):
            self.asked, self._next_term = True, now + _AGAIN_S
            self.signal(signal.SIGTERM)

    def force(self, now: float) -> None:
        """Ask it to stop at once, again and again: of signals that come together only one is seen."""
        if self._popen and now >= self._next_term:
            self.asked, self._next_term = True, now + _AGAIN_S
            self.signal(signal.SIGTERM)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it, and to the processes that it has started if it is SIGKILL."""
        if self._popen is None:
            return
        if number == signal.SIGKILL:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._popen.pid, number)
        else:
            self._popen.send_signal(number)

    @property
    def latest(self) -> ProcessStatus | None:
        """Newest status of this life; None before the first."""
        return self._seen[-1] if self._seen else None

    def total(self, name: str) -> int:
        """Return a count over all lives in this run."""
        return int(self._past[name] + getattr(self.latest, name, 0))

    def objects(self) -> ObjectCounts:
        """Return the objects of each stream over all lives in this run."""
        return sum_counts(self._past_objects, _objects(self.latest))

    def rate(self, name: str) -> float:
        """Return how much a count or a time has grown per second, over the last three seconds."""
        return self._growth(name, _RATE_S)

    def trend(self, name: str) -> float:
        """Return how much a count has grown per second, over the last minute."""
        return self._growth(name, _TREND_S)

    def _growth(self, name: str, seconds: float) -> float:
        if len(self._seen) < 2:
            return 0.0
        new = self._seen[-1]
        old = next(s for s in self._seen if s is new or new.seconds - s.seconds <= seconds)
        passed = new.seconds - old.seconds
        return float(getattr(new, name) - getattr(old, name)) / passed if passed else 0.0

    def silent_s(self, now: float) -> float:
        """Return for how long it has not reported; 0 if it does not run."""
        return now - self._heard if self._popen else 0.0

    @property
    def state(self) -> str:
        """One word: its own state, or ``starting``, ``refuses``, ``dead``, ``ended``."""
        if self.refusal:
            return "refuses"
        if self._popen is None:
            return "ended" if self.ended or not self.lives else "dead"
        return self.latest.state if self.latest else "starting"

    @property
    def pid(self) -> int | None:
        """Its process id."""
        return self._popen.pid if self._popen else None

    def _read(self, now: float) -> None:
        try:
            with self._status.open("rb") as file:
                status = STATUSES[self.kind].model_validate_json(file.read(_MAX_STATUS))
        except (OSError, ValidationError):
            return
        assert self._popen is not None
        if status.pid != self._popen.pid or (self.latest and status.seconds <= self.latest.seconds):
            return
        self._seen.append(status)
        self.last, self._heard = status, now
        while status.seconds - self._seen[0].seconds > _TREND_S:
            self._seen.popleft()

    def _last_line(self) -> str:
        try:
            with self.log.open("rb") as log:
                log.seek(max(log.seek(0, os.SEEK_END) - _LINE_BYTES, 0))
                lines = log.read().decode(errors="replace").splitlines()
        except OSError as error:  # the log or its folder was deleted: no reason to leave the chain alone
            return f"no reason known: its log cannot be read ({error.strerror})"
        reasons = [line.removeprefix("l1scout: ") for line in lines if line.startswith("l1scout: ")]
        return reasons[-1] if reasons else "no reason given"


def _objects(status: ProcessStatus | None) -> ObjectCounts:
    return status.objects if isinstance(status, ReadoutStatus) else {}
