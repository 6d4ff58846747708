"""Weights for bins of offline quantities: raised where a bin loses, up to a price and a largest weight."""

import numpy as np
import pytest

from l1scout.errors import InputError
from l1scout.evaluate.targets import raw_residuals
from l1scout.report.result_tables import offline_guard_lines
from l1scout.training import offline_guard
from l1scout.training.fit import fit
from l1scout.training.recipes import RECIPES
from toy_muons import toy_dataset


@pytest.fixture(scope="module")
def data():
    return toy_dataset(10_000)


@pytest.fixture(scope="module")
def raw(data):
    return raw_residuals(data)


class Model:
    """A network whose hard muons are `loss` times as far off as the raw trigger's, all others half as far."""

    def __init__(self, data, raw, respond, cost=0.0):
        self.hard, self.raw, self.respond, self.cost = data["recoPt"] > 15, raw, respond, cost
        self.loss, self.soft, self.seen = 1.5, 0.5, []

    def get_weights(self):
        return [self.loss, self.soft]

    def set_weights(self, weights):
        self.loss, self.soft = weights

    def again(self, weights):
        self.seen.append(weights.copy())
        self.loss *= self.respond
        self.soft *= 1 + self.cost

    def check(self):
        return {v: np.where(self.hard, self.loss, self.soft) * r for v, r in self.raw.items()}

    def train(self, data, most=0.5):
        return offline_guard.train(self, self.again, self.check, data, self.raw, most)


def test_excess_is_of_the_bins_that_lose(data, raw):
    low = data["recoPt"] < 5
    worse = {**raw, "eta": np.where(low, 1.2, 0.8) * raw["eta"]}
    found = offline_guard.excess(data, worse, raw)
    bins = offline_guard.bins(data)
    assert bins.shape == (3, len(data))
    many = np.bincount(bins.ravel()) >= 50
    assert (found[np.unique(bins[0][low]), 1] > 0.1).all()
    assert (found[np.unique(bins[0][~low]), 1] < 0).all()
    assert (found[: many.size][many, 0] <= 0.01).all()


def test_weights_rise_until_no_bin_loses(data, raw):
    model = Model(data, raw, respond=0.8)
    found = model.train(data)
    assert found["ended"] == "all bins are safe"
    assert found["left"] == []
    assert model.loss < 1
    assert 1 < found["largest_weight"] <= 3**offline_guard.ROUNDS
    assert np.all(np.diff([w.max() for w in model.seen]) >= 0)


def test_bins_that_do_not_respond_are_given_up(data, raw):
    model = Model(data, raw, respond=1.0)
    found = model.train(data)
    assert found["ended"] == "no bin is left that responds"
    assert len(model.seen) == offline_guard.GIVEN_UP
    assert found["left"]
    assert found["largest_weight"] == 1
    lines = offline_guard_lines(found)
    assert len(lines) == 3 + len(found["left"])
    assert "no bin is left that responds" in lines[0]


def test_the_rounds_end_at_the_price_and_the_last_affordable_state_is_kept(data, raw):
    model = Model(data, raw, respond=0.95, cost=0.004)
    found = model.train(data, most=0.03)
    assert found["ended"] == "more would cost over 3 %"
    assert offline_guard.price(model.check(), Model(data, raw, 1).check()) <= 0.03
    assert len(model.seen) >= 2
    assert model.soft < 0.5 * 1.004 ** len(model.seen)  # the state before the last


def test_a_muon_weighs_ten_times_as_much_at_most(data):
    weights = np.full((offline_guard._FIRST[-1], 3), 4.0)
    assert (offline_guard.of_muons(weights, data) == offline_guard.MAX_WEIGHT).all()


def test_recipes_of_the_paper_cannot_weigh_muons(data):
    with pytest.raises(InputError, match="cannot weigh muons"):
        fit(data, RECIPES["A"], guard_price=0.03)
