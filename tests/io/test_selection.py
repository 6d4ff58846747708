"""Data selected by run and lumisection: no orbit outside the selection counts."""

import json

import numpy as np
import pytest

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import OrbitData
from l1scout.errors import InputError
from l1scout.io.selection import DataSelection, Selector, parse_ranges, read_golden

LS = 1 << 18


def batch(orbits, n_orbits, run=5, lumisection=None, offline=False):
    orbits = np.asarray(orbits, np.int64)
    n = orbits.size
    columns = {"hwPt": np.arange(1, 2 * n + 1)}
    offsets = np.arange(0, 2 * n + 1, 2)
    more = {"run": np.broadcast_to(run, n), "n_orbits": n_orbits}
    if lumisection is not None:
        more["lumisection"] = np.asarray(lumisection)
    l1 = OrbitBatch(orbits, np.ones(n, np.int64), offsets, columns, **more)
    return OrbitData.of_muons(l1, l1 if offline else None, "a.raw")


def select(data, **selection):
    selector = Selector(DataSelection(**selection))
    return selector, list(selector.apply(data))


def test_ranges():
    assert parse_ranges("--runs", "380963, 381000-381010") == ((380963, 380963), (381000, 381010))
    for text in ("", "5-3", "-3", "a", "1,,2", "1-2-3", "9" * 11):
        with pytest.raises(InputError, match="--runs"):
            parse_ranges("--runs", text)


def test_a_batch_over_a_boundary_is_split_exactly():
    """Orbits LS - 5 to LS + 4, muons in some: empty orbits go where their number says."""
    data = [batch([LS - 5, LS - 4, LS + 3, LS + 4], 10)]
    first, kept = select(data, lumisections=((1, 1),))
    assert [e.muons.n_orbits for e in kept] == [5]
    assert kept[0].muons.orbit.tolist() == [LS - 5, LS - 4]
    assert kept[0].muons["hwPt"].tolist() == [1, 2, 3, 4]
    second, rest = select(data, lumisections=((2, 9),))
    assert [e.muons.n_orbits for e in rest] == [5]
    assert (first.kept, first.left_out, first.uncertain) == (second.left_out, second.kept, 0)


def test_a_batch_that_does_not_say_which_orbits_were_seen_is_shared_out_and_said_so():
    selector, kept = select([batch([LS - 5, LS - 4, LS + 3, LS + 4], 8)], lumisections=((1, 1),))
    assert kept[0].muons.n_orbits == 4
    assert (selector.kept, selector.left_out, selector.uncertain) == (4, 4, 4)


def test_empty_orbits_belong_to_their_neighbours():
    data = [batch([], 7), batch([10, 12], 3), batch([], 5), batch([LS, LS + 1], 2), batch([], 11)]
    assert select(data, lumisections=((1, 1),))[0].kept == 7 + 3 + 5
    assert select(data, lumisections=((2, 2),))[0].kept == 2 + 11


def test_golden_json(tmp_path, shared_data):
    path = tmp_path / "golden.json"
    path.write_text(json.dumps({"5": [[1, 1], [3, 9]], "7": [[2, 2]]}))
    golden = read_golden(path)
    data = [batch([10, 12], 3), batch([LS, LS + 1], 2), batch([10], 1, run=7), batch([LS], 1, run=7)]
    _, kept = select(data, golden=golden)
    assert [(int(e.muons.run[0]), e.muons.n_orbits) for e in kept] == [(5, 3), (7, 1)]
    real = read_golden(next((shared_data / "more").glob("Cert_*")))
    assert real[297050] == ((12, 137), (193, 776))


@pytest.mark.parametrize(
    "text", ["[", "[]", "{}x", '{"a": [[1, 2]]}', '{"1": [[2, 1]]}', '{"1": [[1.5, 2]]}']
)
def test_what_is_not_a_golden_json(tmp_path, text):
    path = tmp_path / "golden.json"
    path.write_text(text)
    with pytest.raises(InputError, match="not a golden JSON"):
        read_golden(path)
    with pytest.raises(InputError, match="no such file"):
        read_golden(tmp_path / "none.json")


def test_triggered_events_keep_their_offline_muons():
    data = [batch([1, 5, 9], None, lumisection=[1, 2, 3], offline=True)]
    _, (kept,) = select(data, lumisections=((2, 3),))
    assert kept.muons.n_orbits is None
    assert kept.offline.orbit.tolist() == [5, 9]


def test_lumisections_that_the_file_states_win_over_orbit_numbers():
    _, (kept,) = select([batch([1, 2, 3], 3, lumisection=[40, 40, 41])], lumisections=((40, 40),))
    assert kept.muons.orbit.tolist() == [1, 2]


def test_data_that_cannot_be_selected_are_refused():
    with pytest.raises(InputError, match=r"a\.raw: does not state its run"):
        select([batch([1], 1, run=0)], runs=((5, 5),))
    with pytest.raises(InputError, match="states neither lumisection nor orbit"):
        select([batch([-1], None)], lumisections=((5, 5),))
    with pytest.raises(InputError, match="the data have run 5 lumisections 1-2"):
        select([batch([1, LS], 2)], runs=((6, 9),))
    with pytest.raises(InputError, match="the data have none"):
        select([batch([], 5)], runs=((6, 9),))


def test_no_selection_changes_nothing():
    data = [batch([1], None, run=0), batch([], 3)]
    assert select(data)[1] == data


def test_equal_orbit_numbers_of_two_runs_are_different_orbits():
    """Four of eight orbits with muons are of run 1: half of the empty ones are taken for it."""
    events = batch([0, 1, 2, 3] * 2, 16, run=[1] * 4 + [2] * 4)
    selector, kept = select([events], runs=((1, 1),))
    assert [e.muons.n_orbits for e in kept] == [8]
    assert (selector.kept, selector.left_out, selector.uncertain) == (8, 8, 8)


def test_memory_does_not_grow_with_the_orbits_that_a_file_states():
    selector, kept = select([batch([0, 10**13], 10**13 + 1)], lumisections=((1, 1),))
    assert kept[0].muons.orbit.tolist() == [0]
    assert selector.uncertain == 10**13 - 1


@pytest.mark.parametrize("text", ['{"5": [[true, true]]}', "[" * 100_000, '{"5": ' + "[" * 100_000])
def test_golden_json_that_is_none(tmp_path, text):
    path = tmp_path / "golden.json"
    path.write_text(text)
    with pytest.raises(InputError, match="not a golden JSON"):
        read_golden(path)
