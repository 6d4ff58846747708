"""Orbit numbers and counters that contradict each other: what is believed, counted and alarmed."""

import io
import lzma

import numpy as np
import pytest

from board_truth import EPOCH_ORBITS, Chain
from flips import campaign
from l1scout.formats.packets import TRAILER_BYTES, Trailer
from l1scout.formats.wire_format import WIRE_FORMATS
from l1scout.readout.orbit_numbers import absolute, longest_chain
from l1scout.readout.spool import Spool
from l1scout.readout.writer import SegmentWriter
from live_packets import repeated


def written(folder, stream, form="run3"):
    """Write a stream of packets to segments; return the writer after the end of the run."""
    writer = SegmentWriter(Spool(folder / "spool"), 7, 1, WIRE_FORMATS[form])
    for packet in WIRE_FORMATS[form].split(io.BytesIO(stream)):
        writer.step(packet)
    writer.finish()
    return writer


@pytest.mark.parametrize(
    ("case", "account"),
    [
        ("poison", {"orbits": 3999, "corrupt": 1}),  # one bit of an orbit number
        ("all_unreadable_4000", {"corrupt": 4000}),  # between good trailers
        ("foreign", {"orbits": 4000}),  # hardware headers do not state the numbers of empty orbits
    ],
)
def test_inputs_that_lost_orbits_without_a_word(tmp_path, shared_cases, case, account):
    stream = lzma.decompress((shared_cases / "chain" / f"{case}.dat.xz").read_bytes())
    counts = written(tmp_path, stream).totals.counts
    kinds = ("orbits", "corrupt", "missed", "duplicate", "dropped")
    assert {k: counts[k] for k in kinds if counts[k]} == account


@pytest.mark.parametrize(("sent", "read"), [("run2", "run3"), ("run3", "run2")])
def test_a_wrong_wire_format_is_named(tmp_path, sent, read):
    """Its trailers are the same: they tell how many orbits are lost."""
    writer = written(tmp_path, repeated(sent, 0, 240), read)
    assert (writer.totals.counts["corrupt"], writer.totals.counts["orbits"]) == (240, 0)
    (alarm,) = writer.alarms
    assert "240 of 240 orbits cannot be read: is readout.wire_format right" in alarm
    assert f"look like {sent}" in alarm


def test_packets_without_counters_in_a_wrong_format_raise_an_alarm(tmp_path):
    writer = written(tmp_path, repeated("run3", 0, 240), "native64")
    assert "bytes cannot be read: is readout.wire_format right (native64)" in writer.alarms[0]


def with_number(packet, place, number):
    """Change the number that the header of an empty orbit states."""
    words = np.frombuffer(packet, "<u4").copy()
    heads = np.flatnonzero(words == 0x6C316F72)
    words[heads[place] + 1] = number
    return words.tobytes()


@pytest.mark.parametrize("place", [1, 2])
@pytest.mark.parametrize("number", [0, 9, 14, 60, 500, 1 << 30, EPOCH_ORBITS - 1])
def test_a_wrong_number_costs_its_orbit_only(place, number):
    """Wherever it is in the packet, at its end too, and whether it is too small or too large."""
    chain = Chain()
    for k in range(6):
        packet = chain.board.packet(3)
        chain.feed(with_number(packet, place, number) if k == 3 else packet)
    found = chain.finish()
    assert (found.lost, found.misplaced) == ([9 + place], [])
    assert (found.counts["corrupt"], found.accounted) == (1, 18)


def test_a_wrong_number_after_a_lost_packet_does_not_take_the_place_of_a_lost_orbit():
    chain = Chain()
    for k in range(7):
        packet = chain.board.packet(4)
        if k != 3:
            chain.feed(with_number(packet, 0, 13) if k == 4 else packet)
    found = chain.finish()
    assert found.lost == [12, 13, 14, 15, 16]
    assert (found.accounted, found.counts["corrupt"] + found.counts["missed"]) == (28, 5)


def test_a_wrong_number_in_the_last_packet_is_not_believed():
    chain = Chain()
    for _ in range(3):
        chain.feed(chain.board.packet(3))
    chain.feed(with_number(chain.board.packet(3), 2, 1 << 20))
    found = chain.finish()
    assert (found.lost, found.accounted, found.counts["corrupt"]) == ([11], 12, 1)


def test_a_board_that_was_idle_is_believed_when_the_next_packet_goes_on():
    chain = Chain()
    chain.feed(chain.board.packet(4))
    chain.board.number += 1 << 20
    chain.feed(chain.board.packet(4))
    assert chain.writer.position.last_orbit == 3
    chain.feed(chain.board.packet(4))
    assert chain.writer.position.last_orbit == (1 << 20) + 11
    found = chain.finish()
    assert (found.lost, found.accounted, found.counts["missed"]) == ([], 12, 0)


def test_the_last_packet_after_a_pause_is_stored():
    chain = Chain()
    chain.feed(chain.board.packet(4))
    chain.board.number += 1000
    chain.feed(chain.board.packet(4))
    assert chain.finish().lost == []


def test_drops_and_lost_packets_do_not_make_anything_wait():
    chain = Chain()
    for k in range(6):
        if k == 2:
            chain.board.drop(500)
        packet = chain.board.packet(4)
        if k != 4:
            chain.feed(packet)
            assert chain.writer.position.last_orbit == chain.board.number - 1
    found = chain.finish()
    assert (found.counts["dropped"], found.counts["missed"], found.accounted) == (500, 4, 24)


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_board_that_starts_again_at_orbit_0_begins_an_epoch(lost):
    """Also if its first packets are lost."""
    chain = Chain()
    for _ in range(5):
        chain.feed(chain.board.packet(4))
    chain.board.restart(None)
    for k in range(5):
        packet = chain.board.packet(4)
        if k >= lost:
            chain.feed(packet)
    position = chain.writer.position
    assert (position.epoch, position.last_orbit) == (1, 19)
    found = chain.finish()
    assert found.misplaced == []
    assert (found.accounted, found.counts["missed"], found.counts["duplicate"]) == (40, 4 * lost, 0)
    assert any("orbit numbers began again (1 times)" in a for a in found.alarms)


