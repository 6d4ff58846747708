"""The integer network of a firmware model: exact, checked when read, and at work like every other model."""

import json

import numpy as np
import pytest

import hand_made
from l1scout.deploy.engine import available_engines, create_engine
from l1scout.deploy.engines.firmware import FirmwareEngine
from l1scout.deploy.engines.table import TableEngine, build
from l1scout.deploy.recalibrate import Recalibrator
from l1scout.errors import InputError
from l1scout.model.checksums import write_sums
from l1scout.model.directory import load_model
from l1scout.model.integers import STEPS, read_integer_network
from l1scout.model.network import NETWORK_FILE


def everything(domain=hand_made.TINY):
    d = hand_made.firmware_domain(domain)
    return d.hardware(0, d.entries)


@pytest.mark.parametrize("seed", range(4))
def test_engine_is_the_oracle_at_every_input_and_loses_nothing(seed):
    network, hardware = hand_made.integer_network(seed), everything()
    engine = FirmwareEngine(network)
    assert np.array_equal(engine.integers(hardware), hand_made.evaluate_integers(network, hardware))
    assert engine.overflows == 0


def test_what_is_looked_up_beyond_its_ends_is_the_nearest():
    network = hand_made.integer_network(1)
    low, high = hand_made.TINY["hwPt"]
    hardware = np.repeat(everything()[:, :1], 4, axis=1)
    hardware[2] = low - 5, low, high, high + 5
    given = FirmwareEngine(network).integers(hardware)
    assert np.array_equal(given, hand_made.evaluate_integers(network, hardware))


@pytest.mark.parametrize("seed", [1, 2])
def test_what_does_not_fit_wraps_as_in_logic_and_is_counted(seed):
    network, hardware = hand_made.integer_network(seed), everything()
    parts = [*network.layers, network.gains] if network.gains else network.layers
    narrow = network.with_bits([np.maximum(part.bits - 2, 1) for part in parts])
    engine = FirmwareEngine(narrow)
    given = engine.integers(hardware)
    assert np.array_equal(given, hand_made.evaluate_integers(narrow, hardware))
    assert engine.overflows > 0
    assert (given != hand_made.evaluate_integers(network, hardware)).any()


def test_corrections_are_steps(tmp_path):
    model = hand_made.firmware_model()
    hardware = everything()[:, ::7]
    wanted = hand_made.evaluate_integers(model.network, hardware) * STEPS[:, np.newaxis]
    assert np.allclose(create_engine("firmware", model).correct(hardware), wanted, rtol=1e-6, atol=0)


