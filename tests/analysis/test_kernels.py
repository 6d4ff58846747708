"""Pairs within and across crossings, beside plain numpy; and book-keeping."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l1scout.analysis.common.correlation import Correlation
from l1scout.analysis.common.kernels import coincidences, neighbours, pairs
from l1scout.analysis.common.live_time import LiveTime, Section
from l1scout.analysis.common.seen_orbits import SeenOrbits
from l1scout.core.orbit_batch import OrbitBatch
from l1scout.errors import InputError
from l1scout.lhc import ORBIT_FREQUENCY_HZ, ORBITS_PER_LUMISECTION
from l1scout.simulate.run import Running, simulate_run

TIMES = st.lists(st.integers(0, 60), max_size=40).map(sorted)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 8), max_size=30))
def test_pairs_within_a_crossing(counts):
    offsets = np.r_[0, np.cumsum(np.array(counts, np.int64))].astype(np.int64)
    row = np.repeat(np.arange(len(counts)), counts)
    expected = np.argwhere(np.triu(row[:, None] == row, 1))
    np.testing.assert_array_equal(np.stack(pairs(offsets), axis=1), expected)


@settings(max_examples=100, deadline=None)
@given(TIMES, st.integers(1, 5), st.integers(0, 4), st.integers(0, 40))
def test_neighbours_across_crossings(times, low, more, start):
    time = np.array(times, np.int64)
    apart = time - time[:, None]
    expected = np.argwhere((apart >= low) & (apart <= low + more))
    expected = expected[expected[:, 1] >= start]
    expected = expected[np.lexsort((expected[:, 0], expected[:, 1]))]
    np.testing.assert_array_equal(np.stack(neighbours(time, low, low + more, start), axis=1), expected)


def test_neighbours_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match="order of time"):
        neighbours(np.array([3, 2]), 1, 2)
    with pytest.raises(ValueError, match="not 0 to 2"):
        neighbours(np.array([1, 2]), 0, 2)


@settings(max_examples=100, deadline=None)
@given(TIMES, TIMES, st.integers(0, 6), st.randoms())
def test_coincidences_of_two_kinds(first, second, reach, random):
    a, b = np.array(first, np.int64), np.array(second, np.int64)
    kind = np.array([random.randint(-1, 3) for _ in first], np.int64)
    expected = np.zeros((3, 2 * reach + 1), np.int64)
    for t, k in zip(a, kind, strict=True):
        near = np.abs(b - t) <= reach
        if 0 <= k < 3:
            np.add.at(expected[k], b[near] - t + reach, 1)
    np.testing.assert_array_equal(coincidences(a, b, reach, kind, 3), expected)


def test_coincidences_never_count_outside_their_table():
    """Times in another order once wrote beside the table: memory was corrupted."""
    with pytest.raises(ValueError, match="order of time"):
        coincidences(np.array([50]), np.array([48, -(1 << 40)]), 5, np.zeros(1, np.int64), 1)


def test_parts_of_a_window_in_any_order():
    rng = np.random.default_rng(0)
    times = [np.sort(rng.integers(a, a + 1000, 200)) for a in (0, 1000)]
    seen = [SeenOrbits(1, np.array([a]), np.array([a + 1]), slice(0, 0)) for a in (0, 1)]
    found = []
    for order in ((0, 1), (1, 0)):
        pieces = [Correlation() for _ in order]
        for piece, k in zip(pieces, order, strict=True):
            piece.add(times[k], times[k], seen[k])
        pieces[0].merge(pieces[1])
        found.append(pieces[0].pairs.tolist())
    assert found[0] == found[1]
    assert sum(found[0]) > 0


def batch_of(orbits, n_orbits, **rest):
    n = len(orbits)
    return OrbitBatch(np.array(orbits), np.full(n, 7), np.arange(n + 1), {}, n_orbits=n_orbits, **rest)


def test_orbits_are_counted_by_lumisection():
    live, turn = LiveTime(), ORBITS_PER_LUMISECTION
    parts = live.add(batch_of([turn - 3, turn - 1, turn + 1], 5))
    assert [(s.number, b.orbit.tolist()) for s, b in parts] == [(1, [turn - 3, turn - 1]), (2, [turn + 1])]
    # 5 orbits, 3 with muons: all between the first and the last were seen, and the number says where they are
    assert {s.number: seen.orbits for s, seen in live.sections.items()} == {1: 3, 2: 2}
    assert (live.orbits, live.unplaced) == (5, 0)
    assert live.rate(10) == pytest.approx(2 * ORBIT_FREQUENCY_HZ)
    assert live.seconds == pytest.approx(5 / ORBIT_FREQUENCY_HZ)


def test_prescale_and_lost_orbits():
    live = LiveTime(100)
    live.add(batch_of([0, 9], 10))
    live.add(batch_of([20, 29], 10), prescale=4)
    (row,) = live.table()
    assert row["prescale"] == pytest.approx(20 / 12.5)
    assert row["live_fraction"] == pytest.approx(2 / 3)  # orbits 10 to 19 are missing
    live.add(batch_of([], 5))
    assert (live.orbits, live.unplaced) == (25, 5)


def test_lumisections_of_the_data_are_kept():
    live = LiveTime()
    three = np.array([5, 5, 6])
    live.add(batch_of([1, 2, 3], 3, run=np.full(3, 7), lumisection=three))
    assert list(live.sections) == [Section(7, 5), Section(7, 6)]


def test_no_rate_without_orbits():
    live = LiveTime()
    with pytest.raises(InputError, match="no rate"):
        live.add(batch_of([1], None))
    with pytest.raises(InputError, match="has muons in 20"):
        live.add(batch_of(range(20), 10))
    with pytest.raises(InputError, match="more than 10000 sections"):
        LiveTime(1).add(batch_of(range(10_001), 10_001))
    with pytest.raises(InputError, match="not in order"):
        live.add(batch_of([3, 1], 5))
    with pytest.raises(InputError, match="without orbit"):
        live.add(batch_of([-1], 1))
    for prescale in (0.5, float("nan"), float("inf")):
        with pytest.raises(InputError, match="prescale"):
            live.add(batch_of([1], 1), prescale=prescale)
    with pytest.raises(InputError, match="no orbit was seen"):
        live.rate(1)


def test_chunks_that_end_within_an_orbit():
    """As of a file that tells only the sum of its orbits."""
    live = LiveTime()
    for orbits, share in (([0, 0, 1, 2], 2), ([2, 3, 3, 4], 3)):
        live.add(batch_of(orbits, share))
    assert live.orbits == 5
    live.add(batch_of([ORBITS_PER_LUMISECTION - 1, ORBITS_PER_LUMISECTION], 1))
    assert (live.orbits, live.unplaced) == (6, 1)


def test_sections_do_not_depend_on_chunks():
    def table(chunk):
        live = LiveTime(13)
        for piece in simulate_run(1, 60, running=Running(intermediate=0), chunk=60):
            edges = np.searchsorted(piece.muons.orbit, np.arange(0, 60, chunk))
            for a, b in zip(edges, [*edges[1:], len(piece.muons)], strict=True):
                part = piece.muons.select((piece.muons.row >= a) & (piece.muons.row < b))
                n = min(chunk, 60 - int(part.orbit[0]) // chunk * chunk)
                live.add(OrbitBatch(part.orbit, part.bx, part.offsets, part.columns, n_orbits=n))
        return live.table()

    assert table(7) == table(60)
    assert [row["orbits"] for row in table(20)] == [13, 13, 13, 13, 8]
