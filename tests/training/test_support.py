"""The range of hwPt in which a model may be asked: as far as its validation muons could check it."""

import numpy as np
import pytest

from l1scout.training.profiles import MIN_MUONS
from l1scout.training.support import checked_pt, supported
from l1scout.training.targets import raw_residuals
from toy_muons import toy_dataset


@pytest.fixture(scope="module")
def data():
    return toy_dataset(20_000)


def better(raw):
    return {v: 0.5 * r for v, r in raw.items()}


def test_the_range_ends_where_offline_muons_are_too_few(data):
    raw = raw_residuals(data)
    hard = np.sort(data["recoPt"])[::-1]
    assert hard[MIN_MUONS] > 20
    (low, high), about = supported(data, better(raw), raw, (6, 90))
    edge = about["offline_pt_gev"][1]
    assert (low, high) == (6, min(90, int(2 * edge)))  # the last code below the edge: pT = (hwPt - 1) / 2
    soft = data.select(data["recoPt"] < 9)
    raw = raw_residuals(soft)
    assert supported(soft, better(raw), raw, (6, 90))[0] == (6, 20)
    assert supported(soft, better(raw), raw, (6, 12))[0] == (6, 12)  # never beyond the training muons


def test_a_loss_of_rms_at_the_end_is_left_out_and_said(data):
    raw = raw_residuals(data)
    high = data["hwPt"] > 40
    worse = {v: np.where(high, 1.5, 0.5) * r for v, r in raw.items()}
    (low, end), about = supported(data, worse, raw, (6, 60))
    assert low == 6
    assert 37 <= end <= 40  # codes are judged together until they have enough muons
    assert about["hw_pt_with_loss"][0][1] == 60
    assert about["hw_pt_with_loss"][-1][0] == end + 1
    only_eta = {**better(raw), "eta": np.where(high, 1.5, 0.5) * raw["eta"]}
    assert supported(data, only_eta, raw, (6, 60))[0][1] < 45


def test_small_losses_and_models_that_lose_everywhere_do_not_move_it(data):
    raw = raw_residuals(data)
    slightly = {v: 1.02 * r for v, r in raw.items()}
    assert supported(data, slightly, raw, (6, 40))[0] == (6, 40)
    bad = {v: 2 * r for v, r in raw.items()}
    found, about = supported(data, bad, raw, (6, 40))
    assert found == (6, 40)
    assert about["hw_pt_with_loss"] == []


def test_very_few_muons_say_nothing():
    few = toy_dataset(100).select(np.arange(30))
    assert checked_pt(few) is None
    raw = raw_residuals(few)
    found, about = supported(few, better(raw), raw, (6, 33))
    assert found == (6, 33)
    assert about["offline_pt_gev"] is None
