"""A firmware model from a float one: few bits, the same answers everywhere, no step of the way different."""

import dataclasses
import importlib.util
import json
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

import hand_made
from l1scout.cli import make_app
from l1scout.deploy.engine import create_engine
from l1scout.errors import InputError
from l1scout.evaluate.verify import verify
from l1scout.firmware.build import BENCH, VECTORS
from l1scout.firmware.yosys import find_tool
from l1scout.model.directory import load_model
from l1scout.training.fit import fit as fit_float
from l1scout.training.recipes import RECIPES
from l1scout.training.save_model import save
from toy_muons import toy_columns, toy_dataset, write_parquet

if importlib.util.find_spec("hgq") is None:
    pytest.skip("no HGQ2: pip install 'l1scout[firmware]'", allow_module_level=True)


def central(n: int = 16_000):
    """Columns of toy muons of few pT and eta values, so that the whole domain is soon gone through."""
    columns = toy_columns(n)
    keep = (columns["hwPt"] <= 20) & (np.abs(columns["hwEtaAtVtx"]) <= 12)
    return {name: column[keep] for name, column in columns.items()}


def central_dataset(n: int = 16_000):
    keep = toy_dataset(n)
    return keep.select((keep["hwPt"] <= 20) & (np.abs(keep["hwEtaAtVtx"]) <= 12))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Make a float model and a firmware model of a few epochs."""
    from l1scout.firmware.export import save as save_firmware
    from l1scout.firmware.fit_quantised import fit

    path = tmp_path_factory.mktemp("firmware")
    data = central_dataset()
    small = dataclasses.replace(RECIPES["balanced"], epochs=2)
    save(fit_float(data, small), path / "float")
    float_model = load_model(path / "float")
    trained = fit(float_model, data, 1e-3, epochs=4, batch=128, learning_rate=0.03)
    save_firmware(trained, float_model, path / "fw", {"epochs": 3})
    return path


@pytest.fixture(scope="module")
def small(folder):
    """The firmware model on every fifth of its domain's phi."""
    model = load_model(folder / "fw")
    domain = {**model.card.domain, "hwPhiAtVtx": (0, 114)}
    return dataclasses.replace(model, card=dataclasses.replace(model.card, domain=domain))


def test_integers_are_the_hgq_network_at_every_input(small):
    from l1scout.firmware.quantised import reference_of
    from l1scout.model.integers import STEPS

    reference, engine = reference_of(small)[0], create_engine("firmware", small)
    for _, hardware in small.domain.chunks():
        wanted = np.rint(reference(hardware) / STEPS[:, np.newaxis])
        assert np.array_equal(engine.integers(hardware), wanted)
    assert engine.overflows == 0


def test_verify_goes_through_a_firmware_model(small):
    from l1scout.firmware.quantised import reference_of

    found = verify(small, {"firmware": create_engine("firmware", small)}, reference_of(small)[0])["firmware"]
    assert found.close
    assert (found.overflows, found.weight_overflows) == (0, None)
    assert max(d.worst_counts for d in found.deviations) < 1e-3


def test_nothing_wraps_in_the_whole_domain(folder):
    model = load_model(folder / "fw")
    engine = create_engine("firmware", model)
    low, high = engine.ranges(model.domain)
    assert engine.overflows == 0
    for layer, a, b in zip(model.network.layers[:-1], low, high, strict=False):
        assert (a >= 0).all()
        assert (b < 2**layer.bits).all()
        assert (np.maximum(b, 1) >= 2 ** (layer.bits - 1)).all(), "a bit too many"


def test_card_says_what_it_is(folder):
    own, new = load_model(folder / "float"), load_model(folder / "fw")
    assert new.card.name == "balanced firmware"
    assert new.card.domain == own.card.domain
    assert new.card.firmware["float_model"] == {"name": "balanced", "sha256": own.sha256}
    assert new.card.firmware["beta"] == 1e-3
    assert new.card.firmware["ebops"] > 0
    assert new.card.scores["part"] == "validation"
    assert new.card.resolution is not None
    assert new.card.data["simulated"] is True


def test_training_with_a_penalty_makes_the_network_smaller(folder):
    from l1scout.firmware.quantised import build, ebops, scaled

    model = load_model(folder / "float")
    before = ebops(build(scaled(model.layers), model.domain))
    assert load_model(folder / "fw").card.firmware["ebops"] < 0.8 * before


