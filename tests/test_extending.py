"""The how-to of docs/extending.md, done as it says; and packages whose parts cannot be used."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from hand_made import model_directory, network
from l1scout.core.registry import Registry
from l1scout.model.checksums import write_sums
from l1scout.training.recipes import quiet_copies
from processes import run_forked
from toy_muons import toy_columns, write_parquet

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text("utf-8")
BLOCKS = dict(re.findall(r"```(?:python|toml)\n# (\S+)\n(.*?)```", PAGE, re.DOTALL))
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
HITS, ORBITS = 5000, 100


def install(folder: Path, name: str, entry_points: dict[str, dict[str, str]], **modules: str) -> None:
    """Put a package where pip would, with its modules and its metadata."""
    package = name.replace("-", "_")
    info = folder / f"{package}-0.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text(
        "".join(
            f"[{group}]\n" + "".join(f"{part} = {value}\n" for part, value in points.items())
            for group, points in entry_points.items()
        )
    )
    (folder / package).mkdir()
    for module, code in {"__init__": "", **modules}.items():
        (folder / package / f"{module}.py").write_text(code)


def run(line: str, site: Path, folder: Path, *, status: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a command of the page in a folder, with the packages of `site` installed.

    In a new process, into which nothing of l1scout has been imported.
    """
    program, *words = line.split()
    path = os.pathsep.join([str(site), str(ROOT / "src")])
    environment = {**os.environ, "PYTHONPATH": path, "COLUMNS": "200", "KERAS_BACKEND": "jax"}
    if program == "l1scout":
        done = run_forked(*words, prepare="import_libraries", environment=environment, folder=folder)
    else:
        words = [sys.executable, *words]
        done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == status, done.stderr
    return done


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder in which the page's package is installed."""
    folder = tmp_path_factory.mktemp("site")
    project = tomllib.loads(BLOCKS["pyproject.toml"])["project"]
    files = {Path(name).stem: code for name, code in BLOCKS.items() if name.startswith("my_scouting/")}
    install(folder, project["name"], project["entry-points"], **files)
    return folder


@pytest.fixture(scope="module")
def work(tmp_path_factory, site):
    """A folder with the page's simulated files."""
    folder = tmp_path_factory.mktemp("work")
    run("python -m my_scouting.simulate", site, folder)
    return folder


def commands(*words: str) -> list[str]:
    """Return the commands of the page with all these words."""
    found = [line for line in COMMANDS if all(word in line for word in words)]
    assert found, words
    return found


def test_the_page_has_a_file_for_each_part():
    points = tomllib.loads(BLOCKS["pyproject.toml"])["project"]["entry-points"]
    assert set(points) == {
        f"l1scout.{k}" for k in ("streams", "wire_formats", "readers", "engines", "analyses")
    }
    modules = [
        value.partition(":")[0].replace(".", "/") + ".py" for p in points.values() for value in p.values()
    ]
    assert sorted([*modules, "my_scouting/simulate.py"]) == sorted(b for b in BLOCKS if "/" in b)


def test_every_command_of_the_page_is_tried():
    tried = {"simulate", "inspect", "analyse", "readout", "verify", "recalibrate"}
    assert {line.split()[1] if "-m my" not in line else "simulate" for line in COMMANDS} == tried


@pytest.mark.parametrize(
    ("file", "title"), [("hits.csv", "CSV of beam-monitor hits"), ("hits.dat", "DMA packets")]
)
def test_files_are_recognized_and_described(site, work, file, title):
    (line,) = commands("inspect", file)
    assert title in run(line, site, work).stdout
    found = json.loads(run(f"{line} --json", site, work).stdout)
    assert found["streams"] == {"hit": HITS}
    assert found["data"] == "simulated"


