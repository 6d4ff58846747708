"""The store: its folder, its catalogue, and segments that are not what they should be."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from chain import RUN, Chain
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.readout.segment_note import SegmentNote
from l1scout.readout.spool import Spool
from l1scout.readout.writer import Limits, SegmentWriter
from l1scout.store.account import account
from l1scout.store.transfer import transfer
from live.fault_table import chain_fault, fault
from live.rows.data import TRUTH, sent
from live_packets import stored_spool
from orbit_truth import compare, compare_segments
from processes import run_command
from store_requests import StoreClient, make_store

ORBITS = 400
NAMES = {"store.method": "zstd"}


def catalogue_hurt(chain: Chain, hurt: Callable[[Path], object]) -> None:
    """Kill the store, do something to its folder, and start it again; then go on."""
    chain.wait("store", "compressed", 1)
    chain.kill("store")
    hurt(chain.folder / "store")
    chain.start("store")
    chain.send(400)
    chain.wait("readout", "sent", 4)


@chain_fault(
    "second store on the same folder",
    "store",
    "is refused; the first goes on",
    "another store uses this folder",
    "give it a store.folder of its own",
)
def second_store(chain: Chain) -> str:
    over = chain.over(**{"store.listen": "127.0.0.1:0"})
    code, said = run_command(chain.folder, "store", *over)
    assert code == 2
    return said


@chain_fault(
    "catalogue deleted",
    "store",
    "nothing is lost: it is made again from the notes and files",
    "catalogue is damaged or missing: making it again from the files",
    "by itself at the next start",
    settings=NAMES,
)
def delete_catalogue(chain: Chain) -> None:
    catalogue_hurt(chain, lambda folder: [p.unlink() for p in folder.glob("catalogue.sqlite*")])


def overwrite(path: Path, at: float, flip: int = 0xFF) -> None:
    """Change a byte of a file, at a place from 0 to 1."""
    data = bytearray(path.read_bytes())
    data[int(at * len(data))] ^= flip
    path.write_bytes(data)


@chain_fault(
    "catalogue overwritten",
    "store",
    "nothing is lost: it is made again from the notes and files; the old one is kept",
    "catalogue is damaged or missing: making it again from the files",
    "by itself at the next start",
    settings=NAMES,
)
def damage_catalogue(chain: Chain) -> None:
    def hurt(folder: Path) -> None:
        for path in folder.glob("catalogue.sqlite*"):
            path.write_bytes(b"\x55" * path.stat().st_size)

    catalogue_hurt(chain, hurt)


@chain_fault(
    "catalogue without its write-ahead log",
    "store",
    "nothing is lost: what it does not know is entered from the notes",
    "segments lay there that the catalogue did not know",
    "by itself at the next start",
    settings=NAMES,
)
def lose_log(chain: Chain) -> None:
    catalogue_hurt(chain, lambda folder: (folder / "catalogue.sqlite-wal").unlink())


@chain_fault(
    "catalogue deleted, while no store is to be started",
    "store",
    "nothing is lost: it is made again from the notes and files",
    "the catalogue was made again from the files: 2 segments",
    "`l1scout store --rebuild`",
)
def rebuild(chain: Chain) -> str:
    said = []

    def hurt(folder: Path) -> None:
        for path in folder.glob("catalogue.sqlite*"):
            path.unlink()
        code, text = run_command(chain.folder, "store", "--rebuild", *chain.over())
        assert code == 0, text
        said.append(text)

    chain.kill("store")
    hurt(chain.folder / "store")
    chain.start("store")
    return said[0]


@chain_fault(
    "note of a stored segment lost, and the catalogue with it",
    "store",
    "its orbits are in the catalogue again; what it said of losses is worked out",
    "have no note",
    "`l1scout store --rebuild`",
)
def lose_note(chain: Chain) -> str:
    chain.kill("store")
    folder = chain.folder / "store"
    for path in (*folder.glob("catalogue.sqlite*"), min(folder.glob("run*/*.json"))):
        path.unlink()
    chain.start("store")
    return ""


@chain_fault(
    "fault in the compressor's thread",
    "compression",
    "nothing is lost: it goes on, and says so",
    "compressor failed, trying again",
    settings=NAMES,
)
def compressor_fails(chain: Chain) -> None:
    chain.kill("store")
    chain.start("store", compressor_fails=1)
    chain.send(400)
    chain.wait("store", "compressed", 2)


@chain_fault(
    "started on a full disk",
    "store",
    "nothing is lost: it begins when there is space",
    "disk full: waits for space",
    "make space",
    mounts={"store": "24m"},
)
def start_on_full_disk(chain: Chain) -> None:
    assert chain.stop("store") == 0
    ballast = chain.folder / "store" / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 16))
        except OSError:
            pass
    chain.start("store")
    chain.send(400)
    chain.wait("readout", "spool_segments", 2)
    chain.wait_log("disk full")
    ballast.unlink()
    chain.wait("readout", "sent", 4)


def spooled(folder: Path) -> Spool:
    """Return the spool of a run that has ended, with segments of 200 orbits."""
    spool = Spool(folder / "spool")
    writer = SegmentWriter(spool, RUN, 1, RUN3, Limits(orbits=200))
    for packet in sent(0, ORBITS):
        writer.step((memoryview(bytearray(packet)), 0))
    writer.finish()
    return spool


@fault(
    "bit flipped in a stored file",
    "store",
    "is found when it is read; its orbits do not count as stored",
    "has changed since it was stored",
    "take it from a copy (`l1scout transfer`)",
)
def flip_stored(folder: Path) -> str:
    store = stored_spool(spooled(folder), folder / "store")
    overwrite(min(store.glob("run*/*.raw")), 0.3, 1)
    code, said = run_command(folder, "account", RUN, "--verify", f"--set=store.folder={store}")
    assert code == 1
    assert sum(s.out for s in account(RUN, store, verify=True) if s.name.startswith("store")) == 200
    return said


@fault(
    "copy of a segment deleted at the target",
    "transfer",
    "is copied again, and not called there",
)
def deleted_copy(folder: Path) -> None:
    store, target = stored_spool(spooled(folder), folder / "store"), folder / "target"
    assert [transfer(store, str(target), uncompressed=True).copied for _ in range(2)] == [2, 0]
    min(target.rglob("*.raw")).unlink()
    assert transfer(store, str(target), uncompressed=True).copied == 1


def refused_by_store(
    folder: Path, hurt: Callable[[SegmentNote, bytes], tuple[SegmentNote, bytes]], status: int
) -> str:
    """Offer the first segment of a run changed, and then right; return what the store answers at first."""
    spool, store = spooled(folder), make_store(folder / "store", method="none")
    with closing(store), closing(StoreClient(store.server.address)) as client:
        every = [(spool.note(s), spool.path(s).read_bytes()) for s in spool.waiting()]
        answer = client.put(*hurt(*every[0]))
        assert answer.status == status, answer
        assert [client.put(note, data).status for note, data in every] == [201, 201]
    found = compare(TRUTH, folder / "store", RUN, ORBITS)
    assert not found.wrong, found.wrong
    return answer.error


@fault(
    "segment that is not what its note says",
    "readout to store",
    "is refused before it is stored",
    "the bytes are not what the note says ... the file has orbits",
    "by itself: it is sent again, and put aside in the end",
)
def contradiction(folder: Path) -> str:
    def hurt(note: SegmentNote, data: bytes) -> tuple[SegmentNote, bytes]:
        segment = replace(note.segment, first_orbit=1)
        return note.model_copy(update={"segment": segment}), data

    return refused_by_store(folder, hurt, 422)


@fault(
    "bit flipped on the way, so that the checksum is wrong",
    "readout to store",
    "is refused before it is stored",
    "the bytes do not have the note's checksum; send it again",
)
def wrong_checksum(folder: Path) -> str:
    def hurt(note: SegmentNote, data: bytes) -> tuple[SegmentNote, bytes]:
        return note, data[:999] + bytes([data[999] ^ 1]) + data[1000:]

    return refused_by_store(folder, hurt, 422)


@fault(
    "segment larger than allowed",
    "readout to store",
    "is refused before a byte of it is read",
    "the limit is ... (store.max_segment_bytes)",
    "raise store.max_segment_bytes; `--refused-as-source`",
)
def too_large(folder: Path) -> str:
    spool = spooled(folder)
    note = spool.note(next(spool.waiting()))
    with closing(make_store(folder / "store", method="none", max_segment_bytes=4096)) as store:
        client = StoreClient(store.server.address)
        answer = client.put(note, spool.path(note.segment).read_bytes())
        client.close()
    assert answer.status == 413, answer
    assert not list((folder / "store").glob("run*/*.raw"))
    return answer.error


@fault(
    "segment index of 2^32 - 1",
    "account",
    "costs no memory: gaps are spans",
    "segments neither stored nor waiting: index 1 to 4294967294",
)
def large_index(folder: Path) -> str:
    spool = spooled(folder)
    note = [spool.note(s) for s in spool.waiting()][-1]
    path = spool.path(note.segment)
    odd = replace(note.segment, index=(1 << 32) - 1)
    path.rename(spool.path(odd))
    path.with_name(path.name + ".json").unlink()
    path = spool.path(odd)
    path.with_name(path.name + ".json").write_bytes(note.model_copy(update={"segment": odd}).encode())
    store = stored_spool(spool, folder / "store")
    return "\n".join(w for s in account(RUN, store) for w in s.wrong)


@fault(
    "note of a segment cut short",
    "spool",
    "nothing is lost: it is made again from the segment and its neighbours",
)
def cut_note(folder: Path) -> None:
    spool = spooled(folder)
    path = min(spool.folder.glob("*.json"))
    path.write_bytes(path.read_bytes()[:100])
    spool.close()
    again(folder)


@fault(
    "bit flipped in the header of a segment's file",
    "spool",
    "nothing is lost: the header is made again",
)
def flip_header(folder: Path) -> None:
    spool = spooled(folder)
    path = min(spool.folder.glob("*.raw"))
    data = bytearray(path.read_bytes())
    data[3] ^= 4
    path.write_bytes(data)
    spool.repair(next(spool.waiting()))
    spool.close()
    again(folder)


def again(folder: Path) -> None:
    """Open the spool again, and compare every orbit."""
    spool = Spool(folder / "spool")
    segments = ((s, spool.path(s).read_bytes()) for s in spool.waiting())
    found = compare_segments(TRUTH, segments, [range(ORBITS)])
    assert not found.wrong, found.wrong
