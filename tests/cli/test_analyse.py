"""`l1scout analyse`: every command on a simulated run or real packets; figure, tables and JSON; bad input."""

import csv
import html
import json
import re

import numpy as np
import pytest
import uhi.io.json
import uproot
from boost_histogram.serialization import from_uhi
from hist import Hist, loc
from PIL import Image
from typer.testing import CliRunner

from front_end import Keep, make_run, through_board
from hand_made import model_directory
from l1scout import __version__
from l1scout.analysis.common.response import read_reference
from l1scout.board.repeat import RepeatedPackets
from l1scout.cli import make_app
from l1scout.errors import InputError
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.io.batches import read_batches
from l1scout.lhc import FILLING_SCHEMES
from l1scout.simulate.live_board import simulated_packets
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
    assert text.startswith(f"{name}: simulation\n")
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


@pytest.mark.usefixtures("quick_figures")
def test_live_time(packets, tmp_path):
    result = json.loads(run("livetime", packets, "--section", 25, "--json", "--out", tmp_path))
    assert [row["orbits"] for row in result["sections"]] == [25, 25, 10]
    assert json.loads((tmp_path / "livetime.json").read_text()) == result


def test_packets_out_of_order_and_twice(packets, tmp_path):
    """The same packets once more, as of two copies put together: no orbit counts twice."""
    run_twice = tmp_path / "twice.dat"
    run_twice.write_bytes(packets.read_bytes() * 2)
    for name, scheme in (
        ("livetime", []),
        ("firing", ["--scheme", "2018"]),
        ("cosmics", ["--scheme", "2018"]),
    ):
        result = json.loads(run(name, run_twice, *scheme, "--json"))
        assert result["orbits"] == 60
        assert result["data_quality"]["duplicate_orbits"] == 60
        assert "60 orbits and 0 events left out" in result["warnings"][0]
    assert sum(e.muons.n_orbits for e in read_batches([run_twice])) == 60


def test_packets_give_what_the_simulation_gives(packets):
    """The whole way through the board changes nothing."""
    sent = json.loads(run("luminosity", "--simulate", 60, "--json", "--method", "rate"))
    read = sum(e.muons.n_objects for e in read_batches([packets]))
    level = Running().nominal * 0.98 * 2544
    assert sent["total"]["muons_per_orbit"] == pytest.approx(level, rel=0.05)
    assert read / 60 == pytest.approx(level, rel=0.05)
    assert sum(e.muons.n_orbits for e in read_batches([packets])) == 60


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


@pytest.mark.usefixtures("quick_figures")
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


def test_spectra_name_their_model(tmp_path):
    model = model_directory(tmp_path / "model")
    args = ["masses", "--simulate", 2000, "--model", model, "--min-pt", 4, "--json"]
    record = json.loads(run(*args))["provenance"]
    assert record["model"]["name"]
    assert len(record["model"]["sha256"][0]) == 64
    assert record["options"]["min_pt_gev"] == 4
    assert record["options"]["min_pair_pt_gev"] == 8
    assert record["inputs"] == [{"simulation": "2000 muon pairs", "seed": 1}]


def test_masses_of_open_data(shared_data):
    path = shared_data / "opendata-dimuon" / "peakdata3.csv"
    real = json.loads(run("masses", path, "--max-eta", 2.4, "--min-pair-pt", 0, "--json"))
    assert real["origin"] == "data of unstated origin"
    emulated = json.loads(run("masses", "--muons", path, "--json"))
    assert emulated["origin"] == "simulation"
    assert {p["muons"] for p in emulated["pairs"]} == {"raw", "offline"}


@pytest.mark.usefixtures("quick_figures")
def test_real_ntuple(shared_data, tmp_path):
    path = shared_data / "real-cms" / "l1ntuple_run320040_2018_200ev.root"
    result = json.loads(run("occupancy", path, "--json", "--out", tmp_path))
    assert result["origin"] == "data of unstated origin"
    assert sum(f["muons"] for f in result["finders"]) == 60
    with pytest.raises(InputError, match="no rate can be made"):
        run("luminosity", path)


