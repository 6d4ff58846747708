"""Export: the ONNX model is the Keras model, in physics units, for old readers, or there is none."""

import dataclasses
import json

import keras
import numpy as np
import onnx
import onnxruntime
import pytest

from l1scout.errors import InputError
from l1scout.model.card import read_card
from l1scout.model.onnx_export import to_onnx
from l1scout.training import export
from l1scout.training.export import deviation, fold, fold_scaling, probes, save
from l1scout.training.recipes import RECIPES, build


def shaken(recipe="B"):
    """Make an untrained model with batch-normalisation statistics far from the trivial ones."""
    keras.utils.set_random_seed(3)
    model = build(RECIPES[recipe])
    rng = np.random.default_rng(3)
    for layer in model.layers:
        if type(layer).__name__ == "BatchNormalization":
            for w in layer.weights:
                w.assign(rng.uniform(0.3, 2, w.shape))
    return model


def run(layers, x):
    for layer in layers:
        x = x @ layer.weights + layer.bias
        if layer.activation == "relu":
            x = np.maximum(x, 0)
        elif layer.activation == "softmax":
            e = np.exp(x - x.max(axis=1, keepdims=True))
            x = e / e.sum(axis=1, keepdims=True)
    return x


@pytest.mark.parametrize("recipe", ["B", "F"])
def test_folding_changes_nothing(recipe):
    model = shaken(recipe)
    x = np.random.default_rng(0).uniform(0, 1, (1000, 4)).astype(np.float32)
    layers = fold(model)
    assert [layer.activation for layer in layers] == [RECIPES[recipe].hidden] * 3 + ["linear"]
    assert [layer.weights.shape for layer in layers] == [(4, 32), (32, 32), (32, 32), (32, 3)]
    assert np.allclose(run(layers, x), model.predict(x, verbose=0), atol=2e-5)


@pytest.mark.parametrize("recipe", ["B", "F"])
def test_onnx_takes_hardware_integers_and_gives_physics_units(trained, recipe):
    model, card = shaken(recipe), trained.card
    onnx_model = to_onnx(fold_scaling(fold(model), card))
    worst = deviation(model, card, onnx_model.SerializeToString())
    assert worst["dphi"] < 2e-5
    assert worst["deta"] < 2e-5
    assert worst["dpt"] < 2e-3
    assert list(worst) == ["dphi", "deta", "dpt"]
    operators = [node.op_type for node in onnx_model.graph.node]
    hidden = {"relu": "Relu", "softmax": "Softmax"}[RECIPES[recipe].hidden]
    assert operators == ["Gemm", hidden] * 3 + ["Gemm"]
    assert all(a.name == "transB" for n in onnx_model.graph.node if n.op_type == "Gemm" for a in n.attribute)
    assert onnx_model.ir_version == 4
    assert [(o.domain, o.version) for o in onnx_model.opset_import] == [("", 9)]


def test_batch_can_be_fixed_to_one(trained):
    layers = fold_scaling(fold(trained.model), trained.card)
    fixed = to_onnx(layers, batch=1)
    assert [d.dim_value for d in fixed.graph.input[0].type.tensor_type.shape.dim] == [1, 4]
    assert [d.dim_value for d in fixed.graph.output[0].type.tensor_type.shape.dim] == [1, 3]
    hardware = probes(trained.card, 8).astype(np.float32)
    sessions = [
        onnxruntime.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"])
        for m in (fixed, to_onnx(layers))
    ]
    alone = np.concatenate([sessions[0].run(None, {"hardware": row[None]})[0] for row in hardware])
    assert np.allclose(alone, sessions[1].run(None, {"hardware": hardware})[0], rtol=1e-5, atol=1e-5)


def test_probes_cover_the_domain_with_its_corners(trained):
    hardware = probes(trained.card, 5000)
    for k, q in enumerate(trained.card.inputs):
        assert (hardware[:, k].min(), hardware[:, k].max()) == trained.card.domain[q.name]
    assert len(np.unique(hardware[:16], axis=0)) == 16


def test_a_model_directory_is_complete(tmp_path, trained):
    card = save(trained, tmp_path / "m" / "model")
    path = tmp_path / "m" / "model"
    assert sorted(p.name for p in path.iterdir()) == ["SHA256SUMS", "card.json", "model.keras", "model.onnx"]
    assert read_card(path) == card
    onnx.checker.check_model(onnx.load(path / "model.onnx"))
    again = keras.models.load_model(path / "model.keras", compile=False)
    x = np.random.default_rng(0).uniform(0, 1, (50, 4)).astype(np.float32)
    assert np.array_equal(again.predict(x, verbose=0), trained.model.predict(x, verbose=0))
    first = (path / "model.onnx").read_bytes()
    save(trained, path)
    assert (path / "model.onnx").read_bytes() == first
    assert [p.name for p in path.parent.iterdir()] == ["model"]


def test_onnx_that_differs_from_keras_is_never_written(tmp_path, trained, monkeypatch):
    def wrong(model):
        layers = fold(model)
        layers[1] = dataclasses.replace(layers[1], bias=layers[1].bias + 0.01)
        return layers

    monkeypatch.setattr(export, "fold", wrong)
    with pytest.raises(InputError, match=r"ONNX and Keras differ by .* in dphi"):
        save(trained, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_something_else_is_never_overwritten(tmp_path, trained):
    (tmp_path / "thesis.tex").write_text("two years")
    with pytest.raises(InputError, match="is not a model directory"):
        save(trained, tmp_path)
    with pytest.raises(InputError, match="is not a model directory"):
        save(trained, tmp_path / "thesis.tex")
    assert (tmp_path / "thesis.tex").read_text() == "two years"


def test_a_place_that_cannot_be_written_is_one_line(tmp_path, trained):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        save(trained, tmp_path / "file" / "model")


@pytest.mark.parametrize(
    "layers",
    [
        [keras.layers.Dense(3), keras.layers.Dropout(0.5)],
        [keras.layers.Dense(3, activation="relu"), keras.layers.BatchNormalization()],
        [keras.layers.Dense(3), keras.layers.Activation("relu"), keras.layers.BatchNormalization()],
        [keras.layers.BatchNormalization(), keras.layers.Dense(3)],
        [keras.layers.Dense(3, use_bias=False)],
    ],
)
def test_networks_that_cannot_be_folded_are_refused(layers):
    with pytest.raises(InputError, match="cannot be exported"):
        fold(keras.Sequential([keras.Input((4,)), *layers]))


def test_the_card_is_plain_json(tmp_path, trained):
    save(trained, tmp_path / "m")
    card = json.loads((tmp_path / "m" / "card.json").read_text(), parse_constant=lambda c: pytest.fail(c))
    assert card["card"] == 1
    assert [q["name"] for q in card["inputs"]] == ["hwPhiAtVtx", "hwEtaAtVtx", "hwPt", "hwCharge"]
    assert [(q["name"], q["unit"]) for q in card["outputs"]] == [
        ("dphi", "rad"),
        ("deta", "1"),
        ("dpt", "GeV"),
    ]
    assert card["scores"]["part"] == "validation"
    assert set(card["versions"]) >= {"l1scout", "keras", "jax", "onnx"}
