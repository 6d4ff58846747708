"""Disks that are full, and files that change."""

import shutil
from pathlib import Path

from chain import OVERFLOW, PACKET_ORBITS, Chain, wait_for
from live.fault_table import SOME, chain_fault


@chain_fault(
    "bit flipped in a segment that waits",
    "spool",
    "nothing is lost: the checksum of its note tells which bit, and it is put right",
    "segment changed in the spool, repaired",
)
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


@chain_fault(
    "spool full",
    "readout",
    "the board drops orbits, and counts them",
    lost={"dropped": SOME},
    settings={"readout.spool_bytes": 500_000, **OVERFLOW},
)
def full_spool(chain: Chain) -> None:
    chain.freeze("store")
    chain.overflow()
    chain.wait("readout", "waited_s", 0.1)
    chain.thaw("store")
    chain.send_through()


@chain_fault(
    "RAM disk of the spool full",
    "readout",
    "the board drops orbits, and counts them",
    lost={"dropped": SOME},
    settings={"readout.spool_bytes": 0, **OVERFLOW},
    mounts={"spool": "1m"},
)
def full_ram_disk(chain: Chain) -> None:
    full_spool(chain)


@chain_fault(
    "disk full",
    "store",
    "nothing is lost; the spool holds until there is room",
    "disk full: readout waits",
    "make room",
    settings={"store.method": "zstd"},
    mounts={"store": "10m"},
)
def full_disk(chain: Chain) -> None:
    """Fill the store's disk but for 1 MB, then tidy up."""
    ballast = chain.folder / "store" / "ballast"
    ballast.write_bytes(bytes(9 << 20))

    def full() -> bool:
        chain.send(200)
        return "disk full" in chain.logs() and chain.status("readout")["spool_segments"] > 0

    wait_for(full)
    before = chain.status("readout")["sent"]
    ballast.unlink()
    chain.wait("readout", "sent", before + 1)


def flip_note(chain: Chain, k: int) -> None:
    """Flip a bit in the note of a segment that waits, counted from the oldest."""
    paths = (chain.folder / "spool").glob("*.raw")
    flip_in(sorted(path.with_name(f"{path.name}.json") for path in paths)[k])


def flip_in(note: Path) -> None:
    """Flip a bit of a file."""
    data = bytearray(note.read_bytes())
    data[len(data) // 2] ^= 1
    note.write_bytes(data)


@chain_fault(
    "bit flipped in the note of a segment that waits",
    "spool",
    "nothing is lost: the note is written again as it was",
    "damaged files kept in",
)
def flip_in_note(chain: Chain) -> None:
    chain.freeze("store")
    chain.send(600)
    chain.wait("readout", "spool_segments", 3)
    flip_note(chain, 1)
    chain.thaw("store")
    chain.wait("readout", "sent", 5)


@chain_fault(
    "bit flipped in the note of the last segment that the store has, and readout killed",
    "spool",
    "what was in the sockets is missed, and counted; what the board had sent before is not",
    "segment recovered ... orbits=",
    "run control starts it again",
    lost={"missed": SOME},
)
def flip_in_last_note_and_kill(chain: Chain) -> None:
    spool = chain.folder / "spool"
    chain.wait("readout", "sent", 2)
    chain.freeze("readout")
    chain.send(10 * PACKET_ORBITS)
    chain.wait_lost_in_sockets()
    chain.kill("readout")
    assert not list(spool.glob("*.raw"))
    flip_in(next(spool.glob("*.json")))
    chain.start("readout")
    chain.send_through()


@chain_fault(
    "spool lost, then a bit flipped in the note of the first segment after that, and readout killed",
    "spool",
    "what was in the lost spool is missed, and counted",
    "damaged files kept in",
    lost={"missed": SOME},
)
def flip_in_first_note(chain: Chain) -> None:
    chain.send(60)
    chain.kill("readout")
    shutil.rmtree(chain.folder / "spool")
    chain.start("readout")
    chain.wait("readout", "seconds", 0)  # it has asked the store
    chain.freeze("store")
    chain.send_through()
    chain.send(200)
    chain.wait("readout", "spool_segments", 1)
    chain.kill("readout")
    flip_note(chain, 0)
    chain.thaw("store")
    chain.start("readout")
    chain.send_through()
