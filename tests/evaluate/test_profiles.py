"""Bins: where muons go, and which bins are called worse."""

import numpy as np
import pytest

from l1scout.evaluate.profiles import AXES, MIN_MUONS, Axis, profile
from l1scout.evaluate.targets import raw_residuals
from toy_muons import toy_dataset


def test_every_muon_inside_the_axis_is_in_one_bin():
    data = toy_dataset(5000)
    raw = raw_residuals(data)
    for axis in AXES:
        x = data[axis.column]
        inside = np.count_nonzero((x >= axis.edges[0]) & (x <= axis.edges[-1]))
        assert profile(data, axis, raw, {}).muons.sum() == inside


def test_numbers_of_a_bin_by_hand():
    data = toy_dataset(5000)
    raw = raw_residuals(data)
    axis = Axis("pt", "recoPt", "", (3.0, 5.0, 8.0))
    keep = (data["recoPt"] >= 3) & (data["recoPt"] < 5)
    found = profile(data, axis, raw, {}).raw
    assert found["pt"]["bias"][0].value == pytest.approx(raw["pt"][keep].mean())
    assert found["phi"]["rms"][0].value == pytest.approx(np.sqrt(np.mean(raw["phi"][keep] ** 2)))
    assert found["phi"]["tail"][0].value == pytest.approx(np.mean(np.abs(raw["phi"][keep]) > 0.1))
    # The field bends both charges apart by as much: only charge times residual has a mean.
    assert found["phi"]["bias"][0].value == pytest.approx(np.mean((raw["phi"] * data["recoCharge"])[keep]))
    assert found["phi"]["bias"][0].value > 0.1


def test_a_model_is_called_worse_where_it_is_and_nowhere_else():
    data = toy_dataset(20_000)
    raw = raw_residuals(data)
    high = data["recoPt"] > 10
    model = {v: np.where(high, 1.3, 0.7) * r for v, r in raw.items()}
    axis = Axis("pt", "recoPt", "", (3.0, 5.0, 10.0, 20.0))
    found = profile(data, axis, raw, {"B": model}).worse["B"]
    for v in raw:
        for q in ("rms", "width"):
            assert found[v][q].tolist() == [False, False, True]


def test_an_equal_model_is_never_worse_and_few_muons_say_nothing():
    data = toy_dataset(5000)
    raw = raw_residuals(data)
    for axis in AXES:
        p = profile(data, axis, raw, {"same": raw})
        assert not any(mask.any() for by in p.worse["same"].values() for mask in by.values())
    few = data.select(np.arange(MIN_MUONS - 1))
    p = profile(few, AXES[0], raw_residuals(few), {"same": raw_residuals(few)})
    assert all(np.isnan(m.value) for series in p.raw["pt"].values() for m in series)
    assert p.as_dict()["raw"]["pt"]["rms"][0] == {"value": None, "error": None}


def test_a_tail_out_of_nothing_is_worse():
    data = toy_dataset(2000)
    zero = {v: np.zeros(2000) for v in ("phi", "eta", "pt")}
    one = {v: np.full(2000, 1.0) for v in zero}
    found = profile(data, AXES[2], zero, {"bad": one}).worse["bad"]
    assert found["eta"]["tail"].all()
