"""``l1scout run`` with real processes: started, killed, drained, spoken to from elsewhere."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from chain import PATIENCE_S, wait_for
from l1scout.control.local import ask
from l1scout.control.supervisor import Supervisor
from l1scout.errors import InputError
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.lhc import ORBIT_FREQUENCY_HZ
from l1scout.settings import read_settings
from l1scout.simulate.live_board import simulated_packets
from l1scout.store.account import account
from l1scout.store.catalogue import Catalogue

PACE = 0.2


@pytest.fixture(scope="module")
def packets(tmp_path_factory):
    path = tmp_path_factory.mktemp("board") / "packets.dat"
    path.write_bytes(simulated_packets(RUN3, 60, 0.05).getbuffer())
    return path


def free_ports(n):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


class Chain:
    """A chain in a folder of its own."""

    def __init__(self, folder: Path, packets: Path | None) -> None:
        self.boards, self.store = free_ports(2)
        self.folder, self.config = folder / "run", folder / "chain.toml"
        self.spool, self.stored = folder / "spool", folder / "store"
        board = f'packets = "{packets}"' if packets else ""
        self.config.write_text(f"""
            [run]
            number = 7
            folder = "{self.folder}"
            [board]
            {board}
            pace = {PACE}
            [readout]
            listen = "127.0.0.1:{self.boards}"
            store = "127.0.0.1:{self.store}"
            spool = "{self.spool}"
            segment_orbits = 512
            drain_seconds = {PATIENCE_S}
            [store]
            listen = "127.0.0.1:{self.store}"
            folder = "{self.stored}"
        """)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "l1scout", *arguments]

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, as another shell does."""
        return subprocess.run(self.command(*arguments), capture_output=True, text=True, timeout=PATIENCE_S)

    @contextmanager
    def run(self, *more: str):
        """``l1scout run``; at the end it must be gone."""
        command = self.command("run", str(self.config), *more)
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, process_group=0)
        try:
            wait_for(lambda: process.poll() is not None or self.there())
            yield process
        finally:
            process.kill()
            process.communicate()

    def supervisor(self, *over: str) -> Supervisor:
        """Run control, configured, in this process."""
        return Supervisor(read_settings(self.config, {}, over), lambda *_, **__: None)

    def there(self) -> bool:
        try:
            return bool(self.status())
        except InputError:
            return False

    def status(self) -> dict:
        return ask(self.folder, do="status")

    def report(self, name: str) -> dict:
        """Newest status of a process (the number of orbits and so on)."""
        try:
            return json.loads((self.folder / f"{name}.json").read_text())
        except (OSError, ValueError):
            return {}

    def flowing(self, orbits: int = 500) -> None:
        """Wait until readout has taken some orbits since now."""
        before, pid = self.report("readout").get("orbits", 0), self.report("readout").get("pid")

        def more() -> bool:
            now = self.report("readout")
            return now.get("orbits", 0) > orbits + (before if now.get("pid") == pid else 0)

        wait_for(more)

    def check(self, run: int) -> dict[str, int]:
        """Every orbit of the run must be accounted for, and nothing wait; return the run's sums."""
        assert not [*self.spool.glob("*.raw"), *self.spool.glob("*.part")]
        stages = account(run, self.stored, spool=self.spool, boards=self.folder, verify=True)
        assert stages
        assert not [s.wrong for s in stages if s.wrong]
        catalogue = Catalogue(self.stored)
        sums = next(r for r in catalogue.runs() if r["run"] == run)
        catalogue.close()
        assert sums["ended"] == 1
        return sums


def ends_well(process: subprocess.Popen[str]) -> None:
    _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, said


def test_commands_from_another_shell(tmp_path, packets):
    chain = Chain(tmp_path, packets)
    settings = ("--settings", str(chain.config))
    with chain.run("--wait") as process:
        assert chain.status()["state"] == "configured"
        with pytest.raises(InputError, match="not possible in state configured"):
            ask(chain.folder, do="stop")
        started = chain.call("start", *settings, "--run", "40")
        assert (started.stdout, started.returncode) == ("run 40: running\n", 0)
        chain.flowing()
        told = json.loads(chain.call("status", *settings, "--json").stdout)
        assert (told["state"], told["run"], told["error"]) == ("running", 40, "")
        assert [r["state"] for r in told["processes"].values()] == ["running"] * 3
        assert told["processes"]["readout"]["real_time_factor"] > 0
        assert told["lost"]["missed"] == told["lost"]["corrupt"] == 0
        with pytest.raises(InputError, match="another `l1scout run`"):
            chain.supervisor()
        stopped = chain.call("stop", *settings)
        assert (stopped.stdout, stopped.returncode) == ("run 40: drained\n", 0)
        assert chain.status()["state"] == "configured"
        process.terminate()
        ends_well(process)
    assert chain.check(40)["missed"] == 0
    with pytest.raises(InputError, match="no `l1scout run` is at work there"):
        chain.status()