@pytest.mark.parametrize("seed", [1, 3])
def test_file_gives_the_same_network(tmp_path, seed):
    network = hand_made.integer_network(seed)
    path = tmp_path / NETWORK_FILE
    path.write_bytes(network.content)
    again = read_integer_network(path)
    assert again.sha256 == network.sha256
    assert np.array_equal(
        FirmwareEngine(again).integers(everything()), FirmwareEngine(network).integers(everything())
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c.update(version=2), "version 2, but this program reads .*version 1"),
        (lambda c: c.update(format="l1scout network"), "has format 'l1scout network'"),
        (lambda c: c.update(more=1), "more: Unexpected"),
        (lambda c: c.pop("layers"), "layers"),
        (lambda c: c["layers"].pop(), "3 answers"),
        (lambda c: c["layers"][0]["weights"].pop(), "layer 1 has weights for 3 inputs, not 4"),
        (lambda c: c["layers"][0]["weights"][0].pop(), "weights"),
        (lambda c: c["layers"][0]["weights"][0].__setitem__(0, 0.5), r"layers\.0\.weights\.0\.0: .*integer"),
        (lambda c: c["layers"][0]["weights"][0].__setitem__(0, 1 << 40), "less than or equal to 1073741823"),
        (lambda c: c["layers"][1]["bias"].pop(), "for each"),
        (lambda c: c["layers"][1]["shift"].__setitem__(0, -1), r"layers\.1: shift outside 0\.\.31"),
        (lambda c: c["layers"][1]["bits"].__setitem__(0, 0), r"layers\.1: bits outside 1\.\.31"),
        (lambda c: c["layers"][0]["bias"].__setitem__(0, None), "bias"),
        (lambda c: c["look_ups"][0].pop("low"), r"look_ups\.0\.low: "),
        (lambda c: c["look_ups"][0].update(layer=3), r"layer of a look-up is not one of 0\.\.2"),
        (lambda c: c["look_ups"][0].update(layer=True), r"look_ups\.0\.layer: .*integer"),
        (lambda c: c["look_ups"][0].update(columns=[4]), "columns of a look-up are not integers from 0 to 3"),
        (lambda c: c["look_ups"][0].update(columns=1), r"look_ups\.0\.columns"),
        (lambda c: c["look_ups"][0].update(columns=[1, 2]), "columns, low and counts of the same inputs"),
        (
            lambda c: c["look_ups"][0].update(columns=[], low=[], counts=[]),
            "columns, low and counts of the same",
        ),
        (lambda c: c["look_ups"][0].update(low=[1 << 20]), "low of a look-up"),
        (lambda c: c["look_ups"][0].update(low=[True]), r"look_ups\.0\.low\.0: .*integer"),
        (lambda c: c["look_ups"][0]["values"][0].pop(), "different lengths"),
        (lambda c: c["look_ups"][0].update(values=[]), "dimensions|rows"),
        (lambda c: c["look_ups"][0].update(values=[[0] * 6] * 30_000), "has 30000 rows, not 17"),
        (lambda c: c["look_ups"][0].update(counts=[1 << 60]), f"not {1 << 60}"),
        (lambda c: c["look_ups"][0].update(counts=[-1]), "counts below 1"),
        (lambda c: c["look_ups"][2].update(values=[[0] * 6] * 17), "6 values per row, not 3"),
        (lambda c: c["look_ups"][3].update(values=[[0] * 3]), "has 1 rows, not 30"),
        (lambda c: c["look_ups"][0]["values"][0].__setitem__(0, 1 << 40), "less than or equal to 1073741823"),
    ],
)
def test_damaged_network_is_refused_in_a_line(tmp_path, change, says):
    content = json.loads(hand_made.integer_network(1).content)
    change(content)
    path = tmp_path / NETWORK_FILE
    path.write_text(json.dumps(content), "utf-8")
    with pytest.raises(InputError, match=says) as error:
        read_integer_network(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda g: g.update(gains=[]), "gains: there is no gain"),
        (lambda g: g.pop("bias"), r"gains\.bias"),
        (lambda g: g.update(more=1), "more: Unexpected"),
        (lambda g: g["bias"].pop(), "factors, shift and bits for each of 2 answers"),
        (lambda g: g["shift"].__setitem__(0, 32), r"gains: shift outside 0\.\.31"),
        (lambda g: g["bits"].__setitem__(0, 0), r"gains: bits outside 1\.\.31"),
        (lambda g: g["gains"][0].update(column=4), "columns of the gains are not integers from 0 to 3"),
        (lambda g: g["gains"][0].update(column=-1), "columns of the gains are not integers from 0 to 3"),
        (lambda g: g["gains"][0].update(column=1), "more than one of an input"),
        (lambda g: g["gains"][0].update(low=1 << 20), "low of a gain beyond 32768"),
        (lambda g: g["gains"][0].update(factors=[]), "dimensions|factors"),
        (lambda g: g["gains"][0].update(factors=[[1, 1, 1]] * 50_000), "not 1 to 131072 factors"),
        (lambda g: g["gains"][0]["factors"][0].pop(), "different lengths"),
        (lambda g: g["gains"][0].update(factors=[[1, 1]]), "for each of 3 answers"),
        (lambda g: g["gains"][0]["factors"][0].__setitem__(0, 0.5), "integer"),
        (
            lambda g: (
                [g.update(bias=[0] * 4, shift=[0] * 4, bits=[9] * 4)]
                + [gain.update(factors=[[1] * 4]) for gain in g["gains"]]
            ),
            "factors of 4 answers, not 3",
        ),
        (lambda g: [gain.update(factors=[[(1 << 30) - 1] * 3]) for gain in g["gains"]], r"2\*\*52"),
    ],
)
def test_damaged_gains_are_refused_in_a_line(tmp_path, change, says):
    content = json.loads(hand_made.integer_network(3).content)
    change(content["gains"])
    path = tmp_path / NETWORK_FILE
    path.write_text(json.dumps(content), "utf-8")
    with pytest.raises(InputError, match=says) as error:
        read_integer_network(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def test_sums_that_could_be_inexact_are_refused(tmp_path):
    content = json.loads(hand_made.integer_network().content)
    for layer in content["layers"]:
        layer["weights"] = [[(1 << 30) - 1 for _ in row] for row in layer["weights"]]
        layer["bits"] = [31 for _ in layer["bits"]]
    path = tmp_path / NETWORK_FILE
    path.write_text(json.dumps(content), "utf-8")
    with pytest.raises(InputError, match="52"):
        read_integer_network(path)


def test_changed_bit_or_other_network_is_refused(tmp_path):
    directory = hand_made.firmware_directory(tmp_path / "fw")
    assert load_model(directory).network.sha256 == hand_made.firmware_model().network.sha256
    path = directory / NETWORK_FILE
    good = path.read_bytes()
    path.write_bytes(good.replace(b"0", b"3", 1))
    with pytest.raises(InputError, match="has changed"):
        load_model(directory)
    path.write_bytes(hand_made.integer_network(5).content)
    write_sums(directory)
    with pytest.raises(InputError, match="not the network that its card describes"):
        load_model(directory)


def test_table_holds_the_integers_and_answers_the_same_bits(tmp_path):
    directory = hand_made.firmware_directory(tmp_path / "fw")
    model = load_model(directory)
    build(model, directory / "model.table")
    engine, table = create_engine("firmware", model), TableEngine(model, directory / "model.table")
    hardware = everything()
    assert np.array_equal(table.integers(slice(None)), hand_made.evaluate_integers(model.network, hardware))
    assert np.array_equal(table.correct(hardware), engine.correct(hardware))
    assert available_engines(model) == ["firmware", "table"]


def test_recalibration_takes_the_firmware_engine_by_itself(tmp_path):
    directory = hand_made.firmware_directory(tmp_path / "fw")
    rng = np.random.default_rng(0)
    columns = {n: rng.integers(low, high + 1, 500) for n, (low, high) in hand_made.TINY.items()}
    columns["tfMuonIndex"] = rng.integers(36, 72, 500)
    hardware = np.stack([columns[n] for n in hand_made.INPUTS])
    done = Recalibrator.load(directory)(columns)
    network = load_model(directory).network
    pt = 0.5 * (columns["hwPt"] - 1) - hand_made.evaluate_integers(network, hardware)[2] / 64
    assert np.array_equal(done.pt[done.recalibrated], pt[done.recalibrated].astype(np.float32))
    assert np.array_equal(done.recalibrated, pt > 0)


@pytest.mark.parametrize("engine", ["onnx", "fused", "fixed", "gpu", "mdla"])
def test_engines_of_float_networks_say_that_they_cannot(engine):
    with pytest.raises(InputError, match="firmware model"):
        create_engine(engine, hand_made.firmware_model())


def test_float_model_has_no_firmware_engine():
    with pytest.raises(InputError, match="no integer network"):
        create_engine("firmware", hand_made.network())
