"""Processes of the live chain: waiting for them, ports for them, and a server that forks them."""

import atexit
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Protocol

import psutil

PATIENCE_S = 240.0
"""The one limit on waiting for something that must happen, however busy the machine is."""
COMMAND = [sys.executable, "-c", "from l1scout.cli import main; main()"]
IN_CHILD = Path(__file__).parent / "in_child"


def wait_for(what: Callable[[], object], why: Callable[[], str] = lambda: "waited in vain") -> None:
    """Wait until something is true; `why` tells what was not, if it never is."""
    end = time.monotonic() + PATIENCE_S
    while not what():
        if time.monotonic() > end:
            raise AssertionError(why())
        time.sleep(0.02)


class Ports:
    """Ports of this machine that nobody else gets until they are given back, but children can listen on."""

    def __init__(self, n: int) -> None:
        self._held = []
        for _ in range(n):
            one = socket.socket()
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind(("127.0.0.1", 0))
            self._held.append(one)
        self.numbers = [one.getsockname()[1] for one in self._held]
        if sys.platform != "linux":  # elsewhere a bound socket keeps a listener away
            self.close()

    def close(self) -> None:
        for one in self._held:
            one.close()


def with_hooks(environment: dict[str, str], **hooks: object) -> dict[str, str]:
    """Return the environment of a process into which hooks are put; see `in_child/hooks.py`."""
    folders = filter(None, (str(IN_CHILD), environment.get("PYTHONPATH")))
    text = json.dumps({"limit_s": PATIENCE_S} | hooks, default=str)
    return {**environment, "PYTHONPATH": os.pathsep.join(folders), "CHAIN_HOOKS": text}


class RunningProcess(Protocol):
    """What tests do with a process; `subprocess.Popen` and `Forked` can do it."""

    pid: int

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def kill(self) -> None: ...
    def send_signal(self, sig: int, /) -> None: ...


def kill_with_children(process: RunningProcess) -> None:
    """Kill a process that runs, and all that it has started.

    But for what removes the semaphores of killed processes: it ends when they have.
    """
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            if not any("resource_tracker" in word for word in child.cmdline()):
                child.kill()
    psutil.wait_procs(children, PATIENCE_S)


class Forked:
    """A process that the server forked."""

    def __init__(self, pid: int, reports: "ForkServer") -> None:
        self.pid, self._reports = pid, reports

    def poll(self) -> int | None:
        """Return the exit status, or None while it runs."""
        return self._reports.codes.get(self.pid)

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended; return the exit status."""
        self._reports.wait_until(lambda: self.poll() is not None, timeout or PATIENCE_S)
        return self._reports.codes[self.pid]

    def wait_stopped(self) -> None:
        """Wait until a signal has stopped all its threads."""
        self._reports.wait_until(lambda: self.pid in self._reports.stopped, PATIENCE_S)
        self._reports.stopped.discard(self.pid)

    def send_signal(self, number: int) -> None:
        """Send a signal, if it has not ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it has ended since
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it, without a chance to react."""
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """Forks processes of the command line from one that has everything imported: `in_child/fork_server.py`.

    Parameters
    ----------
    prepare : str
        What the server does first: a function of that module; by default what suits the live chain.

    Attributes
    ----------
    codes : dict of int to int
        Exit status of each process that has ended.
    stopped : set of int
        Processes that a signal has stopped since somebody waited for that.
    """

    def __init__(self, prepare: str = "") -> None:
        self.codes: dict[int, int] = {}
        self.stopped: set[int] = set()
        self._started: list[int] = []
        self._changed = threading.Condition()
        environment = with_hooks(dict(os.environ)) | {"CHAIN_HOOKS": "", "OPENBLAS_NUM_THREADS": "1"}
        code = f"import fork_server; fork_server.serve({prepare and f'fork_server.{prepare}'})"
        self._server = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )
        threading.Thread(target=self._read, daemon=True).start()
        atexit.register(self.close)

    def close(self) -> None:
        """Kill all processes, and end."""
        assert self._server.stdin
        self._server.stdin.close()
        self._server.wait()

    def start(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        errors: Path | None = None,
        folder: Path | None = None,
    ) -> Forked:
        """Run the command line with some arguments; its output is appended to a file, or to two."""
        assert self._server.stdin
        files = {"log": str(log), "errors": str(errors or log), "folder": str(folder or Path.cwd())}
        request = {"arguments": arguments, "environment": dict(environment), **files}
        self._server.stdin.write(json.dumps(request).encode() + b"\n")
        self._server.stdin.flush()
        self.wait_until(lambda: self._started, PATIENCE_S)
        return Forked(self._started.pop(), self)

    def wait_until(self, what: Callable[[], object], limit_s: float) -> None:
        """Wait until the server's reports make something true."""
        with self._changed:
            if not self._changed.wait_for(lambda: what() or self._server.poll() is not None, limit_s):
                msg = "a forked process"
                raise subprocess.TimeoutExpired(msg, limit_s)
        assert what(), f"the server that forks processes has ended with {self._server.poll()}"

    def _read(self) -> None:
        assert self._server.stdout
        for line in self._server.stdout:
            report = json.loads(line)
            with self._changed:
                if pid := report.get("started"):
                    self.codes.pop(pid, None)
                    self._started.append(pid)
                elif pid := report.get("stopped"):
                    self.stopped.add(pid)
                else:
                    self.codes[report["ended"]] = report["code"]
                self._changed.notify_all()
        self._server.wait()
        with self._changed:
            self._changed.notify_all()


@cache
def fork_server(prepare: str = "") -> ForkServer:
    """Return the one server of these tests that is prepared so."""
    return ForkServer(prepare)


def run_forked(
    *arguments: object,
    prepare: str = "",
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end in a forked process, as `subprocess.run` does in a new one."""
    words = [str(a) for a in arguments]
    with tempfile.TemporaryDirectory() as files:
        out, errors = Path(files) / "out", Path(files) / "errors"
        asked = dict(os.environ if environment is None else environment)
        code = fork_server(prepare).start(words, asked, out, errors, folder).wait()
        return subprocess.CompletedProcess(words, code, out.read_text(), errors.read_text())


def run_command(folder: Path, *arguments: object, **environment: str) -> tuple[int, str]:
    """Run the command line to its end; return the exit status and what it has written."""
    log = folder / f"command-{len(list(folder.glob('command-*')))}.out"
    process = fork_server().start(
        [str(a) for a in arguments], with_hooks(dict(os.environ) | environment), log
    )
    return process.wait(), log.read_text(errors="replace")
