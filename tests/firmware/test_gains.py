"""Gains in integers: plain Python, the engine and the logic say the same; words hold every answer."""

import dataclasses
import importlib.util

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hand_made
from l1scout.deploy.engines.firmware import FirmwareEngine
from l1scout.errors import InputError
from l1scout.firmware.build import build
from l1scout.firmware.logic import trace
from l1scout.firmware.simulate import exhaust, in_icarus
from l1scout.firmware.verilator import have_icarus
from l1scout.firmware.words import recalibrate_words
from l1scout.formats.recalibrated import RECALIBRATED
from l1scout.formats.streams.muon import MUON_2018
from l1scout.model.domain import Domain
from l1scout.model.integers import IntegerGain, IntegerGains, IntegerLookUp, IntegerNetwork, Neurons

INPUTS = ("hwEtaAtVtx", "hwPt", "hwCharge")
RANGES = {"hwEtaAtVtx": (-5, 5), "hwPt": (1, 9), "hwCharge": (0, 1)}
DOMAIN = Domain.between(INPUTS, *zip(*(RANGES[n] for n in INPUTS), strict=True))
needs_compiler = pytest.mark.skipif(importlib.util.find_spec("da4ml") is None, reason="no da4ml")
needs_icarus = pytest.mark.skipif(not have_icarus(), reason="no Icarus Verilog: apt-get install iverilog")


def whole(low, high, *shape):
    """Draw nested lists of integers."""
    values = st.integers(low, high)
    for n in reversed(shape):
        values = st.lists(values, min_size=n, max_size=n)
    return values


@st.composite
def networks(draw):
    """Draw a network of three inputs: a few neurons, look-ups that eta and -eta may share, gains."""
    neurons = draw(st.integers(1, 3))
    half = draw(whole(-40, 40, 6, neurons))
    eta = IntegerLookUp(0, (0,), (-5,), (11,), [*half[:0:-1], *half])
    pt = IntegerLookUp(1, (1,), (1,), (9,), draw(whole(-40, 40, 9, 3)))
    layers = (
        Neurons(draw(whole(-9, 9, 3, neurons)), draw(whole(-99, 99, neurons)), [1] * neurons, [31] * neurons),
        Neurons(draw(whole(-9, 9, neurons, 3)), draw(whole(-99, 99, 3)), draw(whole(0, 3, 3)), [31] * 3),
    )
    gains = [IntegerGain(2, 0, draw(whole(-1, 1, 2, 3))), IntegerGain(1, 1, draw(whole(-20, 20, 9, 3)))]
    if draw(st.booleans()):
        gains.append(IntegerGain(0, draw(st.integers(-6, 0)), draw(whole(-3, 3, draw(st.integers(1, 7)), 3))))
    after = IntegerGains(tuple(gains), draw(whole(-99, 99, 3)), draw(whole(0, 6, 3)), [31] * 3)
    return hand_made.with_widths(IntegerNetwork(INPUTS, layers, (eta, pt), after), RANGES)


@settings(max_examples=60, deadline=None)
@given(networks())
def test_engine_is_plain_python_at_every_input(network):
    engine, hardware = FirmwareEngine(network), DOMAIN.hardware(0, DOMAIN.entries)
    wanted = hand_made.evaluate_integers(network, hardware)
    assert np.array_equal(engine.integers(hardware), wanted)
    assert engine.overflows == 0
    without = FirmwareEngine(dataclasses.replace(network, gains=None)).integers(hardware)
    assert np.array_equal(network.gains(hardware, without), wanted)


@needs_compiler
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(networks())
def test_logic_is_the_engine_at_every_input(network):
    hardware = DOMAIN.hardware(0, DOMAIN.entries)
    wanted = FirmwareEngine(network).integers(hardware)
    try:
        logic = trace(network, DOMAIN)
    except InputError:  # an answer that is always even or always 0 is refused
        assert (wanted % 2 == 0).all(axis=1).any()
        return
    assert np.array_equal(logic.integers(hardware), wanted)