def test_what_is_killed_comes_back(tmp_path, packets):
    chain = Chain(tmp_path, packets)
    with chain.run() as process:
        began = time.monotonic()
        chain.flowing()
        for name in ("board", "readout", "store"):
            os.kill(chain.status()["processes"][name]["pid"], signal.SIGKILL)
            wait_for(lambda name=name: chain.status()["processes"][name]["restarts"] == 1)
            chain.flowing()
        wait_for(lambda: all(p["state"] == "running" for p in chain.status()["processes"].values()))
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        ends_well(process)
        passed = (time.monotonic() - began) * ORBIT_FREQUENCY_HZ * PACE
    chain.check(7)
    killed, last = chain.report("board-0"), chain.report("board-1")
    assert (killed["state"], last["state"]) == ("running", "idle")
    # the LHC went on meanwhile
    sent = killed["delivered"] + killed["dropped"]
    assert sent < last["first_orbit"] < last["first_orbit"] + last["delivered"] + last["dropped"] < passed


def test_killed_run_control_leaves_nothing(tmp_path, packets):
    chain = Chain(tmp_path, packets)
    with chain.run() as process:
        chain.flowing()
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) >= 3
        process.kill()
        _, alive = psutil.wait_procs(children, PATIENCE_S)
        assert not alive
    assert chain.check(7)["missed"] == 0
    chain.supervisor().close()  # lock and socket are in nobody's way


def test_board_that_ends_ends_the_run(tmp_path, packets):
    chain = Chain(tmp_path, packets)
    with chain.run("--set", "board.orbits=1000", "--set", "board.pace=0") as process:
        ends_well(process)
    assert chain.check(7)["orbits"] == 1000


def test_refusal_at_the_start_ends_it(tmp_path, packets):
    chain = Chain(tmp_path, packets)
    with socket.create_server(("127.0.0.1", chain.store)), chain.run() as process:
        _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2
    assert f"l1scout: store: 127.0.0.1:{chain.store}: cannot listen there" in said.splitlines()[-1]


def test_refusal_later_can_be_mended(tmp_path, packets):
    """No board of our own here: one connects from elsewhere."""
    chain = Chain(tmp_path, None)
    with chain.run() as process:
        wait_for(lambda: chain.status()["up"])
        os.kill(chain.status()["processes"]["store"]["pid"], signal.SIGKILL)
        with taken(chain.store):
            wait_for(lambda: chain.status()["state"] == "error")
            assert "store: " in chain.status()["error"]
            board = ("--set", f"board.packets={packets}", "--set", "board.orbits=600")
            assert chain.call("source", "--settings", str(chain.config), *board).returncode == 0
            wait_for(lambda: chain.report("readout").get("orbits") == 600)
        ask(chain.folder, do="start")
        wait_for(lambda: chain.status()["processes"]["store"]["state"] == "running")
        assert (chain.status()["state"], chain.status()["error"]) == ("running", "")
        ask(chain.folder, do="stop")
        wait_for(lambda: chain.status()["state"] == "configured")
        assert chain.check(7)["orbits"] == 600

        ask(chain.folder, do="start")
        wait_for(lambda: chain.status()["up"])
        os.kill(chain.status()["processes"]["store"]["pid"], signal.SIGKILL)
        with taken(chain.store):
            wait_for(lambda: chain.status()["state"] == "error")
            process.send_signal(signal.SIGINT)
            wait_for(lambda: chain.report("readout").get("state") == "draining")
            process.send_signal(signal.SIGINT)  # not to wait for a store that does not come
            _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2
    assert "l1scout: store: " in said.splitlines()[-1]
    assert [*chain.spool.glob("run000008*.raw")]  # kept for `l1scout readout --drain`


@contextmanager
def taken(port):
    """Take a port as soon as it is free."""
    taker = None

    def take():
        nonlocal taker
        with suppress(OSError):
            taker = socket.create_server(("127.0.0.1", port))
        return taker

    wait_for(take)
    with taker:
        yield


def test_settings_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(InputError, match="did you mean listen"):
        Chain(tmp_path, None).supervisor("readout.lisen=x:1")
    with pytest.raises(InputError, match=r"^readout\.wire_format: .*'run1'.* run2, run3"):
        Chain(tmp_path, None).supervisor("readout.wire_format=run1")
    with pytest.raises(InputError, match="the store listens at"):
        Chain(tmp_path, None).supervisor("store.listen=127.0.0.1:1")
