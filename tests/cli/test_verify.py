"""`l1scout verify` over the whole of a small domain."""

import json

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from hand_made import model_directory, network
from l1scout.cli.compile import compile as compile_model
from l1scout.cli.verify import verify
from l1scout.deploy.engine import ENGINES, Engine
from l1scout.deploy.engines import table
from l1scout.errors import InputError
from l1scout.model.checksums import write_sums
from l1scout.training.recipes import quiet_copies

app = typer.Typer()
app.command("compile")(compile_model)
app.command()(verify)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    import keras  # after l1scout has chosen its backend

    m = network(widths=(8,))
    path = model_directory(tmp_path_factory.mktemp("models") / "m", m.card, m.network)
    layers = [keras.layers.Dense(v.bias.size, activation=v.activation) for v in m.network.layers]
    same = keras.Sequential([keras.Input((4,)), *layers])
    for layer, v in zip(layers, m.network.layers, strict=True):
        layer.set_weights([v.weights, v.bias])
    with quiet_copies():
        same.save(path / "model.keras")
    write_sums(path)
    return path


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_every_engine_at_hand_is_compared(directory):
    assert run("compile", "-m", directory).exit_code == 0
    done = run("verify", "-m", directory)
    assert done.exit_code == 0, done.output
    assert "All 20,910 inputs of model hand's domain" in done.stdout
    for line in ("onnx: within 0.25", "table: within", "table: 0 entries differ", "fixed: NOT within"):
        assert line in done.stdout
    found = json.loads(run("verify", "-m", directory, "--engine", "fixed:Q8.16", "--json").stdout)
    assert list(found) == ["fixed:Q8.16", "provenance"]
    assert found["fixed:Q8.16"]["inputs"] == 20910
    assert found["fixed:Q8.16"]["overflows"] == 0


def test_a_sample_larger_than_the_domain_is_refused(directory):
    done = run("verify", "-m", directory, "--engine", "fused", "--sample", 10**30)
    assert isinstance(done.exception, InputError)
    assert str(done.exception).endswith("more than all 20910; compare all of them")


def test_a_sample_says_that_it_is_one(directory):
    done = run("verify", "-m", directory, "--engine", "fused", "--sample", 500, "--seed", 3)
    assert done.exit_code == 0, done.output
    assert "A RANDOM SAMPLE of 500 (seed 3), not all, of the 20,910 inputs" in done.stdout
    arguments = ("verify", "-m", directory, "--engine", "fixed", "--json")
    few, again, whole = (
        json.loads(run(*arguments, *more).stdout)["fixed"]
        for more in (("--sample", 500), ("--sample", 500), ())
    )
    assert (few["inputs"], few["sampled"], few["domain_inputs"]) == (500, True, 20910)
    assert (whole["inputs"], whole["sampled"]) == (20910, False)
    assert few == again
    worst = [[d["worst"] for d in found["deviations"]] for found in (few, whole)]
    assert all(0 < a <= b for a, b in zip(*worst, strict=True))


def test_a_wrong_entry_is_an_error(directory, tmp_path, monkeypatch):
    right = table.quantise

    def wrong(values, steps):
        entries = right(values, steps)
        entries[1, :1] += np.int16(1)
        return entries

    monkeypatch.setattr(table, "quantise", wrong)
    assert run("compile", "-m", directory, "--out", tmp_path / "t").exit_code == 0
    done = run("verify", "-m", directory, "--engine", "table", "--table", tmp_path / "t")
    assert done.exit_code == 1
    assert "table: 1 entries differ from the quantised network" in done.stdout


def test_an_engine_of_another_package_is_compared(directory, monkeypatch):
    class Off(Engine):
        def __init__(self, model):
            self.network = model.layers

        def correct(self, hardware, out=None):
            return (self.network(hardware) + 0.01).astype(np.float32)

    monkeypatch.setattr(ENGINES, "_parts", dict(ENGINES))
    ENGINES.register("off")(Off)
    found = json.loads(run("verify", "-m", directory, "--engine", "off", "--json").stdout)["off"]
    assert found["deviations"][0]["worst"] == pytest.approx(0.01, rel=1e-3)
    assert not found["close"]
