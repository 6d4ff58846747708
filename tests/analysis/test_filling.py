"""Filling schemes: read in every form, and found in data with their offset."""

import json

import numpy as np
import pytest

from l1scout.analysis.common.counts import CrossingCounts
from l1scout.analysis.common.schemes import Scheme, find_scheme, load_scheme, parse_notation
from l1scout.errors import InputError
from l1scout.lhc import FILLING_SCHEMES, colliding
from l1scout.simulate.run import Running, simulate_run


def test_notation_of_the_lhc():
    told = parse_notation(FILLING_SCHEMES["2018"])
    assert told == (25, 2556, 2544, 2215, 2332, 144, 20)
    assert parse_notation("2024") is None
    with pytest.raises(InputError, match="3 BX collide, its name says 2544"):
        Scheme(FILLING_SCHEMES["2018"], np.arange(1, 4))


def test_trains_and_empty_bx():
    scheme = Scheme("x", np.array([1, 2, 3, 10, 3563, 3564]))
    assert scheme.ranges == [[1, 3], [10, 10], [3563, 3564]]
    assert scheme.first.tolist() == [10, 3563]  # 3564 is followed by 1
    assert scheme.last.tolist() == [3, 10]
    assert set(range(1, 15)) - set(scheme.empty().tolist()) == {1, 2, 3, 10}
    assert scheme.empty(before=2, after=1)[:3].tolist() == [5, 6, 7]


def beams(bx):
    beam = np.zeros(3564, int)
    beam[np.asarray(bx) - 1] = 1
    return beam


@pytest.mark.parametrize(
    "content",
    [
        [5, 6, 7, 9],
        [[5, 7], [9, 9]],
        {"bx": [9, 5, 6, 7]},
        {"ranges": [[5, 7], [9, 9]], "name": "mine"},
        {"schemes": {"one": [[1, 2]], "two": [[5, 7], [9, 9]]}},
        {"beam1": beams([5, 6, 7, 9, 11]).tolist(), "beam2": beams([3, 5, 6, 7, 9]).tolist()},
    ],
)
def test_json_schemes(tmp_path, content):
    path = tmp_path / "scheme.json"
    path.write_text(json.dumps(content))
    name = f"{path}#two" if "schemes" in content else str(path)
    assert load_scheme(name).bx.tolist() == [5, 6, 7, 9]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("7", "not a filling scheme"),
        ('{"bx": ["a"]}', "not a filling scheme"),
        ("[[1, 99999]]", "not a filling scheme"),
        ("[0, 1]", "BX must be"),
        ('{"beam1": [1], "beam2": [1]}', "3564 places"),
        ('{"schemes": {"a": [], "b": []}}', "pick one"),
        ("[[81, 90], [120, 111]]", r"\[120, 111\] runs backwards; write \[111, 120\]"),
        ("[81.5]", "whole number"),
        (json.dumps({"beam1": [-1] * 3564, "beam2": [1] * 3564}), "each 0 or the intensity"),
        ('{"beam1": ["NaN"], "beam2": [1]}', "not a filling scheme|3564 places"),
    ],
)
def test_what_is_no_scheme(tmp_path, text, message):
    path = tmp_path / "scheme.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        load_scheme(str(path))


def test_a_scheme_with_a_reversed_range_is_refused(shared_cases):
    with pytest.raises(InputError, match="runs backwards"):
        load_scheme(str(shared_cases / "11_scheme_reversed_range.json"))


def test_intensities_below_one_are_bunches(tmp_path):
    path = tmp_path / "scheme.json"
    one, two = 0.3 * beams([5, 6, 7, 11]), 1.1e-3 * beams([5, 6, 7, 9])
    path.write_text(json.dumps({"beam1": one.tolist(), "beam2": two.tolist()}))
    assert load_scheme(str(path)).bx.tolist() == [5, 6, 7]


