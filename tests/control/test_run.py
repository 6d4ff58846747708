"""``l1scout run`` with real processes: started, killed, drained, spoken to from elsewhere."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from chain import PATIENCE_S, Ports, wait_for, with_hooks
from in_child.hooks import lengthen
from l1scout.cli.live import LOSSES
from l1scout.control import local
from l1scout.control.local import ask
from l1scout.control.supervisor import Supervisor
from l1scout.errors import InputError
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.lhc import ORBIT_FREQUENCY_HZ
from l1scout.settings import read_settings
from l1scout.simulate.live_board import simulated_packets
from l1scout.store.account import account
from l1scout.store.catalogue import Catalogue
from processes import run_forked

PACE = 0.1


@pytest.fixture(scope="module")
def packets(tmp_path_factory):
    path = tmp_path_factory.mktemp("board") / "packets.dat"
    path.write_bytes(simulated_packets(RUN3, 60, 0.01).getbuffer())
    return path


@pytest.fixture(autouse=True)
def _patience(monkeypatch):
    lengthen(local, PATIENCE_S, monkeypatch.setattr)


@pytest.fixture
def chain(tmp_path, packets):
    chain = Chain(tmp_path, packets)
    yield chain
    chain.close()


@pytest.fixture
def without_board(tmp_path):
    """No board of our own: one connects from elsewhere."""
    chain = Chain(tmp_path, None)
    yield chain
    chain.close()


class Chain:
    """A chain in a folder of its own."""

    def __init__(self, folder: Path, packets: Path | None) -> None:
        self._ports = Ports(2)
        self.boards, self.store = self._ports.numbers
        self.folder, self.config = folder / "run", folder / "chain.toml"
        self.log = folder / "control.log"
        self.spool, self.stored = folder / "spool", folder / "store"
        board = f'packets = "{packets}"' if packets else ""
        self.config.write_text(f"""
            [run]
            number = 7
            folder = "{self.folder}"
            [board]
            {board}
            pace = {PACE}
            buffer = 5000
            [readout]
            listen = "127.0.0.1:{self.boards}"
            store = "127.0.0.1:{self.store}"
            spool = "{self.spool}"
            segment_orbits = 512
            drain_seconds = {PATIENCE_S}
            [store]
            listen = "127.0.0.1:{self.store}"
            folder = "{self.stored}"
            drain_seconds = {PATIENCE_S}
        """)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "l1scout", *arguments]

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, as another shell does."""
        return run_forked(*arguments, environment=with_hooks(dict(os.environ)))

    @contextmanager
    def run(self, *more: str):
        """``l1scout run``; at the end it must be gone."""
        command = self.command("run", str(self.config), *more)
        with self.log.open("w") as log:
            process = subprocess.Popen(command, stderr=log, env=with_hooks(dict(os.environ)), process_group=0)
        try:
            wait_for(lambda: process.poll() is not None or self.there())
            yield process
        finally:
            process.kill()
            process.wait()

    def said(self) -> str:
        """Return what ``l1scout run`` wrote on standard error."""
        return self.log.read_text()

    def close(self) -> None:
        """Print all logs and the last status of each process; pytest shows them if the test fails."""
        for path in (self.log, *sorted(self.folder.glob("*.log")), *sorted(self.folder.glob("*.json"))):
            if path.exists():
                print(f"--- {path.name}\n{path.read_text(errors='replace')}")
        self._ports.close()

    def ends_well(self, process: subprocess.Popen[bytes], status: int = 0) -> None:
        assert process.wait(PATIENCE_S) == status

    def kill(self, name: str) -> None:
        os.kill(self.status()["processes"][name]["pid"], signal.SIGKILL)

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

    def flowing(self, orbits: int = 200) -> None:
        """Wait until readout has taken some orbits since now."""
        before, pid = self.report("readout").get("orbits", 0), self.report("readout").get("pid")

        def more() -> bool:
            now = self.report("readout")
            return now.get("orbits", 0) > orbits + (before if now.get("pid") == pid else 0)

        wait_for(more)

    def check(self, run: int) -> dict[str, int]:
        """Every orbit of the run must be accounted for, and nothing wait; return the first source's sums."""
        assert not [*self.spool.rglob("*.raw"), *self.spool.rglob("*.part")]
        stages = account(run, self.stored, spool=self.spool, boards=self.folder, verify=True)
        assert stages
        assert not [s.wrong for s in stages if s.wrong]
        catalogue = Catalogue(self.stored)
        sources = [r for r in catalogue.runs() if r["run"] == run]
        catalogue.close()
        assert all(sums["ended"] == 1 for sums in sources)
        return sources[0]


