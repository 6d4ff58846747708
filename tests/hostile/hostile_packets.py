"""Hostile packets and records: cases by number, for the test and by hand.

By hand: ``python tests/hostile/hostile_packets.py 10000000``.
"""

import io
import sys
import time

import numpy as np

from front_end import BOARD_FORMATS, decode_muons
from l1scout.formats.block_format import BlockFormat
from l1scout.formats.fine_suppression import suppress
from l1scout.formats.packets import Trailer
from l1scout.formats.streams.muon import read_records
from l1scout.formats.wire_formats.run2 import RUN2
from l1scout.formats.wire_formats.run3 import RUN3

SIZES = (0, 1, 31, 32, 33, 191, 192, 193, 543, 544, 0x7FFFFFFF, 0xFFFFFFFF)
MARKS = (0xDEADBEEF, 0xBEEFDEAD, 0x6C316F72, 0xFFFFFFFF, 0)


def seeds(form: BlockFormat) -> tuple[bytes, bytes]:
    """Two small packets of three orbits, and their records."""
    random = np.random.default_rng(1)
    data, every = b"", []
    for packet in range(2):
        for orbit in range(3):
            bx = np.sort(random.choice(3564, 2, replace=False)) + 1
            blocks = np.zeros((2, 6, 8), "<u4")
            blocks[:, form.bx_row], blocks[:, form.orbit_row] = bx[:, None], 3 * packet + orbit
            blocks[:, 2:] = random.integers(0, 1 << 32, (2, 4, 8)) * (random.random((2, 4, 8)) < 0.3)
            every.append(blocks)
            if form is RUN3:
                bits = np.zeros(3584, np.uint8)
                bits[bx - 1] = 1
                end = np.full(8, 0xBEEFDEAD, "<u4").tobytes() + np.packbits(bits, bitorder="little").tobytes()
                data += bytes(32) + blocks.tobytes() + end + bytes(64)
            else:
                data += blocks.tobytes()
        data += Trailer(0, 0, 3 * packet + 3).encode()
    return data, suppress(np.concatenate(every), form)[0].tobytes()


def mutate(data: bytes, random: np.random.Generator) -> bytes:
    """One to four changes: a bit, a byte, a word that matters, a cut, a doubled or a moved stretch."""
    bad = bytearray(data)
    for kind in random.integers(0, 7, int(random.integers(1, 5))).tolist():
        if not bad:
            break
        at = int(random.integers(len(bad)))
        if kind == 0:
            bad[at] ^= 1 << int(random.integers(8))
        elif kind == 1:
            bad[at] = int(random.integers(256))
        elif kind == 2:
            word = (SIZES + MARKS)[int(random.integers(len(SIZES + MARKS)))]
            bad[at & ~3 : (at & ~3) + 4] = word.to_bytes(4, "little")
        elif kind == 3:
            del bad[at:]
        elif kind == 4:
            del bad[at : at + int(random.integers(1, 200))]
        elif kind == 5:
            bad[at:at] = bad[at : at + int(random.integers(1, 600))]
        else:
            row = at & ~31
            bad[row : row + 32] = MARKS[int(random.integers(2))].to_bytes(4, "little") * 8
    return bytes(bad)


def check(data: bytes, records: bytes, form: BlockFormat, *, whole: bool) -> None:
    """Read; nothing may be raised, and nothing be made of more bytes than there are."""
    if whole:
        decoded, found = decode_muons(io.BytesIO(data), form)
        assert decoded.objects.n_objects <= len(data) // 192 * 16
        from_records = read_records(records, form)
        assert from_records.objects.n_objects <= len(records) // 8
        assert from_records.corrupt_bytes <= len(records)
        blocks, bad = found.blocks, found.corrupt_bytes
    else:
        blocks = bad = 0
        for packet, skipped in form.split(io.BytesIO(data)):
            bad += skipped
            if packet:
                found = form.find_orbits(packet).found
                blocks, bad = blocks + found.blocks, bad + found.corrupt_bytes
    assert blocks * 192 <= len(data)
    assert bad <= len(data) + 192 * blocks


def run(cases: int, seed: int, every: int) -> None:
    """Run a number of cases; one in `every` is decoded to muons, the others are only taken apart."""
    random = np.random.default_rng(seed)
    start = {form.name: seeds(form) for form in BOARD_FORMATS.values()}
    for case in range(cases):
        form = (RUN2, RUN3)[case & 1]
        data, records = start[form.name]
        whole = case % every < 2
        check(mutate(data, random), mutate(records, random) if whole else b"", form, whole=whole)


if __name__ == "__main__":
    begun = time.perf_counter()
    run(int(sys.argv[1]), 2026, 20)
    print(f"{int(sys.argv[1]):,} cases without a crash in {time.perf_counter() - begun:.0f} s")
