"""Networks with more inputs than the paper's four, from training to every engine that can run them."""

import json

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from l1scout.cli.dataset import dataset
from l1scout.cli.evaluate import evaluate
from l1scout.cli.recalibrate import recalibrate
from l1scout.cli.train import train
from l1scout.deploy.engine import create_engine
from l1scout.deploy.engines.table import build
from l1scout.deploy.recalibrate import Recalibrator
from l1scout.errors import InputError
from l1scout.model.directory import load_model
from l1scout.model.quantities import model_inputs
from l1scout.training.fit import fit
from l1scout.training.recipes import RECIPES
from l1scout.training.save_model import save
from toy_muons import toy_dataset

SEEN = RECIPES["balanced"].inputs
app = typer.Typer(pretty_exceptions_enable=False)
for command in (dataset, train, evaluate, recalibrate):
    app.command()(command)


def run(*arguments):
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Model directory of a network that knows the quality."""
    path = tmp_path_factory.mktemp("inputs") / "model"
    save(fit(toy_dataset(3000), RECIPES["balanced"], inputs=model_inputs(["hwQual"], SEEN), epochs=1), path)
    return path


def test_the_card_lists_the_inputs(model):
    card = json.loads((model / "card.json").read_text())
    assert [q["name"] for q in card["inputs"]] == [*SEEN, "hwQual"]
    assert card["domain"]["hwQual"] == [4, 12]


def test_quality_changes_the_answer_and_is_checked(model):
    recalibrator = Recalibrator.load(model)
    columns = {n: c[:50].copy() for n, c in toy_dataset(200, seed=9).columns.items()}
    columns["hwQual"][:] = 12
    twelve = recalibrator(columns)
    columns["hwQual"][:] = 4
    four = recalibrator(columns)
    assert not np.array_equal(twelve.pt, four.pt)
    columns["hwQual"][:3] = 13
    found = recalibrator(columns)
    assert found.reasons["another input outside the training range"] == 3
    assert not found.recalibrated[:3].any()
    assert np.array_equal(found.pt[3:], four.pt[3:])
    del columns["hwQual"]
    with pytest.raises(InputError, match="muons lack hwQual"):
        recalibrator(columns)


def test_engines_agree(model):
    loaded = load_model(model)
    columns = toy_dataset(2000, seed=9).columns
    hardware = np.stack([columns[n].astype(np.int16) for n in loaded.domain.names])
    onnx, fused = (create_engine(name, loaded).correct(hardware) for name in ("onnx", "fused"))
    assert np.allclose(onnx, fused, atol=1e-4)


def test_stubs_can_be_inputs_of_every_command(tmp_path):
    """Simulated data set, network, evaluation and recalibrated file, by the commands."""
    data, model = tmp_path / "d.parquet", tmp_path / "m"
    run("dataset", "--out", data, "--pairs", 4000)
    stubs = "hwQual,stubStations,stubPhiB1,stubBend12"
    run("train", "--data", data, "--out", model, "--model", "balanced", "--epochs", 2, "--inputs", stubs)
    card = json.loads((model / "card.json").read_text())
    assert [q["name"] for q in card["inputs"][3:]] == stubs.split(",")
    assert card["recipe"]["embedded_inputs"] == ["hwPt", "hwEta", "stubStations"]
    low, high = card["domain"]["stubPhiB1"]
    assert -512 <= low < 0 < high <= 511
    run("evaluate", "--data", data, "--model", model)
    text = run("recalibrate", data, tmp_path / "r.parquet", "--model", model, "--engine", "fused")
    assert "recalibrated" in text
    loaded = load_model(model)
    with pytest.raises(InputError, match="possible inputs, 3 outputs: too many for a table"):
        build(loaded, tmp_path / "t")
    with pytest.raises(InputError, match="no column stubPhiB1; `l1scout dataset` writes stubs where"):
        fit(toy_dataset(1000), RECIPES["balanced"], inputs=model_inputs(["stubPhiB1"]), epochs=1)


@pytest.mark.parametrize("more", [["recoPt"], ["hwQual", "hwQual"], ["hwPt"]])
def test_what_is_no_input_is_refused(more):
    with pytest.raises(InputError, match="choose among hwQual, hwEta, hwPhi"):
        model_inputs(more)
    with pytest.raises(InputError, match="choose among hwPhiAtVtx, hwEtaAtVtx, hwQual"):
        model_inputs(more, SEEN)
