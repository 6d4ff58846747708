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
from l1scout.model.integers import STEPS
from toy_muons import toy_columns, toy_dataset, write_parquet

if importlib.util.find_spec("hgq") is None:
    pytest.skip("no HGQ2: pip install 'l1scout[firmware]'", allow_module_level=True)


UNITS = 256 * STEPS


def central(n: int = 16_000):
    """Columns of toy muons of few pT and eta values, so that the whole domain is soon gone through."""
    columns = toy_columns(n)
    keep = (columns["hwPt"] <= 20) & (np.abs(columns["hwEtaAtVtx"]) <= 12)
    return {name: column[keep] for name, column in columns.items()}


def central_dataset(n: int = 16_000):
    keep = toy_dataset(n)
    return keep.select((keep["hwPt"] <= 20) & (np.abs(keep["hwEtaAtVtx"]) <= 12))


CENTRAL = {"hwEtaAtVtx": (-12, 12), "hwPt": (1, 20), "hwCharge": (0, 1)}
"""Domain of the muons of `central`, and below: L1 pT is 0 at hwPt 1."""


def float_model(path, made):
    """Write a hand-made float model of the muons of `central`, and read it."""
    card = dataclasses.replace(made.card, data={"simulated": True})
    return load_model(hand_made.model_directory(path, card, made.network))


def quantised(path, made, data):
    """Write a firmware model of a few epochs of a float one."""
    from l1scout.firmware.export import save
    from l1scout.firmware.fit_quantised import fit

    trained = fit(made, data, 1e-3, epochs=4, batch=128, learning_rate=0.03)
    save(trained, made, path, {"epochs": 3})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Make a float model with gains, as the default has them, and a firmware model of it."""
    path = tmp_path_factory.mktemp("firmware")
    made = float_model(path / "float", hand_made.gain_model(domain=CENTRAL, width=32))
    quantised(path / "fw", made, central_dataset())
    return path


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Make a firmware model of a network without look-ups and gains, with phi, of which a tenth is taken."""
    path = tmp_path_factory.mktemp("plain")
    domain = {"hwPhiAtVtx": (0, 57), **CENTRAL, "hwPt": (6, 20)}
    data = central_dataset()
    made = float_model(path / "float", hand_made.network(widths=(8,), domain=domain))
    quantised(path / "fw", made, data.select(data["hwPhiAtVtx"] < 58))
    return path


@pytest.fixture(params=["folder", pytest.param("plain", marks=pytest.mark.long)])
def small(request):
    """The firmware models."""
    return load_model(request.getfixturevalue(request.param) / "fw")


def test_integers_are_the_hgq_network_at_every_input(small):
    from l1scout.firmware.quantised import reference_of

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
    largest, bits = np.maximum(high[-1], -low[-1] - 1), model.network.gains.bits
    assert (largest < 2 ** (bits - 1)).all()
    assert (largest >= 2 ** (bits - 2)).all(), "a bit too many"


def test_card_says_what_it_is(folder):
    own, new = load_model(folder / "float"), load_model(folder / "fw")
    assert new.card.name == "gains firmware"
    assert new.card.domain == own.card.domain
    assert new.card.firmware["float_model"] == {"name": "gains", "sha256": own.sha256}
    assert new.card.firmware["beta"] == 1e-3
    assert new.card.firmware["ebops"] > 0
    assert new.card.scores["part"] == "validation"
    assert new.card.resolution is not None
    assert new.card.data["simulated"] is True


def test_training_with_a_penalty_makes_the_network_smaller(folder):
    from l1scout.firmware.quantised import Inputs, build, ebops, scaled

    model = load_model(folder / "float")
    inputs = Inputs.of(model.domain)
    before = ebops(build(scaled(model.layers, inputs, UNITS), inputs))
    assert load_model(folder / "fw").card.firmware["ebops"] < 0.8 * before


def lessons(model, data):
    """Return what the HGQ2 network of a float model learns: units, gains, targets."""
    from l1scout.firmware.fit_quantised import distillation_targets, known_resolution, units_and_gains

    units, gains = units_and_gains(model, data.columns)
    return units, gains, distillation_targets(model, known_resolution(model, data), units, data.columns)


def test_answers_are_learnt_in_units_of_what_is_known_of_them(folder):
    from l1scout.firmware.fit_quantised import distance

    model, data = load_model(folder / "float"), central_dataset()
    data = data.select((data["hwPt"] > 1) & (data["hwEtaAtVtx"] != 0))  # elsewhere a gain is 0
    units, _, taught = lessons(model, data)
    hardware = np.stack([data[q.name] for q in model.card.inputs]).astype(np.int16)
    answers = model.layers.finish(hardware, (taught[:, :3] * units).T)
    assert np.allclose(answers, model.layers(hardware), rtol=1e-4, atol=1e-6)
    assert float(distance(taught, taught[:, :3])) == 0
    off = taught[:, :3] + 1 / taught[:, 3:]  # by the resolution each
    assert float(distance(taught, off)) == pytest.approx(3)
    resolutions = np.abs(
        model.layers.finish(hardware, (units / taught[:, 3:]).T) - [[np.pi / 576], [0], [0.1]]
    )
    assert (np.abs(data["recoPhi"]).max() > resolutions[0]).all()
    assert 0.001 < np.median(resolutions[1]) < 0.1


