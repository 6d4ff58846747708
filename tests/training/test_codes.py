"""Networks with a vector for each code: what they learn, and that what is exported is what was trained."""

import dataclasses

import keras
import numpy as np
import pytest

from l1scout.deploy.engine import make
from l1scout.deploy.fused import FusedEngine
from l1scout.evaluate.targets import raw_residuals
from l1scout.formats.streams.muon import ETA_VTX
from l1scout.model.directory import load_model
from l1scout.training import codes
from l1scout.training.export import probes, save
from l1scout.training.fit import fit, fit_parts
from l1scout.training.recipes import DEFAULT, RECIPES, quiet_copies
from toy_muons import toy_dataset

QUICK = dataclasses.replace(RECIPES["balanced"], epochs=6, batch=128)


@pytest.fixture(scope="module")
def lattice():
    """Toy muons whose trigger puts every second code of eta two codes too high."""
    data = toy_dataset(20_000)
    hw = data["hwEtaAtVtx"]
    rng = np.random.default_rng(2)
    eta = ETA_VTX.to_physical(hw - 2 * (hw % 2)) + 0.002 * rng.standard_normal(len(data))
    return dataclasses.replace(data, columns={**data.columns, "recoEta": eta.astype(np.float32)})


@pytest.fixture(scope="module")
def trained(lattice):
    return fit(lattice, QUICK)


def test_answers_jump_from_code_to_code_where_those_of_a_plain_network_cannot(lattice, trained):
    small = fit(lattice, dataclasses.replace(QUICK, codes=(), widths=(32, 32, 32)))
    raw = np.sqrt(np.mean(raw_residuals(lattice.part("validation"))["eta"] ** 2))
    assert trained.validation.model.rms["eta"].value < 0.4 * raw
    assert small.validation.model.rms["eta"].value > 0.6 * raw


def test_the_ramps_answer_as_the_vectors_do_on_all_integers(trained):
    """A trained network of `build`, and `plain` of it, at all pT and eta codes."""
    card = trained.card
    keras.utils.set_random_seed(5)
    model = codes.build(QUICK, card)
    rng = np.random.default_rng(5)
    for w in model.weights:  # as far from the start as a training takes it
        w.assign(rng.uniform(0.5, 1.5, w.shape) if "variance" in w.path else rng.normal(0, 0.5, w.shape))
    (a, b), (c, d) = card.domain["hwPt"], card.domain["hwEtaAtVtx"]
    pt, eta = (g.ravel() for g in np.meshgrid(np.arange(a, b + 1), np.arange(c, d + 1)))
    other = {"hwPhiAtVtx": rng.integers(0, 576, pt.size), "hwCharge": rng.integers(0, 2, pt.size)}
    x = card.normalise({"hwPt": pt, "hwEtaAtVtx": eta, **other})
    wanted = model.predict(x, batch_size=1 << 14, verbose=0)
    with quiet_copies():
        made = codes.plain(model, QUICK, card)
    found = made.predict(x, batch_size=1 << 14, verbose=0)
    assert wanted.std(axis=0).min() > 0.1
    assert np.allclose(found, wanted, atol=5e-3)


def test_what_is_written_is_a_chain_that_every_engine_runs(trained, tmp_path):
    card = save(trained, tmp_path / "m")
    assert card.recipe["codes"] == ["hwPt", "hwEtaAtVtx"]
    model = load_model(tmp_path / "m")
    steps = sum(b - a for a, b in (card.domain[n] for n in ("hwPt", "hwEtaAtVtx")))
    assert [v.weights.shape for v in model.layers] == [(4, steps + 2), (steps + 2, 32), (32, 32), (32, 3)]
    assert [v.activation for v in model.layers] == ["relu", "relu", "relu", "linear"]
    hardware = probes(card).T.astype(np.int16)
    onnx, fused, gpu = (make(n, model).correct(hardware) for n in ("onnx", "fused", "gpu"))
    assert np.allclose(fused, onnx, atol=1e-4)
    assert np.allclose(gpu, onnx, atol=1e-3)
    exact = FusedEngine(model, np.float64).exact(hardware)
    assert np.abs(onnx - exact)[:2].max() < 1e-6  # sums of ramps lose nothing in float32
    fixed = make("fixed", model)
    off = np.abs(fixed.correct(hardware) - onnx)
    assert (np.median(off, axis=1) < (0.01, 0.003, 0.06)).all()  # a third of what ramps off Q8.8's grid give
    assert fixed.overflows == fixed.weight_overflows == 0
    vectors = model.normalised_layers[1].weights[:-2]
    assert np.array_equal(vectors * 256, np.rint(vectors * 256))


def test_codes_beyond_the_training_muons_do_not_spoil_the_validation(lattice):
    """Validation muons may have codes that no training muon had."""
    train = lattice.part("train")
    kept = np.abs(train["hwEtaAtVtx"]) < 40
    found = fit_parts(train.select(kept), lattice.part("validation"), dataclasses.replace(DEFAULT, epochs=1))
    assert np.isfinite([m.value for _, _, m in found.validation.model]).all()