def test_an_orbit_counter_that_is_reset_begins_an_epoch():
    """The board goes on counting what it sent."""
    chain = Chain()
    for _ in range(5):
        chain.feed(chain.board.packet(4))
    chain.board.number = EPOCH_ORBITS
    for _ in range(5):
        chain.feed(chain.board.packet(4))
    found = chain.finish()
    assert (found.lost, found.accounted, found.counts["duplicate"]) == ([], 40, 0)


def test_orbit_numbers_that_wrap_begin_an_epoch():
    """In the middle of a packet; lumisections are counted on."""
    chain = Chain(EPOCH_ORBITS - 10, 1 << 13)
    for _ in range(5):
        chain.feed(chain.board.packet(4))
    assert (chain.writer.position.epoch, chain.writer.position.last_orbit) == (1, 9)

    chain.writer.finish()
    segments = [(s.epoch, s.lumisection, s.first_orbit, s.orbits) for s in chain.spool.waiting()]
    assert segments == [(0, 1 << 13, EPOCH_ORBITS - 10, 10), (1, (1 << 13) + 1, 0, 10)]


@pytest.mark.parametrize("which", [[0], [3], [0, 3], [3, 4], [5]])
def test_old_packets_that_come_again_begin_no_epoch(which):
    chain = Chain()
    packets = [chain.board.packet(30) for _ in range(10)]
    for k, packet in enumerate(packets):
        chain.feed(packet)
        if k == 7:
            for old in which:
                chain.feed(packets[old])
    found = chain.finish()
    assert (found.lost, found.counts["duplicate"], found.accounted) == ([], 30 * len(which), 300)
    assert chain.writer.position.epoch == 0
    assert any(f"{30 * len(which)} orbits" in a and "came again" in a for a in found.alarms)


def test_killed_between_the_packets_of_a_board_that_was_started_again():
    """What lies between is counted, though no trailer of the time before the kill was believed."""
    chain = Chain()
    for _ in range(5):
        chain.feed(chain.board.packet(4))
    chain.board.restart(100)
    chain.feed(chain.board.packet(4))
    chain.kill()
    for _ in range(3):
        chain.feed(chain.board.packet(4))
    found = chain.finish()
    assert found.lost == [120, 121, 122, 123]
    assert found.counts["missed"] == 104
    assert found.accounted == 136


@pytest.mark.parametrize("change", [-64, -1, 1, 64, 1 << 40])
@pytest.mark.parametrize("readable", [True, False])
def test_a_wrong_counter_is_made_up_for(change, readable):
    """Whether or not the orbits of its packet can be read."""
    chain = Chain()
    for k in range(8):
        packet = chain.board.packet(4)
        if k == 4:
            body = packet[:-TRAILER_BYTES] if readable else bytes([0x55]) * 640
            packet = body + Trailer(0, 0, max(chain.board.sent + change, 0)).encode()
        chain.feed(packet)
    found = chain.finish()
    assert found.accounted == 32
    assert found.counts["corrupt"] + found.counts["missed"] == (0 if readable else 4)


def test_damage_between_packets_explains_what_comes_after_it():
    chain = Chain()
    for k in range(6):
        packet = chain.board.packet(4)
        if k == 3:
            chain.writer.step((memoryview(b""), len(packet)))
        elif k != 5:
            chain.feed(packet)
    chain.feed(chain.board.packet(4))
    found = chain.finish()
    assert (found.counts["corrupt"], found.counts["missed"], found.accounted) == (4, 4, 28)


def test_bits_that_flip_anywhere():
    """A longer campaign: ``python tests/flips.py 100000``."""
    for beside in (False, True):
        total = campaign(300, seed=1, beside=beside)
        assert total["wrong"] == 0
        assert total["flips"] == 300


@pytest.mark.parametrize(
    ("numbers", "expected", "chain"),
    [
        ([20, 21, 22], 20, [1, 1, 1]),
        ([20, 1 << 30, 22], 20, [1, 0, 1]),
        ([20, 22, 22, 23], 20, [1, 0, 1, 1]),
        ([5, 21, 22, 23], 20, [0, 1, 1, 1]),
        ([20, 21, 22, 20], 20, [1, 1, 1, 0]),
        ([18, 19, 20, 21], 20, [1, 1, 1, 1]),
        ([3, 4, 1 << 20], 20, [1, 1, 0]),
        ([-1, -1], 20, [0, 0]),
    ],
)
def test_numbers_that_go_together(numbers, expected, chain):
    assert longest_chain(np.array(numbers), expected).tolist() == [bool(c) for c in chain]


def test_numbers_near_the_wrap():
    last = 3 * EPOCH_ORBITS - 1
    orbits = np.array([0, 5, EPOCH_ORBITS - 1, 1 << 30])
    expected = [3 * EPOCH_ORBITS, 3 * EPOCH_ORBITS + 5, 3 * EPOCH_ORBITS - 1, 3 * EPOCH_ORBITS + (1 << 30)]
    assert absolute(orbits, last, EPOCH_ORBITS).tolist() == expected
    assert absolute(orbits, last - 8, EPOCH_ORBITS).tolist() == [*expected[:3], 2 * EPOCH_ORBITS + (1 << 30)]
