"""A model whose range of hwPt is smaller than its network: every engine keeps to the card."""

import dataclasses

import numpy as np
import pytest

from hand_made import TINY, firmware_model, look_up_network, network
from l1scout.deploy.engine import create_engine
from l1scout.deploy.engines.table import build
from l1scout.deploy.recalibrate import Recalibrator
from l1scout.formats.streams.muon import ETA_VTX, PHI_VTX, PT

END = 14
"""Of the smaller range; the networks were made for hwPt up to 20."""


def narrowed(model):
    domain = {**TINY, "hwPt": (TINY["hwPt"][0], END)}
    return dataclasses.replace(model, card=dataclasses.replace(model.card, domain=domain))


def every_muon(model):
    """All inputs of the whole domain, as columns."""
    hardware = model.domain.hardware(0, model.domain.entries)
    columns = dict(zip(model.domain.names, hardware, strict=True))
    return {**columns, "tfMuonIndex": np.full(hardware.shape[1], 50, np.int16)}


def test_a_domain_tells_which_muons_are_in_it():
    model = network()
    columns = every_muon(model)
    assert model.domain.holds(columns).all()
    inside = narrowed(model).domain.holds(columns)
    assert np.array_equal(inside, columns["hwPt"] <= END)
    assert inside.sum() == narrowed(model).domain.entries


@pytest.mark.parametrize("name", ["onnx", "fused", "table", "fixed:Q8.16", "firmware"])
def test_harder_muons_pass_unchanged_and_the_others_as_before(name, tmp_path):
    whole = firmware_model() if name == "firmware" else look_up_network()
    columns = every_muon(whole)
    answers = []
    for model in (whole, narrowed(whole)):
        path = tmp_path / f"{len(answers)}.table"
        if name == "table":
            build(model, path)
        answers.append(Recalibrator(model.card, create_engine(name, model, table=path))(columns))
    before, after = answers
    hard = columns["hwPt"] > END
    assert not after.recalibrated[hard].any()
    assert after.reasons["pT outside the training range"] == hard.sum()
    for values, field in ((after.pt, PT), (after.eta, ETA_VTX), (after.phi, PHI_VTX)):
        raw = field.to_physical(columns[field.name][hard]).astype(np.float32)
        np.testing.assert_array_equal(values[hard], raw)
    assert np.array_equal(after.recalibrated[~hard], before.recalibrated[~hard])
    exact = name not in (
        "table",
        "onnx",
    )  # a table's steps follow from its answers; BLAS sums in other orders
    for values, old in ((after.pt, before.pt), (after.eta, before.eta), (after.phi, before.phi)):
        np.testing.assert_allclose(values[~hard], old[~hard], rtol=0, atol=0 if exact else 2e-3)
