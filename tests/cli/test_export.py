"""`l1scout export`, and an engine of another package at work in the commands."""

import json

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from hand_made import firmware_directory, look_up_network, model_directory
from l1scout.cli import make_app
from l1scout.deploy.engine import ENGINES, Engine
from l1scout.errors import InputError
from toy_muons import toy_columns, write_parquet


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    domain = {**look_up_network().card.domain, "hwPhiAtVtx": (0, 575), "hwEtaAtVtx": (-80, 80)}
    m = look_up_network(domain=domain)
    return model_directory(tmp_path_factory.mktemp("models") / "m", m.card, m.network)


def run(*arguments):
    done = CliRunner().invoke(make_app(), [str(a) for a in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def operators(path):
    return {node.op_type for node in onnx.load(path).graph.node}


def test_both_forms_of_a_model_are_written(directory, tmp_path):
    said = run("export", directory, "--out", tmp_path / "a.onnx")
    assert "model hand" in said
    assert operators(tmp_path / "a.onnx") >= {"Gather", "Gemm", "Relu"}
    found = json.loads(
        run("export", directory, "--out", tmp_path / "b.onnx", "--ramps", "--batch", 1, "--json")
    )
    assert found["bytes"] == (tmp_path / "b.onnx").stat().st_size
    assert operators(tmp_path / "b.onnx") == {"Gemm", "Relu"}
    assert onnx.load(tmp_path / "b.onnx").graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1


def test_a_firmware_model_has_no_export(tmp_path):
    with pytest.raises(InputError, match="made of integers"):
        run("export", firmware_directory(tmp_path / "fw"), "--out", tmp_path / "a.onnx")
    assert not (tmp_path / "a.onnx").exists()


class Numpy(Engine):
    """As another package would write it."""

    def __init__(self, model):
        self.network = model.layers

    def correct(self, hardware, out=None):
        answer = self.network(hardware).astype(np.float32)
        if out is None:
            return answer
        out[:] = answer
        return out


def test_commands_use_an_engine_of_another_package(directory, tmp_path, monkeypatch):
    monkeypatch.setattr(ENGINES, "_parts", dict(ENGINES))
    ENGINES.register("numpy")(Numpy)
    data = write_parquet(tmp_path / "toy.parquet", toy_columns(1000))
    columns = []
    for engine in ("numpy", "fused"):
        out = tmp_path / f"{engine}.parquet"
        run("recalibrate", data, out, "--model", directory, "--engine", engine)
        columns.append(pq.read_table(out)["L1Mu_ptRecal"].to_numpy())
    np.testing.assert_allclose(*columns, atol=1e-4)
    bench = json.loads(
        run("bench", "-m", directory, "--data", data, "--rounds", 1, "--engine", "numpy", "--json")
    )
    assert {row["engine"] for row in bench["throughput"]} == {"onnx", "numpy"}
