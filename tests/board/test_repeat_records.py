"""Boards of several sources: the same orbits of all, numbered on and on, with what they count."""

import io

import numpy as np
import pytest

from l1scout.board.repeat_records import RepeatedRecords
from l1scout.errors import InputError
from l1scout.formats.marks import REPEATED
from l1scout.formats.wire_format import decode_packets
from l1scout.formats.wire_formats.objects import OBJECT_PACKETS
from l1scout.simulate.activity import Activity
from l1scout.simulate.object_packets import simulated_objects

QUIET = Activity(pile_up=0.3, occupancy=0.02)


class Kept:
    """Keeps what was sent, and is not ready for pieces of some numbers."""

    def __init__(self, *refused):
        self.parts, self._refused, self._n = [], refused, 0

    def ready(self):
        self._n += 1
        return self._n - 1 not in self._refused

    def step(self, packet):
        self.parts.append(bytes(packet))


@pytest.fixture(scope="module")
def packets():
    """Eight orbits of two calorimeter sources."""
    return b"".join(simulated_objects((22, 23), 8, QUIET))


def sent(packets, orbits, *refused, sources=(22, 23), first_orbit=0, **prescale):
    """Return what arrives of some orbits: decoded objects by source, orbits and marks by source."""
    board, sink = RepeatedRecords(io.BytesIO(packets), sources, first_orbit, **prescale), Kept(*refused)
    board.run(sink, pace=0, orbits=orbits)
    parts = [*sink.parts, board.last_trailer() or b""]
    found = {source: [] for source in sources}
    for packet, skipped in OBJECT_PACKETS.split(io.BytesIO(b"".join(parts))):
        assert skipped == 0
        found[OBJECT_PACKETS.source_of(packet)].append(
            (OBJECT_PACKETS.find_orbits(packet), OBJECT_PACKETS.trailer(packet))
        )
    return board, b"".join(parts), found


def test_passes_follow_each_other(packets):
    board, made, found = sent(packets, 24, first_orbit=100)
    truth, _ = decode_packets(io.BytesIO(packets), OBJECT_PACKETS)
    decoded, _ = decode_packets(io.BytesIO(made), OBJECT_PACKETS)
    for name in ("jet", "egamma"):
        batch, true = decoded[name].objects, truth[name].objects
        assert np.array_equal(batch["hwPt"], np.tile(true["hwPt"], 3))
        assert np.array_equal(batch.orbit, np.concatenate([true.orbit + 100 + 8 * k for k in range(3)]))
    for of_source in found.values():
        assert np.array_equal(np.concatenate([o.orbit for o, _ in of_source]), np.arange(100, 124))
        marks = np.concatenate([o.marks for o, _ in of_source])
        assert np.array_equal(marks & REPEATED != 0, np.arange(24) >= 8)
        assert of_source[-1][1].orbits == 24
    assert (board.delivered, board.length) == (24, 8)


def test_orbits_that_find_no_room_are_counted_for_every_source(packets):
    board, _, found = sent(packets, 16, 1, 3)
    assert (board.delivered, board.dropped) == (8, 8)
    for of_source in found.values():
        assert of_source[-1][1].dropped == 8
        assert len(of_source[-1][0].orbit) == 0  # the last packet states only what was dropped
        assert np.concatenate([o.orbit for o, _ in of_source]).tolist() == [0, 1, 2, 3, 8, 9, 10, 11]


def test_prescaled(packets):
    """Two of four orbits, by their number, in packets without a gap; a pass has whole periods."""
    _, _, found = sent(packets, 16, keep=2, of=4)
    orbits = [o.orbit.tolist() for o, _ in found[22]]
    assert [orbit for one in orbits for orbit in one] == [0, 1, 4, 5, 8, 9, 12, 13]
    assert all(np.all(np.diff(one) == 1) for one in orbits)
    _, _, found = sent(packets, 12, keep=1, of=3)
    assert np.concatenate([o.orbit for o, _ in found[23]]).tolist() == [0, 3, 6, 9]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"sources": (22, 24)}, "no packets of source 22 to 24 to repeat"),
        ({"sources": (7,)}, "no packets of source 7 to repeat"),
        ({"keep": 3, "of": 2}, "3 of 2 orbits"),
    ],
)
def test_what_cannot_be_repeated(packets, options, why):
    with pytest.raises(InputError, match=why):
        sent(packets, 8, **options)


def test_damaged_packets_are_left_out(packets):
    changed = bytearray(packets)
    changed[200] ^= 1
    _, _, found = sent(bytes(changed), 4)
    assert np.concatenate([o.orbit for o, _ in found[22]]).tolist() == [0, 1, 2, 3]


def test_nothing_is_simulated_of_an_unknown_source():
    with pytest.raises(InputError, match="source 7: no simulation"):
        next(simulated_objects((7,), 1, QUIET))