def test_answers_are_learnt_in_units_of_what_is_known_of_them(folder):
    from l1scout.firmware.fit_quantised import distance, distillation_targets
    from l1scout.firmware.quantised import UNITS

    model, data = load_model(folder / "float"), central_dataset()
    taught = distillation_targets(model, data)
    hardware = np.stack([data[q.name] for q in model.card.inputs]).astype(np.int16)
    answers = create_engine("fused", model).correct(hardware).T
    assert np.allclose(taught[:, :3] * UNITS, answers, rtol=1e-4, atol=1e-6)
    assert float(distance(taught, taught[:, :3])) == 0
    off = taught[:, :3] + 1 / taught[:, 3:]  # by the resolution each
    assert float(distance(taught, off)) == pytest.approx(3)
    phi, eta, _ = (UNITS / taught[:, 3:]).T
    assert (np.abs(data["recoPhi"]).max() > phi).all()
    assert 0.001 < np.median(eta) < 0.1


def test_answers_have_no_bias_at_any_value_that_is_looked_up(folder):
    from l1scout.firmware.fit_quantised import distance, distillation_targets, remove_residual_bias
    from l1scout.firmware.quantised import build, network_inputs, parts, scaled

    model, data = load_model(folder / "float"), central_dataset()
    network = build(scaled(model.layers), model.domain)
    x, taught = network_inputs(data.columns), distillation_targets(model, data)
    taught[:, 0] += 0.5 * (data["hwPt"] == 12)  # what neurons of so few bits have not learnt
    before = float(distance(taught, network.predict(x, verbose=0)))
    remove_residual_bias(network, data, x, taught)
    answers = network.predict(x, verbose=0)
    assert float(distance(taught, answers)) < 0.8 * before
    left = taught[:, :3] - answers
    last = parts(network)[-1][1][-1]
    step = 2.0 ** -np.asarray(last._tq.quantizer.f)[0]
    weights = taught[:, 3:] ** 2
    for charge in (0, 1):
        at = (data["hwPt"] == 12) & (data["hwCharge"] == charge)
        assert at.sum() > 20
        assert (np.abs(np.average(left[at], axis=0, weights=weights[at])) < step).all()


def test_too_few_muons_to_learn_from_are_refused(folder):
    from l1scout.firmware.fit_quantised import distillation_targets

    with pytest.raises(InputError, match="49 muons are too few"):
        distillation_targets(load_model(folder / "float"), toy_dataset(49))


@pytest.mark.parametrize("neurons", [16, 32])
def test_neurons_for_which_others_can_stand_in_are_left_out(folder, neurons):
    from l1scout.firmware.prune_neurons import pruned
    from l1scout.firmware.quantised import network_inputs, scaled

    model, data = load_model(folder / "float"), central_dataset()
    whole = scaled(model.layers)
    few = pruned(whole, data.columns, neurons)
    assert [v.bias.size for v in few.layers] == [neurons, neurons, 3]
    assert [at.vectors.shape[1] for at in few.look_ups] == [neurons] * 2

    def answers(network):
        y = network_inputs(data.columns) @ network.layers[0].weights + network.layers[0].bias
        for at in network.look_ups:
            y = y + at.vectors[data[network.inputs[at.column]].astype(int) - at.low]
        for layer in network.layers[1:]:
            y = np.maximum(y, 0) @ layer.weights + layer.bias
        return y

    all_of_them, part = answers(whole), answers(few)
    assert ((all_of_them - part).std(axis=0) < 0.9 * all_of_them.std(axis=0)).all()
    if neurons == 32:
        assert np.allclose(all_of_them, part)


def test_model_looks_up_what_the_float_one_does(folder):
    network = load_model(folder / "fw").network
    columns = [(at.layer, *(network.inputs[c] for c in at.columns)) for at in network.look_ups]
    assert columns == [
        *((0, n) for n in ("hwEtaAtVtx", "hwPt")),
        (2, "hwEtaAtVtx"),
        (2, "hwCharge", "hwPt"),
    ]
    assert (network.layers[0].weights[[1, 2]] == 0).all()


