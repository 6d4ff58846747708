"""Flip bits at random in packets, segments, notes and stores: every orbit is stored as it was, or counted."""

import io
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from front_end import Keep
from hostile import hostile_stores
from l1scout.board.repeat import RepeatedPackets
from l1scout.errors import InputError
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.readout.segment_note import SegmentNote
from l1scout.readout.segments import Segment
from l1scout.readout.spool import Spool
from l1scout.readout.writer import Limits, SegmentWriter
from orbit_truth import OrbitTruth, packets_of, read_segment

RUN = 5
PER_PACKET = 4
TRUTH = OrbitTruth(2, length=PER_PACKET, occupancy=0.0004)
_PACKETS, _EVERY, _LAST_GOOD = 99, 3, 3
"""Packets of a pass, the step from one with a flipped bit to the next, and how many at the end have none."""
_IN_SEGMENT, _BITS_IN_SEGMENT = 100, 5
"""Orbits of a segment, and bits flipped in it at most: one header in 20 may be damaged, not more."""
_BITS_IN_STORE = 100
_ROW_BYTES = 32


def flip_bits(data: bytes, bits: int, random: np.random.Generator) -> bytes:
    """Return data with some bits flipped."""
    flipped = bytearray(data)
    for at in random.integers(0, 8 * len(data), bits).tolist():
        flipped[at // 8] ^= 1 << at % 8
    return bytes(flipped)


def _sent(orbits: int) -> list[bytes]:
    sink = Keep()
    RepeatedPackets(io.BytesIO(TRUTH.packets), RUN3).run(sink, pace=0, orbits=orbits)
    return packets_of(sink.bytes.getvalue())


def _write(folder: Path, packets: list[bytes], orbits: int) -> Spool:
    spool = Spool(folder)
    writer = SegmentWriter(spool, RUN, 1, RUN3, Limits(orbits=orbits))
    for packet in packets:
        writer.step((memoryview(bytearray(packet)), 0))
    writer.finish()
    return spool


def _empty(folder: Path) -> None:
    for path in folder.glob("*"):
        path.unlink()


def _check(
    segments: Iterator[tuple[Segment, bytes]], sent: int, altered: set[int], seen: Counter[str]
) -> None:
    """Compare all orbits with the truth; those whose own words were hit may have others: nothing shows it."""
    stored, lost = list[int](), 0
    for segment, data in segments:
        orbits, muons = read_segment(data)
        stored += orbits.tolist()
        lost += segment.corrupt + segment.missed + segment.dropped
        wrong = set(TRUTH.wrong(orbits, muons).tolist())
        assert wrong <= altered, f"orbits {sorted(wrong - altered)} are not stored as they were"
        seen["orbits whose own words were hit, stored as they came"] += len(wrong)
    assert stored == sorted(set(stored)), "an orbit is stored twice"
    assert not stored or (stored[0] >= 0 and stored[-1] < sent), f"orbit {stored[-1]} was never sent"
    assert len(stored) + lost == sent, f"{sent} orbits sent, {len(stored)} stored, {lost} counted"
    seen["orbits stored"] += len(stored)
    seen["orbits counted as lost"] += lost


def _altered(packet: bytes, at: int, first: int) -> set[int]:
    """Return the orbit in whose blocks a byte of a packet lies."""
    row = at // _ROW_BYTES
    spans = RUN3.find_orbits(memoryview(packet)).spans
    return {first + k for k, (begin, end) in enumerate(spans.tolist()) if begin <= row < end}


def in_packets(flips: int, seed: int, folder: Path) -> Counter[str]:
    """Flip bits of packets on their way to readout, one in each third packet."""
    random, seen, sent = np.random.default_rng(seed), Counter[str](), _sent(_PACKETS * PER_PACKET)
    done = 0
    while done < flips:
        packets, altered = list(sent), set[int]()
        for k in range(1, _PACKETS - _LAST_GOOD, _EVERY):
            at, bit = int(random.integers(len(sent[k]))), int(random.integers(8))
            packets[k] = sent[k][:at] + bytes([sent[k][at] ^ 1 << bit]) + sent[k][at + 1 :]
            altered |= _altered(sent[k], at, k * PER_PACKET)
            done += 1
        spool = _write(folder, packets, 100)
        segments = ((s, spool.path(s).read_bytes()) for s in spool.waiting())
        _check(segments, _PACKETS * PER_PACKET, altered, seen)
        spool.close()
        _empty(folder)
    return seen + Counter({"flips": done})


def in_segments(flips: int, seed: int, folder: Path) -> Counter[str]:
    """Flip bits of a segment that waits in the spool, which is then repaired."""
    random, seen = np.random.default_rng(seed), Counter[str]()
    spool = _write(folder, _sent(_IN_SEGMENT), _IN_SEGMENT)
    (segment,) = spool.waiting()
    note, path = spool.note(segment), spool.path(segment)
    data, done = path.read_bytes(), 0
    while done < flips:
        bits = int(random.integers(1, _BITS_IN_SEGMENT + 1))
        path.write_bytes(flip_bits(data, bits, random))
        mended = spool.repair(segment)
        _check(iter([(mended, path.read_bytes())]), _IN_SEGMENT, set(), seen)
        for bad in folder.glob("*.bad"):
            bad.unlink()
        path.with_name(path.name + ".json").write_bytes(note.encode())
        done += bits
    spool.close()
    return seen + Counter({"flips": done})


def in_notes(flips: int, seed: int, folder: Path) -> Counter[str]:
    """Flip bits of notes: one is refused, or is what it was; some spools come up with such a note."""
    random, seen = np.random.default_rng(seed), Counter[str]()
    spool = _write(folder, _sent(24), 8)
    notes = [spool.note(s) for s in spool.waiting()]
    files = {p.name: p.read_bytes() for p in folder.glob("run*")}
    spool.close()
    text = notes[1].encode()
    for k in range(flips):
        flipped = flip_bits(text, 1, random)
        try:
            assert SegmentNote.decode(flipped).encode() == text, flipped
            seen["notes read as they were"] += 1
        except InputError:
            seen["notes refused"] += 1
        if k % 100 == 0:
            _empty(folder)
            for name, content in files.items():
                (folder / name).write_bytes(content)
            (folder / f"{notes[1].segment.name}.json").write_bytes(flipped)
            spool = Spool(folder)
            segments = ((s, spool.path(s).read_bytes()) for s in spool.waiting())
            _check(segments, 24, set(), seen)
            spool.close()
    return seen + Counter({"flips": flips})


def in_stores(flips: int, seed: int, folder: Path) -> Counter[str]:
    """Flip bits of all files of a store: catalogue and its log, notes, segments, compressed ones, journal."""
    seen, done = Counter[str](), 0
    truth = hostile_stores.Truth(folder)
    while done < flips:
        random = np.random.default_rng((seed, done))
        kind = list(hostile_stores.KINDS)[int(random.integers(len(hostile_stores.KINDS)))]
        bits = int(random.integers(1, _BITS_IN_STORE + 1))
        outcome = hostile_stores.check(truth, folder / "scratch", kind, bits, random)
        seen[f"stores with {kind} damaged: {outcome}"] += 1
        done += bits
    return seen + Counter({"flips": done})


KINDS: dict[str, Callable[[int, int, Path], Counter[str]]] = {
    "packets": in_packets,
    "segments": in_segments,
    "notes": in_notes,
    "stores": in_stores,
}
