"""Which muons the numbers of an evaluation are of."""

import dataclasses

import numpy as np
import pytest

from hand_made import model
from l1scout.deploy.engines.onnx import OnnxEngine
from l1scout.deploy.recalibrate import Recalibrator
from l1scout.evaluate.evaluation import evaluate
from l1scout.evaluate.metrics import scores
from l1scout.evaluate.targets import raw_residuals
from l1scout.model.directory import Model
from l1scout.simulate.kinds import HARD
from toy_muons import toy_dataset


def unchanging(**card):
    made = Model(*model(bias=(0, 0, 0), **card))
    return {"none": Recalibrator(made.card, OnnxEngine(made))}


@pytest.fixture(scope="module")
def models():
    return unchanging()


def changed(**columns):
    data = toy_dataset(4000)
    return dataclasses.replace(data, columns={**data.columns, **columns})


def test_the_nine_metrics_are_of_the_papers_part_and_the_others_are_shown_beside(models):
    rng = np.random.default_rng(1)
    kind = np.where(rng.random(4000) < 0.3, HARD, 0).astype(np.int8)
    data = changed(simKind=kind)
    test = data.part("test")
    soft = test.select(test["simKind"] != HARD)
    found = evaluate(data, models)
    assert found.raw_scores == scores(raw_residuals(soft)) != scores(raw_residuals(test))
    assert found.selection.startswith(f"{len(soft):,} of {len(test):,} muons, the paper's selection (2.5 <=")
    assert found.as_dict()["selection"] == found.selection
    assert found.without_floor.muons == np.count_nonzero(soft["hwPt"] > 6)
    every = found.outside[0]
    assert (every.name, every.raw) == ("all muons of the data set", scores(raw_residuals(test)))


def test_without_other_muons_nothing_is_left_out(models):
    data = toy_dataset(4000)
    found = evaluate(data, models)
    n = len(data.part("test"))
    assert found.selection.startswith(f"all muons, {n:,} of {n:,}")
    assert "all muons" not in found.outside[0].name


def test_a_data_set_without_the_papers_muons_is_compared_as_a_whole():
    endcap = changed(tfMuonIndex=np.zeros(4000, np.int8))
    found = evaluate(endcap, unchanging(finders=("emtf",)))
    assert found.selection.startswith(f"all {len(found.data):,} muons, none of the paper's selection")
    assert found.raw_scores == scores(raw_residuals(found.data))
