"""`l1scout compile` and `l1scout recalibrate --engine`."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from hand_made import model_directory, network
from l1scout.cli.compile import compile as compile_model
from l1scout.cli.recalibrate import recalibrate
from l1scout.errors import InputError

app = typer.Typer()
app.command("compile")(compile_model)
app.command()(recalibrate)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    m = network()
    return model_directory(tmp_path_factory.mktemp("models") / "m", m.card, m.network)


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_a_compiled_table_recalibrates_as_the_others(directory, samples, tmp_path):
    before = run(
        "recalibrate", "-m", directory, "--engine", "table", samples["PARQUET"], tmp_path / "x.parquet"
    )
    assert isinstance(before.exception, InputError)
    assert "l1scout compile" in str(before.exception)
    assert "\n" not in str(before.exception)
    done = run("compile", "-m", directory, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["entries"] == 41 * 17 * 15 * 2
    assert found["bytes"] == 4096 + 8 * found["entries"]
    answers = []
    for engine in ("onnx", "fused", "table"):
        out = tmp_path / f"{engine}.parquet"
        assert run("recalibrate", "-m", directory, "--engine", engine, samples["PARQUET"], out).exit_code == 0
        table = pq.read_table(out)
        answers.append([table[f"L1Mu_{k}Recal"].to_numpy() for k in ("pt", "eta", "phi", "is")])
    for other in answers[1:]:
        np.testing.assert_allclose(np.array(other), np.array(answers[0]), atol=1e-3)


def test_words_and_another_place(directory, tmp_path):
    done = run("compile", "-m", directory, "--out", tmp_path / "t")
    assert done.exit_code == 0
    assert "20,910 inputs" in done.stdout
    assert (tmp_path / "t").exists()
    assert isinstance(run("compile", "-m", directory, "--engine", "onnx").exception, InputError)
