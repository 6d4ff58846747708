"""What tests share: small files of every format, and the real data where it is there."""

import gc
import os
import shutil
import tempfile
from pathlib import Path

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot
from hypothesis import HealthCheck, settings
from matplotlib.figure import Figure

from front_end import Keep, make_run, stored_bytes, through_board
from l1scout.formats import pattern
from l1scout.formats.streams.muon import MUON_2018, PHI_BINS, physical, split
from l1scout.io import read_events
from l1scout.io.archive import to_parquet
from l1scout.io.format_writer import write_data
from l1scout.link.capture import write_capture

settings.register_profile("busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy machine")
os.environ.setdefault("KERAS_BACKEND", "jax")  # tests import Keras themselves
ROWS = 40
HERE = Path(__file__).parent
LONGEST_FIRST = (
    "live/test_chain_faults.py",
    "firmware/test_training.py",
    "deploy/test_engines.py",
    "test_provenance_chain.py",
    "cli/test_analyse.py",
    "firmware/test_board_rtl.py",
    "firmware/test_board_icarus.py",
    "firmware/test_core.py",
    "training/test_together.py",
    "test_extending.py",
    "cli/test_train.py",
    "training/test_fit.py",
    "training/test_study.py",
    "control/test_run.py",
    "analysis/test_merge.py",
    "report/test_report.py",
    "hostile/test_hostile_packets.py",
    "hostile/test_hostile_files.py",
    "test_api.py",
    "test_readme.py",
    "live/test_kill_points.py",
    "report/test_analysis_figures.py",
    "monitor/test_browser.py",
    "link/test_link_faults.py",
    "hostile/test_hostile_streams.py",
    "analysis/test_luminosity.py",
    "simulate/test_kalman.py",
    "training/test_embeddings.py",
    "training/test_code_guard.py",
    "analysis/test_lines.py",
    "evaluate/test_bench.py",
    "analysis/test_cosmics.py",
    "cli/test_import.py",
    "cli/test_anomaly.py",
    "cli/test_readout_commands.py",
    "deploy/test_gains.py",
    "analysis/test_firing.py",
    "analysis/test_occupancy.py",
    "cli/test_export.py",
    "report/test_pages.py",
    "store/test_http_api.py",
    "training/test_stream.py",
    "training/test_anomaly_fit.py",
)
"""The first three compile nothing in common. Of the two long ones that mostly wait for processes, the second
begins when the first has ended, and finds the chain's kernels compiled."""
assert all((HERE / name).exists() for name in LONGEST_FIRST)


def pytest_configure(config: pytest.Config) -> None:
    """Let all processes of a run of the tests share what XLA compiles for networks, in half the time."""
    os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")  # toys are trained for a moment
    if hasattr(config, "workerinput") or "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    folder = tempfile.mkdtemp(prefix="xla-of-tests-")
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return one more than there are processors: tests of the live chain mostly wait."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first: a worker that begins one last would let all others wait."""
    rank = {name: k for k, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: rank.get(item.path.relative_to(HERE).as_posix(), len(rank)))


def pytest_collection_finish() -> None:
    """Spare what stays for good, modules and tests, to the collector of garbage: half a second each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def quick_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw figures without their axes, which take a second or two: for what is not about how they look."""
    savefig = Figure.savefig

    def without_axes(figure: Figure, *arguments: object, **options: object) -> None:
        figure.set_layout_engine("none")
        for axes in figure.axes:
            axes.set_axis_off()
        savefig(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", without_axes)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no ../shared/data beside the checkout")
    return folder


@pytest.fixture(scope="session")
def shared_cases() -> Path:
    folder = Path(__file__).parents[2] / "shared" / "cases"
    if not folder.is_dir():
        pytest.skip("no ../shared/cases beside the checkout")
    return folder


