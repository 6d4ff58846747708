"""The range of hwPt in which a model may be asked: as far as its validation muons could check it."""

import dataclasses

import numpy as np
import pytest

from l1scout.evaluate.profiles import MIN_MUONS
from l1scout.evaluate.targets import raw_residuals
from l1scout.training.fit import fit
from l1scout.training.recipes import DEFAULT
from l1scout.training.support import checked_hw_pt, checked_pt, without_loss
from toy_muons import toy_dataset


@pytest.fixture(scope="module")
def data():
    return toy_dataset(20_000)


def better(raw):
    return {v: 0.5 * r for v, r in raw.items()}


def test_the_range_ends_where_offline_muons_are_too_few(data):
    hard = np.sort(data["recoPt"])[::-1]
    assert hard[MIN_MUONS] > 20
    edge = checked_pt(data)[1]
    # the last code below the edge: pT = (hwPt - 1) / 2
    assert checked_hw_pt(data, (6, 90)) == (6, min(90, int(2 * edge)))
    soft = data.select(data["recoPt"] < 9)
    assert checked_hw_pt(soft, (6, 90)) == (6, 20)
    assert checked_hw_pt(soft, (6, 12)) == (6, 12)  # never beyond the training muons


def test_a_loss_of_rms_at_the_end_is_left_out_and_said(data):
    raw = raw_residuals(data)
    high = data["hwPt"] > 40
    worse = {v: np.where(high, 1.5, 0.5) * r for v, r in raw.items()}
    (low, end), lost = without_loss(data, worse, raw, (6, 60))
    assert low == 6
    assert 37 <= end <= 40  # codes are judged together until they have enough muons
    assert lost[0][1] == 60
    assert lost[-1][0] == end + 1
    only_eta = {**better(raw), "eta": np.where(high, 1.5, 0.5) * raw["eta"]}
    assert without_loss(data, only_eta, raw, (6, 60))[0][1] < 45


def test_small_losses_and_models_that_lose_everywhere_do_not_move_it(data):
    raw = raw_residuals(data)
    for factor in (1.02, 2):
        found = without_loss(data, {v: factor * r for v, r in raw.items()}, raw, (6, 40))
        assert found == ((6, 40), [])


def test_very_few_muons_say_nothing():
    few = toy_dataset(100).select(np.arange(30))
    assert checked_pt(few) is None
    assert checked_hw_pt(few, (6, 33)) == (6, 33)
    raw = raw_residuals(few)
    assert without_loss(few, better(raw), raw, (6, 33)) == ((6, 33), [])


def test_a_guarded_model_answers_inside_its_range_only_and_the_card_says_it(data):
    recipe = dataclasses.replace(DEFAULT, epochs=2, batch=256)
    card = fit(data, recipe).card
    low, high = card.domain["hwPt"]
    assert (low, high) == checked_hw_pt(data.part("validation"), (low, 90))
    assert high < data["hwPt"].max()
    assert card.training["support"]["offline_pt_gev"] == checked_pt(data.part("validation"))
    free = fit(data, dataclasses.replace(recipe, guard=False, epochs=1)).card
    assert free.domain["hwPt"][1] == data.part("train")["hwPt"].max()
    assert "support" not in free.training
