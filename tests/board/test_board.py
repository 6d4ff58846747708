"""Run to links to board to packets to muons."""

import numpy as np
import pytest

from front_end import BOARD_FORMATS, Keep, make_run, rows, through_board
from l1scout.board.board import Board
from l1scout.board.suppress import BoardSelection
from l1scout.core.orbit_batch import concatenate
from l1scout.formats.wire_formats.run2 import RUN2
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.link.transmit import LinkTiming, Transmitter, transmit
from l1scout.simulate.faults import FaultRates, Injector
from l1scout.simulate.run import Running, simulate_run


@pytest.mark.parametrize("chunk", [1, 2, 7, 30])
@pytest.mark.parametrize("form", BOARD_FORMATS.values(), ids=list(BOARD_FORMATS))
def test_round_trip(form, chunk):
    truth, captures, _ = make_run(form, 30, chunk)
    decoded, found, counters = through_board(captures, form)
    muons = decoded.objects
    np.testing.assert_array_equal(muons.orbit, truth.orbit)
    np.testing.assert_array_equal(muons.bx, truth.bx)
    np.testing.assert_array_equal(muons.offsets, truth.offsets)
    assert set(muons.columns) - set(truth.columns) == ({"reserved"} if form is RUN2 else set())
    for name in truth.columns:
        np.testing.assert_array_equal(muons[name], truth[name], name)
    assert (counters.orbits, counters.delivered, counters.idle, counters.flagged) == (31, 30, 1, 0)
    assert (found.orbits, found.corrupt, decoded.flagged.size) == (30, 0, 0)
    assert found.trailer.orbits == 30
    summary = counters.summary()
    assert 18 < summary["bx_suppression"] < 22
    assert summary["byte_suppression"] == pytest.approx(summary["bx_suppression"], rel=0.03)


def test_the_whole_range_of_skew():
    pieces = list(simulate_run(6, 9, chunk=4))
    truth = concatenate([p.muons for p in pieces])
    timing = [LinkTiming(s, p, 3) for s, p in ((-100, 26), (100, 26), (0, 100), (-100, 22000), (100, 900))]
    timing += [LinkTiming(k, 26 + k, k) for k in range(3)]
    decoded, _, counters = through_board(transmit(pieces, Transmitter(RUN3, timing)))
    assert rows(decoded.objects) == rows(truth)
    assert counters.flagged == counters.lost == 0
    assert counters.links.realigns.sum() == 0


def test_crowded_orbits():
    """Half of the crossings with muons, up to all slots: nothing depends on there being few."""
    running = Running(occupancy=0.6, cosmics=30, intermediate=1)
    truth, captures, _ = make_run(RUN3, 4, running=running)
    decoded, _, _ = through_board(captures)
    assert rows(decoded.objects) == rows(truth)
    assert truth["second"].max() == 1
    assert set(truth["link"]) >= {0, 1, 4, 5}


def test_thresholds():
    truth, captures, _ = make_run(RUN3, 6)
    selection = BoardSelection((20,) * 4 + (40,) * 4, (12,) + (0,) * 7)
    decoded, _, counters = through_board(captures, selection=selection)
    pt, quality, link = truth["hwPt"], truth["hwQual"], truth["link"]
    keep = (pt >= np.where(link < 4, 20, 40)) & ((link != 0) | (quality >= 12))
    assert rows(decoded.objects) == rows(truth.select(keep))
    assert counters.blocks == len(truth.select(keep))
    with pytest.raises(ValueError, match="8 values"):
        BoardSelection((1,) * 7)


def test_whole_orbits_are_dropped_and_counted():
    truth, captures, _ = make_run(RUN3, 12)
    # not ready for the second packet at first: its orbits are dropped until there is room
    decoded, found, counters = through_board(captures, sink=Keep((2, 3)), orbits_per_packet=4)
    assert (counters.dropped, counters.delivered) == (2, 10)
    assert (found.trailer.dropped, found.trailer.orbits) == (2, 10)
    kept = np.isin(truth.orbit[truth.row], [1004, 1005], invert=True)
    assert rows(decoded.objects) == rows(truth.select(kept))


