"""Anomaly models in logic: integers beside the trained encoder, logic and Verilog beside integers."""

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from l1scout.cli import make_app
from l1scout.deploy.anomaly_score import AnomalyScorer
from l1scout.deploy.engines.firmware import FirmwareEngine
from l1scout.errors import InputError
from l1scout.firmware.anomaly_core import (
    build_anomaly,
    quantise_encoder,
    random_crossings,
    save_anomaly_firmware,
    simulate_anomaly,
)
from l1scout.firmware.verilator import have_verilator
from l1scout.model.card import read_card
from l1scout.model.directory import load_model
from l1scout.model.network import Layer, Network
from toy_anomaly import anomaly_model, write_anomaly_model


@pytest.fixture
def integers(tmp_path):
    return save_anomaly_firmware(anomaly_model(hidden=3, latent=2), tmp_path / "fw")


def test_quantisation_by_hand():
    """Weights of 3 bits with the point that the largest one leaves room for; sums lose bits, rounded."""
    first = Layer(np.array([[0.75], [-0.25]]), np.array([1.0]), "relu")
    last = Layer(np.array([[1.5]]), np.array([-2.0]), "linear")
    made = quantise_encoder(Network(("a", "b"), (first, last)), weight_bits=3)
    assert made.layers[0].weights.tolist() == [[3], [-1]]  # quarters
    assert made.layers[1].weights.tolist() == [[3]]  # halves
    values = np.array([[10, -128, 127], [4, 127, -128]], np.int16)
    # 0.75 a - 0.25 b + 1 is 7.5, below 0 and 128.25; times 1.5 and less 2: 9.25, -2 and 190.375
    step = made.answer_steps[0]
    assert (FirmwareEngine(made).integers(values)[0] * step).tolist() == [9.25, -2.0, 190.375]


def test_no_input_overflows(integers):
    ends = np.array(np.meshgrid(*[[-128, 127]] * 6)).reshape(6, -1).astype(np.int16)
    engine = FirmwareEngine(integers.integers)
    engine.integers(np.concatenate([ends, random_crossings(integers, 20_000)], axis=1))
    assert engine.overflows == 0


def test_scores_are_near_those_of_the_model(integers):
    trained = anomaly_model(hidden=3, latent=2)
    hardware = random_crossings(integers, 5000)
    scores = AnomalyScorer(integers, FirmwareEngine(integers.integers)).scores(hardware)
    exact = 16 * np.square(trained.network(hardware)).sum(axis=0)
    # weights of 8 bits: within 5 % of the root of the score, and a little where that is small
    assert np.all(np.abs(np.sqrt(scores) - np.sqrt(exact)) < 2 + 0.05 * np.sqrt(exact))


def test_it_comes_back_from_its_directory(integers, tmp_path):
    again = load_model(tmp_path / "fw", anomaly=True)
    assert again.integers is not None
    assert again.sha256 == integers.sha256
    assert read_card(tmp_path / "fw").origin == "simulated crossings"
    hardware = random_crossings(integers, 100)
    scores = AnomalyScorer.load(tmp_path / "fw").scores(hardware)
    assert (
        scores.tolist()
        == AnomalyScorer(integers, FirmwareEngine(integers.integers)).scores(hardware).tolist()
    )
    with pytest.raises(InputError, match="is an anomaly model"):
        load_model(tmp_path / "fw")


def test_what_cannot_be_integers_is_refused():
    toy = anomaly_model()
    soft = replace(
        toy.network, layers=(replace(toy.network.layers[0], activation="softmax"), toy.network.layers[1])
    )
    with pytest.raises(InputError, match="all ReLU but the last"):
        quantise_encoder(soft)


def test_logic_is_the_integer_network(integers, tmp_path):
    pytest.importorskip("da4ml")
    built = build_anomaly(integers, tmp_path / "rtl", cutoff=4)
    hardware = random_crossings(integers, 3000)
    wanted = FirmwareEngine(integers.integers).integers(hardware)
    np.testing.assert_array_equal(built.logic.integers(hardware), wanted)
    text = (tmp_path / "rtl" / "anomaly.v").read_text()
    assert "@" not in text.replace("always @", "")


@pytest.mark.skipif(not have_verilator(), reason="Verilator is not installed")
def test_verilog_is_the_integer_network(integers, tmp_path):
    pytest.importorskip("da4ml")
    built = build_anomaly(integers, tmp_path / "rtl", cutoff=4)
    compared = simulate_anomaly(integers, built, random_crossings(integers, 3000), tmp_path / "programs")
    assert (compared.crossings, compared.mismatches, compared.latency) == (3000, 0, built.latency)


def test_command(tmp_path):
    pytest.importorskip("da4ml")
    model = write_anomaly_model(tmp_path / "model", anomaly_model(hidden=2, latent=1))
    words = ["anomaly", "firmware", str(model), "--out", str(tmp_path / "fw"), "--json"]
    told = json.loads(CliRunner().invoke(make_app(), words, catch_exceptions=False).stdout)
    assert told["simulated"] is True
    assert told["latency_clock_edges"] == told["stages"] + 4
    assert (tmp_path / "fw" / "rtl" / "anomaly_core.v").exists()
    card = read_card(tmp_path / "fw" / "model")
    assert (card.firmware["weight_bits"], card.provenance["command"]) == (8, "anomaly firmware")
    again = CliRunner().invoke(make_app(), [*words[:2], str(tmp_path / "fw" / "model"), *words[3:]])
    assert "is in integers already" in str(again.exception)