def test_the_analysis_runs_on_both(site, work):
    (line,) = commands("analyse multiplicity hits.dat")
    assert "hits per crossing" in run(line, site, work).stdout.replace("_", " ")
    found = json.loads(run(f"{line} --json", site, work).stdout)
    assert found["orbits"] == ORBITS
    assert found["provenance"]["data"] == "simulated"
    assert sum(row["hits"] * row["crossings"] for row in found["multiplicity"]) == HITS
    assert sum(row["crossings"] for row in found["multiplicity"]) == ORBITS * 3564
    assert found["hits_per_crossing"]["value"] == HITS / ORBITS / 3564
    other = json.loads(run(f"{line.replace('.dat', '.csv')} --json", site, work).stdout)
    assert other["multiplicity"] == found["multiplicity"]
    (line,) = commands("--min-amplitude")
    assert json.loads(run(line, site, work).stdout)["hits_per_crossing"]["value"] < HITS / ORBITS / 3564
    assert {p.name for p in (work / "multiplicity").iterdir()} >= {"multiplicity.png", "multiplicity.json"}
    (line,) = commands("--schema")
    assert "hits_per_crossing" in json.loads(run(line, site, work).stdout)["properties"]


def test_the_readout_makes_segments(site, work):
    (line,) = commands("readout")
    assert "3 segments wait in" in run(line, site, work, status=2).stderr
    segment, folder = commands("spool")[1:]
    found = json.loads(run(f"{segment} --json", site, work).stdout)
    assert (found["orbits_covered"], found["data"]) == (40, "simulated")
    found = json.loads(run(f"{folder} --json", site, work).stdout)
    assert (found["orbits"], found["read"].split(" of ")[0]) == (ORBITS, f"{ORBITS} orbits")
    assert sum(row["hits"] * row["crossings"] for row in found["multiplicity"]) == HITS


def test_damage_costs_the_packets_it_hits(site, work):
    data = bytearray((work / "hits.dat").read_bytes())
    second = data.find(b"BEAM", 1)
    data[second : second + 4] = b"XXXX"
    (work / "damaged.dat").write_bytes(data)
    found = json.loads(run("l1scout inspect damaged.dat --json", site, work).stdout)
    assert (found["orbits"], found["corrupt"]) == (ORBITS - 1, 1)
    (work / "damaged.csv").write_text((work / "hits.csv").read_text().rpartition(",")[0])
    done = run("l1scout inspect damaged.csv", site, work, status=2)
    assert done.stderr.startswith("l1scout: damaged.csv: not a CSV of beam-monitor hits")
    assert len(done.stderr.splitlines()) == 1


def test_names_are_listed(site, work):
    assert "Count the hits of the beam monitor" in run("l1scout analyse --help", site, work).stdout
    text = run("l1scout analyse multiplicity --help", site, work).stdout
    assert "--min-amplitude" in text
    assert "--min-pt" not in text
    assert "float32" in run("l1scout bench --help", site, work).stdout
    assert "beam, native64, native64-tkmuon, objects, run2, run3" in " ".join(
        run("l1scout board --help", site, work).stdout.split()
    )
    done = run("l1scout board --simulate 1 --out x --format beam", site, work, status=2)
    assert "cannot write packets of the beam monitor: choose one of run2, run3" in done.stderr
    done = run("l1scout readout x --set readout.wire_format=bean", site, work, status=2)
    assert "choose one of beam, native64, native64-tkmuon, objects, run2, run3" in done.stderr
    (work / "text").write_text("no format")
    assert "CSV of beam-monitor hits" in run("l1scout inspect text", site, work, status=2).stderr
    text = run("python -m l1scout.formats", site, work).stdout
    assert "# Stream hit: hits of the beam monitor" in text
    assert "# Wire format beam: packets of the beam monitor" in text


def test_muons_are_asked_for_where_they_are_needed(site, work):
    done = run("l1scout analyse occupancy hits.dat", site, work, status=2)
    assert "hits.dat: no stream muon, which this analysis needs" in done.stderr


def test_in_python(site, work):
    (work / "notebook.py").write_text(BLOCKS["notebook.py"])
    first, numbers, text = run("python notebook.py", site, work).stdout.splitlines()
    table = np.loadtxt(work / "hits.csv", np.int64, delimiter=",", skiprows=2)[:3]
    assert str([[25 / 32 * t] for t in table[:, 3].tolist()]) in first
    assert str([[c] for c in table[:, 2].tolist()]) in first
    assert "'orbits': 100" in numbers
    assert "5,000 hits in" in text
    assert text.endswith("100 orbits, simulated>")


