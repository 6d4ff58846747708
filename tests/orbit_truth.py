"""Simulated orbits whose muons are known, and the comparison of a store with them, orbit by orbit."""

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from front_end import Keep
from l1scout.board.board import Board
from l1scout.core.orbit_batch import OrbitBatch, concatenate
from l1scout.core.orbit_data import MUON
from l1scout.formats.raw import read_frames, read_header
from l1scout.formats.raw_objects import decode_frames
from l1scout.formats.stream import STREAMS
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.readout.segments import Segment
from l1scout.simulate.run import Piece, Running, simulate_run
from l1scout.simulate.write import Fibres
from l1scout.store.catalogue import Catalogue
from l1scout.store.compress import content

COUNTED_AHEAD = 64
"""Orbits that a segment may count as lost and that pass only in the next one: the rest of a packet."""
COLUMNS = (*("hwPt", "hwPtUnconstrained", "hwDXY", "hwPhi", "hwPhiAtVtx", "hwEta", "hwEtaAtVtx"),
           *("hwCharge", "hwChargeValid", "hwQual", "hwIso", "tfMuonIndex", "shower", "second",
             "intermediate"))  # fmt: skip
"""Of a muon in a segment: all but the link that it came by."""


class OrbitTruth:
    """Orbits 0 to `length` as a board repeats them: orbit n has the muons of orbit ``n % length``.

    Parameters
    ----------
    seed, length : int
    occupancy : float
        Part of the crossings with a muon.
    orbits_per_packet : int
    """

    def __init__(
        self, seed: int, length: int = 100, occupancy: float = 0.002, orbits_per_packet: int = 20
    ) -> None:
        self.length, self._seed, self._occupancy, self._per_packet = (
            length,
            seed,
            occupancy,
            orbits_per_packet,
        )

    @cached_property
    def _pieces(self) -> list[Piece]:
        """Made when first asked for: what makes it is compiled, in each process that imports a truth."""
        return list(simulate_run(self._seed, self.length, running=Running(occupancy=self._occupancy)))

    @cached_property
    def packets(self) -> bytes:
        """What a board sends of orbits 0 to `length`."""
        sink = Keep()
        board = Board(sink, RUN3, orbits_per_packet=self._per_packet)
        board.run(Fibres(RUN3, self._seed).send(iter(self._pieces)))
        return sink.bytes.getvalue()

    @cached_property
    def _muons(self) -> "_ByOrbit":
        return _by_orbit(concatenate([piece.muons for piece in self._pieces]), np.arange(self.length))

    def wrong(self, orbits: NDArray[np.int64], muons: OrbitBatch) -> NDArray[np.int64]:
        """Return those of the orbits (in rising order) whose muons are not the true ones.

        Parameters
        ----------
        orbits : ndarray of int64
        muons : OrbitBatch
            Read of these orbits.
        """
        got, true = _by_orbit(muons, orbits), self._muons
        here = orbits % self.length
        same = got.counts == true.counts[here]
        counts = got.counts[same]
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        of_got = np.repeat(got.starts[same], counts) + within
        of_true = np.repeat(true.starts[here[same]], counts) + within
        differs = np.any(got.values[:, of_got] != true.values[:, of_true], axis=0)
        bad = np.zeros(len(orbits), bool)
        bad[np.flatnonzero(same)[np.repeat(np.arange(len(counts)), counts)[differs]]] = True
        return orbits[bad | ~same]


class _ByOrbit(NamedTuple):
    counts: NDArray[np.int64]
    starts: NDArray[np.int64]
    values: NDArray[np.int64]
    """BX and `COLUMNS` of every muon."""


def _by_orbit(muons: OrbitBatch, orbits: NDArray[np.int64]) -> _ByOrbit:
    of_muon = muons.orbit[muons.row]
    starts = np.searchsorted(of_muon, orbits)
    counts = np.searchsorted(of_muon, orbits, side="right") - starts
    values = [muons.bx[muons.row], *(muons[name] for name in COLUMNS)]
    return _ByOrbit(counts, starts, np.array(values, np.int64))


