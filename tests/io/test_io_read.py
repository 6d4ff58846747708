"""Every format gives back the muons that were written into it."""

from pathlib import Path

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot

from l1scout.core.orbit_batch import concatenate
from l1scout.core.orbit_data import OrbitData
from l1scout.errors import InputError
from l1scout.formats.streams.muon import FIELDS, PT
from l1scout.io import columns as io_columns
from l1scout.io import detect, read_events
from l1scout.io.inspect import describe
from l1scout.io.reader import READERS

L1_KINDS = ["L1NTUPLE", "DPG_NANO", "SCOUTING_NANO", "ORBIT_COLLECTION", "PARQUET", "PATTERN"]
OFFLINE_KINDS = ["L1NTUPLE", "DPG_NANO", "NANOAOD", "DIMUON_CSV"]


def read(path: Path, **options) -> OrbitData:
    chunks = list(read_events(path, **options))
    offline = [e.offline for e in chunks]
    return OrbitData.of_muons(
        concatenate([e.muons for e in chunks]),
        None if None in offline else concatenate(offline),
        chunks[0].source,
    )


@pytest.mark.parametrize("kind", [name.upper().replace("-", "_") for name in READERS])
def test_detect_ignores_the_name(samples, kind, tmp_path):
    path = tmp_path / "data.bin"
    path.write_bytes(samples[kind].read_bytes())
    assert detect(path).name == kind.lower().replace("_", "-")
    assert detect(str(path)).name == kind.lower().replace("_", "-")


@pytest.mark.parametrize("kind", L1_KINDS)
@pytest.mark.parametrize("rows", [7, 100_000])
def test_l1_muons_come_back(samples, truth, kind, rows):
    l1 = read(samples[kind], rows=rows).muons
    for name, values in truth.muons.items():
        assert l1[name].dtype == np.int16
        np.testing.assert_array_equal(l1[name], values, err_msg=f"{kind} {name}")


@pytest.mark.parametrize("kind", ["L1NTUPLE", "DPG_NANO", "SCOUTING_NANO"])
def test_rows_come_back(samples, truth, kind):
    l1 = read(samples[kind], rows=11).muons
    np.testing.assert_array_equal(l1.counts, truth.counts)
    np.testing.assert_array_equal(l1.orbit, truth.orbit)
    np.testing.assert_array_equal(l1.bx, truth.bx)
    assert set(l1.run) == {truth.run}
    assert set(l1.lumisection) == {truth.lumisection}
    assert not l1.simulated


@pytest.mark.parametrize("kind", OFFLINE_KINDS)
def test_offline_muons_come_back(samples, truth, kind):
    offline = read(samples[kind], rows=13).offline
    n = len(truth.reco["recoPt"]) // 2 * 2 if kind == "DIMUON_CSV" else None
    for name, values in truth.reco.items():
        np.testing.assert_array_equal(offline[name], values[:n], err_msg=f"{kind} {name}")
    if kind != "DIMUON_CSV":
        np.testing.assert_array_equal(offline.counts, truth.reco_counts)


def test_chunks_have_at_most_so_many_rows(samples):
    for kind in ("L1NTUPLE", "DPG_NANO", "SCOUTING_NANO", "NANOAOD", "PARQUET", "PATTERN"):
        sizes = [len(e.muons) for e in read_events(samples[kind], rows=7)]
        assert len(sizes) > 1
        assert max(sizes) <= 7, kind


def test_orbit_collection_rows(samples, truth):
    l1 = read(samples["ORBIT_COLLECTION"]).muons
    filled = truth.counts > 0
    np.testing.assert_array_equal(l1.counts, truth.counts[filled])
    np.testing.assert_array_equal(l1.orbit, np.repeat([1000, 1001], 20)[filled])
    np.testing.assert_array_equal(l1.bx, np.tile(np.arange(1, 21) * 50, 2)[filled])
    assert (l1.n_orbits, set(l1.run), l1.simulated) == (2, {320040}, False)
    assert len(list(read_events(samples["ORBIT_COLLECTION"], rows=1))) == 2


def test_scouting_orbits_add_up_whatever_the_chunks(samples):
    for rows in (1, 7, 1000):
        shares = [e.muons.n_orbits for e in read_events(samples["SCOUTING_NANO"], rows=rows)]
        assert sum(shares) == 1003
        assert min(shares) > 0


def test_ntuple_has_no_propagation_as_nan(samples):
    eta = read(samples["L1NTUPLE"]).offline["recoEtaSt2"]
    np.testing.assert_array_equal(np.isnan(eta), np.arange(eta.size) % 2 == 1)


def test_nanoaod_says_only_what_it_knows(samples, truth):
    events = read(samples["NANOAOD"])
    assert set(events.muons.columns) == {"hwPt", "hwCharge", "hwChargeValid", "hwIso"}
    np.testing.assert_array_equal(events.muons["hwPt"], truth.muons["hwPt"])
    np.testing.assert_array_equal(events.muons["hwCharge"], truth.muons["hwCharge"])
    assert set(events.muons.orbit) == {io_columns.UNKNOWN_ORBIT}
    assert "recoPhiSt2" not in events.offline.columns


