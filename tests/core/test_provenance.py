"""Every output names the command, inputs, options and version that made it."""

import json
import os
import subprocess
import sys
import warnings

import pyarrow.parquet as pq
import pytest
import uproot
from matplotlib.figure import Figure
from typer.testing import CliRunner

from hand_made import model_directory
from l1scout import __version__
from l1scout.cli import make_app
from l1scout.cli.results import draw
from l1scout.core.provenance import Provenance, current, file_inputs, recorded, recording


def run(*args):
    result = CliRunner().invoke(make_app(), [*map(str, args)])
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def test_a_command_names_its_inputs_and_options(tmp_path):
    file = tmp_path / "in.dat"
    file.write_bytes(b"abc")
    with recording("bench", {"data": file, "rounds": 3, "target": tmp_path, "json": True, "all": False}):
        record = recorded({"simulated": True, "x": 1})["provenance"]
        assert recorded({"provenance": "own"}) == {"provenance": "own"}
    assert record == {
        "program": "l1scout",
        "version": __version__,
        "command": "bench",
        "data": "simulated",
        "inputs": [{"file": "in.dat", "bytes": 3}],
        "options": {"rounds": 3},
    }
    assert current() == Provenance("Python library")


def test_the_foot_of_a_figure_is_short():
    inputs = tuple({"file": f"{k}.raw", "bytes": 1} for k in range(500))
    record = Provenance("analyse firing", True, inputs, {"min_pt_gev": 3.5}, {"name": "2018"})
    foot = "analyse firing | 0.raw, 1.raw and 498 more | min_pt_gev=3.5 | scheme 2018"
    assert record.footer() == f"l1scout {__version__} | {foot}"


@pytest.mark.parametrize("kind", ["DPG_NANO", "SCOUTING_NANO", "L1NTUPLE", "PARQUET"])
def test_recalibrated_files_name_model_and_input(samples, tmp_path, kind):
    source, model = samples[kind], model_directory(tmp_path / "model")
    target = tmp_path / f"out{source.suffix}"
    told = json.loads(run("recalibrate", source, target, "--model", model, "--json"))
    if kind == "PARQUET":
        record = json.loads(pq.read_schema(target).metadata[b"l1scout_provenance"])
    else:
        with uproot.open(target) as file, uproot.open(source) as before:
            record = json.loads(str(file["l1scout_provenance"]))
            assert set(before.keys(cycle=False)) | {"l1scout_provenance"} == set(file.keys(cycle=False))
    assert record["command"] == "recalibrate"
    assert {"file": source.name, "bytes": source.stat().st_size} in record["inputs"]
    assert record["model"]["name"] == told["model"]["name"]
    assert told["provenance"]["command"] == "recalibrate"


def test_archives_and_inspect(samples, tmp_path):
    target = tmp_path / "archive.parquet"
    run("convert", samples["RAW"], target)
    record = json.loads(pq.read_schema(target).metadata[b"l1scout_provenance"])
    assert record["command"] == "convert"
    assert record["inputs"] == [{"file": samples["RAW"].name, "bytes": samples["RAW"].stat().st_size}]
    assert json.loads(run("inspect", target, "--json"))["provenance"]["command"] == "inspect"


@pytest.mark.skipif(sys.platform != "linux", reason="such names are possible there")
@pytest.mark.parametrize(
    "name", [b"a\nb\x1b[31m.csv", b"bad\xff\xfe.csv", b"<b>a$b^{c$.csv", b"\xe4\xb8\xad.csv"]
)
def test_odd_file_names(tmp_path, name):
    """Control characters, bytes that are no UTF-8, HTML, TeX, letters that fonts lack."""
    path = tmp_path / os.fsdecode(name)
    path.write_text("x")
    made = Provenance("analyse", inputs=file_inputs([path]))
    assert made.footer().isprintable()
    assert made.csv_comment().count("\n") == 1
    json.loads(made.as_json())["inputs"][0]["file"].encode()
    figure = Figure()
    for form in ("png", "svg", "pdf"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert draw(figure, form, made)
    command = [sys.executable, "-m", "l1scout", "inspect", os.fsdecode(name)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert (done.returncode, done.stderr.count(b"\n"), done.stderr.count(b"\x1b")) == (2, 1, 0)