def test_a_name_that_begins_another_is_its_own(tmp_path):
    path = tmp_path / "scheme.json"
    path.write_text(json.dumps({"schemes": {"fill 12": [5], "fill 1": [7], "other": [9]}}))
    picked = {n: load_scheme(f"{path}#{n}").bx.tolist() for n in ("fill 1", "fill 12", "oth", "ther")}
    assert picked == {"fill 1": [7], "fill 12": [5], "oth": [9], "ther": [9]}
    with pytest.raises(InputError, match="pick one"):
        load_scheme(f"{path}#fill")


@pytest.mark.parametrize(
    ("name", "colliding_bx"),
    [
        ("25ns_2760b_2748_2492_2574_288bpi_13inj_800ns_bs200ns", 2748),
        ("8b4e_1972b_1960_1178_1886_224bpi_12inj_800ns_bs200ns", 1960),
    ],
)
def test_schemes_of_the_lhc_programme(shared_data, name, colliding_bx):
    assert load_scheme(str(shared_data / "more" / f"{name}.json")).bx.size == colliding_bx


def test_known_schemes():
    assert load_scheme("2024").bx.size == 2340
    assert load_scheme(FILLING_SCHEMES["2018"]).bx.size == 2544
    assert load_scheme("none").bx.size == 0
    with pytest.raises(InputError, match="no such file"):
        load_scheme("nothing-there")


def counts(orbits, **conditions):
    state = CrossingCounts()
    for piece in simulate_run(1, orbits, running=Running(intermediate=0, **conditions), chunk=200):
        state.add(piece.muons)
    return state.all_muons


@pytest.mark.parametrize(("scheme", "offset"), [("2018", 0), ("2024", -19), ("2018", 700)])
def test_the_scheme_and_its_offset_are_found(scheme, offset):
    n = np.r_[0, np.roll(counts(400, scheme=scheme)[1:], offset)]
    found = find_scheme(n, 400)
    assert (found.known, found.offset, found.missing, found.extra) == (scheme, offset, 0, 0)
    assert found.undecided.size <= 3
    np.testing.assert_array_equal(found.scheme.bx, np.sort((colliding(scheme) - 1 + offset) % 3564 + 1))
    assert found.level[1] == pytest.approx(Running(scheme).nominal, rel=0.01)
    assert found.next_best > 50


def test_bunches_that_are_missing_or_extra():
    found = find_scheme(counts(400, bunches=((81, 0.0), (3500, 0.8))), 400)
    assert (found.missing, found.extra, found.offset) == (1, 1, 0)


def test_a_scheme_that_is_not_known():
    n = np.random.default_rng(1).poisson(0.1, 3565)
    n[[100, 200, 1500]] = 80
    found = find_scheme(n, 100)
    assert found.scheme.bx.tolist() == [100, 200, 1500]
    assert found.known == ""


def test_few_data_are_undecided_and_no_beam_is_none():
    assert find_scheme(counts(30), 30).undecided.size > 100
    empty = find_scheme(counts(400, occupancy=0, cosmics=50), 400)
    assert (empty.scheme.bx.size, empty.known) == (0, "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "not JSON"),
        ("[1e300]", "a BX is a whole number from 1 to 3564"),
        ('{"schemes": {"a": [1], "b\\nc": [2]}}', r"pick one scheme with .*: a; b\\nc"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_hostile_json(tmp_path, text, message):
    path = tmp_path / "scheme.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        load_scheme(str(path))


@pytest.mark.parametrize(
    "name", ["25ns_" + "9" * 5000 + "b_1_1_1_1bpi_1inj", "9" * 60_000, "\ud800\x1b[31m\n"]
)
def test_hostile_names(tmp_path, name):
    path = tmp_path / "scheme.json"
    path.write_text(json.dumps({"name": name, "bx": [1]}))
    found = load_scheme(str(path)).name
    assert found.isprintable()
    assert len(found) < 300
