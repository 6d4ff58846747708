"""A model on several samples: all variables combined, and the record."""

import numpy as np
import pytest

from l1scout.evaluate.carried import combined_gain, record, recorded


def residuals(seed, scale=1.0, n=60):
    random = np.random.default_rng(seed)
    return {v: scale * random.standard_normal(n) for v in ("phi", "eta", "pt")}


def test_a_clear_gain_in_one_variable_is_significant():
    raw = residuals(1)
    found = combined_gain({**raw, "pt": 0.5 * raw["pt"]}, raw)
    assert found.ratio.value == pytest.approx(0.5 ** (1 / 3))
    assert found.ratio.error < 0.05
    assert found.p_value < 0.001


def test_no_change_is_no_gain():
    raw = residuals(1)
    found = combined_gain(raw, raw)
    assert (found.ratio.value, found.p_value) == (1.0, 1.0)


def test_gain_in_one_variable_and_loss_in_another_cancel():
    raw = residuals(2)
    found = combined_gain({"phi": 2 * raw["phi"], "eta": 0.5 * raw["eta"], "pt": raw["pt"]}, raw)
    assert found.ratio.value == pytest.approx(1.0)
    assert 0.2 < found.p_value < 0.8


def test_chance_is_as_often_significant_as_it_should_be():
    """Of equally good measurements 20 % have p-values below 0.2."""
    p = [combined_gain(residuals(k, n=30), residuals(k + 500, n=30)).p_value for k in range(30)]
    assert 1 <= np.count_nonzero(np.array(p) < 0.2) <= 13


def test_a_record_is_read_as_it_was_written(tmp_path):
    about, models = recorded()
    record(about, models, tmp_path / "record.json")
    again = recorded(tmp_path / "record.json")
    assert repr(again) == repr((about, models))
    assert models[0].samples[0].muons > 0