def sample(seed=0, *, scale=1):
    """Make a firmware model of three inputs, with pT answers of up to `scale` times 30 steps or so."""
    rng = np.random.default_rng(seed)
    half = rng.integers(-40, 40, (6, 4))
    eta = IntegerLookUp(0, (0,), (-5,), (11,), np.concatenate([half[:0:-1], half]))
    pt = IntegerLookUp(1, (1,), (1,), (9,), rng.integers(-40, 40, (9, 3)))
    layers = (
        Neurons(np.zeros((3, 4)), rng.integers(-9, 99, 4), np.ones(4), np.full(4, 31)),
        Neurons(rng.integers(-9, 9, (4, 3)), rng.integers(-99, 99, 3), np.full(3, 3), np.full(3, 31)),
    )
    gains = (
        IntegerGain(2, 0, [[1, 1, scale], [-1, 1, scale]]),
        IntegerGain(0, -5, [[1, s, 1] for s in np.sign(np.arange(-5, 6))]),
        IntegerGain(1, 1, [[64 // n, 1, n - 1] for n in range(1, 10)]),
    )
    after = IntegerGains(gains, [40, 16, 3], [5, 0, 2], [31] * 3)
    network = hand_made.with_widths(IntegerNetwork(INPUTS, layers, (eta, pt), after), RANGES)
    made = hand_made.firmware_model(network)
    inputs = tuple(q for q in made.card.inputs if q.name in INPUTS)
    return dataclasses.replace(made, card=dataclasses.replace(made.card, inputs=inputs, domain=RANGES))


@needs_compiler
def test_eta_and_minus_eta_share_a_table():
    model = sample()
    other = model.network.look_ups[0].values.copy()
    other[:5] += 1 + np.arange(20).reshape(5, 4)
    look_ups = (dataclasses.replace(model.network.look_ups[0], values=other), model.network.look_ups[1])
    logic, apart = (
        trace(network, model.domain)
        for network in (model.network, dataclasses.replace(model.network, look_ups=look_ups))
    )
    assert exhaust(model, logic, None).logic == 0
    tables = [sum(op.opcode == 8 for op in found.comb.ops) for found in (logic, apart)]
    assert tables[0] == tables[1] + 1, "one makes the number that the others look up"


@needs_compiler
@needs_icarus
def test_three_inputs_and_gains_pass_the_bench(tmp_path):
    model = sample()
    made = build(model, tmp_path / "rtl", cutoff=3)
    assert made.about["inputs"] == INPUTS
    assert in_icarus(model, made, 400, tmp_path) == f"PASS: 400 muons, latency {made.latency} clock edges"
    assert sum(made.about["input_bits"]) == 4 + 4 + 1
    assert "bits of\nhwEtaAtVtx, hwPt, hwCharge." in (tmp_path / "rtl" / "README.md").read_text()


@needs_compiler
def test_input_that_a_muon_word_does_not_have_is_refused(tmp_path):
    model = sample()
    card = dataclasses.replace(model.card, domain={**RANGES, "hwDXY": (0, 3)})
    with pytest.raises(InputError, match="needs hwDXY, which is not at one place of GMT muons"):
        build(dataclasses.replace(model, card=card), tmp_path / "rtl", cutoff=3)


def constant(correction):
    """Make a firmware model for all pT that adds a number of steps to it."""
    layer = Neurons(np.zeros((3, 3)), [1, 1, -correction], [0] * 3, [2, 2, 15])
    ranges = {**RANGES, "hwPt": (1, 511)}
    made = hand_made.firmware_model(IntegerNetwork(INPUTS, (layer,)))
    inputs = tuple(q for q in made.card.inputs if q.name in INPUTS)
    return dataclasses.replace(made, card=dataclasses.replace(made.card, inputs=inputs, domain=ranges))


def test_pt_beyond_its_field_is_the_largest_one():
    model = constant(correction=100)
    columns = {"hwPt": np.arange(500, 512), "hwChargeValid": np.ones(12, int), "tfMuonIndex": np.full(12, 40)}
    words = MUON_2018.encode(columns)
    found = RECALIBRATED.decode(recalibrate_words(words, FirmwareEngine(model.network), model.card))
    assert found["isRecal"].all()
    assert found["ptRecal"].tolist() == [min(32 * n + 100, 16383) for n in range(500, 512)]
    assert RECALIBRATED["ptRecal"].to_physical(16383) == pytest.approx(255.484375)


@needs_compiler
@needs_icarus
def test_pt_beyond_its_field_is_the_largest_one_in_logic_and_counted(tmp_path):
    """Half of the muons are near the end of the field."""
    model = constant(correction=12001)
    made = build(model, tmp_path / "rtl", cutoff=3)
    assert in_icarus(model, made, 400, tmp_path).startswith("PASS")
    logic = trace(model.network, model.domain)
    found = exhaust(model, logic, None)
    assert (found.logic, found.saturated) == (0, 11 * 2 * sum(32 * n + 12001 > 16383 for n in range(1, 512)))
