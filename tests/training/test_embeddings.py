"""Networks with a vector for each value: what they learn, and that what is exported is what was trained."""

import dataclasses
import subprocess
import sys

import keras
import numpy as np
import pytest

from l1scout.deploy.engine import create_engine
from l1scout.evaluate.targets import raw_residuals
from l1scout.evaluate.verify import keras_reference
from l1scout.formats.streams.muon import ETA
from l1scout.model.directory import load_model
from l1scout.training import embeddings
from l1scout.training.fit import fit, fit_parts
from l1scout.training.recipes import DEFAULT, RECIPES
from l1scout.training.save_model import probes, save, to_network
from toy_muons import toy_dataset

QUICK = dataclasses.replace(RECIPES["balanced"], epochs=6, batch=128)


@pytest.fixture(scope="module")
def lattice():
    """Toy muons whose trigger puts every second code of eta two codes too far out."""
    data = toy_dataset(20_000)
    hw = data["hwEta"]
    rng = np.random.default_rng(2)
    eta = ETA.to_physical(hw - 2 * np.sign(hw) * (hw % 2)) + 0.002 * rng.standard_normal(len(data))
    return dataclasses.replace(data, columns={**data.columns, "recoEta": eta.astype(np.float32)})


@pytest.fixture(scope="module")
def trained(lattice):
    return fit(lattice, QUICK)


def test_answers_jump_from_value_to_value_where_those_of_a_plain_network_cannot(lattice, trained):
    small = fit(lattice, dataclasses.replace(QUICK, embedded_inputs=(), widths=(32, 32, 32)))
    assert small.card.recipe["symmetries"] == []
    raw = np.sqrt(np.mean(raw_residuals(lattice.part("validation"), "station 2")["eta"] ** 2))
    assert trained.validation.model.rms["eta"].value < 0.4 * raw
    assert small.validation.model.rms["eta"].value > 0.6 * raw


def test_look_ups_answer_as_the_embeddings_do_on_all_integers(trained):
    """A network of `build`, as far from its start as a training takes it, at all pT and eta values."""
    card = trained.card
    keras.utils.set_random_seed(5)
    model = embeddings.build(QUICK, card)
    rng = np.random.default_rng(5)
    for w in model.weights:
        w.assign(rng.uniform(0.5, 1.5, w.shape) if "variance" in w.path else rng.normal(0, 0.5, w.shape))
    (a, b), (c, d) = card.domain["hwPt"], card.domain["hwEta"]
    pt, eta = (g.ravel() for g in np.meshgrid(np.arange(a, b + 1), np.arange(c, d + 1)))
    columns = {"hwPt": pt, "hwEta": eta, "hwCharge": rng.integers(0, 2, pt.size)}
    wanted = card.physical(model.predict(card.normalise(columns), batch_size=1 << 14, verbose=0)).T
    found = to_network(model, card)(np.stack([columns[q.name] for q in card.inputs]))
    scale = np.array([[q.scale] for q in card.outputs])
    assert (wanted / scale).std(axis=1).min() > 0.1
    assert np.abs((found - wanted) / scale).max() < 1e-4
    short = dataclasses.replace(card, domain={**card.domain, "hwPt": (a, b - 3)})
    inside = pt <= b - 3
    cut = to_network(model, short)
    assert len(cut.look_ups[1].vectors) == b - 3 - a + 1
    assert np.array_equal(cut(np.stack([columns[q.name] for q in card.inputs]))[:, inside], found[:, inside])


def test_what_is_written_is_what_every_engine_runs(trained, tmp_path):
    card = save(trained, tmp_path / "m")
    assert card.recipe["embedded_inputs"] == ["hwPt", "hwEta"]
    model = load_model(tmp_path / "m")
    assert [v.weights.shape for v in model.network.layers] == [(3, 32), (32, 32), (32, 3)]
    assert not model.network.layers[0].weights.any()  # the charge is in the gains alone
    values = [1 + b - a for a, b in (card.domain[n] for n in ("hwEta", "hwPt"))]
    assert [at.vectors.shape for at in model.network.look_ups] == [(n, 32) for n in values]
    hardware = probes(card).T.astype(np.int16)
    exact = model.layers(hardware)
    for name, limit in (("onnx", 1e-4), ("fused", 1e-4), ("gpu", 1e-3)):
        assert np.allclose(create_engine(name, model).correct(hardware), exact, atol=limit)
    assert np.allclose(keras_reference(model)(hardware), exact, atol=1e-9)
    fixed = create_engine("fixed", model)
    off = np.abs(fixed.correct(hardware) - exact)
    assert (np.median(off, axis=1) < (0.01, 0.003, 0.06)).all()
    assert fixed.overflows == fixed.weight_overflows == 0


def test_a_saved_keras_network_needs_no_l1scout(trained, tmp_path):
    save(trained, tmp_path / "m")
    code = "import sys, keras; keras.models.load_model(sys.argv[1], compile=False); "
    code += "assert 'l1scout' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, tmp_path / "m" / "model.keras"], check=True)


def test_values_beyond_the_training_muons_do_not_spoil_the_validation(lattice):
    """Validation muons may have values that no training muon had."""
    train = lattice.part("train")
    kept = np.abs(train["hwEta"]) < 40
    found = fit_parts(train.select(kept), lattice.part("validation"), dataclasses.replace(DEFAULT, epochs=1))
    assert np.isfinite([m.value for _, _, m in found.validation.model]).all()