def test_offline_files_have_rows_without_l1_muons(samples):
    l1 = read(samples["DIMUON_CSV"]).muons
    assert l1.n_objects == 0
    assert len(l1) > 0
    assert l1.columns == {}


def test_parquet_pairs_are_rows_of_their_own(samples, truth):
    events = read(samples["PARQUET"], rows=9)
    assert (events.muons.counts == 1).all()
    assert (events.offline.counts == 1).all()


def test_parquet_without_offline_muons_groups_by_crossing(tmp_path):
    path = tmp_path / "scouting.parquet"
    columns = {"hwPt": [5, 6, 7, 8], "hwCharge": [0, 1, 0, 1], "orbit": [3, 3, 3, 4], "bx": [9, 9, 10, 10]}
    pq.write_table(pa.table(columns), path)
    l1 = read(path).muons
    np.testing.assert_array_equal(l1.counts, [2, 1, 1])
    np.testing.assert_array_equal(l1.orbit, [3, 3, 4])
    np.testing.assert_array_equal(l1.bx, [9, 10, 10])


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        ({"hwPt": [1]}, "hwCharge"),
        ({"hwPt": ["a"], "hwCharge": [0]}, "hwPt"),
        ({"hwPt": [1.5], "hwCharge": [0]}, "whole"),
        ({"hwPt": [None], "hwCharge": [0]}, "hwPt"),
        ({"hwPt": [70000], "hwCharge": [0]}, "16 bits"),
        ({"hwPt": [1], "hwCharge": [0], "orbit": [1], "bx": [-1]}, "BX"),
    ],
)
def test_parquet_with_nonsense_is_refused(tmp_path, columns, text):
    path = tmp_path / "bad.parquet"
    pq.write_table(pa.table(columns), path)
    with pytest.raises(InputError, match=text):
        list(read_events(path))


def test_hardware_values_from_physics_through_shortened_floats():
    """Nano files keep 10 to 12 bits of the mantissa."""
    for name in io_columns.NANO:
        f = FIELDS[name]
        hw = np.arange(1 if f.zero_is_absent else f.low, f.period or f.high + 1)
        floats = f.to_physical(hw).astype(np.float32)
        for bits in (10, 12, 23):
            drop = np.uint32(1 << (23 - bits)) if bits < 23 else np.uint32(1)
            short = ((floats.view(np.uint32) + drop // 2) // drop * drop).astype(np.uint32).view(np.float32)
            np.testing.assert_array_equal(io_columns.from_physical(name, short), hw, err_msg=f"{name} {bits}")
    assert io_columns.from_physical("hwPt", np.array([np.nan, -0.5, 0.0])).tolist() == [0, 0, 1]
    assert PT.to_physical(1) == 0


def test_simulation_is_marked(tmp_path):
    path = tmp_path / "mc.root"
    with uproot.recreate(path) as file:
        n = 3
        file.mktree(
            "Events",
            {"run": "u4", "luminosityBlock": "u4", "event": "u8", "orbitNumber": "u4", "bunchCrossing": "u4"}
            | {
                "genWeight": "f4",
                "L1Mu_pt": "var * float32",
                "L1Mu_hwCharge": "var * int16",
                "L1Mu_bx": "var * int16",
            },
        ).extend(
            {
                "run": np.ones(n, np.uint32),
                "luminosityBlock": np.ones(n, np.uint32),
                "event": np.arange(n, dtype=np.uint64),
                "genWeight": np.ones(n, np.float32),
                "orbitNumber": np.full(n, 2**32 - 1, np.uint32),
                "bunchCrossing": np.full(n, 2**32 - 1, np.uint32),
                "L1Mu_pt": ak.Array([[1.5], [], [2.0, 3.0]]),
                "L1Mu_hwCharge": ak.values_astype(ak.Array([[1], [], [0, 1]]), np.int16),
                "L1Mu_bx": ak.values_astype(ak.Array([[0], [], [0, 0]]), np.int16),
            }
        )
    l1 = read(path).muons
    assert l1.simulated is True
    assert set(l1.orbit) == {io_columns.UNKNOWN_ORBIT}
    np.testing.assert_array_equal(l1["hwPt"], [4, 5, 7])


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda p: None, "no such file"),
        (lambda p: p.mkdir(), "directory"),
        (lambda p: p.write_bytes(b""), "empty"),
        (lambda p: p.write_bytes(b"hello\n"), "unknown format"),
        (lambda p: p.write_bytes(bytes(range(256))), "unknown format"),
        (lambda p: p.write_bytes(b"root"), "truncated"),
        (lambda p: p.write_bytes(b"PAR1"), "truncated"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path, make, text):
    path = tmp_path / "file"
    make(path)
    with pytest.raises(InputError, match=text) as error:
        read_events(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def test_files_without_muons_say_so(samples):
    for kind in ("HISTOGRAMS", "GMT_LUT", "BMTF_LUT", "LUT", "NPZ"):
        with pytest.raises(InputError, match="no muons"):
            read_events(samples[kind])


GMT = "# phi extrapolation LUT\n"
UNKNOWN = "# maps 2 bits to 3 bits\n# its header is #<header> V1 12 4 </header>\n"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (GMT + "#<header> V1 12 4 </header>\n0 0\n1 3\n", "GMT_LUT"),
        ("# for MicroGMT emulator-tests\n#<header> V1 9 5 </header>\n0 0\n1 3\n", "GMT_LUT"),
        (GMT + "#<header> V1 11 4 </header>\n0 0\n", "LUT"),
        ("#<header> V1 7 1 </header> \n0 1\n1 1\n", "LUT"),
        (UNKNOWN + "#<header> v7 2 3 </header>\n0 0\n1 3\n2 5\n3 7\n", "LUT"),
        ("-4 -1 7\n-3 -1 7\n-2 -1 7\n", "BMTF_LUT"),
        ("  180\n-2048  7\n-2047  7\n", "BMTF_LUT"),
        ("0 1\n1 2\n2 3\n", "LUT"),
        ("-3 1\n-2 2\n", "LUT"),
        ("1\n2\n3\n", "LUT"),
    ],
)
def test_look_up_tables_are_called_what_they_are(tmp_path, text, kind):
    (tmp_path / "x").write_text(text)
    assert detect(tmp_path / "x").name == kind.lower().replace("_", "-")
    assert describe(tmp_path / "x")["entries"] > 0


