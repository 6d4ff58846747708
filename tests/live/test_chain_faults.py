"""Everything that can go wrong in the chain, with real processes: what is lost is counted, the rest is there.

The table in docs/faults.md is made from `FAULTS`: ``python tests/live/test_chain_faults.py``.
"""

import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # to be run as a script too

from chain import COMMAND, PATIENCE_S, Chain, wait_for
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.simulate.live_board import simulated_packets
from l1scout.store.account import StageAccount

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"


def nothing_lost(stages: list[StageAccount]) -> None:
    """No orbit that the board sent is missing, and it dropped none."""
    for stage in stages:
        assert not any(stage.counted.values()), stage


def kill_source(chain: Chain) -> None:
    chain.kill("source")
    chain.start("source")
    wait_for(lambda: chain.status("board-1").get("readout") == "connected", chain.logs)
    chain.wait_more("readout", "orbits", 200)


def kill_readout(chain: Chain) -> None:
    chain.kill("readout")
    chain.start("readout")
    chain.wait("readout", "orbits", 200)


def kill_store(chain: Chain) -> None:
    chain.wait("store", "compressed", 1)
    workers = psutil.Process(chain.processes["store"].pid).children(recursive=True)
    assert workers
    chain.kill("store")
    wait_for(lambda: not any(w.is_running() and w.status() != "zombie" for w in workers))
    chain.start("store")
    chain.wait("store", "segments", 2)


def restart_store(chain: Chain) -> None:
    assert chain.stop("store") == 0
    chain.start("store")
    chain.wait("store", "segments", 2)


def cut_board(chain: Chain) -> None:
    for _ in range(3):
        chain.to_readout.cut()
        chain.wait_more("readout", "orbits", 100)


def cut_store(chain: Chain) -> None:
    for _ in range(5):
        chain.to_store.cut()
        chain.wait_more("readout", "sent", 1)


def stall_store(chain: Chain) -> None:
    chain.to_store.stalled.set()
    chain.wait_more("readout", "spool_segments", 3)
    chain.to_store.stalled.clear()
    chain.wait_more("readout", "sent", 2)


def slow_store(chain: Chain) -> None:
    chain.signal("store", signal.SIGSTOP)
    chain.wait_more("readout", "spool_segments", 3)
    chain.signal("store", signal.SIGCONT)
    chain.wait_more("readout", "sent", 2)


def flip_on_wire(chain: Chain) -> None:
    chain.to_store.flip_at = chain.to_store.passed + 50_000
    chain.wait_log("damaged on the way")


