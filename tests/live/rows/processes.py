"""Processes that are killed, stopped and started again."""

import subprocess
import sys
from pathlib import Path

import psutil

from chain import OVERFLOW, PACKET_ORBITS, PATIENCE_S, PAUSE_ORBITS, Chain, wait_for
from live.fault_table import SOME, TRUTH, chain_fault, fault


@chain_fault(
    "kill -9",
    "board",
    "orbits until it is started again are missed, and counted",
    recovery="run control starts it again",
    lost={"missed": PAUSE_ORBITS},
)
def kill_board(chain: Chain) -> None:
    """Kill it while it sends nothing: all that is missing is what passed before it was started again."""
    chain.kill("source")
    chain.start("source")
    chain.send(400)


@chain_fault(
    "kill -9",
    "readout",
    "the open segment is recovered; what was in the sockets is missed, and counted",
    "segment recovered ... orbits=",
    "run control starts it again",
    lost={"missed": SOME},
)
def kill_readout(chain: Chain) -> None:
    chain.freeze("readout")
    chain.send(10 * PACKET_ORBITS)
    chain.wait_lost_in_sockets()
    chain.kill("readout")
    chain.start("readout")
    chain.send_through()


@chain_fault(
    "kill -9",
    "store",
    "nothing is lost; what was not acknowledged is sent again",
    "store not reached, trying again",
    "run control starts it again",
    settings={"store.method": "zstd"},
)
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


@chain_fault(
    "kill -9",
    "compression",
    "nothing is lost; its segments are compressed by another process",
    "compression process failed, starting another",
    settings={"store.method": "zstd"},
)
def kill_worker(chain: Chain) -> None:
    chain.wait("store", "compressed", 1)
    for process in psutil.Process(chain.processes["store"].pid).children(recursive=True):
        if "spawn_main" in " ".join(process.cmdline()):
            process.kill()
    chain.send(400)
    chain.wait("store", "compressed", 3)


@chain_fault("restart in mid-run", "store", "nothing is lost", settings={"store.method": "zstd"})
def restart_store(chain: Chain) -> None:
    assert chain.stop("store") == 0
    chain.send(400)
    chain.start("store")
    chain.wait("store", "segments", 2)


@chain_fault("process stands still", "store", "nothing is lost; the spool holds")
def slow_store(chain: Chain) -> None:
    chain.freeze("store")
    chain.send(600)
    chain.wait("readout", "spool_segments", 3)
    chain.thaw("store")
    chain.wait("readout", "sent", 5)


@chain_fault(
    "process stands still",
    "readout",
    "the board drops orbits when its buffer is full, and counts them",
    lost={"dropped": SOME},
    settings=OVERFLOW,
)
def slow_readout(chain: Chain) -> None:
    chain.freeze("readout")
    chain.overflow()
    chain.thaw("readout")
    chain.send_through()


@chain_fault(
    "clock jumps by a day", "all", "nothing is lost", settings={"store.method": "zstd"}, clock_jumps=True
)
def clock_jumps(chain: Chain) -> None:
    chain.send(1200)
    chain.wait("readout", "sent", 8)


_FIRST_START = """
import gc, io, sys
from pathlib import Path
from numba.core.dispatcher import Dispatcher
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.readout.spool import Spool
from l1scout.readout.warm_up import compile_kernels
from l1scout.readout.writer import SegmentWriter

def compiled():
    return sum(len(kernel.signatures) for kernel in gc.get_objects() if isinstance(kernel, Dispatcher))

compile_kernels(RUN3)
before = compiled()
writer = SegmentWriter(Spool(Path(sys.argv[1])), 1, 1, RUN3)
for packet in RUN3.split(io.BytesIO(sys.stdin.buffer.read())):
    writer.step(packet)
assert 0 < before == compiled(), f"{compiled() - before} kernels compiled with a board connected"
"""


@fault(
    "first start on a machine",
    "readout",
    "nothing is dropped: kernels are compiled before boards can connect",
)
def first_start(folder: Path) -> None:
    command = [sys.executable, "-c", _FIRST_START, str(folder / "spool")]
    done = subprocess.run(command, input=TRUTH.packets, capture_output=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr.decode()
