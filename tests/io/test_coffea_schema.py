"""L1 scouting nano files in stock coffea, and in RDataFrame where ROOT is installed."""

from dataclasses import replace

import awkward as ak
import numpy as np
import pytest

import l1scout
from l1scout.api import to_awkward
from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import OrbitData
from l1scout.formats.streams.muon import MUON_MASS
from l1scout.io.format_writer import write_data
from stream_files import every

nanoevents = pytest.importorskip("coffea.nanoevents")
schema = pytest.importorskip("l1scout.io.coffea_schema")


@pytest.fixture(scope="module")
def truth():
    data = every(5, names=["muon", "jet", "egamma", "tau", "etsum", "stub", "tower"])
    muons = data.muons
    muons["hwChargeValid"][::7], muons["hwCharge"][::7] = 0, 0
    muons = muons.select(muons["intermediate"] == 0)
    data = data.with_muons(
        replace(muons, columns={n: c for n, c in muons.columns.items() if n != "intermediate"})
    )
    jets = data.streams["jet"]
    on = {"SelBx_DijetEt30": jets.counts > 1}
    offsets = np.arange(len(jets) + 1)
    flags = OrbitBatch(jets.orbit, jets.bx, offsets, on, jets.run, jets.lumisection)
    return OrbitData(data.streams, None, data.origin, flags)


@pytest.fixture(scope="module", params=[False, True], ids=["as CMS", "hardware"])
def path(request, truth, tmp_path_factory):
    target = tmp_path_factory.mktemp("coffea") / "nano.root"
    write_data([truth], target, drop=True, hardware=request.param)
    return target


def open_virtual(path, **options):
    return nanoevents.NanoEventsFactory.from_root(
        {str(path): "Events"}, mode="virtual", schemaclass=l1scout.ScoutingNanoSchema, **options
    ).events()


def test_crossings_masses_and_charges(path, truth):
    events = open_virtual(path)
    muons = truth.muons
    with_muons = events[ak.num(events.L1Mu) > 0]
    assert with_muons.orbitNumber.to_list() == muons.orbit.tolist()
    assert with_muons.bunchCrossing.to_list() == muons.bx.tolist()
    number = (muons.orbit * 4096 + muons.bx).tolist()
    assert schema.event_number(with_muons).tolist() == number
    assert ak.all(events.L1Mu.mass == np.float32(MUON_MASS))
    assert ak.all(events.L1Jet.mass == 0)
    sign = np.where(muons["hwChargeValid"] == 0, 0, 1 - 2 * muons["hwCharge"])
    assert ak.flatten(events.L1Mu.charge).to_list() == sign.tolist()
    assert ak.sum(events.SelBx.DijetEt30) == np.count_nonzero(truth.selections["SelBx_DijetEt30"])


def test_objects_are_lorentz_vectors(path, truth):
    events = open_virtual(path)
    muons = schema.at_vertex(events.L1Mu)
    pairs = ak.combinations(muons, 2, fields=["a", "b"])
    truth_muons = to_awkward(OrbitData({"muon": truth.muons})).muon
    expected = ak.combinations(truth_muons, 2, fields=["a", "b"])
    found = ak.to_numpy(ak.flatten((pairs.a + pairs.b).mass))
    np.testing.assert_allclose(found, ak.flatten((expected.a + expected.b).mass), rtol=1e-4, atol=0.05)
    assert found.size > 50
    jets = events.L1Jet
    assert ak.all(jets.delta_r(jets) == 0)
    assert (events.L1Tau + events.L1Tau).pt.to_list() == (2 * events.L1Tau.pt).to_list()
    missing = events.L1EtSum[events.L1EtSum.etSumType == 2]
    px = ak.to_numpy(ak.flatten(missing.px))
    sums = truth.streams["etsum"]
    phi = np.where(sums["hwMissEt"] == 0, 0, 0.0435 * sums["hwMissEtPhi"])
    np.testing.assert_allclose(px, 0.5 * sums["hwMissEt"] * np.cos(phi), rtol=1e-3, atol=0.3)


@pytest.mark.parametrize(
    ("table", "stream"),
    [("L1Mu", "muon"), ("L1Jet", "jet"), ("L1EG", "egamma"), ("L1CaloTower", "tower"), ("L1EtSum", "etsum")],
)
def test_hardware_columns(path, truth, table, stream):
    found = schema.hardware_columns(open_virtual(path), table)
    batch = truth.streams[stream]
    assert {"hwPt", "hwEt", "hwTotalEt"} & set(found.fields)
    for name in set(found.fields) & set(batch.columns):
        np.testing.assert_array_equal(ak.to_numpy(ak.flatten(found[name])), batch[name], err_msg=name)


def test_only_what_is_asked_for_is_read(path):
    log: list[object] = []
    events = open_virtual(path, access_log=log)
    ak.sum(events.L1Jet.pt)
    branches = {getattr(entry, "branch", entry) for entry in log}
    assert branches == {"nL1Jet", "L1Jet_pt"}


def test_a_file_of_other_making(shared_cases):
    events = open_virtual(shared_cases / "02_scouting_nano.root")
    (chunk,) = l1scout.open(shared_cases / "02_scouting_nano.root")
    assert ak.flatten(schema.hardware_columns(events, "L1Mu").hwPt).to_list() == chunk.muons["hwPt"].tolist()


@pytest.mark.parametrize("rntuple", [False, True])
def test_rdataframe_reads_both_kinds(truth, tmp_path, rntuple):
    ROOT = pytest.importorskip("ROOT")
    name = "scouting-nano-rntuple" if rntuple else "scouting-nano"
    write_data([truth], tmp_path / "nano.root", name, hardware=True)
    frame = ROOT.RDataFrame("Events", str(tmp_path / "nano.root"))
    found = frame.Filter("L1Mu_pt.size() > 0").AsNumpy(["orbitNumber", "L1Mu_hwPt"])
    assert found["orbitNumber"].tolist() == truth.muons.orbit.tolist()
    assert (
        np.concatenate([np.asarray(v) for v in found["L1Mu_hwPt"]]).tolist() == truth.muons["hwPt"].tolist()
    )