def test_gains_become_integers_that_change_nothing_by_more_than_a_step(folder):
    model = load_model(folder / "float")
    units, gains, _ = lessons(model, central_dataset())
    assert [np.unique(g.factors[:, 0]).tolist() for g in gains.gains if g.column == 2] == [[-1, 1]]
    assert [np.unique(g.factors[:, 1]).tolist() for g in gains.gains if g.column == 0] == [[-1, 0, 1]]
    hardware = np.concatenate([chunk for _, chunk in model.domain.chunks()], axis=1)
    exact = model.layers(hardware)
    without = dataclasses.replace(model.layers, gains=(), offset=np.zeros(0))(hardware)
    whole = np.rint(without / units[:, np.newaxis] * 256).astype(np.int64)
    near = hardware[1] > 3  # below, the answer's own step counts more
    steps = np.abs(gains(hardware, whole) - exact / STEPS[:, np.newaxis])
    assert (steps[:, near].max(axis=1) < [3, 1.01, 2.5]).all()


def test_offset_without_gains_is_learnt_with_the_answers():
    from l1scout.firmware.quantised import before_gains

    made = hand_made.network(widths=(8,))
    moved = dataclasses.replace(made.network, offset=np.array([0.1, 0.2, 0.3]))
    hardware = made.domain.hardware(0, 500)
    assert np.allclose(before_gains(moved)(hardware), made.network(hardware) + moved.offset[:, np.newaxis])


def test_values_that_look_the_same_up_share_a_vector():
    from l1scout.firmware.quantised import codes

    wide = {**CENTRAL, "hwEtaAtVtx": (-80, 80), "hwPt": (1, 511)}
    model = hand_made.gain_model(domain=wide)
    eta, pt, charge = (codes(model.layers, model.domain, c) for c in range(3))
    assert eta.max() == 80
    assert np.array_equal(eta, eta[::-1])
    assert charge.tolist() == [0, 1]
    assert np.array_equal(pt[:63], np.arange(63))
    width = np.bincount(pt)
    assert (np.diff(pt) >= 0).all()
    assert (width / (1 + np.searchsorted(pt, np.arange(width.size))) <= 1 / 32)[63:].all()


@pytest.mark.parametrize("n", [8000])
def test_muons_of_every_pt_are_taken(n):
    from l1scout.firmware.fit_quantised import spread

    model = hand_made.gain_model(domain={**CENTRAL, "hwPt": (1, 511)})
    columns = {q.name: np.full(n, 7, np.int16) for q in model.card.inputs}
    taken = spread(columns, model.domain, seed=1)
    assert {name: column.dtype for name, column in taken.items()} == dict.fromkeys(columns, np.dtype("int16"))
    assert (taken["hwEtaAtVtx"] == 7).all()
    others = taken["hwPt"][taken["hwPt"] != 7]
    assert 0.8 * n / 8 < others.size < 1.2 * n / 8
    assert (others.min(), others.max() > 500) == (1, True)
    assert np.quantile(others, 0.5) == pytest.approx(511**0.5, rel=0.2)


def test_answers_have_no_bias_at_any_value_that_is_looked_up(folder):
    from l1scout.firmware.fit_quantised import distance, remove_residual_bias
    from l1scout.firmware.quantised import Inputs, build, parts, scaled

    model, data = load_model(folder / "float"), central_dataset()
    inputs, (units, _, taught) = Inputs.of(model.domain), lessons(model, data)
    network = build(scaled(model.layers, inputs, units), inputs)
    x = inputs(data.columns)
    taught[:, 0] += 0.5 * (data["hwPt"] == 12)  # what neurons of so few bits have not learnt
    before = float(distance(taught, network.predict(x, verbose=0)))
    hardware = np.stack([data[q.name] for q in model.card.inputs])
    remove_residual_bias(network, hardware, x, taught)
    answers = network.predict(x, verbose=0)
    assert float(distance(taught, answers)) < 0.8 * before
    left = taught[:, :3] - answers
    last = parts(network)[-1][1][-1]
    step = 2.0 ** -np.asarray(last._tq.quantizer.f)[0]
    at = data["hwPt"] == 12
    assert at.sum() > 20
    assert (np.abs(np.average(left[at], axis=0, weights=taught[at, 3:] ** 2)) < step).all()


def test_too_few_muons_to_learn_from_are_refused(folder):
    from l1scout.firmware.fit_quantised import known_resolution

    with pytest.raises(InputError, match="49 muons are too few"):
        known_resolution(load_model(folder / "float"), toy_dataset(49))


