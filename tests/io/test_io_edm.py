"""OrbitCollections that CMSSW wrote whole: blobs made by hand."""

import struct

import awkward as ak
import numpy as np
import pytest
import uproot

from conftest import write_edm
from l1scout.errors import InputError
from l1scout.formats.stream import STREAMS
from l1scout.io import describe, read_events
from l1scout.io.readers import orbit_collection as edm

MEMBERS = ["hwPt_", "hwEta_"]


def blob(offsets, values, *, version=0x4009, element_version=3, n=None) -> bytes:
    values = np.asarray(values, ">i4")
    dense = np.asarray(offsets, ">u4")
    out = struct.pack(">IHIHI", 0x40000000, 3, 0x40000000, 9, len(dense)) + dense.tobytes()
    n = values.shape[1] if n is None else n
    return out + struct.pack(">IHHI", 0x40000000, version, element_version, n) + values.tobytes()


def dense(*filled):
    counts = np.zeros(3565, np.int64)
    np.add.at(counts, list(filled), 1)
    return np.r_[0, np.cumsum(counts)]


def test_whole_collection_is_cut():
    offsets, columns = edm.cut_collection(blob(dense(5, 5, 3564), [[1, 2, 3], [-1, -2, -3]]), MEMBERS)
    np.testing.assert_array_equal(offsets, dense(5, 5, 3564))
    assert {k: v.tolist() for k, v in columns.items()} == {"hwPt_": [1, 2, 3], "hwEta_": [-1, -2, -3]}


def test_empty_collection():
    _, columns = edm.cut_collection(blob(dense(), np.zeros((2, 0))), MEMBERS)
    assert columns["hwPt_"].size == 0


@pytest.mark.parametrize(
    ("bytes_", "text"),
    [
        (b"", "too short"),
        (blob(dense(5), [[1], [2]])[:14000], "too short"),
        (blob(dense(5)[:-1], np.zeros((2, 100))), "3565 offsets"),
        (blob(dense(5), [[1], [2]])[:-1], "do not agree"),
        (blob(dense(5), [[1], [2]], n=2**32 - 1), "do not agree"),
        (blob(dense(5), [[1], [2]], version=9), "object by object"),
        (blob(dense(5), [[1], [2]], element_version=0), "object by object"),
    ],
)
def test_anything_else_is_refused(bytes_, text):
    with pytest.raises(InputError, match=text):
        edm.cut_collection(bytes_, MEMBERS)


def test_unknown_and_missing_kinds_are_refused(samples):
    with pytest.raises(InputError, match="there are muon, jet"):
        next(edm.read_objects(samples["ORBIT_COLLECTION"], "bananas"))
    with pytest.raises(InputError, match="holds no jets; it has muon"):
        next(edm.read_objects(samples["ORBIT_COLLECTION"], "jet"))


def write_orbits(path, truth, orbits):
    """Write the two orbits of a sample again, in the given order of its entries."""
    write_edm(path, truth)
    with uproot.open(path) as file:
        tree = file["Events"]
        data = {name: tree[name].array()[orbits] for name in tree.keys() if name[0] != "n"}  # noqa: SIM118
    with uproot.recreate(path) as file:
        file.mktree("Events", {k: v.type.content for k, v in data.items()}).extend(data)
    return path


def test_charge_and_its_validity_are_two_members(samples, truth, tmp_path):
    """``hwChrg_`` is the bit, ``hwChrgv_`` says whether it was measured, as in CMSSW's Muon."""
    path, base = tmp_path / "valid.root", "l1ScoutingRun3MuonOrbitCollection_unpacker__TEST.obj.data_."
    with uproot.open(samples["ORBIT_COLLECTION"]) as file:
        tree = file["Events"]
        data = {name: tree[name].array() for name in tree.keys() if name[0] != "n"}  # noqa: SIM118
    charge = data[base + "hwChrg_"]
    valid = ak.unflatten(np.arange(ak.sum(ak.num(charge))) % 3 != 0, ak.num(charge))
    data[base + "hwChrgv_"] = ak.values_astype(valid, np.int32)
    with uproot.recreate(path) as file:
        file.mktree("Events", {k: v.type.content for k, v in data.items()}).extend(data)
    (batch,) = edm.read_objects(path)
    np.testing.assert_array_equal(batch["hwCharge"], truth.muons["hwCharge"])
    np.testing.assert_array_equal(batch["hwChargeValid"], np.arange(batch.n_objects) % 3 != 0)


