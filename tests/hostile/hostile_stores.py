"""Bits flipped at random in the files of a store: what it then says of itself must be true, or be an alarm.

By hand: ``python tests/hostile/hostile_stores.py 1000 3`` flips 1000 times three bits.
"""

import shutil
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import numpy as np

from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.readout.segments import Segment
from l1scout.readout.spool import Spool
from l1scout.readout.writer import Limits, SegmentWriter
from l1scout.store.account import account
from l1scout.store.catalogue import Catalogue
from l1scout.store.compress import content
from l1scout.store.on_disk import WORKED_OUT
from l1scout.store.rebuild import open_catalogue
from live_packets import compressed_store, feed, packets, stored_spool

RUN = 7
KINDS = {
    "catalogue": ("catalogue.sqlite",),
    "write-ahead log": ("catalogue.sqlite-wal",),
    "note": ("run*/*.json",),
    "data": ("run*/*.raw", "run*/*.zst"),
    "journal": ("run*/journal.jsonl",),
    "any": ("catalogue.sqlite*", "run*/*"),
}


class Truth:
    """A store as it should be, half of it compressed, with its write-ahead log not yet in the main file."""

    def __init__(self, folder: Path) -> None:
        spool = Spool(folder / "spool")
        writer = SegmentWriter(spool, RUN, 1, RUN3, Limits(orbits=4))
        feed(writer, b"".join(packets(per=2)))
        writer.finish()
        self.segments: dict[str, Segment] = {s.name: s for s in spool.waiting()}
        self.data = {s.name: spool.path(s).read_bytes() for s in spool.waiting()}
        plain = stored_spool(spool, folder / "plain")
        packed = compressed_store(spool, folder / "packed")
        catalogue = Catalogue(plain)
        for k, stored in enumerate(sorted(Catalogue(packed).segments(), key=lambda s: s.segment.index)):
            if k % 2:
                shutil.copy(packed / stored.file, plain / stored.file)
                (plain / stored.segment.folder / stored.segment.name).unlink()
                catalogue.compressed(
                    stored.segment, stored.file, "zstd", stored.stored_size, stored.stored_crc32c
                )
        self.folder = folder / "store"
        shutil.copytree(plain, self.folder)  # with the log, as a kill would leave it
        assert (self.folder / "catalogue.sqlite-wal").stat().st_size > 0
        catalogue.close()


def flip(folder: Path, kind: str, bits: int, random: np.random.Generator) -> None:
    """Flip bits anywhere in the files of a kind."""
    paths = sorted({p for pattern in KINDS[kind] for p in folder.glob(pattern) if p.stat().st_size})
    sizes = np.cumsum([p.stat().st_size for p in paths])
    for at in random.integers(0, sizes[-1], bits).tolist():
        k = int(np.searchsorted(sizes, at, "right"))
        data = bytearray(paths[k].read_bytes())
        data[at - int(sizes[k - 1] if k else 0)] ^= 1 << int(random.integers(8))
        paths[k].write_bytes(data)


def check(truth: Truth, scratch: Path, kind: str, bits: int, random: np.random.Generator) -> str:
    """Flip bits, start the store and account for the run.

    Returns
    -------
    str
        ``right`` if all is as it was, ``counted`` if the account says what is wrong.
    """
    folder = scratch / "store"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(truth.folder, folder)
    flip(folder, kind, bits, random)
    catalogue, alarms = open_catalogue(folder, lambda *_, **__: None)
    rows = catalogue.segments(RUN)
    catalogue.close()
    wrong = [w for s in account(RUN, folder, verify=True) for w in s.wrong]
    good = sent = 0
    for stored in sorted(rows, key=lambda s: s.segment.index):
        data = None
        with suppress(OSError, ValueError):
            data = content(folder, stored)
        name, fault = stored.segment.name, stored.fault
        real = truth.segments[name]
        sent = sent + stored.segment.sent - real.sent if fault else 0
        if data is not None and fault in ("", WORKED_OUT):  # what is said to be right is right
            # what those just before it lack, their notes lost too, is worked out with it
            assert stored.segment == real or (fault and (stored.segment.sent == real.sent or not sent)), name
            assert data == truth.data[name], name
            good += 1
    if good == len(truth.segments):
        assert not wrong, wrong
        return "right"
    assert wrong, alarms
    missing = sum(s.orbits for s in truth.segments.values()) - sum(
        r.segment.orbits for r in rows if not r.fault
    )
    assert missing >= 0
    return "counted"


if __name__ == "__main__":
    begun, seen = time.perf_counter(), Counter[tuple[str, str]]()
    with tempfile.TemporaryDirectory() as top:
        known = Truth(Path(top))
        for case in range(int(sys.argv[1])):
            which = list(KINDS)[case % len(KINDS)]
            seen[
                which,
                check(known, Path(top) / "scratch", which, int(sys.argv[2]), np.random.default_rng(case)),
            ] += 1
    for (which, outcome), n in sorted(seen.items()):
        print(f"{which}: {n} {outcome}")
    print(f"{sys.argv[1]} cases in {time.perf_counter() - begun:.0f} s")
