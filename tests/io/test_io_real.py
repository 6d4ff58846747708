"""Facts about real CMS files: they skip where the files are not there."""

import numpy as np
import pytest

from l1scout.core.orbit_batch import concatenate
from l1scout.errors import InputError
from l1scout.formats.streams.muon import BMTF_INDEX, PHI_BINS, physical
from l1scout.io import read_events
from l1scout.io.columns import from_physical
from l1scout.io.inspect import describe
from l1scout.io.readers import orbit_collection as edm
from l1scout.lhc import lumisection

NTUPLE = "real-cms/l1ntuple_run320040_2018_200ev.root"
NANO = "real-cms/l1nano_run380963_2024_100ev.root"
NANOAOD = "real-cms/nanoaod_run315267_2018A_dimuon_40ev.root"
EDM = "edm-l1scouting/testL1Scouting_v3_v3_v3_v3_v3_14_0_0_split_{}.root"
PATTERN = "ugmt-patterns/JPsiToMuMu_Pt20to120_EtaPhiRestricted{}.txt"


def l1(path, **options):
    return concatenate([e.muons for e in read_events(path, **options)])


def bend(muons):
    """hwPhiAtVtx - hwPhi in -288..287."""
    step = muons["hwPhiAtVtx"].astype(int) - muons["hwPhi"]
    return (step + PHI_BINS // 2) % PHI_BINS - PHI_BINS // 2


@pytest.mark.parametrize(("name", "muons"), [(NTUPLE, 60), (NANO, 227)])
def test_hw_charge_1_is_negative(shared_data, name, muons):
    """The GMT adds to phi for positive muons and subtracts for negative ones."""
    batch = l1(shared_data / name)
    assert batch.n_objects == muons
    moved = bend(batch) != 0
    assert moved.sum() > muons // 2
    np.testing.assert_array_equal((bend(batch) < 0)[moved], (batch["hwCharge"] == 1)[moved])


def test_offline_charge_agrees(shared_data):
    (events,) = read_events(shared_data / NANO)
    muons, offline = physical(dict(events.muons.columns)), events.offline
    agree = total = 0
    for k in range(events.muons.n_objects):
        row = events.muons.row[k]
        same = np.flatnonzero(offline.row == row)
        if events.muons["bxInEvent"][k] or events.muons["tfMuonIndex"][k] not in BMTF_INDEX or not same.size:
            continue
        d_phi = np.angle(np.exp(1j * (offline["recoPhi"][same] - muons["phiAtVtx"][k])))
        d_eta = offline["recoEta"][same] - muons["etaAtVtx"][k]
        best = same[np.argmin(d_phi**2 + d_eta**2)]
        if (d_phi**2 + d_eta**2).min() < 0.2**2 and offline["recoPt"][best] > 8:
            total += 1
            agree += (offline["recoCharge"][best] < 0) == (events.muons["hwCharge"][k] == 1)
    assert total > 20
    assert agree / total > 0.9


@pytest.mark.parametrize("name", ["hwPt", "hwEta", "hwPhi", "hwEtaAtVtx", "hwPhiAtVtx"])
def test_hardware_values_recovered_from_real_floats(shared_data, name):
    """The nano file has both: 227 muons, floats with a shortened mantissa."""
    import uproot

    tree = uproot.open(shared_data / NANO)["Events"]
    floats = np.concatenate(tree["L1Mu_" + name[2].lower() + name[3:]].array(library="np"))
    hw = np.concatenate(tree["L1Mu_" + name].array(library="np"))
    np.testing.assert_array_equal(from_physical(name, floats), hw)


def test_ntuple_physics_follows_from_hardware(shared_data):
    import uproot

    tree = uproot.open(shared_data / NTUPLE)["l1UpgradeTree/L1UpgradeTree"]
    phi = np.concatenate(tree["muonPhi"].array(library="np"))
    batch = l1(shared_data / NTUPLE)
    # CMSSW of 2018 took 0.010908 rad for 2 pi / 576: up to 1.9e-4 rad, a 60th of a step
    np.testing.assert_allclose(physical(dict(batch.columns))["phi"], phi, atol=2e-4)
    np.testing.assert_array_equal(from_physical("hwPhi", phi), batch["hwPhi"])
    np.testing.assert_array_equal(lumisection(batch.orbit), batch.lumisection)
    assert l1(shared_data / NTUPLE, emulated=True).n_objects == 16


def test_orbit_collections_split_and_whole_are_the_same(shared_data):
    held = ["muon", "jet", "egamma", "tau", "etsum"]
    assert list(next(iter(read_events(shared_data / EDM.format(0)))).streams) == held
    for kind in held:
        split, whole = (
            concatenate(list(edm.read_objects(shared_data / EDM.format(s), kind))) for s in (99, 0)
        )
        assert list(split.bx) == list(whole.bx)
        assert list(split.columns) == list(whole.columns)
        for name in split.columns:
            np.testing.assert_array_equal(split[name], whole[name])


def test_pattern_carries_final_muons(shared_data):
    batch = l1(shared_data / PATTERN.format("_out"))
    assert (len(batch), batch.n_objects) == (161, 307)
    assert set(batch["hwChargeValid"]) == {1}
    assert (batch["hwPhi"] < PHI_BINS).all()
    assert (batch["tfMuonIndex"] < 36).all()  # made for the positive endcap
    with pytest.raises(InputError, match="no final muons"):
        list(read_events(shared_data / PATTERN.format("")))


def test_nanoaod_and_open_data(shared_data):
    (events,) = read_events(shared_data / NANOAOD)
    assert (events.muons.n_objects, events.offline.n_objects) == (58, 84)
    for name, rows in (("peakdata3", 19519), ("peakdata4", 7915), ("peakdata5", 8270)):
        chunks = list(read_events(shared_data / f"opendata-dimuon/{name}.csv", rows=1000))
        assert sum(len(e.offline) for e in chunks) == rows
        assert len(chunks) > 5


def test_every_file_can_be_described(shared_data):
    described = 0
    for path in sorted(shared_data.rglob("*")):
        if path.name.startswith("Cert_"):  # a list of certified lumisections, not muons
            continue
        if path.suffix in (".root", ".txt", ".lut", ".npz") or path.name.startswith("peakdata"):
            found = describe(path)
            assert found["bytes"] == path.stat().st_size
            described += 1
    assert described >= 60


def test_what_real_files_hold(shared_data):
    nano = describe(shared_data / NANO)
    assert (nano["rows"], nano["final_muons"], nano["offline_muons"], nano["data"]) == (100, 227, 170, None)
    assert nano["era"].startswith("2024")
    assert nano["by_track_finder"]["BMTF"] == 75
    assert nano["invalid_codes"] == {}
    luts = describe(shared_data / "bmtf-luts/kalmanLUTs_v302.root")
    assert {h["class"] for h in luts["histograms"]} == {"TH1D"}
    assert describe(shared_data / EDM.format(0))["streams"]["jet"] == 8
    assert describe(shared_data / EDM.format(0))["data"] == "simulated"
