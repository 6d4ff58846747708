"""Export: the ONNX model is the Keras model, in physics units, for old readers, or there is none."""

import dataclasses
import json

import keras
import numpy as np
import onnx
import onnxruntime
import pytest

from hand_made import evaluate, look_up_network
from l1scout.errors import InputError
from l1scout.model.card import read_card
from l1scout.model.onnx_export import export_onnx
from l1scout.model.ramps import as_ramps
from l1scout.training import save_model
from l1scout.training.recipes import RECIPES, build
from l1scout.training.save_model import deviations, probes, save, to_network


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


@pytest.mark.parametrize("recipe", ["B", "F"])
def test_folding_changes_nothing(trained, recipe):
    model, card = shaken(recipe), trained.card
    hardware = probes(card, 1000)
    columns = {q.name: hardware[:, k] for k, q in enumerate(card.inputs)}
    network = to_network(model, card)
    assert [layer.activation for layer in network.layers] == [RECIPES[recipe].hidden] * 3 + ["linear"]
    assert [layer.weights.shape for layer in network.layers] == [(4, 32), (32, 32), (32, 32), (32, 3)]
    wanted = model.predict(card.normalise(columns), verbose=0)
    assert np.allclose(evaluate(network, hardware.T).T, card.physical(wanted), atol=2e-4)
    inside = (hardware.T - [[q.offset] for q in card.inputs]) / [[q.scale] for q in card.inputs]
    assert np.allclose(evaluate(network.normalised(card), inside).T, wanted, atol=2e-5)


@pytest.mark.parametrize("recipe", ["B", "F"])
def test_onnx_takes_hardware_integers_and_gives_physics_units(trained, recipe):
    model, card = shaken(recipe), trained.card
    network = to_network(model, card)
    onnx_bytes = export_onnx(network, card)
    for worst in deviations(model, card, network, onnx_bytes).values():
        assert worst["dphi"] < 2e-5
        assert worst["deta"] < 2e-5
        assert worst["dpt"] < 2e-3
        assert list(worst) == ["dphi", "deta", "dpt"]
    onnx_model = onnx.load_from_string(onnx_bytes)
    operators = [node.op_type for node in onnx_model.graph.node]
    hidden = {"relu": "Relu", "softmax": "Softmax"}[RECIPES[recipe].hidden]
    assert operators == ["Gemm", hidden] * 3 + ["Gemm"]
    assert all(a.name == "transB" for n in onnx_model.graph.node if n.op_type == "Gemm" for a in n.attribute)


def test_deviations_of_large_corrections_are_relative(trained):
    """Where no muon is, networks of many inputs correct phi by tens of rad: 32 bits hold them to 1e-7."""
    model, card = shaken("B"), trained.card
    bias = model.layers[-1].weights[1]
    bias.assign(np.array(bias.value) + np.array([1000 / card.outputs[0].scale, 0, 0]))
    network = to_network(model, card)
    for worst in deviations(model, card, network, export_onnx(network, card)).values():
        assert worst["dphi"] < 2e-5


def answers(content, hardware):
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(None, {"hardware": hardware.T.astype(np.float32)})[0].T


def test_look_ups_are_gathered_and_for_accelerators_ramps():
    m = look_up_network()
    hardware = m.domain.hardware(0, m.domain.entries)
    wanted = evaluate(m.layers, hardware)
    gathered = onnx.load_from_string(export_onnx(m.layers, m.card))
    assert [n.op_type for n in gathered.graph.node].count("Gather") == 4
    assert gathered.opset_import[0].version == 13
    assert np.abs(answers(gathered.SerializeToString(), hardware) - wanted).max() < 1e-5
    content = export_onnx(m.layers, m.card, ramps=True)
    ramps = onnx.load_from_string(content)
    assert [n.op_type for n in ramps.graph.node] == ["Gemm", "Relu"] * 2 + ["Gemm"]
    assert (ramps.ir_version, ramps.opset_import[0].version) == (4, 9)
    assert np.abs(answers(content, hardware) - wanted).max() < 5e-3  # vectors are rounded to 2^-11
    rounded = as_ramps(m.layers, m.card).layers[1].weights[:-2]
    assert np.array_equal(rounded * 256, np.rint(rounded * 256))  # so that Q8.8 adds them exactly
    exact = evaluate(as_ramps(m.layers, m.card).in_physics_units(m.card), hardware)
    assert np.abs(answers(content, hardware) - exact).max() < 1e-4  # float32 loses nothing in their sums


def test_batch_can_be_fixed_to_one(trained):
    network = to_network(trained.model, trained.card)
    content = export_onnx(network, trained.card, batch=1)
    fixed = onnx.load_from_string(content)
    assert [d.dim_value for d in fixed.graph.input[0].type.tensor_type.shape.dim] == [1, 4]
    assert [d.dim_value for d in fixed.graph.output[0].type.tensor_type.shape.dim] == [1, 3]
    hardware = probes(trained.card, 8).T
    alone = np.concatenate([answers(content, column[:, None]) for column in hardware.T], axis=1)
    assert np.allclose(alone, network(hardware), rtol=1e-5, atol=1e-4)


def test_probes_cover_the_domain_with_its_corners(trained):
    hardware = probes(trained.card, 5000)
    for k, q in enumerate(trained.card.inputs):
        assert (hardware[:, k].min(), hardware[:, k].max()) == trained.card.domain[q.name]
    assert len(np.unique(hardware[:16], axis=0)) == 16


def test_a_model_directory_is_complete(tmp_path, trained):
    card = save(trained, tmp_path / "m" / "model")
    path = tmp_path / "m" / "model"
    assert sorted(p.name for p in path.iterdir()) == [
        "SHA256SUMS",
        "card.json",
        "model.keras",
        "model.onnx",
        "network.json",
    ]
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
    right = save_model.to_network

    def wrong(model, card, gains):
        network = right(model, card, gains)
        layers = list(network.layers)
        layers[1] = dataclasses.replace(layers[1], bias=layers[1].bias + 0.01)
        return dataclasses.replace(network, layers=tuple(layers))

    monkeypatch.setattr(save_model, "to_network", wrong)
    with pytest.raises(InputError, match=r"network and Keras differ by .* in dphi"):
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
def test_networks_that_cannot_be_folded_are_refused(layers, trained):
    with pytest.raises(InputError, match="cannot be exported"):
        to_network(keras.Sequential([keras.Input((4,)), *layers]), trained.card)


def test_the_card_is_plain_json(tmp_path, trained):
    save(trained, tmp_path / "m")
    card = json.loads((tmp_path / "m" / "card.json").read_text(), parse_constant=lambda c: pytest.fail(c))
    assert (card["format"], card["version"]) == ("l1scout model card", 1)
    assert [q["name"] for q in card["inputs"]] == ["hwPhiAtVtx", "hwEtaAtVtx", "hwPt", "hwCharge"]
    assert [(q["name"], q["unit"]) for q in card["outputs"]] == [
        ("dphi", "rad"),
        ("deta", "1"),
        ("dpt", "GeV"),
    ]
    assert card["scores"]["part"] == "validation"
    assert set(card["versions"]) >= {"l1scout", "keras", "jax", "onnx"}
