"""The integer network against rules written out in Python's own integers."""

import dataclasses

import numpy as np
import pytest

from hand_made import TINY, gain_network, look_up_network, model, network, scaled_network
from l1scout.deploy.engine import create_engine
from l1scout.deploy.engines.fixed import FixedEngine, Format, IntegerLayer
from l1scout.errors import InputError
from l1scout.model.directory import Model

RULES = [
    Format(rounding=rounding, overflow=overflow, variable=variable, fraction=fraction, bits=bits)
    for rounding in ("nearest", "down")
    for overflow in ("saturate", "wrap")
    for variable in (False, True)
    for bits, fraction in ((16, 8), (16, 12), (8, 5))
]


def by_hand(engine, column):
    rules = engine.rules
    low, high = -(1 << (rules.bits - 1)), (1 << (rules.bits - 1)) - 1

    def fit(v):
        if rules.overflow == "saturate":
            return max(low, min(high, v))
        return (v - low) % (1 << rules.bits) + low

    def down(v, by):
        return (v + (1 << by >> 1 if rules.rounding == "nearest" else 0)) // (1 << by)

    def row(k, entries):
        return min(max(k, 0), len(entries) - 1)

    offset, scale = (p[:, 0].tolist() for p in engine._in)
    x = [
        fit(int(np.floor((int(h) - o) / s * 2**rules.fraction + 0.5)))
        for h, o, s in zip(column, offset, scale, strict=True)
    ]
    for k, layer in enumerate(engine.layers):
        weights, bias = layer.weights.tolist(), layer.bias.tolist()
        added = [bias, *(e[row(column[c] - first, e)].tolist() for c, first, e in engine._look_ups if k == 0)]
        sums = [
            sum(a * w[j] for a, w in zip(x, weights, strict=True)) + (sum(v[j] for v in added) << layer.shift)
            for j in range(len(bias))
        ]
        x = [fit(down(v, layer.shift)) for v in sums]
        if layer.relu:
            x = [max(v, 0) for v in x]
    return x


@pytest.mark.parametrize("rules", [*RULES, Format(24, 16)], ids=str)
def test_gains_are_exact(rules):
    m = gain_network()
    engine = FixedEngine(m, rules)
    hardware = m.domain.hardware(0, m.domain.entries)[:, ::7]
    words = engine.integers(hardware)
    answers, points = engine.multiplied(hardware, words)
    back = rules.bits - 1
    half = 1 << (back - 1) if rules.rounding == "nearest" else 0
    for column, word, found in zip(hardware.T.tolist(), words.T.tolist(), answers.T.tolist(), strict=True):
        wanted = [w << (40 - rules.bits) for w in word]
        for gain, (_, _, factors, _) in zip(m.network.gains, engine._gains, strict=True):
            row = min(max(column[gain.column] - gain.low, 0), len(gain.factors) - 1)
            wanted = [(w * int(f) + half) >> back for w, f in zip(wanted, factors[row], strict=True)]
        assert found == wanted
    for gain, (_, _, factors, own) in zip(m.network.gains, engine._gains, strict=True):
        assert np.abs(factors).max() <= rules.largest
        assert (np.abs(factors).max(axis=0) > rules.largest // 2).all()  # all bits are used
        assert np.abs(factors / 2.0**own - gain.factors).max() <= 2.0 ** -(own.min() + 1)
    assert (
        points[:, 0].tolist()
        == (rules.fraction + 40 - rules.bits + sum(own - back for *_, own in engine._gains)).tolist()
    )


@pytest.mark.parametrize("make_model", [scaled_network, look_up_network, gain_network])
@pytest.mark.parametrize("rules", [*RULES, Format(24, 16, variable=True)], ids=str)
def test_integers_are_exact(rules, make_model):
    m = make_model()
    engine = FixedEngine(m, rules)
    hardware = m.domain.hardware(0, m.domain.entries)[:, :: 1 + m.domain.entries // 15]
    found = engine.integers(hardware)
    assert found.dtype == np.int64
    assert found.T.tolist() == [by_hand(engine, column) for column in hardware.T.tolist()]


def test_large_vectors_beside_weights_of_zero_are_exact():
    """As in the default network, all of whose inputs are looked up."""
    m = gain_network()
    large = tuple(dataclasses.replace(at, vectors=20 * at.vectors) for at in m.network.look_ups)
    network = dataclasses.replace(m.network, look_ups=large)
    engine = FixedEngine(Model(m.card, network), Format(24, 16, variable=True))
    hardware = m.domain.hardware(0, m.domain.entries)
    wanted = network(hardware)
    assert np.abs(engine.correct(hardware) - wanted).max() < 1e-3 * np.abs(wanted).max()
    assert engine.overflows == engine.weight_overflows == 0


def test_more_bits_come_closer():
    m = scaled_network()
    hardware = m.domain.hardware(0, m.domain.entries)
    exact = create_engine("fused", m).correct(hardware)
    rms = [
        np.sqrt(((FixedEngine(m, rules).correct(hardware) - exact) ** 2).mean())
        for rules in (Format(), Format(variable=True), Format(bits=24, fraction=16))
    ]
    assert rms[0] > rms[1] > rms[2]
    assert rms[2] < 1e-4


def test_overflow_is_counted():
    card, made = model(np.diag([0, 0, 60.0, 0])[:, :3], (0, 0, 300), domain=TINY)
    engine = FixedEngine(Model(card, made))
    assert engine.weight_overflows == 1  # the bias of 300 does not fit into Q8.8
    answer = engine.correct(np.array([[0, 0], [0, 0], [20, 6], [1, 1]]))
    assert engine.overflows == 2
    assert answer[2] == pytest.approx([127.99609375] * 2)
    assert FixedEngine(Model(card, made), Format(overflow="wrap")).integers(np.array([[0], [0], [20], [1]]))[
        2
    ] == [((20 * 60 + 300 - 256) * 256 + 32768) % 65536 - 32768]


def test_formats():
    assert Format().fit(np.array([32768, -32769, 5])) == (pytest.approx([32767, -32768, 5]), 2)
    with pytest.raises(InputError, match="2 to 24 bits"):
        Format(bits=32)
    with pytest.raises(InputError, match=r"Q0\.16"):
        Format(fraction=16)
    assert IntegerLayer(np.zeros((1, 1), int), np.zeros(1, int), 8, True).relu


def test_rules_are_read():
    assert Format.parse("Q8.8") == Format()
    assert Format.parse("Q4.12,variable,down,wrap") == Format(16, 12, True, "down", "wrap")
    for text in ("", "8.8", "Q8", "Q8.8,", "Q8.8,up", "Q8.-8", "Q999.1", "Q8.8 "):
        with pytest.raises(InputError, match=r"like Q8\.8 or Q4\.12,variable"):
            Format.parse(text)
    with pytest.raises(InputError, match="2 to 24 bits"):
        Format.parse("Q20.20")
    assert create_engine("fixed:Q6.10,down", scaled_network()).rules == Format(fraction=10, rounding="down")


def test_softmax_is_refused_and_the_engine_has_a_name():
    with pytest.raises(InputError, match="softmax has no exact integer form"):
        create_engine("fixed", network(hidden="softmax"))
    m = scaled_network()
    assert (
        np.abs(
            create_engine("fixed", m).correct(m.domain.hardware(0, 9))
            - create_engine("fused", m).correct(m.domain.hardware(0, 9))
        ).max()
        < 0.1
    )
