"""Everything that can go wrong in the chain, with real processes: what is lost is counted, the rest is there.

The table in docs/faults.md is made from `FAULTS`: ``python tests/live/test_chain_faults.py``.
"""

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # to be run as a script too

from chain import COMMAND, OVERFLOW, PACKET_ORBITS, PATIENCE_S, PAUSE_ORBITS, Chain, wait_for
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.simulate.live_board import simulated_packets

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
SOME = -1
"""Orbits that are lost for certain; how many depends on the buffers of sockets."""


def kill_source(chain: Chain) -> None:
    """Killed while it sends nothing: all that is missing is what passed before it was started again."""
    chain.kill("source")
    chain.start("source")
    chain.send(400)


def kill_readout(chain: Chain) -> None:
    chain.freeze("readout")
    chain.send(10 * PACKET_ORBITS)
    lost_in_sockets(chain)
    chain.kill("readout")
    chain.start("readout")
    chain.send_through()


def lost_in_sockets(chain: Chain) -> None:
    """Wait until whole packets have left the board, of 10 that nobody reads."""
    chain.wait_for("source", lambda: chain.board()["waiting"] <= 7, "no packet has left the board")


def kill_store(chain: Chain) -> None:
    chain.wait("store", "compressed", 1)
    workers = psutil.Process(chain.processes["store"].pid).children(recursive=True)
    assert workers
    chain.kill("store")
    wait_for(lambda: not any(w.is_running() and w.status() != "zombie" for w in workers))
    chain.send(400)
    chain.wait("readout", "spool_segments", 2)
    chain.start("store")
    chain.wait("store", "segments", 2)


def restart_store(chain: Chain) -> None:
    assert chain.stop("store") == 0
    chain.send(400)
    chain.start("store")
    chain.wait("store", "segments", 2)


def cut_board(chain: Chain) -> None:
    for _ in range(2):
        chain.to_readout.hold()
        chain.send(10 * PACKET_ORBITS)
        lost_in_sockets(chain)
        chain.to_readout.cut()
        chain.to_readout.release()
        chain.send_through()


def cut_store(chain: Chain) -> None:
    """Cut in the middle of a segment: it goes on there, which shows in the bytes that pass."""
    for k in (1, 2):
        before = chain.to_store.passed
        chain.to_store.hold(after=100_000)
        chain.send(200)
        wait_for(chain.to_store.held.is_set, lambda: "no segment is on its way")
        chain.to_store.cut()
        chain.to_store.release()
        chain.wait("readout", "sent", 2 + k)
        assert 100_000 < chain.to_store.passed - before < 280_000


def stall_store(chain: Chain) -> None:
    chain.to_store.hold()
    chain.send(600)
    chain.wait("readout", "spool_segments", 3)
    chain.to_store.release()
    chain.wait("readout", "sent", 5)


def slow_store(chain: Chain) -> None:
    chain.freeze("store")
    chain.send(600)
    chain.wait("readout", "spool_segments", 3)
    chain.thaw("store")
    chain.wait("readout", "sent", 5)


def flip_on_wire(chain: Chain) -> None:
    chain.to_store.flip_at = chain.to_store.passed + 50_000
    chain.send(200)
    chain.wait_log("damaged on the way")


