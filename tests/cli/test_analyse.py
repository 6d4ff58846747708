"""`l1scout analyse`: every command on a simulated run or real packets; figure, tables and JSON; bad input."""

import csv
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from l1scout.cli import make_app
from l1scout.errors import InputError
from l1scout.io.batches import read_batches
from l1scout.simulate.run import Running


def run(*args):
    result = CliRunner().invoke(make_app(), ["analyse", *map(str, args)])
    if isinstance(result.exception, InputError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def packets(tmp_path_factory):
    path = tmp_path_factory.mktemp("packets") / "run.dat"
    result = CliRunner().invoke(make_app(), ["board", "--simulate", "60", "--out", str(path)])
    assert result.exit_code == 0
    return path


def written(folder, name):
    assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    return json.loads((folder / f"{name}.json").read_text())


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("luminosity", "bunches"),
        ("occupancy", "finders"),
        ("firing", "shares"),
        ("cosmics", "cos_zenith"),
        ("filling", "trains"),
    ],
)
def test_packets_of_the_board(packets, tmp_path, name, key):
    text = run(name, packets, "--out", tmp_path)
    assert text.startswith(f"{name}: data of unstated origin\n")
    assert written(tmp_path, name)["orbits"] == 60
    comment, *rows = (tmp_path / f"{name}-{key}.csv").read_text().splitlines()
    assert json.loads(comment.removeprefix("# provenance: "))["command"] == f"analyse {name}"
    assert len(list(csv.DictReader(rows))) > 4


def test_a_simulated_run_with_a_dead_sector():
    args = [
        "--simulate",
        100,
        "--simulated-occupancy",
        0.2,
        "--condition",
        "processors=[[15,0]]",
        "--seed",
        5,
    ]
    result = json.loads(run("occupancy", *args, "--json"))
    assert result["origin"] == "simulation"
    assert [r["processor"] for r in result["processors"]] == [15]
    assert "simulation" in run("occupancy", *args)


def test_live_time(packets, tmp_path):
    result = json.loads(run("livetime", packets, "--section", 25, "--json", "--out", tmp_path))
    assert [row["orbits"] for row in result["sections"]] == [25, 25, 10]
    assert json.loads((tmp_path / "livetime.json").read_text()) == result


def test_packets_out_of_order_and_twice(packets, tmp_path):
    """As after a restart: what is within packets is measured, and nothing is guessed across them."""
    run_twice = tmp_path / "twice.dat"
    run_twice.write_bytes(packets.read_bytes() * 2)
    for name in ("livetime", "firing", "cosmics"):
        assert json.loads(run(name, run_twice, "--json"))["orbits"] == 120
    assert [e.l1.n_orbits for e in read_batches([run_twice])] == [60, 60]


def test_packets_give_what_the_simulation_gives(packets):
    """The whole way through the board changes nothing."""
    sent = json.loads(run("luminosity", "--simulate", 60, "--json", "--method", "rate"))
    read = sum(int((e.l1["intermediate"] == 0).sum()) for e in read_batches([packets]))
    level = Running().nominal * 0.98 * 2544
    assert sent["total"]["muons_per_orbit"] == pytest.approx(level, rel=0.05)
    assert read / 60 == pytest.approx(level, rel=0.05)
    assert sum(e.l1.n_orbits for e in read_batches([packets])) == 60


def test_calibration(tmp_path):
    steps = np.linspace(-3, 3, 9)
    scan = {"protons": [[1e11, 1e9], [1e11, 0]]}
    planted, orbit = [], 0
    for plane in ("x", "y"):
        scan[plane] = []
        for s in steps:
            scan[plane].append([orbit, orbit + 19, 0.1 * s])
            planted.append([orbit, float(np.exp(-s * s / 2))])
            orbit += 20
    (tmp_path / "scan.json").write_text(json.dumps(scan))
    condition = f"steps={json.dumps(planted)}"
    args = ["--scan", tmp_path / "scan.json", "--simulate", orbit, "--condition", condition]
    result = json.loads(run("calibrate", *args, "--json", "--out", tmp_path))
    sigma = result["sigma_vis_ub"]
    true = 2 * np.pi * 0.01 * Running().nominal * 0.98 / 1e22 * 1e28
    assert sigma["value"] == pytest.approx(true, abs=4 * sigma["stat"])
    assert sigma["syst"] == pytest.approx(0.01 * sigma["value"])
    assert written(tmp_path, "calibrate") == result
    (tmp_path / "scan.json").write_text('{"x": []}')
    with pytest.raises(InputError, match="scan"):
        run("calibrate", *args)


