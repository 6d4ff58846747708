"""Every type of condition equals a brute-force interpreter in plain Python on random crossings."""

import numpy as np
import pytest

from l1scout.trigger.condition_type import CONDITIONS
from l1scout.trigger.menu import Leg, LegCut, MenuCondition, PairCut
from l1scout.trigger.passing_objects import PassingObjects
from menu_interpreter import as_signal, fulfilled
from random_triggers import as_objects, random_condition, random_inputs

SIGNALS = ("external", "centrality", "muon-shower", "cicada")
TYPES = [name for name in CONDITIONS if name not in SIGNALS]


def evaluate(condition, inputs):
    CONDITIONS[condition.type].check(condition)
    return CONDITIONS[condition.type].evaluate(condition, PassingObjects(inputs))


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


def overlap_inputs():
    """Two taus far apart, a jet on the first and a jet alone, at one crossing."""
    inputs = random_inputs(np.random.default_rng(0), 1)
    for stream, phi in (("tau", (10, 60)), ("jet", (10, 110))):
        for column in inputs.streams[stream].values():
            column[:] = 0
        inputs.streams[stream]["hwPt"][0, :2] = 50
        inputs.streams[stream]["hwPhi"][0, :2] = phi
    return inputs


@pytest.mark.parametrize(("veto", "passes"), [(False, True), (True, False)])
def test_the_two_meanings_of_overlap_removal(veto, passes):
    """In 2018 a jet on a tau vetoes; since 2021 a jet elsewhere is enough."""
    legs = (Leg("TAU", "", 40), Leg("TAU", "", 40), Leg("JET", "", 40))
    condition = MenuCondition("comb-orm", legs, (PairCut("ORMDR", "", 0, 41),), veto)
    assert evaluate(condition, overlap_inputs()).tolist() == [passes]


def test_a_condition_needs_different_objects():
    inputs = random_inputs(np.random.default_rng(0), 1)
    for column in inputs.streams["jet"].values():
        column[:] = 0
    inputs.streams["jet"]["hwPt"][0, :3] = (90, 50, 20)
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
