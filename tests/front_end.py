"""What the tests of links, board and packets share."""

import io

import numpy as np

from l1scout.board.board import Board
from l1scout.core.orbit_batch import OrbitBatch, concatenate
from l1scout.core.orbit_data import MUON
from l1scout.core.provenance import joint_origin
from l1scout.formats.block import BLOCK_WORDS
from l1scout.formats.block_format import BlockFormat, board_formats
from l1scout.formats.decoded import Decoded
from l1scout.formats.fine_suppression import suppress
from l1scout.formats.packets import Found
from l1scout.formats.raw import FILE_HEADER, file_header
from l1scout.formats.records import LINKS
from l1scout.formats.wire_format import WireFormat, decode_packets
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.link.capture import Capture
from l1scout.link.transmit import LinkTiming, Transmitter, random_timing, transmit
from l1scout.simulate.run import simulate_run

BOARD_FORMATS = board_formats()


class Keep:
    """A sink in memory, which can be told to be slow."""

    def __init__(self, busy: tuple[int, ...] = ()) -> None:
        self.bytes = io.BytesIO()
        self.asked = 0
        self.busy = busy

    def ready(self) -> bool:
        self.asked += 1
        return self.asked not in self.busy

    def step(self, packet: memoryview) -> None:
        self.bytes.write(packet)


def make_run(
    form: BlockFormat = RUN3, orbits: int = 8, chunk: int = 3, seed: int = 1, **rest
) -> tuple[OrbitBatch, list[Capture], tuple[LinkTiming, ...]]:
    """Truth, link capture and timing of a run that begins with orbit 1000."""
    pieces = list(simulate_run(seed, orbits, form=form, first=1000, chunk=chunk, **rest))
    timing = random_timing(np.random.default_rng(seed))
    captures = list(transmit(pieces, Transmitter(form, timing)))
    return concatenate([p.muons for p in pieces]), captures, timing


def splice(first_orbit, parts, ticks):
    """Put stretches of captures one after the other: what `join` does, by numpy, for any number of them.

    Parameters
    ----------
    first_orbit : int
    parts : sequence of (Capture, ndarray, ndarray)
        With the first and the last-but-one position in each link, shape (8,).
    ticks : ndarray of int64, shape (8, orbits + 1)
        Orbit signals in the result.
    """
    words, k_at, k_mask = [], [], []
    sizes, k_sizes = np.zeros(LINKS, np.int64), np.zeros(LINKS, np.int64)
    for n in range(LINKS):
        for c, low, high in parts:
            own = slice(c.k_starts[n], c.k_starts[n + 1])
            a, b = np.searchsorted(c.k_at[own], (low[n], high[n])) + own.start
            words.append(c.words[c.starts[n] + low[n] : c.starts[n] + high[n]])
            k_at.append((c.k_at[a:b] + (sizes[n] - low[n])).astype(np.uint32))
            k_mask.append(c.k_mask[a:b])
            sizes[n] += high[n] - low[n]
            k_sizes[n] += b - a
    return Capture(
        first_orbit,
        np.concatenate(words),
        np.r_[0, np.cumsum(sizes)],
        np.concatenate(k_at),
        np.concatenate(k_mask),
        np.r_[0, np.cumsum(k_sizes)],
        ticks,
        joint_origin(c.simulated for c, _, _ in parts),
    )


def decode_muons(stream, form: WireFormat) -> tuple[Decoded, Found]:
    """Decode all packets of a stream: its muons, and what it was found to hold."""
    decoded, found = decode_packets(stream, form)
    return decoded[MUON], found


def through_board(captures, form: BlockFormat = RUN3, sink: Keep | None = None, **rest):
    """Send captures through a board: decoded muons, what the packets were found to hold, counters."""
    sink = sink or Keep()
    counters = Board(sink, form, **rest).run(captures)
    sink.bytes.seek(0)
    decoded, found = decode_muons(sink.bytes, form)
    return decoded, found, counters


def stored_bytes(captures, form: BlockFormat = RUN3, run: int = 320040) -> dict[str, bytes]:
    """What readout makes of captures: a .raw file, and bare records."""
    sink = Keep()
    through_board(captures, form, sink)
    sink.bytes.seek(0)
    frames = records = b""
    orbits = 0
    for packet, _ in form.split(sink.bytes):
        found = form.find_orbits(packet)
        frames += form.frame(found, run, 1).words.tobytes()
        records += b"".join(
            suppress(found.rows[a:b].reshape(-1, 6, 8), form)[0].tobytes() for a, b in found.spans
        )
        orbits += len(found.orbit)
    header = file_header(run, 1, orbits, FILE_HEADER.itemsize + len(frames))
    return {"RAW": header + frames, "RECORDS": records}


def rows(batch: OrbitBatch, columns=("hwPt", "hwPhi", "hwEta", "hwQual", "tfMuonIndex", "link", "second")):
    """Return muons as tuples with orbit and BX."""
    every = [batch.orbit[batch.row], batch.bx[batch.row], *(batch[n] for n in columns)]
    return list(zip(*(c.tolist() for c in every), strict=True))


def random_blocks(random: np.random.Generator, n: int, form: BlockFormat) -> np.ndarray:
    """Blocks with any words, most of them good: a few muons, now and then links that disagree."""
    blocks = np.zeros((n, 6, LINKS), np.uint32)
    blocks[:, form.bx_row] = np.sort(random.integers(1, 3565, n))[:, None]
    blocks[:, form.bx_row] |= random.integers(0, 1 << 32, (n, LINKS), dtype=np.uint32) & ~np.uint32(
        form.bx_mask
    )
    blocks[:, form.orbit_row] = 77
    words = random.integers(0, 1 << 32, (n, 4, LINKS), dtype=np.uint32)
    blocks[:, 2:] = np.where(random.random((n, 4, LINKS)) < 0.2, words, 0)
    odd = random.random((n, 2, LINKS)) < 0.01
    blocks[:, :2] ^= np.where(odd, np.uint32(1) << random.integers(0, 32, odd.shape).astype(np.uint32), 0)
    return blocks


__all__ = [
    "BLOCK_WORDS",
    "BOARD_FORMATS",
    "Keep",
    "decode_muons",
    "make_run",
    "random_blocks",
    "rows",
    "stored_bytes",
    "through_board",
]
