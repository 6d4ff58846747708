"""OrbitBatch: grouping, selection, joining, and that nothing is copied on the way."""

import awkward as ak
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l1scout.core.orbit_batch import OrbitBatch, concatenate
from l1scout.lhc import BX_PER_ORBIT


def batch(**options) -> OrbitBatch:
    return OrbitBatch(
        np.array([7, 7, 8]),
        np.array([1, 3564, 5]),
        np.array([0, 2, 2, 3]),
        {"hwPt": np.array([10, 20, 30], np.int16)},
        **options,
    )


def test_rows_and_objects():
    b = batch()
    assert (len(b), b.n_objects) == (3, 3)
    assert b.counts.tolist() == [2, 0, 1]
    assert b.row.tolist() == [0, 0, 2]
    assert b.run.tolist() == b.lumisection.tolist() == [0, 0, 0]


def test_objects_in_order_of_time_are_grouped():
    columns = {"x": np.arange(5)}
    b = OrbitBatch.from_objects([1, 1, 1, 2, 2], [9, 9, 10, 9, 9], columns)
    assert b.orbit.tolist() == [1, 1, 2]
    assert b.bx.tolist() == [9, 10, 9]
    assert b.counts.tolist() == [2, 1, 2]
    assert np.shares_memory(b["x"], columns["x"])
    empty = OrbitBatch.from_objects([], [], {"x": np.zeros(0)})
    assert (len(empty), empty.n_objects) == (0, 0)
    with pytest.raises(ValueError, match="object 2 is earlier"):
        OrbitBatch.from_objects([1, 2, 1], [1, 1, 1], {})


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, BX_PER_ORBIT)), max_size=30).map(sorted))
def test_grouping_keeps_every_object(times):
    orbit, bx = (np.array([t[k] for t in times], np.int64) for k in (0, 1))
    b = OrbitBatch.from_objects(orbit, bx, {"i": np.arange(len(times))})
    np.testing.assert_array_equal(b.orbit[b.row], orbit)
    np.testing.assert_array_equal(b.bx[b.row], bx)
    assert len(b) == len(set(times))
    np.testing.assert_array_equal(b["i"], np.arange(len(times)))


def test_dense_offsets_of_an_orbit():
    counts = np.zeros(3565, np.int64)
    counts[[1, 42, 3564]] = [1, 3, 2]
    values = np.arange(6)
    b = OrbitBatch.from_dense(12, np.r_[0, np.cumsum(counts)], {"x": values}, run=np.full(3, 9))
    assert b.bx.tolist() == [1, 42, 3564]
    assert b.counts.tolist() == [1, 3, 2]
    assert (b.n_orbits, set(b.orbit), set(b.run)) == (1, {12}, {9})
    assert np.shares_memory(b["x"], values)
    assert len(OrbitBatch.from_dense(0, np.zeros(3566, int), {})) == 0
    with pytest.raises(ValueError, match="3566 offsets"):
        OrbitBatch.from_dense(0, np.zeros(3565, int), {})
    assert OrbitBatch.from_dense(0, np.r_[0, np.ones(3565, int)], {"x": values[:1]}).bx.tolist() == [0]


def test_select_objects():
    b = batch(run=np.array([1, 2, 3]), n_orbits=5)
    kept = b.select(b["hwPt"] > 10)
    assert kept.bx.tolist() == [1, 5]
    assert kept.counts.tolist() == [1, 1]
    assert kept["hwPt"].tolist() == [20, 30]
    assert kept.run.tolist() == [1, 3]
    assert kept.n_orbits == 5
    every = b.select(b["hwPt"] > 100, drop_empty=False)
    assert (len(every), every.n_objects) == (3, 0)
    assert len(b.select(b["hwPt"] > 100)) == 0


def test_concatenate():
    a, b = batch(n_orbits=2), batch(n_orbits=3, simulated=True)
    both = concatenate([a, b])
    assert (len(both), both.n_objects, both.n_orbits, both.simulated) == (6, 6, 5, True)
    assert both.counts.tolist() == [2, 0, 1] * 2
    assert concatenate([a, batch()]).n_orbits is None
    with pytest.raises(ValueError, match="same columns"):
        concatenate([a, a.with_columns(more=a["hwPt"])])
    with pytest.raises(ValueError, match="one or more"):
        concatenate([])


def test_concatenate_of_parts_is_the_whole():
    rng = np.random.default_rng(0)
    time = np.sort(rng.integers(0, 5 * BX_PER_ORBIT, 300))
    orbit, bx = time // BX_PER_ORBIT, time % BX_PER_ORBIT + 1
    parts = [
        OrbitBatch.from_objects(orbit[orbit == k], bx[orbit == k], {"t": time[orbit == k]}) for k in range(5)
    ]
    whole = OrbitBatch.from_objects(orbit, bx, {"t": time})
    joined = concatenate(parts)
    for name in ("orbit", "bx", "offsets"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))


def test_awkward_view_copies_no_column():
    b = batch()
    array = b.to_awkward()
    assert array.objects.hwPt.to_list() == [[10, 20], [], [30]]
    assert array.bx.to_list() == [1, 3564, 5]
    inside = ak.to_layout(array["objects"]).content["hwPt"].data
    assert np.shares_memory(inside, b["hwPt"])


def test_with_columns_copies_nothing():
    b = batch()
    more = b.with_columns(twice=b["hwPt"] * 2)
    assert np.shares_memory(more["hwPt"], b["hwPt"])
    assert set(b.columns) == {"hwPt"}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"offsets": np.array([0, 2, 1, 3])}, "never fall"),
        ({"offsets": np.array([1, 2, 2, 3])}, "start at 0"),
        ({"offsets": np.array([0, 2, 3])}, "2 rows"),
        ({"columns": {"hwPt": np.zeros(2)}}, "column hwPt"),
        ({"bx": np.array([-1, 1, 2])}, "BX outside 0..3564: -1..2"),
        ({"bx": np.array([1, 1, 3565])}, "BX outside 0..3564: 1..3565"),
        ({"run": np.array([1])}, "run has shape"),
    ],
)
def test_what_does_not_agree_is_refused(change, text):
    b = batch()
    fields = {"orbit": b.orbit, "bx": b.bx, "offsets": b.offsets, "columns": b.columns} | change
    with pytest.raises(ValueError, match=text):
        OrbitBatch(**fields)
