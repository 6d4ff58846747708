"""Recalibrated words: what the streaming core must answer, against the recalibration of columns."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hand_made
from l1scout.deploy.engines.firmware import FirmwareEngine
from l1scout.deploy.recalibrate import Recalibrator
from l1scout.firmware.words import recalibrate_words
from l1scout.formats.recalibrated import RECALIBRATED
from l1scout.formats.streams.muon import MUON_2018, PHI_BINS

MODEL = hand_made.firmware_model()
ENGINE = FirmwareEngine(MODEL.network)
SAME = ("hwQual", "hwIso", "hwCharge", "hwChargeValid", "tfMuonIndex")


def muons(n=20_000, seed=0):
    """Half of them in or just outside the domain, half any 64 bits."""
    rng = np.random.default_rng(seed)
    columns = {
        name: rng.integers(low - (low > 0 or MUON_2018[name].signed), high + 2, n)
        for name, (low, high) in {**hand_made.TINY, "tfMuonIndex": (36, 71)}.items()
        if name != "hwCharge"
    }
    charge = {"hwCharge": rng.integers(0, 2, n), "hwChargeValid": rng.random(n) < 0.9}
    near = MUON_2018.encode({**columns, **charge, "hwQual": rng.integers(0, 16, n)})
    return np.concatenate([near, rng.integers(0, 1 << 64, n, np.uint64, endpoint=False)])


def test_words_are_what_recalibration_gives():
    words = muons()
    hw = MUON_2018.decode(words)
    wanted = Recalibrator(MODEL.card, ENGINE)(hw)
    given = RECALIBRATED.decode(recalibrate_words(words, ENGINE, MODEL.card))
    assert np.array_equal(given["isRecal"] == 1, wanted.recalibrated)
    assert 1000 < np.count_nonzero(given["isRecal"]) < words.size / 2
    assert wanted.reasons["charge not valid (hwChargeValid 0)"] > 100
    assert not given["isRecal"][hw["hwChargeValid"] == 0].any()
    muon = hw["hwPt"] > 0
    good = muon & (hw["hwPhiAtVtx"] < PHI_BINS)
    pt, eta, phi = (RECALIBRATED[n].to_physical(given[n]) for n in ("ptRecal", "etaRecal", "phiRecal"))
    assert np.array_equal(pt[muon].astype(np.float32), wanted.pt[muon])
    assert np.allclose(eta, wanted.eta, rtol=0, atol=1e-6)
    turn = np.abs(phi - wanted.phi)[good]
    assert np.minimum(turn, 2 * np.pi - turn).max() < 2e-6


def test_the_rest_of_the_word_is_kept_and_others_keep_their_values():
    words = muons(seed=1)
    hw, given = MUON_2018.decode(words), RECALIBRATED.decode(recalibrate_words(words, ENGINE, MODEL.card))
    for name in SAME:
        assert np.array_equal(given[name], hw[name])
    own = given["isRecal"] == 0
    assert np.array_equal(given["phiRecal"][own], 16 * hw["hwPhiAtVtx"][own])
    assert np.array_equal(given["etaRecal"][own], 32 * hw["hwEtaAtVtx"][own])
    assert np.array_equal(given["ptRecal"][own], 32 * hw["hwPt"][own])


FIELDS = {
    f.name: st.integers(f.low, f.period - 1 if f.period else f.high)
    for f in RECALIBRATED.fields
    if f.name != "reserved"
}


@settings(max_examples=200, deadline=None)
@given(st.fixed_dictionaries(FIELDS))
def test_word_holds_every_value(values):
    decoded = RECALIBRATED.decode(RECALIBRATED.encode({n: [v] for n, v in values.items()}))
    assert {n: int(decoded[n][0]) for n in values} == values
    for name in ("phiRecal", "etaRecal", "ptRecal"):
        if name != "ptRecal" or values[name] > 0:
            physical = RECALIBRATED[name].to_physical(decoded[name])
            assert RECALIBRATED[name].to_hardware(physical) == values[name]


@pytest.mark.parametrize(
    ("name", "count", "value"),
    [("phiRecal", 16, 2 * np.pi / 576), ("etaRecal", 32, 0.010875), ("ptRecal", 64, 0.5)],
)
def test_steps_are_those_of_the_page(name, count, value):
    assert RECALIBRATED[name].to_physical(count) == pytest.approx(value, rel=1e-12)


def test_no_muon_stays_a_word_of_zeros():
    assert recalibrate_words(np.zeros(3, np.uint64), ENGINE, MODEL.card).tolist() == [0, 0, 0]
