"""Charges that were not measured, and the cases of ROOT files: nothing takes them for others."""

import json

import awkward as ak
import numpy as np
import pytest
import uproot
from typer.testing import CliRunner

from hand_made import model_directory
from l1scout.analysis.common.pair_masses import Masses, PairCuts
from l1scout.cli import make_app
from l1scout.core.orbit_batch import concatenate
from l1scout.deploy.recalibrate import Recalibrator
from l1scout.errors import InputError
from l1scout.io import columns, detect, read_events
from l1scout.io.inspect import describe
from nano_files import rewrite

NOT_VALID = "charge not valid (hwChargeValid 0)"


def l1(path):
    return concatenate([e.muons for e in read_events(path)])


def run(*arguments):
    done = CliRunner().invoke(make_app(), [str(a) for a in arguments])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return json.loads(done.stdout)


def masses(path):
    state = Masses(cuts=PairCuts())
    for events in read_events(path):
        state.add(events)
    found = state.result()
    return {p["sign"]: p["pairs"] for p in found["pairs"] if p["muons"] == "raw"}, found[
        "l1_muons_without_charge"
    ]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return model_directory(tmp_path_factory.mktemp("models") / "constant")


def test_a_sign_of_0_is_not_valid():
    read = {"hwCharge": np.array([1, -1, 0], np.int16)}
    assert {k: v.tolist() for k, v in columns.hardware(read, signed_charge=True).items()} == {
        "hwCharge": [0, 1, 0],
        "hwChargeValid": [1, 1, 0],
    }
    known = columns.hardware({**read, "hwChargeValid": np.array([0, 1, 1])}, signed_charge=True)
    assert known["hwChargeValid"].tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("signed", "values"), [(True, [2, 1]), (True, [-5, 1]), (False, [2, 0]), (False, [-1, 0])]
)
def test_impossible_charges_are_refused(signed, values):
    with pytest.raises(InputError, match="hwCharge holds"):
        columns.hardware({"hwCharge": np.array(values)}, signed_charge=signed)


def test_case_ntuple_of_charge_0(shared_cases, tmp_path, model):
    good, bad = shared_cases / "08_ntuple.root", shared_cases / "08_ntuple_charge_0.root"
    assert (describe(good)["charge_not_valid"], describe(bad)["charge_not_valid"]) == (0, 24)
    assert set(l1(bad)["hwChargeValid"]) == {0}
    assert masses(good) == ({"opposite": 12, "same": 0}, 0)
    assert masses(bad) == ({"opposite": 0, "same": 0}, 24)
    for path, recalibrated in ((good, 24), (bad, 0)):
        found = run("recalibrate", path, tmp_path / "out.root", "--model", model, "--json")
        assert (found["recalibrated"], found["unchanged"][NOT_VALID]) == (recalibrated, 24 - recalibrated)


def test_nano_of_charges_that_are_not_valid(samples, tmp_path, model):
    def change(tree, fields):
        n = ak.num(fields["L1Mu_hwCharge"])
        valid = np.arange(ak.sum(n)) % 2
        index = ak.full_like(fields["L1Mu_tfMuonIndex"], 50)
        pt, eta = ak.full_like(fields["L1Mu_hwPt"], 20), ak.full_like(fields["L1Mu_hwEtaAtVtx"], 10)
        inside = {"L1Mu_tfMuonIndex": index, "L1Mu_hwPt": pt, "L1Mu_hwEtaAtVtx": eta}
        return fields | inside | {"L1Mu_hwChargeValid": ak.unflatten(valid.astype(np.int16), n)}

    path = rewrite(samples["DPG_NANO"], tmp_path / "nano.root", change)
    muons = l1(path)
    answer = Recalibrator.load(model)(muons.columns)
    plain = Recalibrator.load(model)({k: v for k, v in muons.columns.items() if k != "hwChargeValid"})
    valid = muons["hwChargeValid"] == 1
    assert plain.recalibrated.all()
    np.testing.assert_array_equal(answer.recalibrated, valid)
    assert answer.reasons[NOT_VALID] == (~valid).sum()
    assert describe(path)["charge_not_valid"] == (~valid).sum()


