"""The live chain as real processes over real sockets, and ways to hurt it at a place that is certain.

Nothing here depends on how fast the machine is. The board is gated: it sends as many orbits as the test
says, when the test says so. Everything else is a wait for a counter, with one limit for all.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from l1scout.lhc import ORBIT_FREQUENCY_HZ
from l1scout.store.account import StageAccount, account
from processes import (
    COMMAND,
    PATIENCE_S,
    Forked,
    Ports,
    RunningProcess,
    fork_server,
    kill_with_children,
    wait_for,
    with_hooks,
)
from proxy import Proxy

__all__ = ["COMMAND", "PATIENCE_S", "Chain", "Ports", "Proxy", "wait_for", "with_hooks"]
RUN = 5
PACKET_ORBITS = 20
SEGMENT_ORBITS = 200
PAUSE_ORBITS = 1000
"""Orbits of the LHC between the end of a gated board and the start of the next one."""
OVERFLOW = {"board.pace": 1e9, "board.buffer": 64}
"""Settings of a board that drops orbits when its buffer is full, and never waits."""


class Chain:
    """Source, readout and store on this machine; what dies is started again only by the test.

    Parameters
    ----------
    folder, packets : Path
    gated : bool
        The board sends what `send` tells it to, and no side has a time limit shorter than `PATIENCE_S`.
        Without, the limits are those of a user's processes, and the board keeps its pace.
    forked : bool, optional
        Processes are forked from one that has everything imported, instead of started anew. By default as
        `gated`.
    multiple : int
        The first orbit of each board is a multiple of this.
    settings
        By name, with two underscores for the point.
    """

    def __init__(
        self,
        folder: Path,
        packets: Path,
        *,
        gated: bool = True,
        forked: bool | None = None,
        multiple: int = 1,
        **settings: object,
    ) -> None:
        self.folder, self._gated, self._multiple = folder, gated, multiple
        self._forked = gated if forked is None else forked
        self._ports = Ports(2)
        self.readout_port, self.store_port = self._ports.numbers
        self.to_readout, self.to_store = Proxy(self.readout_port), Proxy(self.store_port)
        self.settings = {
            "run.number": RUN,
            "run.folder": folder,
            "board.packets": packets,
            "board.pace": 0,  # it waits for room, and drops nothing
            "board.buffer": 1000,
            "readout.spool": folder / "spool",
            "readout.segment_orbits": SEGMENT_ORBITS,
            "readout.segment_seconds": PATIENCE_S,
            "readout.drain_seconds": PATIENCE_S,
            "store.drain_seconds": PATIENCE_S,
            "store.folder": folder / "store",
            "store.reserve_bytes": 0,
            **{k.replace("__", "."): v for k, v in settings.items()},
        }
        self.hooks: dict[str, object] = {}
        self.processes: dict[str, RunningProcess] = {}
        self.boards = 0
        self._first = self._granted = 0
        self._began = 0.0

    @property
    def passed(self) -> int:
        """Orbits of the LHC up to the last one that a gated board may send."""
        return self._first + self._granted

    def over(self, **settings: object) -> list[str]:
        """Return the settings as options of a command."""
        return [f"--set={k}={v}" for k, v in (self.settings | settings).items()]

    @property
    def addresses(self) -> dict[str, object]:
        """Addresses of the processes; to the store by way of its proxy."""
        return {
            "readout.listen": f"127.0.0.1:{self.readout_port}",
            "readout.store": f"127.0.0.1:{self.to_store.port}",
            "store.listen": f"127.0.0.1:{self.store_port}",
        }

    def start(self, *names: str, words: Iterable[object] = (), **hooks: object) -> None:
        """Start processes; more words of the command, and hooks that are put into them."""
        for name in names:
            status = self.folder / f"{name}.json"
            more: list[object] = []
            hooks = {**self.hooks, **hooks}
            if name == "source":
                status = self.folder / f"board-{self.boards}.json"
                more.append(f"--first-orbit={self._next_orbit()}")
                self.boards += 1
                hooks["gate"] = self._gate_file
            here = dict(self.addresses)
            if name == "source":
                here["readout.listen"] = f"127.0.0.1:{self.to_readout.port}"
            arguments = [str(a) for a in (name, *words, f"--status={status}", *self.over(**here), *more)]
            status.unlink(missing_ok=True)
            log = self.folder / f"{name}.log"
            environment = with_hooks(dict(os.environ), **hooks) if self._gated else dict(os.environ)
            if self._forked:
                self.processes[name] = fork_server().start(arguments, environment, log)
                continue
            with log.open("ab") as output:
                self.processes[name] = subprocess.Popen(
                    [*COMMAND, *arguments],
                    stdin=subprocess.DEVNULL,
                    stderr=output,
                    stdout=output,
                    env=environment,
                )

    @property
    def _gate_file(self) -> Path:
        return self.folder / f"gate-{self.boards - 1}"

    def _next_orbit(self) -> int:
        """Return the first orbit of the next board: the LHC has not waited for it."""
        if not self._gated:
            if not self.boards:
                self._began = time.monotonic()
            pace = float(str(self.settings["board.pace"]))
            passed = (time.monotonic() - self._began) * ORBIT_FREQUENCY_HZ * pace
            return -(-int(passed) // self._multiple) * self._multiple
        self._first = self.passed + (PAUSE_ORBITS if self.boards else 0)
        self._granted = 0
        (self.folder / f"gate-{self.boards}").write_text("0")
        return self._first

    def grant(self, orbits: int) -> None:
        """Let the board send a number of further orbits."""
        assert orbits % PACKET_ORBITS == 0
        self._granted += orbits
        new = self._gate_file.with_suffix(".new")
        new.write_text(str(self._granted))
        new.replace(self._gate_file)

    def send(self, orbits: int) -> None:
        """Let the board send further orbits; return when they are in its buffer, sent or dropped."""
        self.grant(orbits)
        self.wait_for("source", lambda: self._given() == self._granted, f"{orbits} more orbits are not sent")

    def _given(self) -> int:
        told = self.board()
        return int(told.get("delivered", 0) + told.get("dropped", 0))

    def overflow(self) -> None:
        """Let a board of `OVERFLOW` send until its buffer was full, and orbits are dropped."""

        def dropped() -> bool:
            self.send(400)
            return self.board()["dropped"] > 0

        wait_for(dropped, lambda: "the board drops nothing")

    def wait_lost_in_sockets(self) -> None:
        """Wait until whole packets have left the board, of 10 that nobody reads."""
        self.wait_for("source", lambda: self.board()["waiting"] <= 7, "no packet has left the board")

    def send_through(self) -> None:
        """Send until readout has an orbit that was sent after now, and all that came after it.

        A board hears of a cut with a later packet: until then, what it sends is lost.
        """
        now = self.passed

        def arrived() -> bool:
            self.send(PACKET_ORBITS)
            return self.status("readout").get("last_orbit", -1) >= now

        wait_for(arrived, lambda: "nothing arrives at readout any more")
        self.wait("readout", "last_orbit", self.passed - 1)

    def board(self) -> dict:
        """Return the status of the newest board."""
        return self.status(f"board-{self.boards - 1}")

    def status(self, name: str) -> dict:
        try:
            return json.loads((self.folder / f"{name}.json").read_text())
        except (OSError, ValueError):
            return {}

    def wait_for(self, name: str, what: Callable[[], object], why: str) -> None:
        """Wait until something is true, while a process lives."""

        def reached() -> bool:
            if what():
                return True
            code = self.processes[name].poll()
            assert code is None, f"{name} has ended with {code}: {why}"
            return False

        wait_for(reached, lambda: why)

    def wait(self, name: str, field: str, value: float) -> None:
        """Wait until a counter in the status of a process has reached a value; the process must live."""
        process = "source" if name.startswith("board") else name

        def reached() -> bool:
            return self.status(name).get(field, -1) >= value

        self.wait_for(process, reached, f"{name}: {field} does not reach {value}")

    def wait_more(self, name: str, field: str, more: float) -> None:
        """Wait until a counter has grown by so much since now."""
        self.wait(name, field, self.status(name).get(field, 0) + more)

    def wait_stored(self, segments: int) -> None:
        """Wait until the store has this number of segments of the run."""

        def stored() -> bool:
            return len({p.name.partition(".")[0] for p in self.stored.glob("run*")}) >= segments

        wait_for(stored, lambda: f"there are not {segments} segments in the store")

    @property
    def stored(self) -> Path:
        """Folder of the run in the store."""
        return self.folder / "store" / f"run{RUN:06d}"

    def wait_log(self, text: str) -> None:
        """Wait until a process has written a text to its log."""
        wait_for(lambda: text in self.logs(), lambda: f"no log says {text!r}")

    def kill(self, name: str) -> None:
        self.processes[name].kill()
        self.processes[name].wait()

    def signal(self, name: str, number: int) -> None:
        self.processes[name].send_signal(number)

    def freeze(self, name: str) -> None:
        """Stop a process, and return when it stands still."""
        process = self.processes[name]
        assert isinstance(process, Forked)
        process.send_signal(signal.SIGSTOP)
        process.wait_stopped()

    def thaw(self, name: str) -> None:
        self.signal(name, signal.SIGCONT)

    def stop(self, name: str) -> int:
        """Ask a process to end, when it listens to that; return its exit status."""
        told = f"board-{self.boards - 1}" if name == "source" else name
        self.wait_for(name, lambda: self.status(told), f"{name} does not come up")
        self.signal(name, signal.SIGTERM)
        return self.processes[name].wait(PATIENCE_S)

    def finish(self) -> None:
        """End the run cleanly, stage by stage."""
        assert self.stop("source") == 0
        wait_for(self._board_gone, lambda: "readout has not seen the end of the board")
        assert self.stop("readout") == 0
        assert self.stop("store") == 0

    def account(self) -> list[StageAccount]:
        """Return the account of the run, all files read again."""
        return self.account_of(Path(str(self.settings["readout.spool"])))

    def account_of(self, spool: Path) -> list[StageAccount]:
        """Return the account of the run with the segments of a spool."""
        store = Path(str(self.settings["store.folder"]))
        return account(RUN, store, spool=spool, boards=self.folder, verify=True)

    def begin(self) -> None:
        """Start everything, and send two complete segments and the beginning of a third."""
        self.start("store", "readout")
        self.wait("readout", "seconds", 0)  # the proxy takes packets before, and loses them
        self.start("source")
        self.send(2 * SEGMENT_ORBITS + PACKET_ORBITS)
        self.wait("readout", "last_orbit", self.passed - 1)
        self.wait("readout", "sent", 2)

    def _board_gone(self) -> bool:
        """Say whether readout has read every board's connection to its end."""
        text = (self.folder / "readout.log").read_text().rpartition("readout listens")[2]
        return text.count("board gone") + text.count("connection ended") >= text.count("event=connected") > 0

    def logs(self) -> str:
        """Return all logs and the last status of each process."""
        paths = (*sorted(self.folder.glob("*.log")), *sorted(self.folder.glob("*.json")))
        return "\n".join(f"--- {p.name}\n{p.read_text(errors='replace')}" for p in paths)

    def close(self) -> None:
        """Kill what is there still; print the logs, which pytest shows if the test fails."""
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                kill_with_children(process)
        if self._gated or sys.exc_info()[0]:
            print(self.logs())
        self.to_readout.close()
        self.to_store.close()
        self._ports.close()