class Truth:
    """L1 muons and offline muons of `ROWS` rows, as numbers."""

    def __init__(self, seed: int = 1) -> None:
        rng = np.random.default_rng(seed)
        self.counts = rng.integers(0, 4, ROWS)
        self.counts[0] = 0
        n = int(self.counts.sum())
        self.muons = {
            "hwPt": rng.integers(1, 512, n),
            "hwEta": rng.integers(-224, 224, n),
            "hwPhi": rng.integers(0, PHI_BINS, n),
            "hwEtaAtVtx": rng.integers(-224, 224, n),
            "hwPhiAtVtx": rng.integers(0, PHI_BINS, n),
            "hwCharge": rng.integers(0, 2, n),
            "hwQual": rng.choice([4, 8, 12], n),
            "tfMuonIndex": rng.integers(0, 108, n),
        }
        self.muons = {name: values.astype(np.int16) for name, values in self.muons.items()}
        self.reco_counts = rng.integers(0, 3, ROWS)
        m = int(self.reco_counts.sum())
        self.reco = {
            "recoPt": rng.uniform(3, 60, m).astype(np.float32),
            "recoEta": rng.uniform(-2.4, 2.4, m).astype(np.float32),
            "recoPhi": rng.uniform(-3.14, 3.14, m).astype(np.float32),
            "recoCharge": rng.choice([-1, 1], m).astype(np.int32),
        }
        self.run, self.lumisection = 320040, 77
        self.orbit = np.sort(rng.integers(1000, 1_000_000, ROWS))
        self.bx = rng.integers(1, 3565, ROWS)
        self.bx_in_event = rng.integers(-2, 3, n).astype(np.int16)

    def jagged(self, values: np.ndarray) -> ak.Array:
        return ak.unflatten(values, self.counts)

    def reco_jagged(self, values: np.ndarray) -> ak.Array:
        return ak.unflatten(values, self.reco_counts)

    @property
    def sign(self) -> np.ndarray:
        return (1 - 2 * self.muons["hwCharge"]).astype(np.int16)


def event_columns(truth: Truth) -> dict[str, np.ndarray]:
    return {
        "run": np.full(ROWS, truth.run, np.uint32),
        "luminosityBlock": np.full(ROWS, truth.lumisection, np.uint32),
        "orbitNumber": truth.orbit.astype(np.uint32),
        "bunchCrossing": truth.bx.astype(np.uint32),
    }


def write_records(path: Path, name: str, scalars: dict, groups: dict, more: dict | None = None) -> None:
    """Write a nano-like tree: a counter ``n<group>`` for each group of jagged branches."""
    with uproot.recreate(path) as file:
        data = {**scalars, **{group: ak.zip(fields) for group, fields in groups.items()}}
        types = {k: v.type.content if isinstance(v, ak.Array) else v.dtype for k, v in data.items()}
        tree = file.mktree(name, types)
        half = ROWS // 2
        for part in (slice(0, half), slice(half, None)):
            tree.extend({k: v[part] for k, v in data.items()})
        for other, branches in (more or {}).items():
            file.mktree(other, {k: v.dtype for k, v in branches.items()}).extend(branches)


def write_dpg(path: Path, truth: Truth) -> None:
    l1 = {name: truth.jagged(values) for name, values in truth.muons.items()}
    l1["bx"] = truth.jagged(truth.bx_in_event)
    l1 |= {name: truth.jagged(v) for name, v in physical(truth.muons).items()}
    reco = {n.removeprefix("reco").lower(): truth.reco_jagged(v) for n, v in truth.reco.items()}
    reco["mediumId"] = truth.reco_jagged(np.ones(len(truth.reco["recoPt"]), np.bool_))
    scalars = event_columns(truth) | {"event": np.arange(ROWS, dtype=np.uint64)}
    write_records(path, "Events", scalars, {"L1Mu": l1, "Muon": reco})


def write_scouting(path: Path, truth: Truth) -> None:
    l1 = {name: truth.jagged(v) for name, v in physical(truth.muons).items()}
    l1 |= {n: truth.jagged(truth.muons[n]) for n in ("hwQual", "tfMuonIndex")}
    l1["hwCharge"] = truth.jagged(truth.sign)
    lumis = {
        "run": np.full(2, truth.run, np.uint32),
        "luminosityBlock": np.arange(2, dtype=np.uint32),
        "nOrbits": np.array([1001, 2], np.uint32),
    }
    write_records(path, "Events", event_columns(truth), {"L1Mu": l1}, {"LuminosityBlocks": lumis})


def write_nanoaod(path: Path, truth: Truth) -> None:
    reco = {n.removeprefix("reco").lower(): truth.reco_jagged(v) for n, v in truth.reco.items()}
    objects = {
        "id": truth.jagged(np.full(len(truth.sign), 13, np.int32)),
        "l1pt": truth.jagged(physical(truth.muons)["pt"]),
        "l1charge": truth.jagged(truth.sign.astype(np.int32)),
        "l1iso": truth.jagged(np.full(len(truth.sign), 3, np.int32)),
    }
    scalars = {k: v for k, v in event_columns(truth).items() if k in ("run", "luminosityBlock")}
    scalars["event"] = np.arange(ROWS, dtype=np.uint64)
    write_records(path, "Events", scalars, {"Muon": reco, "TrigObj": objects})


