"""Connections that are cut, stall and flip bits; clients that are one too many."""

import subprocess

from chain import COMMAND, PACKET_ORBITS, Chain, wait_for
from live.fault_table import SOME, chain_fault

HEADS = 10_000
"""Bytes of requests that are not segments, at most."""


@chain_fault(
    "connection cut",
    "board to readout",
    "what was in the sockets is missed, and counted",
    lost={"missed": SOME},
)
def cut_board(chain: Chain) -> None:
    for _ in range(2):
        chain.to_readout.hold()
        chain.send(10 * PACKET_ORBITS)
        chain.wait_lost_in_sockets()
        chain.to_readout.cut()
        chain.to_readout.release()
        chain.send_through()


@chain_fault(
    "connection cut",
    "readout to store",
    "nothing is lost; the segment goes on where it was cut",
    "store not reached, trying again",
)
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
        size = min(p.stat().st_size for p in chain.stored.glob("*.raw"))
        assert 100_000 < chain.to_store.passed - before < 100_000 + size + HEADS


@chain_fault("connection stalls", "readout to store", "nothing is lost; the spool holds")
def stall_store(chain: Chain) -> None:
    chain.to_store.hold()
    chain.send(600)
    chain.wait("readout", "spool_segments", 3)
    chain.to_store.release()
    chain.wait("readout", "sent", 5)


@chain_fault(
    "bit flipped",
    "readout to store",
    "nothing is lost; the segment is sent again",
    "segment damaged on the way",
)
def flip_on_wire(chain: Chain) -> None:
    chain.to_store.flip_at = chain.to_store.passed + 50_000
    chain.send(200)
    chain.wait_log("damaged on the way")


@chain_fault(
    "second board",
    "readout",
    "is rejected while the first is connected",
    "another board is connected",
    "give it a readout of its own, with another readout.source",
)
def second_board(chain: Chain) -> None:
    listen = {"readout.listen": f"127.0.0.1:{chain.readout_port}"}
    with (chain.folder / "second-board.log").open("w") as log:
        other = subprocess.Popen([*COMMAND, "source", *chain.over(**listen)], stderr=log)
    try:
        wait_for(lambda: chain.send(PACKET_ORBITS) or "another board is connected" in chain.logs())
    finally:
        other.kill()
        other.wait()
    chain.send(200)
