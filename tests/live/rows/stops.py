"""The end of a run while something is away, and what was lost or refused before a new start."""

import shutil
import signal
from pathlib import Path

from chain import OVERFLOW, RUN, SEGMENT_ORBITS, Chain, wait_for
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.readout.spool import Spool
from l1scout.readout.writer import Limits, SegmentWriter
from live.fault_table import SOME, all_accounted, chain_fault, fault, make_chain
from live.rows.data import TRUTH as TRUTH_OF_SENT
from live.rows.data import sent
from orbit_truth import compare_segments, stored_segments
from processes import run_command

SMALL = {"readout.spool_bytes": 500_000, **OVERFLOW}


def stop_twice(chain: Chain, name: str) -> None:
    """Ask a process to end, and again, until it does so at once; it says that something is left."""

    def ended() -> bool:
        chain.signal(name, signal.SIGTERM)
        return chain.processes[name].poll() is not None

    wait_for(ended, lambda: f"{name} does not end")
    assert chain.processes[name].wait() == 2


def stop_with_full_spool(folder: Path, *, now: bool, **settings: object) -> str:
    """Stop board and readout while the store stands still and the spool is full; then drain the spool."""
    chain = make_chain(folder, **SMALL, **settings)
    try:
        chain.begin()
        chain.freeze("store")
        chain.overflow()
        chain.wait("readout", "waited_s", 0.1)
        stop_twice(chain, "source")
        if now:
            stop_twice(chain, "readout")
        else:
            assert chain.stop("readout") == 2
        chain.thaw("store")
        code, said = run_command(folder, "readout", "--drain", *chain.over(**chain.addresses))
        assert code == 0, said
        assert chain.stop("store") == 0
        lost = dict.fromkeys(("dropped", "missed", "unsent", "unread"), SOME)
        all_accounted(chain, lost, ("missed", "unread"))
        return chain.logs() + said
    finally:
        chain.close()


@fault(
    "stop while the store takes nothing and the spool is full",
    "all",
    "all end within readout.drain_seconds; what is spooled stays, the rest is missed or unsent, and counted",
    "segments wait in ... `l1scout readout --drain` sends them later",
    "`l1scout readout --drain`",
)
def stop_full(folder: Path) -> str:
    return stop_with_full_spool(folder, now=False, **{"readout.drain_seconds": 1})


@fault(
    "stop --now while the store takes nothing and the spool is full",
    "all",
    "all end at once; what is spooled stays, the rest is missed or unsent, and counted",
    "segments wait in ... `l1scout readout --drain` sends them later",
    "`l1scout readout --drain`",
)
def stop_full_now(folder: Path) -> str:
    """Signal twice, as run control does for ``stop --now``: the deadline would not end it in this test."""
    return stop_with_full_spool(folder, now=True)


@fault(
    "board stopped while readout is away",
    "board",
    "what is in its buffer is unsent, and counted; its exit status tells",
    "board could not send everything ... unsent_orbits=200",
    "start readout before the board is stopped",
)
def stop_board_alone(folder: Path) -> str:
    chain = make_chain(folder)
    try:
        chain.begin()
        assert chain.stop("source") == 0
        before = range(chain.passed)
        chain.kill("readout")
        chain.start("source")
        chain.send(200)
        stop_twice(chain, "source")
        chain.start("readout")
        assert chain.stop("readout") == 0
        assert chain.stop("store") == 0
        all_accounted(chain, {"unsent": 200}, passed=[before, range(chain.passed - 200, chain.passed)])
        return chain.logs()
    finally:
        chain.close()


@chain_fault(
    "spool lost, as when the machine is started again",
    "readout",
    "goes on where the store is; what was in the spool is missed, and counted",
    "goes on where the store is",
    lost={"missed": SOME},
)
def lose_spool(chain: Chain) -> None:
    chain.freeze("store")
    chain.send(400)
    chain.wait("readout", "spool_segments", 2)
    chain.kill("readout")
    shutil.rmtree(chain.folder / "spool")
    chain.thaw("store")
    chain.start("readout")
    chain.send_through()


def spooled(folder: Path, first: int, orbits: int) -> None:
    """Leave a spool of a run that has ended."""
    spool = Spool(folder)
    writer = SegmentWriter(spool, RUN, 1, RUN3, Limits(orbits=SEGMENT_ORBITS))
    for packet in sent(first, orbits):
        writer.step((memoryview(bytearray(packet)), 0))
    writer.finish()
    spool.close()


@fault(
    "segments that the store refuses, as of two readouts of one source",
    "readout to store",
    "they are put aside and counted, and hold up no others; another source id brings them into the store",
    "segment refused by the store ... do not offer this one again",
    "`l1scout readout --refused-as-source N`",
)
def refused(folder: Path) -> str:
    chain = make_chain(folder)
    try:
        chain.start("store")
        for name, first in (("spool", 0), ("spool2", 400)):
            spooled(folder / name, first, 400)
            over = chain.over(**chain.addresses, **{"readout.spool": folder / name})
            _, said = run_command(folder, "readout", "--drain", *over)
        (wire,) = [s for s in chain.account_of(folder / "spool2") if s.name == "wire"]
        assert wire.counted["refused"] == 400
        code, again = run_command(folder, "readout", "--refused-as-source=2", *over)
        assert code == 0, again
        assert chain.stop("store") == 0
        for source, first in ((1, 0), (2, 400)):
            segments = ((s, d) for s, d in stored_segments(folder / "store", RUN) if s.source == source)
            found = compare_segments(TRUTH_OF_SENT, segments, [range(first, first + 400)])
            assert not found.wrong, found.wrong
        return said
    finally:
        chain.close()
