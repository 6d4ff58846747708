"""Every type of condition equals a brute-force interpreter in plain Python on random crossings."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l1scout.errors import InputError
from l1scout.trigger.condition_type import CONDITIONS
from l1scout.trigger.crossing_bits import count, crossings_of, invert, pack_crossings, unpack
from l1scout.trigger.menu import Leg, LegCut, MenuCondition, PairCut
from l1scout.trigger.trigger_inputs import StreamObjects, TriggerInputs
from menu_interpreter import as_signal, fulfilled
from random_triggers import as_objects, evaluate, random_condition, random_inputs, random_slots

SIGNALS = ("external", "centrality", "muon-shower", "cicada")
TYPES = [name for name in CONDITIONS if name not in SIGNALS]


@pytest.mark.parametrize("type_", TYPES)
def test_conditions_equal_the_interpreter(type_):
    rng = np.random.default_rng(TYPES.index(type_))
    some = 0
    for wrap in (False, True):
        inputs = random_inputs(rng, 150, wrap)
        data = as_objects(inputs)
        for _ in range(8):
            condition = random_condition(rng, type_)
            got = evaluate(condition, inputs).tolist()
            assert got == [fulfilled(data, k, condition, wrap) for k in range(150)], condition
            some += 0 < sum(got) < 150
    assert some >= 6  # conditions that pass always or never would test nothing


@pytest.mark.parametrize("type_", SIGNALS)
@pytest.mark.parametrize("wrap", [False, True])
def test_signals_equal_the_interpreter(type_, wrap):
    rng = np.random.default_rng(5)
    inputs = random_inputs(rng, 200, wrap)
    data = as_objects(inputs)
    thresholds = {
        "external": (0, 77, 255),
        "centrality": (0, 7),
        "muon-shower": (0, 2, 6),
        "cicada": (20_000, 50_000),
    }
    for threshold in thresholds[type_]:
        for offset in (-2, 0, 1):
            condition = MenuCondition(type_, (Leg(type_, type_, threshold, offset=offset),))
            got = evaluate(condition, inputs).tolist()
            assert got == [as_signal(data, inputs, k, condition) for k in range(200)]
            assert 0 < sum(got) < 200


def test_crossings_before_the_first_and_after_the_last_are_empty_unless_the_orbit_wraps():
    rng = np.random.default_rng(1)
    for offset, place in ((-1, 0), (2, -2)):
        condition = MenuCondition("single", (Leg("MU", "MU0", 0, equal=True, offset=offset),))
        assert evaluate(condition, random_inputs(rng, 20, wrap=False))[place]  # hwPt 0 everywhere
    signal = MenuCondition("external", (Leg("EXT", "", 3, offset=1),))
    for wrap in (False, True):
        inputs = random_inputs(rng, 20, wrap)
        inputs.external[:] = False
        inputs.external[0, 3] = True
        assert np.flatnonzero(evaluate(signal, inputs)).tolist() == ([19] if wrap else [])


def one_crossing(**streams):
    """A crossing in which the streams have objects with these columns, and nothing else."""
    slots = random_slots(np.random.default_rng(0), 1)
    for stream, columns in slots.items():
        for name, column in columns.items():
            column[:] = 0
            given = streams.get(stream, {}).get(name, ())
            column[0, : len(given)] = given
    return TriggerInputs(1, {name: StreamObjects.of_slots(columns) for name, columns in slots.items()})


def overlap_inputs():
    """Two taus far apart, a jet on the first and a jet alone, at one crossing."""
    return one_crossing(tau={"hwPt": (50, 50), "hwPhi": (10, 60)}, jet={"hwPt": (50, 50), "hwPhi": (10, 110)})


@pytest.mark.parametrize(("veto", "passes"), [(False, True), (True, False)])
def test_the_two_meanings_of_overlap_removal(veto, passes):
    """In 2018 a jet on a tau vetoes; since 2021 a jet elsewhere is enough."""
    legs = (Leg("TAU", "", 40), Leg("TAU", "", 40), Leg("JET", "", 40))
    condition = MenuCondition("comb-orm", legs, (PairCut("ORMDR", "", 0, 41),), veto)
    assert evaluate(condition, overlap_inputs()).tolist() == [passes]


def test_a_condition_needs_different_objects():
    inputs = one_crossing(jet={"hwPt": (90, 50, 20)})
    for thresholds, passes in (
        ((90, 50), True),
        ((90, 90), False),
        ((20, 20, 20), True),
        ((50, 50, 20), True),
    ):
        condition = MenuCondition("comb", tuple(Leg("JET", "", t) for t in thresholds))
        assert evaluate(condition, inputs).tolist() == [passes]
    twelve = MenuCondition("comb", (Leg("JET", "", 0),) * 12)
    assert evaluate(twelve, inputs).tolist() == [True]


@pytest.mark.parametrize(
    ("condition", "why"),
    [
        (MenuCondition("dist", (Leg("MU", ""),) * 2), "without a cut DETA or DPHI or DR"),
        (MenuCondition("comb", (Leg("MU", ""), Leg("EG", ""))), "of EG and MU"),
        (MenuCondition("comb", (Leg("EG", ""),) * 2, (PairCut("CHGCOR", "", 1, 1),)), "without a charge"),
        (MenuCondition("comb", (Leg("EG", ""),)), "it has 2 to 12"),
        (MenuCondition("dist", (Leg("EG", ""), Leg("ETM", "")), (PairCut("DETA", "", 0, 1),)), "has no eta"),
        (MenuCondition("dist", (Leg("EG", ""),) * 2, (PairCut("MASS", "", 0, 1),)), "cuts MASS in dist"),
        (MenuCondition("comb-orm", (Leg("EG", ""),) * 3, (PairCut("ORMDR", "", 0, 1),)), "EG with EG"),
    ],
)
def test_conditions_that_are_not_known_are_refused(condition, why):
    with pytest.raises(ValueError, match=why):
        CONDITIONS[condition.type].check(condition)


def test_windows_of_one_type_are_alternatives():
    inputs = random_inputs(np.random.default_rng(2), 500)
    halves = [LegCut("ETA", "", -225, -1), LegCut("ETA", "", 0, 225)]
    legs = [Leg("MU", "", 10, cuts=cuts) for cuts in ((), (halves[0],), (halves[1],), tuple(halves))]
    every, low, high, both = (evaluate(MenuCondition("single", (leg,)), inputs) for leg in legs)
    np.testing.assert_array_equal(both, every)
    assert low.sum() < every.sum() > high.sum()


def test_a_value_of_eta_that_no_word_can_have_is_refused_before_a_table_is_asked():
    inputs = one_crossing(muon={"hwPt": (20, 20), "hwEtaAtVtx": (-3000, 3000)})
    condition = MenuCondition("dist", (Leg("MU", "", 1),) * 2, (PairCut("DETA", "", 0, 100),))
    with pytest.raises(InputError, match=r"hwEtaAtVtx -3000..3000 is outside -256..255"):
        evaluate(condition, inputs)


@pytest.mark.parametrize(
    ("crossing", "offsets", "values"),
    [
        ([3, 2], [0, 1, 2], 2),
        ([2, 8], [0, 1, 2], 2),
        ([-1, 2], [0, 1, 2], 2),
        ([1, 2], [0, 1, 10], 10),
        ([1], [0, 1], 2),
    ],
)
def test_objects_that_are_not_in_order_or_too_many_are_refused(crossing, offsets, values):
    objects = StreamObjects(np.array(crossing), np.array(offsets), {"hwPt": np.ones(values, np.int16)})
    with pytest.raises(ValueError, match="muon"):
        TriggerInputs(8, {"muon": objects})


@given(st.integers(1, 200), st.data())
def test_bits_of_crossings_are_those_that_were_packed(number, data):
    chosen = data.draw(st.sets(st.integers(0, number - 1)))
    words = pack_crossings(np.array(sorted(chosen), np.int64), number)
    assert crossings_of(words).tolist() == sorted(chosen) == np.flatnonzero(unpack(words, number)).tolist()
    assert crossings_of(invert(words, number)).tolist() == sorted(set(range(number)) - chosen)
    assert count(words) == len(chosen)
    with pytest.raises(ValueError, match="outside"):
        pack_crossings(np.array([number]), number)
