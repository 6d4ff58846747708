"""Corrections of phi and eta at the vertex or at the second station: words, and Verilog in Icarus."""

import dataclasses
import importlib.util

import numpy as np
import pytest

import hand_made
from l1scout.deploy.engines.firmware import FirmwareEngine
from l1scout.firmware.build import BENCH, VECTORS, build, vectors
from l1scout.firmware.simulate import in_icarus, in_verilator
from l1scout.firmware.verilator import build_icarus, have_icarus, have_verilator, run_program
from l1scout.firmware.words import recalibrate_words
from l1scout.formats.streams.muon import MUON_2018
from l1scout.model.integers import IntegerNetwork, Neurons

needs_compiler = pytest.mark.skipif(importlib.util.find_spec("da4ml") is None, reason="no da4ml")
needs_icarus = pytest.mark.skipif(not have_icarus(), reason="no Icarus Verilog: apt-get install iverilog")
needs_verilator = pytest.mark.skipif(not have_verilator(), reason="no Verilator: apt-get install verilator")
INPUTS = ("hwEta", "hwPt", "hwCharge")
RANGES = {"hwEta": (-80, 80), "hwPt": (1, 511), "hwCharge": (0, 1)}

# hwPhiAtVtx, hwPt, hwQual, hwEtaAtVtx; hwIso, hwCharge, hwChargeValid, tfMuonIndex; hwPhi, hwEta
LOW = 100 | 60 << 10 | 12 << 19 | (512 - 40) << 23
HIGH = 1 << 32 | 1 << 34 | 1 << 35 | 50 << 36 | 1 << 43 | (512 - 33) << 53
MUON = np.array([LOW | HIGH], np.uint64)
REST = 12 << 42 | 1 << 46 | 1 << 48 | 1 << 49 | 50 << 50
STEPS = (21, -5, 7)
"""Of phi, eta and pT, which the hand-made network says of every muon."""


def golden(phi, eta, pt, recalibrated=1):
    """Pack a recalibrated word by hand."""
    return phi | (eta & 0x3FFF) << 14 | pt << 28 | REST | recalibrated << 57


CASES = [
    ("vertex", None, golden(16 * 100 - 21, 32 * -40 + 5, 32 * 60 - 7)),
    ("vertex", 17, golden(16 * 100 - 21, 32 * -40 + 5, 32 * 60 - 7)),
    ("station 2", None, golden(16 - 21 + 9216, 32 * -33 + 5, 32 * 60 - 7)),
    ("station 2", 17, golden(16 - 21 + 9216, 32 * 17 + 5, 32 * 60 - 7)),
    ("station 2", 81, golden(16 * 100, 32 * -40, 32 * 60, 0)),
]
"""Reference, hwEta beside the word (None: that in it), what comes of it; the last is outside the domain."""


def model(reference, steps=STEPS, bits=(6, 4, 4)):
    """Make a firmware model that takes hwEta and subtracts `steps`, of `bits` bits each."""
    layer = Neurons(np.zeros((3, 3)), steps, [0] * 3, list(bits))
    made = hand_made.firmware_model(IntegerNetwork(INPUTS, (layer,)))
    inputs = tuple(dataclasses.replace(made.card.inputs[0], name=n) for n in RANGES)
    card = dataclasses.replace(made.card, inputs=inputs, domain=RANGES, reference=reference)
    return dataclasses.replace(made, card=card)


@pytest.mark.parametrize(("reference", "eta", "wanted"), CASES)
def test_golden_word(reference, eta, wanted):
    made = model(reference)
    etas = None if eta is None else np.array([eta])
    assert recalibrate_words(MUON, FirmwareEngine(made.network), made.card, etas).tolist() == [wanted]


def test_only_the_phi_that_is_corrected_must_exist():
    phi = {"hwPhi": np.array([0, 576]), "hwPhiAtVtx": np.array([600, 0])}
    words = MUON_2018.encode({**MUON_2018.decode(np.repeat(MUON, 2)), **phi})
    for reference, wanted in (("vertex", [0, 1]), ("station 2", [1, 0])):
        made = model(reference)
        found = recalibrate_words(words, FirmwareEngine(made.network), made.card)
        assert (found >> np.uint64(57)).tolist() == wanted


@needs_compiler
@needs_icarus
@pytest.mark.parametrize("reference", ["vertex", "station 2"])
def test_golden_word_in_verilog(tmp_path, reference):
    """The same words through the folder's own test bench."""
    made = build(model(reference), tmp_path / "rtl", cutoff=3)
    cases = [(-33 if eta is None else eta, wanted) for name, eta, wanted in CASES if name == reference]
    n = len(cases)
    etas, wanted = (np.array(c, np.int64).astype(np.uint64) for c in zip(*cases, strict=True))
    lines = vectors(np.ones(n, np.uint64), np.arange(n), etas & np.uint64(511), np.repeat(MUON, n), wanted)
    (tmp_path / VECTORS).write_text(lines)
    program = build_icarus([made.folder / BENCH, *made.sources], "recalibrate_tb", tmp_path, {"LINES": n})
    said = run_program(program, arguments=[f"+vectors={tmp_path / VECTORS}"]).decode()
    assert f"PASS: {n} muons, latency {made.latency} clock edges" in said
    where = {"vertex": "hwPhiAtVtx, hwEtaAtVtx", "station 2": "hwPhi, hwEta"}[reference]
    assert f"Corrections are subtracted from {where} and hwPt" in (made.folder / "README.md").read_text()


@needs_compiler
@needs_icarus
@pytest.mark.parametrize(("phi", "wanted"), [(16383, 16 - 16383 + 2 * 9216), (-16383, 16 + 16383 - 9216)])
def test_corrections_of_almost_two_turns(tmp_path, phi, wanted):
    """Corrections of phi as large as a core may have: 15 bits, in steps of which a turn has 9216."""
    of_phi = model("station 2", (phi, -5, 7), (15, 4, 4))
    word = golden(wanted, 32 * -33 + 5, 32 * 60 - 7)
    assert recalibrate_words(MUON, FirmwareEngine(of_phi.network), of_phi.card).tolist() == [word]
    made = build(of_phi, tmp_path / "rtl", cutoff=3)
    one = np.ones(1, np.uint64)
    (tmp_path / VECTORS).write_text(
        vectors(one, np.arange(1), one * np.uint64(512 - 33), MUON, one * np.uint64(word))
    )
    program = build_icarus([made.folder / BENCH, *made.sources], "recalibrate_tb", tmp_path, {"LINES": 1})
    assert "PASS: 1 muons" in run_program(program, arguments=[f"+vectors={tmp_path / VECTORS}"]).decode()


def random_model(reference):
    """Make a model of a random network with look-ups and gains that takes phi and eta at the station."""
    made = hand_made.at_station(hand_made.firmware_model(hand_made.integer_network(3)))
    return dataclasses.replace(made, card=dataclasses.replace(made.card, reference=reference))


@needs_compiler
@needs_icarus
@pytest.mark.parametrize("reference", ["vertex", "station 2"])
def test_random_network_in_icarus(tmp_path, reference):
    made = random_model(reference)
    built = build(made, tmp_path / "rtl", cutoff=3)
    assert in_icarus(made, built, 400, tmp_path) == f"PASS: 400 muons, latency {built.latency} clock edges"


@needs_compiler
@needs_verilator
def test_random_network_in_verilator(tmp_path):
    made = random_model("station 2")
    built = build(made, tmp_path / "rtl", cutoff=3)
    found = in_verilator(made, built, 20_000, tmp_path)
    assert (found.mismatches, found.first) == (0, "")
    assert found.recalibrated > 10_000
