"""Copies with new columns: the new ones are right, the old ones are untouched."""

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot

from l1scout.errors import InputError
from l1scout.formats.streams.muon import PT
from l1scout.io.rewrite import add_columns

ROOT_KINDS = {
    "DPG_NANO": "Events",
    "SCOUTING_NANO": "Events",
    "L1NTUPLE": "l1UpgradeTree/L1UpgradeTree",
}


def compute(columns):
    return {
        "L1Mu_ptRecal": PT.to_physical(columns["hwPt"]).astype(np.float32),
        "L1Mu_isRecal": columns["hwCharge"] == 1,
    }


def assert_same_tree(old, new):
    assert set(old.keys()) <= set(new.keys())
    for name in old.keys():  # noqa: SIM118
        a, b = old[name].array(), new[name].array()
        assert str(a.type) == str(b.type)
        assert ak.array_equal(a, b), name


@pytest.mark.parametrize("rows", [3, 100_000])
@pytest.mark.parametrize("kind", list(ROOT_KINDS))
def test_root_files_get_columns_and_keep_the_rest(samples, truth, tmp_path, kind, rows):
    source, target = samples[kind], tmp_path / "out.root"
    seen = []
    done = add_columns(source, target, compute, rows=rows, progress=lambda n, of: seen.append((n, of)))
    n = len(truth.muons["hwPt"])
    assert (done.rows, done.muons, done.columns) == (40, n, ("L1Mu_ptRecal", "L1Mu_isRecal"))
    assert seen[-1] == (40, 40)
    assert [p.name for p in tmp_path.iterdir()] == ["out.root"]
    with uproot.open(source) as old, uproot.open(target) as new:
        assert old.classnames() | {"l1scout_provenance;1": "TObjString"} == new.classnames()
        for name, class_name in old.classnames().items():
            if class_name == "TTree":
                assert_same_tree(old[name], new[name])
        tree = new[ROOT_KINDS[kind]]
        pt, charge = tree["L1Mu_ptRecal"].array(), tree["L1Mu_isRecal"].array()
        assert str(pt.type) == "40 * var * float32"
        assert str(charge.type) == "40 * var * bool"
        np.testing.assert_array_equal(ak.num(pt), truth.counts)
        if kind == "L1NTUPLE":  # ROOT takes its buffer's size from the leaf of counts
            assert tree["nL1Mu"].member("fLeaves")[0].member("fMaximum") == truth.counts.max()
        np.testing.assert_array_equal(tree["nL1Mu"].array(library="np"), truth.counts)
        np.testing.assert_array_equal(ak.flatten(pt), PT.to_physical(truth.muons["hwPt"]).astype(np.float32))
        np.testing.assert_array_equal(ak.flatten(charge), truth.muons["hwCharge"] == 1)
        np.testing.assert_array_equal(
            ak.flatten(tree["L1Mu_ptRecal"].array(entry_start=17)), ak.flatten(pt[17:])
        )


def objects_changed(source, target):
    """Bytes of the original that changed outside ROOT's own book-keeping, and the key's address."""
    with uproot.open(source) as old:
        root, file = old.file.root_directory, old.file
        kept = [(0, 300), (root.fSeekKeys, root.fNbytesKeys)]  # header, directory, list of keys
        kept += [(file.fSeekInfo, file.fNbytesInfo), (file.fSeekFree, file.fNbytesFree)]
    a, b = (np.frombuffer(path.read_bytes(), np.uint8) for path in (source, target))
    changed = a != b[: a.size]
    for start, size in kept:
        changed[start : start + size] = False
    return np.count_nonzero(changed)


def test_few_bytes_of_the_original_change(samples, tmp_path):
    """Only ROOT's book-keeping and the key's address: everything else is kept bit for bit."""
    source, target = samples["DPG_NANO"], tmp_path / "out.root"
    add_columns(source, target, compute)
    assert objects_changed(source, target) < 40


def test_columns_can_be_added_to_what_was_rewritten(samples, tmp_path):
    once, twice = tmp_path / "once.root", tmp_path / "twice.root"
    add_columns(samples["L1NTUPLE"], once, compute)
    add_columns(once, twice, lambda c: {"L1Mu_double": (c["hwPt"] * 2).astype(np.float32)})
    with uproot.open(once) as old, uproot.open(twice) as new:
        assert_same_tree(old[ROOT_KINDS["L1NTUPLE"]], new[ROOT_KINDS["L1NTUPLE"]])
    with pytest.raises(InputError, match="already has L1Mu_isRecal, L1Mu_ptRecal"):
        add_columns(once, tmp_path / "again.root", compute)
    assert not (tmp_path / "again.root").exists()


def test_rewritten_file_can_be_updated_by_others(samples, tmp_path):
    """The list of free space is right: uproot can write into the file."""
    target = tmp_path / "out.root"
    add_columns(samples["DPG_NANO"], target, compute)
    with uproot.update(target) as file:
        file["note"] = "hello"
    with uproot.open(target) as file:
        assert file["note"] == "hello"
        assert file["Events"]["L1Mu_ptRecal"].array().ndim == 2