def test_data_sets_leave_them_out(samples, tmp_path):
    def change(tree, fields):
        return fields | {"L1Mu_hwChargeValid": ak.zeros_like(fields["L1Mu_hwCharge"])}

    path = rewrite(samples["DPG_NANO"], tmp_path / "nano.root", change)
    with pytest.raises(InputError, match=r"no L1 muon of \d+ left after: valid charge"):
        run("dataset", path, "--out", tmp_path / "pairs.parquet")


def test_nanoaod_of_charge_0(samples, truth, tmp_path):
    def change(tree, fields):
        charge = fields["TrigObj_l1charge"]
        return fields | {"TrigObj_l1charge": charge * (np.arange(len(charge)) % 2)}

    muons = l1(rewrite(samples["NANOAOD"], tmp_path / "nano.root", change))
    odd = muons.row % 2 == 1
    np.testing.assert_array_equal(muons["hwChargeValid"] == 1, odd)
    np.testing.assert_array_equal(muons["hwCharge"][odd], truth.muons["hwCharge"][odd])


def test_offline_charge_0_makes_no_pairs(samples, tmp_path):
    def change(tree, fields):
        return fields | {"Muon_charge": ak.zeros_like(fields["Muon_charge"])}

    def pairs(path):
        state = Masses(cuts=PairCuts(max_eta=9))
        for events in read_events(path):
            state.add(events)
        return sum(p["pairs"] for p in state.result()["pairs"] if p["muons"] == "offline")

    assert pairs(samples["DPG_NANO"]) > 0
    assert pairs(rewrite(samples["DPG_NANO"], tmp_path / "nano.root", change)) == 0


# the other cases of ROOT files


def test_cases_of_nano(shared_cases):
    bits, signs = [0, 1] * 6, [0, 1] * 6
    for name in ("01_dpg_nano.root", "01_dpg_nano_without_event.root"):
        (events,) = read_events(shared_cases / name)
        assert detect(shared_cases / name).name == "dpg-nano"
        assert events.muons["hwCharge"].tolist() == bits
        np.testing.assert_array_equal(events.offline["recoCharge"], [1, -1] * 6)
        assert describe(shared_cases / name)["era"] == "2024 (by run number)"
    for name, orbits in (("02_scouting_nano.root", 1), ("06_scouting_nano_rntuple.root", None)):
        (events,) = read_events(shared_cases / name)
        assert detect(shared_cases / name).name == "scouting-nano"
        assert events.muons["hwCharge"].tolist() == signs
        assert (events.muons.n_orbits, events.muons.simulated, set(events.muons.run)) == (
            orbits,
            None,
            {380963},
        )
        assert events.muons.bx.tolist() == list(range(100, 112))


def test_case_ntuple_of_the_emulator_only(shared_cases, tmp_path, model):
    path = shared_cases / "09_ntuple_emulator_only.root"
    (events,) = read_events(path)
    assert events.muons.n_objects == 24
    assert events.source == f"{path} (emulated L1 muons)"
    assert describe(path)["l1_muons_from"] == "emulator"
    assert describe(shared_cases / "08_ntuple.root")["l1_muons_from"] == "hardware"
    with pytest.raises(InputError, match="L1Ntuple without l1UpgradeTree/L1UpgradeTree"):
        list(read_events(path, emulated=False))
    out = tmp_path / "out.root"
    found = run("recalibrate", path, out, "--model", model, "--json")
    assert (found["recalibrated"], found["tree"]) == (24, "l1UpgradeEmuTree/L1UpgradeTree")
    with uproot.open(out) as file:
        assert ak.sum(file["l1UpgradeEmuTree/L1UpgradeTree"]["L1Mu_isRecal"].array()) == 24
    with pytest.raises(InputError, match="emulated L1 muons"):
        run("dataset", path, "--out", tmp_path / "pairs.parquet")


def test_case_of_a_heavy_ion_run(shared_cases):
    assert describe(shared_cases / "05_run_of_2024.csv")["era"] == "2024 (by run number)"
