"""The way of someone who brings a network: import, compile, verify, bench, recalibrate, evaluate."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from foreign_networks import torch_like, trees
from l1scout.cli import make_app
from l1scout.errors import InputError
from toy_muons import toy_dataset, write_parquet


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data set of a small domain, and two networks."""
    folder = tmp_path_factory.mktemp("own")
    toy = toy_dataset(9000)
    few = toy.select((np.abs(toy["hwEtaAtVtx"]) < 6) & (toy["hwPt"] < 26))
    write_parquet(folder / "D.parquet", few.columns, {"simulated": True})
    trees(folder / "forest.onnx")
    torch_like(folder / "torch.onnx", style="matmul")
    return folder


def run(*arguments):
    """Run a command; return its standard output."""
    done = CliRunner().invoke(make_app(), [str(a) for a in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def bring(folder, name, columns, target, *more):
    return run(
        *("import", "--onnx", folder / name, "--data", folder / "D.parquet", "--out", target),
        *("--answers", "subtract", "--inputs", columns, "--outputs", "phi,eta,pt", *more),
    )


@pytest.mark.usefixtures("quick_figures")
def test_a_forest_goes_all_the_way(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("l1scout.evaluate.bench.LATENCY_CALLS", 500)
    monkeypatch.setattr("l1scout.evaluate.bench._PASS_SECONDS", 0.02)
    model = tmp_path / "model"
    text = bring(folder, "forest.onnx", "hwPt,hwCharge", model)
    assert "Ratio model / GMT" in text
    assert "Not for engines fixed, fused: " in text
    assert "outputs taken as subtract: L1 minus offline" in text
    assert json.loads(run("compile", "--model", model, "--json"))["entries"] == 20 * 2
    text = run("verify", "--model", model)
    assert "against onnxruntime (imported network)" in text
    assert "table: 0 entries differ from the quantised network" in text
    assert "fused: left out: " in text
    bench = json.loads(
        run("bench", "--model", model, "--data", folder / "D.parquet", "--rounds", 1, "--json")
    )
    assert {r["engine"] for r in bench["throughput"]} == {"onnx", "table"}
    assert set(bench["left_out"]) == {"fused", "fixed"}
    assert all(r["of_floor"] is None for r in bench["throughput"] if r["engine"] == "onnx")
    assert "left out: " in run("bench", "--model", model, "--data", folder / "D.parquet", "--rounds", 1)
    answers = []
    for engine in ("onnx", "table"):
        out = tmp_path / f"{engine}.parquet"
        run("recalibrate", folder / "D.parquet", out, "--model", model, "--engine", engine, "--errors")
        answers.append(pq.read_table(out)["L1Mu_ptRecal"].to_numpy())
    np.testing.assert_allclose(*answers, atol=1e-3)
    result = json.loads(run("evaluate", "--data", folder / "D.parquet", "--model", model, "--json"))
    assert result["models"]["forest"]["ratio_to_raw"]["rms"]["phi"]["value"] < 0.8
    run("evaluate", "--data", folder / "D.parquet", "--model", model, "--out", tmp_path / "report.html")
    assert "imported from forest.onnx; training not known" in (tmp_path / "report.html").read_text()


def test_json_and_layers(folder, tmp_path):
    said = json.loads(
        bring(folder, "torch.onnx", "hwPhiAtVtx,hwEtaAtVtx,hwPt,hwCharge", tmp_path / "m", "--json")
    )
    assert said["left_out"] == {}
    assert said["engines"] == ["onnx", "fixed", "fused"]
    assert said["part"] == "test"
    assert said["imported"]["answers"].startswith("subtract")
    assert set(said["ratio"]) == {"rms", "core", "tail"}


def test_answers_have_no_default_and_targets_are_not_overwritten(folder, tmp_path):
    arguments = [
        "import",
        "--onnx",
        folder / "torch.onnx",
        "--data",
        folder / "D.parquet",
        "--out",
        tmp_path / "m",
    ]
    done = CliRunner().invoke(make_app(), [str(a) for a in arguments])
    assert done.exit_code == 2
    assert "--answers" in done.output
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("")
    with pytest.raises(InputError, match="is not a model directory"):
        bring(folder, "torch.onnx", "hwPt", tmp_path / "other")
