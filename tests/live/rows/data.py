"""Packets that are damaged, of another format or another convention: what readout makes of them."""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from board_truth import flipped
from chain import RUN
from front_end import Keep
from l1scout.board.repeat import RepeatedPackets
from l1scout.formats.packets import TRAILER_BYTES
from l1scout.formats.wire_formats.run3 import HEADER_MARK, RUN3
from l1scout.readout.spool import Spool
from l1scout.readout.writer import Limits, SegmentWriter
from live.fault_table import fault
from live_packets import packets as small_run
from orbit_truth import OrbitTruth, compare_segments, packets_of

PER_PACKET = 4
TRUTH = OrbitTruth(2, length=PER_PACKET, occupancy=0.0004)
"""With the same muons in each packet, in any epoch (a power of 2 orbits), and none in its last orbit."""
EPOCH = 1 << 31


def sent(first: int, orbits: int) -> list[bytes]:
    """Return the packets of a board that has just started."""
    sink = Keep()
    RepeatedPackets(io.BytesIO(TRUTH.packets), RUN3, first).run(sink, pace=0, orbits=orbits)
    return packets_of(sink.bytes.getvalue())


def written(folder: Path, packets: Iterable[bytes], passed: Sequence[range], **lost: int) -> str:
    """Let readout take packets; compare every orbit and what is counted; return the alarms."""
    spool = Spool(folder / "spool")
    writer = SegmentWriter(spool, RUN, 1, RUN3, Limits(orbits=64))
    for packet in packets:
        writer.step((memoryview(bytearray(packet)), 0))
    writer.finish()
    segments = list(spool.waiting())
    found = compare_segments(TRUTH, ((s, spool.path(s).read_bytes()) for s in segments), passed)
    assert not found.wrong, found.wrong
    counted = {n: sum(getattr(s, n) for s in segments) for n in ("corrupt", "missed", "dropped", "duplicate")}
    assert {n: k for n, k in counted.items() if k} == lost, counted
    return "\n".join(writer.alarms)


@fault(
    "bit flipped in an orbit number",
    "board to readout",
    "one orbit is corrupt, and counted; the jump is not believed, as the next packet goes on from before it",
    "1 of 400 orbits arrived damaged and are lost",
)
def flip_in_orbit_number(folder: Path) -> str:
    packets = sent(0, 400)
    words = np.frombuffer(packets[30], "<u4").copy()
    words[np.flatnonzero(words == HEADER_MARK)[-1] + 1] ^= 1 << 30
    packets[30] = words.tobytes()
    return written(folder, packets, [range(400)], corrupt=1)


@fault(
    "bit flipped in a trailer's counters",
    "board to readout",
    "nothing is lost: counters are believed when the next ones go on from them",
)
def flip_in_counters(folder: Path) -> str:
    packets = sent(0, 400)
    packets[30] = flipped(packets[30], 1 - 6 / len(packets[30]), 6)
    return written(folder, packets, [range(400)])


@fault(
    "orbit number wraps at 2^31",
    "board",
    "nothing is lost: a new epoch begins, and lumisections are counted on",
    "orbit numbers began again (1 times)",
    "by itself; the run should be ended soon",
)
def wrap(folder: Path) -> str:
    return written(folder, sent(EPOCH - 200, 400), [range(EPOCH - 200, EPOCH + 200)])


@fault(
    "board starts again at orbit 0 in mid-run",
    "board",
    "nothing that it sends is lost: a new epoch begins; what passed before is not known",
    "a board was started again in mid-run",
    "by itself; the run should be ended soon",
)
def restart_at_0(folder: Path) -> str:
    return written(folder, [*sent(0, 200), *sent(0, 200)], [range(200), range(EPOCH, EPOCH + 200)])


@fault(
    "orbits that cannot be read between good trailers",
    "board to readout",
    "all are corrupt, and counted by the trailers",
    "400 of 400 orbits cannot be read: is readout.wire_format right (run3)?",
    "check readout.wire_format and the board",
)
def unreadable(folder: Path) -> str:
    packets = [bytes([0x55]) * 3200 + packet[-TRAILER_BYTES:] for packet in sent(0, 400)]
    return written(folder, packets, [range(400)], corrupt=400)


@fault(
    "wrong wire format",
    "readout",
    "all orbits are corrupt, and counted by the trailers",
    "readout.wire_format",
    "set readout.wire_format as the board has it",
)
def wrong_format(folder: Path) -> str:
    packets = small_run("run2", orbits=24)
    return written(folder, packets, [range(24)], corrupt=24)


@fault(
    "packets come twice",
    "board to readout",
    "each orbit is stored once; the others are duplicates, and counted",
    "came again and were left out",
    "see whether two boards send as one source",
)
def twice(folder: Path) -> str:
    packets = sent(0, 400)
    return written(folder, [*packets[:50], *packets[45:]], [range(400)], duplicate=5 * PER_PACKET)


@fault(
    "packet lost",
    "board to readout",
    "its orbits are missed, and counted by the next trailer",
    "4 of 400 orbits were sent by the board and never arrived",
)
def packet_lost(folder: Path) -> str:
    packets = sent(0, 400)
    del packets[50]
    return written(folder, packets, [range(400)], missed=PER_PACKET)


@fault(
    "maps that begin with BX 0, as hardware has them",
    "board",
    "nothing is lost: the blocks show the convention",
)
def maps_from_0(folder: Path) -> None:
    """Shift the maps of all orbits by a bit, as the public DAQ code's convention has them."""
    packets = []
    for packet in sent(0, 400):
        rows = np.frombuffer(packet, "<u4").reshape(-1, 8).copy()
        orbits = RUN3.find_orbits(memoryview(packet))
        for first, end in orbits.spans:
            rows[first - 1] = 0
            bits = np.unpackbits(rows[end + 1 : end + 15].view(np.uint8).reshape(-1), bitorder="little")
            moved = np.roll(bits, 1)
            rows[end + 1 : end + 15] = np.packbits(moved, bitorder="little").view("<u4").reshape(-1, 8)
        packets.append(rows.tobytes())
    written(folder, packets, [range(400)])


@fault(
    "headers that are not ours, with orbit 0 in empty orbits",
    "board",
    "nothing is lost: empty orbits are numbered by their neighbours",
)
def foreign_headers(folder: Path) -> None:
    packets = []
    for packet in sent(0, 400):
        rows = np.frombuffer(packet, "<u4").reshape(-1, 8).copy()
        for first in RUN3.find_orbits(memoryview(packet)).spans[:, 0]:
            rows[first - 1] = 0
        packets.append(rows.tobytes())
    written(folder, packets, [range(400)])
