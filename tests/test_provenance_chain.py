"""Simulated, real or unknown: what data state at the fibres stays with them through every command.

Each test follows data of the three kinds through some commands, and looks at what comes out as a program does
(JSON, metadata, marks) and as people do (text, pages, figures). Run numbers are those of 2024: nothing is
inferred from them.
"""

import base64
import dataclasses
import json
import shutil
import signal
from contextlib import contextmanager
from functools import wraps
from html import unescape

import awkward as ak
import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest
import uproot
from typer.testing import CliRunner

import hand_made
import l1scout
from chain import Chain, wait_for
from l1scout.analysis import ANALYSES
from l1scout.cli import bench as bench_command
from l1scout.cli import make_app, results
from l1scout.cli.command_table import COMMANDS
from l1scout.core.orbit_batch import OrbitBatch, concatenate, joint_simulated
from l1scout.core.orbit_data import OrbitData
from l1scout.core.provenance import KEY
from l1scout.dataset.matched import read_datasets
from l1scout.evaluate.metrics import KINDS
from l1scout.firmware import verilator
from l1scout.formats.packets import Trailer
from l1scout.io import read_events
from l1scout.io.format_writer import write_data
from l1scout.io.rewrite import add_columns
from l1scout.link.capture import read_captures, write_capture
from l1scout.model.card import read_card
from l1scout.model.checksums import write_sums
from l1scout.model.quantities import VARIABLES
from l1scout.training import study
from menu_documents import ONLY_MUONS
from stream_rows import objects
from toy_anomaly import write_anomaly_model
from toy_muons import toy_columns, write_parquet

STATED = {"simulated": True, "real": False, "unknown": None}
LABELS = tuple(STATED)
IN_WORDS = {"simulated": "simulation", "real": "data", "unknown": "data of unstated origin"}
"""On figures and pages."""
TRAINED_ON = {"simulated": "simulated muons", "real": "real muons", "unknown": "muons of unstated origin"}
RUNS = {"simulated": 380_963, "real": 380_964, "unknown": 380_965}
"""Runs of 2024: a reader that knows these numbers alone must not call the data real."""
ORBITS = 40

WITHOUT_DATA = {
    "simulate conditions": "lists effects",
    "settings": "prints settings",
    "menu show": "prints a trigger menu",
    "menu check": "compares the emulator with a test vector; writes nothing",
    "menu verilog": "makes Verilog of a trigger menu",
}
ELSEWHERE = {
    **dict.fromkeys(("run", "start", "stop", "status"), "tests/control/test_run.py"),
    "demo": "tests/cli/test_train.py",
    "firmware train": "tests/firmware/test_training.py",
    "firmware report": "tests/firmware/test_training.py",
    "firmware hls": "tests/firmware/test_training.py",
    "firmware board": "tests/firmware/test_board_rtl.py",
    "menu try": "tests/trigger/test_try.py",
    "menu cross-check": "tests/trigger/test_cross_check.py",
    "monitor": "tests/monitor/test_live_page.py",
    "quality": "tests/cli/test_quality.py",
    "anomaly train": "tests/cli/test_anomaly.py",
    "anomaly score": "tests/cli/test_anomaly.py",
}
"""Commands that take long or need tools; the tests that run them look at their provenance."""
followed = set()
ran = set()


def follows(*commands):
    """State the commands that a test runs."""
    followed.update(commands)

    def decorate(test):
        @wraps(test)
        def checked(*args, **options):
            ran.clear()
            test(*args, **options)
            assert set(commands) <= ran

        return checked

    return decorate


def run(*words, status=0):
    """Run a command in this process; return its standard output."""
    words = [str(w) for w in words]
    ran.add(" ".join(words[:2]) if COMMANDS[words[0]].commands or words[0] == "analyse" else words[0])
    done = CliRunner().invoke(make_app(), words, catch_exceptions=False)
    assert done.exit_code == status, done.output
    return done.stdout


def told(*words):
    """Return the JSON that a command prints."""
    return json.loads(run(*words, "--json"))


def of(result):
    """Return what the provenance of a result says of its data."""
    return result["provenance"]["data"]


def in_parquet(path):
    """Return what a Parquet file says of its data: as provenance, and as l1scout's own statement."""
    metadata = pq.read_metadata(path).metadata
    said = json.loads(metadata[KEY.encode()])["data"]
    assert json.loads(metadata[b"l1scout"]).get("simulated") is STATED[said]
    return said


