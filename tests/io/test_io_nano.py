"""Nano files of both flavours, as TTree and RNTuple, in any order: the same muons."""

import json

import awkward as ak
import numpy as np
import pytest
import uproot
from typer.testing import CliRunner

from l1scout.analysis.common.muons import times
from l1scout.cli import make_app
from l1scout.core.orbit_batch import concatenate
from l1scout.core.orbit_data import OrbitData
from l1scout.errors import InputError
from l1scout.io import detect, nano, nano_order, read_events
from l1scout.io.inspect import describe
from l1scout.io.rewrite import add_columns
from nano_files import rewrite


def read(path, **options) -> OrbitData:
    chunks = list(read_events(path, **options))
    offline = [e.offline for e in chunks]
    return OrbitData.of_muons(
        concatenate([e.muons for e in chunks]), None if None in offline else concatenate(offline)
    )


def assert_same(one: OrbitData, two: OrbitData) -> None:
    for a, b in ((one.muons, two.muons), (one.offline, two.offline)):
        assert (a is None) == (b is None)
        if a is None or b is None:
            continue
        assert set(a.columns) == set(b.columns)
        assert (a.n_orbits, a.simulated) == (b.n_orbits, b.simulated)
        for name in ("orbit", "bx", "run", "lumisection", "offsets"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
        for name in a.columns:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def drop(*names):
    return lambda tree, fields: {k: v for k, v in fields.items() if k not in names}


def small(path, charges, more=()):
    """Write a nano file of one muon a row, with no branch that tells its flavour but those of `more`."""
    n = len(charges)
    scalars = {k: np.full(n, 7, np.uint32) for k in ("run", "luminosityBlock", "orbitNumber")}
    scalars["bunchCrossing"] = np.arange(1, n + 1, dtype=np.uint32)
    muons = {"hwPt": np.full(n, 20), "hwCharge": np.asarray(charges), **{name: np.zeros(n) for name in more}}
    with uproot.recreate(path) as file:
        types = dict.fromkeys(scalars, "u4") | {f"L1Mu_{k}": "var * int16" for k in muons}
        data = {f"L1Mu_{k}": ak.unflatten(v.astype(np.int16), np.ones(n, int)) for k, v in muons.items()}
        file.mktree("Events", types).extend(scalars | data)
    return path


# flavours


@pytest.mark.parametrize("gone", [("event",), ("event", "L1Mu_bx"), ("event", "Muon_pt")])
def test_dpg_nano_needs_no_branch_event(samples, truth, tmp_path, gone):
    path = rewrite(samples["DPG_NANO"], tmp_path / "skim.root", drop(*gone))
    assert detect(path).name == "dpg-nano"
    events = read(path)
    np.testing.assert_array_equal(events.muons["hwCharge"], truth.muons["hwCharge"])
    if "Muon_pt" not in gone:
        np.testing.assert_array_equal(events.offline["recoPt"], truth.reco["recoPt"])
        np.testing.assert_array_equal(events.offline["recoCharge"], truth.reco["recoCharge"])


def test_scouting_nano_may_have_a_branch_event(samples, truth, tmp_path):
    def add(tree, fields):
        return fields | ({"event": np.arange(40, dtype=np.uint64)} if tree == "Events" else {})

    path = rewrite(samples["SCOUTING_NANO"], tmp_path / "event.root", add)
    assert detect(path).name == "scouting-nano"
    assert_same(read(path), read(samples["SCOUTING_NANO"]))
    seen = []

    def compute(columns):
        seen.append(columns["hwCharge"])
        return {"L1Mu_x": columns["hwPt"].astype(np.float32)}

    add_columns(path, tmp_path / "out.root", compute)
    np.testing.assert_array_equal(np.concatenate(seen), truth.muons["hwCharge"])


def test_charges_alone_tell_the_flavour(tmp_path):
    signs = small(tmp_path / "signs.root", [1, 1, -1])
    bits = small(tmp_path / "bits.root", [0] + [1] * 20)
    assert (detect(signs).name, detect(bits).name) == ("scouting-nano", "dpg-nano")
    assert read(signs).muons["hwCharge"].tolist() == [0, 0, 1]
    assert read(bits).muons["hwCharge"].tolist() == [0] + [1] * 20


def test_the_whole_file_is_looked_at(tmp_path, monkeypatch):
    monkeypatch.setattr(nano, "_SCAN", 4)
    assert detect(small(tmp_path / "late.root", [1] * 30 + [-1])).name == "scouting-nano"


@pytest.mark.parametrize(
    ("charges", "more"),
    [
        ([0, 1, 1], ()),  # both kinds have such files
        ([1] * 50, ()),
        ([0] * 50, ()),
        ([1, -1, 1], ("bx",)),  # signs, but a branch of L1-DPG nano
    ],
)
def test_what_is_ambiguous_is_refused(tmp_path, charges, more):
    path = small(tmp_path / "nano.root", charges, more)
    for use in (detect, read_events, describe, lambda p: add_columns(p, tmp_path / "out.root", dict)):
        with pytest.raises(InputError, match="--flavour dpg or --flavour scouting") as error:
            use(path)
        assert str(error.value).startswith(f"{path}: not clear whether hwCharge")
        assert "\n" not in str(error.value)
    as_signs = read(path, flavour="scouting").muons
    assert as_signs["hwCharge"].tolist() == [int(c < 0) for c in charges]
    assert as_signs["hwChargeValid"].tolist() == [int(c != 0) for c in charges]
    if -1 in charges:
        with pytest.raises(InputError, match=r"-1\.\.1, which is not the bit"):
            read(path, flavour="dpg")
    else:
        assert read(path, flavour="dpg").muons["hwCharge"].tolist() == charges


def test_signs_beside_the_orbits_of_lumisections(samples, tmp_path):
    """Bits in a file that counts its orbits contradict each other."""
    path = rewrite(
        samples["SCOUTING_NANO"],
        tmp_path / "bits.root",
        lambda tree, f: (
            f if tree != "Events" else f | {"L1Mu_hwCharge": (f["L1Mu_hwCharge"] < 0) * np.int16(1)}
        ),
    )
    with pytest.raises(InputError, match=r"scouting nano: LuminosityBlocks\.nOrbits"):
        detect(path)


def test_only_nano_files_have_a_flavour(samples):
    with pytest.raises(
        InputError, match="L1Ntuple has no option flavour; it is an option of L1 scouting nano, L1-DPG nano"
    ):
        read_events(samples["L1NTUPLE"], flavour="dpg")
    with pytest.raises(InputError, match="unknown flavour vanilla"):
        read_events(samples["DPG_NANO"], flavour="vanilla")


def test_commands_take_a_flavour(tmp_path):
    path = small(tmp_path / "nano.root", [0, 1, 1])
    run = CliRunner().invoke
    refused = run(make_app(), ["inspect", str(path)])
    assert isinstance(refused.exception, InputError)
    shown = run(make_app(), ["inspect", "--flavour", "scouting", str(path)])
    assert shown.exit_code == 0
    assert "L1 scouting nano" in shown.stdout
    assert " ".join(shown.stdout.split()).count("charge not valid 1 ") == 1
    for command in ("masses", "occupancy"):
        assert isinstance(run(make_app(), ["analyse", command, str(path)]).exception, InputError)
    done = run(make_app(), ["analyse", "occupancy", str(path), "--flavour", "dpg", "--json"])
    assert "which this analysis needs" in str(done.exception)  # it was read, but lacks it


def test_analyses_take_a_flavour(samples, tmp_path):
    """Of one charge only, and without the branches that tell."""

    def change(tree, fields):
        plain = ("hwPt", "hwEtaAtVtx", "hwPhiAtVtx", "hwEta", "hwPhi", "hwQual", "tfMuonIndex")
        kept = {
            k: v for k, v in fields.items() if k.removeprefix("L1Mu_") in (*plain, "bunchCrossing", "run")
        }
        kept |= {k: fields[k] for k in ("luminosityBlock", "orbitNumber")}
        return kept | {"L1Mu_hwCharge": ak.ones_like(fields["L1Mu_hwCharge"])}

    path = rewrite(samples["DPG_NANO"], tmp_path / "nano.root", change)
    run = CliRunner().invoke
    arguments = ["analyse", "masses", str(path), "--all", "--max-eta", "9", "--min-pair-pt", "0", "--json"]
    assert isinstance(run(make_app(), arguments).exception, InputError)
    for flavour in ("dpg", "scouting"):
        found = run(make_app(), [*arguments, "--flavour", flavour])
        assert found.exit_code == 0, found.output
        assert json.loads(found.stdout)["rows"] == 40


def test_an_ntuple_holds_signs(tmp_path, samples):
    def bits(tree, fields):
        return {k: (v < 0) * np.int16(1) if k == "muonChg" else v for k, v in fields.items() if k[:2] != "nm"}

    path = tmp_path / "ntuple.root"
    with uproot.open(samples["L1NTUPLE"]) as old, uproot.recreate(path) as new:
        for name, kind in old.classnames().items():
            if kind == "TTree":
                arrays = {k: old[name][k].array() for k in old[name].keys() if k[0] != "n"}  # noqa: SIM118
                new.mktree(name.split(";")[0], bits(name, arrays))
    with pytest.raises(InputError, match="muonChg holds 0 and 1 but never -1"):
        list(read_events(path))


# RNTuple


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("kind", ["DPG_NANO", "SCOUTING_NANO", "NANOAOD"])
def test_rntuple_is_read_like_a_ttree(samples, tmp_path, kind, nested):
    path = rewrite(samples[kind], tmp_path / "rntuple.root", rntuple=True, nested=nested)
    with uproot.open(path) as file:
        assert file.classnames()["Events;1"] == "ROOT::RNTuple"
    assert detect(path).name == kind.lower().replace("_", "-")
    for rows in (7, 1000):
        assert_same(read(path, rows=rows), read(samples[kind], rows=rows))
    found, like = describe(path), describe(samples[kind])
    same = ("rows", "data", "era", "runs", "lumisections", "orbits", "bx", "final_muons", "offline_muons")
    assert {k: found[k] for k in same} == {k: like[k] for k in same}
    assert {tree["type"] for tree in found["trees"]} == {"ROOT::RNTuple"}


def test_rntuple_of_simulation_and_its_identification(samples, tmp_path):
    def change(tree, fields):
        n = ak.num(fields["Muon_pt"])
        medium = ak.unflatten(np.arange(ak.sum(n)) % 3 == 0, n)
        return fields | {"genWeight": np.ones(40, np.float32), "Muon_mediumId": medium}

    path = rewrite(samples["NANOAOD"], tmp_path / "mc.root", change, rntuple=True)
    events = read(path)
    assert events.muons.simulated is True
    np.testing.assert_array_equal(events.offline["recoId"], np.arange(events.offline.n_objects) % 3 == 0)
    assert set(events.muons.run) == {320040}
    assert set(events.muons.lumisection) == {77}


def test_rntuple_fields_are_not_searched_one_by_one(samples, tmp_path, monkeypatch):
    """uproot lists all fields of an RNTuple in a time that grows with the square of their number."""
    path = rewrite(samples["DPG_NANO"], tmp_path / "rntuple.root", rntuple=True)
    fields = uproot.behaviors.RNTuple.HasFields
    listing = fields.iteritems

    def iteritems(self, **options):
        assert self.ntuple is not self, "lists all fields"
        return listing(self, **options)

    monkeypatch.setattr(fields, "iteritems", iteritems)
    describe(path)


def test_offline_rntuple_without_run(tmp_path, truth):
    fields = {"Muon_" + n.removeprefix("reco").lower(): truth.reco_jagged(v) for n, v in truth.reco.items()}
    with uproot.recreate(tmp_path / "muons.root") as file:
        file.mkrntuple("Events", fields)
    events = read(tmp_path / "muons.root")
    for name, values in truth.reco.items():
        np.testing.assert_array_equal(events.offline[name], values)
    assert (events.muons.n_objects, set(events.muons.run), events.muons.simulated) == (0, {0}, None)
    del fields["Muon_charge"]
    with uproot.recreate(tmp_path / "half.root") as file:
        file.mkrntuple("Events", fields)
    with pytest.raises(InputError, match="offline muons without Muon_charge"):
        read(tmp_path / "half.root")


def test_rntuple_cannot_get_columns(samples, tmp_path):
    path = rewrite(samples["SCOUTING_NANO"], tmp_path / "rntuple.root", rntuple=True)
    with pytest.raises(InputError, match=r"Events is an RNTuple.*write the file as a TTree first") as error:
        add_columns(path, tmp_path / "out.root", lambda c: {"x": c["hwPt"].astype(np.float32)})
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out.root").exists()


def test_damaged_list_of_pages_is_refused(samples, tmp_path):
    """It says how much is to be read, and uproot does not look at its checksum."""
    with uproot.open(samples["RNTUPLE"]) as file:
        locator = file["Events"].footer.cluster_group_records[0].page_list_link.locator
    raw = bytearray(samples["RNTUPLE"].read_bytes())
    raw[locator.offset + locator.num_bytes // 2] ^= 1
    (tmp_path / "damaged.root").write_bytes(raw)
    with pytest.raises(InputError, match="list of pages of an RNTuple does not match its checksum"):
        detect(tmp_path / "damaged.root")


def test_real_rntuples(shared_data):
    (path,) = (shared_data / "more").glob("cmsopendata2015*.root")
    found, events = describe(path), read(path)
    assert (found["rows"], found["data"], found["runs"], found["lumisections"]) == (10, "simulated", [1], 1)
    assert events.offline.counts.tolist() == [0, 1, 0, 2, 1, 0, 0, 0, 2, 0]
    assert "recoId" in events.offline.columns
    (path,) = (shared_data / "opendata-dimuon").glob("*.root")
    events = read(path)
    assert (len(events.muons), events.muons.n_objects) == (1000, 0)
    assert events.offline.n_objects > 1000


# order of time


def shuffled(seed, rows=40):
    return np.random.default_rng(seed).permutation(rows)


@pytest.mark.parametrize("rows", [9, 1000])
def test_scouting_rows_come_in_order_of_time(samples, tmp_path, rows):
    order = shuffled(1)
    path = rewrite(
        samples["SCOUTING_NANO"],
        tmp_path / "mixed.root",
        lambda tree, fields: {k: v[order] for k, v in fields.items()} if tree == "Events" else fields,
    )
    assert_same(read(path, rows=rows), read(samples["SCOUTING_NANO"], rows=rows))
    assert (np.diff(times(read(path).muons)) >= 0).all()
    out = tmp_path / "out.root"
    add_columns(path, out, lambda columns: {"L1Mu_x": columns["hwPt"].astype(np.float32)})
    with uproot.open(path) as old, uproot.open(out) as new:  # the copy keeps the order of the file
        orbit, pt = (old["Events"][name].array() for name in ("orbitNumber", "L1Mu_pt"))
        assert ak.array_equal(new["Events"]["orbitNumber"].array(), orbit)
        assert ak.array_equal(new["Events"]["L1Mu_x"].array(), pt * 2 + 1)


def test_order_is_that_of_runs_first(tmp_path):
    path = small(tmp_path / "runs.root", [1, -1, 1, -1])
    path = rewrite(path, tmp_path / "two.root", lambda _, f: f | {"run": np.array([8, 7, 8, 7], np.uint32)})
    l1 = read(path).muons
    assert (l1.run.tolist(), l1.bx.tolist()) == ([7, 7, 8, 8], [2, 4, 1, 3])
    assert l1["hwCharge"].tolist() == [1, 1, 0, 0]


def test_a_crossing_twice_is_refused(samples, tmp_path):
    rows = np.r_[np.arange(40), 17]
    path = rewrite(
        samples["SCOUTING_NANO"],
        tmp_path / "twice.root",
        lambda tree, fields: {k: v[rows] for k, v in fields.items()} if tree == "Events" else fields,
    )
    with pytest.raises(InputError, match=r"run 320040, orbit \d+, BX \d+ has more than one row"):
        list(read_events(path))


def test_too_many_rows_to_sort(samples, tmp_path, monkeypatch):
    order = shuffled(2)
    path = rewrite(
        samples["SCOUTING_NANO"],
        tmp_path / "mixed.root",
        lambda tree, fields: {k: v[order] for k, v in fields.items()} if tree == "Events" else fields,
    )
    monkeypatch.setattr(nano_order, "MAX_SORTED_ROWS", 39)
    with pytest.raises(InputError, match="40 rows are not in order of run, orbit and BX, and more than 39"):
        list(read_events(path))
    list(read_events(samples["SCOUTING_NANO"]))


@pytest.mark.parametrize("orbits", [-5, 1 << 62, float("nan")])
def test_impossible_orbits_of_a_lumisection(shared_cases, tmp_path, orbits):
    def change(tree, fields):
        count = len(next(iter(fields.values())))
        return fields | {"nOrbits": ak.Array([orbits] * count)} if tree == "LuminosityBlocks" else fields

    path = rewrite(shared_cases / "02_scouting_nano.root", tmp_path / "n.root", change)
    with pytest.raises(InputError, match=r"nOrbits of a lumisection is .*: damaged"):
        detect(path)
