"""A process of the chain as run control sees it: started, read, asked to stop, started again."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

BACKOFF_S = (0.2, 5.0)
"""Wait before a dead process is started again: doubled each time, from the first to the second."""
GOOD_S = 10.0
"""A process that has lived so long gets the shortest wait again."""
REFUSED = 2
"""Exit status of a command whose settings or surroundings are no good: trying again is of no use."""
_DEAF_S = 30.0
_RATE_S = 3.0
_LINE_BYTES = 4096
_MAX_STATUS = 1 << 16


class Process:
    """One process, over all its lives in a run.

    Parameters
    ----------
    name : str
        As in the table; its log is ``NAME.log``.
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
    last : dict
        Its newest status, of this life or the one before; empty before the first.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        environment: Mapping[str, str],
        lifeline: int,
        holds: Sequence[int],
    ) -> None:
        self.name, self._folder, self._environment = name, folder, dict(environment)
        self._lifeline, self._holds = lifeline, holds
        self._popen: subprocess.Popen[bytes] | None = None
        self.reset()

    def reset(self) -> None:
        """Forget the last run."""
        self.restarts = self.lives = 0
        self.ended = self.asked = False
        self.refusal = ""
        self._began = self._next = 0.0
        self._backoff = BACKOFF_S[0]
        self.last: dict[str, Any] = {}
        self._past: Counter[str] = Counter()
        self._seen: deque[dict[str, Any]] = deque()

    @property
    def alive(self) -> bool:
        """Whether it is there."""
        return self._popen is not None

    def is_due(self, now: float) -> bool:
        """Say whether it is to be started now."""
        return not self.alive and not self.ended and now >= self._next

    def start(self, now: float, arguments: Sequence[str], status: Path) -> None:
        """Start it (OSError: not now)."""
        self._status, self._began, self.asked = status, now, False
        self._next = now + BACKOFF_S[1]
        command = [sys.executable, "-m", "l1scout.control.child", str(self._lifeline), *arguments]
        status.unlink(missing_ok=True)
        with (self._folder / f"{self.name}.log").open("ab") as log:
            self._popen = subprocess.Popen(
                [*command, "--status", str(status)],
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
            self._read()
        if code is None:
            return None
        self._past.update({n: v for n, v in self.latest.items() if isinstance(v, int)})
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
        if self._popen and not self.asked and (at_once or self.latest or now - self._began > _DEAF_S):
            self.asked = True
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
    def latest(self) -> dict[str, Any]:
        """Newest status of this life; empty before the first."""
        return self._seen[-1] if self._seen else {}

    def total(self, name: str) -> int:
        """Return a count over all lives in this run."""
        return int(self._past[name] + self.latest.get(name, 0))

    def rate(self, name: str) -> float:
        """Return how much a count or a time grows in a second, over the last three."""
        if len(self._seen) < 2:
            return 0.0
        old, new = self._seen[0], self._seen[-1]
        return float((new.get(name, 0) - old.get(name, 0)) / (new["seconds"] - old["seconds"]))

    @property
    def state(self) -> str:
        """How it is, in a word."""
        if self.refusal:
            return "refuses"
        if self._popen is None:
            return "ended" if self.ended or not self.lives else "dead"
        return str(self.latest.get("state", "starting"))

    @property
    def pid(self) -> int | None:
        """Its process id."""
        return self._popen.pid if self._popen else None

    def _read(self) -> None:
        try:
            with self._status.open("rb") as file:
                said = json.loads(file.read(_MAX_STATUS))
        except (OSError, ValueError, RecursionError):
            return
        assert self._popen is not None
        if said.get("pid") != self._popen.pid or said["seconds"] <= self.latest.get("seconds", -1):
            return
        self._seen.append(said)
        self.last = said
        while said["seconds"] - self._seen[0]["seconds"] > _RATE_S:
            self._seen.popleft()

    def _last_line(self) -> str:
        with (self._folder / f"{self.name}.log").open("rb") as log:
            log.seek(max(log.seek(0, os.SEEK_END) - _LINE_BYTES, 0))
            lines = log.read().decode(errors="replace").strip().splitlines()
        return lines[-1].removeprefix("l1scout: ") if lines else "no reason given"
