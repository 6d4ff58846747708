"""`l1scout recalibrate`: counts, columns, and that a bad model stops it before anything is written."""

import json

import awkward as ak
import numpy as np
import pyarrow.parquet as pq
import pytest
import typer
import uproot
from typer.testing import CliRunner

from hand_made import model as hand_made
from hand_made import model_directory
from l1scout.cli.recalibrate import recalibrate
from l1scout.errors import InputError
from l1scout.io import conditions_of
from l1scout.io.conditions import simulation
from l1scout.model.quantities import VARIABLES
from l1scout.model.resolution import Resolution

app = typer.Typer()
app.command()(recalibrate)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return model_directory(tmp_path_factory.mktemp("models") / "constant")


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.mark.parametrize("kind", ["DPG_NANO", "SCOUTING_NANO", "L1NTUPLE"])
def test_columns_and_counts(samples, truth, tmp_path, model, kind):
    out = tmp_path / "out.root"
    done = run("--model", model, samples[kind], out, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    hw = truth.muons
    good = (hw["tfMuonIndex"] >= 36) & (hw["tfMuonIndex"] < 72) & (hw["hwPt"] >= 6) & (hw["hwPt"] <= 90)
    good &= (np.abs(hw["hwEtaAtVtx"]) <= 80) & (hw["hwPt"] / 2 - 0.5 > 1.5)
    assert (found["rows"], found["muons"], found["recalibrated"]) == (40, len(good), good.sum())
    assert sum(found["unchanged"].values()) == (~good).sum()
    tree = "l1UpgradeTree/L1UpgradeTree" if kind == "L1NTUPLE" else "Events"
    with uproot.open(out) as file:
        values = {
            k: file[tree]["L1Mu_" + k].array(library="ak")
            for k in ("ptRecal", "etaRecal", "phiRecal", "isRecal")
        }
    flat = {k: np.concatenate([np.asarray(row) for row in v]) for k, v in values.items()}
    np.testing.assert_array_equal(flat["isRecal"], good)
    np.testing.assert_allclose(flat["ptRecal"], hw["hwPt"] / 2 - 0.5 - 1.5 * good, atol=1e-4)
    np.testing.assert_allclose(flat["etaRecal"], hw["hwEtaAtVtx"] * 0.010875 - 0.02 * good, atol=1e-6)


def test_uncertainties_are_columns_too(samples, truth, tmp_path, model):
    table = Resolution({"hwPt": (6,)}, dict.fromkeys(VARIABLES, (0.25,)))
    path = model_directory(tmp_path / "m", *hand_made(resolution=table))
    assert run("--model", path, samples["DPG_NANO"], tmp_path / "plain.root").exit_code == 0
    assert run("--model", path, samples["DPG_NANO"], tmp_path / "out.root", "--errors").exit_code == 0
    with uproot.open(tmp_path / "out.root") as file, uproot.open(tmp_path / "plain.root") as plain:
        assert set(file["Events"].keys()) - set(plain["Events"].keys()) == {
            f"L1Mu_{v}RecalErr" for v in VARIABLES
        }
        of = {
            k: ak.flatten(file["Events"]["L1Mu_" + k].array()) for k in ("ptRecal", "isRecal", "ptRecalErr")
        }
    expected = np.where(of["isRecal"], 0.25 * of["ptRecal"].to_numpy(), np.nan)
    np.testing.assert_allclose(of["ptRecalErr"], expected, rtol=1e-6)
    refused = run("--model", model, samples["DPG_NANO"], tmp_path / "no.root", "--errors")
    assert "predicts no uncertainties; train it again" in str(refused.exception)
    assert not (tmp_path / "no.root").exists()


def test_words(samples, tmp_path, model):
    done = run("--model", model, samples["PARQUET"], tmp_path / "out.parquet")
    assert done.exit_code == 0
    assert "recalibrated" in done.stdout
    assert "unchanged: of a track finder that the model does not know" in done.stdout
    assert "no muon" not in done.stdout


def test_other_conditions_are_warned_of_on_stderr_and_in_json(samples, tmp_path):
    """Files of 2018, and a model of simulated muons: the file, not the model, decides what is said."""
    card, network = hand_made(data=simulation().as_dict())
    path = model_directory(tmp_path / "m", card, network)
    done = run("--model", path, samples["DPG_NANO"], tmp_path / "out.root", "--json")
    found = json.loads(done.stdout)
    assert found["conditions"] == {
        "simulated": None,  # the file does not say so, and its run number does not either
        "era": "2018 (by run number)",
        "trigger": None,
        "tables": None,
        "randomised": None,
    }
    assert found["model"]["trained_on"]["tables"] == "l1scout's own"
    (warning,) = found["warnings"]
    assert "cannot compare origin, trigger, look-up tables: the file holds muons of unstated" in warning
    for line in found["warnings"]:
        assert f"warning: {line}" in done.stderr
    stated = tmp_path / "stated.parquet"
    metadata = {"simulated": "no", "era": "2018"}
    pq.write_table(pq.read_table(samples["PARQUET"]).replace_schema_metadata(metadata), stated)
    done = run("--model", path, stated, tmp_path / "out.parquet", "--json")
    warnings = json.loads(done.stdout)["warnings"]
    assert "real muons, but model hand was trained on simulated muons" in warnings[0]
    assert "look-up tables hardware" in warnings[-1]
    same = model_directory(tmp_path / "same", *hand_made(data=conditions_of(stated).as_dict()))
    done = run("--model", same, stated, tmp_path / "same.parquet", "--json")
    assert json.loads(done.stdout)["warnings"] == []
    assert "warning" not in done.stderr
    done = run("--model", same, stated, tmp_path / "text.parquet")
    assert "trained on real muons, era 2018" in done.stdout


def test_bad_model_writes_nothing(samples, tmp_path):
    done = run("--model", tmp_path / "broken", samples["DPG_NANO"], tmp_path / "out.root")
    assert isinstance(done.exception, InputError)
    assert not (tmp_path / "out.root").exists()


def test_the_copy_says_whether_its_muons_are_real(samples, tmp_path, model):
    out = tmp_path / "out.root"
    assert run("--model", model, samples["DPG_NANO"], out).exit_code == 0
    with uproot.open(out) as file:
        assert json.loads(str(file["l1scout_provenance"]))["data"] == "unknown"


@pytest.mark.parametrize(
    "name", ["03_orbits.raw", "04_four_muons.csv", "06_scouting_nano_rntuple.root", "13_calorimeter_lut.txt"]
)
def test_what_cannot_be_copied_is_refused_in_one_line(shared_cases, tmp_path, model, name):
    done = run("--model", model, shared_cases / name, tmp_path / "out.root")
    assert isinstance(done.exception, InputError)
    assert done.stderr == ""
