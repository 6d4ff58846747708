"""The live chain as real processes over real sockets, and ways to hurt it."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from l1scout.settings import read_settings
from l1scout.store.account import Stage, account

COMMAND = [sys.executable, "-c", "from l1scout.cli import main; main()"]
RUN = 5


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


def wait_for(what: Callable[[], object], seconds: float = 120.0, why: str = "") -> None:
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            raise AssertionError(why or "waited in vain")
        time.sleep(0.02)


class Proxy:
    """Stands between two processes; can cut, stall, and flip a bit."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self.stalled = threading.Event()
        self.flip_at = -1
        self.passed = 0
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                one, _ = self._server.accept()
                two = socket.create_connection(("127.0.0.1", self._to))
            except OSError:
                if self._server.fileno() < 0:
                    return
                one.close()
                continue
            self._open += [one, two]
            for a, b, forward in ((one, two, True), (two, one, False)):
                threading.Thread(target=self._pump, args=(a, b, forward), daemon=True).start()

    def _pump(self, a: socket.socket, b: socket.socket, forward: bool) -> None:
        try:
            while piece := a.recv(1 << 16):
                while self.stalled.is_set():
                    time.sleep(0.02)
                if forward:
                    if 0 <= self.flip_at - self.passed < len(piece):
                        bad = bytearray(piece)
                        bad[self.flip_at - self.passed] ^= 4
                        piece = bytes(bad)
                    self.passed += len(piece)
                b.sendall(piece)
        except OSError:
            pass
        finally:
            for s in (a, b):
                with contextlib.suppress(OSError):
                    s.shutdown(socket.SHUT_RDWR)
                s.close()

    def cut(self) -> None:
        for s in self._open:
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def close(self) -> None:
        self._server.close()
        self.stalled.clear()
        self.cut()


class Chain:
    """Source, readout and store on this machine; what dies is started again only by the test."""

    def __init__(self, folder: Path, packets: Path, **settings: object) -> None:
        self.folder = folder
        self.readout_port, self.store_port = free_port(), free_port()
        self.to_readout, self.to_store = Proxy(self.readout_port), Proxy(self.store_port)
        self.settings = {
            "run.number": RUN,
            "run.folder": folder,
            "board.packets": packets,
            "board.pace": 0.1,
            "board.buffer": 1000,
            "readout.spool": folder / "spool",
            "readout.segment_orbits": 200,
            "store.folder": folder / "store",
            "store.reserve_bytes": 0,
            **{k.replace("__", "."): v for k, v in settings.items()},
        }
        self.environment = dict(os.environ)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.boards = 0

    def start(self, *names: str) -> None:
        for name in names:
            here = dict(self.settings)
            here["readout.listen"] = (
                f"127.0.0.1:{self.to_readout.port if name == 'source' else self.readout_port}"
            )
            here["readout.store"] = f"127.0.0.1:{self.to_store.port}"
            here["store.listen"] = f"127.0.0.1:{self.store_port}"
            more = [f"--set={k}={v}" for k, v in here.items()]
            status = self.folder / f"{name}.json"
            if name == "source":
                status = self.folder / f"board-{self.boards}.json"
                more.append(f"--first-orbit={self.next_orbit()}")
                self.boards += 1
            log = (self.folder / f"{name}.log").open("ab")
            status.unlink(missing_ok=True)
            self.processes[name] = subprocess.Popen(
                [*COMMAND, name, f"--status={status}", *more], stderr=log, stdout=log, env=self.environment
            )
            log.close()

    def next_orbit(self) -> int:
        """As the LHC, which does not wait for the board."""
        ends = [0]
        for k in range(self.boards):
            said = self.status(f"board-{k}")
            ends.append(said.get("first_orbit", 0) + said.get("delivered", 0) + said.get("dropped", 0) + 400)
        return max(ends)

    def status(self, name: str) -> dict:
        try:
            return json.loads((self.folder / f"{name}.json").read_text())
        except (OSError, ValueError):
            return {}

    def wait(self, name: str, field: str, value: float, seconds: float = 30.0) -> None:
        """Wait until a process says so."""
        wait_for(
            lambda: self.status(name).get(field, -1) >= value,
            seconds,
            f"{name}: no {field} {value}\n{self.logs()}",
        )

    def kill(self, name: str) -> None:
        self.processes[name].kill()
        self.processes[name].wait()

    def signal(self, name: str, number: int) -> None:
        self.processes[name].send_signal(number)

    def stop(self, name: str, seconds: float = 40.0) -> int:
        self.signal(name, signal.SIGTERM)
        return self.processes[name].wait(seconds)

    def finish(self) -> None:
        """End the run cleanly, stage by stage."""
        assert self.stop("source") == 0, self.logs()
        assert self.stop("readout") == 0, self.logs()
        assert self.stop("store") == 0, self.logs()

    def account(self) -> list[Stage]:
        chosen = read_settings(None, {}, [f"{k}={v}" for k, v in self.settings.items()])
        return account(RUN, chosen.store.folder, spool=chosen.readout.spool, boards=self.folder, verify=True)

    def logs(self) -> str:
        return "\n".join(f"{p.name}:\n{p.read_text()[-1500:]}" for p in self.folder.glob("*.log"))

    def close(self) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait()
        self.to_readout.close()
        self.to_store.close()
