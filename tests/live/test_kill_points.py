"""Kill -9 at every place between two steps of readout, store and board that must not be torn apart."""

import subprocess
from pathlib import Path

import pytest

from chain import COMMAND, PACKET_ORBITS, PATIENCE_S, PAUSE_ORBITS, Chain, wait_for
from in_child.hooks import POINTS, WORKER
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.readout.spool import read_notes
from l1scout.simulate.live_board import simulated_packets
from live_packets import repeated

ORBITS = 480
SEGMENTS = 5


@pytest.fixture
def packets(tmp_path) -> Path:
    path = tmp_path / "packets.dat"
    path.write_bytes(repeated("run3", 0, ORBITS))
    return path


@pytest.fixture
def chain(tmp_path, packets):
    chain = Chain(tmp_path, packets, readout__segment_orbits=100)
    chain.hooks |= {"time": 2, "mark": tmp_path / "killed-here"}
    yield chain
    chain.close()


def was_killed_at(chain: Chain, point: str) -> None:
    """Wait until a process has killed itself there."""
    name, mark = POINTS[point].process, chain.folder / "killed-here"
    wait_for(mark.exists, lambda: f"{name} does not come to the point {point!r}")
    if name != WORKER:
        assert chain.processes[name].wait(PATIENCE_S) == -9


@pytest.mark.parametrize("point", [p for p, where in POINTS.items() if where.process == "readout"])
def test_readout(chain, packets, point):
    """It reads a file; started again it begins anew, and leaves out what it has."""
    chain.settings["store.method"] = "none"
    chain.start("store")
    chain.start("readout", words=[packets], kill=point)
    was_killed_at(chain, point)
    ended = any(segment.last for segment in read_notes(chain.folder / "spool"))
    chain.start("readout", words=["--drain"] if ended else [packets])
    assert chain.processes["readout"].wait(PATIENCE_S) == 0
    assert chain.stop("store") == 0
    all_is_there(chain)
    if point == "between note and segment":
        assert "segment recovered" in chain.logs()
    if point == "before an acknowledged segment goes":
        assert chain.status("store")["again"] == 1


@pytest.mark.parametrize("point", [p for p, where in POINTS.items() if where.process in ("store", WORKER)])
def test_store(chain, packets, point):
    compresses = "compressed" in point or "original" in point
    if "archive" not in point:
        chain.settings["store.method"] = "zstd" if compresses else "none"
    chain.start("store", kill=point)
    chain.start("readout", words=[packets])
    was_killed_at(chain, point)
    if POINTS[point].process == "store":
        chain.start("store")
    assert chain.processes["readout"].wait(PATIENCE_S) == 0
    assert chain.stop("store") == 0
    all_is_there(chain)
    if point == "before 201":
        assert chain.status("store")["again"] == 1
    if compresses:
        assert {p.suffix for p in chain.stored.glob("run*")} == {".zst", ".json"}
    if "archive" in point:
        assert {p.suffix for p in chain.stored.glob("run*")} == {".parquet", ".json"}


def all_is_there(chain: Chain) -> None:
    """Every orbit is stored, once, and nothing else."""
    stages = chain.account()
    assert not [w for s in stages for w in s.wrong]
    assert stages[-1].out == ORBITS
    assert not [n for s in stages for name, n in s.counted.items() if n and name != "duplicate"]
    assert len([p for p in chain.stored.glob("run*") if p.suffix != ".json"]) == SEGMENTS
    assert not list((chain.folder / "spool").glob("*.raw*[!n]"))
    assert not list((chain.folder / "store" / "incoming").iterdir())


def test_board(chain):
    """Half of its 12th packet arrives: these orbits, and all until it is started again, are counted."""
    point = "in the middle of a packet"
    chain.settings["board.packets"].write_bytes(simulated_packets(RUN3, 100, 0.01).getvalue())
    chain.start("store", "readout")
    chain.start("source", kill=point, time=12)
    chain.grant(12 * PACKET_ORBITS)
    was_killed_at(chain, point)
    chain.start("source")
    chain.send(100)  # two packets at least: the counters of the first are not believed
    chain.finish()
    stages = chain.account()
    assert not [w for s in stages for w in s.wrong]
    lost = sum(n for s in stages for n in s.counted.values())
    assert PAUSE_ORBITS < lost <= PAUSE_ORBITS + PACKET_ORBITS
    assert stages[-1].out + lost == chain.passed


def test_a_worker_whose_store_is_killed_before_it_looks_ends():
    """Otherwise it stays for ever."""
    code = (
        "import os, time; from l1scout.store.compressor import _prepare; _prepare(1 << 30); time.sleep(1e6)"
    )
    done = subprocess.run([COMMAND[0], "-c", code], capture_output=True, timeout=PATIENCE_S)
    assert (done.returncode, done.stderr) == (1, b"")