def test_a_hole_in_the_capture_is_lost_orbits_only_at_its_edges():
    truth, captures, _ = make_run(RUN3, 12)
    decoded, _, counters = through_board([captures[0], captures[2], captures[3], captures[4]])
    # of 1002 some links are whole, those that are early; of 1006 all are
    present = np.setdiff1d(np.arange(1000, 1012), [1002, 1003, 1004, 1005])
    assert set(decoded.objects.orbit) - {1002} == set(present)
    assert decoded.flagged.tolist() == [1002]
    whole = np.isin(truth.orbit[truth.row], present)
    got = decoded.objects
    assert rows(got.select(got.orbit[got.row] != 1002)) == rows(truth.select(whole))
    assert counters.orbits == counters.delivered + counters.idle == 10


def test_orbits_that_no_link_delivers_are_lost():
    """Every link has a wrong CRC for the time of three orbits: counted, and told by the packets' trailers.

    Links are late by up to an orbit's gap, so that the first and the last are damaged on some links only.
    """
    truth, captures, timing = make_run(RUN3, 9)
    bad = Injector(FaultRates(bad_crc=1.0), 1, tuple(t.skew for t in timing)).damage(captures[1:2])
    decoded, found, counters = through_board([captures[0], *bad, *captures[2:]], orbits_per_packet=3)
    assert (counters.orbits, counters.delivered, counters.lost, counters.idle) == (10, 7, 2, 1)
    assert (found.trailer.orbits, found.trailer.dropped) == (7, 2)
    assert decoded.flagged.tolist() == [1002, 1005]
    got = decoded.objects
    whole, whole_truth = (np.isin(b.orbit[b.row], range(1002, 1006), invert=True) for b in (got, truth))
    assert rows(got.select(whole)) == rows(truth.select(whole_truth))
    assert not np.isin(got.orbit, [1003, 1004]).any()


def test_a_packet_with_fewer_orbits_at_the_end():
    _, captures, _ = make_run(RUN3, 5)
    sink = Keep()
    board = Board(sink, orbits_per_packet=2)
    counters = board.run(captures)
    assert counters.packets == 3
    assert counters.bytes == len(sink.bytes.getvalue())


BX_WORDS = {
    # BX; in Run 2 the link's number and 15 for intermediate muons, in Run 3 both etas and a bit for those
    "run2": [0x00000007 | link << 23 | (link > 3) * 0x78000000 for link in range(8)],
    "run3": [0x7FFFE007 | (link > 3) << 31 for link in range(8)],
}


@pytest.mark.parametrize("form", BOARD_FORMATS.values(), ids=list(BOARD_FORMATS))
def test_of_the_frames_before_the_muons_only_the_etas_are_kept(form):
    """Frames 0 and 1 with all bits set: BX, number of the link and its mark stay the board's own."""
    words = np.zeros((1, 8, 3564, 6), np.uint32)
    words[..., :2] = 0xFFFFFFFF
    words[0, 3, 6, 2:] = 0xFFF80BFF, 0x01234567, 0xFFFFFFFF, 0x89ABCDEF  # hwPt 2 and 511
    sender = Transmitter(form)
    sink = Keep()
    Board(sink, form).run([sender.send_words(words.reshape(1, 8, -1), 1000), sender.idle(1001)])
    found = form.find_orbits(sink.bytes.getbuffer())
    ((first, end),) = found.spans
    block = found.rows[first:end]
    assert found.orbit.tolist() == [1000]
    assert block[form.orbit_row].tolist() == [1000] * 8
    assert block[form.bx_row].tolist() == BX_WORDS[form.name]
    assert block[2:, 3].tolist() == [0xFFF80BFF, 0x01234567, 0xFFFFFFFF, 0x89ABCDEF]
    assert not block[2:, np.arange(8) != 3].any()