def write_ntuple(path: Path, truth: Truth) -> None:
    names = {
        "hwPt": "muonIEt",
        "hwEta": "muonIEta",
        "hwPhi": "muonIPhi",
        "hwEtaAtVtx": "muonIEtaAtVtx",
        "hwPhiAtVtx": "muonIPhiAtVtx",
        "hwQual": "muonQual",
        "tfMuonIndex": "muonTfMuonIdx",
    }
    upgrade = {branch: truth.jagged(truth.muons[name]) for name, branch in names.items()}
    upgrade["muonChg"] = truth.jagged(truth.sign)
    upgrade["muonBx"] = truth.jagged(truth.bx_in_event)
    reco = {n.removeprefix("reco").lower(): truth.reco_jagged(v) for n, v in truth.reco.items()}
    st2 = np.where(np.arange(len(truth.reco["recoPt"])) % 2, -9999, 0.5).astype(np.float32)
    reco |= {"etaSt2": truth.reco_jagged(st2), "phiSt2": truth.reco_jagged(st2)}
    reco["isMediumMuon"] = truth.reco_jagged(np.ones(len(st2), np.bool_))
    event = {
        "run": np.full(ROWS, truth.run, np.uint32),
        "lumi": np.full(ROWS, truth.lumisection, np.uint32),
        "bx": truth.bx.astype(np.uint32),
        "orbit": truth.orbit.astype(np.uint64),
    }
    with uproot.recreate(path) as file:
        for name, branches in (
            ("l1UpgradeTree/L1UpgradeTree", upgrade),
            ("l1MuonRecoTree/Muon2RecoTree", reco),
            ("l1EventTree/L1EventTree", event),
        ):
            types = {k: v.type.content if isinstance(v, ak.Array) else v.dtype for k, v in branches.items()}
            file.mktree(name, types).extend(branches)


def write_edm(path: Path, truth: Truth) -> None:
    """Write a split OrbitCollection of two orbits: the rows by BX in each half."""
    names = {
        "hwPt": "hwPt_",
        "hwEta": "hwEta_",
        "hwPhi": "hwPhi_",
        "hwEtaAtVtx": "hwEtaAtVtx_",
        "hwPhiAtVtx": "hwPhiAtVtx_",
        "hwCharge": "hwChrg_",
        "hwQual": "hwQual_",
        "tfMuonIndex": "tfIndex_",
    }
    base = "l1ScoutingRun3MuonOrbitCollection_unpacker__TEST.obj."
    halves = np.array_split(np.arange(ROWS), 2)
    bx = [np.arange(1, len(half) + 1) * 50 for half in halves]
    offsets = []
    for half, at in zip(halves, bx, strict=True):
        per_bx = np.zeros(3565, np.int64)
        per_bx[at] = truth.counts[half]
        offsets.append(np.r_[0, np.cumsum(per_bx)].astype(np.uint32))
    sizes = [int(truth.counts[half].sum()) for half in halves]
    branches = {
        base + "data_." + branch: ak.unflatten(truth.muons[name].astype(np.int32), sizes)
        for name, branch in names.items()
    }
    branches[base + "bxOffsets_"] = ak.from_regular(ak.Array(np.stack(offsets)))
    aux = [np.frombuffer(event_auxiliary(320040, 77, 1000 + k), np.uint8) for k in range(2)]
    branches["EventAuxiliary"] = ak.from_regular(ak.Array(np.stack(aux)))
    with uproot.recreate(path) as file:
        types = {k: v.type.content for k, v in branches.items()}
        file.mktree("Events", types).extend(branches)


def event_auxiliary(run: int, lumisection: int, event: int, *, real: bool = True) -> bytes:
    """edm::EventAuxiliary as CMSSW_14 streams it."""

    def counted(body: bytes) -> bytes:
        return (len(body) | 0x40000000).to_bytes(4, "big") + body

    text = counted(b"\0\x09\x10" + bytes(16))
    identity = run.to_bytes(4, "big") + lumisection.to_bytes(4, "big") + event.to_bytes(8, "big")
    parts = [counted(b"\0\x0b" + text), counted(b"\0\x0c" + identity), text, counted(b"\0\x0a" + bytes(8))]
    return b"".join(parts) + bytes(4) + bytes([real]) + bytes(4) + b"\xff" * 8 + bytes(4)


def write_csv(path: Path, truth: Truth) -> None:
    rows = ["Run,Event,Type1,pt1,eta1,phi1,Q1,Type2,pt2,eta2,phi2,Q2,M"]
    reco = truth.reco
    for k in range(0, len(reco["recoPt"]) - 1, 2):
        one, two = ([f"{reco[n][i]}" for n in reco] for i in (k, k + 1))
        rows.append(",".join(["165617", str(k), "G", *one, "T", *two, "9.4"]))
    path.write_text("\n".join(rows) + "\n")