@pytest.fixture(scope="module")
def model(work):
    import keras

    m = network(widths=(8,))
    path = model_directory(work / "model", m.card, m.network)
    layers = [keras.layers.Dense(v.bias.size, activation=v.activation) for v in m.network.layers]
    same = keras.Sequential([keras.Input((4,)), *layers])
    for layer, v in zip(layers, m.network.layers, strict=True):
        layer.set_weights([v.weights, v.bias])
    with quiet_copies():
        same.save(path / "model.keras")
    write_sums(path)
    write_parquet(
        work / "muons.parquet", {n: c for n, c in toy_columns(500).items() if n.startswith(("hw", "tf"))}
    )


def test_the_engine_evaluates_networks(site, work, model):
    (line,) = commands("verify")
    assert "float32: within" in run(line, site, work).stdout
    (line,) = commands("recalibrate")
    done = json.loads(run(f"{line} --json", site, work).stdout)
    usual = line.replace("recalibrated.parquet", "usual.parquet").replace("--engine float32", "--json")
    assert done["recalibrated"] == json.loads(run(usual, site, work).stdout)["recalibrated"] > 0
    done = run(line.replace("float32", "float31"), site, work, status=2)
    assert "no 'float31' among the engines: choose one of firmware, fixed, float32, fused" in done.stderr


def test_a_module_in_the_folder_of_a_registry_is_a_part(tmp_path, monkeypatch):
    """A file in the folder of a kind is all that a part needs: that is how l1scout lists its own."""
    (tmp_path / "menagerie").mkdir()
    (tmp_path / "menagerie" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    things: Registry[object] = Registry("things", "menagerie")
    sys.modules["my_things"] = type(sys)("my_things")
    sys.modules["my_things"].THINGS = things
    code = '"""A thing.\n\nAnd more."""\nfrom my_things import THINGS\nTHINGS.register("a-thing")("it")\n'
    (tmp_path / "menagerie" / "a_thing.py").write_text(code)
    (tmp_path / "menagerie" / "_shared.py").write_text("1 / 0")
    assert list(things) == ["a-thing"]
    assert things.describe("a-thing").splitlines()[0] == "A thing."
    assert "menagerie.a_thing" not in sys.modules
    assert things.find("a-thing") == "it"
    del sys.modules["my_things"], sys.modules["menagerie"], sys.modules["menagerie.a_thing"]


GOOD_ENGINE = "from l1scout import Engine\nclass E(Engine):\n    def correct(self, hardware, out=None): ...\n"
READER = """
from l1scout.io.reader import FormatReader
class Reader(FormatReader):
    name, title, streams = "%s", "a format", ()
    def detect(self, file): %s
READER = Reader()
"""


@pytest.fixture
def broken(tmp_path):
    """Packages with parts that cannot be used, of all kinds."""
    groups = {
        f"l1scout.{kind}": f"{kind}-"
        for kind in ("streams", "wire_formats", "readers", "engines", "analyses")
    }
    install(
        tmp_path, "bad-missing", {g: {f"{n}missing": "no_such_package.part:PART"} for g, n in groups.items()}
    )
    install(
        tmp_path,
        "bad-raises",
        {g: {f"{n}raises": "bad_raises.part:PART"} for g, n in groups.items()},
        part="1 / 0",
    )
    install(
        tmp_path,
        "bad-type",
        {g: {f"{n}type": "bad_type.part:PART"} for g, n in groups.items()},
        part="PART = 7",
    )
    for name in ("bad-one", "bad-two"):
        module = name.replace("-", "_")
        install(
            tmp_path,
            name,
            {g: {f"{n}twice": f"{module}.part:PART"} for g, n in groups.items()},
            part="PART = 7",
        )
    own = {"l1scout.engines": {"onnx": "bad_own.part:E"}, "l1scout.analyses": {"filling": "bad_own.part:E"}}
    install(tmp_path, "bad-own", own, part=GOOD_ENGINE)
    return tmp_path


def warned(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("l1scout: left out: ")]


def test_parts_that_cannot_be_used_do_not_break_the_rest(broken, tmp_path):
    for line in ("l1scout --help", "l1scout bench --help", "l1scout analyse filling --help"):
        assert run(line, broken, tmp_path).stderr == ""
    text = " ".join(run("l1scout analyse --help", broken, tmp_path).stdout.split())
    assert "Find the filling scheme and its offset in data." in text
    assert "bad-missing 0.1: ModuleNotFoundError" in text
    run("l1scout simulate run --orbits 2 --out run", broken, tmp_path)
    run("l1scout board run/links.l1l --out packets.dat", broken, tmp_path)
    done = run("l1scout inspect packets.dat --json", broken, tmp_path)
    assert json.loads(done.stdout)["format"] == "DMA packets"
    lines = warned(done.stderr)
    assert lines == done.stderr.splitlines()
    for kind in ("streams", "readers"):
        of_kind = [line for line in lines if f" {kind}-" in line]
        packages = ("bad-missing 0.1", "bad-raises 0.1", "bad-type 0.1", "bad-one 0.1 and bad-two 0.1")
        assert [sum(package in line for line in of_kind) for package in packages] == [1, 1, 1, 1], of_kind
    assert "bad_raises.part:PART: ZeroDivisionError: division by zero" in done.stderr
    assert "bad_type.part:PART: 7 is not an object of a class derived from Reader" in done.stderr


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (
            "recalibrate x y --model model --engine engines-missing",
            "bad-missing 0.1, cannot be used (no_such_package",
        ),
        ("recalibrate x y --model model --engine engines-type", "7 is not a subclass of Engine"),
        ("readout x --set readout.wire_format=wire_formats-raises", "ZeroDivisionError"),
        ("analyse analyses-twice x", "two analyses, of bad-one 0.1 and bad-two 0.1: uninstall one of them"),
        ("analyse analyses-missing --help", "No module named 'no_such_package'"),
        (
            "board --simulate 1 --out x --format wire_formats-type",
            "7 is not an object of a class derived from WireFormat",
        ),
    ],
)
def test_a_part_that_is_named_says_why_it_cannot_be_used(broken, tmp_path, line, reason):
    model_directory(tmp_path / "model")
    done = run(f"l1scout {line}", broken, tmp_path, status=2)
    assert done.stdout == ""
    assert reason in done.stderr
    (error,) = set(done.stderr.splitlines()) - set(warned(done.stderr))
    assert error.startswith("l1scout: ")


