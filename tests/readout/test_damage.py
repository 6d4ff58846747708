"""The account of a damaged run, in exact numbers: what came broken is corrupt, what never came is missed."""

from functools import cache

import numpy as np
import pytest

from front_end import BOARD_FORMATS
from l1scout.formats.packets import TRAILER_BYTES, Trailer
from l1scout.readout.spool import Spool
from l1scout.readout.writer import SegmentWriter
from live_packets import packets

RUN = 7
_packets = cache(packets)


def account_of(stream, folder, form="run3"):
    """Write packets, each alone or with the bytes skipped before it; return the finished run's account."""
    writer = SegmentWriter(Spool(folder / "spool"), RUN, 1, BOARD_FORMATS[form])
    for packet in stream:
        data, skipped = packet if isinstance(packet, tuple) else (packet, 0)
        writer.step((memoryview(data), skipped))
    return writer.finish()


def with_trailer(packet, orbits, dropped=0):
    return packet[:-TRAILER_BYTES] + Trailer(0, dropped, orbits).encode()


def unreadable(packet):
    """Leave nothing of a packet but its trailer and 100 rows that make no sense."""
    return bytes([0x55]) * 3200 + packet[-TRAILER_BYTES:]


@pytest.mark.parametrize("form", BOARD_FORMATS)
def test_orbits_that_arrive_damaged_are_corrupt(tmp_path, form):
    sent = list(_packets(form))
    sent[2] = unreadable(sent[2])
    found = account_of(sent, tmp_path, form)
    assert (found.orbits, found.corrupt, found.missed, found.dropped) == (21, 3, 0, 0)
    # a packet of Run 2 is given up as a whole, its trailer too
    assert found.corrupt_bytes == 3200 + (TRAILER_BYTES if form == "run2" else 0)


@pytest.mark.parametrize("form", BOARD_FORMATS)
def test_orbits_that_never_arrive_are_missed(tmp_path, form):
    sent = list(_packets(form))
    del sent[2]
    found = account_of(sent, tmp_path, form)
    assert (found.orbits, found.corrupt, found.missed, found.dropped) == (21, 0, 3, 0)
    assert found.corrupt_bytes == 0


def test_orbits_in_a_stretch_without_trailers_are_corrupt(tmp_path):
    """Their packets came, but so that not even their ends could be found."""
    sent = list(_packets())
    sent[2:4] = [(sent[3], 12345)]
    found = account_of(sent, tmp_path)
    assert (found.orbits, found.corrupt, found.missed, found.corrupt_bytes) == (21, 3, 0, 12345)


def test_orbits_that_come_twice_are_duplicates(tmp_path):
    """Left out and counted, and not among those that the board sent."""
    sent = list(_packets())
    sent[3:3] = [sent[2], sent[1]]
    found = account_of(sent, tmp_path)
    assert (found.orbits, found.duplicate, found.sent) == (24, 6, 24)
    assert (found.corrupt, found.missed) == (0, 0)


def test_damage_explains_only_what_is_lost_with_it(tmp_path):
    """A damaged packet, then good ones, then one that is lost: the last is not blamed on the damage."""
    sent = list(_packets())
    sent[1] = unreadable(sent[1])
    del sent[5]
    found = account_of(sent, tmp_path)
    assert (found.orbits, found.corrupt, found.missed) == (18, 3, 3)


def test_part_of_a_packet_is_corrupt(tmp_path):
    """One orbit of three is read, the byte that is wrong lies in the second."""
    sent = list(_packets())
    rows = np.frombuffer(sent[4], "<u4").reshape(-1, 8).copy()
    (ends,) = np.nonzero((rows == 0xBEEFDEAD).all(axis=1))
    second = ends[0] + 17
    rows[second + 1, 0] ^= 1 << 7  # the first block's orbit
    sent[4] = rows.tobytes()
    found = account_of(sent, tmp_path)
    assert (found.orbits, found.corrupt, found.missed) == (22, 2, 0)
    assert found.corrupt_bytes == 32 * (len(rows) - 1 - second)


@pytest.mark.parametrize("form", BOARD_FORMATS)
@pytest.mark.parametrize(("claimed", "corrupt"), [(64, 64), (65, 3)])
def test_a_damaged_packet_has_at_most_64_orbits(tmp_path, form, claimed, corrupt):
    """Nothing of it can be read, so its trailer is believed up to the most that a packet can hold."""
    sent = list(_packets(form))
    sent[2] = with_trailer(unreadable(sent[2]), 6 + claimed)
    if claimed == 64:  # the board goes on from there
        sent[3:] = []
    found = account_of(sent, tmp_path, form)
    assert (found.corrupt, found.missed) == (corrupt, 0)
    assert found.orbits == (6 if claimed == 64 else 21)


def test_a_trailer_of_an_undamaged_packet_has_no_slack(tmp_path):
    """More orbits than have passed by number cannot have been sent, if all that came could be read."""
    sent = list(_packets())
    sent[-1] = with_trailer(sent[-1], 25)
    found = account_of(sent, tmp_path)
    assert (found.orbits, found.corrupt, found.missed, found.sent) == (24, 0, 0, 24)


def run2_packet(orbits, sent):
    """Make a packet of Run 2 with one block in each of some orbits; others of its orbits are empty."""
    blocks = np.zeros((len(orbits), 6, 8), "<u4")
    blocks[:, 0], blocks[:, 1] = 77, np.array(orbits)[:, None]
    blocks[:, 2, 0] = 9 << 10
    return blocks.tobytes() + Trailer(0, 0, sent).encode()


@pytest.mark.parametrize(
    ("last", "account"),
    [
        ([6, 8, 9], (12, 0)),  # 7 is empty, and so may be 10 and 11
        ([6, 7, 8], (9, 3)),  # no orbit seems to be empty: those at the end never came
    ],
)
def test_a_run_2_that_ends_with_orbits_not_seen(tmp_path, last, account):
    """The last trailer counts more orbits than have passed by number: they came after the last block."""
    sent = [run2_packet([0, 1, 2], 3), run2_packet([3, 4, 5], 6), run2_packet(last, 12)]
    found = account_of(sent, tmp_path, "run2")
    assert (found.orbits, found.missed) == account
    assert (found.sent, found.corrupt) == (12, 0)