def read_segment(data: bytes) -> tuple[NDArray[np.int64], OrbitBatch]:
    """Return the orbits of a segment's bytes, absolute and in their order, and their muons."""
    found = read_header(data)
    assert found is not None, "the stored segment has no header"
    frames = list(read_frames(data, found))
    assert not found.corrupt, f"{found.corrupt_bytes} bytes of the stored segment cannot be read"
    orbits = np.array([frame.orbit for frame in frames], np.int64)
    return orbits, decode_frames(frames, STREAMS[MUON], found).objects


def stored_segments(store: Path, run: int) -> Iterator[tuple[Segment, bytes]]:
    """Go through the segments of a run in a store, with their bytes."""
    catalogue = Catalogue(store)
    try:
        for stored in catalogue.segments(run):
            yield stored.segment, content(store, stored)
    finally:
        catalogue.close()


@dataclass
class Comparison:
    """What a store has of a run, beside the truth.

    Parameters
    ----------
    stored, counted : int
        Orbits stored, each once and with the right muons; orbits counted as lost, by any name.
    wrong : list of str
        What is not as it must be.
    """

    stored: int = 0
    counted: int = 0
    wrong: list[str] = field(default_factory=list)


def compare(truth: OrbitTruth, store: Path, run: int, passed: int, elsewhere: int = 0) -> Comparison:
    """Compare every orbit from 0 to `passed` with what a store has, or counts; see `compare_segments`."""
    return compare_segments(truth, stored_segments(store, run), [range(passed)], elsewhere)


def compare_segments(
    truth: OrbitTruth, segments: Iterable[tuple[Segment, bytes]], passed: Sequence[range], elsewhere: int = 0
) -> Comparison:
    """Compare every orbit with what segments have, or count.

    Every stored orbit must be one of those that have passed, be there once, in order, with its muons; the
    others must be as many as the segments count as lost, and no segment may count orbits as lost that have
    not passed.

    Parameters
    ----------
    truth : OrbitTruth
    segments : iterable of (Segment, bytes)
    passed : sequence of range
        Absolute numbers of the orbits that a board sent or dropped, or that passed while there was none.
    elsewhere : int
        Orbits that others have counted.
    """
    found, last = Comparison(counted=elsewhere), -1
    for segment, data in segments:
        orbits, muons = read_segment(data)
        found.counted += segment.corrupt + segment.missed + segment.dropped
        found.stored += len(orbits)
        if len(orbits):
            if orbits[0] <= last or np.any(np.diff(orbits) <= 0):
                found.wrong.append(f"{segment.name}: orbits are not in order, or stored twice")
                continue
            bad = truth.wrong(orbits, muons)
            if len(bad):
                found.wrong.append(f"{segment.name}: {len(bad)} orbits with wrong muons, first {bad[0]}")
            inside = sum(np.count_nonzero((orbits >= p.start) & (orbits < p.stop)) for p in passed)
            if inside < len(orbits):
                found.wrong.append(f"{segment.name}: {len(orbits) - inside} orbits that no board has sent")
            last = int(orbits[-1])
        so_far = sum(len(range(p.start, min(p.stop, last + 1))) for p in passed)
        early = found.counted - elsewhere + found.stored - so_far
        if early > COUNTED_AHEAD and not segment.last:
            found.wrong.append(f"{segment.name}: {early} orbits counted that have not passed")
    missing = sum(map(len, passed)) - found.stored - found.counted
    if missing:
        found.wrong.append(f"{missing:+,} orbits are neither stored nor counted")
    return found


def packets_of(data: bytes) -> list[bytes]:
    """Cut a stream of packets."""
    return [bytes(packet) for packet, _ in RUN3.split(io.BytesIO(data))]