def flip_in_spool(chain: Chain) -> None:
    chain.kill("store")
    chain.send(400)
    chain.wait("readout", "spool_segments", 2)
    path = max((chain.folder / "spool").glob("*.raw"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    chain.start("store")
    chain.wait_log("repaired")


def full_spool(chain: Chain) -> None:
    chain.freeze("store")
    chain.overflow()
    chain.wait("readout", "waited_s", 0.1)
    chain.thaw("store")
    chain.send_through()


def full_ram_disk(chain: Chain) -> None:
    full_spool(chain)


def full_disk(chain: Chain) -> None:
    """The store's disk has 2 MB left, then somebody tidies up."""

    def full() -> bool:
        chain.send(200)
        return "disk full" in chain.logs()

    wait_for(full)
    chain.wait("readout", "spool_segments", 1)
    before = chain.status("readout")["sent"]
    (chain.folder / "store" / "ballast").unlink()
    chain.wait("readout", "sent", before + 1)


def clock_jumps(chain: Chain) -> None:
    chain.send(1200)
    chain.wait("readout", "sent", 8)


def second_readout(chain: Chain) -> None:
    """Same run and source, other spool: its segments have the names of the first one's."""
    other = {"readout.spool": chain.folder / "spool2", "readout.store": f"127.0.0.1:{chain.store_port}"}
    command = [*COMMAND, "readout", str(chain.settings["board.packets"]), *chain.over(**other)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 2, done.stderr
    assert "store refuses segment" in done.stderr
    assert "wait in" in done.stderr


def second_board(chain: Chain) -> None:
    listen = {"readout.listen": f"127.0.0.1:{chain.readout_port}"}
    with (chain.folder / "second-board.log").open("w") as log:
        other = subprocess.Popen([*COMMAND, "source", *chain.over(**listen)], stderr=log)
    try:
        chain.wait_log("one connection too many")
    finally:
        other.kill()
        other.wait()
    chain.send(200)


class Fault(NamedTuple):
    name: str
    stage: str
    outcome: str
    hurt: Callable[[Chain], None]
    lost: Mapping[str, int] = MappingProxyType({})
    settings: Mapping[str, object] = MappingProxyType({})


SMALL = {"readout.spool_bytes": 500_000, **OVERFLOW}
FAULTS = (
    Fault(
        "kill -9",
        "board",
        "orbits until it is started again are missed, and counted",
        kill_source,
        {"missed": PAUSE_ORBITS},
    ),
    Fault(
        "kill -9",
        "readout",
        "the open segment is recovered; what was in the sockets is missed, and counted",
        kill_readout,
        {"missed": SOME},
    ),
    Fault("kill -9", "store", "nothing is lost; what was not acknowledged is sent again", kill_store),
    Fault("restart in mid-run", "store", "nothing is lost", restart_store),
    Fault(
        "connection cut",
        "board to readout",
        "what was in the sockets is missed, and counted",
        cut_board,
        {"missed": SOME},
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
        {"corrupt": 1},
    ),
    Fault(
        "spool full",
        "readout",
        "the board drops orbits, and counts them",
        full_spool,
        {"dropped": SOME},
        SMALL,
    ),
    Fault(
        "RAM disk full",
        "readout",
        "the board drops orbits, and counts them",
        full_ram_disk,
        {"dropped": SOME},
        {"readout.spool_bytes": 0, **OVERFLOW},
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
    path.write_bytes(simulated_packets(RUN3, 100, 0.01).getvalue())
    return path


def small_disk(folder: Path) -> Path:
    """Mount a RAM disk: 40 MB of which 38 are taken for the store, 1 for the spool."""
    folder.mkdir()
    size = "40m" if folder.name == "store" else "1m"
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True
    )
    if done.returncode:
        pytest.skip("only root can mount a small disk")
    if folder.name == "store":
        (folder / "ballast").write_bytes(bytes(38 << 20))
    return folder


@pytest.mark.parametrize("fault", FAULTS, ids=[f"{f.name}: {f.stage}".replace(" ", "-") for f in FAULTS])
def test_fault(fault, tmp_path, packets):
    chain = Chain(tmp_path, packets)
    chain.settings |= fault.settings
    chain.hooks["clock_jumps"] = fault.hurt is clock_jumps
    mounted = None
    try:
        if fault.hurt in (full_disk, full_ram_disk):
            mounted = small_disk(tmp_path / ("store" if fault.hurt is full_disk else "spool"))
        chain.begin()
        fault.hurt(chain)
        chain.finish()
        stages = chain.account()
        assert not [w for s in stages for w in s.wrong]
        lost = {name: n for s in stages for name, n in s.counted.items() if n}
        assert stages[-1].out + sum(lost.values()) == chain.passed
        assert lost.keys() == fault.lost.keys()
        assert all(n == lost[name] or n == SOME for name, n in fault.lost.items()), lost
    finally:
        chain.close()
        if mounted:
            subprocess.run(["umount", "-l", mounted], check=True)


def test_a_bit_that_flips_on_the_stores_disk_is_found(tmp_path, packets):
    chain = Chain(tmp_path, packets)
    try:
        chain.begin()
        chain.finish()
        path = min(chain.stored.iterdir())
        data = bytearray(path.read_bytes())
        data[len(data) // 3] ^= 1
        path.write_bytes(data)
        done = subprocess.run(
            [*COMMAND, "account", "5", "--verify", *chain.over()],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
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
