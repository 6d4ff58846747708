"""A simulated board whose every orbit is known, faults on the way, and what readout must make of it."""

import shutil
import tempfile
import weakref
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from crc32c import crc32c

from l1scout.formats.block import BLOCK_WORDS, MAP_WORDS, ROWS
from l1scout.formats.block_format import OrbitState
from l1scout.formats.packets import TRAILER_BYTES, Trailer
from l1scout.formats.raw import FILE_HEADER, FRAME_HEADER
from l1scout.formats.records import LINKS
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.readout.orbit_numbers import EPOCH_ORBITS
from l1scout.readout.spool import Spool, default_folder
from l1scout.readout.writer import Limits, SegmentWriter

RUN = 7
ORBIT_ROWS = 1 + ROWS + 17


def orbit_bytes(orbit: int, content: int) -> bytes:
    """Return an orbit as a board writes it; `content` marks it, 0: it is empty."""
    words = np.zeros(LINKS * ORBIT_ROWS, np.uint32)
    bx_map, links, blocks = np.zeros(MAP_WORDS, np.uint32), np.zeros(LINKS, np.uint32), int(content > 0)
    if blocks:
        block = words[LINKS : LINKS + BLOCK_WORDS].reshape(ROWS, LINKS)
        block[RUN3.bx_row], block[RUN3.orbit_row] = 1, orbit
        block[2, 0], block[3, 0] = 1 << 10, content
        bx_map[0] = 1
    state = OrbitState(orbit, blocks, 255, 0, 0, bx_map, links, links)
    return words[: RUN3.write_orbit(words, 0, LINKS + blocks * BLOCK_WORDS, state)].tobytes()


@dataclass
class Board:
    """What the board does, and the truth.

    Parameters
    ----------
    number : int
        Absolute number of its next orbit.
    sent, dropped : int
        Its counters.
    truth : dict of int to int
        Content of every orbit sent, by absolute number.
    """

    number: int = 0
    sent: int = 0
    dropped: int = 0
    truth: dict[int, int] = field(default_factory=dict)

    def packet(self, orbits: int) -> bytes:
        """Send a packet."""
        parts = []
        for _ in range(orbits):
            content = 0 if self.number % 3 else (1 + len(self.truth)) * 0x9E3779B1 & 0xFFFFFFFF
            self.truth[self.number] = content
            parts.append(orbit_bytes(self.number % EPOCH_ORBITS, content))
            self.number += 1
        self.sent += orbits
        return b"".join(parts) + Trailer(0, self.dropped, self.sent).encode()

    def drop(self, orbits: int) -> None:
        """Drop orbits, and count them."""
        self.number, self.dropped = self.number + orbits, self.dropped + orbits

    @property
    def number_left(self) -> int:
        """Orbits to the end of the epoch, if it is near: a start at orbit 0 is so much later."""
        left = -self.number % EPOCH_ORBITS
        return left if left < 1 << 20 else 0

    def restart(self, later: int | None) -> None:
        """Start the board again, `later` orbits later, or at orbit 0."""
        self.sent = self.dropped = 0
        epoch = (self.number - 1) // EPOCH_ORBITS + 1
        self.number = epoch * EPOCH_ORBITS if later is None else self.number + later


def flipped(packet: bytes, place: float, bit: int = 0) -> bytes:
    """Return a packet with a bit flipped; `place` from 0 to 1."""
    at = int(place * len(packet))
    return packet[:at] + bytes([packet[at] ^ 1 << bit]) + packet[at + 1 :]


class Chain:
    """A readout of a simulated board, without processes.

    Parameters
    ----------
    first : int
        First orbit of the board.
    limit : int
        Orbits of a segment.
    """

    def __init__(self, first: int = 0, limit: int = 50) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="l1scout-truth-", dir=default_folder().parent))
        self._remove = weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        self.board, self._limit = Board(first), limit
        self._open()

    def _open(self) -> None:
        self.spool = Spool(self.folder)
        self.writer = SegmentWriter(self.spool, RUN, 1, RUN3, Limits(orbits=self._limit))

    def feed(self, packet: bytes) -> None:
        """Let a packet arrive; one without a trailer is bytes before the next."""
        if len(packet) < TRAILER_BYTES:
            return
        self.writer.step((memoryview(bytearray(packet)), 0))

    def skip(self, size: int) -> None:
        """Let bytes arrive that are none of a packet."""
        self.writer.step((memoryview(b""), size))

    def kill(self) -> None:
        """Kill readout, and start it again."""
        self.spool.close()
        if self.writer._open:
            self.writer._open.file.close()
        self._open()

    def finish(self) -> "Outcome":
        """End the run; return what became of it, and remove all files."""
        self.writer.finish()
        counts, stored, segments = Counter[str](), list[tuple[int, int]](), list(self.spool.waiting())
        for segment in segments:
            for name in ("orbits", "corrupt", "missed", "dropped", "duplicate"):
                counts[name] += getattr(segment, name)
            found = list(stored_orbits(self.spool.path(segment).read_bytes()))
            assert {number // EPOCH_ORBITS for number, _ in found} <= {segment.epoch}
            stored += found
        self.spool.close()
        self._remove()
        return Outcome(counts, stored, self.board.truth, self.writer.alarms)


def stored_orbits(data: bytes) -> Iterator[tuple[int, int]]:
    """Go through the frames of a segment's file: absolute number and content."""
    at = FILE_HEADER.itemsize
    while at < len(data):
        head = np.frombuffer(data, FRAME_HEADER, 1, at)[0]
        first, end = at + FRAME_HEADER.itemsize, at + FRAME_HEADER.itemsize + int(head["payloadSize"])
        assert crc32c(data[first:end]) == head["crc32c"]
        number = (int(head["lumisection"]) - 1 >> 13) * EPOCH_ORBITS + int(head["orbit"])
        yield number, int.from_bytes(data[first + 20 : first + 24], "little") if end > first + 20 else 0
        at = end
    assert at == len(data)


@dataclass
class Outcome:
    """What became of a run: counts, stored orbits with their content, and the truth."""

    counts: Counter[str]
    stored: list[tuple[int, int]]
    truth: dict[int, int]
    alarms: list[str]

    @property
    def accounted(self) -> int:
        """Orbits that the board sent, as readout accounts for them."""
        return self.counts["orbits"] + self.counts["corrupt"] + self.counts["missed"]

    @property
    def misplaced(self) -> list[int]:
        """Orbits stored under a number that is not theirs: of none, or of another orbit."""
        others = {content: number for number, content in self.truth.items() if content}
        return [
            number
            for number, content in self.stored
            if number not in self.truth or others.get(content, number) != number
        ]

    @property
    def lost(self) -> list[int]:
        """Orbits that were sent and are not stored."""
        return sorted(self.truth.keys() - {number for number, _ in self.stored})