def test_masses(tmp_path):
    result = json.loads(run("masses", "--simulate", 20_000, "--json", "--out", tmp_path))
    peaks = {(p["muons"], p["line"]): p for p in result["peaks"]}
    found = peaks["offline", "J/ψ"]
    assert found["position_gev"] == pytest.approx(3.097, abs=5 * found["position_error_gev"])
    assert all(p["significance"] >= 5 for p in result["peaks"])
    assert {"raw", "offline"} == {p["muons"] for p in result["not_detected"] + result["peaks"]}
    assert written(tmp_path, "masses") == result
    only = json.loads(
        run("masses", "--simulate", 2000, "--share", "J/psi=0", "--share", "continuum=1", "--json")
    )
    assert only["rows"] == 2000


def test_masses_of_open_data(shared_data):
    path = shared_data / "opendata-dimuon" / "peakdata3.csv"
    real = json.loads(run("masses", path, "--max-eta", 2.4, "--min-pair-pt", 0, "--json"))
    assert real["origin"] == "data"
    emulated = json.loads(run("masses", "--muons", path, "--json"))
    assert emulated["origin"] == "simulation"
    assert {p["muons"] for p in emulated["pairs"]} == {"raw", "offline"}


def test_real_ntuple(shared_data, tmp_path):
    path = shared_data / "real-cms" / "l1ntuple_run320040_2018_200ev.root"
    result = json.loads(run("occupancy", path, "--json", "--out", tmp_path))
    assert result["origin"] == "data"
    assert sum(f["muons"] for f in result["finders"]) == 60
    with pytest.raises(InputError, match="no rate can be made"):
        run("luminosity", path)


@pytest.mark.parametrize("name", ["luminosity", "occupancy", "firing", "cosmics", "filling", "livetime"])
def test_one_orbit_is_little_but_no_error(name, tmp_path):
    scheme = [] if name in ("filling", "livetime") else ["--scheme", "2018"]
    args = ["--simulate", 1, "--simulated-occupancy", 0.01, *scheme, "--json", "--out", tmp_path]
    assert json.loads(run(name, *args))["orbits"] == 1


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["luminosity"], "either files or folders to read"),
        (["masses"], "one of: files"),
        (["luminosity", "--simulate", 1, "--method", "best"], "not one of rate, zero"),
        (["luminosity", "--simulate", 1, "--sigma-vis", "5"], "a value above 0"),
        (["luminosity", "--simulate", 1, "--scheme", "nowhere"], "no such file"),
        (["firing", "--simulate", 1, "--scheme", "none"], "no train"),
        (["cosmics", "--simulate", 1, "--condition", "cosmics"], "name=value"),
        (["cosmics", "--simulate", 1, "--condition", "colour=1"], "unknown name"),
        (["cosmics", "--simulate", 1, "--condition", "cosmics=-1"], "occupancy below"),
        (["cosmics", "--simulate", 1, "--condition", 'firing=[["BMTF"]]'], "--condition"),
        (["masses", "--simulate", 1, "--share", "toponium=1"], "--share"),
        (["cosmics", "nothing.dat"], "no such file"),
    ],
)
def test_bad_input_is_one_line(args, message):
    with pytest.raises(InputError, match=message) as caught:
        run(*args)
    assert "\n" not in str(caught.value)


def test_linearity_of_a_simulated_run(tmp_path):
    (tmp_path / "reference.csv").write_text("section,reference\n1,0.07\n2,0.14\n3,0.21\n")
    args = ["--simulate", 150, "--section", 50, "--condition", "steps=[[50,2],[100,3]]", "--out", tmp_path]
    assert run("linearity", "--reference", tmp_path / "reference.csv", *args).startswith(
        "linearity: simulation"
    )
    found = written(tmp_path, "linearity")
    assert len(found["points"]) == 3
    assert abs(found["slope"]["value"]) < 4 * found["slope"]["error"]
