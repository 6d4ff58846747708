"""The way of a user: a data set, a model, a report, the demo; and what they read when it goes wrong."""

import itertools
import json
import sys
from types import ModuleType

import numpy as np
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from l1scout.cli.dataset import dataset
from l1scout.cli.demo import demo
from l1scout.cli.evaluate import evaluate
from l1scout.cli.train import train
from l1scout.dataset.matched import read_dataset
from l1scout.errors import InputError
from l1scout.io.conditions import of_metadata
from l1scout.training.fit import data_record
from toy_muons import toy_dataset, toy_events, write_parquet

app = typer.Typer(pretty_exceptions_enable=False)
for command in (dataset, train, evaluate, demo):
    app.command()(command)


def run(*arguments):
    """Run a command; return standard output."""
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def usage_error(*arguments):
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 2
    return result.output


@pytest.fixture
def simulation(monkeypatch):
    """Stand in for the simulation: its own tests are elsewhere."""
    chain = ModuleType("chain")
    asked = []

    def simulate_events(seed, *, muons=None, **_settings):
        asked.append((seed, muons))
        return (toy_events(3000, seed * 1000 + k) for k in itertools.count())

    chain.simulate_events = simulate_events
    monkeypatch.setitem(sys.modules, "l1scout.simulate.chain", chain)
    return asked


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A data set and two models."""
    folder = tmp_path_factory.mktemp("made")
    data = toy_dataset(4000)
    write_parquet(folder / "d.parquet", data.columns, {"simulated": True, "source": ["toy"]})
    for name in "AE":  # they share a compiled step
        run("train", "--data", folder / "d.parquet", "--model", name, "--out", folder / name, "--epochs", 2)
    return folder


def test_dataset_simulates_without_files(tmp_path, simulation):
    text = run("dataset", "--out", tmp_path / "d.parquet", "--pairs", 5000, "--seed", 3)
    assert simulation == [(3, None)]
    data = read_dataset(tmp_path / "d.parquet")
    assert len(data) == 5000
    assert data.simulated is True
    assert data.about["seed"] == 3
    assert "5,000 simulated matched pairs" in text
    assert text.splitlines()[0].split() == ["muons", "left", "after", "L1", "offline"]
    result = json.loads(run("dataset", "--out", tmp_path / "d.parquet", "--pairs", 700, "--json"))
    assert result["pairs"] == 700
    assert result["cuts"][0]["cut"] == "all"


def test_a_randomised_data_set_and_its_model_say_so(tmp_path, simulation):
    run("dataset", "--out", tmp_path / "d.parquet", "--pairs", 3000, "--randomise")
    data = read_dataset(tmp_path / "d.parquet")
    assert "the trigger's tables, material x 0.96 to 1.04" in data.about["randomised"]
    card = data_record(data, len(data))
    assert f"own tables, randomised {data.about['randomised']}" in str(of_metadata(card))
    run("dataset", "--out", tmp_path / "n.parquet", "--pairs", 3000)
    assert "randomised" not in str(of_metadata(read_dataset(tmp_path / "n.parquet").about))


def test_dataset_reads_files(tmp_path, monkeypatch, simulation):
    import l1scout.io

    opened = []
    monkeypatch.setattr(
        l1scout.io,
        "read_events",
        lambda path, flavour: [opened.append(path.name), toy_events(900, len(opened))][1:],
    )
    run("dataset", "a.root", "b.root", "--out", tmp_path / "d.parquet")
    assert opened == ["a.root", "b.root"]
    assert simulation == []
    assert len(read_dataset(tmp_path / "d.parquet")) > 1500
    run("dataset", "a.root", "--out", tmp_path / "d.parquet", "--strict")
    assert read_dataset(tmp_path / "d.parquet")["hwPt"].min() == 7


def test_dataset_refuses_files_with_options_of_the_simulation(tmp_path):
    with pytest.raises(InputError, match="give them or files, not both"):
        run("dataset", "a.root", "--muons", "m.csv", "--out", tmp_path / "d")
    assert not list(tmp_path.iterdir())


def test_train_prints_its_validation_beside_published_numbers(made, tmp_path):
    arguments = ("train", "--data", made / "d.parquet", "--epochs", 1, "--out", tmp_path / "m")
    text = run(*arguments)
    assert "GMT" in text
    assert "0.166" in text
    assert "paper" in text
    assert (tmp_path / "m" / "model.onnx").exists()
    result = json.loads(run(*arguments, "--json"))
    assert result["name"] == "default"
    assert result["training"]["epochs"] == 1
    assert set(result["ratio"]) == {"rms", "core", "tail"}


def test_the_same_command_gives_the_same_model(made, tmp_path):
    for name in "ab":
        run("train", "--data", made / "d.parquet", "--epochs", 1, "--seed", 5, "--out", tmp_path / name)
    assert (tmp_path / "a" / "model.onnx").read_bytes() == (tmp_path / "b" / "model.onnx").read_bytes()
    assert (tmp_path / "a" / "card.json").read_bytes() == (tmp_path / "b" / "card.json").read_bytes()


def test_train_says_at_once_what_it_cannot_do(made, tmp_path):
    with pytest.raises(InputError, match="no model 'Z'"):
        run("train", "--data", made / "d.parquet", "--model", "Z", "--out", tmp_path / "m")
    with pytest.raises(InputError, match="no input recoPt: choose among hwPhiAtVtx, hwEtaAtVtx"):
        run("train", "--data", made / "d.parquet", "--inputs", "recoPt", "--out", tmp_path / "m")
    with pytest.raises(InputError, match="not a readable Parquet file"):
        run("train", "--data", tmp_path / "absent", "--out", tmp_path / "m")
    with pytest.raises(InputError, match="is not a model directory"):
        run("train", "--data", tmp_path / "absent", "--out", made)
    assert "--epochs" in usage_error("train", "--data", "d", "--out", "m", "--epochs", 0)


@pytest.mark.long
def test_evaluate_writes_a_page_and_prints_ratios(made, tmp_path, request):
    both = ("evaluate", "--data", made / "d.parquet", "--model", made / "A", "--model", made / "E")
    text = run(*both, "--out", tmp_path / "one.html")
    assert "Ratio model / GMT" in text
    assert "Simulated muons." in text
    assert [p.name for p in tmp_path.iterdir()] == ["one.html"]
    request.getfixturevalue("quick_figures")
    run(*both, "--out", tmp_path / "folder")
    assert sorted(p.name for p in (tmp_path / "folder").iterdir()) == ["metrics.json", "report.html"]
    printed = json.loads(run(*both, "--json"))
    assert printed == json.loads((tmp_path / "folder" / "metrics.json").read_text())
    assert list(printed["models"]) == ["A", "E"]
    assert printed["muons"] == len(read_dataset(made / "d.parquet").part("test"))


def test_evaluate_shows_further_samples_beside_its_own(made, tmp_path):
    """All muons of another file; of the training file itself only the test part. Warned where they differ."""
    other = toy_dataset(900, seed=5)
    real = {"simulated": False, "era": "2024", "trigger": "Kalman BMTF", "tables": "hardware"}
    write_parquet(tmp_path / "other.parquet", other.columns, real)
    command = ["evaluate", "--data", made / "d.parquet", "--model", made / "E"]
    command += ["--also", f"real={tmp_path / 'other.parquet'}", "--also", f"again={made / 'd.parquet'}"]
    text = run(*command)
    assert "Ratio E / GMT and pull widths, sample by sample" in text
    assert next(x for x in text.splitlines() if "real" in x and "again" in x).split() == [
        "d",
        "real",
        "again",
    ]
    result = json.loads(run(*command, "--json"))
    assert result["also"]["real"]["muons"] == 900
    assert result["also"]["real"]["part"] == "all muons"
    assert result["also"]["again"]["muons"] == result["muons"] < 4000
    assert "real muons, but model E was trained on simulated muons" in result["also"]["real"]["warnings"][0]
    assert "without_hwpt_6" in result
    assert result["also"]["real"]["without_hwpt_6"]["muons"] == np.count_nonzero(other["hwPt"] > 6)
    for bad in ("x", "=file", f"real={made / 'd.parquet'}"):
        with pytest.raises(InputError, match="--also"):
            run(*command, "--also", bad)


def test_two_models_of_a_recipe_keep_their_own_rows(made):
    twice = ("evaluate", "--data", made / "d.parquet", "--model", made / "E", "--model", made / "E", "--json")
    assert list(json.loads(run(*twice))["models"]) == ["E", "E 2"]


def test_evaluate_needs_a_model(made, tmp_path):
    with pytest.raises(InputError, match="a model is a directory that `l1scout train` wrote"):
        run("evaluate", "--data", made / "d.parquet", "--model", tmp_path)


@pytest.mark.usefixtures("quick_figures")
def test_demo_makes_everything(tmp_path, simulation):
    text = run("demo", "--out", tmp_path / "demo", "--pairs", 3000, "--epochs", 2)
    names = {p.name for p in (tmp_path / "demo").iterdir()}
    assert names == {
        "metrics.json",
        "model-B",
        "model-default",
        "muons-recalibrated.parquet",
        "muons.parquet",
        "report.html",
    }
    assert "Ratio model / GMT" in text
    assert str(tmp_path / "demo" / "report.html") in text
    recalibrated = pq.read_table(tmp_path / "demo" / "muons-recalibrated.parquet")
    assert recalibrated.num_rows == 3000
    records = [json.loads(recalibrated.schema.metadata[b"l1scout_provenance"])]
    records.append(json.loads((tmp_path / "demo" / "metrics.json").read_text())["provenance"])
    assert [record["data"] for record in records] == ["simulated"] * 2
    assert recalibrated["L1Mu_ptRecal"].type == "float"
    assert np.mean(recalibrated["L1Mu_isRecal"]) > 0.9  # but for the hardest, which few muons can check
    report = (tmp_path / "demo" / "report.html").read_text()
    assert "l1scout demo --pairs 3000 --epochs 2 --seed 1" in report