def test_own_names_cannot_be_taken(broken, tmp_path):
    parts = "l1scout.engines.find('onnx').__module__, l1scout.analyses.find('filling').__module__"
    (tmp_path / "own.py").write_text(f"import l1scout\nprint({parts})\n")
    done = run("python own.py", broken, tmp_path)
    assert done.stdout.split() == ["l1scout.deploy.engines.onnx", "l1scout.analysis.filling"]
    assert (
        "left out: onnx, one of the engines of bad-own 0.1: l1scout has its own of this name" in done.stderr
    )


def test_an_incomplete_engine_names_what_it_lacks(tmp_path):
    code = "from l1scout import Engine\nclass E(Engine): ..."
    install(tmp_path, "bad-engine", {"l1scout.engines": {"idle": "bad_engine.part:E"}}, part=code)
    model_directory(tmp_path / "model")
    done = run("l1scout recalibrate x y --model model --engine idle", tmp_path, tmp_path, status=2)
    assert "bad_engine.part:E: E does not define correct" in done.stderr


def test_a_part_has_the_name_of_its_entry_point(tmp_path):
    points = {"l1scout.readers": {"one": "bad_name.part:READER"}}
    install(tmp_path, "bad-name", points, part=READER % ("other", "return True"))
    (tmp_path / "file").write_text("text")
    done = run("l1scout inspect file", tmp_path, tmp_path, status=2)
    assert "bad_name.part:READER: its name is 'other'" in done.stderr


def test_a_reader_that_fails_to_detect_hides_no_other_format(tmp_path):
    points = {"l1scout.readers": {"frail": "bad_detect.part:READER"}}
    install(tmp_path, "bad-detect", points, part=READER % ("frail", "return file.head[0] / 0"))
    write_parquet(tmp_path / "muons.parquet", {n: c for n, c in toy_columns(5).items() if n.startswith("hw")})
    done = run("l1scout inspect muons.parquet --json", tmp_path, tmp_path)
    assert json.loads(done.stdout)["format"] == "Parquet muons"
    why = "frail of bad-detect 0.1, which failed (ZeroDivisionError: division by zero)"
    assert done.stderr.splitlines() == [f"l1scout: muons.parquet: left out the reader {why}"]