def in_root(path):
    """Return what a ROOT file says of its data."""
    with uproot.open(path) as file:
        return json.loads(str(file[KEY]))["data"]


def read(*paths):
    """Return whether the muons of files are simulated, as the readers say it."""
    return {events.simulated for path in paths for events in read_events(path)}


def assert_in_svg(text, label):
    """The metadata of a figure say what its data are, and so does its title (a comment)."""
    assert f'"data": "{label}"' in unescape(text)
    assert rf"\it{{{IN_WORDS[label]}}}".replace(" ", r"\ ") in text


def test_every_command_is_followed():
    every = set()
    for name, entry in COMMANDS.items():
        below = ANALYSES if name == "analyse" else entry.commands
        every |= {f"{name} {command}" for command in below} or {name}
    assert every == followed | set(WITHOUT_DATA) | set(ELSEWHERE)
    assert not followed & set(ELSEWHERE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("provenance")


@pytest.fixture(scope="module")
def captures(folder):
    """A simulated run, as captures of both wire formats; the same, called real, and without a statement."""
    paths = {}
    for form in ("run2", "run3"):
        made = folder / form
        words = ("--orbits", ORBITS, "--format", form, "--occupancy", 0.01)
        result = told("simulate", "run", *words, "--out", made)
        assert (result["simulated"], of(result)) == (True, "simulated")
        assert of(json.loads((made / "run.json").read_text())) == "simulated"
        assert in_parquet(made / "truth.parquet") == "simulated"
        for label, stated in STATED.items():
            path = paths[label, form] = made / f"{label}.l1l"
            with path.open("wb") as file:
                for capture in read_captures(made / "links.l1l"):
                    assert capture.simulated is True
                    write_capture(file, dataclasses.replace(capture, simulated=stated))
    return paths


@pytest.fixture(scope="module")
def packets(folder, captures):
    """Packets that the board makes of the captures."""
    paths = {}
    for (label, form), capture in captures.items():
        path = paths[label, form] = folder / f"{form}-{label}.dat"
        result = told("board", capture, "--out", path, "--format", form)
        assert (result["data"], of(result)) == (label, label)
    return paths


@pytest.mark.parametrize("label", LABELS)
@follows("simulate run", "board", "inspect")
def test_fibres_and_packets(folder, captures, packets, label):
    assert run("simulate", "run", "--orbits", 1, "--out", folder / "one").startswith("simulated")
    for form in ("run2", "run3"):
        for path in (captures[label, form], packets[label, form]):
            found = told("inspect", path)
            assert (found["data"], of(found)) == (None if label == "unknown" else label, label)
        assert read(packets[label, form]) == {STATED[label]}
        words = ("board", captures[label, form], "--out", folder / "x", "--format", form)
        assert f"data: {label}" in run(*words)
        assert of(told("board", packets[label, form], "--out", folder / "again")) == label
        assert (folder / "again").read_bytes() == packets[label, form].read_bytes()
    shown = run("inspect", packets[label, "run3"])
    assert ("not stated" if label == "unknown" else label) in shown.partition("data")[2].partition("\n")[0]
    assert of(told("board", "--simulate", 2, "--out", folder / "x")) == "simulated"


@contextmanager
def signals_kept():
    """Give signals back to pytest after a command of the live chain."""
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.fixture(scope="module")
def live(folder, packets):
    """Three runs through readout and store; the simulated one through a board, too. Their settings.

    The real one is unmarked, as hardware of today sends it, and called real by the setting of readout.
    """
    made = folder / "live"
    made.mkdir()
    chain = Chain(made, packets["simulated", "run3"], run__number=RUNS["simulated"], store__method="parquet")
    try:
        chain.begin()
        assert chain.stop("source") == 0
        wait_for(chain._board_gone)
        assert chain.stop("readout") == 0
        assert chain.status("readout")["data"] == "simulated"
        with signals_kept():
            for label in ("real", "unknown"):
                over = {"run.number": RUNS[label], "readout.spool": made / label, "readout.data": label}
                over |= {"readout.store": f"127.0.0.1:{chain.to_store.port}"}
                status = made / f"{label}.json"
                run("readout", packets["unknown", "run3"], f"--status={status}", *chain.over(**over))
                assert json.loads(status.read_text())["data"] == label
        assert chain.stop("store") == 0
        yield chain
    finally:
        chain.close()


@pytest.fixture(scope="module")
def stored(live):
    """Files of the three runs in the store: archives."""
    store = live.folder / "store"
    found = {label: sorted((store / f"run{run:06d}").glob("*.parquet")) for label, run in RUNS.items()}
    assert all(found.values())
    return found


@follows("source", "readout", "store", "runs", "account", "transfer")
def test_live_chain(live, stored, tmp_path):
    ran.update(("source", "readout", "store"))  # processes of the fixture
    over = live.over()
    rows = {row["run"]: row["data"] for row in told("runs", *over)["runs"]}
    assert rows == {run: label for label, run in RUNS.items()}
    assert of(told("runs", *over)) == "simulated"
    shown = run("runs", *over)
    for label, number in RUNS.items():
        assert label in next(line for line in shown.splitlines() if str(number) in line)
        result = told("account", number, *over)
        assert result["data"] == of(result) == of(told("runs", number, *over)) == label
        assert f"{label} data" in run("account", number, *over)
        copied = told("transfer", tmp_path / label, "--run", number, *over)
        assert (copied["data"], of(copied)) == (label, label)
        assert f"{label} data" in run("transfer", tmp_path / label, "--run", number, *over)
        for path in stored[label]:
            assert in_parquet(path) == label
            assert of(told("inspect", path)) == label
        assert read(*stored[label]) == {STATED[label]}
    copies = {label: list((tmp_path / label).rglob("*.parquet")) for label in LABELS}
    assert {label: {in_parquet(p) for p in paths} for label, paths in copies.items()} == {
        label: {label} for label in LABELS
    }


@pytest.mark.parametrize("label", LABELS)
@follows("convert", "inspect")
def test_archives_and_stored_files(stored, tmp_path, label):
    archive, raw, again = stored[label][0], tmp_path / "x.raw", tmp_path / "x.parquet"
    for source, target in ((archive, raw), (raw, again)):
        result = told("convert", source, target)
        assert (result["simulated"], of(result)) == (STATED[label], label)
        assert f"{label} data" in run("convert", source, target)
        found = told("inspect", target)
        assert (found["data"], of(found)) == (None if label == "unknown" else label, label)
        assert read(target) == {STATED[label]}
        assert found["era"] == (None if label == "simulated" else "2024 (by run number)")
    assert in_parquet(again) == label


@pytest.mark.parametrize("label", LABELS)
@follows("skim")
def test_skims(stored, tmp_path, label):
    target = tmp_path / "x.parquet"
    result = told("skim", stored[label][0], target, "--when", "MU0")
    assert result["selected"] > 0
    assert (of(result), read(target)) == (label, {STATED[label]})


@follows("simulate streams", "inspect")
def test_simulated_streams(tmp_path):
    words = (
        "simulate",
        "streams",
        "--orbits",
        1,
        "--pile-up",
        0.1,
        "--boards",
        "bmtf",
        "--out",
        tmp_path / "s",
    )
    assert of(told(*words)) == "simulated"
    assert told("inspect", tmp_path / "s" / "bmtf.dat")["data"] == "simulated"


def analysis_options(name, folder):
    """Return options that an analysis must have."""
    if name == "linearity":
        rows = [f"{k},{1 + k / 50}" for k in range(1, 3564)]
        (folder / "reference.csv").write_text("\n".join(["bx,reference", *rows]))
        return ("--reference", folder / "reference.csv")
    if name == "anomaly":
        return ("--model", write_anomaly_model(folder / "anomaly"))
    if name == "menu":
        (folder / "menu.toml").write_text(ONLY_MUONS)
        return ("--menu", folder / "menu.toml")
    if name == "calibrate":
        steps = [[4 * k, 4 * k + 3, 0.1 * (k % 5 - 2)] for k in range(10)]
        scan = {"x": steps[:5], "y": steps[5:], "protons": [[1e11, 1e9], [1e11, 0]]}
        (folder / "scan.json").write_text(json.dumps(scan))
        return ("--scan", folder / "scan.json")
    return ()


@pytest.fixture(scope="module")
def scans(folder):
    """Packets of a run in which the beams are moved, of all three kinds: every analysis can use them."""
    factors = [[4 * k, [0.3, 0.7, 1.0, 0.7, 0.3][k % 5]] for k in range(10)]
    words = ("--orbits", ORBITS, "--occupancy", 0.03, "--condition", f"steps={json.dumps(factors)}")
    run("simulate", "run", *words, "--out", folder / "scan")
    paths = {}
    for label, stated in STATED.items():
        capture, paths[label] = folder / f"scan-{label}.l1l", folder / f"scan-{label}.dat"
        with capture.open("wb") as file:
            for one in read_captures(folder / "scan" / "links.l1l"):
                write_capture(file, dataclasses.replace(one, simulated=stated))
        run("board", capture, "--out", paths[label])
    return paths


@pytest.fixture(scope="module")
def stub_sets(folder):
    """Data sets of stubs, of all three kinds: for the analysis that takes these."""
    stubs = objects("stub", np.random.default_rng(1))
    for label, stated in STATED.items():
        data = OrbitData({"stub": dataclasses.replace(stubs, simulated=stated)})
        write_data(iter([data]), folder / f"stubs-{label}")
    return {label: folder / f"stubs-{label}" for label in STATED}


@pytest.mark.parametrize("name", ANALYSES)
@follows(*(f"analyse {name}" for name in ANALYSES))
def test_analyses(scans, stub_sets, tmp_path, monkeypatch, name):
    ran.update(f"analyse {other}" for other in ANALYSES)
    drawn = []
    monkeypatch.setattr(results, "draw", lambda figure, *_, **__: drawn.append(figure) or b"")
    own = analysis_options(name, tmp_path)
    if name == "slow":
        scans = stub_sets
    for label, path in scans.items():
        out = tmp_path / label
        written = ("--out", out) if label != "real" else ()
        result = told("analyse", name, path, *own, *written)
        assert (result["origin"], of(result)) == (IN_WORDS[label], label)
        if not written:
            continue
        assert of(json.loads((out / f"{name}.json").read_text())) == label
        for table in out.glob("*.csv"):
            head = table.read_text().partition("\n")[0].partition("provenance: ")[2]
            assert json.loads(head)["data"] == label
        for histograms in out.glob("*-histograms.json"):
            assert in_root(histograms.with_suffix(".root")) == label
            for histogram in json.loads(histograms.read_text()).values():
                assert json.loads(histogram["metadata"]["provenance"])["data"] == label
        for figure in drawn:
            titles = [ax.get_title("left").replace("\\ ", " ") for ax in figure.axes]
            assert any(f"{{{IN_WORDS[label]}}}" in title for title in titles)
        assert drawn or name in ("livetime", "calibrate")
        drawn.clear()


@pytest.mark.usefixtures("quick_figures")
def test_figures_and_text_of_an_analysis(scans, tmp_path):
    words = ("analyse", "cosmics", scans["simulated"], "--out", tmp_path, "--figure-format", "png,svg,pdf")
    assert run(*words).startswith("cosmics: simulation\n")
    for form in ("png", "pdf", "svg"):
        assert '"data": "simulated"' in unescape((tmp_path / f"cosmics.{form}").read_text("latin-1"))


MIXED = {
    ("simulated", "real"): "simulated",
    ("real", "simulated", "unknown"): "simulated",
    ("real", "unknown"): "unknown",
}
"""What data of several kinds are together."""


@pytest.mark.parametrize(("together", "label"), MIXED.items())
def test_data_of_several_kinds(stored, packets, folder, together, label):
    files = [stored[one][0] for one in together]
    assert of(told("analyse", "occupancy", *files)) == label
    assert l1scout.open(files).simulated is STATED[label]
    streams = folder / "mixed.dat"
    streams.write_bytes(b"".join(packets[one, "run3"].read_bytes() for one in together))
    assert of(told("inspect", streams)) == together[0]  # orbits that come again are left out


def test_batches_without_orbits_have_no_say(folder, packets):
    """A board ends a run with a packet without orbits, if orbits were lost."""
    assert joint_simulated([batch(False, 3), batch(None, 0)]) is False
    assert joint_simulated([batch(False, 3), batch(True, 0)]) is False
    assert joint_simulated([batch(False, 3), batch(None, 3)]) is None
    assert joint_simulated([batch(False, 0)]) is False
    assert concatenate([batch(False, 3), batch(None, 0)]).simulated is False
    path = folder / "end.dat"
    end = Trailer(0, 7, ORBITS).encode()
    for label, stated in STATED.items():
        path.write_bytes(packets[label, "run3"].read_bytes() + end)
        assert l1scout.open(path).simulated is stated
        assert of(told("inspect", path)) == of(told("analyse", "livetime", path)) == label


def batch(simulated, orbits):
    """Return a batch of empty orbits, or of none."""
    none = np.zeros(0, np.int64)
    return OrbitBatch(none, none, np.zeros(1, np.int64), {}, n_orbits=orbits, simulated=simulated)


def of_kind(stated):
    """Return what a file's metadata state."""
    return {} if stated is None else {"simulated": stated}


@pytest.fixture(scope="module")
def data_sets(folder):
    """Toy muons as files of others, of all three kinds; and the data sets that are made of them."""
    paths = {}
    for k, (label, stated) in enumerate(STATED.items()):
        source, paths[label] = folder / f"{label}-rows.parquet", folder / f"{label}-D.parquet"
        columns = toy_columns(2500, seed=k) | {"recoId": np.ones(2500, np.bool_)}
        write_parquet(source, columns, of_kind(stated))
        result = told("dataset", source, "--out", paths[label])
        assert (result["simulated"], of(result), in_parquet(paths[label])) == (stated, label, label)
    return paths


@follows("dataset", "inspect")
def test_data_sets(folder, data_sets, tmp_path):
    made = tmp_path / "D.parquet"
    result = told("dataset", "--pairs", 300, "--out", made)
    assert (result["simulated"], of(result), in_parquet(made)) == (True, "simulated", "simulated")
    words = {"simulated": "simulated matched pairs", "real": "real matched pairs"}
    for label, path in data_sets.items():
        text = run("dataset", folder / f"{label}-rows.parquet", "--out", made)
        assert words.get(label, "matched pairs of unstated origin") in text
        assert of(told("inspect", path)) == label
    for together, label in MIXED.items():
        sources = [folder / f"{one}-rows.parquet" for one in together]
        assert of(told("dataset", *sources, "--out", made)) == label
        assert read_datasets([data_sets[one] for one in together]).simulated is STATED[label]


@pytest.fixture(scope="module")
def models(folder, data_sets):
    """Models: one trained on simulated muons; and its copies, whose cards state other kinds."""
    paths = {label: folder / f"model-{label}" for label in LABELS}
    words = ("--model", "A", "--epochs", 1, "--json")
    result = json.loads(run("train", "--data", data_sets["simulated"], "--out", paths["simulated"], *words))
    assert (result["simulated"], of(result)) == (True, "simulated")
    for label in ("real", "unknown"):
        shutil.copytree(paths["simulated"], paths[label])
        card = read_card(paths[label])
        dataclasses.replace(card, data={**card.data, "simulated": STATED[label]}).write(paths[label])
        write_sums(paths[label])
    return paths


@pytest.fixture(scope="module")
def small_models(folder):
    """Models of a small domain, made by hand, of all three kinds."""
    paths = {}
    for label, stated in STATED.items():
        made = hand_made.network()
        card = dataclasses.replace(made.card, name=label, data={"simulated": stated})
        paths[label] = hand_made.model_directory(folder / f"small-{label}", card, made.network)
    return paths


@pytest.mark.parametrize("label", LABELS)
@follows("export", "compile", "verify")
def test_what_is_made_of_a_model(models, small_models, tmp_path, label):
    model = small_models[label]
    assert json.loads((model / "card.json").read_text())["provenance"]["data"] == label
    words = {
        "export": (model, "--out", tmp_path / "m.onnx"),
        "compile": ("-m", model, "--out", tmp_path / "m.table"),
        "verify": ("-m", models[label], "--engine", "fused", "--sample", 100),
    }
    for command, options in words.items():
        result = told(command, *options)
        assert of(result) == label
        assert result["provenance"]["model"]["trained_on"]["simulated"] is STATED[label]
        assert f"rained on {TRAINED_ON[label]}" in run(command, *options)
    graph = onnx.load(tmp_path / "m.onnx")
    said = {p.key: p.value for p in graph.metadata_props}
    assert said["l1scout.trained_on"] == TRAINED_ON[label]
    head = (tmp_path / "m.table").read_bytes()[:4096].replace(b" ", b"")
    said = {"simulated": b'"simulated":true', "real": b'"simulated":false'}
    assert said.get(label, b'"model"') in head
    assert (b'"simulated"' in head) is (label in said)


@follows("bench")
def test_benchmark(small_models, data_sets, tmp_path, monkeypatch):
    monkeypatch.setattr(bench_command, "MUONS", 2048)
    monkeypatch.setattr("l1scout.evaluate.bench._PASS_SECONDS", 0.02)
    words = ("bench", "-m", small_models["real"], "--rounds", 1, "--engine", "fused", "--out", tmp_path)
    for label, path in {**data_sets, "simulated": None}.items():
        result = told(*words, *(("--data", path) if path else ()))
        assert (result["simulated"], of(result)) == (STATED[label], label)
        assert of(json.loads((tmp_path / "bench.json").read_text())) == label
        assert ("simulated" if path is None else IN_WORDS[label]) in result["muons"]
        assert_in_svg((tmp_path / "bench.svg").read_text(), label)


@pytest.mark.usefixtures("quick_figures")
@follows("train", "evaluate", "import", "export")
def test_scores(models, data_sets, tmp_path):
    ran.add("train")  # in the fixture
    for label, data in data_sets.items():
        if label == "simulated":
            continue  # the model was trained on these muons
        result = told("evaluate", "--data", data, "--all", "--model", models["simulated"])
        assert (result["data"].get("simulated"), of(result)) == (STATED[label], label)
        assert result["provenance"]["model"]["A"]["trained_on"]["simulated"] is True
    words = ("--data", data_sets["simulated"], "--model", models["simulated"])
    text = run("evaluate", *words, "--out", tmp_path / "report")
    assert "muons (simulation)" in text
    assert of(json.loads((tmp_path / "report" / "metrics.json").read_text())) == "simulated"
    assert_on_page(tmp_path / "report" / "report.html", "simulated")
    run("export", models["simulated"], "--out", tmp_path / "net.onnx")
    inputs = ("--inputs", "hwPhiAtVtx,hwEtaAtVtx,hwPt,hwCharge", "--outputs", "phi,eta,pt")
    words = ("import", "--onnx", tmp_path / "net.onnx", "--data", data_sets["real"], "--answers", "subtract")
    result = told(*words, *inputs, "--out", tmp_path / "imported")
    assert (result["simulated"], of(result)) == (False, "real")
    assert "scored on real muons" in read_card(tmp_path / "imported").origin


@pytest.mark.parametrize("label", LABELS)
@follows("jets", "central")
def test_jets_and_central_events(stored, samples, tmp_path, label):
    """Jets are what their towers are; a comparison is of both of its inputs, and events say nothing here."""
    beside_unknown = "simulated" if label == "simulated" else "unknown"
    assert of(told("central", stored[label][0], "--events", samples["DPG_NANO"])) == beside_unknown
    towers = objects("tower", np.random.default_rng(1))
    write_data(
        iter([OrbitData({"tower": dataclasses.replace(towers, simulated=STATED[label])})]), tmp_path / "t"
    )
    result = told("jets", tmp_path / "t", tmp_path / "jets.root", "--min-pt", 200)
    assert (of(result), in_root(tmp_path / "jets.root")) == (label, label)
    assert f"{label} data" in run("jets", tmp_path / "t", tmp_path / "jets.root", "--min-pt", 200)


BANNERS = {"simulated": "Simulated muons.", "real": "Recorded muons.", "unknown": "Muons of unstated origin."}


def assert_on_page(path, label):
    """A page says where its muons come from: in the metadata, the banner, the foot and every figure."""
    html = path.read_text()
    record = html.partition('<meta name="provenance" content="')[2].partition('">')[0]
    assert json.loads(unescape(record))["data"] == label
    assert BANNERS[label] in html
    assert f", {IN_WORDS[label]}." in html.partition("<footer>")[2]
    figures = [base64.b64decode(f.partition('"')[0]) for f in html.split("data:image/svg+xml;base64,")[1:]]
    assert figures
    for figure in figures:
        assert_in_svg(figure.decode(), label)


@pytest.mark.parametrize("label", ["simulated", "unknown"])
@follows("study")
def test_study(data_sets, tmp_path, monkeypatch, label):
    monkeypatch.setattr(study, "train_runs", pretended)
    words = ("study", "--data", data_sets[label], "--models", "A", "--folds", 3, "--no-limit")
    assert f"muons of the paper's selection ({IN_WORDS[label]})" in run(*words, "--out", tmp_path)
    result = json.loads((tmp_path / "study.json").read_text())
    assert (result["data"].get("simulated"), of(result)) == (STATED[label], label)
    assert_on_page(tmp_path / "study.html", label)


def pretended(_data, runs):
    """Return the results of trainings that take no time."""
    numbers = {k: dict.fromkeys(VARIABLES, 1.0) for k in KINDS}
    names = ("raw", "model", "raw_without_hwpt_6", "model_without_hwpt_6")
    return [{**dict.fromkeys(names, numbers), "objective": 1.0} for _ in runs]


@pytest.mark.parametrize("label", LABELS)
@follows("recalibrate", "inspect")
def test_recalibrated_files(folder, small_models, data_sets, stored, tmp_path, label):
    """What a network makes of muons is as simulated as the muons are, whatever it was trained on."""
    model = small_models["simulated" if label == "real" else "real"]
    for k, source in enumerate((folder / f"{label}-rows.parquet", data_sets[label], stored[label][0])):
        target = tmp_path / f"{k}.parquet"
        result = told("recalibrate", source, target, "--model", model)
        assert (result["conditions"]["simulated"], of(result)) == (STATED[label], label)
        assert in_metadata(target) == label
        assert of(told("inspect", target)) == label
        assert read(target) == {STATED[label]}
        assert f"{source}: {TRAINED_ON[label]}" in run("recalibrate", source, target, "--model", model)
        add_columns(source, target, lambda c: {"x": c["hwPt"] * np.float32(1)})
        assert in_metadata(target) == label


def in_metadata(path):
    """Return what the provenance in a Parquet file says of its data."""
    return json.loads(pq.read_metadata(path).metadata[KEY.encode()])["data"]


@pytest.mark.parametrize("kind", ["DPG_NANO", "SCOUTING_NANO", "L1NTUPLE"])
def test_files_that_say_nothing(samples, small_models, tmp_path, kind):
    source, target = samples[kind], tmp_path / "out.root"
    for label in ("simulated", "real"):
        result = told("recalibrate", source, target, "--model", small_models[label])
        assert (of(result), in_root(target), read(target)) == ("unknown", "unknown", {None})
    assert of(told("inspect", target)) == "unknown"
    assert run("analyse", "occupancy", target).startswith("occupancy: data of unstated origin")


def test_nano_of_generated_muons(samples, small_models, tmp_path):
    """Only simulated events have generated particles."""
    source, target = tmp_path / "mc.root", tmp_path / "out.root"
    with uproot.open(samples["DPG_NANO"]) as file:
        columns = file["Events"].arrays()
    groups = {}
    for name in ("L1Mu", "Muon"):
        fields = [f for f in columns.fields if f.startswith(f"{name}_")]
        groups[name] = ak.zip({f.partition("_")[2]: columns[f] for f in fields})
    rest = [f for f in columns.fields if "_" not in f and not f.startswith("n")]
    branches = {n: columns[n].to_numpy() for n in rest} | {"genWeight": np.ones(len(columns), np.float32)}
    types = {n: b.dtype for n, b in branches.items()} | {n: b.type.content for n, b in groups.items()}
    with uproot.recreate(source) as file:
        file.mktree("Events", types).extend(branches | groups)
    result = told("recalibrate", source, target, "--model", small_models["real"])
    assert (of(result), in_root(target), read(target)) == ("simulated", "simulated", {True})
    assert run("analyse", "occupancy", source).startswith("occupancy: simulation")


@pytest.fixture(scope="module")
def firmware_models(folder):
    """Firmware models made by hand, of all three kinds."""
    paths = {}
    for label, stated in STATED.items():
        made = hand_made.firmware_model()
        made = dataclasses.replace(made, card=dataclasses.replace(made.card, data={"simulated": stated}))
        paths[label] = hand_made.firmware_directory(folder / f"firmware-{label}", made)
    return paths


@follows("firmware build", "firmware simulate")
def test_firmware(firmware_models, tmp_path, monkeypatch):
    monkeypatch.setattr(verilator, "have_verilator", lambda: False)
    for label, model in firmware_models.items():
        rtl = tmp_path / label
        assert of(told("firmware", "build", model, "--out", rtl)) == label
        assert of(json.loads((rtl / "build.json").read_text())) == label
        result = told("firmware", "simulate", model, rtl, "--sample", 100)
        assert of(result) == of(json.loads((rtl / "simulation.json").read_text())) == label