def test_commands_from_another_shell(chain):
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
        assert told["data"] == told["provenance"]["data"] == "simulated"
        assert [r["state"] for r in told["processes"].values()] == ["running"] * 3
        assert told["processes"]["readout"]["real_time_factor"] > 0
        assert told["lost"]["missed"] == told["lost"]["corrupt"] == 0
        with pytest.raises(InputError, match="another `l1scout run`"):
            chain.supervisor()
        stopped = chain.call("stop", *settings)
        assert (stopped.stdout, stopped.returncode) == ("run 40: drained\n", 0)
        assert chain.status()["state"] == "configured"
        process.terminate()
        chain.ends_well(process)
    assert chain.check(40)["missed"] == 0
    with pytest.raises(InputError, match="no `l1scout run` is at work there"):
        chain.status()


def test_what_is_killed_comes_back(chain):
    began = time.monotonic()
    with chain.run() as process:
        chain.flowing()
        for name in ("board", "readout", "store"):
            chain.kill(name)
            wait_for(lambda name=name: chain.status()["processes"][name]["restarts"] == 1)
            chain.flowing()
        wait_for(lambda: all(p["state"] == "running" for p in chain.status()["processes"].values()))
        status = chain.status()
        assert [a for a in status["alarms"] if "readout: has died, and was started again 1 times" in a]
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        chain.ends_well(process, LOSSES)
        passed = (time.monotonic() - began) * ORBIT_FREQUENCY_HZ * PACE
    sums = chain.check(7)
    said = re.findall(
        r"^run 7: orbits lost: ([\d,]+) missed; run 7: board: has died", chain.said(), re.MULTILINE
    )
    # what readout had counted of its open segment when it was killed, its successor counts again
    assert int(said[-1].replace(",", "")) >= sums["missed"] > 0
    killed, last = chain.report("board-0"), chain.report("board-1")
    assert (killed["state"], last["state"]) == ("running", "idle")
    # the LHC went on meanwhile
    sent = killed["delivered"] + killed["dropped"]
    assert sent < last["first_orbit"] < last["first_orbit"] + last["delivered"] + last["dropped"] < passed


def test_killed_run_control_leaves_nothing(chain):
    with chain.run() as process:
        chain.flowing()
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) >= 3
        process.kill()
        _, alive = psutil.wait_procs(children, PATIENCE_S)
        assert not alive
    assert chain.check(7)["missed"] == 0
    chain.supervisor().close()  # lock and socket are in nobody's way


def test_board_that_ends_ends_the_run(chain):
    with chain.run("--set", "board.orbits=1000", "--set", "board.pace=0") as process:
        chain.ends_well(process)
    assert chain.check(7)["orbits"] == 1000


def test_two_boards_that_end_end_the_run(chain):
    """Each board has a readout of its own."""
    ports = Ports(1)
    of_calo = {"readout.listen": f"127.0.0.1:{ports.numbers[0]}", "readout.source": 2, "board.orbits": 400}
    calo = [f"--set=sources.calo.{name}={value}" for name, value in of_calo.items()]
    with chain.run("--set=sources.gmt.board.orbits=600", *calo, "--set=board.pace=0") as process:
        wait_for(chain.there)
        assert list(chain.status()["processes"]) == [
            "board.gmt", "board.calo", "readout.gmt", "readout.calo", "store",
        ]  # fmt: skip
        chain.ends_well(process)
    ports.close()
    assert chain.check(7)["orbits"] == 600
    stages = account(7, chain.stored, spool=chain.spool, boards=chain.folder, verify=True)
    readouts = {stage.name: stage.out for stage in stages if stage.name.startswith("readout")}
    assert sorted(readouts.values()) == [400, 600]
    assert {path.name for path in chain.spool.iterdir()} >= {"gmt", "calo"}


