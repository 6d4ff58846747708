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
from l1scout.store.account import StageAccount, account

PATIENCE_S = 600.0
"""The one limit on waiting for something that must happen, however busy the machine is."""
COMMAND = [sys.executable, "-c", "from l1scout.cli import main; main()"]
RUN = 5


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


def wait_for(what: Callable[[], object], why: Callable[[], str] = lambda: "waited in vain") -> None:
    """Wait until something is true; `why` tells what was not, if it never is."""
    end = time.monotonic() + PATIENCE_S
    while not what():
        if time.monotonic() > end:
            raise AssertionError(why())
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
            "board.pace": 0.03,  # with this buffer, the board drops nothing for a minute
            "board.buffer": 1000,
            "readout.spool": folder / "spool",
            "readout.segment_orbits": 200,
            "readout.drain_seconds": PATIENCE_S,
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
            ends.append(said.get("first_orbit", 0) + said.get("delivered", 0) + said.get("dropped", 0))
        # a killed board's status is old: what it has sent since is less than this
        return max(ends) + 20_000 * (self.boards > 0)

    def status(self, name: str) -> dict:
        try:
            return json.loads((self.folder / f"{name}.json").read_text())
        except (OSError, ValueError):
            return {}

    def wait(self, name: str, field: str, value: float) -> None:
        """Wait until a counter in the status of a process has reached a value; the process must live."""

        def reached() -> bool:
            if self.status(name).get(field, -1) >= value:
                return True
            process = self.processes["source" if name.startswith("board") else name]
            assert process.poll() is None, f"{name} has ended with {process.returncode}\n{self.logs()}"
            return False

        wait_for(reached, lambda: f"{name}: {field} does not reach {value}\n{self.logs()}")

    def wait_more(self, name: str, field: str, more: float) -> None:
        """Wait until a counter has grown by so much since now."""
        self.wait(name, field, self.status(name).get(field, 0) + more)

    def wait_log(self, text: str) -> None:
        """Wait until a process has written a text to its log."""
        wait_for(lambda: text in self.log_text(), lambda: f"no log says {text!r}\n{self.logs()}")

    def kill(self, name: str) -> None:
        self.processes[name].kill()
        self.processes[name].wait()

    def signal(self, name: str, number: int) -> None:
        self.processes[name].send_signal(number)

    def stop(self, name: str) -> int:
        self.signal(name, signal.SIGTERM)
        return self.processes[name].wait(PATIENCE_S)

    def finish(self) -> None:
        """End the run cleanly, stage by stage."""
        assert self.stop("source") == 0, self.logs()
        wait_for(self.board_gone, lambda: f"readout has not seen the end of the board\n{self.logs()}")
        assert self.stop("readout") == 0, self.logs()
        assert self.stop("store") == 0, self.logs()

    def account(self) -> list[StageAccount]:
        chosen = read_settings(None, {}, [f"{k}={v}" for k, v in self.settings.items()])
        return account(RUN, chosen.store.folder, spool=chosen.readout.spool, boards=self.folder, verify=True)

    def begin(self) -> None:
        """Start everything; the board when readout listens, so that it need not drop orbits."""
        self.start("store", "readout")
        self.wait_log("readout listens")
        self.start("source")

    def board_gone(self) -> bool:
        """Say whether readout has read every board's connection to its end."""
        text = (self.folder / "readout.log").read_text().rpartition("readout listens")[2]
        return text.count("board gone") + text.count("connection ended") >= text.count("event=connected") > 0

    def log_text(self) -> str:
        return "".join(p.read_text() for p in self.folder.glob("*.log"))

    def logs(self) -> str:
        """Return the ends of all logs, for messages."""
        return "\n".join(f"{p.name}:\n{p.read_text()[-1500:]}" for p in self.folder.glob("*.log"))

    def close(self) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait()
        self.to_readout.close()
        self.to_store.close()