def test_new_branches_look_like_their_siblings(samples, tmp_path):
    target = tmp_path / "out.root"
    add_columns(samples["DPG_NANO"], target, compute)
    with uproot.open(target) as file:
        old, new = file["Events"]["L1Mu_pt"], file["Events"]["L1Mu_ptRecal"]
        for name in ("fSplitLevel", "fEntries", "fEntryNumber", "fFirstEntry", "fOffset", "fBasketSize"):
            assert old.member(name) == new.member(name), name
        old_leaf, new_leaf = old.member("fLeaves")[0], new.member("fLeaves")[0]
        assert new_leaf.member("fLeafCount") is old_leaf.member("fLeafCount")
        assert type(old_leaf) is type(new_leaf)
        assert new_leaf.member("fTitle") == "L1Mu_ptRecal[nL1Mu]"
        assert new.member("fBasketEntry")[new.num_baskets] == 40


def test_parquet_gets_columns_and_keeps_the_rest(samples, truth, tmp_path):
    source = tmp_path / "in.parquet"
    table = pq.read_table(samples["PARQUET"])
    table = table.append_column("note", pa.array(["x"] * len(table)))
    pq.write_table(table.replace_schema_metadata({"l1scout": '{"simulated": true}'}), source)
    done = add_columns(source, tmp_path / "out.parquet", compute, rows=7)
    new = pq.read_table(tmp_path / "out.parquet")
    assert new.select(table.column_names).equals(table)
    assert new.schema.metadata[b"l1scout"] == b'{"simulated": true}'
    assert done.muons == len(table)
    np.testing.assert_array_equal(new["L1Mu_isRecal"].to_numpy(), truth.muons["hwCharge"] == 1)


def test_parquet_without_rows(tmp_path):
    source = tmp_path / "in.parquet"
    pq.write_table(pa.table({"hwPt": pa.array([], "int16"), "hwCharge": pa.array([], "int8")}), source)
    add_columns(source, tmp_path / "out.parquet", compute)
    assert pq.read_table(tmp_path / "out.parquet").column_names[-2:] == ["L1Mu_ptRecal", "L1Mu_isRecal"]


def test_input_and_other_formats_are_refused(samples, tmp_path):
    path = tmp_path / "in.root"
    path.write_bytes(samples["DPG_NANO"].read_bytes())
    before = path.read_bytes()
    with pytest.raises(InputError, match="is the input itself"):
        add_columns(path, tmp_path / ".." / tmp_path.name / "in.root", compute)
    assert path.read_bytes() == before
    with pytest.raises(InputError, match="columns can be added"):
        add_columns(samples["NANOAOD"], tmp_path / "out.root", compute)
    with pytest.raises(InputError, match="cannot be written"):
        add_columns(path, samples["PARQUET"] / "out.root", compute)


def test_nothing_is_left_behind_when_it_fails(samples, tmp_path):
    target = tmp_path / "out.root"
    target.write_text("mine")

    def fails(columns):
        msg = "stop"
        raise RuntimeError(msg)

    with pytest.raises(RuntimeError, match="stop"):
        add_columns(samples["DPG_NANO"], target, fails)
    with pytest.raises(TypeError, match="float32"):
        add_columns(samples["DPG_NANO"], target, lambda c: {"x": np.zeros(len(c["hwPt"]))})
    assert [p.name for p in tmp_path.iterdir()] == ["out.root"]
    assert target.read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "tree"),
    [
        ("real-cms/l1nano_run380963_2024_100ev.root", "Events"),
        ("real-cms/l1ntuple_run320040_2018_200ev.root", "l1UpgradeTree/L1UpgradeTree"),
    ],
)
def test_real_files_keep_every_byte_but_the_addresses(shared_data, tmp_path, name, tree):
    source, target = shared_data / name, tmp_path / "out.root"
    done = add_columns(source, target, compute, rows=30)
    assert objects_changed(source, target) < 40
    with uproot.open(source) as old, uproot.open(target) as new:
        assert old.classnames() | {"l1scout_provenance;1": "TObjString"} == new.classnames()
        names = old[tree].keys(recursive=True)
        assert new[tree].keys(recursive=True)[: len(names)] == names
        for branch in names[:: max(1, len(names) // 60)]:
            if not old[tree][branch].keys():
                assert ak.array_equal(old[tree][branch].array(), new[tree][branch].array()), branch
        assert int(ak.sum(ak.num(new[tree]["L1Mu_ptRecal"].array()))) == done.muons


def test_leaf_bytes_are_those_of_root(shared_data):
    """The leaf made for L1Mu_pt is, after its class, the one that ROOT wrote."""
    from l1scout.io.rootbytes import Branch

    with uproot.open(shared_data / "real-cms/l1nano_run380963_2024_100ev.root") as file:
        key = file.key("Events")
        raw = bytes(key.get_uncompressed_chunk_cursor()[0].raw_data)
        branch = file["Events"]["L1Mu_pt"]
        start = branch.cursor.index
        theirs = raw[start : start + branch.num_bytes]
        at = theirs.find(b"L1Mu_pt[nL1Mu]")
        count = int.from_bytes(theirs[at + 14 + 14 : at + 14 + 18], "big")
        ours = Branch("L1Mu_pt", "f4", "nL1Mu").leaf(count)
        body = ours[8 + len(b"TLeafF\0") :]
        assert body in theirs
        assert len(body) == 77