def test_hidden_softmax_and_other_inputs_are_refused(tmp_path):
    from l1scout.firmware.quantised import scaled

    with pytest.raises(InputError, match="ReLU networks of hwPhiAtVtx"):
        scaled(hand_made.network(hidden="softmax").layers)


def test_damaged_hgq_network_is_one_line(folder, tmp_path):
    shutil.copytree(folder / "fw", tmp_path / "fw")
    (tmp_path / "fw" / "model.keras").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"model.keras: has changed"):
        load_model(tmp_path / "fw")
    from l1scout.firmware.quantised import load

    with pytest.raises(InputError, match="not a usable HGQ2 network"):
        load(tmp_path / "fw" / "model.keras")


@pytest.mark.skipif(
    importlib.util.find_spec("hls4ml") is None or shutil.which("g++") is None, reason="no hls4ml or g++"
)
def test_hls_project_emulates_to_the_same_bits(folder, tmp_path):
    from l1scout.firmware.hls import emulate, export

    model = load_model(folder / "fw")
    inputs, differ = emulate(model, export(model, tmp_path / "hls"))
    assert (inputs, differ) == (16400, 0)
    assert (tmp_path / "hls" / "build_prj.tcl").exists()
    told = call("hls", folder / "fw", "--out", tmp_path / "again", "--no-emulate")
    assert told["provenance"]["data"] == "simulated"


def call(*words):
    """Run a firmware command, and return its JSON."""
    words = ["firmware", *map(str, words), "--json"]
    done = CliRunner().invoke(make_app(), words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.mark.skipif(importlib.util.find_spec("da4ml") is None, reason="no da4ml")
def test_sweep_writes_models_and_the_front(folder, tmp_path):
    data = write_parquet(tmp_path / "d.parquet", central(), {"simulated": True})
    about = ["--model", folder / "float", "--data", data, "--epochs", 1]
    swept = call("train", *about, "--out", tmp_path / "sweep", "--sweep", "1e-2")
    assert [p["beta"] for p in swept["points"]] == [1e-2]
    assert json.loads((tmp_path / "sweep" / "pareto.json").read_text()) == swept
    figure = (tmp_path / "sweep" / "pareto.svg").read_text()
    assert r"\it{simulation}" in figure
    assert '"data": "simulated"' in figure.replace("&quot;", '"')
    assert swept["provenance"]["data"] == "simulated"
    assert set(swept["points"][0]["ratio"]) == {"rms", "core", "tail"}


@pytest.mark.skipif(importlib.util.find_spec("da4ml") is None, reason="no da4ml")
def test_command_line_from_build_to_report(tmp_path):
    model, rtl = hand_made.firmware_directory(tmp_path / "fw"), tmp_path / "rtl"
    built = call("build", model, "--out", rtl, "--cutoff", 4)
    assert (rtl / BENCH).exists()
    assert (rtl / VECTORS).exists()
    found = call("simulate", model, rtl, "--muons", 500, "--build", tmp_path / "programs")
    assert found["identical"] is True
    assert found["latency"] == built["latency"]
    assert found["exhaustive"]["inputs"] == load_model(model).domain.entries
    if find_tool("yosys"):
        page = tmp_path / "page"
        reported = call("report", model, rtl, "--out", page, "--no-route", "--clock", 320)
        assert reported["core"]["dsps"] == 0
        assert 0 < reported["core"]["luts"] < reported["module"]["luts"]
        assert reported["timing"]["cores"] == 1
        html = (page / "firmware.html").read_text("utf-8")
        assert "No clock is promised here" in html
        assert (
            reported["provenance"]["data"] == "unknown"
        )  # the model's card does not say what it learnt from
        assert "&#34;data&#34;: &#34;unknown&#34;" in html
        assert f"{built['latency']} clock edges" in html


@pytest.mark.parametrize("words", ["1e-3,x", "-1", "1e-3,2"])
def test_bad_sweep_is_one_line(folder, tmp_path, words):
    data = write_parquet(tmp_path / "d.parquet", toy_columns(500), {"simulated": True})
    with pytest.raises(InputError, match="--sweep"):
        CliRunner().invoke(
            make_app(),
            f"firmware train -m {folder / 'float'} --data {data} --out {tmp_path / 'o'} --sweep={words}",
            catch_exceptions=False,
        )
