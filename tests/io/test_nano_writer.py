"""Nano files of all streams: written and read as TTree and RNTuple, with CMS's tables and branches."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import uproot
from hypothesis import given, settings
from hypothesis import strategies as st

from l1scout.core.orbit_batch import OrbitBatch, concatenate
from l1scout.core.orbit_data import OrbitData, Origin
from l1scout.errors import InputError
from l1scout.formats.calo_objects import cmssw_phi
from l1scout.formats.nano_table import shorten
from l1scout.formats.stream import STREAMS
from l1scout.io import describe, detect, read_events
from l1scout.io.nano_writer import NanoOptions, write_nano
from stream_rows import RUN, objects

TABLES = [name for name, stream in STREAMS.items() if stream.nano is not None]
CMS = [name for name in TABLES if STREAMS[name].nano.cms]
BRANCHES = {
    "L1Mu": "pt eta phi ptUnconstrained etaAtVtx phiAtVtx hwCharge hwQual tfMuonIndex hwDXY",
    "L1EG": "pt eta phi hwIso",
    "L1Tau": "pt eta phi hwIso",
    "L1Jet": "pt eta phi hwQual",
    "L1EtSum": "pt phi etSumType",
    "L1BMTFStub": "hwPhi hwPhiB hwQual hwEta hwQEta station wheel sector tag",
    "L1CaloTower": "pt eta phi erBits miscBits",
}
"""Of CMSSW 17_0, from ../shared/streams.md 2.2."""
HARDWARE = {
    "L1Mu": "hwPt hwEta hwPhi hwPtUnconstrained hwEtaAtVtx hwPhiAtVtx",
    **dict.fromkeys(("L1EG", "L1Tau", "L1Jet"), "hwPt hwEta hwPhi"),
    "L1CaloTower": "hwEt hwEta hwPhi",
    "L1EtSum": "hwEt hwPhi",
}


def every(seed=1, sensible=True, **rest):
    rng = np.random.default_rng(seed)
    streams = {name: objects(name, rng, sensible=sensible, **rest) for name in TABLES}
    return OrbitData(streams, None, Origin("truth", 7, "1.2"))


def read(path, rows=1000, **options):
    chunks = list(read_events(path, rows=rows, **options))
    streams = {name: concatenate([c.streams[name] for c in chunks]) for name in chunks[0].streams}
    flags = [c.selections for c in chunks]
    return OrbitData(streams, None, chunks[0].origin, None if None in flags else concatenate(flags))


def same(found, expected, columns):
    found = found.take(np.flatnonzero(found.counts))
    for name in ("run", "lumisection", "orbit", "bx", "offsets"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
    for name in columns:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


@pytest.mark.parametrize("rntuple", [False, True])
def test_all_hardware_columns_come_back_over_their_full_ranges(tmp_path, rntuple):
    data, path = every(sensible=False), tmp_path / "nano.root"
    done = write_nano([data], path, NanoOptions(rntuple=rntuple, hardware=True))
    assert detect(path).name == "scouting-nano"
    found = read(path, rows=70)
    assert set(found.streams) == set(TABLES)
    for name, batch in data.streams.items():
        same(found.streams[name], batch, set(batch.columns) - {"intermediate"})
        assert found.streams[name].simulated is True
        assert done.objects[name] == batch.n_objects
    assert (done.orbits, found.muons.n_orbits, found.origin.seed) == (300, 300, 7)
    assert describe(path)["streams"]["jet"] == data.streams["jet"].n_objects
    with uproot.open(path) as file:
        kinds = {file.classnames()[f"{tree};1"] for tree in ("Events", "LuminosityBlocks", "Runs")}
    assert kinds == {"ROOT::RNTuple" if rntuple else "TTree"}


@pytest.mark.parametrize("exact", [False, True])
def test_branches_of_cms_alone_give_the_hardware_values_back(tmp_path, exact):
    """But for columns that CMS does not write."""
    data, path = every(2), tmp_path / "nano.root"
    write_nano([data], path, NanoOptions(exact=exact))
    found = read(path)
    gone = {
        "muon": {"hwIso", "hwChargeValid", "shower", "second", "intermediate"},
        "jet": {"hwDisplaced"},
        "stub": {"valid"},
    }
    for name, batch in data.streams.items():
        same(found.streams[name], batch, set(batch.columns) - gone.get(name, set()))
        assert not gone.get(name, set()) - {"hwChargeValid"} & set(found.streams[name].columns)


def test_tables_and_branches_are_those_of_cms(tmp_path):
    data = every(3)
    for name, hardware in (("default", False), ("hardware", True)):
        write_nano([data], tmp_path / name, NanoOptions(hardware=hardware))
        with uproot.open(tmp_path / name) as file:
            assert {n for n in file.keys(cycle=False) if n[0].isupper()} == {
                "Events",
                "LuminosityBlocks",
                "Runs",
            }
            branches = {b.name: b.typename for b in file["Events"].branches}
            assert set(file["LuminosityBlocks"].keys()) == {"run", "luminosityBlock", "nOrbits"}
            assert file["Runs"]["run"].array().tolist() == [RUN]
            assert file.file.compression.name == "ZLIB"
        for event in ("run", "luminosityBlock", "bunchCrossing", "orbitNumber"):
            assert branches[event] == "uint32_t"
        for table, members in BRANCHES.items():
            there = {b.partition("_")[2] for b in branches if b.startswith(table + "_")}
            assert there >= set(members.split()), table
            if hardware:
                assert there >= set(HARDWARE.get(table, "").split()), table
            else:
                assert there == set(members.split()), table
        for branch, kind in {
            **{"L1Mu_pt": "float[]", "L1Mu_hwCharge": "int16_t[]", "L1Mu_tfMuonIndex": "uint16_t[]"},
            **{"L1Mu_hwDXY": "uint16_t[]", "L1EtSum_etSumType": "int32_t[]", "L1Jet_hwQual": "int16_t[]"},
        }.items():
            assert branches[branch] == kind


def test_what_cms_reads(tmp_path):
    """Values by hand: the sign of the charge, phi of CMSSW, a row per sum, shortened towers."""
    data, path = every(4), tmp_path / "nano.root"
    write_nano([data], path)
    with uproot.open(path) as file:
        events = {n: file["Events"][n].array() for n in file["Events"].keys()}  # noqa: SIM118

    def flat(name):
        return np.asarray(np.concatenate([np.asarray(x) for x in events[name]]))

    muons, jets, towers, sums = (data.streams[n] for n in ("muon", "jet", "tower", "etsum"))
    np.testing.assert_array_equal(flat("L1Mu_hwCharge"), 1 - 2 * muons["hwCharge"])
    np.testing.assert_allclose(flat("L1Mu_pt"), 0.5 * (muons["hwPt"] - 1))
    np.testing.assert_allclose(flat("L1Mu_ptUnconstrained"), muons["hwPtUnconstrained"] - 1.0)
    np.testing.assert_array_equal(flat("L1Jet_phi"), cmssw_phi(jets["hwPhi"]))
    np.testing.assert_allclose(flat("L1Jet_pt"), 0.5 * jets["hwPt"])
    kinds = flat("L1EtSum_etSumType").reshape(-1, 17)
    pt, phi = flat("L1EtSum_pt").reshape(-1, 17), flat("L1EtSum_phi").reshape(-1, 17)
    for kind, column, scale in ((0, "hwTotalEt", 0.5), (8, "hwMissEtHF", 0.5), (21, "towerCount", 1)):
        np.testing.assert_allclose(pt[kinds == kind], scale * sums[column])
    for kind, column, scale in ((23, "hwAsymEt", 0.5), (14, "minBiasHFM1", 1), (22, "centrality", 1)):
        np.testing.assert_allclose(pt[kinds == kind], scale * sums[column])
    np.testing.assert_array_equal(
        phi[kinds == 2], np.where(sums["hwMissEt"] > 0, cmssw_phi(sums["hwMissEtPhi"]), 0)
    )
    assert not phi[(kinds != 2) & (kinds != 3) & (kinds != 8) & (kinds != 20)].any()
    exact = STREAMS["tower"].physics(towers.columns)["phi"]
    assert (flat("L1CaloTower_phi").view(np.uint32) & 0x1FFF == 0).all()
    np.testing.assert_allclose(flat("L1CaloTower_phi"), exact, rtol=2**-11)
    write_nano([data], path, NanoOptions(exact=True))
    with uproot.open(path) as file:
        phi = np.concatenate([np.asarray(x) for x in file["Events"]["L1Jet_phi"].array()])
    np.testing.assert_allclose(phi, STREAMS["jet"].physics(jets.columns)["phi"])


def test_shortened_mantissas_are_those_of_cmssw():
    """1 + 3 x 2^-11 is halfway between two of 10 bits and goes up; a mantissa full of ones is cut."""
    values = np.array([1 + 3 * 2**-11, 1 + 2**-12, 2 - 2**-12, 0, -(1 + 2**-11)], np.float32)
    assert shorten(values, 10).tolist() == [1 + 2 * 2**-10, 1, 2 - 2**-10, 0, -(1 + 2**-10)]
    assert shorten(np.array([math.pi], np.float32), 10).tolist() == [3.140625]


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 1 << 30), parts=st.integers(1, 5), rntuple=st.booleans(), hardware=st.booleans())
def test_any_objects_in_any_chunks(tmp_path_factory, seed, parts, rntuple, hardware):
    data, path = every(seed, rows=12), tmp_path_factory.mktemp("nano") / "nano.root"
    cuts = [262_000 + 300 * k // parts for k in range(1, parts)]
    chunks, rest = [], data.streams
    for cut in cuts:
        halves = {name: batch.cut(cut) for name, batch in rest.items()}
        chunks.append(replace(data, streams={name: both[0] for name, both in halves.items()}))
        rest = {name: both[1] for name, both in halves.items()}
    write_nano([*chunks, replace(data, streams=rest)], path, NanoOptions(rntuple, hardware))
    found = read(path, rows=17)
    for name in CMS:
        kept = {"hwPt", "hwEta", "hwPhi", "hwQual", "hwTotalEt", "hwMissHtHFPhi", "hwEt", "wheel"}
        same(found.streams[name], data.streams[name], kept & set(data.streams[name].columns))
    with uproot.open(path) as file:
        blocks = file["LuminosityBlocks"].arrays(library="np")
    assert blocks["luminosityBlock"].tolist() == [1, 2]
    assert blocks["nOrbits"].tolist() == [2**18 - 262_000, 300 - (2**18 - 262_000)]


def test_orbits_that_are_not_stated_one_by_one(tmp_path):
    """Those without objects count for the lumisection of the crossing before them."""
    data = every(5)
    streams = {name: replace(batch, first_orbit=None) for name, batch in data.streams.items()}
    write_nano([replace(data, streams=streams)], tmp_path / "a")
    with uproot.open(tmp_path / "a") as file:
        assert file["LuminosityBlocks"]["nOrbits"].array().tolist()[0] < 2**18 - 262_000
        assert sum(file["LuminosityBlocks"]["nOrbits"].array()) == 300
    streams = {name: replace(batch, n_orbits=None) for name, batch in streams.items()}
    write_nano([replace(data, streams=streams)], tmp_path / "b")
    with uproot.open(tmp_path / "b") as file:
        assert set(file["LuminosityBlocks"].keys()) == {"run", "luminosityBlock"}
    assert read(tmp_path / "b").muons.n_orbits is None


def test_orbits_before_the_first_crossing_are_of_its_run(tmp_path):
    jets = every(5).streams["jet"]
    for first in (261_000, None):
        early = replace(STREAMS["jet"].empty(), n_orbits=1000, first_orbit=first)
        write_nano([OrbitData({"jet": early}), OrbitData({"jet": jets})], tmp_path / "a")
        with uproot.open(tmp_path / "a") as file:
            blocks = file["LuminosityBlocks"].arrays(library="np")
        assert blocks["run"].tolist() == [RUN, RUN]
        assert blocks["nOrbits"].tolist() == [2**18 - 261_000, 300 - (2**18 - 262_000)]


def test_flags_of_selections_are_kept(tmp_path):
    data = every(6)
    jets = data.streams["jet"]
    flags = OrbitBatch(
        jets.orbit,
        jets.bx,
        np.arange(len(jets) + 1),
        {
            "SelBx_DijetEt30": np.arange(len(jets)) % 2 == 0,
            "SelBx_SingleMuPt0BMTF": np.arange(len(jets)) % 3 == 0,
        },
        run=jets.run,
        lumisection=jets.lumisection,
    )
    one, two = tmp_path / "one.root", tmp_path / "two.root"
    write_nano([replace(data, selections=flags)], one)
    write_nano(read_events(one, rows=33), two, NanoOptions(rntuple=True))
    for path in (one, two):
        found = read(path, rows=41).selections
        for name, values in flags.columns.items():
            on = found[name]
            assert found.orbit[on].tolist() == jets.orbit[values].tolist()
            assert found.bx[on].tolist() == jets.bx[values].tolist()
        with uproot.open(path) as file:
            assert file["Events"]["SelBx_DijetEt30"].typename == "bool"


def test_a_stream_without_muons(tmp_path):
    data, path = every(7), tmp_path / "jets.root"
    write_nano([OrbitData({"jet": data.streams["jet"]})], path)
    found = read(path)
    assert set(found.streams) == {"jet"}
    same(found.streams["jet"], data.streams["jet"], ["hwPt", "hwEta", "hwPhi"])
    assert (found.streams["jet"].n_orbits, found.streams["jet"].first_orbit) == (300, 262_000)


def test_only_final_muons_are_written(tmp_path):
    muons = every(8).muons
    muons["intermediate"][::3] = 1
    write_nano([OrbitData({"muon": muons})], tmp_path / "nano.root")
    assert (
        read(tmp_path / "nano.root").muons["hwPt"].tolist()
        == muons["hwPt"][muons["intermediate"] == 0].tolist()
    )


def test_runs_of_a_chunk_are_kept_apart(tmp_path):
    """Their orbits have the same numbers."""
    a, b = every(9).streams["jet"], every(10).streams["jet"]
    b = replace(b, run=b.run + 1)
    write_nano([OrbitData({"jet": concatenate([a, b])})], tmp_path / "nano.root")
    found = read(tmp_path / "nano.root").streams["jet"]
    assert found["hwPt"].tolist() == np.r_[a["hwPt"], b["hwPt"]].tolist()
    assert found.run.tolist() == np.r_[a.run, b.run].tolist()


def test_what_is_refused(tmp_path):
    data, path = every(11), tmp_path / "nano.root"
    jets = data.streams["jet"]
    with pytest.raises(InputError, match="nothing to write"):
        write_nano([], path)
    with pytest.raises(InputError, match="orbitNumber is -1"):
        write_nano([OrbitData({"jet": replace(jets, orbit=jets.orbit * 0 - 1, first_orbit=None)})], path)
    with pytest.raises(InputError, match="change on the way"):
        write_nano([data, OrbitData({"jet": jets})], path)
    assert not path.exists()
    assert not path.with_name("nano.root.part").exists()


def rewritten(tmp_path, change):
    """Write the sums of a file again with other branches."""
    write_nano([OrbitData({"etsum": every(12).streams["etsum"]})], tmp_path / "a", NanoOptions(rntuple=True))
    with uproot.open(tmp_path / "a") as old, uproot.recreate(tmp_path / "b") as new:
        arrays = {f.name: f.array() for f in old["Events"].fields}
        new.mkrntuple("Events", change(arrays))
    return tmp_path / "b"


def test_sums_that_make_no_sense(tmp_path):
    twice = rewritten(tmp_path, lambda a: a | {"L1EtSum_etSumType": a["L1EtSum_etSumType"] * 0})
    with pytest.raises(InputError, match="b: L1EtSum: a crossing has the sum of etSumType 0 twice"):
        list(read_events(twice))
    huge = rewritten(tmp_path, lambda a: a | {"L1EtSum_pt": a["L1EtSum_pt"] * 0 + 1e9})
    with pytest.raises(InputError, match="b: L1EtSum_hwTotalEt holds values that do not fit int16"):
        list(read_events(huge))
    none = rewritten(tmp_path, lambda a: {n: v for n, v in a.items() if n != "L1EtSum_etSumType"})
    with pytest.raises(InputError, match="b: L1EtSum: sums without etSumType"):
        list(read_events(none))


def test_the_mark_is_json(tmp_path):
    data, path = every(13), tmp_path / "nano.root"
    write_nano([data], path)
    with uproot.open(path) as file:
        mark = json.loads(str(file["l1scout_nano"]))
        assert "l1scout_provenance" in file
    assert (mark["simulated"], mark["seed"], mark["streams"]) == (True, 7, TABLES)