def flip_in_spool(chain: Chain) -> None:
    chain.kill("store")
    wait_for(lambda: len(list((chain.folder / "spool").glob("*.raw"))) > 1)
    path = max((chain.folder / "spool").glob("*.raw"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    chain.start("store")
    chain.wait_log("repaired")


def full_spool(chain: Chain) -> None:
    chain.signal("store", signal.SIGSTOP)
    chain.wait("board-0", "dropped", 1)
    chain.signal("store", signal.SIGCONT)
    chain.wait_more("readout", "orbits", 200)


def full_disk(chain: Chain) -> None:
    """The store's disk has 4 MB left, then somebody tidies up."""
    chain.wait_log("disk full")
    chain.wait_more("readout", "spool_segments", 1)
    (chain.folder / "store" / "ballast").unlink()
    chain.wait_more("readout", "sent", 4)


def full_ram_disk(chain: Chain) -> None:
    chain.signal("store", signal.SIGSTOP)
    chain.wait("board-0", "dropped", 1)
    chain.wait("readout", "waited_s", 0.1)
    chain.signal("store", signal.SIGCONT)
    chain.wait_more("readout", "orbits", 200)


def clock_jumps(chain: Chain) -> None:
    chain.wait("readout", "sent", 8)


def second_readout(chain: Chain) -> None:
    """Same run and source, other spool: its segments have the names of the first one's."""
    settings = {
        **chain.settings,
        "readout.spool": chain.folder / "spool2",
        "readout.store": f"127.0.0.1:{chain.store_port}",
    }
    more = [f"--set={k}={v}" for k, v in settings.items()]
    packets = str(chain.settings["board.packets"])
    done = subprocess.run(
        [*COMMAND, "readout", packets, *more], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 2, done.stderr
    assert "store refuses segment" in done.stderr
    assert "wait in" in done.stderr


def second_board(chain: Chain) -> None:
    more = [f"--set={k}={v}" for k, v in chain.settings.items()]
    more.append(f"--set=readout.listen=127.0.0.1:{chain.readout_port}")
    other = subprocess.Popen([*COMMAND, "source", *more], stderr=subprocess.DEVNULL)
    chain.wait_log("one connection too many")
    other.kill()
    other.wait()


class Fault(NamedTuple):
    name: str
    stage: str
    outcome: str
    hurt: Callable[[Chain], None]
    lost: tuple[str, ...] = ()
    settings: Mapping[str, object] = MappingProxyType({})


SMALL = {"readout.spool_bytes": 2_000_000, "board.buffer": 16}
ROUGH = ("missed", "corrupt", "dropped")
"""Dropped: by the board, while readout is away for more than a minute."""
FAULTS = (
    Fault(
        "kill -9",
        "board",
        "orbits until it is started again are missed, and counted",
        kill_source,
        ROUGH,
    ),
    Fault(
        "kill -9",
        "readout",
        "the open segment is recovered; what was in the sockets is missed, and counted",
        kill_readout,
        ROUGH,
    ),
    Fault("kill -9", "store", "nothing is lost; what was not acknowledged is sent again", kill_store),
    Fault("restart in mid-run", "store", "nothing is lost", restart_store),
    Fault(
        "connection cut",
        "board to readout",
        "what was in the sockets is missed, and counted",
        cut_board,
        ROUGH,
    ),
    Fault(
        "connection cut",
        "readout to store",
        "nothing is lost; the segment goes on where it was cut",
        cut_store,
    ),
    Fault("connection stalls", "readout to store", "nothing is lost; the spool holds", stall_store),
    Fault("slow disk (process stopped)", "store", "nothing is lost; the spool holds", slow_store),
    Fault("bit flipped", "readout to store", "nothing is lost; the segment is sent again", flip_on_wire),
    Fault(
        "bit flipped in the spool",
        "readout",
        "one orbit is corrupt, and counted; its segment is mended",
        flip_in_spool,
        ("corrupt",),
    ),
    Fault(
        "spool full", "readout", "the board drops orbits, and counts them", full_spool, ("dropped",), SMALL
    ),
    Fault(
        "RAM disk full",
        "readout",
        "the board drops orbits, and counts them",
        full_ram_disk,
        ("dropped",),
        {"readout.spool_bytes": 0, "board.buffer": 16},
    ),
    Fault("disk full", "store", "nothing is lost; the spool holds until there is room", full_disk),
    Fault(
        "second readout of the same run and source",
        "store",
        "its segments are refused and stay in its spool",
        second_readout,
    ),
    Fault("second board", "readout", "is refused while the first is connected", second_board),
    Fault("clock jumps by a day", "all", "nothing is lost", clock_jumps),
)


@pytest.fixture(scope="session")
def packets(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("packets") / "packets.dat"
    path.write_bytes(simulated_packets(RUN3, 100, 0.05).getvalue())
    return path


def small_disk(folder: Path) -> Path:
    """Mount a RAM disk: 40 MB of which 36 are taken for the store, 3 for the spool."""
    folder.mkdir()
    size = "40m" if folder.name == "store" else "3m"
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True
    )
    if done.returncode:
        pytest.skip("only root can mount a small disk")
    if folder.name == "store":
        (folder / "ballast").write_bytes(bytes(36 << 20))
    return folder


JUMP = """
real, began = time.time, time.monotonic()
time.time = lambda: real() + 86400 * (int(time.monotonic() - began) % 2)
"""


@pytest.mark.parametrize("fault", FAULTS, ids=[f"{f.name}: {f.stage}".replace(" ", "-") for f in FAULTS])
def test_fault(fault, tmp_path, packets):
    chain = Chain(tmp_path, packets)
    chain.settings |= fault.settings
    if fault.hurt is clock_jumps:
        (tmp_path / "sitecustomize.py").write_text(JUMP)
        chain.environment["PYTHONPATH"] = f"{tmp_path}:{chain.environment.get('PYTHONPATH', '')}"
    mounted = None
    try:
        if fault.hurt in (full_disk, full_ram_disk):
            mounted = small_disk(tmp_path / ("store" if fault.hurt is full_disk else "spool"))
        chain.begin()
        chain.wait("store", "segments", 2)
        fault.hurt(chain)
        chain.finish()
        stages = chain.account()
        assert not [w for s in stages for w in s.wrong], (stages, chain.logs())
        lost = {name for s in stages for name, n in s.counted.items() if n}
        assert lost <= set(fault.lost), stages
        if fault.lost and fault.hurt not in (cut_board, kill_readout):  # nothing may be in the sockets
            assert lost, "the fault did nothing"
        assert stages[-1].out > 400
    finally:
        chain.close()
        if mounted:
            subprocess.run(["umount", "-l", mounted], check=True)


def test_a_bit_that_flips_on_the_stores_disk_is_found(tmp_path, packets):
    chain = Chain(tmp_path, packets)
    try:
        chain.begin()
        chain.wait("store", "compressed", 3)
        chain.finish()
        path = min((tmp_path / "store" / "run000005").iterdir())
        data = bytearray(path.read_bytes())
        data[len(data) // 3] ^= 1
        path.write_bytes(data)
        more = [f"--set={k}={v}" for k, v in chain.settings.items()]
        done = subprocess.run(
            [*COMMAND, "account", "5", "--verify", *more], capture_output=True, text=True, timeout=PATIENCE_S
        )
        assert done.returncode == 1
        assert "has changed since it was stored" in done.stderr.replace("\n", " ")
        assert path.name in done.stderr.replace("\n", "")
    finally:
        chain.close()


def page() -> str:
    rows = [f"| {f.name} | {f.stage} | {f.outcome} |" for f in FAULTS]
    return "\n".join(
        [
            "# What can go wrong in the live chain, and what becomes of it",
            "",
            "Made by `python tests/live/test_chain_faults.py > docs/faults.md` from the table that the",
            "tests run: each row with real processes, sockets and files; afterwards the account of the",
            "run balances, every file reads back right, and nothing is lost but what the row says.",
            "",
            "| fault | where | outcome |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


def test_page_is_up_to_date():
    assert PAGE.read_text("utf-8") == page(), "run: python tests/live/test_chain_faults.py > docs/faults.md"


if __name__ == "__main__":
    print(page(), end="")