@pytest.mark.parametrize("name", ["luminosity", "occupancy", "firing", "cosmics", "filling", "livetime"])
def test_one_orbit_is_little_but_no_error(name, tmp_path, request):
    if name != "livetime":  # as little of the others is drawn by test_analysis_figures.py
        request.getfixturevalue("quick_figures")
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
        (["luminosity", "--simulate", 1], "cannot be found in .* give --scheme"),
        (["luminosity", "--simulate", 1, "--simulated-scheme", "2030"], "not one of 2018, 2024, none"),
        (["luminosity", "--simulate", 1, "--min-pt", 3, "--min-hw-pt", 7], "not both"),
        (["luminosity", "--simulate", 1, "--lumisections", "5-1"], "--lumisections"),
        (["luminosity", "--simulate", 1, "--golden", "none.json"], "no such file"),
        (["luminosity", "--simulate", 1, "--figure-format", "png,gif"], "png, svg, pdf"),
        (["luminosity", "--run", 5, "--store", "nowhere"], "no catalogue"),
    ],
)
def test_bad_input_is_one_line(args, message):
    with pytest.raises(InputError, match=message) as caught:
        run(*args)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("quick_figures")
def test_linearity_of_a_simulated_run(tmp_path):
    (tmp_path / "reference.csv").write_text("section,reference\n1,0.07\n2,0.14\n3,0.21\n")
    args = ["--simulate", 150, "--section", 50, "--condition", "steps=[[50,2],[100,3]]", "--out", tmp_path]
    assert run("linearity", "--reference", tmp_path / "reference.csv", *args).startswith(
        "linearity: simulation"
    )
    found = written(tmp_path, "linearity")
    assert len(found["points"]) == 3
    assert abs(found["slope"]["value"]) < 4 * found["slope"]["error"]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Packets of two filling schemes."""
    folder = tmp_path_factory.mktemp("mixed")
    for scheme in ("2018", "2024"):
        args = ["board", "--simulate", "200", "--scheme", scheme, "--out", str(folder / f"{scheme}.dat")]
        assert CliRunner().invoke(make_app(), args).exit_code == 0
    return folder


def test_the_default_finds_the_scheme(mixed):
    """The muons per orbit of 2024-like data, which the scheme of 2018 made 110.5 instead of 182.6."""
    found = json.loads(run("luminosity", mixed / "2024.dat", "--json"))
    given = json.loads(run("luminosity", mixed / "2024.dat", "--scheme", "2024", "--json"))
    assert found["total"] == given["total"]
    total, true = found["total"], Running("2024").nominal * 0.98
    assert total["muons_per_colliding_crossing"] == pytest.approx(true, rel=0.03)
    assert total["muons_per_orbit"] == pytest.approx(2340 * total["muons_per_colliding_crossing"])
    chosen = {"name": FILLING_SCHEMES["2024"], "colliding_bx": 2340, "differing_bx": 0}
    assert found["provenance"]["scheme"] == chosen | {"chosen": "found in the data"}
    assert given["provenance"]["scheme"] == chosen | {"chosen": "given"}


@pytest.mark.parametrize("name", ["luminosity", "occupancy", "firing", "cosmics"])
def test_a_wrong_or_mixed_scheme_is_refused(mixed, name):
    with pytest.raises(InputError, match=r"not the given filling scheme.*give --scheme 2024$"):
        run(name, mixed / "2024.dat", "--scheme", "2018")
    with pytest.raises(InputError, match=r"but earlier data.*separately"):
        run(name, mixed)  # the folder with both


def test_what_is_simulated_is_apart_from_what_is_assumed():
    args = ["luminosity", "--simulate", 60, "--simulated-scheme", "2024"]
    assert f"filling scheme: {FILLING_SCHEMES['2024']} (found in the data)" in run(*args)
    with pytest.raises(InputError, match="give --scheme 2024"):
        run(*args, "--scheme", "2018")


def test_a_cut_in_gev_is_that_of_hardware_units(packets):
    """hwPt 20 is 9.5 GeV; a cut between two values takes the upper one."""
    texts = [run("occupancy", packets, *cut, "--json") for cut in (["--min-pt", 9.2], ["--min-hw-pt", 20])]
    gev, hardware = map(json.loads, texts)
    assert gev == hardware
    assert gev["provenance"]["options"]["min_pt_gev"] == 9.5
    pt = np.concatenate([e.muons["hwPt"] for e in read_batches([packets])])
    assert gev["muons"] == np.count_nonzero(pt >= 20)


def test_selected_lumisections_and_files_of_a_folder(packets, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a.dat").write_bytes(packets.read_bytes())
    (folder / "readme").write_text("nothing of interest")
    result = json.loads(run("livetime", folder, "--lumisections", "1-3", "--json"))
    assert result["orbits"] == 60
    assert result["provenance"]["inputs"] == [{"file": "a.dat", "bytes": packets.stat().st_size}]
    assert "readme: unknown format" in result["warnings"][0]
    with pytest.raises(InputError, match="no muon is in the selected"):
        run("livetime", folder, "--lumisections", "2")
    with pytest.raises(InputError, match="does not state its run"):
        run("livetime", folder, "--runs", "380963")


@pytest.fixture(scope="module")
def maps(packets, tmp_path_factory):
    """Folder and printed result of the occupancy of muons above 5 GeV (hwPt 11)."""
    folder = tmp_path_factory.mktemp("maps")
    args = ["--min-pt", 5, "--out", folder, "--figure-format", "png,svg,pdf", "--json"]
    return folder, json.loads(run("occupancy", packets, *args))


def test_every_output_names_inputs_cuts_scheme_and_version(packets, maps):
    tmp_path, result = maps
    record = result["provenance"]
    assert record["version"] == __version__
    assert record["command"] == "analyse occupancy"
    assert record["data"] == "simulated"
    assert record["inputs"] == [{"file": packets.name, "bytes": packets.stat().st_size}]
    assert record["options"]["min_pt_gev"] == 5
    assert record["scheme"]["name"] == FILLING_SCHEMES["2018"]
    assert written(tmp_path, "occupancy")["provenance"] == record
    tables = list(tmp_path.glob("*.csv"))
    assert len(tables) > 1
    for table in tables:
        assert json.loads(table.read_text().splitlines()[0].removeprefix("# provenance: ")) == record
    with Image.open(tmp_path / "occupancy.png") as image:
        assert json.loads(image.info["Description"]) == record
    svg = html.unescape((tmp_path / "occupancy.svg").read_text())
    assert json.dumps(record) in svg
    assert (tmp_path / "occupancy.pdf").read_bytes().startswith(b"%PDF")
    with uproot.open(tmp_path / "occupancy-histograms.root") as file:
        assert json.loads(str(file["l1scout_provenance"])) == record


def test_figures_show_a_range_of_bx(packets, tmp_path):
    for name, options in (("all", []), ("some", ["--bx-range", "1-200"])):
        run("filling", packets, *options, "--figure-format", "svg", "--out", tmp_path / name)
    everything, some = ((tmp_path / n / "filling.svg").read_text() for n in ("all", "some"))
    labels = [{t for t in re.findall(r"<!-- (\d+) -->", text) if int(t) > 500} for text in (everything, some)]
    assert "3000" in labels[0]
    assert not labels[1] & {"1000", "2000", "3000"}
    with pytest.raises(InputError, match="--bx-range"):
        run("filling", packets, "--bx-range", "9-1")


def test_occupancy_maps_are_histograms(packets, maps):
    tmp_path, result = maps
    text = (tmp_path / "occupancy-histograms.json").read_text()
    uhi_read = json.loads(text, object_hook=uhi.io.json.object_hook)
    every = {name: Hist(from_uhi(value)) for name, value in uhi_read.items()}
    assert every["eta_phi_all"].sum() == result["muons"] - result["of_no_track_finder"]
    shares = {f["finder"]: f["muons"] for f in result["finders"]}
    assert every["eta_phi_BMTF"].sum() == shares["BMTF"]
    muons = [e.muons for e in read_batches([packets])]
    batches = [e.muons for e in read_batches([packets])]
    muons = [b.select(b["hwPt"] >= 11) for b in batches]
    bx = np.concatenate([m.bx[m.row] for m in muons])
    assert every["bx"][loc(100)] == np.count_nonzero(bx == 100)
    with uproot.open(tmp_path / "occupancy-histograms.root") as file:
        np.testing.assert_array_equal(file["bx"].values(), every["bx"].values())
        np.testing.assert_array_equal(file["eta_phi_BMTF"].values(), every["eta_phi_BMTF"].values())


def test_csv_with_a_provenance_can_be_a_reference(tmp_path):
    path = tmp_path / "reference.csv"
    path.write_text("# provenance: {}\nsection,reference\n1,0.5\n2,0.7\n")
    assert read_reference(path).values == {1: 0.5, 2: 0.7}
    path.write_text("# one\nsection,reference\n1,0.5\nx,0.7\n")
    with pytest.raises(InputError, match="line 4"):
        read_reference(path)


def test_repeated_data_are_said_and_satellites_are_not_sought(tmp_path):
    """A board that sends 40 orbits in a loop: what is outside the scheme would be a satellite."""
    source = RepeatedPackets(simulated_packets(RUN3, 40, 0.3), RUN3)
    sink = Keep()
    source.run(sink, pace=0, orbits=400)
    (tmp_path / "loop.dat").write_bytes(sink.bytes.getvalue())
    result = json.loads(run("occupancy", tmp_path / "loop.dat", "--scheme", "2018", "--json"))
    assert result["orbits"] == 400
    assert result["satellites"] == []
    assert result["data_quality"]["repeated_orbits"] == 360
    assert not result["data_quality"]["independent_crossings"]
    assert "360 of 400 orbits repeat the content of earlier ones" in result["warnings"][0]
    assert "satellites are not sought" in result["warnings"][1]
    assert "left out: nothing" in run("livetime", tmp_path / "loop.dat")


@pytest.mark.parametrize("scheme", ["auto", "2018"])
@pytest.mark.parametrize("orbits", [20, 100])
def test_the_true_scheme_of_a_source_in_a_loop_is_no_contradiction(scheme, orbits, tmp_path):
    """BX that are silent in one pass are silent in all: they are not certainly empty for that."""
    source = RepeatedPackets(simulated_packets(RUN3, orbits, 0.05), RUN3)
    sink = Keep()
    source.run(sink, pace=0, orbits=10 * orbits)
    (tmp_path / "loop.dat").write_bytes(sink.bytes.getvalue())
    result = json.loads(run("luminosity", tmp_path / "loop.dat", "--scheme", scheme, "--json"))
    assert result["provenance"]["scheme"]["colliding_bx"] == 2544
    assert "repeat the content of earlier ones" in result["warnings"][0]


def test_damaged_packets(tmp_path):
    """Of 60 orbits, 55 lack a link: refused, unless asked for."""
    sink = Keep()
    through_board(make_run(orbits=60, chunk=20)[1], sink=sink)
    data = bytearray(sink.bytes.getvalue())
    at = -1
    for _ in range(55):
        at = data.find(b"ro1l", at + 1)
        data[at + 12] = 0x7F  # link 7 is not good
    (tmp_path / "bad.dat").write_bytes(data)
    with pytest.raises(InputError, match=r"91.7 % of the data are damaged: 55 orbits with a missing"):
        run("livetime", tmp_path / "bad.dat")
    result = json.loads(run("livetime", tmp_path / "bad.dat", "--accept-damaged", "--json"))
    assert (result["orbits"], result["data_quality"]["flagged_orbits"]) == (5, 55)
    assert "damaged" in result["warnings"][0]


@pytest.mark.parametrize("name", ["livetime", "luminosity"])
def test_an_orbit_written_twice_counts_once(shared_cases, name):
    once, twice = (
        json.loads(run(name, shared_cases / f"03_orbits{end}.raw", "--json")) for end in ("", "_twice")
    )
    assert twice["orbits"] == once["orbits"] == 20
    if name == "luminosity":
        assert twice["total"]["muons_per_orbit"] == once["total"]["muons_per_orbit"]
    assert twice["data_quality"]["duplicate_orbits"] == 20


def test_the_truth_of_a_simulated_run_has_final_muons_only(tmp_path):
    """Its intermediate muons were counted as muons, 1.9 times as many."""
    done = CliRunner().invoke(
        make_app(), ["simulate", "run", "--orbits", "20", "--out", str(tmp_path / "run"), "--json"]
    )
    told = json.loads(done.stdout)
    assert told["intermediate_muons"] > 0.8 * told["final_muons"]
    result = json.loads(run("occupancy", tmp_path / "run" / "truth.parquet", "--json"))
    assert sum(f["muons"] for f in result["finders"]) == told["final_muons"]