def write_rntuple(path: Path, truth: Truth) -> None:
    """Write a scouting nano as uproot writes it by default."""
    l1 = {name: truth.jagged(v) for name, v in physical(truth.muons).items()}
    l1 |= {"hwQual": truth.jagged(truth.muons["hwQual"]), "hwCharge": truth.jagged(truth.sign)}
    with uproot.recreate(path) as file:
        file.mkrntuple("Events", event_columns(truth) | {f"L1Mu_{name}": v for name, v in l1.items()})


def write_parquet(path: Path, truth: Truth) -> None:
    n = len(truth.muons["hwPt"])
    columns = dict(truth.muons)
    for name, values in truth.reco.items():
        columns[name] = np.resize(values, n)
    pq.write_table(pa.table(columns), path, row_group_size=16)


def write_pattern(path: Path, truth: Truth) -> None:
    words = MUON_2018.encode(truth.muons)
    f, s = split(words)
    n_bx = ROWS
    data = np.zeros((n_bx * 6 + 3, 8), np.uint32)
    valid = np.zeros(data.shape, np.bool_)
    valid[2 : 2 + n_bx * 6] = True
    at = 0
    for k, count in enumerate(truth.counts):
        for slot in range(count):  # muon 1 of links 0-3, then muon 2
            frame = 2 + 6 * k + 2 + 2 * (slot // 4)
            data[frame, slot % 4], data[frame + 1, slot % 4] = f[at], s[at]
            at += 1
    channels = tuple(f"q{k // 4:02d}c{k % 4}" for k in range(8))
    pattern.write(pattern.Pattern("test", channels, tuple(range(8)), valid, data), path)


def write_histograms(path: Path) -> None:
    with uproot.recreate(path) as file:
        file["gain"] = np.histogram(np.arange(100.0), bins=10)


@pytest.fixture(scope="session")
def truth() -> Truth:
    return Truth()


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory, truth: Truth) -> dict[str, Path]:
    """One small file a format, by the name of its reader; ``RNTUPLE`` is one of several."""
    folder = tmp_path_factory.mktemp("samples")
    writers = {
        "L1NTUPLE": ("ntuple.root", write_ntuple),
        "DPG_NANO": ("dpg.root", write_dpg),
        "SCOUTING_NANO": ("scouting.root", write_scouting),
        "NANOAOD": ("nanoaod.root", write_nanoaod),
        "ORBIT_COLLECTION": ("edm.root", write_edm),
        "DIMUON_CSV": ("dimuon.csv", write_csv),
        "PARQUET": ("muons.parquet", write_parquet),
        "PATTERN": ("pattern.txt", write_pattern),
    }
    paths = {}
    for kind, (name, write) in writers.items():
        paths[kind] = folder / name
        write(paths[kind], truth)
    paths["RNTUPLE"] = folder / "rntuple.root"
    write_rntuple(paths["RNTUPLE"], truth)
    paths["HISTOGRAMS"] = folder / "histograms.root"
    write_histograms(paths["HISTOGRAMS"])
    paths["GMT_LUT"] = folder / "lut.txt"
    paths["GMT_LUT"].write_text("# phi extrapolation\n#<header> V1 12 4 </header>\n0 0\n1 3\n2 1\n")
    paths["LUT"] = folder / "unknown.txt"
    paths["LUT"].write_text("# pt compression\n#<header> v7 2 3 </header>\n0 0\n1 3\n2 5\n3 7\n")
    paths["BMTF_LUT"] = folder / "table.lut"
    paths["BMTF_LUT"].write_text("  180\n  -2  7\n  -1  7\n   0  9\n")
    paths["HISTOGRAM_CSV"] = folder / "histogram.csv"
    paths["HISTOGRAM_CSV"].write_text("pt_lo_GeV,pt_hi_GeV,entries\n0.0,0.5,3\n0.5,1.0,4\n")
    paths["LINK_CAPTURE"], paths["DMA_PACKETS"] = folder / "links.l1l", folder / "packets.dat"
    _, captures, _ = make_run(orbits=2, chunk=2)
    with paths["LINK_CAPTURE"].open("wb") as file:
        for capture in captures:
            write_capture(file, capture)
    sink = Keep()
    through_board(captures, sink=sink)
    paths["DMA_PACKETS"].write_bytes(sink.bytes.getvalue())
    for kind, data in stored_bytes(captures).items():
        paths[kind] = folder / kind
        paths[kind].write_bytes(data)
    paths["ARCHIVE"] = folder / "archive.parquet"
    to_parquet(paths["RAW"], paths["ARCHIVE"])
    write_data(read_events(paths["RAW"], intermediate=True), folder / "set")
    paths["PARQUET_DATASET"] = next((folder / "set").rglob("*.parquet"))
    paths["NPZ"] = folder / "arrays.npz"
    np.savez(paths["NPZ"], counts=np.arange(5))
    return paths
