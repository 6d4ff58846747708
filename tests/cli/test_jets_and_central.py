"""`l1scout jets` and `l1scout central`: files of towers to files of jets, and scouting beside events."""

import json
from dataclasses import replace

import awkward as ak
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import uproot
from typer.testing import CliRunner

import l1scout
from l1scout.analysis.common.central_events import compared_columns
from l1scout.cli import make_app
from l1scout.core.orbit_batch import OrbitBatch, final_muons
from l1scout.core.orbit_data import OrbitData
from l1scout.errors import InputError
from l1scout.io import read_events
from l1scout.io.format_writer import write_data
from l1scout.lhc import order_of_time
from stream_files import every


def run(*words):
    done = CliRunner().invoke(make_app(), list(map(str, words)))
    if isinstance(done.exception, InputError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def towers():
    """Orbit 7: a cluster of 30 GeV in BX 5, of two towers, and one of 25 GeV; orbit 9: 60 GeV in BX 3."""
    rows = [(7, 5, 40, 10, 1), (7, 5, 20, 11, 1), (7, 5, 50, -15, 30), (9, 3, 120, 3, 40)]
    orbit, bx, et, eta, phi = np.array(rows).T
    columns = {"hwEt": et, "erBits": 0 * et, "miscBits": 0 * et, "hwPhi": phi, "hwEta": eta}
    columns = {name: values.astype(np.int16) for name, values in columns.items()}
    made = OrbitBatch.from_objects(orbit, bx, columns, simulated=True)
    ones = np.ones(len(made), np.int64)
    return replace(made, run=390_000 * ones, lumisection=ones).with_orbits(np.arange(7, 10))


@pytest.fixture
def source(tmp_path):
    write_data(iter([OrbitData({"tower": towers()})]), tmp_path / "towers.raw")
    return tmp_path / "towers.raw"


def corrections(folder, *names):
    """Write corrections that double pT."""
    data = {"nodetype": "formula", "expression": "2.0+0*x", "parser": "TFormula", "variables": ["pt"]}
    rest = {"version": 1, "data": data, "output": {"name": "factor", "type": "real"}}
    made = [{"name": n, **rest, "inputs": [{"name": "pt", "type": "real"}]} for n in names]
    path = folder / "jec.json"
    path.write_text(json.dumps({"schema_version": 2, "corrections": made}))
    return path


def test_jets_of_towers_in_each_format(source, tmp_path):
    pytest.importorskip("fastjet")
    found = json.loads(run("jets", source, tmp_path / "jets.root", "--json"))
    assert (found["objects"], found["crossings"], found["orbits"], found["simulated"]) == (
        {"jet": 3},
        2,
        3,
        True,
    )
    with uproot.open(tmp_path / "jets.root") as file:
        events = file["Events"].arrays()
    assert events["orbitNumber"].tolist() == [7, 9]
    np.testing.assert_allclose(ak.flatten(events["L1Jet_pt"]), [30, 25, 60], rtol=3e-3)
    assert ak.flatten(events["L1Jet_constituents"]).tolist() == [2, 1, 1]
    run("jets", source, tmp_path / "flat.parquet", "--drop", "--objects", "jet=2")
    flat = pq.read_table(tmp_path / "flat.parquet").to_pydict()
    assert (flat["orbit"], flat["bx"], flat["jet_n"]) == ([7, 9], [5, 3], [2, 1])
    np.testing.assert_allclose(flat["jet0_pt"], [30, 60], rtol=3e-3)
    run("jets", source, tmp_path / "set", "--min-pt", 28, "--radius", 0.05)
    read = [data.streams["jet"] for data in l1scout.open(tmp_path / "set")]
    assert [(b["pt"].tolist(), b.n_orbits) for b in read] == [([60.0], 3)]


def test_corrected_jets(source, tmp_path):
    pytest.importorskip("fastjet")
    pytest.importorskip("correctionlib")
    path = corrections(tmp_path, "L1")
    text = run("jets", source, tmp_path / "set", "--corrections", path)
    assert "3 jets in 2 crossings, 3 orbits" in text
    assert "corrected by L1 of" in text
    (data,) = l1scout.open(tmp_path / "set")
    np.testing.assert_allclose(data.streams["jet"]["pt"], [60, 50, 120], rtol=3e-3)
    assert data.streams["jet"]["correction"].tolist() == [2.0, 2.0, 2.0]
    path = corrections(tmp_path, "L1", "L2")
    with pytest.raises(InputError, match="has 2 corrections: name one of L1, L2"):
        run("jets", source, tmp_path / "set", "--corrections", path)
    run("jets", source, tmp_path / "set", "--corrections", path, "--correction", "L2")
    with pytest.raises(InputError, match="--correction names one of the file"):
        run("jets", source, tmp_path / "set", "--correction", "L2")


def test_what_jets_refuses(source, tmp_path):
    pytest.importorskip("fastjet")
    muons = tmp_path / "muons.raw"
    write_data(iter([every(1, names=["muon"])]), muons, drop=True)
    with pytest.raises(InputError, match="no stream tower, but muon"):
        run("jets", muons, tmp_path / "jets.root")
    with pytest.raises(InputError, match="is the input itself; name another file"):
        run("jets", source, source)
    with pytest.raises(InputError, match="no stream etsum, but tower"):
        run("jets", source, tmp_path / "jets.root", "--keep", "etsum")
    with pytest.raises(InputError, match="number of orbits by lumisection"):
        run("jets", source, tmp_path / "flat.parquet")
    with pytest.raises(InputError, match=r"cannot hold jet\.pt"):
        run("jets", source, tmp_path / "jets.raw")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["muons.raw", "towers.raw"]


@pytest.fixture
def scouting(samples, tmp_path):
    """Scouting data of triggered events, with two changed muons and an orbit less; the events; numbers."""
    events = next(read_events(samples["DPG_NANO"])).muons
    own = final_muons(events.select(events["bxInEvent"] == 0))
    columns = {n: own[n].copy() for n in compared_columns("muon", own)}
    columns["hwPt"][own.offsets[[1, 3]]] ^= 1
    order = np.lexsort([order_of_time(own.orbit, own.bx)])
    made = OrbitBatch(own.orbit, own.bx, own.offsets, columns, own.run, own.lumisection).take(order[:-1])
    seen = np.unique(made.orbit)
    target = tmp_path / "scouting"
    write_data(iter([OrbitData.of_muons(made.with_orbits(seen))]), target)
    return target, samples["DPG_NANO"], len(events), len(made)


def test_scouting_beside_events(scouting, tmp_path):
    target, events, n, compared = scouting
    out = tmp_path / "differences.csv"
    found = json.loads(run("central", target, "--events", events, "--out", out, "--json"))["streams"]["muon"]
    assert (found["events"], found["compared"], found["not_seen"]) == (n, compared, n - compared)
    assert (found["identical"], found["only_event"], found["only_scouting"]) == (compared - 2, 2, 2)
    assert found["identical_without_column"]["hwPt"] == compared
    assert (
        found["identical_share"]["low"] < found["identical_share"]["value"] < found["identical_share"]["high"]
    )
    assert found["common_by_bx_shift"]["0"] == found["common"] > 0
    rows = pd.read_csv(out, comment="#")
    assert (rows.in_event.sum(), rows.in_scouting.sum(), len(rows)) == (2, 2, 4)
    text = run("central", target, "--events", events)
    assert f"muon: {compared - 2} of {compared} events identical" in text
    late = json.loads(run("central", target, "--events", events, "--bx-offset", 1, "--json"))["streams"][
        "muon"
    ]
    assert late["common_by_bx_shift"]["-1"] == found["common"]
    assert late["identical"] < compared - 2


def test_what_central_refuses(scouting, source):
    target, events, *_ = scouting
    with pytest.raises(InputError, match="holds triggered events; give scouting data here"):
        run("central", events, "--events", events)
    with pytest.raises(InputError, match="holds orbits of scouting, not triggered events"):
        run("central", target, "--events", target)
    for own in (events, target):
        with pytest.raises(InputError, match="is the input itself; name another file"):
            run("central", target, "--events", events, "--out", own)
    with pytest.raises(InputError, match="have none of the streams of the events: muon"):
        run("central", source, "--events", events)