def test_a_look_up_table_of_the_calorimeter(shared_cases):
    found = describe(shared_cases / "13_calorimeter_lut.txt")
    assert (found["format"], found["header"]) == ("look-up table, unknown kind", "v7 2 3")
    assert (found["comment"], found["entries"]) == ("maps 2 bits to 3 bits", 4)


def test_wrong_options_are_refused(samples):
    with pytest.raises(InputError, match="rows"):
        read_events(samples["DPG_NANO"], rows=0)
    with pytest.raises(InputError, match="emulated"):
        read_events(samples["DPG_NANO"], emulated=True)
    with pytest.raises(InputError, match="l1UpgradeEmuTree"):
        list(read_events(samples["L1NTUPLE"], emulated=True))


def test_missing_branch_is_named(tmp_path):
    path = tmp_path / "nano.root"
    with uproot.recreate(path) as file:
        file.mktree("Events", {"L1Mu_pt": "var * float32", "event": "u8"}).extend(
            {"L1Mu_pt": ak.Array([[1.0]]), "event": np.zeros(1, np.uint64)}
        )
    with pytest.raises(InputError, match="hwCharge"):
        list(read_events(path))


def test_trees_of_different_lengths_are_refused(tmp_path):
    path = tmp_path / "ntuple.root"
    with uproot.recreate(path) as file:
        file.mktree(
            "l1UpgradeTree/L1UpgradeTree", {"muonIEt": "var * int16", "muonChg": "var * int16"}
        ).extend({k: ak.values_astype(ak.Array([[1], [2]]), np.int16) for k in ("muonIEt", "muonChg")})
        event = {k: np.ones(1, np.uint32) for k in ("run", "lumi", "bx", "orbit")}
        file.mktree("l1EventTree/L1EventTree", dict.fromkeys(event, "u4")).extend(event)
    with pytest.raises(InputError, match=r"1 events.*2"):
        list(read_events(path))


def test_branches_that_disagree_are_refused(tmp_path):
    path = tmp_path / "nano.root"
    n = 2
    with uproot.recreate(path) as file:
        names = ("run", "luminosityBlock", "orbitNumber", "bunchCrossing")
        types = dict.fromkeys(names, "u4") | {"L1Mu_hwPt": "var * int16", "L1Mu_hwCharge": "var * int16"}
        file.mktree("Events", types).extend(
            {k: np.arange(1, n + 1, dtype=np.uint32) for k in names}
            | {
                "L1Mu_hwPt": ak.values_astype(ak.Array([[1], [2]]), np.int16),
                "L1Mu_hwCharge": ak.values_astype(ak.Array([[-1], []]), np.int16),
            }
        )
    with pytest.raises(InputError, match="disagree on the number"):
        list(read_events(path))


def test_a_crossing_stays_whole_across_chunks(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "muons.parquet"
    bx = [5, 5, 5, 5, 6, 9, 9]
    columns = {"hwPt": range(1, 8), "hwCharge": [0] * 7, "orbit": [7] * 7, "bx": bx}
    pq.write_table(pa.table({k: list(v) for k, v in columns.items()}), path)
    for rows in (2, 3, 5, 100):
        l1 = concatenate([e.muons for e in read_events(path, rows=rows)])
        assert l1["hwPt"].tolist() == list(range(1, 8))
        if rows > 4:
            assert (l1.bx.tolist(), l1.counts.tolist()) == ([5, 6, 9], [4, 1, 2])


def test_a_sign_is_not_taken_for_the_charge_bit(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "signed.parquet"
    pq.write_table(pa.table({"hwPt": [9, 9], "hwCharge": [-1, 1]}), path)
    with pytest.raises(InputError, match="bit, 0 or 1 = negative, not a sign"):
        list(read_events(path))
