"""The benchmark: what it counts, not how fast the machine is."""

import json
from functools import partial

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from hand_made import model_directory, network
from l1scout.cli.bench import bench
from l1scout.cli.verify import verify
from l1scout.deploy.engine import create_engine
from l1scout.deploy.engines.table import build
from l1scout.errors import InputError
from l1scout.evaluate.bench import PUBLISHED, muons_of, repeated, run, simulated
from toy_muons import toy_columns, write_parquet

app = typer.Typer()
app.command("bench")(bench)
app.command("verify")(verify)


class Counting:
    def __init__(self):
        self.muons = 0

    def correct(self, hardware, out=None):
        assert hardware.flags.c_contiguous
        self.muons += hardware.shape[1]
        return out

    def bind(self, hardware, out):
        return partial(self.correct, hardware, out)


def test_every_round_goes_through_all_muons():
    m = network()
    hardware = np.ascontiguousarray(m.domain.hardware(0, 4096))
    engines = []

    def maker():
        engines.append(Counting())
        return engines[-1]

    told = []
    found = run(
        m,
        {"onnx": lambda: create_engine("onnx", m), "counting": maker},
        hardware,
        threads=2,
        rounds=3,
        batches=(64, 1024),
        progress=lambda n, of: told.append((n, of)),
    )
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert len(engines) == 2
    assert engines[1].muons == 3 * 2 * 2048
    assert engines[0].muons == engines[1].muons + 2 * 1024 + 2 * (4096 + 8 * 512)  # first call, latencies
    assert set(found.opening) == {"onnx", "counting"}
    assert min(found.opening.values()) > 0
    rows = {(r.engine, r.batch): r for r in found.throughput}
    assert set(rows) == {(e, b) for e in ("onnx", "counting") for b in (64, 1024)}
    assert max(rows["onnx", b].of_onnx for b in (64, 1024)) == pytest.approx(1)
    for r in found.throughput:
        assert r.best >= r.median > 0
        assert r.threads == 2
    assert [(t.engine, t.call, t.muons) for t in found.latency] == [
        (e, c, n) for n in (1, 8) for e in ("onnx", "counting") for c in ("correct", "bound")
    ]
    assert [t.call for t in found.empty_calls] == ["correct", "bound"]
    assert all(t.p50 <= t.p99 <= t.p999 for t in found.latency)


def test_the_limit_of_the_table_is_a_copy_of_what_goes_in_and_out(tmp_path):
    m = network()
    build(m, tmp_path / "t")
    makers = {n: (lambda n=n: create_engine(n, m, table=tmp_path / "t")) for n in ("onnx", "table")}
    found = run(m, makers, np.ascontiguousarray(m.domain.hardware(0, 4096)), rounds=2, batches=(64, 1024))
    rows = {(r.engine, r.batch): r for r in found.throughput}
    assert set(rows) == {(e, b) for e in ("onnx", "table") for b in (64, 1024)}
    assert {r.floor for (e, _), r in rows.items() if e == "table"} == {"copy of 20 bytes"}  # 4 x 2 + 3 x 4
    assert all(r.of_floor > 0 for r in rows.values())


def test_muons_keep_their_order():
    m = network()
    columns = {
        n: np.array([5, 99, 6], np.int64) if n == "hwPt" else np.array([1, 1, 0]) for n in m.domain.names
    }
    columns["hwPt"] = np.array([7, 99, 8])
    muons = muons_of(m, columns)
    assert muons.tolist() == [[1, 0], [1, 0], [7, 8], [1, 0]]
    assert repeated(muons, 5).tolist() == [[1, 0, 1, 0, 1]] * 2 + [[7, 8, 7, 8, 7], [1, 0, 1, 0, 1]]


def test_simulated_muons_are_in_the_domain_and_new():
    m = network(domain={**network().card.domain, "hwPhiAtVtx": (0, 575), "hwEtaAtVtx": (-80, 80)})
    told = []
    muons = simulated(m, 200_000, progress=lambda n, of: told.append((n, of)))
    assert muons.shape == (4, 200_000)
    low, high = (np.array(ends)[:, None] for ends in (m.domain.low, m.domain.high))
    assert ((muons >= low) & (muons <= high)).all()
    assert not np.array_equal(muons[:, :1000], muons[:, -1000:])
    assert len(told) > 1
    assert told[-1] == (200_000, 200_000)
    with pytest.raises(InputError, match="no simulated muon is in its domain"):
        simulated(network(domain={**network().card.domain, "hwEtaAtVtx": (200, 210)}), 10)


def test_published_latencies_are_the_inverse_of_throughput():
    assert len(PUBLISHED) > 1
    for p in PUBLISHED:
        assert 1e3 / p.latency_ns == pytest.approx(p.millions, rel=0.06)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    m = network(domain={**network().card.domain, "hwPhiAtVtx": (0, 575), "hwEtaAtVtx": (-80, 80)})
    return model_directory(tmp_path_factory.mktemp("models") / "m", m.card, m.network)


def test_results_are_written_and_published_rows_are_named(directory, tmp_path):
    data = write_parquet(tmp_path / "toy.parquet", toy_columns(3000))
    arguments = ["bench", "-m", directory, "--data", data, "--rounds", 1, "--out", tmp_path / "b"]
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    assert done.exit_code == 0, done.output
    assert "published: AC-510, 2 clusters, 1 / throughput" in done.stdout
    found = json.loads((tmp_path / "b" / "bench.json").read_text())
    assert {r["engine"] for r in found["throughput"]} == {"onnx", "fused", "fixed"}
    assert found["muons"].startswith("toy.parquet (data of unstated origin), in its order, ")
    assert found["published"][1]["latency_ns"] == 364
    assert (tmp_path / "b" / "bench.svg").read_text().lstrip().startswith("<?xml")


def test_a_model_without_keras_is_one_line(directory):
    done = CliRunner().invoke(app, ["verify", "-m", str(directory), "--engine", "fused"])
    assert isinstance(done.exception, InputError)
    assert "not a usable Keras model" in str(done.exception)
    assert "\n" not in str(done.exception)
