"""`l1scout recalibrate`: counts, columns, and that a bad model stops it before anything is written."""

import json
import sys
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import pytest
import typer
import uproot
from typer.testing import CliRunner

from l1scout.cli.recalibrate import recalibrate
from l1scout.errors import InputError

app = typer.Typer()
app.command()(recalibrate)


@dataclass
class Answer:
    pt: np.ndarray
    eta: np.ndarray
    phi: np.ndarray
    recalibrated: np.ndarray
    reasons: dict


class FakeRecalibrator:
    @classmethod
    def load(cls, path):
        if path.name == "broken":
            msg = f"{path}: no card.json"
            raise InputError(msg)
        return cls()

    def __call__(self, columns):
        n = len(columns["hwPt"])
        good = columns["hwCharge"] == 0
        pt = columns["hwPt"].astype(np.float32)
        zero = np.zeros(n, np.float32)
        return Answer(pt, zero, zero + 1, good, {"no muon": 0, "charge": int(n - good.sum())})


@pytest.fixture(autouse=True)
def _fake(monkeypatch):
    module = ModuleType("l1scout.deploy.recalibrate")
    module.Recalibrator = FakeRecalibrator
    monkeypatch.setitem(sys.modules, "l1scout.deploy.recalibrate", module)


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.mark.parametrize("kind", ["DPG_NANO", "SCOUTING_NANO", "L1NTUPLE"])
def test_columns_and_counts(samples, truth, tmp_path, kind):
    out = tmp_path / "out.root"
    done = run("--model", tmp_path, samples[kind], out, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    n, good = len(truth.l1["hwPt"]), int((truth.l1["hwCharge"] == 0).sum())
    assert (found["rows"], found["muons"], found["recalibrated"]) == (40, n, good)
    assert found["unchanged"] == {"no muon": 0, "charge": n - good}
    tree = "l1UpgradeTree/L1UpgradeTree" if kind == "L1NTUPLE" else "Events"
    with uproot.open(out) as file:
        values = {
            k: file[tree]["L1Mu_" + k].array(library="ak")
            for k in ("ptRecal", "etaRecal", "phiRecal", "isRecal")
        }
    flat = {k: np.concatenate([np.asarray(row) for row in v]) for k, v in values.items()}
    np.testing.assert_array_equal(flat["ptRecal"], truth.l1["hwPt"])
    np.testing.assert_array_equal(flat["isRecal"], truth.l1["hwCharge"] == 0)
    assert set(flat["phiRecal"]) == {1.0}


def test_words(samples, tmp_path):
    done = run("--model", tmp_path, samples["PARQUET"], tmp_path / "out.parquet")
    assert done.exit_code == 0
    assert "recalibrated" in done.stdout
    assert "unchanged: charge" in done.stdout
    assert "no muon" not in done.stdout


def test_bad_model_writes_nothing(samples, tmp_path):
    done = run("--model", tmp_path / "broken", samples["DPG_NANO"], tmp_path / "out.root")
    assert isinstance(done.exception, InputError)
    assert not (tmp_path / "out.root").exists()