def test_stop_now_does_not_wait_for_a_store_that_takes_nothing(chain):
    """The store is frozen; neither a full spool nor readout.drain_seconds is waited for."""
    settings = ("--settings", str(chain.config))
    with chain.run() as process:
        chain.flowing()
        store = chain.status()["processes"]["store"]["pid"]
        os.kill(store, signal.SIGSTOP)
        wait_for(lambda: chain.report("readout").get("spool_segments", 0) > 0)
        ask(chain.folder, do="stop")
        wait_for(lambda: "readout (" in chain.status()["waiting_for"])
        assert "to the store); at most " in chain.status()["waiting_for"]
        stopped = chain.call("stop", *settings, "--now")
        assert stopped.returncode == 2
        assert "l1scout stop --now" not in stopped.stdout
        assert re.search(r"l1scout: readout: \d+ segments wait in .*--drain", stopped.stderr)
        assert chain.status()["state"] == "error"
        process.terminate()
        assert process.wait(PATIENCE_S) == 2
    assert not psutil.pid_exists(store)
    assert [*chain.spool.glob("run*.raw")]


def test_stop_now_without_a_run_does_not_hold_for_the_next(tmp_path):
    """It would be stopped without its last segments."""
    work = Supervisor(read_settings(None, {}, [f"run.folder={tmp_path}"]), lambda *_, **__: None, {})
    with pytest.raises(InputError, match="`stop` is not possible in state configured"):
        work.stop(now=True)
    assert not work._now
    work.close()


def test_refusal_at_the_start_ends_it(chain):
    with socket.create_server(("127.0.0.1", chain.store)), chain.run() as process:
        assert process.wait(PATIENCE_S) == 2
    assert f"l1scout: store: 127.0.0.1:{chain.store}: cannot listen there" in chain.said().splitlines()[-1]


def test_refusal_later_can_be_mended(without_board, packets):
    chain = without_board
    with chain.run() as process:
        wait_for(lambda: chain.status()["up"])
        with store_replaced(chain, process):
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
        with store_replaced(chain, process):
            wait_for(lambda: chain.status()["state"] == "error")
            process.send_signal(signal.SIGINT)
            wait_for(lambda: chain.report("readout").get("state") == "draining")
            process.send_signal(signal.SIGINT)  # not to wait for a store that does not come
            assert process.wait(PATIENCE_S) == 2
    assert "l1scout: store: " in chain.said().splitlines()[-1]
    assert [*chain.spool.glob("run000008*.raw")]  # kept for `l1scout readout --drain`


@contextmanager
def store_replaced(chain: Chain, control: subprocess.Popen[bytes]):
    """Kill the store and take its port, while run control stands still and cannot start another."""
    pid = chain.status()["processes"]["store"]["pid"]
    control.send_signal(signal.SIGSTOP)
    os.waitpid(control.pid, os.WUNTRACED)
    os.kill(pid, signal.SIGKILL)
    taken = []

    def take():
        with suppress(OSError):
            taken.append(socket.create_server(("127.0.0.1", chain.store)))
        return taken

    wait_for(take)
    control.send_signal(signal.SIGCONT)
    with taken[0]:
        yield


def test_settings_that_do_not_fit_are_refused(without_board):
    with pytest.raises(InputError, match="did you mean listen"):
        without_board.supervisor("readout.lisen=x:1")
    with pytest.raises(InputError, match=r"^readout\.wire_format: .*'run1'.* run2, run3"):
        without_board.supervisor("readout.wire_format=run1")
    with pytest.raises(InputError, match="the store listens at"):
        without_board.supervisor("store.listen=127.0.0.1:1")