@pytest.mark.parametrize("neurons", [16, 32])
def test_neurons_for_which_others_can_stand_in_are_left_out(folder, neurons):
    from l1scout.firmware.prune_neurons import pruned
    from l1scout.firmware.quantised import Inputs, scaled

    model, data = load_model(folder / "float"), central_dataset()
    inputs = Inputs.of(model.domain)
    whole = scaled(model.layers, inputs, UNITS)
    few = pruned(whole, inputs, data.columns, neurons)
    assert [v.bias.size for v in few.layers] == [neurons, 3]
    assert [at.vectors.shape[1] for at in few.look_ups] == [neurons] * 2

    def answers(network):
        y = inputs(data.columns) @ network.layers[0].weights + network.layers[0].bias
        for at in network.look_ups:
            y = y + at.vectors[data[network.inputs[at.column]].astype(int) - at.low]
        for layer in network.layers[1:]:
            y = np.maximum(y, 0) @ layer.weights + layer.bias
        return y

    all_of_them, part = answers(whole), answers(few)
    assert ((all_of_them - part).std(axis=0) < 0.9 * all_of_them.std(axis=0)).all()
    if neurons == 32:
        assert np.allclose(all_of_them, part)


@pytest.mark.long
def test_model_looks_up_what_the_float_one_does(folder, plain):
    def looked_up(network):
        return [(at.layer, *(network.inputs[c] for c in at.columns)) for at in network.look_ups]

    network = load_model(folder / "fw").network
    assert looked_up(network) == [(k, n) for k in (0, 1) for n in ("hwEtaAtVtx", "hwPt")]
    assert (network.layers[0].weights[[0, 1]] == 0).all()
    assert all((at.values == at.values[::-1]).all() for at in network.look_ups if at.columns == (0,)), (
        "eta, -eta"
    )
    assert looked_up(load_model(plain / "fw").network) == [(1, "hwEtaAtVtx"), (1, "hwCharge", "hwPt")]


def test_hidden_softmax_is_refused():
    from l1scout.firmware.quantised import Inputs, scaled

    model = hand_made.network(hidden="softmax")
    with pytest.raises(InputError, match="ReLU networks with a linear end, not of softmax"):
        scaled(model.layers, Inputs.of(model.domain), UNITS)


def test_damaged_hgq_network_is_one_line(folder, tmp_path):
    shutil.copytree(folder / "fw", tmp_path / "fw")
    (tmp_path / "fw" / "model.keras").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"model.keras: has changed"):
        load_model(tmp_path / "fw")
    from l1scout.firmware.quantised import load

    with pytest.raises(InputError, match="not a usable HGQ2 network"):
        load(tmp_path / "fw" / "model.keras")


@pytest.mark.long
@pytest.mark.skipif(
    importlib.util.find_spec("hls4ml") is None or shutil.which("g++") is None, reason="no hls4ml or g++"
)
def test_hls_project_emulates_to_the_same_bits(folder, tmp_path):
    from l1scout.firmware.hls import emulate, export

    model = load_model(folder / "fw")
    inputs, differ = emulate(model, export(model, tmp_path / "hls"))
    assert (inputs, differ) == (16392, 0)
    assert (tmp_path / "hls" / "build_prj.tcl").exists()
    told = call("hls", folder / "fw", "--out", tmp_path / "again", "--no-emulate")
    assert told["provenance"]["data"] == "simulated"


def at_the_vertex_elsewhere(n=16_000):
    """Make toy muons whose phi and eta at the vertex, to the trigger, are far from what the station has."""
    data = central_dataset(n)
    phi, eta = data["hwPhiAtVtx"], data["hwEtaAtVtx"]
    moved = {"hwPhi": phi, "hwEta": eta, "hwPhiAtVtx": (phi + 200) % 576, "hwEtaAtVtx": eta + 60}
    return dataclasses.replace(data, columns={**data.columns, **moved})


def test_corrections_from_the_second_station_are_learnt_and_emulated(tmp_path):
    made = hand_made.at_station(hand_made.gain_model(domain=CENTRAL, width=32))
    made = float_model(tmp_path / "float", made)
    quantised(tmp_path / "fw", made, at_the_vertex_elsewhere())
    model = load_model(tmp_path / "fw")
    assert (model.card.reference, model.network.inputs) == ("station 2", ("hwEta", "hwPt", "hwCharge"))
    assert "hwEta" in [model.network.inputs[at.columns[0]] for at in model.network.look_ups if at.layer == 1]
    scores = model.card.scores
    assert scores["raw"]["rms"]["phi"]["value"] > 10 * scores["model"]["rms"]["phi"]["value"]


def call(*words):
    """Run a firmware command, and return its JSON."""
    words = ["firmware", *map(str, words), "--json"]
    done = CliRunner().invoke(make_app(), words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.mark.long
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


@pytest.mark.long
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
