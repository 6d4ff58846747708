"""The front end on one core: words of eight links to packets, the scan alone, fine zero suppression.

    python benchmarks/front_end.py [orbits]

Rounds are interleaved, so that all see the same machine; the least processor time of each counts. "Read" is
an OR over memory, compiled: what one core can read at most, and so the limit of everything here. Peers: the
same steps in plain numpy, which write the same bytes. The front end has all checks on: commas, padding,
length and CRC of every link and orbit. GB/s are of payload, 192 bytes a crossing; fibres carry 4 % more, and
a list of K flags, which the front end reads too. Peak memory is that of packing once and ten times as many
orbits, in processes of their own.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from l1scout.board.board import Board
from l1scout.board.suppress import INTERMEDIATE_LINKS
from l1scout.cli.script import Parser, positive, run_script
from l1scout.formats.block import BLOCK_BYTES, occupied
from l1scout.formats.block_format import BlockFormat
from l1scout.formats.fine_suppression import record_room, suppress
from l1scout.formats.streams.muon import PT_BITS
from l1scout.formats.wire_formats.run2 import RUN2
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.jit import kernel
from l1scout.lhc import BX_FREQUENCY_HZ, BX_PER_ORBIT
from l1scout.link.align import windows
from l1scout.link.capture import Capture
from l1scout.link.frames import (
    COMMA,
    COMMA_K,
    LATENCY_WORDS,
    LINE_WORDS,
    MAX_SKEW_WORDS,
    PADDING,
    PADDING_K,
    PAYLOAD_WORDS,
    crc32,
)
from l1scout.link.transmit import Transmitter, payload, random_timing, transmit
from l1scout.simulate.run import simulate_run

ROUNDS = 9
PIECE = 50
"""Orbits of a piece of the capture."""
TARGETS = {"words to Run-3 packets": 0.50, "scan": 0.60, "fine, Run 3": 0.45}
"""Fractions of "read"."""


class Nothing:
    """Takes packets, and keeps their number of bytes."""

    def __init__(self) -> None:
        self.bytes = 0

    def ready(self) -> bool:
        """Be ready."""
        return True

    def step(self, packet: memoryview) -> None:
        """Take a packet."""
        self.bytes += len(packet)


class Kept(Nothing):
    """Keeps packets."""

    def __init__(self) -> None:
        super().__init__()
        self.packets: list[bytes] = []

    def step(self, packet: memoryview) -> None:
        """Keep a packet."""
        self.packets.append(bytes(packet))


@kernel
def read(words: np.ndarray) -> np.uint64:
    """Read memory once."""
    some = np.uint64(0)
    for i in range(words.size):
        some |= words[i]
    return some


def numpy_scan(blocks: np.ndarray) -> np.ndarray:
    """Find blocks with a muon, a whole array at a time."""
    return ((blocks[:, 2] | blocks[:, 4]) & PT_BITS).any(axis=1)


def numpy_suppress(blocks: np.ndarray, form: BlockFormat) -> np.ndarray:
    """Make records, a whole array at a time."""
    bx, orbit = blocks[:, form.bx_row] & form.bx_mask, blocks[:, form.orbit_row] & 0x7FFFFFFF
    hit = blocks[:, 2:6:2] & PT_BITS != 0
    n1, n2 = hit[:, 0].sum(axis=1), hit[:, 1].sum(axis=1)
    size = form.record_words
    start = np.cumsum(3 + size * (n1 + n2)) - (3 + size * (n1 + n2))
    out = np.empty(int(start[-1]) + 3 + size * int(n1[-1] + n2[-1]), np.uint32)
    bx_match = np.packbits(bx == bx[:, :1], axis=1, bitorder="little")[:, 0].astype(np.uint32)
    orbit_match = np.packbits(blocks[:, form.orbit_row] == orbit[:, :1], axis=1, bitorder="little")[
        :, 0
    ].astype(np.uint32)
    out[start] = bx_match << 24 | n1.astype(np.uint32) << 16 | orbit_match << 8 | n2.astype(np.uint32)
    out[start + 1], out[start + 2] = bx[:, 0], orbit[:, 0]
    block, slot, link = np.nonzero(hit)
    first = np.searchsorted(block, np.arange(len(blocks)))
    at = start[block] + 3 + size * (np.arange(block.size) - first[block])
    out[at], out[at + 1] = blocks[block, 2 + 2 * slot, link], blocks[block, 3 + 2 * slot, link]
    if size == 3:
        out[at + 2] = blocks[block, form.bx_row, link] & ~np.uint32(form.bx_mask) | slot.astype(np.uint32)
    return out


def numpy_link(words: np.ndarray, mask: np.ndarray, tick: int) -> np.ndarray | None:
    """Read an orbit of a link, a whole array at a time; None if it is not good."""
    nominal = tick + LATENCY_WORDS
    near = slice(max(nominal - MAX_SKEW_WORDS - 1, 0), nominal + MAX_SKEW_WORDS)
    commas = np.flatnonzero((mask[near] == COMMA_K) & (words[near] == COMMA))
    if not commas.size:
        return None
    begin = near.start + int(commas[-1]) + 1
    flags, line = mask[begin : begin + LINE_WORDS], words[begin : begin + LINE_WORDS]
    end = int(np.argmax((flags != 0) & (flags != PADDING_K)))
    kept = flags[:end] == 0
    good = flags[end] == COMMA_K and line[end] == COMMA and np.all(line[:end][~kept] == PADDING)
    data = line[:end][kept]
    good = good and data.size == PAYLOAD_WORDS + 1 and crc32(data[:-1]) == data[-1]
    return data[:-1] if good else None


def numpy_front_end(captures: Iterable[Capture]) -> np.ndarray:
    """Make the blocks of all orbits that are good on every link, a whole array at a time."""
    out = []
    bits = RUN3.constant_bits(np.array(INTERMEDIATE_LINKS))
    for capture, orbits in windows(captures):
        links = [capture.link(n) for n in range(8)]
        for n in orbits:
            read = [numpy_link(*link, int(capture.ticks[k, n])) for k, link in enumerate(links)]
            if any(r is None for r in read):
                continue
            dense = np.stack([r for r in read if r is not None]).reshape(8, BX_PER_ORBIT, 6)
            muons = dense[:, :, 2:].reshape(8, BX_PER_ORBIT, 2, 2)
            muons = np.where(muons[..., :1] & PT_BITS, muons, 0)
            bx = np.flatnonzero(muons[..., 0].any(axis=(0, 2)))
            blocks = np.empty((bx.size, 6, 8), np.uint32)
            blocks[:, 0] = capture.first_orbit + n
            blocks[:, 1] = (bx[:, None] + 1) | bits | (dense[:, bx, 1].T & RUN3.from_link)
            blocks[:, 2:] = muons[:, bx].reshape(8, bx.size, 4).transpose(1, 2, 0)
            out.append(blocks)
    return np.concatenate(out)


def peak_memory(repeats: int) -> int:
    """Return the peak memory of a process that packs the same orbits `repeats` times."""
    code = (
        "import sys; from sys import argv; sys.path.insert(0, argv[1])\n"
        "from front_end import Board, Nothing, simulated\n"
        "captures = simulated(20, 20)\n"
        "board = Board(Nothing(), ends=False)\n"
        "for _ in range(int(argv[2])): board.run(captures)\n"
        "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent), str(repeats)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) << 10


def simulated(orbits: int, piece: int = PIECE) -> list[Capture]:
    """Simulate captures of links with skew and padding."""
    timing = random_timing(np.random.default_rng(1))
    return list(transmit(simulate_run(1, orbits, chunk=piece), Transmitter(RUN3, timing)))


def main() -> int:
    """Print the table; exit status 1 if a target is missed."""
    parser = Parser(__doc__)
    parser.add_argument("orbits", nargs="?", type=positive, default=200, help="orbits to simulate")
    orbits = parser.parse_args().orbits
    captures = simulated(orbits)
    dense = np.concatenate(
        [payload(p.muons, p.first, p.stop, RUN3) for p in simulate_run(1, orbits, chunk=PIECE)]
    )
    blocks3 = np.ascontiguousarray(
        dense.reshape(orbits, 8, BX_PER_ORBIT, 6).transpose(0, 2, 3, 1).reshape(-1, 6, 8)
    )
    blocks3[:, 0], blocks3[:, 1] = 7, np.tile(np.arange(1, BX_PER_ORBIT + 1), orbits)[:, None]
    busy = blocks3[occupied(blocks3)]
    busy = np.concatenate([busy] * max(len(blocks3) // len(busy), 1))
    swapped = np.ascontiguousarray(busy[:, [1, 0, 2, 3, 4, 5]])
    out = np.empty(record_room(len(busy)), np.uint32)
    copy = np.empty_like(busy)
    lines = np.concatenate([c.words for c in captures])
    lines = lines[: lines.size & ~1].view(np.uint64)
    sink = Nothing()

    def front_end() -> int:
        return Board(sink).run(captures).orbits

    crossings = orbits * BX_PER_ORBIT
    works: dict[str, tuple[Callable[[], object], int]] = {
        "read": (lambda: read(lines), lines.nbytes // BLOCK_BYTES),
        "memcpy": (lambda: np.copyto(copy, busy), len(busy)),
        "words to Run-3 packets": (front_end, crossings),
        "words, plain numpy": (lambda: numpy_front_end(captures), crossings),
        "scan": (lambda: occupied(blocks3), crossings),
        "scan, plain numpy": (lambda: numpy_scan(blocks3), crossings),
        "fine, Run 2": (lambda: suppress(swapped, RUN2, out), len(busy)),
        "fine, Run 3": (lambda: suppress(busy, RUN3, out), len(busy)),
        "fine, Run 3, plain numpy": (lambda: numpy_suppress(busy, RUN3), len(busy)),
    }
    best = dict.fromkeys(works, float("inf"))
    for _ in range(ROUNDS):
        for name, (work, _) in works.items():
            start = time.process_time()
            work()
            best[name] = min(best[name], time.process_time() - start)
    same = (
        np.array_equal(suppress(busy, RUN3)[0], numpy_suppress(busy, RUN3))
        and np.array_equal(suppress(swapped, RUN2)[0], numpy_suppress(swapped, RUN2))
        and np.array_equal(occupied(blocks3), numpy_scan(blocks3))
    )
    kept = Kept()
    Board(kept).run(captures)
    packed = [RUN3.blocks(RUN3.find_orbits(memoryview(packet))) for packet in kept.packets]
    if not same or not np.array_equal(np.concatenate(packed), numpy_front_end(captures)):
        print("kernels and plain numpy differ")
        return 1
    limit = works["read"][1] / best["read"]
    print(f"{orbits} orbits, {len(busy) / 1e6:.2f} M busy blocks, one core, best of {ROUNDS}")
    print(f"{'':26}{'M BX/s':>9}{'GB/s':>8}{'of read':>9}{'x LHC':>8}")
    rate = {name: size / best[name] for name, (_, size) in works.items()}
    for name, r in rate.items():
        text = f"{name:26}{r / 1e6:9.1f}{r * BLOCK_BYTES / 1e9:8.2f}{r / limit:9.2f}"
        print(text + (f"{r / BX_FREQUENCY_HZ:8.2f}" if "fine" not in name else ""))
    missed = 0
    for name, target in TARGETS.items():
        got = rate[name] / limit
        missed += got < target
        print(f"{name}: {got:.2f} of read, {1 / got:.2f} times the least time; ", end="")
        print(f"{'reaches' if got >= target else 'is BELOW'} {target:.2f}")
    few, many = peak_memory(3), peak_memory(30)
    print(f"peak memory: {few / 1e6:.0f} MB for 60 orbits, {many / 1e6:.0f} MB for 600")
    return int(missed > 0)


if __name__ == "__main__":
    run_script(main)