def test_orbits_come_in_order_of_time(samples, truth, tmp_path):
    path = write_orbits(tmp_path / "mixed.root", truth, [1, 0])
    (batch,) = edm.read_objects(path, rows=1)
    (like,) = edm.read_objects(samples["ORBIT_COLLECTION"])
    for name in ("orbit", "bx", "offsets", "run"):
        np.testing.assert_array_equal(getattr(batch, name), getattr(like, name))
    np.testing.assert_array_equal(batch["hwPt"], like["hwPt"])
    assert batch.n_orbits == 2


def test_an_orbit_twice_is_refused(truth, tmp_path):
    path = write_orbits(tmp_path / "twice.root", truth, [0, 1, 0])
    with pytest.raises(InputError, match="run 320040, orbit 1000 is in more than one entry"):
        next(edm.read_objects(path))


def test_too_many_orbits_to_sort(truth, tmp_path, monkeypatch):
    monkeypatch.setattr(edm, "MAX_SORTED_ORBITS", 1)
    path = write_orbits(tmp_path / "mixed.root", truth, [1, 0])
    with pytest.raises(InputError, match="its 2 orbits are not in order, and more than 1 are not sorted"):
        next(edm.read_objects(path))


def test_every_class_of_objects_is_read(samples, tmp_path):
    """Members as CMSSW's l1ScoutingRun3 has them; all of a file's collections come together."""
    members = {
        "Jet": "hwEt_ hwEta_ hwPhi_ hwIso_",
        "BMTFStub": "hwPhi_ hwPhiB_ hwQual_ hwEta_ hwQEta_ station_ wheel_ sector_ tag_",
        "CaloTower": "hwEt_ erBits_ miscBits_ hwEta_ hwPhi_",
        "BxSums": " ".join(f"{name}_" for name in STREAMS["etsum"].empty().columns),
    }
    with uproot.open(samples["ORBIT_COLLECTION"]) as file:
        tree = file["Events"]
        data = {name: tree[name].array() for name in tree.keys() if name[0] != "n"}  # noqa: SIM118
    bx = [7, 7, 3564]
    for k, (kind, names) in enumerate(members.items()):
        base = f"l1ScoutingRun3{kind}OrbitCollection_unpacker__TEST.obj."
        data[base + "bxOffsets_"] = ak.values_astype(ak.Array([dense(*bx), dense(*bx)]), np.uint32)
        for m, name in enumerate(names.split()):
            values = [[100 * k + m + 1, 2, 0], [3, 4, 5]]
            data[base + "data_." + name] = ak.values_astype(ak.Array(values), np.int32)
    path = tmp_path / "all.root"
    with uproot.recreate(path) as file:
        file.mktree("Events", {k: v.type.content for k, v in data.items()}).extend(data)
    (found,) = read_events(path)
    assert set(found.streams) == {"muon", "jet", "stub", "tower", "etsum"}
    for name, batch in found.streams.items():
        assert set(batch.columns) <= set(STREAMS[name].empty().columns)
        assert (batch.n_orbits, batch.first_orbit) == (found.muons.n_orbits, found.muons.first_orbit)
    jets = found.streams["jet"]
    assert jets["hwPt"].tolist() == [1, 2, 0, 3, 4, 5]
    assert jets["hwQual"][0] == 4
    assert (jets.bx.tolist(), jets.counts.tolist()) == ([7, 3564] * 2, [2, 1] * 2)
    assert found.streams["stub"]["sector"][0] == 108
    assert found.streams["tower"]["hwPhi"][0] == 205
    sums = found.streams["etsum"]
    assert len(sums) == 3  # sums of zeros are none
    assert describe(path)["streams"]["tower"] == 6
